use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;
use tracing::subscriber::set_default;

use super::*;
use crate::telemetry::{self, Format};

/// Hands every write on.
struct Writes(Sender<String>);

impl Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _nobody_reads = self.0.send(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Bench {
    reporter: Reporter,
    log: Receiver<String>,
    events: Receiver<String>,
    _subscriber: tracing::subscriber::DefaultGuard,
}

fn bench(level: Level, adapt: impl FnOnce(&mut Settings)) -> Bench {
    let ((to_log, log), (to_events, events)) = (channel(), channel());
    let format = Format::parse("").unwrap();
    let target = Log::redirected(&telemetry::Settings { level, format, file: None }, Box::new(Writes(to_log)));
    let subscriber = set_default(telemetry::subscriber(&target));
    let mut settings = Settings {
        log: target,
        stats: Duration::from_mins(1),
        stats_level: Level::Info,
        style: Style::OneLine,
        dry_run: false,
        terminal: false,
        events: Some(Box::new(Writes(to_events))),
        title: Title { operation: "sync".into(), source: "/data".into(), destination: "remote:b/p".into() },
    };
    adapt(&mut settings);
    Bench { reporter: Reporter::start(settings, Counters::new()), log, events, _subscriber: subscriber }
}

impl Bench {
    fn logged(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    fn events(&self) -> Vec<Value> {
        let text: String = self.events.try_iter().collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn path(name: &[u8]) -> RelPath {
    RelPath::new(name).unwrap()
}

fn every_action(reporter: &Reporter) {
    reporter.action(Action::Copy, &path(b"big"), 3_000_000);
    reporter.action(Action::Replace, &path(b"repl"), 4);
    reporter.action(Action::UpdateModTime, &path(b"upd"), 4);
    reporter.action(Action::Delete, &path(b"old/o"), 4);
    reporter.action(Action::MakeDirectory, &path(b"empty"), 0);
    reporter.action(Action::RemoveDirectory, &path(b"old"), 0);
    reporter.action(Action::SetDirectoryModTime, &path(b"sub"), 0);
}

#[tokio::test]
async fn actions_are_told_in_rclones_words() {
    let bench = bench(Level::Info, |_| {});
    every_action(&bench.reporter);
    let expect = [
        "INFO  : big: Copied (new)\n",
        "INFO  : repl: Copied (replaced existing)\n",
        "INFO  : upd: Updated modification time in destination\n",
        "INFO  : old/o: Deleted\n",
        "INFO  : empty: Making directory\n",
        "INFO  : old: Removing directory\n",
        "INFO  : sub: Set directory modification time (using DirSetModTime)\n",
    ];
    assert_eq!(bench.logged(), expect);
}

#[tokio::test]
async fn a_dry_run_says_what_it_skips() {
    let bench = bench(Level::Notice, |settings| settings.dry_run = true);
    every_action(&bench.reporter);
    bench.reporter.finish();
    let expect = [
        "NOTICE: big: Skipped copy as --dry-run is set (size 2.861Mi)\n",
        "NOTICE: repl: Skipped copy as --dry-run is set (size 4)\n",
        "NOTICE: upd: Skipped update modification time as --dry-run is set (size 4)\n",
        "NOTICE: old/o: Skipped delete as --dry-run is set (size 4)\n",
        "NOTICE: empty: Skipped make directory as --dry-run is set\n",
        "NOTICE: old: Skipped remove directory as --dry-run is set\n",
        "NOTICE: sub: Skipped set directory modification time as --dry-run is set\n",
        "NOTICE:           0 B / 0 B, -, 0 B/s, ETA -\n",
    ];
    assert_eq!(bench.logged(), expect);
    let copied = &bench.events()[1];
    assert_eq!((&copied["action"], &copied["dryRun"]), (&"copied".into(), &true.into()));
}

#[tokio::test]
async fn what_is_up_to_date_is_debug_and_what_is_left_out_a_notice() {
    let bench = bench(Level::Debug, |_| {});
    bench.reporter.skipped(Skip::Unchanged, &path(b"same"));
    bench.reporter.skipped(Skip::Symlink, &path(b"link"));
    let expect = ["DEBUG : same: Unchanged skipping\n", "NOTICE: link: Can't follow symlink without -L/--copy-links\n"];
    assert_eq!(bench.logged(), expect);
    bench.reporter.finish();
    let events = bench.events();
    assert_eq!(events.len(), 3, "start, skipped, summary: {events:?}");
    assert_eq!((&events[1]["object"], &events[1]["reason"]), (&"link".into(), &"symlink".into()));
}

#[tokio::test]
async fn machine_events_tell_the_whole_run() {
    let bench = bench(Level::Error, |_| {});
    bench.reporter.action(Action::Copy, &path(b"a\n\xff"), 5);
    bench.reporter.error(Severity::Final, Some(&path(b"b")), &"disk\nfull");
    bench.reporter.counters().listed(3);
    bench.reporter.finish();
    bench.reporter.action(Action::Delete, &path(b"too late"), 5);
    let events = bench.events();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["start", "action", "error", "summary"]);
    assert_eq!((&events[0]["source"], &events[0]["dryRun"]), (&"/data".into(), &false.into()));
    assert_eq!((&events[1]["object"], &events[1]["size"]), (&"a\\n\\xff".into(), &5.into()));
    assert!(events[1].get("dryRun").is_none() && events[1].get("reason").is_none());
    assert_eq!((&events[2]["message"], &events[2]["severity"]), (&"disk\\nfull".into(), &"final".into()));
    assert_eq!((&events[3]["listed"], &events[3]["errors"]), (&3.into(), &1.into()));
    assert_eq!((&events[3]["lastError"], &events[3]["eta"]), (&"disk\\nfull".into(), &Value::Null));
}

#[tokio::test]
async fn attempts_end_in_rclones_words_and_the_next_begins_without_errors() {
    let bench = bench(Level::Error, |_| {});
    let reporter = &bench.reporter;
    reporter.error(Severity::Retryable, None, &"no route");
    reporter.attempt(1, 3);
    reporter.attempt(2, 3);
    reporter.error(Severity::Fatal, None, &"gone");
    reporter.attempt(3, 3);
    let expect = [
        "ERROR : no route\n",
        "ERROR : Attempt 1/3 failed with 1 errors and: no route\n",
        "ERROR : Attempt 2/3 succeeded\n",
        "ERROR : gone\n",
        "ERROR : Attempt 3/3 failed with 1 errors and: gone\n",
    ];
    assert_eq!(bench.logged(), expect);
    let counts = reporter.counters().snapshot();
    assert_eq!((counts.errors, counts.fatal, counts.retryable), (1, true, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn statistics_come_at_every_interval_and_once_at_the_end() {
    let bench = bench(Level::Info, |settings| settings.stats = SHORTEST);
    let line = "INFO  :           0 B / 0 B, -, 0 B/s, ETA -\n";
    let Bench { reporter, log, .. } = &bench;
    for _ in 0..2 {
        assert_eq!(log.recv_timeout(Duration::from_mins(1)).as_deref(), Ok(line));
    }
    reporter.finish();
    reporter.finish();
    let rest: Vec<String> = log.try_iter().collect();
    assert_eq!(rest.last().map(String::as_str), Some(line));
    reporter.0.interval();
    assert!(bench.logged().is_empty(), "nothing after the end");
}

#[tokio::test]
async fn without_an_interval_only_errors_bring_statistics() {
    for (fail, expect) in [(false, 0), (true, 2)] {
        let bench = bench(Level::Info, |settings| settings.stats = Duration::ZERO);
        if fail {
            bench.reporter.error(Severity::Final, None, &"x");
        }
        bench.reporter.finish();
        assert_eq!(bench.logged().len(), expect);
    }
}

#[tokio::test]
async fn a_dated_line_has_the_date_twice() {
    let bench = bench(Level::Info, |settings| settings.style = Style::DatedLine);
    bench.reporter.finish();
    let line = bench.logged().concat();
    let date = line.strip_prefix("INFO  : ").and_then(|line| line.get(..22)).unwrap();
    assert!(date.ends_with(" - ") && date.matches('/').count() == 2 && date.matches(':').count() == 2, "{line}");
    assert!(line.ends_with("           0 B / 0 B, -, 0 B/s, ETA -\n"), "{line}");
}

#[tokio::test]
async fn a_log_for_later_has_lines_and_the_block_at_the_end() {
    let bench = bench(Level::Info, |settings| settings.style = Style::LineThenBlock);
    bench.reporter.0.interval();
    bench.reporter.finish();
    let logged = bench.logged();
    assert_eq!(logged.len(), 2, "{logged:?}");
    assert_eq!(logged[0], "INFO  :           0 B / 0 B, -, 0 B/s, ETA -\n");
    assert!(logged[1].contains("\nElapsed time:"), "{logged:?}");
}

#[tokio::test]
async fn a_run_too_short_to_be_measured_has_a_speed() {
    let bench = bench(Level::Info, |_| {});
    let counters = bench.reporter.counters();
    counters.transfer_planned(1 << 30);
    counters.transfer(&path(b"a"), 1 << 30, 1 << 40).finish(1 << 30);
    bench.reporter.finish();
    let line = bench.logged().concat();
    assert!(line.starts_with("INFO  :         1 GiB / 1 GiB, 100%, ") && line.ends_with("/s, ETA 0s\n"), "{line}");
}

#[tokio::test]
async fn statistics_follow_their_level() {
    let bench = bench(Level::Notice, |_| {});
    bench.reporter.finish();
    assert!(bench.logged().is_empty());
    let bench = self::bench(Level::Notice, |settings| settings.stats_level = Level::Notice);
    bench.reporter.finish();
    assert_eq!(bench.logged().len(), 1);
}
