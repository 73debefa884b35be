//! What users may ask for besides: when a copy is made, what goes at the end, names of any length.

use serde_json::json;
use volsync_tests::tree::{Ignore, Tree};

use crate::cluster::Cluster;
use crate::minio;
use crate::operator;
use crate::replication::{
    bucket, destination, fill_plainly, from_snapshot, image, merged, source, synced, unprivileged,
};

const LATEST: &str = ".metadata.annotations.volsync\\.backube/latest-copy-";

#[test]
fn a_copy_waits_for_its_trigger_and_a_long_name_shows_how_far_it_is() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.namespace("wishes", &json!({}));
    // Slow enough to be looked at on its way: 8 MiB at 1 MiB/s.
    minio::start(&namespace, &[("RCLONE_BWLIMIT", "1M"), ("RCLONE_STATS", "1s")]);
    let data = namespace.claim("data", &json!(null));
    fill_plainly(&data, 8, 1 << 20);
    namespace.kubectl(&["annotate", "pvc/data", "volsync.backube/use-copy-trigger="]);

    let name = format!("source-{}", "x".repeat(93));
    let (object, options) =
        (format!("replicationsource/{name}"), bucket(&json!({ "moverSecurityContext": unprivileged() })));
    let trigger = json!({ "manual": "once" });
    let mut wanted = source("rclone", &trigger, &options);
    wanted["metadata"]["name"] = json!(name);
    namespace.apply(&wanted);
    namespace.wait_until("pvc/data", &format!("{LATEST}status"), "WaitingForTrigger");
    assert!(namespace.names("volumesnapshots").is_empty());
    namespace.kubectl(&["annotate", "pvc/data", "volsync.backube/copy-trigger=first"]);
    let progress = ".status.latestMoverStatus.progress";
    let total = namespace.wait_for(&object, &format!("{progress}.totalBytes"));
    assert!(total.parse::<u64>().unwrap() > 1 << 20, "{total}");
    assert!(namespace.names("jobs").iter().all(|job| job.len() <= 63), "{:?}", namespace.names("jobs"));
    let status = synced(&namespace, &object, "once");
    assert!(status["latestMoverStatus"]["progress"].is_null(), "{status}");
    namespace.wait_until("pvc/data", &format!("{LATEST}status"), "Completed");
    namespace.wait_until("pvc/data", &format!("{LATEST}trigger"), "first");

    namespace.kubectl(&["patch", "secret/remote", "--type=merge", "-p", r#"{"data":{"RCLONE_BWLIMIT":null}}"#]);
    let options = merged(&options, &json!({ "cleanupTempPVC": true }));
    let mut wanted = destination("rclone", &trigger, &options);
    wanted["metadata"]["name"] = json!(name);
    namespace.apply(&wanted);
    let status = synced(&namespace, &format!("replicationdestination/{name}"), "once");
    let restored = namespace.claim("restored", &from_snapshot(&image(&status)));
    Tree::of(&data).assert_same(&Tree::of(&restored), Ignore::ALL_BUT_CONTENT);
    // Asked for, the claim in between goes when its snapshot is there.
    namespace.wait_until_gone(&format!("pvc/volsync-{name}-dest"));
    assert_eq!(namespace.names("volumesnapshots"), [image(&status)]);
}
