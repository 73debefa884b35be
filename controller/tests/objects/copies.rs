//! Point-in-time copies of a source's volume.

use crate::{OWNER, owner_references, to_json};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};
use volsync_controller::{
    api::{CopyMethod, SourceVolume},
    objects::{
        copies::{self, Copy},
        snapshot::VolumeSnapshot,
    },
};

fn temporary(name: &str) -> Value {
    json!({
        "name": name, "namespace": "prod",
        "labels": { "app.kubernetes.io/created-by": "volsync", "volsync.backube/cleanup": "1234" },
        "ownerReferences": owner_references(),
    })
}

/// A bound claim of 2 GiB that asked for one.
fn source() -> PersistentVolumeClaim {
    serde_json::from_value(json!({
        "metadata": { "name": "data", "labels": { "mine": "yes" } },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeMode": "Block", "volumeName": "pv",
            "resources": { "requests": { "storage": "1Gi" } },
        },
        "status": { "capacity": { "storage": "2Gi" } },
    }))
    .unwrap()
}

/// The user's own choice of everything.
fn chosen() -> SourceVolume {
    serde_json::from_value(json!({
        "capacity": "5Gi", "storageClassName": "slow", "accessModes": ["ReadOnlyMany"], "volumeSnapshotClassName": "snap",
    }))
    .unwrap()
}

fn snapshot(status: &Value) -> VolumeSnapshot {
    serde_json::from_value(json!({ "metadata": { "name": "volsync-db-src" }, "status": status })).unwrap()
}

#[test]
fn every_method_has_its_copy() {
    for (method, expect) in [
        (Some(CopyMethod::Direct), Ok(Copy::Direct)),
        (Some(CopyMethod::None), Ok(Copy::Direct)),
        (Some(CopyMethod::Clone), Ok(Copy::Clone)),
        (Some(CopyMethod::Snapshot), Ok(Copy::Snapshot)),
        (None, Err("unsupported copyMethod:  -- must be Direct, None, Clone, or Snapshot".to_owned())),
    ] {
        assert_eq!(Copy::of(method).map_err(|error| error.to_string()), expect);
    }
}

#[test]
fn a_snapshot_names_the_claim() {
    let expect = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": temporary("volsync-db-src"),
        "spec": { "source": { "persistentVolumeClaimName": "data" }, "volumeSnapshotClassName": "snap" },
    });
    assert_eq!(to_json(&copies::snapshot(&OWNER, "data", &chosen())), expect);
    let plain = to_json(&copies::snapshot(&OWNER, "data", &SourceVolume::default()));
    assert_eq!(plain["spec"], json!({ "source": { "persistentVolumeClaimName": "data" } }));
}

#[test]
fn a_snapshot_is_ready_when_bound_and_not_unready() {
    for (status, ready) in [
        (json!(null), false),
        (json!({}), false),
        (json!({ "readyToUse": true }), false),
        (json!({ "boundVolumeSnapshotContentName": "" }), false),
        (json!({ "boundVolumeSnapshotContentName": "c" }), true),
        (json!({ "boundVolumeSnapshotContentName": "c", "readyToUse": false }), false),
        (json!({ "boundVolumeSnapshotContentName": "c", "readyToUse": true }), true),
    ] {
        assert_eq!(snapshot(&status).is_ready(), ready, "{status}");
    }
}

#[test]
fn a_clone_is_like_its_source() {
    let mut expect = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": temporary("volsync-db-src"),
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeMode": "Block",
            "resources": { "requests": { "storage": "2Gi" } },
            "dataSource": { "kind": "PersistentVolumeClaim", "name": "data" },
        },
    });
    assert_eq!(to_json(&copies::clone(&OWNER, &source(), &SourceVolume::default())), expect);
    expect["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
    expect["spec"]["storageClassName"] = json!("slow");
    expect["spec"]["resources"]["requests"]["storage"] = json!("5Gi");
    assert_eq!(to_json(&copies::clone(&OWNER, &source(), &chosen())), expect);
}

#[test]
fn a_volume_from_a_snapshot_is_as_large_as_it_has_to_be() {
    let mut unbound = source();
    unbound.status = None;
    for (status, source, volume, size) in [
        (json!({ "restoreSize": "3Gi" }), source(), SourceVolume::default(), "3Gi"),
        (json!({ "restoreSize": "3Gi" }), source(), chosen(), "5Gi"),
        (json!({ "restoreSize": "0" }), source(), SourceVolume::default(), "2Gi"),
        (json!({ "restoreSize": "0.00Gi" }), source(), SourceVolume::default(), "2Gi"),
        (json!({}), source(), SourceVolume::default(), "2Gi"),
        (json!({}), unbound, SourceVolume::default(), "1Gi"),
    ] {
        let made = to_json(&copies::from_snapshot(&OWNER, &source, &snapshot(&status), &volume));
        assert_eq!(made["metadata"], temporary("volsync-db-src"));
        assert_eq!(made["spec"]["resources"], json!({ "requests": { "storage": size } }), "{status}");
        let from = json!({ "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "volsync-db-src" });
        assert_eq!(made["spec"]["dataSource"], from);
        assert_eq!(made["spec"]["volumeMode"], "Block");
    }
}
