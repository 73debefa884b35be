//! What is counted of replications, and how Prometheus is told.
//!
//! The first three metrics are upstream's, with its names, labels and help. The others are ours.

mod summary;

use crate::machine::{
    Measurement, Method,
    traffic::{Progress, Traffic},
};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{Mutex, PoisonError},
};
use summary::Summary;

/// What a series is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Namespace of the replication.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `source` or `destination`.
    pub role: &'static str,
    /// How it replicates.
    pub method: &'static str,
}

impl Subject {
    /// The subject of a replication.
    pub fn new(role: &'static str, method: Method, namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned(), role, method: method.name() }
    }
}

/// What happened besides what [`Measurement`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The pods of a transfer have failed, and it will be tried again.
    TransferFailed,
    /// A sync could not go on for an error.
    Error,
}

#[derive(Clone, Debug, Default)]
struct Series {
    missed_intervals: u64,
    out_of_sync: bool,
    durations: Summary,
    syncs: u64,
    failures: u64,
    errors: u64,
    last_success: Option<Timestamp>,
    last_error: Option<Timestamp>,
    traffic: Traffic,
    /// Of the mover that runs.
    progress: Option<Progress>,
    /// UID of the Job that was counted last.
    counted: String,
}

/// All that is counted.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<Subject, Series>>);

/// Numbers that are not of one replication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Transfers that run and count against the limit.
    pub running: usize,
    /// Syncs that wait for others to end.
    pub queued: usize,
    /// Whether this controller is the one that acts.
    pub leading: bool,
}

impl Metrics {
    /// Makes the series of a replication, so that its zeros are seen, and writes down what was measured.
    pub fn measure(&self, subject: &Subject, measurements: &[Measurement], now: Timestamp) {
        self.with(|all| {
            let series = all.entry(subject.clone()).or_default();
            for measurement in measurements {
                match measurement {
                    Measurement::OutOfSync(value) => series.out_of_sync = *value,
                    Measurement::MissedInterval => series.missed_intervals = series.missed_intervals.saturating_add(1),
                    Measurement::SyncDuration(took) => {
                        series.durations.observe(*took, now);
                        series.syncs = series.syncs.saturating_add(1);
                        series.last_success = Some(now);
                    }
                }
            }
        });
    }

    /// Counts something.
    pub fn count(&self, subject: &Subject, happened: Happened, now: Timestamp) {
        self.with(|all| {
            let series = all.entry(subject.clone()).or_default();
            series.last_error = Some(now);
            let counter = match happened {
                Happened::TransferFailed => &mut series.failures,
                Happened::Error => &mut series.errors,
            };
            *counter = counter.saturating_add(1);
        });
    }

    /// Counts what a Job has moved, which is looked at until its sync has ended. Of several Jobs the last is known.
    pub fn count_traffic(&self, subject: &Subject, job: &str, moved: Traffic) {
        self.with(|all| {
            let series = all.entry(subject.clone()).or_default();
            if series.counted != job {
                job.clone_into(&mut series.counted);
                series.traffic.bytes = series.traffic.bytes.saturating_add(moved.bytes);
                series.traffic.files = series.traffic.files.saturating_add(moved.files);
            }
        });
    }

    /// Writes down how far the mover is that runs, if one does. Of a replication that is gone nothing is.
    pub fn progress(&self, subject: &Subject, progress: Option<Progress>) {
        self.with(|all| {
            if let Some(series) = all.get_mut(subject) {
                series.progress = progress;
            }
        });
    }

    /// Drops the series of a replication that is gone. Upstream keeps them until it is restarted.
    pub fn forget(&self, role: &str, namespace: &str, name: &str) {
        self.with(|all| {
            all.retain(|subject, _| (subject.role, &*subject.namespace, &*subject.name) != (role, namespace, name));
        });
    }

    /// Everything in the text format of Prometheus, version 0.0.4.
    pub fn render(&self, totals: &Totals, now: Timestamp) -> String {
        let mut text = String::new();
        self.with(|all| {
            for family in FAMILIES {
                // A string takes whatever is written to it.
                let _ = family.write(&mut text, all, now);
            }
        });
        let _ = totals.write(&mut text);
        text
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<Subject, Series>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A metric of each replication.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: Value,
}

/// Where the value of a metric is.
enum Value {
    Number(fn(&Series) -> Option<f64>),
    Summary(fn(&Series) -> &Summary),
}

/// Counters of Prometheus are floating point numbers: exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "the format has no integers")]
fn float(count: u64) -> f64 {
    count as f64
}

const FAMILIES: [Family; 14] = [
    Family {
        name: "volsync_missed_intervals_total",
        kind: "counter",
        help: "The number of times a synchronization failed to complete before the next scheduled start",
        value: Value::Number(|series| Some(float(series.missed_intervals))),
    },
    Family {
        name: "volsync_sync_duration_seconds",
        kind: "summary",
        help: "Duration of the synchronization interval in seconds",
        value: Value::Summary(|series| &series.durations),
    },
    Family {
        name: "volsync_volume_out_of_sync",
        kind: "gauge",
        help: "Set to 1 if the volume is not properly synchronized",
        value: Value::Number(|series| Some(if series.out_of_sync { 1.0 } else { 0.0 })),
    },
    Family {
        name: "volsync_syncs_completed_total",
        kind: "counter",
        help: "Synchronizations that have completed",
        value: Value::Number(|series| Some(float(series.syncs))),
    },
    Family {
        name: "volsync_transfers_failed_total",
        kind: "counter",
        help: "Mover Jobs that have failed and are tried again",
        value: Value::Number(|series| Some(float(series.failures))),
    },
    Family {
        name: "volsync_errors_total",
        kind: "counter",
        help: "Errors that are or were in the condition Synchronizing",
        value: Value::Number(|series| Some(float(series.errors))),
    },
    Family {
        name: "volsync_last_success_timestamp_seconds",
        kind: "gauge",
        help: "When the last synchronization completed that this controller has seen",
        value: Value::Number(|series| Some(series.last_success?.as_duration().as_secs_f64())),
    },
    Family {
        name: "volsync_last_error_timestamp_seconds",
        kind: "gauge",
        help: "When the last error occurred, or the last mover Job failed, that this controller has seen",
        value: Value::Number(|series| Some(series.last_error?.as_duration().as_secs_f64())),
    },
    Family {
        name: "volsync_transferred_bytes_total",
        kind: "counter",
        help: "Bytes that movers say they have transferred: of files by rclone, over the connection by rsync",
        value: Value::Number(|series| Some(float(series.traffic.bytes))),
    },
    Family {
        name: "volsync_transferred_files_total",
        kind: "counter",
        help: "Files that movers say they have transferred",
        value: Value::Number(|series| Some(float(series.traffic.files))),
    },
    Family {
        name: "volsync_mover_bytes",
        kind: "gauge",
        help: "Bytes that the mover has transferred that runs now, if it tells",
        value: Value::Number(|series| Some(float(series.progress?.bytes?.0))),
    },
    Family {
        name: "volsync_mover_planned_bytes",
        kind: "gauge",
        help: "Bytes of which the mover knows so far that runs now, if it tells",
        value: Value::Number(|series| Some(float(series.progress?.bytes?.1))),
    },
    Family {
        name: "volsync_mover_files",
        kind: "gauge",
        help: "Files that the mover has transferred that runs now, if it tells",
        value: Value::Number(|series| Some(float(series.progress?.files?))),
    },
    Family {
        name: "volsync_mover_planned_files",
        kind: "gauge",
        help: "Files of which the mover knows so far that runs now, if it tells",
        value: Value::Number(|series| Some(float(series.progress?.total_files?))),
    },
];

impl Family {
    fn write(&self, text: &mut String, all: &BTreeMap<Subject, Series>, now: Timestamp) -> fmt::Result {
        let Self { name, kind, help, .. } = self;
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
        for (subject, series) in all {
            match self.value {
                Value::Number(of) => {
                    if let Some(value) = of(series) {
                        writeln!(text, "{name}{{{}}} {value}", Labels(subject))?;
                    }
                }
                Value::Summary(of) => {
                    let summary = of(series);
                    for (quantile, value) in summary.quantiles(now) {
                        let value = value.map_or_else(|| "NaN".to_owned(), |value| value.to_string());
                        writeln!(text, "{name}{{{},quantile=\"{quantile}\"}} {value}", Labels(subject))?;
                    }
                    writeln!(text, "{name}_sum{{{}}} {}", Labels(subject), summary.sum())?;
                    writeln!(text, "{name}_count{{{}}} {}", Labels(subject), summary.count())?;
                }
            }
        }
        Ok(())
    }
}

impl Totals {
    fn write(&self, text: &mut String) -> fmt::Result {
        for (name, help, value) in [
            ("volsync_transfers_running", "Transfers that count against the limit", self.running),
            ("volsync_syncs_queued", "Synchronizations that wait for others to end", self.queued),
            ("volsync_leader", "Whether this controller is the one that acts", usize::from(self.leading)),
        ] {
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}")?;
        }
        Ok(())
    }
}

/// Labels in the order of their names, as upstream's library writes them.
struct Labels<'a>(&'a Subject);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names of Kubernetes hold nothing that has to be escaped.
        let Subject { namespace, name, role, method } = self.0;
        write!(f, "method=\"{method}\",obj_name=\"{name}\",obj_namespace=\"{namespace}\",role=\"{role}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn upstreams_metrics_keep_their_names_labels_and_help() {
        let metrics = Metrics::default();
        let subject = Subject::new("source", Method::RsyncTls, "prod", "db");
        metrics.measure(&subject, &[Measurement::OutOfSync(true)], at(0));
        let took = Duration::from_millis(1500);
        metrics.measure(
            &subject,
            &[Measurement::OutOfSync(false), Measurement::MissedInterval, Measurement::SyncDuration(took)],
            at(10),
        );
        metrics.count(&subject, Happened::TransferFailed, at(5));
        for (job, bytes) in [("a", 7), ("a", 7), ("b", 3)] {
            metrics.count_traffic(&subject, job, Traffic { bytes, files: 1 });
        }
        metrics.progress(&subject, Some(Progress { bytes: Some((3, 4)), files: Some(5), total_files: None }));
        metrics.measure(
            &Subject::new("destination", Method::Rclone, "prod", "db"),
            &[Measurement::OutOfSync(true)],
            at(0),
        );
        let text = metrics.render(&Totals { running: 1, queued: 2, leading: true }, at(20));
        let expect = r#"# HELP volsync_missed_intervals_total The number of times a synchronization failed to complete before the next scheduled start
# TYPE volsync_missed_intervals_total counter
volsync_missed_intervals_total{method="rclone",obj_name="db",obj_namespace="prod",role="destination"} 0
volsync_missed_intervals_total{method="rsync-tls",obj_name="db",obj_namespace="prod",role="source"} 1
# HELP volsync_sync_duration_seconds Duration of the synchronization interval in seconds
# TYPE volsync_sync_duration_seconds summary
volsync_sync_duration_seconds{method="rclone",obj_name="db",obj_namespace="prod",role="destination",quantile="0.5"} NaN
volsync_sync_duration_seconds{method="rclone",obj_name="db",obj_namespace="prod",role="destination",quantile="0.9"} NaN
volsync_sync_duration_seconds{method="rclone",obj_name="db",obj_namespace="prod",role="destination",quantile="0.99"} NaN
volsync_sync_duration_seconds_sum{method="rclone",obj_name="db",obj_namespace="prod",role="destination"} 0
volsync_sync_duration_seconds_count{method="rclone",obj_name="db",obj_namespace="prod",role="destination"} 0
volsync_sync_duration_seconds{method="rsync-tls",obj_name="db",obj_namespace="prod",role="source",quantile="0.5"} 1.5
volsync_sync_duration_seconds{method="rsync-tls",obj_name="db",obj_namespace="prod",role="source",quantile="0.9"} 1.5
volsync_sync_duration_seconds{method="rsync-tls",obj_name="db",obj_namespace="prod",role="source",quantile="0.99"} 1.5
volsync_sync_duration_seconds_sum{method="rsync-tls",obj_name="db",obj_namespace="prod",role="source"} 1.5
volsync_sync_duration_seconds_count{method="rsync-tls",obj_name="db",obj_namespace="prod",role="source"} 1
# HELP volsync_volume_out_of_sync Set to 1 if the volume is not properly synchronized
# TYPE volsync_volume_out_of_sync gauge
volsync_volume_out_of_sync{method="rclone",obj_name="db",obj_namespace="prod",role="destination"} 1
volsync_volume_out_of_sync{method="rsync-tls",obj_name="db",obj_namespace="prod",role="source"} 0
"#;
        assert!(text.starts_with(expect), "{text}");
        for line in [
            "volsync_syncs_completed_total{method=\"rsync-tls\",obj_name=\"db\",obj_namespace=\"prod\",role=\"source\"} 1",
            "volsync_transfers_failed_total{method=\"rsync-tls\",obj_name=\"db\",obj_namespace=\"prod\",role=\"source\"} 1",
            "volsync_last_success_timestamp_seconds{method=\"rsync-tls\",obj_name=\"db\",obj_namespace=\"prod\",role=\"source\"} 10",
            "volsync_last_error_timestamp_seconds{method=\"rsync-tls\",obj_name=\"db\",obj_namespace=\"prod\",role=\"source\"} 5",
            "volsync_transferred_bytes_total{method=\"rsync-tls\",obj_name=\"db\",obj_namespace=\"prod\",role=\"source\"} 10",
            "volsync_transferred_files_total{method=\"rsync-tls\",obj_name=\"db\",obj_namespace=\"prod\",role=\"source\"} 2",
            "volsync_transferred_files_total{method=\"rclone\",obj_name=\"db\",obj_namespace=\"prod\",role=\"destination\"} 0",
            "volsync_mover_bytes{method=\"rsync-tls\",obj_name=\"db\",obj_namespace=\"prod\",role=\"source\"} 3",
            "volsync_mover_planned_bytes{method=\"rsync-tls\",obj_name=\"db\",obj_namespace=\"prod\",role=\"source\"} 4",
            "volsync_mover_files{method=\"rsync-tls\",obj_name=\"db\",obj_namespace=\"prod\",role=\"source\"} 5",
            "volsync_transfers_running 1",
            "volsync_syncs_queued 2",
            "volsync_leader 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }

    #[test]
    fn what_is_gone_is_no_longer_told() {
        let metrics = Metrics::default();
        for role in ["source", "destination"] {
            metrics.measure(&Subject::new(role, Method::Rsync, "prod", "db"), &[], at(0));
        }
        metrics.forget("source", "prod", "db");
        metrics.progress(&Subject::new("source", Method::Rsync, "prod", "db"), Some(Progress::default()));
        let text = metrics.render(&Totals::default(), at(0));
        assert!(text.contains("role=\"destination\"") && !text.contains("role=\"source\""), "{text}");
    }
}
