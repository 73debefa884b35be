//! The volume that a destination fills, and what it keeps.

use crate::{OWNER, lasting, owner_references, to_json};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use volsync_controller::{
    api::{CopyMethod, DestinationVolume},
    machine::Method,
    objects::destination::{
        DestinationClaim, Image, Retirement, claim, image_of_claim, image_of_snapshot, replaced, retire, retired,
        snapshot,
    },
};

fn volume(fields: Value) -> DestinationVolume {
    serde_json::from_value(fields).unwrap()
}

fn made(method: Method, fields: Value, mode: Option<&str>) -> Value {
    match claim(&OWNER, method, &volume(fields), mode).unwrap() {
        DestinationClaim::Made(claim) => to_json(&*claim),
        DestinationClaim::Given(name) => panic!("{name} was given"),
    }
}

#[test]
fn a_claim_that_is_given_is_taken() {
    let volume = volume(json!({ "destinationPVC": "mine", "cleanupTempPVC": true }));
    assert_eq!(claim(&OWNER, Method::Rclone, &volume, None), Ok(DestinationClaim::Given("mine")));
}

#[test]
fn a_claim_is_made_as_asked_for() {
    let expect = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": lasting("volsync-db-dest"),
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    let fields = json!({ "accessModes": ["ReadWriteOnce"], "capacity": "1Gi", "destinationPVC": "" });
    assert_eq!(made(Method::Rclone, fields, None), expect);
    let fields = json!({ "accessModes": ["ReadWriteOnce"], "capacity": "1Gi", "storageClassName": "fast", "cleanupTempPVC": true });
    let made = made(Method::Rsync, fields, Some("Block"));
    assert_eq!(made["metadata"]["name"], "volsync-db-dst");
    assert_eq!(made["metadata"]["labels"]["volsync.backube/cleanup"], "1234");
    assert_eq!((&made["spec"]["storageClassName"], &made["spec"]["volumeMode"]), (&json!("fast"), &json!("Block")));
}

#[test]
fn what_a_claim_cannot_be_made_without_is_named() {
    for (fields, error) in [
        (json!({}), "accessModes must be provided when destinationPVC is not"),
        (json!({ "capacity": "1Gi", "accessModes": [] }), "accessModes must be provided when destinationPVC is not"),
        (json!({ "accessModes": ["ReadWriteOnce"] }), "capacity must be provided when destinationPVC is not"),
    ] {
        let refused = claim(&OWNER, Method::RsyncTls, &volume(fields), None).unwrap_err();
        assert_eq!(refused.to_string(), error);
    }
}

#[test]
fn a_destination_keeps_a_volume_or_a_snapshot() {
    for (method, expect) in [
        (Some(CopyMethod::Direct), Ok(Image::Claim)),
        (Some(CopyMethod::None), Ok(Image::Claim)),
        (Some(CopyMethod::Snapshot), Ok(Image::Snapshot)),
        (Some(CopyMethod::Clone), Err("unsupported copyMethod: Clone -- must be Direct, None, or Snapshot".to_owned())),
        (None, Err("unsupported copyMethod:  -- must be Direct, None, or Snapshot".to_owned())),
    ] {
        assert_eq!(Image::of(method).map_err(|error| error.to_string()), expect);
    }
    assert_eq!(to_json(&image_of_claim("c")), json!({ "apiGroup": "", "kind": "PersistentVolumeClaim", "name": "c" }));
    let expect = json!({ "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s" });
    assert_eq!(to_json(&image_of_snapshot("s")), expect);
}

#[test]
fn a_snapshot_lasts() {
    let expect = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": lasting("c-20261125214000"),
        "spec": { "source": { "persistentVolumeClaimName": "c" }, "volumeSnapshotClassName": "snap" },
    });
    assert_eq!(to_json(&snapshot(&OWNER, "c-20261125214000", "c", Some("snap"))), expect);
}

#[test]
fn a_new_image_replaces_an_old_snapshot() {
    let (old, new, claim) = (image_of_snapshot("a"), image_of_snapshot("b"), image_of_claim("a"));
    assert_eq!(replaced(Some(&old), &new), Some("a"));
    assert_eq!(replaced(Some(&old), &claim), Some("a"));
    assert_eq!(replaced(Some(&old), &old), None);
    assert_eq!(replaced(Some(&claim), &new), None);
    assert_eq!(replaced(None, &new), None);
}

#[test]
fn a_snapshot_is_deleted_unless_somebody_needs_it() {
    let populator = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "p", "uid": "9" });
    let ours = owner_references()[0].clone();
    for (labels, owners, expect) in [
        (json!({}), json!([ours]), Retirement::Delete),
        (json!({}), json!([]), Retirement::Delete),
        (json!({}), json!([ours, populator]), Retirement::Disown),
        (json!({ "volsync.backube/volpop-pvc-9": "p" }), json!([ours]), Retirement::Disown),
        (json!({ "volsync.backube/do-not-delete": "" }), json!([ours, populator]), Retirement::Release),
    ] {
        let metadata: ObjectMeta =
            serde_json::from_value(json!({ "labels": labels, "ownerReferences": owners })).unwrap();
        assert_eq!(retire(&metadata, "1234"), expect, "{metadata:?}");
    }
}

#[test]
fn what_is_released_keeps_the_labels_of_others() {
    let metadata: ObjectMeta = serde_json::from_value(json!({
        "labels": { "volsync.backube/do-not-delete": "", "volsync.backube/cleanup": "1234", "app.kubernetes.io/created-by": "volsync", "mine": "x" },
        "ownerReferences": owner_references(),
    }))
    .unwrap();
    let released = to_json(&retired(&metadata, "1234", Retirement::Release));
    assert_eq!(released["labels"], json!({ "volsync.backube/do-not-delete": "", "mine": "x" }));
    assert_eq!(released["ownerReferences"], json!([]));
    let disowned = to_json(&retired(&metadata, "1234", Retirement::Disown));
    assert_eq!(disowned["labels"]["volsync.backube/cleanup"], "1234");
    assert_eq!(disowned["ownerReferences"], json!([]));
}
