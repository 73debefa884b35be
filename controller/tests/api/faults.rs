//! What goes wrong around a controller: its end at any moment, conflicts, a server that restarts, and its users.

use crate::{
    MESSAGE, REASON, SOURCE, bind,
    cluster::Cluster,
    prepare, prepare_in,
    proxy::{Harm, Proxy},
    reason, source, succeed,
    world::{KINDS, VOLSYNC, World},
};
use kube::Client;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A destination over TLS, which needs an object of every kind.
fn destination() -> Value {
    json!({
        "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationDestination", "metadata": { "name": "db" },
        "spec": {
            "trigger": { "manual": "one" },
            "rsyncTLS": { "copyMethod": "Snapshot", "accessModes": ["ReadWriteOnce"], "capacity": "1Gi", "cleanupTempPVC": true },
        },
    })
}

#[test]
fn a_controller_that_is_killed_after_any_write_ends_with_the_same_objects() {
    let cluster = Cluster::start();
    let plain = cluster.plain();
    let proxy = Proxy::start(plain.port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let client =
        Client::try_from(kube::Config::new(format!("http://127.0.0.1:{}", plain.port).parse().unwrap())).unwrap();
    let mut kills = 0;
    let mut run = |namespace: &str, harm: Harm| {
        let world = World { runtime: &runtime, client: client.clone(), namespace: namespace.to_owned() };
        world.call("POST", "/api/v1/namespaces", &json!({ "metadata": { "name": namespace } })).unwrap();
        let mut controller = cluster.controller_through(proxy.port);
        proxy.harm(harm, controller.id());
        world.call("POST", &format!("{VOLSYNC}/{namespace}/replicationdestinations"), &destination()).unwrap();
        let mut next = None;
        if let Harm::KillAfter(_) = harm {
            let start = Instant::now();
            // How many writes tell of the progress depends on how fast the world is: the last one may never come.
            while controller.is_running() && !world.is_synced() {
                world.turn();
                assert!(start.elapsed() < Duration::from_secs(20), "{harm:?}: {}", cluster.log("through"));
            }
            if !controller.is_running() {
                kills += 1;
                next = Some(cluster.controller_through(proxy.port));
            }
        }
        world.until_synced(&format!("{harm:?}"));
        let objects = world.objects();
        drop((controller, next));
        world.call("DELETE", &format!("{VOLSYNC}/{namespace}/replicationdestinations/db"), &Value::Null);
        (objects, proxy.writes())
    };
    let (undisturbed, writes) = run("undisturbed", Harm::None);
    let kinds: Vec<&str> = undisturbed.keys().map(|name| name.split_once('/').unwrap().0).collect();
    for (_, kind) in
        KINDS.iter().filter(|(_, kind)| !["jobs", "persistentvolumeclaims", "replicationsources"].contains(kind))
    {
        assert!(kinds.contains(kind), "no {kind} in {kinds:?}");
    }
    assert!(writes > 10, "{writes}");
    for at in 1..=writes {
        let (objects, _) = run(&format!("killed-{at}"), Harm::KillAfter(at));
        for (name, wanted) in &undisturbed {
            assert_eq!(objects.get(name), Some(wanted), "{name}, killed after write {at} of {writes}");
        }
        assert_eq!(objects.len(), undisturbed.len(), "killed after write {at}: {:?}", objects.keys());
    }
    let (objects, _) = run("conflicts", Harm::Conflict);
    assert_eq!(objects, undisturbed);
    assert!(kills > 10, "{kills} of {writes}");
}

#[test]
fn a_server_that_restarts_and_a_replication_that_goes_stop_nothing_else() {
    let mut cluster = Cluster::start();
    prepare(&cluster);
    let _controller = cluster.controller_with("controller", &["--max-concurrent-transfers=1"]);
    cluster.create(&source(&json!({ "manual": "one" })));
    cluster.wait_for("volumesnapshot/volsync-db-src");
    cluster.restart_server();
    bind(&cluster, "volumesnapshot/volsync-db-src");
    cluster.wait_for("job/volsync-rclone-src-db");

    // Another one waits for the seat, and gets it when the first is deleted in the middle of its sync.
    let mut other = source(&json!({ "manual": "one" }));
    other["metadata"]["name"] = json!("other");
    cluster.create(&other);
    cluster.wait_until("replicationsource/other", REASON, "Queued");
    assert!(!cluster.names("volumesnapshots").contains(&"volsync-other-src".to_owned()));
    cluster.kubectl(&["delete", SOURCE]);
    cluster.wait_for("volumesnapshot/volsync-other-src");
    succeed(&cluster, "job/volsync-rclone-src-db");
    bind(&cluster, "volumesnapshot/volsync-other-src");
    cluster.wait_for("job/volsync-rclone-src-other");
    succeed(&cluster, "job/volsync-rclone-src-other");
    cluster.wait_until("replicationsource/other", REASON, "WaitingForManual");
}

#[test]
fn whatever_users_write_others_are_served() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let _controller = cluster.controller();
    let long = "x".repeat(253);
    let labels: serde_json::Map<String, Value> =
        (0..4000).map(|at| (format!("not/a/label/{at}"), json!("y".repeat(100)))).collect();
    let of = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut object = source(&json!({ "manual": "one" }));
        object["metadata"]["name"] = json!(name);
        object["spec"]["rclone"]["copyMethod"] = json!("Direct");
        change(&mut object);
        cluster.create(&object);
    };
    of(&long, &|object| object["spec"]["rclone"]["copyMethod"] = json!("Clone"));
    of("cron", &|object| object["spec"]["trigger"] = json!({ "schedule": "99 * * * *" }));
    of("labels", &|object| object["spec"]["rclone"]["moverPodLabels"] = labels.clone().into());
    of("path", &|object| object["spec"]["rclone"]["rcloneDestPath"] = json!("$(id)\n`id`\"'\u{7f}/..".repeat(100)));
    of("class", &|object| object["spec"]["rclone"]["copyMethod"] = json!("Snapshot"));
    cluster
        .patch("replicationsource/class", &json!({ "spec": { "rclone": { "volumeSnapshotClassName": "nowhere" } } }));
    of("sane", &|_| ());
    cluster.wait_until(&format!("replicationsource/{long}"), REASON, "Error");
    cluster.wait_until("replicationsource/cron", REASON, "Error");
    let message = cluster.get("replicationsource/cron")["status"]["conditions"][0]["message"].clone();
    assert_eq!(message, "end of range (99) above maximum (59): 99");
    cluster.wait_until("replicationsource/labels", REASON, "Error");
    let message = cluster.get("replicationsource/labels")["status"]["conditions"][0]["message"].clone();
    assert!(message.as_str().unwrap().len() <= 32_768);
    cluster.wait_for("job/volsync-rclone-src-path");
    let path =
        cluster.get("job/volsync-rclone-src-path")["spec"]["template"]["spec"]["containers"][0]["env"][2].clone();
    assert_eq!(path["value"], "$(id)\n`id`\"'\u{7f}/..".repeat(100));
    cluster.wait_for("volumesnapshot/volsync-class-src");
    cluster.wait_until("replicationsource/class", REASON, "SyncInProgress");
    cluster.wait_for("job/volsync-rclone-src-sane");
    succeed(&cluster, "job/volsync-rclone-src-sane");
    cluster.wait_until("replicationsource/sane", REASON, "WaitingForManual");

    // Right again, and served.
    cluster.patch("replicationsource/cron", &json!({ "spec": { "trigger": { "schedule": null } } }));
    cluster.wait_for("job/volsync-rclone-src-cron");
    cluster
        .patch(SOURCE.replace("db", "labels").as_str(), &json!({ "spec": { "rclone": { "moverPodLabels": null } } }));
    cluster.wait_for("job/volsync-rclone-src-labels");
    cluster.wait_until("replicationsource/labels", MESSAGE, "Synchronization in-progress");
}

/// A namespace that goes takes no new objects, and keeps those that it has for as long as somebody holds them.
#[test]
fn a_namespace_that_goes_stops_nothing_else() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let mut controller = cluster.controller();
    cluster.kubectl(&["create", "namespace", "going"]);
    prepare_in(&cluster, "going");
    cluster.create_in("going", &source(&json!({ "manual": "one" })));
    let of_going = |words: &[&str]| cluster.kubectl(&[words, &["--namespace=going"]].concat());
    let snapshot = "volumesnapshot/volsync-db-src";
    of_going(&["wait", "--for=create", snapshot, "--timeout=30s"]);
    of_going(&["delete", "namespace/going", "--wait=false"]);
    // There is no controller of namespaces here that would take everything away: the sync goes on as far as it can.
    let ready = json!({ "status": { "boundVolumeSnapshotContentName": "c", "readyToUse": true } }).to_string();
    of_going(&["patch", snapshot, "--type=merge", "--subresource=status", "-p", &ready]);
    let terminated = "--for=jsonpath={.status.conditions[0].reason}=Error";
    of_going(&["wait", terminated, SOURCE, "--timeout=30s"]);
    let message = of_going(&["get", SOURCE, "-o", "jsonpath={.status.conditions[0].message}"]);
    assert!(message.contains("because it is being terminated"), "{message}");

    cluster.create(&source(&json!({ "manual": "one" })));
    cluster.wait_for(snapshot);
    of_going(&["delete", SOURCE, "secret/remote", "--wait=false"]);
    bind(&cluster, snapshot);
    cluster.wait_for("job/volsync-rclone-src-db");
    succeed(&cluster, "job/volsync-rclone-src-db");
    cluster.wait_until(SOURCE, REASON, "WaitingForManual");
    assert!(controller.is_running());
}

#[test]
fn a_sync_ends_although_nobody_may_be_told() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let role = "clusterrole/volsync-manager";
    let rules = cluster.get(role)["rules"].as_array().unwrap().clone();
    let others: Vec<Value> = rules.into_iter().filter(|rule| rule["apiGroups"] != json!(["events.k8s.io"])).collect();
    cluster.patch(role, &json!({ "rules": others }));
    let _controller = cluster.controller();
    cluster.create(&source(&json!({ "manual": "one" })));
    cluster.wait_for("volumesnapshot/volsync-db-src");
    bind(&cluster, "volumesnapshot/volsync-db-src");
    cluster.wait_for("job/volsync-rclone-src-db");
    succeed(&cluster, "job/volsync-rclone-src-db");
    cluster.wait_until(SOURCE, REASON, "WaitingForManual");
    assert!(cluster.event_reasons().is_empty(), "{:?}", cluster.event_reasons());
    assert!(cluster.log("controller").contains("an event was not taken"));
}

/// Most often its class is missing. Half a minute is upstream's patience.
#[test]
fn a_snapshot_that_does_not_come_is_told_of() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let _controller = cluster.controller();
    let mut object = source(&json!({ "manual": "one" }));
    object["spec"]["rclone"]["volumeSnapshotClassName"] = json!("nowhere");
    cluster.create(&object);
    cluster.wait_for("volumesnapshot/volsync-db-src");
    let start = Instant::now();
    while !cluster.event_reasons().contains(&"VolumeSnapshotNotBound".to_owned()) {
        assert!(start.elapsed() < Duration::from_secs(45), "{:?}", cluster.event_reasons());
        // A change, to be looked at before the minute is over after which it would be anyway.
        cluster.patch(SOURCE, &json!({ "metadata": { "annotations": { "at": format!("{:?}", start.elapsed()) } } }));
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(start.elapsed() > Duration::from_secs(28), "{:?}", start.elapsed());
    let notes = cluster.kubectl(&["get", "events.events.k8s.io", "-o", "jsonpath={.items[*].note}"]);
    assert!(notes.contains("check VolumeSnapshotClass name"), "{notes}");
}

/// The status remembers how often it failed, and until when the next try waits.
#[test]
fn a_controller_that_starts_waits_as_long_as_the_one_before_would_have() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let mut direct = source(&json!({}));
    direct["spec"]["rclone"]["copyMethod"] = json!("Direct");
    cluster.create(&direct);
    let controller = cluster.controller();
    let job = "job/volsync-rclone-src-db";
    cluster.wait_for(job);
    let fail = || {
        cluster.patch_status(job, &json!({ "failed": 2 }));
        cluster.wait_until_gone(job);
    };
    let failed = Instant::now();
    fail();
    cluster.wait_until(SOURCE, ".status.latestMoverStatus.failures", "1");
    drop(controller);
    let _controller = cluster.controller();
    cluster.wait_for(job);
    // Whole seconds are kept.
    assert!((8..15).contains(&failed.elapsed().as_secs()), "{:?}", failed.elapsed());
    fail();
    cluster.wait_until(SOURCE, ".status.latestMoverStatus.failures", "2");

    // Who changes what is asked for need not wait, and what succeeds is forgotten.
    cluster.patch(
        SOURCE,
        &json!({ "spec": { "rclone": { "moverPodLabels": { "a": "b" } }, "trigger": { "manual": "one" } } }),
    );
    cluster.wait_for(job);
    succeed(&cluster, job);
    cluster.wait_until(SOURCE, REASON, "WaitingForManual");
    assert_eq!(cluster.get(SOURCE)["status"]["latestMoverStatus"], json!({ "result": "Successful" }));
}

/// While a controller could not watch, the server has forgotten what happened since: watches are refused with 410, and begin
/// anew.
#[test]
fn what_happened_while_nobody_watched_is_found() {
    let mut cluster = Cluster::start();
    prepare(&cluster);
    let _controller = cluster.controller();
    cluster.create(&source(&json!({ "manual": "one" })));
    cluster.wait_for("volumesnapshot/volsync-db-src");
    cluster.restart_server_without_history();
    bind(&cluster, "volumesnapshot/volsync-db-src");
    cluster.wait_for("job/volsync-rclone-src-db");
    succeed(&cluster, "job/volsync-rclone-src-db");
    cluster.wait_until(SOURCE, REASON, "WaitingForManual");
    let log = cluster.log("controller");
    assert!(log.contains("a watch begins anew") && log.contains("too old resource version"), "{log}");
}

/// Pods may be what a volume waits for: the Job is made, the sync goes on, and so do others.
#[test]
fn a_claim_that_stays_pending_holds_up_its_own_sync_alone() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let _controller = cluster.controller();
    cluster.create(&source(&json!({ "manual": "one" })));
    cluster.wait_for("volumesnapshot/volsync-db-src");
    bind(&cluster, "volumesnapshot/volsync-db-src");
    cluster.wait_for("job/volsync-rclone-src-db");
    cluster.patch_status("pvc/volsync-db-src", &json!({ "phase": "Pending" }));
    let mut other = source(&json!({ "manual": "one" }));
    other["metadata"]["name"] = json!("other");
    cluster.create(&other);
    cluster.wait_for("volumesnapshot/volsync-other-src");
    bind(&cluster, "volumesnapshot/volsync-other-src");
    cluster.wait_for("job/volsync-rclone-src-other");
    succeed(&cluster, "job/volsync-rclone-src-other");
    cluster.wait_until("replicationsource/other", REASON, "WaitingForManual");
    let waiting = cluster.get(SOURCE);
    assert_eq!((reason(&waiting), &waiting["status"]["lastSyncTime"]), ("SyncInProgress", &Value::Null));
    cluster.patch_status("pvc/volsync-db-src", &json!({ "phase": "Bound" }));
    succeed(&cluster, "job/volsync-rclone-src-db");
    cluster.wait_until(SOURCE, REASON, "WaitingForManual");
}

/// A clock that was years ahead, and is right again: what it has written into statuses is in the future.
#[test]
fn a_clock_that_jumped_back_ends_no_sync_and_starts_none() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let later = "2099-01-01T00:00:00Z";
    let mut direct = source(&json!({ "schedule": "0 0 1 1 *" }));
    direct["spec"]["rclone"]["copyMethod"] = json!("Direct");
    cluster.create(&direct);
    cluster.patch_status(SOURCE, &json!({ "lastSyncStartTime": later }));
    let _controller = cluster.controller();
    cluster.wait_for("job/volsync-rclone-src-db");
    succeed(&cluster, "job/volsync-rclone-src-db");
    cluster.wait_until(SOURCE, REASON, "WaitingForSchedule");
    assert_eq!(cluster.get(SOURCE)["status"]["lastSyncDuration"], "0s");
    cluster.patch_status(SOURCE, &json!({ "lastSyncTime": later }));
    cluster.wait_until(SOURCE, ".status.nextSyncTime", "2100-01-01T00:00:00Z");
    assert!(cluster.names("jobs").is_empty(), "{:?}", cluster.names("jobs"));
}
