//! Replications against a real API server. The test takes the parts of the scheduler, of the Job controller and
//! of the snapshot controller.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

mod cluster;
mod faults;
mod operation;
mod populate;
mod proxy;
mod rsync;
mod upstream;
mod world;

use cluster::Cluster;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A claim with data, and a secret with a remote.
fn prepare(cluster: &Cluster) {
    prepare_in(cluster, "prod");
}

fn prepare_in(cluster: &Cluster, namespace: &str) {
    let create = |object| cluster.create_in(namespace, &object);
    create(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": { "requests": { "storage": "1Gi" } },
        },
    }));
    create(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "remote" },
        "stringData": { "rclone.conf": "[s3]\ntype = s3\n", "RCLONE_BWLIMIT": "10M" },
    }));
}

fn replication(kind: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "volsync.backube/v1alpha1", "kind": kind, "metadata": { "name": "db" }, "spec": spec })
}

fn source(trigger: &Value) -> Value {
    replication(
        "ReplicationSource",
        &json!({
            "sourcePVC": "data",
            "trigger": trigger,
            "rclone": { "rcloneConfig": "remote", "rcloneConfigSection": "s3", "rcloneDestPath": "bucket/db", "copyMethod": "Snapshot" },
        }),
    )
}

/// Fails unless `found` has all that is wanted of it, at any depth. Lists must be as long as wanted.
#[track_caller]
fn has(found: &Value, wanted: &Value) {
    if let Some(difference) = difference("", found, wanted) {
        panic!("{difference}");
    }
}

fn difference(path: &str, found: &Value, wanted: &Value) -> Option<String> {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().find_map(|(key, value)| {
            difference(&format!("{path}.{key}"), found.get(key).unwrap_or(&Value::Null), value)
        }),
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            let mut pairs = found.iter().zip(wanted).enumerate();
            pairs.find_map(|(at, (found, wanted))| difference(&format!("{path}[{at}]"), found, wanted))
        }
        _ => (found != wanted).then(|| format!("{path} is {found} and should be {wanted}")),
    }
}

fn reason(object: &Value) -> &str {
    object["status"]["conditions"][0]["reason"].as_str().unwrap_or_default()
}

const SOURCE: &str = "replicationsource/db";
const DESTINATION: &str = "replicationdestination/db";
const REASON: &str = ".status.conditions[0].reason";
const MESSAGE: &str = ".status.conditions[0].message";

fn bind(cluster: &Cluster, snapshot: &str) {
    cluster.patch_status(
        snapshot,
        &json!({ "boundVolumeSnapshotContentName": "c", "readyToUse": true, "restoreSize": "2Gi" }),
    );
}

fn succeed(cluster: &Cluster, job: &str) {
    cluster.patch_status(job, &json!({ "succeeded": 1 }));
}

#[test]
fn a_source_is_pushed_once_for_each_tag_even_if_the_controller_is_killed() {
    let cluster = Cluster::start();
    prepare(&cluster);
    cluster.create(&source(&json!({ "manual": "one" })));
    let controller = cluster.controller();
    cluster.wait_for("volumesnapshot/volsync-db-src");
    cluster.wait_until(SOURCE, REASON, "SyncInProgress");
    assert_eq!(cluster.get("volumesnapshot/volsync-db-src")["spec"]["source"]["persistentVolumeClaimName"], "data");

    // Killed while it waits; the next one goes on with the same snapshot.
    let uid = cluster.get("volumesnapshot/volsync-db-src")["metadata"]["uid"].clone();
    drop(controller);
    bind(&cluster, "volumesnapshot/volsync-db-src");
    let _controller = cluster.controller();
    cluster.wait_for("job/volsync-rclone-src-db");
    assert_eq!(cluster.get("volumesnapshot/volsync-db-src")["metadata"]["uid"], uid);
    let copy = cluster.get("pvc/volsync-db-src");
    assert_eq!(copy["spec"]["resources"]["requests"]["storage"], "2Gi");
    assert_eq!(copy["spec"]["dataSource"]["name"], "volsync-db-src");
    let job = cluster.get("job/volsync-rclone-src-db");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "volsync-src-db");
    assert_eq!(pod["containers"][0]["env"][0]["name"], "RCLONE_BWLIMIT");
    assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "db");
    for object in ["serviceaccount", "role", "rolebinding"] {
        cluster.get(&format!("{object}/volsync-src-db"));
    }

    succeed(&cluster, "job/volsync-rclone-src-db");
    cluster.wait_until(SOURCE, REASON, "WaitingForManual");
    let ended = cluster.get(SOURCE);
    assert_eq!(ended["status"]["lastManualSync"], "one");
    assert_eq!(ended["status"]["latestMoverStatus"]["result"], "Successful");
    assert_eq!(ended["status"]["lastSyncStartTime"], Value::Null);
    assert!(ended["status"]["lastSyncDuration"].as_str().unwrap().ends_with('s'));
    // The protection of claims has no controller here that would take it off.
    cluster.patch("pvc/volsync-db-src", &json!({ "metadata": { "finalizers": null } }));
    for object in ["job/volsync-rclone-src-db", "volumesnapshot/volsync-db-src", "pvc/volsync-db-src"] {
        cluster.wait_until_gone(object);
    }

    cluster.patch(SOURCE, &json!({ "spec": { "trigger": { "manual": "two" } } }));
    cluster.wait_for("volumesnapshot/volsync-db-src");
    cluster.wait_until(SOURCE, REASON, "SyncInProgress");
}

#[test]
fn a_failed_job_is_made_again_and_a_paused_one_runs_no_pod() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let mut direct = source(&json!({}));
    direct["spec"]["rclone"]["copyMethod"] = json!("Direct");
    cluster.create(&direct);
    let _controller = cluster.controller();
    cluster.wait_for("job/volsync-rclone-src-db");
    let first = cluster.get("job/volsync-rclone-src-db")["metadata"]["uid"].as_str().unwrap().to_owned();
    cluster.patch(SOURCE, &json!({ "spec": { "paused": true } }));
    cluster.wait_until("job/volsync-rclone-src-db", ".spec.parallelism", "0");
    cluster.patch(SOURCE, &json!({ "spec": { "paused": false } }));
    cluster.wait_until("job/volsync-rclone-src-db", ".spec.parallelism", "1");
    assert_eq!(cluster.get("job/volsync-rclone-src-db")["metadata"]["uid"], first.as_str());

    // Made again, and not at once.
    let failed = Instant::now();
    cluster.patch_status("job/volsync-rclone-src-db", &json!({ "failed": 2 }));
    cluster.wait_until(SOURCE, ".status.latestMoverStatus.result", "Failed");
    assert_eq!(reason(&cluster.get(SOURCE)), "SyncInProgress");
    cluster.wait_until_gone("job/volsync-rclone-src-db");
    cluster.wait_for("job/volsync-rclone-src-db");
    assert!(failed.elapsed() > Duration::from_secs(9), "{:?}", failed.elapsed());

    // Whoever changes what is asked for need not wait.
    cluster.patch_status("job/volsync-rclone-src-db", &json!({ "failed": 2 }));
    cluster.wait_until_gone("job/volsync-rclone-src-db");
    let changed = Instant::now();
    cluster.patch(SOURCE, &json!({ "spec": { "rclone": { "moverPodLabels": { "a": "b" } } } }));
    cluster.wait_for("job/volsync-rclone-src-db");
    assert!(changed.elapsed() < Duration::from_secs(9), "{:?}", changed.elapsed());

    // A changed template cannot be patched: the Job is another one afterwards.
    let second = cluster.get("job/volsync-rclone-src-db")["metadata"]["uid"].as_str().unwrap().to_owned();
    assert_ne!(second, first);
    cluster.patch(SOURCE, &json!({ "spec": { "rclone": { "rcloneDestPath": "bucket/other" } } }));
    cluster.wait_until_remade(
        "job/volsync-rclone-src-db",
        ".spec.template.spec.containers[0].env[2].value",
        "bucket/other",
    );
}

#[test]
fn a_destination_keeps_the_last_snapshot() {
    let cluster = Cluster::start();
    prepare(&cluster);
    cluster.create(&replication("ReplicationDestination", &json!({
        "trigger": { "manual": "one" },
        "rclone": {
            "rcloneConfig": "remote", "rcloneConfigSection": "s3", "rcloneDestPath": "bucket/db", "copyMethod": "Snapshot",
            "accessModes": ["ReadWriteOnce"], "capacity": "1024Mi",
        },
    })));
    let _controller = cluster.controller();
    let mut images = Vec::new();
    for tag in ["one", "two"] {
        cluster.patch(DESTINATION, &json!({ "spec": { "trigger": { "manual": tag } } }));
        cluster.wait_for("job/volsync-rclone-dst-db");
        succeed(&cluster, "job/volsync-rclone-dst-db");
        let snapshot = cluster.snapshot_of("pvc/volsync-db-dest");
        let name = snapshot.split_once('/').unwrap().1;
        // Bound and not ready: the image is not there yet.
        cluster.patch_status(&snapshot, &json!({ "boundVolumeSnapshotContentName": "c", "readyToUse": false }));
        bind(&cluster, &snapshot);
        cluster.wait_until(DESTINATION, ".status.lastManualSync", tag);
        let image = cluster.get(DESTINATION)["status"]["latestImage"].clone();
        assert_eq!(image, json!({ "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name }));
        cluster.wait_until(DESTINATION, REASON, "WaitingForManual");
        cluster.wait_until_gone("job/volsync-rclone-dst-db");
        images.push(snapshot);
    }
    assert_ne!(images[0], images[1]);
    cluster.wait_until_gone(&images[0]);
    assert_eq!(cluster.get(&images[1])["metadata"]["labels"]["app.kubernetes.io/created-by"], "volsync");
    assert_eq!(cluster.get("pvc/volsync-db-dest")["metadata"]["annotations"]["volsync.backube/snapname"], Value::Null);
}

/// What the other tests have shown to suffice is little.
#[test]
fn the_controllers_account_is_no_administrator() {
    let cluster = Cluster::start();
    let account = "--as=system:serviceaccount:prod:volsync";
    for (verb, object, may) in [
        ("create", "jobs", true),
        ("create", "pods", false),
        ("update", "secrets", false),
        ("delete", "serviceaccounts", false),
        ("update", "replicationsources", false),
        ("create", "clusterroles", false),
        ("*", "*", false),
    ] {
        let answer = cluster.answer(&["auth", "can-i", account, verb, object]);
        assert_eq!(answer, if may { "yes" } else { "no" }, "{verb} {object}");
    }
}

#[test]
fn what_is_wrong_is_in_the_condition() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let _controller = cluster.controller();
    let mut object = source(&json!({ "schedule": "0 0 * * MON" }));
    object["spec"]["rclone"]["rcloneConfig"] = json!("");
    cluster.create(&object);
    cluster.wait_until(SOURCE, MESSAGE, "unable to get Rclone config secret name");
    cluster.patch(SOURCE, &json!({ "spec": { "rclone": { "rcloneConfig": "nowhere" } } }));
    cluster.wait_until(SOURCE, MESSAGE, "secrets \"nowhere\" not found");
    cluster.patch(SOURCE, &json!({ "spec": { "rclone": { "rcloneConfig": "remote", "copyMethod": null } } }));
    cluster.wait_until(SOURCE, MESSAGE, "unsupported copyMethod:  -- must be Direct, None, Clone, or Snapshot");
    cluster.patch(SOURCE, &json!({ "spec": { "rsync": {} } }));
    cluster.wait_until(SOURCE, MESSAGE, "only one replication method can be supplied");
    cluster.patch(
        SOURCE,
        &json!({ "spec": { "rclone": null, "rsync": { "copyMethod": "Direct", "sshKeys": "remote" } } }),
    );
    cluster.wait_until(SOURCE, MESSAGE, "secret should have fields: [source source.pub destination.pub]");
    cluster.create(&replication("ReplicationDestination", &json!({ "restic": { "repository": "r" } })));
    let message =
        "restic is not supported: a replication method must be specified - enabled movers: [rclone rsync rsync-tls]";
    cluster.wait_until(DESTINATION, MESSAGE, message);
    let mut other = replication("ReplicationSource", &json!({ "sourcePVC": "data", "syncthing": { "peers": [] } }));
    other["metadata"]["name"] = json!("other");
    cluster.create(&other);
    cluster.wait_until("replicationsource/other", MESSAGE, &message.replace("restic", "syncthing"));
    let refused = cluster.get("replicationsource/other");
    assert_eq!(refused["status"]["conditions"][0]["status"], "False");
    assert_eq!(reason(&refused), "Error");
    assert_eq!(refused["spec"]["syncthing"], json!({ "peers": [] }), "kept as it was");
}

/// Upstream runs one sync after the other then.
#[test]
fn a_schedule_that_never_fires_is_an_error_and_no_loop() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let mut direct = source(&json!({ "schedule": "0 0 31 2 *" }));
    direct["spec"]["rclone"]["copyMethod"] = json!("Direct");
    cluster.create(&direct);
    let _controller = cluster.controller();
    cluster.wait_for("job/volsync-rclone-src-db");
    succeed(&cluster, "job/volsync-rclone-src-db");
    cluster.wait_until(SOURCE, MESSAGE, "the schedule never fires: change spec.trigger.schedule");
    cluster.wait_until_gone("job/volsync-rclone-src-db");
    let before = cluster.get(SOURCE);
    assert_eq!(before["status"]["nextSyncTime"], Value::Null);
    // Looked at again, and nothing changes.
    cluster.patch(SOURCE, &json!({ "metadata": { "annotations": { "a": "b" } } }));
    cluster.create(&replication("ReplicationDestination", &json!({ "restic": {} })));
    cluster.wait_until(DESTINATION, REASON, "Error");
    assert_eq!(cluster.get(SOURCE)["status"], before["status"]);
    assert!(cluster.names("jobs").is_empty());
}
