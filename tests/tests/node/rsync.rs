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
    /// The source's Job.
    pub(crate) job: &'static str,
    /// What the names of both replications end in.
    suffix: &'static str,
}

pub(crate) const SSH: Mover = Mover {
    field: "rsync",
    secret: "sshKeys",
    end: "Rsync completed in",
    job: "job/volsync-rsync-src-source",
    suffix: "",
};
pub(crate) const TLS: Mover = Mover {
    field: "rsyncTLS",
    secret: "keySecret",
    end: "rsync completed in",
    job: "job/volsync-rsync-tls-src-source",
    suffix: "",
};
pub(crate) const TLS_OF_BLOCKS: Mover = Mover { end: "diskrsync completed in", ..TLS };

/// Longer than any name of a Service or a Job may be.
const LONG: &str = "-whose-name-is-as-long-as-those-that-people-make-up-of-several-others";

impl Mover {
    /// `kubectl`'s name of one end.
    fn object(&self, end: &str) -> String {
        format!("{end}{}", self.suffix)
    }

    /// An end under the name that it has here.
    fn named(&self, mut replication: Value) -> Value {
        let name = self.object(replication["metadata"]["name"].as_str().unwrap());
        replication["metadata"]["name"] = json!(name);
        replication
    }
}

/// Copies the claim `data`, and gives a claim with what has arrived.
pub(crate) fn copy(namespace: &Namespace<'_>, mover: &Mover, options: &Value) -> std::path::PathBuf {
    namespace.claim("restored", &from_snapshot(&copied(namespace, mover, options, &json!({}))))
}

/// Copies the claim `data`, and gives the name of the snapshot with what has arrived.
fn copied(namespace: &Namespace<'_>, mover: &Mover, options: &Value, receiving: &Value) -> String {
    begin(namespace, mover, options, [&json!({}), receiving]);
    end(namespace, mover)
}

/// Begins to copy the claim `data`: the destination tells where it listens and what for a secret it has, and the source is given
/// both. Besides the options of both there are those of the source and of the destination alone.
pub(crate) fn begin(namespace: &Namespace<'_>, mover: &Mover, options: &Value, [sending, receiving]: [&Value; 2]) {
    let trigger = json!({ "manual": "once" });
    let object = mover.object(DESTINATION);
    namespace.apply(&mover.named(destination(mover.field, &trigger, &merged(options, receiving))));
    let secret = namespace.wait_for(&object, &format!(".status.{}.{}", mover.field, mover.secret));
    let address = namespace.wait_for(&object, &format!(".status.{}.address", mover.field));
    let mut options = merged(options, sending);
    options[mover.secret] = json!(secret);
    options["address"] = json!(address);
    namespace.apply(&mover.named(source(mover.field, &trigger, &options)));
}

/// Waits for what was begun, and gives the name of the snapshot with what has arrived.
pub(crate) fn end(namespace: &Namespace<'_>, mover: &Mover) -> String {
    let sent = completed(namespace, &mover.object(SOURCE), "once");
    let logs = sent["latestMoverStatus"]["logs"].as_str().unwrap_or_default();
    assert!(logs.contains(mover.end), "{logs:?}");
    image(&completed(namespace, &mover.object(DESTINATION), "once"))
}

fn completed(namespace: &Namespace<'_>, object: &str, tag: &str) -> Value {
    namespace.wait_until(object, ".status.lastManualSync", tag);
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
    let namespace = cluster.privileged_namespace("rsync");
    copy_all(&namespace, 5);

    // Once more: what has changed by then, in another snapshot, and the first goes.
    let first = namespace.names("volumesnapshots");
    std::fs::write(namespace.volume("data").join("changes"), "second").unwrap();
    for object in [DESTINATION, SOURCE] {
        namespace.kubectl(&["patch", object, "--type=merge", "-p", r#"{"spec":{"trigger":{"manual":"second"}}}"#]);
    }
    completed(&namespace, SOURCE, "second");
    let second = image(&completed(&namespace, DESTINATION, "second"));
    let restored = namespace.claim("restored-second", &from_snapshot(&second));
    assert_same(&namespace.volume("data"), &restored, NO_XATTRS);
    for name in first {
        assert_ne!(name, second);
        namespace.wait_until_gone(&format!("volumesnapshot/{name}"));
    }
}

#[test]
fn a_volume_goes_over_tls_where_nobody_may_be_root() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.namespace("rsync-tls", &json!({}));
    let data = namespace.claim("data", &json!(null));
    fill_plainly(&data, 20_000, 100);
    // Slow enough to be looked at on its way.
    let slow = json!({ "moverResources": { "limits": { "cpu": "50m" } } });
    begin(&namespace, &TLS, &json!({ "moverSecurityContext": unprivileged() }), [&slow, &json!({})]);
    let files = namespace.wait_for(SOURCE, ".status.latestMoverStatus.progress.files");
    assert!((1..=20_000).contains(&files.parse::<u32>().unwrap()), "{files}");
    let restored = namespace.claim("restored", &from_snapshot(&end(&namespace, &TLS)));
    Tree::of(&data).assert_same(&Tree::of(&restored), Ignore::ALL_BUT_CONTENT);
}

/// Copies a claim without a file system.
pub(crate) fn copy_blocks(namespace: &Namespace<'_>, mover: &Mover) {
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
    let restored = claim("restored", &from_snapshot(&copied(namespace, mover, &json!({}), &receiving)));
    assert!(std::fs::read(&data).unwrap() == std::fs::read(&restored).unwrap(), "the volumes differ");
}

#[test]
fn a_block_volume_goes_over_tls() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    copy_blocks(&cluster.privileged_namespace("block"), &TLS_OF_BLOCKS);
}

#[test]
fn a_block_volume_goes_over_ssh_between_ends_of_long_names() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.privileged_namespace("block-ssh");
    copy_blocks(&namespace, &Mover { suffix: LONG, ..SSH });
    assert!(namespace.names("jobs,services").iter().all(|name| name.len() <= 63));
}
