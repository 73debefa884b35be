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

/// Tells of a claim that waits for its volume.
pub(super) async fn claim(hands: &Hands<'_>, claim: &PersistentVolumeClaim, made: Made) {
    if let Some(note) = note_of_claim(claim, made, age(&claim.metadata)) {
        hands.tell(EventType::Warning, "PersistentVolumeClaimNotBound", ACTION, note).await;
    }
}

/// Tells of a snapshot that waits to be taken.
pub(super) async fn snapshot(hands: &Hands<'_>, snapshot: &VolumeSnapshot) {
    if let Some(note) = note_of_snapshot(snapshot, age(&snapshot.metadata)) {
        hands.tell(EventType::Warning, "VolumeSnapshotNotBound", ACTION, note).await;
    }
}

fn note_of_claim(claim: &PersistentVolumeClaim, made: Made, age: SignedDuration) -> Option<String> {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase == Some("Bound") || age <= CLAIM_IS_LATE {
        return None;
    }
    let cloning = if made == Made::Clone { " and ensure CSI driver supports volume cloning" } else { "" };
    let name = of_claim(claim);
    Some(format!("waiting for {name} to bind; check StorageClass name and CSI driver capabilities{cloning}"))
}

fn note_of_snapshot(snapshot: &VolumeSnapshot, age: SignedDuration) -> Option<String> {
    let content = snapshot.status.as_ref().and_then(|status| status.bound_volume_snapshot_content_name.as_ref());
    if content.is_some_and(|name| !name.is_empty()) || age <= SNAPSHOT_IS_LATE {
        return None;
    }
    Some(format!(
        "waiting for VolumeSnapshot/{} to bind; check VolumeSnapshotClass name and ensure CSI driver supports volume \
         snapshots",
        name_of(snapshot.metadata.name.as_ref())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_late_is_told_and_what_is_there_is_not() {
        let claim = |phase: &str| {
            serde_json::from_value(json!({ "metadata": { "name": "c" }, "status": { "phase": phase } })).unwrap()
        };
        let told = |phase, made, seconds| note_of_claim(&claim(phase), made, SignedDuration::from_secs(seconds));
        let note = "waiting for PersistentVolumeClaim/c to bind; check StorageClass name and CSI driver capabilities";
        assert_eq!(told("Pending", Made::Otherwise, 120), None);
        assert_eq!(told("Pending", Made::Otherwise, 121).as_deref(), Some(note));
        let cloning = format!("{note} and ensure CSI driver supports volume cloning");
        assert_eq!(told("Pending", Made::Clone, 121), Some(cloning));
        assert_eq!(told("Bound", Made::Clone, 1000), None);

        let snapshot = |content: &str| {
            let status = json!({ "boundVolumeSnapshotContentName": content });
            serde_json::from_value(json!({ "metadata": { "name": "s" }, "status": status })).unwrap()
        };
        let told = |content, seconds| note_of_snapshot(&snapshot(content), SignedDuration::from_secs(seconds));
        assert_eq!((told("", 30), told("content", 1000)), (None, None));
        let note = "waiting for VolumeSnapshot/s to bind; check VolumeSnapshotClass name and ensure CSI driver supports \
                    volume snapshots";
        assert_eq!(told("", 31).as_deref(), Some(note));
    }
}
