//! How long a sync takes on a cluster of one node, and what for: `benches/run flows`, for our controller and for upstream's.
//!
//! All times are between events, as watches beside the controller see them: objects themselves keep whole seconds.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a program that reports by panics")]
#![allow(dead_code, unused_imports, reason = "modules of the tests, whose tests are not compiled here")]

#[path = "../tests/node/cluster.rs"]
mod cluster;
#[path = "../tests/node/minio.rs"]
mod minio;
#[path = "../tests/node/operator.rs"]
mod operator;
#[path = "../tests/node/replication.rs"]
mod replication;
#[path = "../tests/node/rsync.rs"]
mod rsync;

use std::io::BufReader;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, Namespace};
use operator::Upstream;
use replication::{bucket, destination, fill_plainly, source};
use serde_json::{Value, json};

/// Syncs that are timed, after a first one that makes what lasts.
const ROUNDS: usize = 5;

/// Files of the volume, and bytes of each: a transfer that takes next to nothing.
const FILES: (u64, u64) = (100, 10_000);

const SOURCES: &str = "replicationsources";
const DESTINATIONS: &str = "replicationdestinations";

/// Kinds that are watched.
const KINDS: [&str; 5] = [SOURCES, DESTINATIONS, "volumesnapshots", "jobs", "pods"];

/// What happened to an object.
struct Seen {
    at: Instant,
    kind: &'static str,
    made: bool,
    object: Value,
}

impl Seen {
    fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// Watches of a namespace, which end with the value.
struct Watches {
    children: Vec<Child>,
    seen: Receiver<Seen>,
}

impl Watches {
    fn start(namespace: &Namespace<'_>) -> Self {
        let (to, seen) = channel();
        let children = KINDS.map(|kind| watch(namespace, kind, to.clone()));
        Self { children: children.into(), seen }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn watch(namespace: &Namespace<'_>, kind: &'static str, to: Sender<Seen>) -> Child {
    let arguments = ["--namespace", &namespace.name, "get", kind, "--watch", "--output-watch-events", "-o", "json"];
    let mut child = namespace.cluster.kubectl_command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    thread::spawn(move || {
        for mut event in serde_json::Deserializer::from_reader(output).into_iter::<Value>().map_while(Result::ok) {
            let made = event["type"] == "ADDED";
            let object = event["object"].take();
            let going = event["type"] == "DELETED" || !object["metadata"]["deletionTimestamp"].is_null();
            if !going && to.send(Seen { at: Instant::now(), kind, made, object }).is_err() {
                return;
            }
        }
    });
    child
}

/// One end of a replication, and what its objects' names begin with.
struct End {
    kind: &'static str,
    name: &'static str,
    snapshot: &'static str,
    job: String,
}

fn sending(mover: &str) -> End {
    End { kind: SOURCES, name: "source", snapshot: "volsync-source-src", job: format!("volsync-{mover}-src-source") }
}

fn receiving(mover: &str) -> End {
    End {
        kind: DESTINATIONS,
        name: "destination",
        snapshot: "volsync-destination-d",
        job: format!("volsync-{mover}-dst-destination"),
    }
}

/// Where the time of a sync goes.
#[derive(Clone, Copy)]
struct Split {
    /// Whatever the controller lets pass between what it waits for and what it does next.
    controller: Duration,
    snapshot: Duration,
    /// From the Job to its pod that runs, the volumes of the pod included.
    pod: Duration,
    /// From there to the Job's end.
    mover: Duration,
    /// From the trigger to `lastManualSync`.
    whole: Duration,
    /// From there until everything temporary is deleted.
    clean_up: Duration,
}

impl Split {
    fn columns(self) -> [Duration; 6] {
        [self.controller, self.snapshot, self.pod, self.mover, self.whole, self.clean_up]
    }
}

/// Syncs with this tag, and waits until all ends have cleaned up.
fn sync(namespace: &Namespace<'_>, watches: &Watches, ends: &[&End], tag: &str) -> Vec<Split> {
    while watches.seen.try_recv().is_ok() {}
    let trigger = json!({ "spec": { "trigger": { "manual": tag } } }).to_string();
    for end in ends {
        namespace.kubectl(&["patch", end.kind, end.name, "--type=merge", "-p", &trigger]);
    }
    let (begun, mut seen) = (Instant::now(), Vec::new());
    let mut left = ends.to_vec();
    while let Some(end) = left.first() {
        let patience = Duration::from_secs(90).saturating_sub(begun.elapsed());
        let event = watches.seen.recv_timeout(patience).unwrap_or_else(|_| panic!("{} does not end", end.name));
        left.retain(|end| !(is(&event, end) && has_ended(&event, tag) && has_cleaned_up(&event)));
        seen.push(event);
    }
    ends.iter().map(|end| split(&seen, end, tag)).collect()
}

fn is(event: &Seen, end: &End) -> bool {
    event.kind == end.kind && event.name() == end.name
}

fn has_ended(event: &Seen, tag: &str) -> bool {
    event.object["status"]["lastManualSync"] == tag
}

fn has_cleaned_up(event: &Seen) -> bool {
    let conditions = event.object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["reason"] == "WaitingForManual")
}

fn split(seen: &[Seen], end: &End, tag: &str) -> Split {
    let first = |what: &str, matches: &dyn Fn(&Seen) -> bool| {
        seen.iter().find(|event| matches(event)).unwrap_or_else(|| panic!("{}: never {what}", end.name)).at
    };
    let of = |kind: &'static str, prefix: &str, event: &Seen| event.kind == kind && event.name().starts_with(prefix);
    let triggered = first("triggered", &|event| is(event, end) && event.object["spec"]["trigger"]["manual"] == tag);
    let made = first("copied", &|event| event.made && of("volumesnapshots", end.snapshot, event));
    // The one that was replaced is seen again, too.
    let new = seen.iter().find(|event| event.made && of("volumesnapshots", end.snapshot, event)).unwrap().name();
    let job = first("given a Job", &|event| event.made && of("jobs", &end.job, event));
    let running = first("running", &|event| {
        of("pods", &end.job, event) && event.object["status"]["phase"].as_str().is_some_and(|phase| phase != "Pending")
    });
    let moved =
        first("moved", &|event| of("jobs", &end.job, event) && event.object["status"]["succeeded"].as_u64() > Some(0));
    let ended = first("ended", &|event| is(event, end) && has_ended(event, tag));
    let is_ready = |event: &&Seen| {
        event.kind == "volumesnapshots" && event.name() == new && event.object["status"]["readyToUse"] == true
    };
    // A destination of upstream's ends before that.
    let ready = seen.iter().find(is_ready).map_or(ended, |event| event.at.min(ended));
    let clean = first("clean", &|event| is(event, end) && has_ended(event, tag) && has_cleaned_up(event));
    let controller = if end.kind == SOURCES {
        (made - triggered) + job.saturating_duration_since(ready) + ended.saturating_duration_since(moved)
    } else {
        (job - triggered) + made.saturating_duration_since(moved) + ended.saturating_duration_since(ready)
    };
    Split {
        controller,
        snapshot: ready - made,
        pod: running - job,
        mover: moved.saturating_duration_since(running),
        whole: ended - triggered,
        clean_up: clean - ended,
    }
}

/// Times several syncs, and prints the medians of each end.
fn measure(namespace: &Namespace<'_>, watches: &Watches, flow: &str, ends: &[End]) {
    // Of a bucket's two ends the one has nothing to bring before the other has ended.
    let apart = flow == "rclone";
    let groups: Vec<Vec<&End>> =
        if apart { ends.iter().map(|end| vec![end]).collect() } else { vec![ends.iter().collect()] };
    let mut times: Vec<Vec<Split>> = vec![Vec::new(); ends.len()];
    for round in 0..=ROUNDS {
        std::fs::write(namespace.volume("data").join("changes"), round.to_string()).unwrap();
        let splits = groups.iter().flat_map(|group| sync(namespace, watches, group, &format!("round-{round}")));
        for (times, split) in times.iter_mut().zip(splits) {
            times.extend((round > 0).then_some(split));
        }
    }
    for (end, times) in ends.iter().zip(&times) {
        let medians = (0..6).map(|column| {
            let mut all: Vec<Duration> = times.iter().map(|split| split.columns()[column]).collect();
            all.sort();
            format!(" {:.2} s |", all[all.len() / 2].as_secs_f64())
        });
        println!("| {flow}, {} |{}", end.name, medians.collect::<String>());
    }
}

fn main() {
    let cluster = Cluster::take();
    let upstream = std::env::args().any(|word| word == "--upstream");
    let _operator = upstream.then(|| Upstream::start(&cluster));
    if !upstream {
        operator::ours(&cluster);
    }
    println!("| flow, end | controller | snapshot | pod start | mover | in all | clean-up |");
    println!("|---|---|---|---|---|---|---|");
    for flow in ["rclone", "rsync", "rsync-tls"] {
        let namespace = cluster.privileged_namespace(&format!("flows-{flow}"));
        fill_plainly(&namespace.claim("data", &json!(null)), FILES.0, FILES.1);
        if flow == "rclone" {
            minio::start(&namespace, &[]);
            let first = json!({ "manual": "first" });
            namespace.apply(&source("rclone", &first, &bucket(&json!({}))));
            replication::synced(&namespace, replication::SOURCE, "first");
            namespace.apply(&destination("rclone", &first, &bucket(&json!({}))));
            replication::synced(&namespace, replication::DESTINATION, "first");
        } else {
            let mover = if flow == "rsync" { &rsync::SSH } else { &rsync::TLS };
            rsync::begin(&namespace, mover, &json!({}), [&json!({}), &json!({})]);
            rsync::end(&namespace, mover);
        }
        for object in [replication::SOURCE, replication::DESTINATION] {
            namespace.wait_until(object, ".status.conditions[0].reason", "WaitingForManual");
        }
        measure(&namespace, &Watches::start(&namespace), flow, &[sending(flow), receiving(flow)]);
    }
}
