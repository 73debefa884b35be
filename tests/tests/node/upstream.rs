//! The same replications under upstream's operator, which starts our movers and reads what they log.

use std::path::Path;

use serde_json::json;
use volsync_tests::rsync::NO_XATTRS;
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
fn upstreams_operator_copies_a_volume_over_ssh_with_our_mover() {
    let cluster = Cluster::take();
    let _operator = Upstream::start(&cluster);
    rsync::copy_all(&cluster.privileged_namespace("upstream-rsync"), 4);
}

#[test]
fn upstreams_operator_copies_a_volume_over_tls_with_our_mover() {
    let cluster = Cluster::take();
    let _operator = Upstream::start(&cluster);
    let namespace = cluster.privileged_namespace("upstream-rsync-tls");
    let data = namespace.claim("data", &json!(null));
    fill(&data, 6);
    let restored = rsync::copy(&namespace, &rsync::TLS, &json!({}));
    // The root itself and what is called lost+found stay as they are, at any depth.
    let moved = |dir: &Path| Tree::of(dir).filter(|path, _| path != b"." && !is_lost_and_found(path));
    moved(&data).assert_same(&moved(&restored), NO_XATTRS);
}

fn is_lost_and_found(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| name == b"lost+found")
}
