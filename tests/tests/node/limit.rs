//! More pairs than there are seats.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use volsync_tests::tree::{Ignore, Tree};

use crate::cluster::{Cluster, Namespace};
use crate::operator;
use crate::replication::{destination, fill_plainly, merged, source, unprivileged};

const PAIRS: usize = 5;
const SEATS: usize = 2;

/// An end of a pair.
fn named(mut end: Value, at: usize) -> Value {
    end["metadata"]["name"] = json!(format!("pair-{at}"));
    end
}

fn list(namespace: &Namespace<'_>, kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(&namespace.kubectl(&["get", kind, "-o", "json"])).unwrap();
    all["items"].as_array().unwrap().clone()
}

#[test]
fn five_pairs_go_over_tls_two_at_a_time() {
    let cluster = Cluster::take();
    operator::ours_set(&cluster, &[("maxConcurrentTransfers", &SEATS.to_string())]);
    let namespace = cluster.namespace("limit", &json!({}));
    let data = namespace.claim("data", &json!(null));
    fill_plainly(&data, 100, 10_000);
    let trigger = json!({ "manual": "once" });
    let options = json!({ "moverSecurityContext": unprivileged() });

    // All destinations listen: they count for nothing.
    let receiving = merged(&options, &json!({ "copyMethod": "Direct", "capacity": "16Mi" }));
    for at in 0..PAIRS {
        namespace.apply(&named(destination("rsyncTLS", &trigger, &receiving), at));
    }
    for at in 0..PAIRS {
        namespace.wait_until(&format!("job/volsync-rsync-tls-dst-pair-{at}"), ".status.ready", "1");
    }
    for at in 0..PAIRS {
        let status = namespace.get(&format!("replicationdestination/pair-{at}"))["status"]["rsyncTLS"].clone();
        let peer = json!({ "copyMethod": "Clone", "address": status["address"], "keySecret": status["keySecret"] });
        namespace.apply(&named(source("rsyncTLS", &trigger, &merged(&options, &peer)), at));
    }

    let (begun, mut most, mut queued) = (Instant::now(), 0, 0);
    loop {
        // Jobs first: whose Job is there already does not wait afterwards.
        let jobs = list(&namespace, "jobs");
        let sources = list(&namespace, "replicationsources");
        let of_source = |job: &&Value| job["metadata"]["name"].as_str().unwrap().starts_with("volsync-rsync-tls-src-");
        let working = jobs.iter().filter(of_source).filter(|job| job["status"]["succeeded"].is_null()).count();
        let syncing = sources.iter().filter(|source| !source["status"]["lastSyncStartTime"].is_null()).count();
        assert!(working <= SEATS && syncing <= SEATS, "{jobs:?}\n{sources:?}");
        most = most.max(working);
        let waiting = |source: &&Value| source["status"]["conditions"][0]["reason"] == "Queued";
        let waiting: Vec<&str> =
            sources.iter().filter(waiting).map(|source| source["metadata"]["name"].as_str().unwrap()).collect();
        queued = queued.max(waiting.len());
        for name in waiting {
            let job = format!("volsync-rsync-tls-src-{name}");
            assert!(jobs.iter().all(|found| found["metadata"]["name"] != job), "{name} waits and has a Job");
        }
        if sources.len() == PAIRS && sources.iter().all(|source| source["status"]["lastManualSync"] == "once") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "{sources:?}");
    }
    assert_eq!((most, queued), (SEATS, PAIRS - SEATS));
    for at in 0..PAIRS {
        namespace.wait_until(&format!("replicationdestination/pair-{at}"), ".status.lastManualSync", "once");
        let received = namespace.volume(&format!("volsync-pair-{at}-dst"));
        Tree::of(&data).assert_same(&Tree::of(&received), Ignore::ALL_BUT_CONTENT);
    }
}
