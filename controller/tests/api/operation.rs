//! Several controllers, limits, copy triggers, and what is told to operators.

use crate::{MESSAGE, REASON, SOURCE, bind, cluster::Cluster, prepare, proxy::Proxy, replication, source, succeed};
use serde_json::{Value, json};
use std::{
    process::Command,
    time::{Duration, Instant},
};

const LEASE: &str = "lease/b95b3104.backube";
const ELECT: [&str; 2] = ["--leader-elect", "--leader-elect-lease-duration=4"];

fn holder(cluster: &Cluster) -> String {
    cluster.get(LEASE)["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

fn wait_for_holder(cluster: &Cluster, name: &str) {
    let start = Instant::now();
    while !holder(cluster).starts_with(&format!("{name}_")) {
        assert!(start.elapsed() < Duration::from_secs(20), "{name} does not lead: {}", cluster.get(LEASE));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn of_several_controllers_one_acts() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let first = cluster.controller_with("first", &ELECT);
    cluster.wait_for(LEASE);
    wait_for_holder(&cluster, "first");
    let second = cluster.controller_with("second", &ELECT);
    cluster.create(&source(&json!({ "manual": "one" })));
    cluster.wait_for("volumesnapshot/volsync-db-src");
    assert!(!cluster.log("second").contains("a sync starts"));

    // One that ends gives the lease up, and the other goes on at once.
    assert!(first.end());
    wait_for_holder(&cluster, "second");
    assert_eq!(cluster.get(LEASE)["spec"]["leaseTransitions"], 1);
    bind(&cluster, "volumesnapshot/volsync-db-src");
    cluster.wait_for("job/volsync-rclone-src-db");

    // One that is killed keeps it until it runs out.
    drop(second);
    let mut third = cluster.controller_with("third", &ELECT);
    assert!(holder(&cluster).starts_with("second_"));
    wait_for_holder(&cluster, "third");
    succeed(&cluster, "job/volsync-rclone-src-db");
    cluster.wait_until(SOURCE, REASON, "WaitingForManual");

    // One whose lease is taken stops to act.
    cluster.patch(LEASE, &json!({ "spec": { "holderIdentity": "upstream", "leaseDurationSeconds": 100 } }));
    assert!(!third.wait());
    assert!(cluster.log("third").contains("another controller took it"), "{}", cluster.log("third"));
    assert_eq!(holder(&cluster), "upstream");
}

/// An end of the n-th pair, with keys of the user's.
fn end_of_pair(kind: &str, at: usize, spec: &Value) -> Value {
    let mut object = replication(kind, spec);
    object["metadata"]["name"] = json!(format!("pair-{at}"));
    object
}

#[test]
fn five_pairs_finish_under_a_limit_of_two() {
    let cluster = Cluster::start();
    prepare(&cluster);
    cluster.create(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "keys" },
        "stringData": { "source": "a", "source.pub": "b", "destination": "c", "destination.pub": "d" },
    }));
    let _controller = cluster.controller_with("controller", &["--max-concurrent-transfers=2"]);
    for at in 0..5 {
        cluster.create(&end_of_pair("ReplicationDestination", at, &json!({
            "trigger": { "manual": "one" },
            "rsync": { "copyMethod": "Direct", "accessModes": ["ReadWriteOnce"], "capacity": "1Gi", "sshKeys": "keys" },
        })));
    }
    // Destinations wait for their sources and count for nothing.
    for at in 0..5 {
        cluster.wait_for(&format!("job/volsync-rsync-dst-pair-{at}"));
    }
    for at in 0..5 {
        cluster.create(&end_of_pair(
            "ReplicationSource",
            at,
            &json!({
                "sourcePVC": "data", "trigger": { "manual": "one" },
                "rsync": { "copyMethod": "Clone", "address": "192.0.2.1", "sshKeys": "keys" },
            }),
        ));
    }
    for at in 0..5 {
        let condition = format!("replicationsource/pair-{at}");
        cluster.wait_until_set(&condition, ".status.conditions.0.reason");
    }
    let started = Instant::now();
    let mut most = 0;
    loop {
        let all: Value = serde_json::from_str(&cluster.kubectl(&["get", "replicationsources", "-o", "json"])).unwrap();
        let all = all["items"].as_array().unwrap();
        let running: Vec<&Value> = all.iter().filter(|one| !one["status"]["lastSyncStartTime"].is_null()).collect();
        assert!(running.len() <= 2, "{running:?}");
        most = most.max(running.len());
        let jobs = cluster.names("jobs");
        for queued in all.iter().filter(|one| one["status"]["conditions"][0]["reason"] == "Queued") {
            let name = queued["metadata"]["name"].as_str().unwrap();
            assert_eq!(queued["status"]["conditions"][0]["status"], "False");
            assert!(!jobs.contains(&format!("volsync-rsync-src-{name}")), "{name} waits and has a Job");
        }
        if all.iter().all(|one| one["status"]["lastManualSync"] == "one") {
            break;
        }
        for job in jobs.iter().filter(|job| job.starts_with("volsync-rsync-src-")) {
            // May be gone by now.
            cluster.try_patch_status(&format!("job/{job}"), &json!({ "succeeded": 1 }));
            cluster.try_patch_status(&format!("job/{}", job.replace("-src-", "-dst-")), &json!({ "succeeded": 1 }));
        }
        assert!(started.elapsed() < Duration::from_secs(40), "{all:?}");
    }
    assert_eq!(most, 2);
}

#[test]
fn a_copy_waits_for_its_trigger_and_is_made_as_soon_as_it_comes() {
    let cluster = Cluster::start();
    prepare(&cluster);
    cluster.kubectl(&["annotate", "pvc/data", "volsync.backube/use-copy-trigger="]);
    let _controller = cluster.controller();
    cluster.create(&source(&json!({ "manual": "one" })));
    let annotation = |key: &str| format!(".metadata.annotations.volsync\\.backube/{key}");
    cluster.wait_until("pvc/data", &annotation("latest-copy-status"), "WaitingForTrigger");
    assert!(cluster.names("volumesnapshots").is_empty());
    // Looked at again after a minute at the latest; the wait here is half of it.
    cluster.kubectl(&["annotate", "pvc/data", "volsync.backube/copy-trigger=first"]);
    cluster.wait_for("volumesnapshot/volsync-db-src");
    assert_eq!(cluster.get("pvc/data")["metadata"]["annotations"]["volsync.backube/latest-copy-status"], "InProgress");
    bind(&cluster, "volumesnapshot/volsync-db-src");
    cluster.wait_until("pvc/data", &annotation("latest-copy-status"), "Completed");
    assert_eq!(cluster.get("pvc/data")["metadata"]["annotations"]["volsync.backube/latest-copy-trigger"], "first");
}

/// The least that an API server needs to know to look like OpenShift's.
fn constraints() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "securitycontextconstraints.security.openshift.io" },
        "spec": {
            "group": "security.openshift.io", "scope": "Cluster",
            "names": { "kind": "SecurityContextConstraints", "plural": "securitycontextconstraints", "singular": "securitycontextconstraints" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            } } }],
        },
    })
}

#[test]
fn on_openshift_movers_may_be_root() {
    const CONSTRAINT: &str = "securitycontextconstraints/volsync-privileged-mover";
    let cluster = Cluster::start();
    cluster.create(&constraints());
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
    let controller = cluster.controller();
    cluster.wait_for(CONSTRAINT);
    let made = cluster.get(CONSTRAINT);
    assert_eq!(made["runAsUser"]["type"], "RunAsAny");
    assert_eq!(made["requiredDropCapabilities"], json!(["ALL"]));
    assert_eq!(made["allowHostDirVolumePlugin"], false);
    drop(controller);

    // What a controller has made is brought up to date.
    cluster.patch(CONSTRAINT, &json!({ "readOnlyRootFilesystem": false }));
    let controller = cluster.controller();
    cluster.wait_until(CONSTRAINT, ".readOnlyRootFilesystem", "true");
    drop(controller);

    // What an administrator has made is not.
    cluster.patch(CONSTRAINT, &json!({ "priority": 7, "metadata": { "labels": null } }));
    let other = cluster.controller_with("other", &["--scc-name=volsync-privileged-mover"]);
    prepare(&cluster);
    cluster.create(&source(&json!({ "manual": "one" })));
    cluster.wait_for("volumesnapshot/volsync-db-src");
    assert_eq!(cluster.get(CONSTRAINT)["priority"], 7);
    drop(other);

    // A cluster where it may not be made is served all the same.
    let _controller = cluster.controller_with("refused", &["--scc-name=another"]);
    bind(&cluster, "volumesnapshot/volsync-db-src");
    cluster.wait_for("job/volsync-rclone-src-db");
}

fn curl(arguments: &[&str]) -> (String, String) {
    let output = Command::new("curl").args(["-sSk", "-w", "\n%{http_code}"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.to_owned(), body.to_owned())
}

#[test]
fn metrics_are_for_those_who_may_read_them() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let [metrics, health] = crate::cluster::free_ports();
    let addresses = [
        format!("--metrics-bind-address=127.0.0.1:{metrics}"),
        format!("--health-probe-bind-address=127.0.0.1:{health}"),
    ];
    let _controller = cluster.controller_with("controller", &addresses.each_ref().map(String::as_str));
    let mut wrong = source(&json!({ "manual": "one" }));
    wrong["spec"]["rclone"]["rcloneConfig"] = json!("nowhere");
    cluster.create(&wrong);
    cluster.wait_until(SOURCE, MESSAGE, "secrets \"nowhere\" not found");
    assert_eq!(curl(&[&format!("http://127.0.0.1:{health}/healthz")]), ("200".into(), "ok".into()));
    assert_eq!(curl(&[&format!("http://127.0.0.1:{health}/readyz")]).0, "200");
    let url = format!("https://127.0.0.1:{metrics}/metrics");
    assert_eq!(curl(&[&url]).0, "401");
    assert_eq!(curl(&["-H", "Authorization: Bearer wrong", &url]).0, "401");
    assert_eq!(curl(&["-H", "Authorization: Bearer other", &url]).0, "403");
    assert_eq!(curl(&["-H", "Authorization: Bearer test", &format!("{url}x")]).0, "404");
    let (code, text) = curl(&["-H", "Authorization: Bearer test", &url]);
    assert_eq!(code, "200");
    let labels = "{method=\"rclone\",obj_name=\"db\",obj_namespace=\"prod\",role=\"source\"}";
    for line in [
        format!("volsync_missed_intervals_total{labels} 0"),
        format!("volsync_volume_out_of_sync{labels} 1"),
        format!("volsync_sync_duration_seconds_count{labels} 0"),
        "volsync_leader 1".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    let errors = text.lines().find_map(|line| line.strip_prefix(&format!("volsync_errors_total{labels} "))).unwrap();
    assert!(errors.parse::<u64>().unwrap() >= 1);

    // Gone with its replication.
    cluster.kubectl(&["delete", SOURCE]);
    let start = Instant::now();
    while curl(&["-H", "Authorization: Bearer test", &url]).1.contains("obj_name") {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the log of a mover of rclone says on its way.
const HALFWAY: &str = "Transferred:   \t    1 MiB / 2 MiB, 50%, 1 MiB/s, ETA 1s\n";

/// A replication whose mover runs and says how far it is, and whose definitions may have no place for that.
fn run_halfway(cluster: &Cluster, name: &str) {
    let mut running = source(&json!({ "manual": "one" }));
    running["metadata"]["name"] = json!(name);
    running["spec"]["rclone"]["copyMethod"] = json!("Direct");
    cluster.create(&running);
    let job = format!("volsync-rclone-src-{name}");
    cluster.wait_for(&format!("job/{job}"));
    cluster.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": job, "labels": { "job-name": job } },
        "spec": { "containers": [{ "name": "mover", "image": "mover:1" }] },
    }));
    cluster.patch_status(&format!("job/{job}"), &json!({ "active": 1, "ready": 1 }));
}

#[test]
fn how_far_a_mover_is_stays_out_of_statuses_that_have_no_place_for_it() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let plain = cluster.plain();
    let proxy = Proxy::start(plain.port);
    proxy.log(HALFWAY);
    let [port] = crate::cluster::free_ports();
    let start = || {
        let metrics = format!("--metrics-bind-address=127.0.0.1:{port}");
        let open = ["--metrics-secure=false", "--metrics-require-rbac=false"];
        cluster.controller_with("controller", &[&cluster.through(proxy.port), &metrics, open[0], open[1]])
    };
    let progress = ".status.latestMoverStatus.progress";
    let controller = start();
    run_halfway(&cluster, "told");
    cluster.wait_until("replicationsource/told", &format!("{progress}.bytes"), "1048576");
    drop(controller);

    cluster.kubectl(&["delete", "replicationsource/told"]);
    cluster.install_upstreams_definitions();
    let _controller = start();
    run_halfway(&cluster, "untold");
    let line =
        "volsync_mover_bytes{method=\"rclone\",obj_name=\"untold\",obj_namespace=\"prod\",role=\"source\"} 1048576";
    let metrics = || curl(&[&format!("http://127.0.0.1:{port}/metrics")]).1;
    let begun = Instant::now();
    while !metrics().lines().any(|found| found == line) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", metrics());
        std::thread::sleep(Duration::from_millis(50));
    }
    // Looked at again and again: what cannot be kept is tried once.
    for at in 0..5 {
        let writes = proxy.writes();
        cluster.kubectl(&["annotate", "--overwrite", "replicationsource/untold", &format!("at={at}")]);
        let mut refused = replication("ReplicationDestination", &json!({ "restic": {} }));
        refused["metadata"]["name"] = json!(format!("refused-{at}"));
        cluster.create(&refused);
        cluster.wait_until(&format!("replicationdestination/refused-{at}"), REASON, "Error");
        assert!(at < 2 || proxy.writes() - writes == 1, "{} writes", proxy.writes() - writes);
    }
    let status = cluster.get("replicationsource/untold")["status"].clone();
    assert_eq!(status["latestMoverStatus"]["progress"], Value::Null, "{status}");
    assert_eq!(status["conditions"][0]["reason"], "SyncInProgress");
}
