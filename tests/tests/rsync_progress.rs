//! How far a transfer is: as rsync tells it, and as all movers of ours do.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use volsync_tests::process::{Outcome, run};
use volsync_tests::rsync::{End, PAIRS, Pair, STOCK, Shell, Way, command, transfer};
use volsync_tests::volume::shell;

/// A source, and a destination that has some of it.
fn volumes() -> (TempDir, TempDir) {
    let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let files =
        "mkdir -p d/e same; head -c 3000000 /dev/zero > big; echo 1 > d/a; echo 22 > d/e/b; echo 3 > same/c; : > empty
                 ln -s big link; ln d/a hard; chmod 644 d/a big; find . -exec touch -h -d @1000000000 {} +";
    shell(source.path(), files);
    shell(
        destination.path(),
        "mkdir -p same gone; echo 3 > same/c; echo > gone/x; find . -exec touch -d @900000000 {} +
         touch -d @1000000000 same/c",
    );
    (source, destination)
}

fn contents(dir: &Path) -> String {
    format!("{}/", dir.display())
}

fn stock(pair: Pair) -> Pair {
    STOCK.into_iter().find(|stock| stock.way == pair.way).unwrap()
}

/// Lines in the order of their names, as they look in the end: without rates, times and what is still to be looked at.
fn lines(outcome: &Outcome) -> Vec<String> {
    let text = String::from_utf8(outcome.stdout.clone()).unwrap();
    let last = text.lines().map(|line| line.rsplit('\r').next().unwrap());
    let mut name = "";
    let mut lines = Vec::new();
    for line in last {
        // `      3,000,000 100%  707.44MB/s    0:00:00 (xfr#1, to-chk=5/7)`
        if let Some((numbers, rest)) = line.split_once("% ") {
            let shape: String = rest.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            let (rate, counts) = shape.split_at(22);
            assert!(rate.ends_with("B/s    0:00:00"), "{line:?}");
            assert!(counts.starts_with(" (xfr#0, to-chk=0/0"), "{line:?}");
            lines.push(format!("{name}: {numbers}"));
        } else {
            name = line;
            lines.push(line.to_owned());
        }
    }
    // A stock client says whether it takes a list in parts.
    lines.retain(|line| !line.contains("ing incremental file list") && !line.starts_with("receiving file list"));
    lines.sort();
    lines
}

#[test]
fn each_file_is_told_as_by_the_real_one() {
    let remote = Shell::local();
    for pair in PAIRS {
        for options in ["-a --progress --delete", "-aPh --delete", "-ai --progress", "-a --info=progress,name"] {
            let told = |pair: Pair| {
                let (source, destination) = volumes();
                lines(&transfer(&remote, pair, options, &contents(source.path()), destination.path()).success())
            };
            assert_eq!(told(pair), told(stock(pair)), "{pair:?} {options}");
        }
    }
}

#[test]
fn all_files_are_told_in_one_line() {
    let remote = Shell::local();
    for pair in PAIRS.into_iter().filter(|pair| pair.client == End::Ours) {
        let (source, destination) = volumes();
        let outcome =
            transfer(&remote, pair, "-a --info=progress2", &contents(source.path()), destination.path()).success();
        let text = String::from_utf8(outcome.stdout.clone()).unwrap();
        let last = text.trim_end().rsplit('\r').next().unwrap();
        assert!(last.starts_with("      3,000,007 100% ") && last.contains(" (xfr#5, to-chk=0/"), "{pair:?}: {text:?}");
        let quiet = transfer(&remote, pair, "-aq --progress", &contents(source.path()), destination.path()).success();
        assert_eq!(quiet.text(), "", "{pair:?}");
    }
}

/// What the events of a run say was done.
fn events(outcome: &Outcome) -> Vec<Value> {
    let text = String::from_utf8(outcome.stdout.clone()).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.first().unwrap()["event"], "start", "{text}");
    assert_eq!(events.last().unwrap()["event"], "summary", "{text}");
    events
}

fn actions(events: &[Value]) -> BTreeSet<String> {
    let actions = events.iter().filter(|event| event["event"] == "action");
    actions
        .map(|event| {
            let size = if event["size"].is_null() { String::new() } else { format!(" {}", event["size"]) };
            let dry = if event["dryRun"] == true { " dry" } else { "" };
            format!("{} {}{size}{dry}", event["action"].as_str().unwrap(), event["object"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn machines_hear_of_everything_that_is_done() {
    let remote = Shell::local();
    let done: BTreeSet<String> = [
        "copied big 3000000",
        "copied d/e/b 3",
        "copied empty 0",
        "copied link",
        "directory-made d",
        "directory-made d/e",
        "deleted gone/x",
        "directory-removed gone",
    ]
    .map(str::to_owned)
    .into();
    for pair in PAIRS.into_iter().filter(|pair| pair.client == End::Ours) {
        let (source, destination) = volumes();
        shell(source.path(), "rm d/a hard");
        let go = |options: &str| {
            events(&transfer(&remote, pair, options, &contents(source.path()), destination.path()).success())
        };
        let dry: BTreeSet<_> = done.iter().map(|line| format!("{line} dry")).collect();
        let mut found = actions(&go("-aHi --delete --json --dry-run"));
        found.retain(|line| !line.contains("directory-updated"));
        assert_eq!(found, dry, "{pair:?}");
        let events = go("-aHv --stats --delete --json");
        let mut found = actions(&events);
        found.retain(|line| !line.contains("directory-updated"));
        assert_eq!(found, done, "{pair:?}");
        let summary = events.last().unwrap();
        let numbers = ["bytes", "totalBytes", "transfers", "totalTransfers", "deletes", "deletedDirs", "errors"];
        let numbers = numbers.map(|name| summary[name].as_u64().unwrap());
        assert_eq!(numbers, [3_000_003, 3_000_003, 3, 3, 1, 1, 0], "{pair:?}: {summary}");
        let start = &events[0];
        let way = if pair.way == Way::Push { "push" } else { "pull" };
        assert_eq!((start["operation"].as_str(), start["dryRun"].as_bool()), (Some(way), Some(false)));
        assert_eq!(actions(&go("-aH --delete --json")), BTreeSet::new(), "{pair:?}");
        shell(source.path(), "echo changed > d/e/b; chmod 600 big");
        let changed = actions(&go("-aH --delete --json"));
        assert_eq!(changed, ["replaced d/e/b 8".to_owned(), "updated big 3000000".to_owned()].into(), "{pair:?}");
    }
}

#[test]
fn machines_hear_of_what_fails() {
    let (source, destination) = volumes();
    let program = End::Ours.program();
    let to = format!("host:{}", destination.path().display());
    let push = ["push", "--json", "-e", "false", &source.path().display().to_string(), &to].map(ToOwned::to_owned);
    let outcome = run(Command::new(&program).args(push)).exits(12);
    let events = events(&outcome);
    let error = events.iter().find(|event| event["event"] == "error").unwrap();
    assert_eq!(error["severity"], "fatal", "{outcome}");
    assert_eq!(events.last().unwrap()["fatalError"], true);
    let listing = run(Command::new(&program).args(["--json", "host:x"])).exits(1);
    assert!(listing.stdout.is_empty() && listing.text().contains("--json"), "{listing}");
}

#[test]
fn people_see_bars_on_a_terminal_and_statistics_in_a_log() {
    let remote = Shell::local();
    for pair in PAIRS.into_iter().filter(|pair| pair.client == End::Ours) {
        let word = if pair.way == Way::Push { "push" } else { "pull" };
        let (source, destination) = volumes();
        let command = command(&remote, pair, "", &contents(source.path()), destination.path());
        let words = |more: &[&str]| {
            let mut push = Command::new(command.get_program());
            push.arg(word).args(more).args(command.get_args());
            push
        };
        let plain = run(&mut words(&[])).success();
        assert_eq!(plain.text(), "", "{pair:?}");
        shell(source.path(), "echo more >> big");
        let logged = run(&mut words(&["--progress"])).success();
        let text = String::from_utf8_lossy(&logged.stderr).into_owned();
        assert!(text.contains("Transferred:   \t    2.861 MiB / 2.861 MiB, 100%, "), "{pair:?}: {logged}");
        assert!(logged.stdout.is_empty(), "{logged}");
        shell(source.path(), "echo more >> big");
        let line = format!("{:?}", words(&[]));
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm");
        let shown = run(&mut terminal).success().text();
        assert!(shown.contains(&format!("{word} ")) && shown.contains(" → "), "{pair:?}: {shown:?}");
        assert!(shown.trim_end().lines().last().unwrap().contains("1 file transferred (2.861 MiB)"), "{shown:?}");
    }
}
