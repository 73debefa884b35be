//! Replications of rsync over SSH.

use serde_json::{Value, json};
use volsync_tests::rsync::{NO_XATTRS, assert_same};

use crate::cluster::{Cluster, Namespace};
use crate::operator;
use crate::replication::{DESTINATION, SOURCE, destination, fill, from_snapshot, image, source};

/// Copies a volume from one claim to another within the namespace: the destination tells where it listens and with which
/// keys, and the source is given both.
pub(crate) fn copy(namespace: &Namespace<'_>, seed: u64) {
    let data = namespace.claim("data", &json!(null));
    fill(&data, seed);
    namespace.apply(&destination("rsync", &json!({ "manual": "once" }), &json!({})));
    let keys = namespace.wait_for(DESTINATION, ".status.rsync.sshKeys");
    let address = namespace.wait_for(DESTINATION, ".status.rsync.address");
    namespace.apply(&source("rsync", &json!({ "manual": "once" }), &json!({ "sshKeys": keys, "address": address })));
    let sent = completed(namespace, SOURCE);
    let logs = sent["latestMoverStatus"]["logs"].as_str().unwrap_or_default();
    for word in ["sent ", "bytes  received ", "Rsync completed in"] {
        assert!(logs.contains(word), "{word} is not in {logs:?}");
    }
    let status = completed(namespace, DESTINATION);
    let restored = namespace.claim("restored", &from_snapshot(&image(&status)));
    assert_same(&data, &restored, NO_XATTRS);
}

fn completed(namespace: &Namespace<'_>, object: &str) -> Value {
    namespace.wait_until(object, ".status.lastManualSync", "once");
    let status = namespace.get(object)["status"].clone();
    assert_eq!(status["latestMoverStatus"]["result"], "Successful", "{status}");
    status
}

#[test]
fn a_volume_goes_from_claim_to_claim() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    copy(&cluster.privileged_namespace("rsync"), 5);
}
