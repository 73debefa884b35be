//! The same replications under upstream's operator, which starts our movers and reads what they log.

use serde_json::json;
use volsync_tests::tree::{Ignore, Tree};

use crate::cluster::Cluster;
use crate::operator::Upstream;
use crate::replication::{DESTINATION, SOURCE, bucket, destination, fill, from_snapshot, image, source, synced};
use crate::{minio, rsync};

#[test]
fn upstreams_operator_pushes_and_pulls_with_our_mover_of_rclone() {
    let cluster = Cluster::take();
    let _operator = Upstream::start(&cluster);
    let namespace = cluster.privileged_namespace("upstream-rclone");
    minio::start(&namespace, &[]);
    let data = namespace.claim("data", &json!(null));
    fill(&data, 3);
    let trigger = json!({ "manual": "once" });
    namespace.apply(&source("rclone", &trigger, &bucket(&json!({}))));
    synced(&namespace, SOURCE, "once");
    namespace.apply(&destination("rclone", &trigger, &bucket(&json!({}))));
    let status = synced(&namespace, DESTINATION, "once");
    let restored = namespace.claim("restored", &from_snapshot(&image(&status)));
    Tree::of(&data).assert_same(&Tree::of(&restored), Ignore::LOST_IN_BUCKET);
}

#[test]
fn upstreams_operator_copies_a_volume_with_our_mover_of_rsync() {
    let cluster = Cluster::take();
    let _operator = Upstream::start(&cluster);
    let namespace = cluster.privileged_namespace("upstream-rsync");
    rsync::copy(&namespace, 4);
}
