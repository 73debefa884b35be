//! What the mover prints: in a pod, on a terminal, to machines; against the real rclone where rclone has the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is the report")]

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use volsync_tests::embedded::Embedded;
use volsync_tests::process::{self, Outcome};
use volsync_tests::{mover, peers, servers};

/// A home with two directories, `from` with three files, `to` with an old one.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        let dir = TempDir::with_prefix("output-").unwrap();
        let write = |path: &str, content: &[u8]| {
            let file = dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        };
        write("from/large", &vec![7; 3 << 20]);
        write("from/sub/small", b"content");
        write("from/replaced", b"newer");
        write("to/sub/other", b"gone");
        write("to/replaced", b"old");
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn args(&self, to: &str, flags: &[&str]) -> Vec<String> {
        let from = self.path("from");
        let places = ["sync", from.to_str().unwrap(), to];
        places.iter().chain(flags).map(|&arg| arg.to_owned()).collect()
    }

    fn to(&self) -> String {
        self.path("to").to_str().unwrap().to_owned()
    }

    fn mover(&self, flags: &[&str]) -> Outcome {
        process::run(&mut mover::command(self.0.path(), &self.args(&self.to(), flags), &[])).success()
    }

    fn rclone(&self, flags: &[&str]) -> Outcome {
        let mut command = Command::new(peers::rclone());
        process::run(command.env_clear().env("HOME", self.0.path()).args(self.args(&self.to(), flags))).success()
    }

    /// The mover under a terminal of 100 columns; what the terminal was sent.
    fn on_a_terminal(&self, to: &str, flags: &[&str]) -> String {
        let quoted = |text: &OsStr| format!("'{}'", text.to_str().unwrap());
        let words: Vec<String> = self.args(to, flags).iter().map(|arg| quoted(arg.as_ref())).collect();
        let line = format!("stty cols 100 rows 30; exec {} {}", quoted(mover::binary().as_ref()), words.join(" "));
        let mut command = Command::new(peers::tool("script"));
        command.env_clear().env("HOME", self.0.path()).env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
        let outcome = process::run(command.args(["-q", "-e", "-c", &line, "/dev/null"])).success();
        String::from_utf8(outcome.stdout).unwrap()
    }
}

fn stderr(outcome: &Outcome) -> String {
    String::from_utf8(outcome.stderr.clone()).unwrap()
}

/// Lines of the statistics that do not tell a time.
fn counts(log: &str) -> Vec<&str> {
    let kept = |line: &&str| ["Checks:", "Deleted:", "Transferred:"].iter().any(|name| line.starts_with(name));
    let what = |line| {
        // How much was listed and how quickly is another matter.
        str::split_once(line, "%, ").map_or(line, |(counts, _)| counts)
    };
    log.lines().filter(kept).map(what).collect()
}

#[test]
fn without_a_terminal_the_statistics_are_rclones() {
    for flags in [&["-v"][..], &["--dry-run"]] {
        let (ours, theirs) = (Scene::new().mover(flags), Scene::new().rclone(flags));
        let (ours, theirs) = (stderr(&ours), stderr(&theirs));
        assert!(!ours.contains('\x1b') && ours.ends_with("s\n\n"), "{ours}");
        assert_eq!(counts(&ours), counts(&theirs));
        assert_eq!(counts(&ours).len(), 4, "{ours}");
    }
}

#[test]
fn entries_are_told_of_in_rclones_words() {
    let words = ["Copied", "Deleted", "Skipped copy", "Skipped delete"].map(|word| format!(": {word}"));
    let told = |log: &str| {
        let about = |line: &&str| words.iter().any(|word| line.contains(word));
        let mut lines: Vec<String> = log.lines().filter(about).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for dry_run in [&[][..], &["--dry-run"]] {
        let flags = [&["-v", "--log-format", ""], dry_run].concat();
        let (ours, theirs) = (Scene::new().mover(&flags), Scene::new().rclone(&flags));
        assert_eq!(told(&stderr(&ours)), told(&stderr(&theirs)));
        assert_eq!(told(&stderr(&ours)).len(), 4, "{ours}");
    }
}

/// At 2 MiB a second an upload of 3 MiB takes several frames.
#[test]
fn on_a_terminal_bars_come_and_go() {
    let server = Embedded::start("volumes");
    let conf = servers::rclone_conf(&server, "Other");
    let scene = Scene::new();
    let to = format!("{}:volumes/v", servers::SECTION);
    let shown = scene.on_a_terminal(&to, &["--bwlimit", "2M", "--config", conf.to_str().unwrap()]);
    assert!(shown.contains("sync ") && shown.contains('╸') && shown.contains(" left"), "{shown:?}");
    let after_the_bars = shown.trim_end().rsplit("\x1b[2K").next().unwrap();
    assert!(after_the_bars.contains("3 files transferred (3.000 MiB) in "), "{shown:?}");
    assert!(!after_the_bars.contains("Transferred:"), "no statistics at NOTICE: {shown:?}");
}

#[test]
fn a_quiet_run_on_a_terminal_says_nothing() {
    let scene = Scene::new();
    let shown = scene.on_a_terminal(&scene.to(), &["-q"]);
    assert_eq!(shown, "");
}

#[test]
fn progress_without_a_terminal_prints_statistics_whatever_the_level() {
    let log = stderr(&Scene::new().mover(&["--progress"]));
    assert_eq!(counts(&log).len(), 4, "{log}");
    assert!(!stderr(&Scene::new().mover(&[])).contains("Transferred:"));
}

#[test]
fn machines_get_one_object_a_line() {
    let outcome = Scene::new().mover(&["--json"]);
    let text = String::from_utf8(outcome.stdout.clone()).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((names[0], names[names.len() - 1]), ("start", "summary"));
    let mut actions: Vec<String> = events
        .iter()
        .filter(|event| event["event"] == "action" && event.get("size").is_some())
        .map(|event| format!("{} {} {}", event["action"], event["object"], event["size"]))
        .collect();
    actions.sort();
    let expect = [
        r#""copied" "large" 3145728"#,
        r#""copied" "sub/small" 7"#,
        r#""deleted" "sub/other" 4"#,
        r#""replaced" "replaced" 5"#,
    ];
    assert_eq!(actions, expect);
    let summary = &events[events.len() - 1];
    assert_eq!((&summary["transfers"], &summary["deletes"], &summary["errors"]), (&3.into(), &1.into(), &0.into()));
}
