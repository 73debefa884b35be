//! Claims that are filled from a destination. The test takes the parts of the provisioner and of the volumes' controller.

use crate::{cluster::Cluster, has, replication};
use serde_json::{Value, json};

fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": { "requests": { "storage": "1Gi" } },
            "dataSourceRef": { "apiGroup": "volsync.backube", "kind": "ReplicationDestination", "name": "db" },
        },
    })
}

/// The least that an API server needs to know of a VolumePopulator.
fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "volumepopulators.populator.storage.k8s.io",
            "annotations": { "api-approved.kubernetes.io": "https://github.com/kubernetes/enhancements/pull/2934" },
        },
        "spec": {
            "group": "populator.storage.k8s.io", "scope": "Cluster",
            "names": { "kind": "VolumePopulator", "plural": "volumepopulators", "singular": "volumepopulator" },
            "versions": [{ "name": "v1beta1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            } } }],
        },
    })
}

#[test]
fn a_claim_is_filled_from_the_snapshot_of_a_destination() {
    let cluster = Cluster::start();
    cluster.create(&definition());
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
    let _controller = cluster.controller();
    cluster.wait_for("volumepopulator/volsync-replicationdestination");
    let kind = cluster.get("volumepopulator/volsync-replicationdestination")["sourceKind"].clone();
    assert_eq!(kind, json!({ "group": "volsync.backube", "kind": "ReplicationDestination" }));

    // A name that is too long for a label, and a class that waits for a pod.
    let name = format!("restored-{}", "x".repeat(70));
    let target = format!("pvc/{name}");
    cluster.create(&claim(&name));
    let uid = cluster.get(&target)["metadata"]["uid"].as_str().unwrap().to_owned();
    let helper = format!("pvc/vs-prime-{uid}");
    cluster.create(&json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "fast" },
        "provisioner": "csi.example", "volumeBindingMode": "WaitForFirstConsumer",
    }));
    cluster.patch(&target, &json!({ "metadata": { "annotations": { "volume.kubernetes.io/selected-node": "here" } } }));
    cluster.wait_for_event("VolSyncPopulatorReplicationDestinationMissing");
    cluster.create(&replication("ReplicationDestination", &json!({ "external": {} })));
    cluster.wait_for_event("VolSyncPopulatorReplicationDestinationNoLatestImage");
    let image =
        |kind: &str, group: &str| json!({ "latestImage": { "apiGroup": group, "kind": kind, "name": "image" } });
    cluster.patch_status("replicationdestination/db", &image("PersistentVolumeClaim", ""));
    cluster.wait_for_event("VolSyncPopulatorError");
    cluster.create(&json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": { "name": "image" },
        "spec": { "source": { "persistentVolumeClaimName": "data" } },
    }));
    cluster.patch_status("replicationdestination/db", &image("VolumeSnapshot", "snapshot.storage.k8s.io"));

    cluster.wait_for(&helper);
    let made = cluster.get(&helper);
    has(
        &made,
        &json!({
            "metadata": {
                "labels": { "app.kubernetes.io/created-by": "volsync", "volsync.backube/populator-pvc-for": name[..63] },
                "annotations": { "volume.kubernetes.io/selected-node": "here" },
                "ownerReferences": [{ "kind": "PersistentVolumeClaim", "name": name, "uid": uid, "controller": true }],
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeMode": "Filesystem",
                "resources": { "requests": { "storage": "1Gi" } },
                "dataSourceRef": { "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "image" },
            },
        }),
    );
    cluster.wait_until_set("volumesnapshot/image", ".metadata.ownerReferences.0.uid");
    has(
        &cluster.get("volumesnapshot/image"),
        &json!({ "metadata": {
        "labels": { format!("volsync.backube/volpop-pvc-{uid}"): name[..63] },
        "ownerReferences": [{ "kind": "PersistentVolumeClaim", "uid": made["metadata"]["uid"] }],
    } }),
    );

    // The driver makes the volume for the temporary claim; it is given to the one that waits.
    cluster.create(&json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "volume" },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" }, "storageClassName": "fast",
            "csi": { "driver": "csi.example", "volumeHandle": "1" },
            "claimRef": { "namespace": "prod", "name": format!("vs-prime-{uid}"), "uid": made["metadata"]["uid"] },
        },
    }));
    cluster.patch(&helper, &json!({ "spec": { "volumeName": "volume" } }));
    cluster.wait_until("pv/volume", ".spec.claimRef.uid", &uid);
    has(
        &cluster.get("pv/volume"),
        &json!({
            "metadata": { "annotations": { "volsync.backube/populated-from": "prod/image" } },
            "spec": { "claimRef": { "namespace": "prod", "name": name, "uid": uid } },
        }),
    );
    cluster.patch(&target, &json!({ "spec": { "volumeName": "volume" } }));
    cluster.patch_status(&helper, &json!({ "phase": "Lost" }));
    cluster.wait_for_event("VolSyncPopulatorFinished");
    cluster.patch(&helper, &json!({ "metadata": { "finalizers": null } }));
    cluster.wait_until_gone(&helper);
    cluster.wait_until_unset("volumesnapshot/image", ".metadata.labels");
}
