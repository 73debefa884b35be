//! The volume that a source's mover reads.

use super::{
    Trouble,
    hands::{Hands, Made},
    late, now,
};
use crate::{
    api::{MoverResult, MoverStatus, SourceVolume},
    machine::{Copied, CopyGate, copied, copy_gate},
    objects::{
        copies::{self, Copy},
        names,
        snapshot::VolumeSnapshot,
    },
};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::runtime::events::EventType;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The claim to mount, made if it has to be. `None` while it cannot be made yet.
pub(super) async fn volume(
    hands: &Hands<'_>,
    source: &str,
    volume: &SourceVolume,
    mover: &mut MoverStatus,
) -> Result<Option<PersistentVolumeClaim>, Trouble> {
    let source: PersistentVolumeClaim = hands.expect(source).await?;
    match Copy::of(volume.copy_method).map_err(|error| Trouble::user(&error))? {
        Copy::Direct => Ok(Some(source)),
        Copy::Clone => clone(hands, &source, volume, mover).await,
        Copy::Snapshot => match snapshot(hands, &source, volume, mover).await? {
            Some(snapshot) => from_snapshot(hands, &source, &snapshot, volume).await.map(Some),
            None => Ok(None),
        },
    }
}

async fn clone(
    hands: &Hands<'_>,
    source: &PersistentVolumeClaim,
    volume: &SourceVolume,
    mover: &mut MoverStatus,
) -> Result<Option<PersistentVolumeClaim>, Trouble> {
    if let Some(found) = hands.get::<PersistentVolumeClaim>(&names::copy(hands.owner.name)).await? {
        if found.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        if found.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound") {
            finish_gate(hands, source).await?;
        }
        late::claim(hands, &found, late::Made::Clone).await;
        return Ok(Some(found));
    }
    if !pass_gate(hands, source, mover).await? {
        return Ok(None);
    }
    let (made, _) = hands.ensure(&copies::clone(&hands.owner, source, volume)).await?;
    tell_claim(hands, &made, "as a clone of", source.metadata.name.as_deref()).await;
    Ok(Some(made))
}

async fn snapshot(
    hands: &Hands<'_>,
    source: &PersistentVolumeClaim,
    volume: &SourceVolume,
    mover: &mut MoverStatus,
) -> Result<Option<VolumeSnapshot>, Trouble> {
    if let Some(found) = hands.get::<VolumeSnapshot>(&names::copy(hands.owner.name)).await? {
        let usable = found.metadata.deletion_timestamp.is_none() && found.is_ready();
        if usable {
            finish_gate(hands, source).await?;
        } else if found.metadata.deletion_timestamp.is_none() {
            late::snapshot(hands, &found).await;
        }
        return Ok(usable.then_some(found));
    }
    if !pass_gate(hands, source, mover).await? {
        return Ok(None);
    }
    let name = source.metadata.name.clone().unwrap_or_default();
    let (made, _) = hands.ensure(&copies::snapshot(&hands.owner, &name, volume)).await?;
    tell_snapshot(hands, &made, &name).await;
    Ok(None)
}

async fn from_snapshot(
    hands: &Hands<'_>,
    source: &PersistentVolumeClaim,
    snapshot: &VolumeSnapshot,
    volume: &SourceVolume,
) -> Result<PersistentVolumeClaim, Trouble> {
    let (claim, made) = hands.ensure(&copies::from_snapshot(&hands.owner, source, snapshot, volume)).await?;
    if made == Made::Before {
        late::claim(hands, &claim, late::Made::Otherwise).await;
    } else {
        let note =
            format!("created {} from VolumeSnapshot/{}", of_claim(&claim), name_of(snapshot.metadata.name.as_ref()));
        hands.tell(EventType::Normal, "PersistentVolumeClaimCreated", "CreatePersistentVolumeClaim", note).await;
    }
    Ok(claim)
}

/// Whether the copy may be made now; says on the claim which it is.
async fn pass_gate(
    hands: &Hands<'_>,
    source: &PersistentVolumeClaim,
    mover: &mut MoverStatus,
) -> Result<bool, Trouble> {
    const ACTION: &str = "CreateSrcCopyUsingCopyTrigger";
    let claim = of_claim(source);
    match copy_gate(&annotations(source), now()) {
        CopyGate::Open => Ok(true),
        CopyGate::Released(changes) => {
            annotate(hands, source, &changes).await?;
            let note = format!("copy trigger of {claim} received");
            hands.tell(EventType::Normal, "SrcPVCCopyTriggerReceived", ACTION, note).await;
            Ok(true)
        }
        CopyGate::Waiting { changes, timed_out } => {
            if !changes.is_empty() {
                annotate(hands, source, &changes).await?;
                let note = format!("waiting for the copy trigger of {claim} to change");
                hands.tell(EventType::Normal, "SrcPVCWaitingForCopyTrigger", ACTION, note).await;
            }
            if timed_out {
                let name = name_of(source.metadata.name.as_ref());
                let text = format!("Timed out waiting for copy-trigger to be modified for pvc {name}");
                hands.tell(EventType::Warning, "SrcPVCTimeoutWaitingForCopyTrigger", ACTION, text.clone()).await;
                *mover = MoverStatus { result: Some(MoverResult::Failed), logs: Some(text), ..MoverStatus::default() };
            }
            Ok(false)
        }
    }
}

async fn finish_gate(hands: &Hands<'_>, source: &PersistentVolumeClaim) -> Result<(), Trouble> {
    let Copied(changes) = copied(&annotations(source));
    if changes.is_empty() {
        return Ok(());
    }
    annotate(hands, source, &changes).await?;
    let note = format!("copy of {} is ready", of_claim(source));
    let reason = "SrcPVCCopyUsingCopyTriggerCompleted";
    hands.tell(EventType::Normal, reason, "CreateSrcCopyUsingCopyTrigger", note).await;
    Ok(())
}

async fn annotate(
    hands: &Hands<'_>,
    claim: &PersistentVolumeClaim,
    changes: &BTreeMap<&'static str, Option<String>>,
) -> Result<(), Trouble> {
    if changes.is_empty() {
        return Ok(());
    }
    let changes: Value = json!({ "metadata": { "annotations": changes } });
    hands.patch::<PersistentVolumeClaim>(&name_of(claim.metadata.name.as_ref()), &changes).await.map(drop)
}

fn annotations(claim: &PersistentVolumeClaim) -> BTreeMap<String, String> {
    claim.metadata.annotations.clone().unwrap_or_default()
}

async fn tell_claim(hands: &Hands<'_>, claim: &PersistentVolumeClaim, how: &str, from: Option<&str>) {
    let note = format!("created {} {how} PersistentVolumeClaim/{}", of_claim(claim), from.unwrap_or_default());
    hands.tell(EventType::Normal, "PersistentVolumeClaimCreated", "CreatePersistentVolumeClaim", note).await;
}

/// Tells of a snapshot that was made of a claim.
pub(super) async fn tell_snapshot(hands: &Hands<'_>, snapshot: &VolumeSnapshot, claim: &str) {
    let name = name_of(snapshot.metadata.name.as_ref());
    let note = format!("created VolumeSnapshot/{name} from PersistentVolumeClaim/{claim}");
    hands.tell(EventType::Normal, "VolumeSnapshotCreated", "CreateVolumeSnapshot", note).await;
}

pub(super) fn of_claim(claim: &PersistentVolumeClaim) -> String {
    format!("PersistentVolumeClaim/{}", name_of(claim.metadata.name.as_ref()))
}

/// Every object that an API server hands out has a name.
pub(super) fn name_of(name: Option<&String>) -> String {
    name.cloned().unwrap_or_default()
}
