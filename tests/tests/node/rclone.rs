//! Replications of rclone under our controller.

use std::fs;

use serde_json::json;
use volsync_tests::tree::{Ignore, Tree};

use crate::cluster::Cluster;
use crate::minio;
use crate::operator;
use crate::replication::{
    DESTINATION, SOURCE, bucket, destination, fill, fill_plainly, from_destination, from_snapshot, image, source,
    synced, unprivileged,
};

#[test]
fn each_sync_brings_what_the_volume_holds_by_then() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.namespace("twice", &json!({}));
    minio::start(&namespace, &[]);
    let data = namespace.claim("data", &json!(null));
    fill_plainly(&data, 40, 100_000);

    let options = bucket(&json!({ "moverSecurityContext": unprivileged() }));
    let mut images = Vec::new();
    // Waits for the first image, and then has what is in it.
    namespace.ask_for_claim("early", "dataSourceRef", &from_destination());
    for tag in ["first", "second"] {
        fs::write(data.join("changes"), tag).unwrap();
        let trigger = json!({ "manual": tag });
        namespace.apply(&source("rclone", &trigger, &options));
        synced(&namespace, SOURCE, tag);
        namespace.apply(&destination("rclone", &trigger, &options));
        let status = synced(&namespace, DESTINATION, tag);
        let restored = namespace.claim(&format!("restored-{tag}"), &from_snapshot(&image(&status)));
        Tree::of(&data).assert_same(&Tree::of(&restored), Ignore::ALL_BUT_CONTENT);
        let early = namespace.bound("early");
        assert_eq!(fs::read_to_string(early.join("changes")).unwrap(), "first");
        images.push(format!("volumesnapshot/{}", image(&status)));
    }
    assert_ne!(images[0], images[1]);
    namespace.wait_until_gone(&images[0]);
    // Nothing is left of the source but its secret's bucket, and of the destination its claim and one snapshot.
    namespace.wait_until(SOURCE, ".status.conditions[0].reason", "WaitingForManual");
    namespace.wait_until_gone("pvc/volsync-source-src");
    assert_eq!(namespace.names("volumesnapshots").len(), 1);
    assert!(namespace.names("pvc").contains(&"volsync-destination-dest".to_owned()));
}

#[test]
fn owners_and_access_lists_go_over_tls_to_a_server_of_an_own_authority() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.privileged_namespace("tls");
    let trusted = minio::start_tls(&namespace);
    let ca = json!({ "ca.crt": trusted });
    namespace
        .apply(&json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "trusted" }, "stringData": ca }));
    namespace.apply(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "trusted" }, "data": ca }));
    let data = namespace.claim("data", &json!(null));
    fill(&data, 1);

    let trigger = json!({ "manual": "once" });
    let by_secret = json!({ "customCA": { "secretName": "trusted", "key": "ca.crt" } });
    namespace.apply(&source("rclone", &trigger, &bucket(&by_secret)));
    synced(&namespace, SOURCE, "once");
    // Such a claim is bound where the mover's pod runs, which therefore must not wait for it.
    let by_map = json!({
        "customCA": { "configMapName": "trusted", "key": "ca.crt" }, "storageClassName": "csi-hostpath-wffc",
    });
    namespace.apply(&destination("rclone", &trigger, &bucket(&by_map)));
    let status = synced(&namespace, DESTINATION, "once");
    let restored = namespace.claim("restored", &from_snapshot(&image(&status)));
    Tree::of(&data).assert_same(&Tree::of(&restored), Ignore::LOST_IN_BUCKET);
}

#[test]
fn a_sync_ends_once_although_the_controller_is_killed_in_its_middle() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.namespace("killed", &json!({}));
    // Slow enough to be met in the middle: 12 MiB at 4 MiB/s.
    minio::start(&namespace, &[("RCLONE_BWLIMIT", "4M")]);
    let data = namespace.claim("data", &json!(null));
    fill_plainly(&data, 12, 1 << 20);

    let options = bucket(&json!({ "moverSecurityContext": unprivileged() }));
    namespace.apply(&source("rclone", &json!({ "manual": "once" }), &options));
    namespace.wait_until_made("job/volsync-rclone-src-source");
    namespace.wait_until("job/volsync-rclone-src-source", ".status.ready", "1");
    let job = |path: &str| namespace.get("job/volsync-rclone-src-source")["metadata"][path].clone();
    let before = job("uid");
    let snapshots = namespace.names("volumesnapshots");
    operator::kill_ours(&cluster);
    assert_eq!((job("uid"), namespace.names("volumesnapshots")), (before, snapshots));
    synced(&namespace, SOURCE, "once");
    namespace.wait_until(SOURCE, ".status.conditions[0].reason", "WaitingForManual");
    namespace.wait_until_gone("job/volsync-rclone-src-source");
    let reasons = namespace.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
    for (reason, times) in [("SynchronizationStarted", 1), ("VolumeSnapshotCreated", 1)] {
        assert_eq!(reasons.split_whitespace().filter(|found| *found == reason).count(), times, "{reason}: {reasons}");
    }
}
