//! The same replications under upstream's operator, which starts our movers and reads what they log; and under ours, which
//! starts what upstream's image holds.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use volsync_tests::mover::repository;
use volsync_tests::peers;
use volsync_tests::process::run;
use volsync_tests::rsync::NO_XATTRS;
use volsync_tests::tree::{Ignore, Tree};

use crate::cluster::{Cluster, Namespace};
use crate::operator::Upstream;
use crate::replication::{
    DESTINATION, SOURCE, bucket, destination, fill, fill_plainly, from_snapshot, image, source, synced,
};
use crate::{minio, operator, rsync};

#[test]
fn upstreams_operator_pushes_and_pulls_with_our_mover_of_rclone() {
    let cluster = Cluster::take();
    let _operator = Upstream::start(&cluster);
    there_and_back(&cluster.privileged_namespace("upstream-rclone"), |data| fill(data, 3));
}

#[test]
fn our_operator_pushes_and_pulls_with_rclone_itself_in_the_image() {
    let cluster = Cluster::take();
    ours_with_the_original(&cluster);
    // Not what rclone loses.
    there_and_back(&cluster.privileged_namespace("rclone-itself"), |data| fill_plainly(data, 30, 999));
}

/// Our controller with an image of rclone, rsync, OpenSSH, stunnel and diskrsync themselves.
fn ours_with_the_original(cluster: &Cluster) {
    let image = "localhost/original:test";
    let mut build = Command::new(repository().join("tests/cluster/original-image"));
    run(build.arg(image).arg(peers::rclone()).arg(peers::diskrsync())).success();
    operator::ours_with(cluster, image);
}

/// Pushes a volume that `fill` fills, pulls it again, and compares.
fn there_and_back(namespace: &Namespace<'_>, fill: impl Fn(&Path)) {
    minio::start(namespace, &[]);
    let data = namespace.claim("data", &json!(null));
    fill(&data);
    let trigger = json!({ "manual": "once" });
    namespace.apply(&source("rclone", &trigger, &bucket(&json!({}))));
    synced(namespace, SOURCE, "once");
    namespace.apply(&destination("rclone", &trigger, &bucket(&json!({}))));
    let status = synced(namespace, DESTINATION, "once");
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
    copy_over_tls(&cluster.privileged_namespace("upstream-rsync-tls"), NO_XATTRS);
}

#[test]
fn our_operator_copies_volumes_over_ssh_with_rsync_itself_in_the_image() {
    let cluster = Cluster::take();
    ours_with_the_original(&cluster);
    rsync::copy_all(&cluster.privileged_namespace("rsync-itself"), 8);
    rsync::copy_blocks(&cluster.privileged_namespace("diskrsync-itself"), &rsync::SSH);
}

#[test]
fn our_operator_copies_volumes_over_tls_with_rsync_itself_in_the_image() {
    let cluster = Cluster::take();
    ours_with_the_original(&cluster);
    // Links get their targets at the end, which changes the directories that they are in.
    let ignore = Ignore { directory_times: true, ..NO_XATTRS };
    copy_over_tls(&cluster.privileged_namespace("rsync-itself-tls"), ignore);
    rsync::copy_blocks(&cluster.privileged_namespace("diskrsync-itself-tls"), &rsync::TLS_OF_BLOCKS);
}

/// Copies a whole volume over TLS, and compares it but for `ignore`.
fn copy_over_tls(namespace: &Namespace<'_>, ignore: Ignore) {
    let data = namespace.claim("data", &json!(null));
    fill(&data, 6);
    let restored = rsync::copy(namespace, &rsync::TLS, &json!({}));
    // The root itself and what is called lost+found stay as they are, at any depth.
    let moved = |dir: &Path| Tree::of(dir).filter(|path, _| path != b"." && !is_lost_and_found(path));
    moved(&data).assert_same(&moved(&restored), ignore);
}

fn is_lost_and_found(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| name == b"lost+found")
}
