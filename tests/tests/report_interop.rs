//! What we print is what the real rclone prints for the same counts and the same actions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is the report")]

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};
use tracing::subscriber::set_default;
use volsync_common::path::RelPath;
use volsync_common::report::{Action, Counters, Reporter, Settings, Skip, Snapshot, Style, Title, UnderWay, block};
use volsync_common::telemetry::{self, Format, Level, Log};
use volsync_tests::rclone::Rclone;

/// Two directories: the second is to become equal to the first.
fn volumes() -> TempDir {
    let dir = TempDir::with_prefix("report-").unwrap();
    let write = |path: &str, content: &[u8]| {
        let file = dir.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    };
    write("from/sub/new", &vec![7; 300_000]);
    write("from/replaced", b"newer");
    write("from/dated", b"same");
    write("to/sub/other", b"gone");
    write("to/replaced", b"old");
    write("to/dated", b"same");
    let old = fs::File::options().write(true).open(dir.path().join("to/dated")).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    std::os::unix::fs::symlink("x", dir.path().join("from/link")).unwrap();
    dir
}

/// What rclone says on standard error when it syncs the volumes.
fn sync(dir: &Path, flags: &[&str]) -> String {
    let rclone = Rclone::with_conf(NamedTempFile::new().unwrap().into_temp_path());
    let (from, to) = (dir.join("from"), dir.join("to"));
    let args = ["sync", from.to_str().unwrap(), to.to_str().unwrap(), "--no-update-dir-modtime"];
    let outcome = rclone.run(&[&args[..], flags].concat()).success();
    String::from_utf8(outcome.stderr).unwrap()
}

/// The statistics of a JSON log: the text and its numbers.
fn statistics(log: &str) -> Vec<(String, Value)> {
    let records = log.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    let statistics =
        records.filter_map(|record| Some((record["msg"].as_str()?.to_owned(), record.get("stats")?.clone())));
    statistics.collect()
}

/// A number without what is after the point, as rclone shows speeds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts and speeds are not negative")]
fn whole(number: &Value) -> u64 {
    number.as_f64().map_or(0, |number| number as u64)
}

fn snapshot(stats: &Value, deleted_bytes: u64) -> Snapshot {
    let count = |name: &str| whole(&stats[name]);
    let under_way = stats["transferring"].as_array().into_iter().flatten().map(|file| UnderWay {
        path: RelPath::new(file["name"].as_str().unwrap().as_bytes()).unwrap(),
        size: file["size"].as_u64().unwrap(),
        done: file["bytes"].as_u64().unwrap(),
        speed: whole(&file["speedAvg"]),
    });
    Snapshot {
        listed: count("listed"),
        checks: count("checks"),
        checks_planned: count("totalChecks"),
        transfers: count("transfers"),
        transfers_planned: count("totalTransfers"),
        bytes: count("bytes"),
        bytes_planned: count("totalBytes"),
        speed: count("speed"),
        deleted_files: count("deletes"),
        deleted_directories: count("deletedDirs"),
        deleted_bytes,
        errors: count("errors"),
        fatal: stats["fatalError"] == true,
        retryable: stats["retryError"] == true,
        under_way: under_way.collect(),
        ..Snapshot::default()
    }
}

/// Our block for rclone's numbers.
fn ours(stats: &Value, deleted_bytes: u64) -> String {
    let elapsed = Duration::from_secs_f64(stats["elapsedTime"].as_f64().unwrap());
    block(&snapshot(stats, deleted_bytes), elapsed)
}

/// rclone takes the time twice, once for the numbers and once for the text.
fn without_time(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("Elapsed time:")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_block_at_the_end_is_rclones() {
    let dir = volumes();
    let log = sync(dir.path(), &["-v", "--use-json-log"]);
    let (text, stats) = statistics(&log).pop().expect(&log);
    assert!(stats["deletes"] == 1 && stats["transfers"] == 2, "{stats}");
    assert_eq!(without_time(&ours(&stats, 4)), without_time(&text));
    let time = |text: &str| text.lines().find(|line| line.starts_with("Elapsed time:")).unwrap().len();
    assert_eq!(time(&text), time(&ours(&stats, 4)));
}

/// Between its numbers and its text rclone may move on, so one block that agrees is asked for, not every one.
#[test]
fn a_block_on_the_way_is_rclones() {
    let dir = volumes();
    let log = sync(dir.path(), &["-v", "--use-json-log", "--stats", "200ms", "--bwlimit", "100k", "--transfers", "1"]);
    let on_the_way: Vec<_> =
        statistics(&log).into_iter().filter(|(text, _)| text.contains("\nTransferring:\n")).collect();
    let agree = |(text, stats): &&(String, Value)| text.trim_end() == ours(stats, 0).trim_end();
    let agreed = on_the_way.iter().filter(agree).count();
    assert!(agreed > 0, "none of {} agrees: {on_the_way:?}", on_the_way.len());
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// What our reporter logs of the sync of the volumes.
fn reported(format: &str, dry_run: bool) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let memory = Memory::default();
        let settings = telemetry::Settings { level: Level::Info, format: Format::parse(format).unwrap(), file: None };
        let log = Log::redirected(&settings, Box::new(memory.clone()));
        let _here = set_default(telemetry::subscriber(&log));
        let reporter = Reporter::start(settings_of_report(log, dry_run), Counters::new());
        let path = |name: &str| RelPath::new(name.as_bytes()).unwrap();
        reporter.skipped(Skip::Symlink, &path("link"));
        reporter.action(Action::Copy, &path("sub/new"), 300_000);
        reporter.action(Action::Replace, &path("replaced"), 5);
        reporter.action(Action::UpdateModTime, &path("dated"), 4);
        reporter.action(Action::Delete, &path("sub/other"), 4);
        reporter.finish();
        memory.text()
    })
}

fn settings_of_report(log: Log, dry_run: bool) -> Settings {
    Settings {
        log,
        stats: Duration::from_mins(1),
        stats_level: Level::Info,
        style: Style::Block,
        dry_run,
        terminal: false,
        events: None,
        title: Title::default(),
    }
}

fn sorted<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut lines: Vec<&str> = lines.collect();
    lines.sort_unstable();
    lines
}

/// Lines about entries; the rest is statistics, which other tests compare.
fn about_entries(log: &str) -> Vec<&str> {
    sorted(log.lines().filter(|line| {
        ["INFO  : ", "NOTICE: "].iter().any(|level| line.len() > level.len() && line.starts_with(level))
    }))
}

#[test]
fn actions_have_rclones_words() {
    for (dry_run, flags) in [(true, &["-v", "--log-format", "", "--dry-run"][..]), (false, &["-v", "--log-format", ""])]
    {
        let dir = volumes();
        let log = sync(dir.path(), flags);
        assert_eq!(about_entries(&reported("", dry_run)), about_entries(&log));
    }
}

/// Members of records about entries, by message; values that must differ are left out.
fn records(log: &str) -> Vec<(String, Vec<String>, Value)> {
    let mut records: Vec<_> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect(line))
        .filter(|record| record.get("object").is_some())
        .map(|record| {
            let members = record.as_object().unwrap().keys().cloned().collect();
            (format!("{} {}", record["object"], record["msg"]), members, record["level"].clone())
        })
        .collect();
    records.sort_by(|a, b| a.0.cmp(&b.0));
    records
}

#[test]
fn json_records_have_rclones_members() {
    let dir = volumes();
    let (theirs, ours) = (sync(dir.path(), &["-v", "--use-json-log"]), reported("json", false));
    let (their_records, our_records) = (records(&theirs), records(&ours));
    assert_eq!(their_records.len(), our_records.len());
    for (theirs, ours) in their_records.iter().zip(&our_records) {
        assert_eq!((&theirs.0, &theirs.2), (&ours.0, &ours.2));
        let missing: Vec<_> = theirs.1.iter().filter(|member| !ours.1.contains(member)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", theirs.0);
    }
    let names =
        |log: &str| -> Vec<String> { statistics(log).pop().unwrap().1.as_object().unwrap().keys().cloned().collect() };
    let ours = names(&ours);
    let missing: Vec<_> = names(&theirs).into_iter().filter(|name| !ours.contains(name)).collect();
    assert_eq!(missing, ["transferTime"], "the time in which anything was transferred is not taken");
}
