//! Signals and orphans, in processes of their own. Each test starts this binary again, with the child's role as the
//! name of the only test to run.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::pending;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use volsync_common::cancel::on_signals;
use volsync_tests::process::run;

/// Set for a child, so that its role does nothing in an ordinary run.
const ROLE: &str = "VOLSYNC_TEST_ROLE";

fn say(words: &str) {
    println!("{words}");
    std::io::stdout().flush().unwrap();
}

fn role(command: &mut Command, name: &str) {
    command.args(["--exact", name, "--nocapture"]).env(ROLE, name);
}

#[tokio::test]
async fn role_stubborn() {
    if std::env::var_os(ROLE).is_some() {
        let token = on_signals().unwrap();
        say("ready");
        token.cancelled().await;
        say("cancelled");
        pending::<()>().await;
    }
}

#[tokio::test]
async fn role_init() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    assert_eq!(std::process::id(), 1);
    let _token = on_signals().unwrap();
    let script = "sleep 0.1 >/dev/null 2>&1 & echo $!; exit 3";
    let child = tokio::process::Command::new("sh").args(["-c", script]).output().await.unwrap();
    assert_eq!(child.status.code(), Some(3), "the status of our own child is ours");
    let orphan = PathBuf::from("/proc").join(String::from_utf8(child.stdout).unwrap().trim());
    let deadline = Instant::now() + Duration::from_secs(30);
    while orphan.exists() {
        assert!(Instant::now() < deadline, "{} is still there", orphan.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    say("buried");
}

fn wait_for(words: &str, child: &mut BufReader<ChildStdout>) {
    // libtest begins the line with the test's name.
    let mut line = String::new();
    while !line.trim_end().ends_with(words) {
        line.clear();
        assert_ne!(child.read_line(&mut line).unwrap(), 0, "the child ended before it said {words:?}");
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn the_second_signal_ends_a_process_that_does_not_obey_the_first() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        role(&mut command, "role_stubborn");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        wait_for("ready", &mut said);
        signal(&child, first);
        wait_for("cancelled", &mut said);
        signal(&child, second);
        assert_eq!(child.wait().unwrap().code(), Some(143));
    }
}

#[test]
fn the_first_process_of_a_container_buries_orphans_and_keeps_its_own_children() {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(std::env::current_exe().unwrap());
    role(&mut command, "role_init");
    let outcome = run(&mut command).success();
    assert!(outcome.text().contains("buried"), "{outcome}");
}
