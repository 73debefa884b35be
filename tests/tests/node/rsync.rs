//! Replications of rsync, over SSH and over TLS.

use std::os::unix::fs::FileExt as _;

use serde_json::{Value, json};
use volsync_tests::rsync::{NO_XATTRS, assert_same};
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::volume::Random;

use crate::cluster::{Cluster, Namespace};
use crate::operator;
use crate::replication::{
    DESTINATION, SOURCE, destination, fill, fill_plainly, from_snapshot, image, merged, source, unprivileged,
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

/// Copies the claim `data`, and gives a claim with what has arrived.
pub(crate) fn copy(namespace: &Namespace<'_>, mover: &Mover, options: &Value) -> std::path::PathBuf {
    namespace.claim("restored", &from_snapshot(&copied(namespace, mover, options, &json!({}))))
}

/// Copies the claim `data`, and gives the name of the snapshot with what has arrived: the destination tells where it listens
/// and what for a secret it has, and the source is given both. `receiving` are options of the destination alone.
fn copied(namespace: &Namespace<'_>, mover: &Mover, options: &Value, receiving: &Value) -> String {
    let trigger = json!({ "manual": "once" });
    namespace.apply(&destination(mover.field, &trigger, &merged(options, receiving)));
    let secret = namespace.wait_for(DESTINATION, &format!(".status.{}.{}", mover.field, mover.secret));
    let address = namespace.wait_for(DESTINATION, &format!(".status.{}.address", mover.field));
    let mut options = options.clone();
    options[mover.secret] = json!(secret);
    options["address"] = json!(address);
    namespace.apply(&source(mover.field, &trigger, &options));
    let sent = completed(namespace, SOURCE);
    let logs = sent["latestMoverStatus"]["logs"].as_str().unwrap_or_default();
    assert!(logs.contains(mover.end), "{logs:?}");
    image(&completed(namespace, DESTINATION))
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

#[test]
fn a_block_volume_goes_over_tls() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.privileged_namespace("block");
    let claim = |name: &str, source: &Value| {
        namespace.apply(&json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "dataSource": source,
                "resources": { "requests": { "storage": "16Mi" } },
            },
        }));
        namespace.bound(name)
    };
    let data = claim("data", &json!(null));
    // Not all of it, and with holes between.
    let mut random = Random::new(6);
    let device = std::fs::OpenOptions::new().write(true).open(&data).unwrap();
    for at in [0, 3 << 20, (16 << 20) - 4096] {
        device.write_all_at(&random.bytes(4096), at).unwrap();
    }
    device.sync_all().unwrap();
    let receiving = json!({ "volumeMode": "Block", "capacity": "16Mi" });
    let image = copied(&namespace, &Mover { end: "diskrsync completed in", ..TLS }, &json!({}), &receiving);
    let restored = claim("restored", &from_snapshot(&image));
    assert!(std::fs::read(&data).unwrap() == std::fs::read(&restored).unwrap(), "the volumes differ");
}
