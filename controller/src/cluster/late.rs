//! Tells of volumes and snapshots that are long in coming: most often a class is missing, or a driver cannot do it.

use super::{
    age,
    copy::{name_of, of_claim},
    hands::Hands,
};
use crate::objects::snapshot::VolumeSnapshot;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::runtime::events::EventType;

/// After these times the user is told. Upstream's values.
const CLAIM_IS_LATE: SignedDuration = SignedDuration::from_secs(120);
const SNAPSHOT_IS_LATE: SignedDuration = SignedDuration::from_secs(30);

const ACTION: &str = "WaitForVolume";

/// What a claim is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Clone,
    Otherwise,
}

pub(super) async fn claim(hands: &Hands<'_>, claim: &PersistentVolumeClaim, made: Made) {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase == Some("Bound") || age(&claim.metadata) <= CLAIM_IS_LATE {
        return;
    }
    let cloning = if made == Made::Clone { " and ensure CSI driver supports volume cloning" } else { "" };
    let note = format!(
        "waiting for {} to bind; check StorageClass name and CSI driver capabilities{cloning}",
        of_claim(claim)
    );
    hands.tell(EventType::Warning, "PersistentVolumeClaimNotBound", ACTION, note).await;
}

pub(super) async fn snapshot(hands: &Hands<'_>, snapshot: &VolumeSnapshot) {
    let content = snapshot.status.as_ref().and_then(|status| status.bound_volume_snapshot_content_name.as_ref());
    if content.is_some_and(|name| !name.is_empty()) || age(&snapshot.metadata) <= SNAPSHOT_IS_LATE {
        return;
    }
    let note = format!(
        "waiting for VolumeSnapshot/{} to bind; check VolumeSnapshotClass name and ensure CSI driver supports volume \
         snapshots",
        name_of(snapshot.metadata.name.as_ref())
    );
    hands.tell(EventType::Warning, "VolumeSnapshotNotBound", ACTION, note).await;
}
