//! Sources and destinations, and what their statuses say.

use std::path::Path;

use serde_json::{Value, json};
use volsync_tests::volume::{self, Names};

use crate::cluster::Namespace;
use crate::minio::SECTION;

pub(crate) const SOURCE: &str = "replicationsource/source";
pub(crate) const DESTINATION: &str = "replicationdestination/destination";

/// Who movers are where nobody may be root.
pub(crate) fn unprivileged() -> Value {
    json!({
        "runAsUser": 1234, "runAsGroup": 5678, "fsGroup": 5678, "runAsNonRoot": true,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

/// Fills a volume with one of everything that a mover brings through.
pub(crate) fn fill(volume: &Path, seed: u64) {
    volume::awkward(volume, seed, Names::All);
    // Without CAP_FSETID, which neither operator grants, the kernel takes the first from directories of other groups. The
    // second is the file system's, and no mover of rclone touches it.
    volume::shell(volume, "chmod g-s shared && rm -r lost+found");
}

/// Fills a volume with what somebody who is not root can restore.
pub(crate) fn fill_plainly(volume: &Path, files: u64, size: u64) {
    volume::plain(volume, 1, files, 3, size..size + 1);
    volume::shell(volume, "chown -R 1234:5678 . && chmod -R g+rwX .");
}

/// `ReplicationSource` of the claim `data`. `options` are added to those of the mover.
pub(crate) fn source(mover: &str, trigger: &Value, options: &Value) -> Value {
    let options = merged(&json!({ "copyMethod": "Snapshot" }), options);
    object("ReplicationSource", "source", &json!({ "sourcePVC": "data", "trigger": trigger, mover: options }))
}

/// `ReplicationDestination` with a claim of its own.
pub(crate) fn destination(mover: &str, trigger: &Value, options: &Value) -> Value {
    let volume = json!({ "copyMethod": "Snapshot", "capacity": "1Gi", "accessModes": ["ReadWriteOnce"] });
    let options = merged(&volume, options);
    object("ReplicationDestination", "destination", &json!({ "trigger": trigger, mover: options }))
}

/// Where the data goes, with further options of the mover of rclone.
pub(crate) fn bucket(options: &Value) -> Value {
    let place = json!({ "rcloneConfig": "remote", "rcloneConfigSection": SECTION, "rcloneDestPath": "volumes/db" });
    merged(&place, options)
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "volsync.backube/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

pub(crate) fn merged(one: &Value, other: &Value) -> Value {
    let mut merged = one.clone();
    for (key, value) in other.as_object().unwrap() {
        merged[key] = value.clone();
    }
    merged
}

/// Waits until the sync with this tag has ended well, and checks what is said of it.
#[track_caller]
pub(crate) fn synced(namespace: &Namespace<'_>, object: &str, tag: &str) -> Value {
    namespace.wait_until(object, ".status.lastManualSync", tag);
    let status = namespace.get(object)["status"].clone();
    assert_eq!(status["latestMoverStatus"]["result"], "Successful", "{status}");
    let logs = status["latestMoverStatus"]["logs"].as_str().unwrap_or_default();
    for word in ["Transferred:", "Elapsed time:", "Rclone completed in"] {
        assert!(logs.contains(word), "{word} is not in {logs:?}");
    }
    assert!(status["lastSyncStartTime"].is_null(), "{status}");
    status
}

/// The name of the snapshot that a destination holds.
#[track_caller]
pub(crate) fn image(status: &Value) -> String {
    assert_eq!(status["latestImage"]["kind"], "VolumeSnapshot", "{status}");
    status["latestImage"]["name"].as_str().unwrap().to_owned()
}

/// The data source of a claim that is restored from a snapshot.
pub(crate) fn from_snapshot(name: &str) -> Value {
    json!({ "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name })
}

/// The data source of a claim that a destination fills.
pub(crate) fn from_destination() -> Value {
    json!({ "apiGroup": "volsync.backube", "kind": "ReplicationDestination", "name": "destination" })
}
