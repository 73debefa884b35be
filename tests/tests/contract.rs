//! The mover of a VolSync Job: environment, output, exit codes, signals.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use volsync_embedded_s3::fault::{Action, When};
use volsync_tests::embedded::Embedded;
use volsync_tests::mover;
use volsync_tests::pod::{Direction, Pod};
use volsync_tests::process::{LIMIT, Outcome, Running};
use volsync_tests::servers::S3Endpoint;

/// What the operator always sets.
const WHOLE: [(&str, &str); 4] = [
    ("RCLONE_DEST_PATH", "bkt/p"),
    ("DIRECTION", "source"),
    ("PRIVILEGED_MOVER", "0"),
    ("RCLONE_CONFIG_SECTION", "remote"),
];

fn volume() -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    dir
}

fn job(change: (&str, &str)) -> Outcome {
    let env: Vec<_> = WHOLE.into_iter().filter(|(name, _)| *name != change.0).chain([change]).collect();
    mover::run_job(&env)
}

fn stdout(outcome: &Outcome) -> Vec<String> {
    String::from_utf8_lossy(&outcome.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn what_is_missing_is_said_as_upstream_says_it() {
    let version = format!("VolSync rclone container version: {}", env!("CARGO_PKG_VERSION"));
    for name in ["RCLONE_DEST_PATH", "DIRECTION", "PRIVILEGED_MOVER"] {
        let outcome = job((name, "")).exits(1);
        assert_eq!(stdout(&outcome), [version.clone(), format!("error: {name} must be defined")]);
    }
    let outcome = job(("DIRECTION", "sideways")).exits(1);
    assert_eq!(stdout(&outcome), [version, "error: unknown value for DIRECTION: sideways".to_owned()]);
}

#[test]
fn a_push_and_a_pull_end_in_the_lines_of_the_status() {
    let server = Embedded::start_tls("bkt");
    let (from, to) = (volume(), TempDir::new().unwrap());
    for (dir, direction) in [(&from, Direction::Source), (&to, Direction::Destination)] {
        let outcome = Pod::new(dir.path(), &server, "Minio").ours(direction, "bkt/p").success();
        let said = stdout(&outcome);
        assert!(said[0].starts_with("VolSync rclone container version: "), "{outcome}");
        assert_eq!(said[1], "Using custom CA.");
        assert!(said[2].starts_with("Rclone completed in ") && said[2].ends_with('s') && said.len() == 3, "{outcome}");
        let log = String::from_utf8_lossy(&outcome.stderr).into_owned();
        let status = |line: &&str| line.starts_with("Transferred:") || line.starts_with("Elapsed time:");
        let kept: Vec<&str> = log.lines().filter(status).collect();
        assert_eq!(kept.len(), 3, "{log}");
        assert!(kept[0].starts_with("Transferred:   \t") && kept[1] == "Transferred:            3 / 3, 100%", "{log}");
    }
    assert_eq!(fs::read(to.path().join("b")).unwrap(), b"b");
}

#[test]
fn the_status_has_its_lines_however_little_is_logged() {
    let server = Embedded::start("bkt");
    for (name, value) in [("RCLONE_QUIET", "1"), ("RCLONE_LOG_LEVEL", "ERROR"), ("RCLONE_STATS_ONE_LINE", "true")] {
        let from = volume();
        let pod = Pod::new(from.path(), &server, "Minio").env(name, value);
        let outcome = pod.ours(Direction::Source, "bkt/p").success();
        assert!(outcome.text().contains("\nTransferred:   \t"), "{outcome}");
        assert!(outcome.text().contains("\nElapsed time:"), "{outcome}");
    }
}

#[test]
fn values_of_a_secret_may_end_a_line_and_a_service_named_rclone_does_no_harm() {
    let server = Embedded::start("bkt");
    let from = volume();
    let mut pod = Pod::new(from.path(), &server, "Minio").env("RCLONE_CHECKSUM", "true\n").env("RCLONE_VERBOSE", "1\n");
    for (name, value) in [("RCLONE_SERVICE_HOST", "10.0.0.1"), ("RCLONE_PORT", "tcp://10.0.0.1:80")] {
        pod = pod.env(name, value);
    }
    let outcome = pod.ours(Direction::Source, "bkt/p").success();
    let text = outcome.text();
    assert_eq!(text.matches("RCLONE_SERVICE_HOST").count(), 1, "{text}");
    assert!(text.contains("ignored variables that are no flags: RCLONE_"), "{text}");
}

/// What is left in the status of the last 1,024 bytes.
fn tail(outcome: &Outcome) -> String {
    let all = [&outcome.stdout[..], &outcome.stderr].concat();
    String::from_utf8_lossy(&all[all.len().saturating_sub(1024)..]).into_owned()
}

#[test]
fn the_end_of_the_output_alone_says_what_failed_and_what_to_do() {
    let server = Embedded::start("bkt");
    let from = volume();
    let pod = || Pod::new(from.path(), &server, "Minio");
    let outcome = pod().env("RCLONE_CONFIG", "/rclone-config/none.conf").ours(Direction::Source, "bkt/p").exits(1);
    for part in ["/rclone-config/none.conf\" not found", "didn't find section in config file (\"remote\")"] {
        assert!(tail(&outcome).contains(part), "{outcome}");
    }
    let outcome = pod().ours(Direction::Destination, "bkt/mistyped").exits(1);
    for part in ["path mistyped", "no permissions.facl", "rcloneDestPath", "RCLONE_VOLSYNC_ALLOW_MISSING_PERMISSIONS=1"]
    {
        assert!(tail(&outcome).contains(part), "{outcome}");
    }
    server.faults().add(When::operation("PutObject"), Action::deny());
    let outcome = pod().ours(Direction::Source, "bkt/p").exits(1);
    for part in ["permissions.facl", "PutObject", "AccessDenied", "s3:PutObject"] {
        assert!(tail(&outcome).contains(part), "{outcome}");
    }
    let last = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(last.trim_end().lines().last().is_some_and(|line| line.contains("AccessDenied")), "{outcome}");
}

fn in_tmp(pod: &Running) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root/tmp/exit-debug-if-removed", pod.pid()))
}

fn wait_for(marker: &PathBuf) {
    let start = Instant::now();
    while fs::metadata(marker).is_err() {
        assert!(start.elapsed() < LIMIT, "{} does not appear", marker.display());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_debugged_mover_waits_and_moves_nothing() {
    let server = Embedded::start("bkt");
    let from = volume();
    let pod = Pod::new(from.path(), &server, "Minio").env("DEBUG_MOVER", "1");
    let running = pod.start_ours(Direction::Source, "bkt/p");
    let marker = in_tmp(&running);
    wait_for(&marker);
    assert_eq!(fs::metadata(&marker).unwrap().size(), 0);
    fs::remove_file(&marker).unwrap();
    let outcome = running.wait(LIMIT).success();
    assert!(outcome.text().contains("DEBUG_MOVER is set: nothing is moved, this pod waits."), "{outcome}");
    assert_eq!(server.recorder().total(), 0);

    let running = pod.start_ours(Direction::Source, "bkt/p");
    wait_for(&in_tmp(&running));
    running.signal(Signal::TERM);
    running.wait(LIMIT).exits(143);
}

#[test]
fn a_signal_ends_a_transfer_in_time_and_the_next_run_finishes_it() {
    let server = Embedded::start("bkt");
    let from = volume();
    let pod = Pod::new(from.path(), &server, "Minio");
    for (signal, path) in [(Signal::TERM, "bkt/term"), (Signal::INT, "bkt/int")] {
        let gate = server.faults().block(When::operation("PutObject").key("/b"));
        let running = pod.start_ours(Direction::Source, path);
        server.wait_at(&gate, &running);
        let asked = Instant::now();
        running.signal(signal);
        let outcome = running.wait(LIMIT).exits(143);
        assert!(asked.elapsed() < Duration::from_secs(5), "{outcome}");
        server.faults().clear();
        pod.ours(Direction::Source, path).success();
        let to = TempDir::new().unwrap();
        Pod::new(to.path(), &server, "Minio").ours(Direction::Destination, path).success();
        assert_eq!(fs::read(to.path().join("b")).unwrap(), b"b");
    }
}

#[test]
fn a_signal_ends_even_a_mover_that_waits_for_a_dead_server() {
    let server = Embedded::start("bkt");
    let gate = server.faults().block(When::operation("ListObjectsV2"));
    let to = TempDir::new().unwrap();
    let pod = Pod::new(to.path(), &server, "Minio").env("RCLONE_VOLSYNC_ALLOW_MISSING_PERMISSIONS", "1");
    let running = pod.start_ours(Direction::Destination, "bkt/p");
    server.wait_at(&gate, &running);
    let asked = Instant::now();
    running.signal(Signal::TERM);
    let outcome = running.wait(LIMIT).exits(143);
    assert!(asked.elapsed() < Duration::from_secs(5), "{outcome}");
}

#[test]
fn a_signal_ends_even_a_mover_with_a_thread_that_hangs() {
    let conf = format!("RCLONE_ENCRYPT_V0:\n{}\n", "A".repeat(80));
    let from = volume();
    // What prints the password never ends, and holds nothing of ours open.
    let pod = Pod::with_conf(from.path(), conf.as_bytes())
        .env("RCLONE_PASSWORD_COMMAND", "sh -c \"touch /tmp/exit-debug-if-removed; exec sleep 30 2>&- >&-\"");
    let running = pod.start_ours(Direction::Source, "bkt/p");
    wait_for(&in_tmp(&running));
    let asked = Instant::now();
    running.signal(Signal::TERM);
    let outcome = running.wait(LIMIT).exits(143);
    assert!(asked.elapsed() <= Duration::from_secs(5), "{outcome}");
}

#[test]
fn requests_go_through_the_proxy_of_the_environment() {
    let server = Embedded::start("bkt");
    let from = volume();
    let url = server.url();
    let conf = format!(
        "[remote]\ntype = s3\nprovider = Minio\nendpoint = http://s3.example:9000\naccess_key_id = {}\n\
         secret_access_key = {}\n",
        server.access_key(),
        server.secret_key()
    );
    let pod = || Pod::with_conf(from.path(), conf.as_bytes()).env("HTTP_PROXY", &url);
    pod().ours(Direction::Source, "bkt/p").success();
    let requests = server.recorder().snapshot();
    assert!(requests.iter().all(|request| request.header("host") == Some("s3.example:9000")), "{requests:?}");
    assert!(requests.len() > 3);
    let outcome = pod().env("NO_PROXY", ".example").env("RCLONE_LOW_LEVEL_RETRIES", "1");
    let outcome = outcome.ours(Direction::Source, "bkt/p");
    assert!(tail(&outcome).contains("the name s3.example cannot be resolved"), "{outcome}");
}
