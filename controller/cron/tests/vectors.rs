//! Schedules against what robfig/cron 3.0.1 answered; `tests/generate` made the vectors.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use std::process::Command;
use volsync_cron::{self as cron, duration};

#[derive(Deserialize)]
struct Vector {
    spec: String,
    #[serde(default)]
    zone: String,
    #[serde(default)]
    from: i64,
    /// Times in a row, each the base of the next; 0 where the original found none.
    #[serde(default)]
    next: Vec<i64>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct GoDuration {
    text: String,
    #[serde(default)]
    nanoseconds: i64,
    #[serde(default)]
    written: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

fn lines<'a, T: Deserialize<'a>>(text: &'a str) -> Vec<T> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn check(vector: &Vector) {
    let local = cron::zone(&vector.zone, &TimeZone::UTC).unwrap();
    let parsed = cron::parse(&vector.spec, &local);
    if let Some(error) = &vector.error {
        assert_eq!(parsed.unwrap_err().to_string(), *error, "{:?}", vector.spec);
        return;
    }
    let schedule = parsed.unwrap_or_else(|error| panic!("{:?}: {error}", vector.spec));
    let mut base = Timestamp::from_second(vector.from).unwrap();
    for &expect in &vector.next {
        let next = schedule.next(base, &local);
        let expect = (expect != 0).then(|| Timestamp::from_second(expect).unwrap());
        assert_eq!(next, expect, "{:?} in {:?} after {base}", vector.spec, vector.zone);
        let Some(next) = next else { break };
        base = next;
    }
}

#[test]
fn every_answer_of_the_original_is_ours() {
    let vectors: Vec<Vector> = lines(include_str!("vectors.jsonl"));
    assert!(vectors.len() > 1000, "{} vectors", vectors.len());
    assert!(vectors.iter().filter(|vector| vector.error.is_some()).count() > 50);
    vectors.iter().for_each(check);
}

/// Runs the test above once more where the machine knows no zones: those that count are compiled in.
#[test]
fn zones_of_the_machine_are_not_asked() {
    let zones = "/usr/share/zoneinfo";
    let hidden = format!(
        r#"[ ! -e {zones} ] || mount -t tmpfs none {zones} && [ -z "$(ls -A {zones})" ] || exit 3; exec "$0" --exact "$@""#
    );
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &hidden]).arg(std::env::current_exe().unwrap());
    let output = command.arg("every_answer_of_the_original_is_ours").env_remove("TZDIR").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn every_duration_of_go_is_ours() {
    let vectors: Vec<GoDuration> = lines(include_str!("durations.jsonl"));
    assert!(vectors.len() > 50, "{} vectors", vectors.len());
    for vector in vectors {
        let parsed = duration::parse(&vector.text);
        match vector.error {
            Some(error) => assert_eq!(parsed.unwrap_err().to_string(), error, "{:?}", vector.text),
            None => assert_eq!(parsed, Ok(vector.nanoseconds), "{:?}", vector.text),
        }
        if let Some(written) = vector.written {
            let nanoseconds = u64::try_from(vector.nanoseconds).unwrap();
            assert_eq!(duration::format(std::time::Duration::from_nanos(nanoseconds)), written);
        }
    }
}
