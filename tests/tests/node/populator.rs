//! What becomes of the snapshots of a destination while others have a use for them.

use serde_json::{Value, json};

use crate::cluster::{Cluster, Namespace};
use crate::minio;
use crate::operator;
use crate::replication::{
    DESTINATION, SOURCE, bucket, destination, fill_plainly, from_destination, image, source, synced, unprivileged,
};

/// Syncs the destination once more, and gives its new snapshot.
fn next_image(namespace: &Namespace<'_>, tag: &str) -> String {
    let options = bucket(&json!({ "moverSecurityContext": unprivileged() }));
    namespace.apply(&destination("rclone", &json!({ "manual": tag }), &options));
    let snapshot = image(&synced(namespace, DESTINATION, tag));
    // By then what was replaced is gone, unless somebody has a use for it.
    namespace.wait_until(DESTINATION, ".status.conditions[0].reason", "WaitingForManual");
    format!("volumesnapshot/{snapshot}")
}

fn owners(namespace: &Namespace<'_>, object: &str) -> Vec<String> {
    let owners = namespace.get(object)["metadata"]["ownerReferences"].clone();
    let name = |owner: &Value| owner["name"].as_str().unwrap().to_owned();
    owners.as_array().into_iter().flatten().map(name).collect()
}

#[test]
fn a_snapshot_stays_while_a_claim_is_filled_from_it_and_where_its_user_keeps_it() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.namespace("populator", &json!({}));
    minio::start(&namespace, &[]);
    fill_plainly(&namespace.claim("data", &json!(null)), 4, 1000);
    let options = bucket(&json!({ "moverSecurityContext": unprivileged() }));
    namespace.apply(&source("rclone", &json!({ "manual": "once" }), &options));
    synced(&namespace, SOURCE, "once");

    // A claim that is smaller than the snapshot is never filled, so that the snapshot is in use for as long as it is there.
    let first = next_image(&namespace, "first");
    namespace.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "small" },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Mi" } },
            "dataSourceRef": from_destination(),
        },
    }));
    let uid = namespace.get("pvc/small")["metadata"]["uid"].as_str().unwrap().to_owned();
    let helper = format!("vs-prime-{uid}");
    namespace.wait_until_made(&format!("pvc/{helper}"));
    namespace.wait_until(&first, ".metadata.ownerReferences[1].name", &helper);

    let second = next_image(&namespace, "second");
    assert_eq!(owners(&namespace, &first), [helper]);
    namespace.kubectl(&["label", &second, "volsync.backube/do-not-delete=true"]);
    let third = next_image(&namespace, "third");
    assert!(owners(&namespace, &second).is_empty());
    let labels = namespace.get(&second)["metadata"]["labels"].clone();
    assert_eq!(labels, json!({ "volsync.backube/do-not-delete": "true" }));

    namespace.kubectl(&["delete", "pvc/small"]);
    namespace.wait_until_gone(&first);
    // One that was filled may go, and the destination keeps its snapshot; which goes with the destination.
    namespace.ask_for_claim("filled", "dataSourceRef", &from_destination());
    namespace.bound("filled");
    let registered = cluster.kubectl(&["get", "volumepopulators", "-o", "jsonpath={.items[*].sourceKind.kind}"]);
    assert_eq!(registered, "ReplicationDestination");
    namespace.kubectl(&["delete", "pvc/filled"]);
    assert_eq!(owners(&namespace, &third), ["destination"]);
    namespace.kubectl(&["delete", DESTINATION]);
    namespace.wait_until_gone(&third);
    assert_eq!(namespace.names("volumesnapshots"), [second.trim_start_matches("volumesnapshot/")]);
}
