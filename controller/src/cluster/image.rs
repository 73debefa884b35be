//! The volume that a destination fills, and what it keeps of it.

use super::{
    Trouble,
    copy::{name_of, of_claim, tell_snapshot},
    hands::{Hands, Made},
    late, now,
};
use crate::{
    api::DestinationVolume,
    labels::{CLEANUP, DO_NOT_DELETE, SNAPSHOT_NAME},
    machine::Method,
    objects::{
        destination::{
            self, DestinationClaim, Image, Retirement, image_of_claim, image_of_snapshot, replaced, retired,
        },
        names,
        snapshot::VolumeSnapshot,
    },
};
use jiff::{SignedDuration, tz::TimeZone};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, TypedLocalObjectReference},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{api::ListParams, runtime::events::EventType};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many names of snapshots are tried.
const SECONDS: i64 = 10;

/// The claim to mount, made or enlarged if it has to be.
pub(super) async fn claim(
    hands: &Hands<'_>,
    method: Method,
    volume: &DestinationVolume,
    mode: Option<&str>,
) -> Result<PersistentVolumeClaim, Trouble> {
    match destination::claim(&hands.owner, method, volume, mode).map_err(|error| Trouble::user(&error))? {
        DestinationClaim::Given(name) => hands.expect(name).await,
        DestinationClaim::Made(wanted) => {
            let (found, made) = hands.ensure(&*wanted).await?;
            if made == Made::Now {
                let note = format!("created {} to receive incoming data", of_claim(&found));
                hands
                    .tell(EventType::Normal, "PersistentVolumeClaimCreated", "CreatePersistentVolumeClaim", note)
                    .await;
                return Ok(found);
            }
            late::claim(hands, &found, late::Made::Otherwise).await;
            resize(hands, found, &wanted).await
        }
    }
}

/// All that may change of a claim is how much it asks for, and whether it is deleted at the end.
async fn resize(
    hands: &Hands<'_>,
    found: PersistentVolumeClaim,
    wanted: &PersistentVolumeClaim,
) -> Result<PersistentVolumeClaim, Trouble> {
    let requests =
        |claim: &PersistentVolumeClaim| claim.spec.as_ref().and_then(|spec| spec.resources.clone()?.requests);
    let cleanup =
        |claim: &PersistentVolumeClaim| claim.metadata.labels.as_ref().and_then(|labels| labels.get(CLEANUP).cloned());
    if requests(&found) == requests(wanted) && cleanup(&found) == cleanup(wanted) {
        return Ok(found);
    }
    let changes = json!({
        "metadata": { "labels": { CLEANUP: cleanup(wanted) } },
        "spec": { "resources": { "requests": requests(wanted) } },
    });
    hands.patch(&name_of(found.metadata.name.as_ref()), &changes).await
}

/// Keeps what the transfer has brought. `None` while it is not kept yet.
pub(super) async fn keep(
    hands: &Hands<'_>,
    image: Image,
    claim: &PersistentVolumeClaim,
    volume: &DestinationVolume,
    local: &TimeZone,
) -> Result<Option<TypedLocalObjectReference>, Trouble> {
    let claim_name = name_of(claim.metadata.name.as_ref());
    if image == Image::Claim {
        return Ok(Some(image_of_claim(&claim_name)));
    }
    let name = snapshot_name(hands, claim, local).await?;
    let class = volume.volume_snapshot_class_name.as_deref();
    let (snapshot, made) = hands.ensure(&destination::snapshot(&hands.owner, &name, &claim_name, class)).await?;
    if made == Made::Now {
        tell_snapshot(hands, &snapshot, &claim_name).await;
    } else {
        late::snapshot(hands, &snapshot).await;
    }
    // Bound is not enough: a volume from a snapshot that is still being taken may be empty.
    Ok(snapshot.is_ready().then(|| image_of_snapshot(&name)))
}

/// The name of this iteration's snapshot, written on the claim first so that a controller that starts again finds it.
async fn snapshot_name(hands: &Hands<'_>, claim: &PersistentVolumeClaim, local: &TimeZone) -> Result<String, Trouble> {
    let written = claim.metadata.annotations.as_ref().and_then(|annotations| annotations.get(SNAPSHOT_NAME));
    if let Some(name) = written.filter(|name| !name.is_empty()) {
        return Ok(name.clone());
    }
    let claim = name_of(claim.metadata.name.as_ref());
    let name = unused_name(hands, &claim, local).await?;
    let changes = json!({ "metadata": { "annotations": { SNAPSHOT_NAME: name } } });
    hands.patch::<PersistentVolumeClaim>(&claim, &changes).await?;
    Ok(name)
}

/// Names have seconds. Two syncs within one would share a snapshot, and the second would not be kept: it gets the name of
/// a second to come.
async fn unused_name(hands: &Hands<'_>, claim: &str, local: &TimeZone) -> Result<String, Trouble> {
    let now = now();
    for second in 0..SECONDS {
        let name = names::destination_snapshot(claim, now + SignedDuration::from_secs(second), local);
        if hands.get::<VolumeSnapshot>(&name).await?.is_none() {
            return Ok(name);
        }
    }
    Err(Trouble::User(format!("the last {SECONDS} names of snapshots of {claim} are taken")))
}

/// Gives the snapshot before to clean-up, unless its user keeps it or it is gone.
pub(super) async fn retire_old(
    hands: &Hands<'_>,
    old: Option<&TypedLocalObjectReference>,
    new: &TypedLocalObjectReference,
) -> Result<(), Trouble> {
    let Some(name) = replaced(old, new) else { return Ok(()) };
    let Some(snapshot) = hands.get::<VolumeSnapshot>(name).await? else { return Ok(()) };
    if snapshot.metadata.labels.is_some_and(|labels| labels.contains_key(DO_NOT_DELETE)) {
        return Ok(());
    }
    let changes = json!({ "metadata": { "labels": { CLEANUP: hands.owner.uid } } });
    hands.patch::<VolumeSnapshot>(name, &changes).await.map(drop)
}

/// Gives up every snapshot of ours that its user keeps.
pub(super) async fn release_kept(hands: &Hands<'_>) -> Result<(), Trouble> {
    let kept = hands.api::<VolumeSnapshot>().list(&ListParams::default().labels(DO_NOT_DELETE)).await;
    let kept = match kept {
        // A cluster without snapshots.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        other => other?,
    };
    for snapshot in kept {
        let ours = snapshot.metadata.owner_references.iter().flatten().any(|owner| owner.uid == hands.owner.uid);
        if ours {
            leave(hands, &snapshot, Retirement::Release).await?;
        }
    }
    Ok(())
}

/// Removes our ownership of a snapshot, and our labels if it is released.
pub(super) async fn leave(hands: &Hands<'_>, snapshot: &VolumeSnapshot, retirement: Retirement) -> Result<(), Trouble> {
    let metadata = retired(&snapshot.metadata, hands.owner.uid, retirement);
    let left = metadata.labels.unwrap_or_default();
    let gone = snapshot.metadata.labels.iter().flatten().filter(|(key, _)| !left.contains_key(*key));
    let gone: Vec<String> = gone.map(|(key, _)| key.clone()).collect();
    owners_and_labels(hands, snapshot, metadata.owner_references.unwrap_or_default(), &gone).await
}

/// Sets the owners of a snapshot and takes labels off it, if it is still as it was read: another owner may have come since.
pub(super) async fn owners_and_labels(
    hands: &Hands<'_>,
    snapshot: &VolumeSnapshot,
    owners: Vec<OwnerReference>,
    gone: &[String],
) -> Result<(), Trouble> {
    let labels: BTreeMap<&String, Value> = gone.iter().map(|key| (key, Value::Null)).collect();
    let changes = json!({ "metadata": {
        "resourceVersion": snapshot.metadata.resource_version,
        "labels": labels,
        "ownerReferences": owners,
    } });
    hands.patch::<VolumeSnapshot>(&name_of(snapshot.metadata.name.as_ref()), &changes).await.map(drop)
}
