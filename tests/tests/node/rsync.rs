//! Replications of rsync, over SSH and over TLS.

use serde_json::{Value, json};
use volsync_tests::rsync::{NO_XATTRS, assert_same};
use volsync_tests::tree::{Ignore, Tree};

use crate::cluster::{Cluster, Namespace};
use crate::operator;
use crate::replication::{
    DESTINATION, SOURCE, destination, fill, fill_plainly, from_snapshot, image, source, unprivileged,
};

/// What differs between the two movers.
pub(crate) struct Mover {
    /// Its field of a specification, and of a status.
    field: &'static str,
    /// The field that names the secret, in both.
    secret: &'static str,
    /// What the source logs at its end.
    end: &'static str,
}

const SSH: Mover = Mover { field: "rsync", secret: "sshKeys", end: "Rsync completed in" };
pub(crate) const TLS: Mover = Mover { field: "rsyncTLS", secret: "keySecret", end: "rsync completed in" };

/// Copies the claim `data`, and gives a claim with what has arrived: the destination tells where it listens and what for a
/// secret it has, and the source is given both.
pub(crate) fn copy(namespace: &Namespace<'_>, mover: &Mover, options: &Value) -> std::path::PathBuf {
    let trigger = json!({ "manual": "once" });
    namespace.apply(&destination(mover.field, &trigger, options));
    let secret = namespace.wait_for(DESTINATION, &format!(".status.{}.{}", mover.field, mover.secret));
    let address = namespace.wait_for(DESTINATION, &format!(".status.{}.address", mover.field));
    let mut options = options.clone();
    options[mover.secret] = json!(secret);
    options["address"] = json!(address);
    namespace.apply(&source(mover.field, &trigger, &options));
    let sent = completed(namespace, SOURCE);
    let logs = sent["latestMoverStatus"]["logs"].as_str().unwrap_or_default();
    assert!(logs.contains(mover.end), "{logs:?}");
    let status = completed(namespace, DESTINATION);
    namespace.claim("restored", &from_snapshot(&image(&status)))
}

fn completed(namespace: &Namespace<'_>, object: &str) -> Value {
    namespace.wait_until(object, ".status.lastManualSync", "once");
    let status = namespace.get(object)["status"].clone();
    assert_eq!(status["latestMoverStatus"]["result"], "Successful", "{status}");
    status
}

/// A whole volume over SSH, by movers that are root.
pub(crate) fn copy_all(namespace: &Namespace<'_>, seed: u64) {
    let data = namespace.claim("data", &json!(null));
    fill(&data, seed);
    assert_same(&data, &copy(namespace, &SSH, &json!({})), NO_XATTRS);
}

#[test]
fn a_volume_goes_from_claim_to_claim_over_ssh() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    copy_all(&cluster.privileged_namespace("rsync"), 5);
}

#[test]
fn a_volume_goes_over_tls_where_nobody_may_be_root() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.namespace("rsync-tls", &json!({}));
    let data = namespace.claim("data", &json!(null));
    fill_plainly(&data, 40, 100_000);
    let restored = copy(&namespace, &TLS, &json!({ "moverSecurityContext": unprivileged() }));
    Tree::of(&data).assert_same(&Tree::of(&restored), Ignore::ALL_BUT_CONTENT);
}
