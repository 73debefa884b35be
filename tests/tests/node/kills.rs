//! The controller is killed in the middle of what it does, and the next one brings it to its end, once.

use serde_json::json;
use volsync_tests::tree::{Ignore, Tree};

use crate::cluster::{Cluster, Namespace};
use crate::operator;
use crate::replication::{fill_plainly, from_destination, from_snapshot};
use crate::rsync::{self, Mover, SSH, TLS};

fn killed_while_a_pair_works(namespace: &Namespace<'_>, mover: &Mover) {
    let data = namespace.claim("data", &json!(null));
    fill_plainly(&data, 40, 100_000);
    rsync::begin(namespace, mover, &json!({}), [&json!({}), &json!({})]);
    namespace.wait_until_made(mover.job);
    operator::kill_ours(namespace.cluster);
    let image = rsync::end(namespace, mover);
    let restored = namespace.claim("restored", &from_snapshot(&image));
    Tree::of(&data).assert_same(&Tree::of(&restored), Ignore::ALL_BUT_CONTENT);
    let events = namespace.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
    // Of each end one; the source makes a snapshot and the destination another.
    for (reason, times) in [("SynchronizationStarted", 2), ("TransferStarted", 2), ("VolumeSnapshotCreated", 2)] {
        assert_eq!(events.split_whitespace().filter(|found| *found == reason).count(), times, "{reason}: {events}");
    }
}

#[test]
fn a_pair_over_ssh_and_a_claim_that_is_filled_outlive_the_controller() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.privileged_namespace("killed-ssh");
    killed_while_a_pair_works(&namespace, &SSH);

    namespace.ask_for_claim("filled", "dataSourceRef", &from_destination());
    let uid = namespace.get("pvc/filled")["metadata"]["uid"].as_str().unwrap().to_owned();
    let helper = format!("pvc/vs-prime-{uid}");
    namespace.wait_until_made(&helper);
    operator::kill_ours(&cluster);
    let filled = namespace.bound("filled");
    Tree::of(&namespace.volume("data")).assert_same(&Tree::of(&filled), Ignore::ALL_BUT_CONTENT);
    namespace.wait_until_gone(&helper);
    assert_eq!(namespace.names("volumesnapshots").len(), 1);
}

#[test]
fn a_pair_over_tls_outlives_the_controller() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    killed_while_a_pair_works(&cluster.privileged_namespace("killed-tls"), &TLS);
}
