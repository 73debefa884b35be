//! How much memory the controller takes, and how soon it acts, beside thousands of replications that wait: `benches/run scale`.
//!
//! Each source has ended a sync and has a claim, an account with its role, a service and a secret. The latency of a change
//! is from its event, as a watch of this program sees it, to the event of the status that the controller writes.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::panic, reason = "a program that reports by panics")]

#[path = "../tests/api/cluster.rs"]
mod cluster;

use cluster::Cluster;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Secret, Service, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    fmt::Debug,
    fs,
    time::{Duration, Instant},
};
use volsync_controller::api::ReplicationSource;

const NAMESPACE: &str = "prod";

/// Requests that are made at a time to prepare the cluster.
const AT_A_TIME: usize = 32;

/// Changes that are timed.
const CHANGES: usize = 200;

/// Schedules that fire at the same minute.
const SCHEDULES: usize = 1000;

/// The limit on transfers, if there is one.
const LIMIT: usize = 50;

fn main() {
    let count: usize = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(10_000);
    let [upstream, limit] = ["--upstream", "--limit"].map(|flag| std::env::args().any(|word| word == flag));
    let cluster = Cluster::start();
    let plain = cluster.plain();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let uri = format!("http://127.0.0.1:{}", plain.port).parse().unwrap();
        let client = Client::try_from(kube::Config::new(uri)).unwrap();
        let begun = Instant::now();
        stream::iter(0..count).for_each_concurrent(AT_A_TIME, |at| make(&client, at)).await;
        println!("{count} sources made in {:.0} s", begun.elapsed().as_secs_f64());

        let before = versions(&client).await;
        let limited = format!("--max-concurrent-transfers={LIMIT}");
        let controller = if upstream {
            cluster.upstream()
        } else if limit {
            // Otherwise nothing ends: under a limit that would be the end.
            tokio::spawn(succeed(client.clone()));
            cluster.controller_with("controller", &[&limited])
        } else {
            cluster.controller()
        };
        settle(controller.id());
        println!("memory: {} MiB, at most {} MiB", memory(controller.id(), "VmRSS"), memory(controller.id(), "VmHWM"));
        println!(
            "sources written by the first look: {}",
            before.iter().zip(&versions(&client).await).filter(|(a, b)| a != b).count()
        );

        let mut latencies = Vec::new();
        for at in 0..CHANGES.min(count) {
            latencies.push(change(&client, &format!("source-{}", at * (count / CHANGES).max(1))).await);
        }
        latencies.sort();
        let of = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_secs_f64() * 1000.0;
        println!(
            "a change is acted on after {:.0} ms (median), {:.0} ms (90 %), {:.0} ms (all)",
            of(50),
            of(90),
            of(100)
        );

        let (late, most) = schedules(&client, SCHEDULES.min(count / 2), count).await;
        println!("{} schedules of one minute have all started {late:.1} s after it", SCHEDULES.min(count / 2));
        println!("syncs seen to run at the same time: at most {most}");
        settle(controller.id());
        println!("memory: {} MiB, at most {} MiB", memory(controller.id(), "VmRSS"), memory(controller.id(), "VmHWM"));
    });
}

/// One source with its objects.
async fn make(client: &Client, at: usize) {
    let name = format!("source-{at}");
    let sources = Api::<ReplicationSource>::namespaced(client.clone(), NAMESPACE);
    let made: ReplicationSource = create(
        client,
        &json!({
            "metadata": { "name": name },
            "spec": {
                "sourcePVC": format!("data-{at}"), "trigger": { "manual": "one" },
                "rsyncTLS": { "copyMethod": "Clone", "address": "192.0.2.1", "keySecret": format!("key-{at}") },
            },
        }),
    )
    .await;
    let uid = made.metadata.uid.unwrap();
    let meta = |name: String| {
        json!({
            "name": name,
            "labels": { "app.kubernetes.io/created-by": "volsync" },
            "ownerReferences": [{
                "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource", "name": format!("source-{at}"), "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        })
    };
    let account = format!("volsync-src-source-{at}");
    create::<PersistentVolumeClaim>(
        client,
        &json!({
            "metadata": { "name": format!("data-{at}") },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        }),
    )
    .await;
    create::<ServiceAccount>(client, &json!({ "metadata": meta(account.clone()) })).await;
    create::<Role>(client, &json!({ "metadata": meta(account.clone()), "rules": [] })).await;
    create::<RoleBinding>(
        client,
        &json!({
            "metadata": meta(account.clone()),
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account },
            "subjects": [{ "kind": "ServiceAccount", "name": account }],
        }),
    )
    .await;
    create::<Service>(
        client,
        &json!({
            "metadata": meta(format!("service-{at}")), "spec": { "ports": [{ "port": 8000 }], "clusterIP": "None" },
        }),
    )
    .await;
    let key = json!({ "psk.txt": format!("volsync:{}", "0".repeat(128)) });
    create::<Secret>(client, &json!({ "metadata": meta(format!("key-{at}")), "stringData": key })).await;
    let now = Timestamp::now().to_string();
    let status = json!({ "status": {
        "lastSyncTime": now, "lastSyncDuration": "1s", "lastManualSync": "one",
        "latestMoverStatus": { "result": "Successful", "logs": "sent 1 bytes  received 2 bytes\nrsync completed in 1s" },
        "rsyncTLS": {},
        "conditions": [{
            "type": "Synchronizing", "status": "False", "reason": "WaitingForManual", "lastTransitionTime": now,
            "message": "Waiting for manual trigger",
        }],
    } });
    sources.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

async fn create<K>(client: &Client, object: &Value) -> K
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
{
    let object: K = serde_json::from_value(object.clone()).unwrap();
    Api::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &object).await.unwrap()
}

async fn versions(client: &Client) -> Vec<Option<String>> {
    let sources = Api::<ReplicationSource>::namespaced(client.clone(), NAMESPACE);
    let all = sources.list(&ListParams::default()).await.unwrap();
    all.items.into_iter().map(|one| one.metadata.resource_version).collect()
}

/// Sets another tag. Gives the time from the event of that to the event of the sync that starts.
async fn change(client: &Client, name: &str) -> Duration {
    let sources = Api::<ReplicationSource>::namespaced(client.clone(), NAMESPACE);
    let version = sources.get(name).await.unwrap().metadata.resource_version.unwrap();
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = sources.watch(&only, &version).await.unwrap().boxed();
    let tag = json!({ "spec": { "trigger": { "manual": "two" } } });
    sources.patch(name, &PatchParams::default(), &Patch::Merge(&tag)).await.unwrap();
    let mut changed = None;
    while let Some(event) = events.try_next().await.unwrap() {
        let WatchEvent::Modified(found) = event else { continue };
        let changed = *changed.get_or_insert_with(Instant::now);
        if found.status.is_some_and(|status| status.sync.last_sync_start_time.is_some()) {
            return changed.elapsed();
        }
    }
    panic!("{name} did not start");
}

/// Lets every Job succeed as soon as it is there.
async fn succeed(client: Client) {
    let jobs = Api::<Job>::namespaced(client, NAMESPACE);
    let made = watcher(jobs.clone(), watcher::Config::default()).default_backoff().applied_objects();
    let ended = json!({ "status": { "succeeded": 1 } });
    made.try_for_each_concurrent(AT_A_TIME, |job| {
        let (jobs, ended) = (&jobs, &ended);
        async move {
            if job.status.and_then(|status| status.succeeded).is_none() {
                // May be gone by now.
                _ = jobs.patch_status(&job.metadata.name.unwrap(), &PatchParams::default(), &Patch::Merge(ended)).await;
            }
            Ok(())
        }
    })
    .await
    .unwrap();
}

/// Gives this many sources a schedule of the next minute, and the seconds after the minute at which the last of them started;
/// and how many ran at a time.
async fn schedules(client: &Client, many: usize, count: usize) -> (f64, usize) {
    let sources = Api::<ReplicationSource>::namespaced(client.clone(), NAMESPACE);
    // Those that were timed are in the midst of a sync: these lie between them.
    let step = (count / CHANGES).max(2);
    let names: Vec<String> =
        (0..count).filter(|at| at % step != 0).take(many).map(|at| format!("source-{at}")).collect();
    // Early in a minute, so that all are changed before the next.
    while Timestamp::now().as_second() % 60 > 20 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let minute = (Timestamp::now().as_second() / 60 + 1) * 60;
    let schedule = format!("{} {} * * *", minute / 60 % 60, minute / 3600 % 24);
    let trigger = json!({ "spec": { "trigger": { "manual": null, "schedule": schedule } } });
    stream::iter(&names)
        .for_each_concurrent(AT_A_TIME, |name| async {
            sources.patch(name, &PatchParams::default(), &Patch::Merge(&trigger)).await.unwrap();
        })
        .await;
    // Of a sync that has ended the start is known by its end.
    let started = |source: &ReplicationSource| {
        let sync = &source.status.as_ref()?.sync;
        let start = sync.last_sync_start_time.as_ref().or(sync.last_sync_time.as_ref())?.0.as_second();
        (start >= minute).then_some(start)
    };
    let runs = |source: &&ReplicationSource| {
        source.status.as_ref().is_some_and(|status| status.sync.last_sync_start_time.is_some())
    };
    let mut most = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let all = sources.list(&ListParams::default()).await.unwrap();
        most = most.max(all.items.iter().filter(runs).count());
        let starts: Vec<i64> = all.items.iter().filter_map(started).collect();
        if starts.len() >= many {
            // Starts are kept in whole seconds.
            #[allow(clippy::cast_precision_loss, reason = "seconds of some minutes")]
            return ((starts.iter().max().unwrap() + 1 - minute) as f64, most);
        }
        assert!(Timestamp::now().as_second() < minute + 300, "not all schedules have started");
    }
}

/// Waits until a process has had nothing to do for some seconds.
fn settle(pid: u32) {
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let after: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        after[11].parse::<u64>().unwrap() + after[12].parse::<u64>().unwrap()
    };
    let (begun, mut idle, mut last) = (Instant::now(), 0, ticks());
    while idle < 5 {
        assert!(begun.elapsed() < Duration::from_mins(5), "the controller does not come to rest");
        std::thread::sleep(Duration::from_secs(1));
        let now = ticks();
        idle = if now > last + 2 { 0 } else { idle + 1 };
        last = now;
    }
}

/// A line of a process' status, in MiB.
fn memory(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':')).unwrap();
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
