//! The same replications under VolSync's own controller and under ours: the same objects, while a sync runs and when it has
//! ended.

use crate::{
    cluster::{Cluster, Plain, Running},
    difference,
    world::{VOLSYNC, World},
};
use kube::Client;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Replications that between them use every field that makes a difference to objects.
fn cases() -> Vec<(&'static str, &'static str, Value)> {
    let destination = json!({ "copyMethod": "Snapshot", "accessModes": ["ReadWriteOnce"], "capacity": "1Gi" });
    let with = |base: &Value, more: Value| {
        let mut all = base.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let remote = json!({ "rcloneConfig": "remote", "rcloneConfigSection": "s3", "rcloneDestPath": "bucket/db" });
    let pod = json!({
        "moverSecurityContext": { "runAsUser": 1234, "fsGroup": 5678, "fsGroupChangePolicy": "Always" },
        "moverPodLabels": { "a": "b" }, "moverResources": { "limits": { "memory": "1Gi" } },
        "moverAffinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [] } },
        "moverVolumes": [{ "mountPath": "more", "volumeSource": { "secret": { "secretName": "remote" } } }],
    });
    let source =
        |method: &str, spec: Value| json!({ "sourcePVC": "data", "trigger": { "manual": "one" }, method: spec });
    let sink = |method: &str, spec: Value| json!({ "trigger": { "manual": "one" }, method: spec });
    let ca = json!({ "copyMethod": "Snapshot", "customCA": { "secretName": "remote", "key": "rclone.conf" } });
    let classes = json!({ "copyMethod": "Snapshot", "storageClassName": "s", "volumeSnapshotClassName": "v", "capacity": "3Gi", "accessModes": ["ReadOnlyMany"] });
    vec![
        ("rclone-source", "replicationsources", source("rclone", with(&with(&remote, ca), pod.clone()))),
        ("rclone-classes", "replicationsources", source("rclone", with(&remote, classes))),
        (
            "rclone-sink",
            "replicationdestinations",
            sink("rclone", with(&with(&remote, destination.clone()), pod.clone())),
        ),
        (
            "rclone-direct",
            "replicationdestinations",
            sink("rclone", with(&remote, json!({ "copyMethod": "Direct", "destinationPVC": "data" }))),
        ),
        (
            "rsync-source",
            "replicationsources",
            source("rsync", json!({ "copyMethod": "Clone", "address": "a", "port": 1 })),
        ),
        (
            "rsync-sink",
            "replicationdestinations",
            sink(
                "rsync",
                with(&destination, json!({ "port": 2222, "serviceAnnotations": { "a": "b" }, "volumeMode": "Block" })),
            ),
        ),
        (
            "tls-source",
            "replicationsources",
            source("rsyncTLS", with(&json!({ "copyMethod": "Direct", "address": "a" }), pod)),
        ),
        (
            "tls-sink",
            "replicationdestinations",
            sink("rsyncTLS", with(&destination, json!({ "serviceType": "NodePort", "cleanupTempPVC": true }))),
        ),
    ]
}

/// Objects of each case by their names, while its sync runs and when it has ended; and what was told.
type Objects = BTreeMap<String, BTreeMap<String, Value>>;
struct Seen {
    running: Objects,
    ended: Objects,
    events: BTreeMap<String, BTreeSet<String>>,
}

/// All objects, once they stay as they are: a controller may write two of them one after the other.
fn settled(worlds: &[(&str, World<'_>)]) -> Objects {
    let objects = || worlds.iter().map(|(case, world)| ((*case).to_owned(), world.objects())).collect();
    let mut before: Objects = objects();
    loop {
        std::thread::sleep(Duration::from_millis(700));
        let now = objects();
        if now == before {
            return now;
        }
        before = now;
    }
}

/// A namespace for each case, with everything that its replication needs, and the replication.
fn create<'a>(plain: &Plain, runtime: &'a tokio::runtime::Runtime, whose: &str) -> Vec<(&'static str, World<'a>)> {
    let server = format!("http://127.0.0.1:{}", plain.port);
    let client = Client::try_from(kube::Config::new(server.parse().unwrap())).unwrap();
    let world = |case: &str| World { runtime, client: client.clone(), namespace: format!("{whose}-{case}") };
    let worlds: Vec<_> = cases().iter().map(|(case, _, _)| (*case, world(case))).collect();
    for ((case, plural, spec), (_, world)) in cases().into_iter().zip(&worlds) {
        let namespace = &world.namespace;
        // Movers of rsync over TLS are root in one case.
        let annotations = json!({ "volsync.backube/privileged-movers": (case == "tls-sink").to_string() });
        let metadata = json!({ "name": namespace, "annotations": annotations });
        world.call("POST", "/api/v1/namespaces", &json!({ "metadata": metadata })).unwrap();
        let core = format!("/api/v1/namespaces/{namespace}");
        world.call("POST", &format!("{core}/secrets"), &json!({
            "metadata": { "name": "remote" }, "stringData": { "rclone.conf": "x", "RCLONE_B": "1", "RCLONE_A": "2", "other": "" },
        })).unwrap();
        world.call("POST", &format!("{core}/persistentvolumeclaims"), &json!({
            "metadata": { "name": "data" },
            "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": { "requests": { "storage": "1Gi" } } },
        })).unwrap();
        let kind = if plural == "replicationsources" { "ReplicationSource" } else { "ReplicationDestination" };
        world
            .call(
                "POST",
                &format!("{VOLSYNC}/{namespace}/{plural}"),
                &json!({
                    "apiVersion": "volsync.backube/v1alpha1", "kind": kind, "metadata": { "name": "db" }, "spec": spec,
                }),
            )
            .unwrap();
    }
    worlds
}

fn run(plain: &Plain, runtime: &tokio::runtime::Runtime, whose: &str, start: impl Fn() -> Running) -> Seen {
    let worlds = create(plain, runtime, whose);
    let _controller = start();
    for (case, world) in &worlds {
        world.until_running(&format!("{whose}, {case}"));
    }
    let running = settled(&worlds);
    for (case, world) in &worlds {
        world.until_synced(&format!("{whose}, {case}"));
    }
    let ended = settled(&worlds);
    let events = worlds.iter().map(|(case, world)| ((*case).to_owned(), world.events())).collect();
    Seen { running, ended, events }
}

#[test]
fn the_same_replications_have_the_same_objects() {
    let cluster = Cluster::start();
    let plain = cluster.plain();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    cluster.create(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "pull" }, "type": "example.com/pull",
        "stringData": { "token": "x" },
    }));
    let pull = ["--mover-image-pull-secrets=pull,nowhere"];
    let ours = run(&plain, &runtime, "ours", || cluster.controller_with("controller", &pull));
    let theirs = run(&plain, &runtime, "theirs", || cluster.upstream());
    let mut differences = Vec::new();
    for (moment, ours, theirs) in [("running", &ours.running, &theirs.running), ("ended", &ours.ended, &theirs.ended)] {
        for (case, ours) in ours {
            let theirs = &theirs[case];
            let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
            for name in names {
                let [ours, theirs] = [ours, theirs].map(|all| all.get(name).cloned().unwrap_or_default());
                let either_way = difference("", &ours, &theirs).or_else(|| difference("", &theirs, &ours));
                differences.extend(either_way.map(|text| format!("{case}, {moment}, {name}: {text}")));
            }
        }
    }
    for (case, ours) in &ours.events {
        // Upstream tells of addresses without an action, at which the API server refuses the event; ours says why.
        let only_ours = ["SynchronizationStarted", "ServiceAddressAssigned"];
        let ours: BTreeSet<_> =
            ours.iter().filter(|event| !only_ours.iter().any(|reason| event.contains(reason))).collect();
        let theirs: BTreeSet<_> = theirs.events[case].iter().collect();
        differences.extend((ours != theirs).then(|| format!("{case}: we told {ours:#?}, they {theirs:#?}")));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn either_goes_on_where_the_other_one_stopped() {
    let cluster = Cluster::start();
    let plain = cluster.plain();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let start = |ours| if ours { cluster.controller() } else { cluster.upstream() };
    for (swap, ours) in [("to-ours", true), ("to-theirs", false)] {
        let worlds = create(&plain, &runtime, swap);
        let controller = start(!ours);
        for (case, world) in &worlds {
            world.until_running(&format!("{swap}, {case}"));
        }
        settled(&worlds);
        let identities =
            |worlds: &[(&str, World<'_>)]| -> Vec<_> { worlds.iter().map(|(_, world)| world.identities()).collect() };
        let before = identities(&worlds);
        drop(controller);
        let _controller = start(ours);
        // Whoever takes over has looked at all when it has ended one.
        worlds[0].1.until_synced(swap);
        settled(&worlds);
        assert_eq!(identities(&worlds)[1..], before[1..], "{swap}");
        for (case, world) in &worlds {
            world.until_synced(&format!("{swap}, {case}"));
        }
    }
}
