//! VolSync's rsync movers: our source and destination against each other, and each against what upstream runs.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use volsync_tests::process::{LIMIT, Running, run};
use volsync_tests::rsync::{End, NO_XATTRS, VOLSYNC, assert_same};
use volsync_tests::ssh_movers::Movers;
use volsync_tests::volume::shell;

#[test]
fn a_volume_goes_over_and_both_sides_end() {
    let pair = Movers::new();
    // The source comes first: it waits for the destination.
    let source = Running::start(&mut pair.source());
    let destination = pair.start_destination();
    let source = source.wait(LIMIT).success();
    let destination = destination.wait(LIMIT).success();
    assert_same(pair.source.path(), pair.destination.path(), NO_XATTRS);
    let text = source.text();
    for expected in [
        "VolSync rsync container version: unknown\nSource PVC volumeMode is filesystem\n",
        "\nNumber of files: ",
        "\nRsync completed in ",
        "\nSynchronization completed successfully. Notifying destination...\n",
        "Initiating shutdown. Exit code: 0\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing: {source}");
    }
    let text = destination.text();
    for expected in [
        "VolSync rsync container version: unknown\nDestination PVC volumeMode is filesystem\nWaiting for connection...\n",
        "Exiting... Exit code: 0\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing: {destination}");
    }
}

#[test]
fn upstreams_client_finds_our_destination_as_its_own() {
    let pair = Movers::new();
    let destination = pair.start_destination();
    pair.wait_for_destination();
    let from = format!("{}/", pair.source.path().display());
    let mut client = Command::new(End::Stock.program());
    client.args(VOLSYNC.split(' ')).args(["-e", &pair.ssh(), &from, "root@127.0.0.1:."]);
    run(&mut client).success();
    assert_same(pair.source.path(), pair.destination.path(), NO_XATTRS);
    let into = Command::new(End::Stock.program())
        .args(["-a", "-e", &pair.ssh(), &from, "root@127.0.0.1:../outside"])
        .output()
        .unwrap();
    assert!(!into.status.success() && !pair.destination.path().parent().unwrap().join("outside").exists());
    for refused in ["id", "sh -c id", "shutdown", "shutdown 0;id", ""] {
        let outcome = pair.ask(refused).exits(1);
        assert!(outcome.text().contains("Invalid command: "), "{outcome}");
    }
    pair.ask("rsync --server --sender -e.LsfxC . /etc").exits(4);
    assert!(pair.ask("shutdown 7").success().text().contains("Initiating shutdown. Exit code: 7"));
    assert!(destination.wait(LIMIT).exits(7).text().contains("Exiting... Exit code: 7"));
}

#[test]
fn our_source_finds_upstreams_destination_as_its_own() {
    let pair = Movers::new();
    // rrsync 3.5 makes no fifos, sockets or devices.
    shell(pair.source.path(), "find . -type p -delete; touch -d @1400000000.5 .");
    let destination = pair.start_upstream_destination();
    let source = run(&mut pair.source()).success();
    assert_same(pair.source.path(), pair.destination.path(), NO_XATTRS);
    assert!(source.text().contains("Initiating shutdown. Exit code: 0"), "{source}");
    destination.wait(LIMIT);
}

#[test]
fn what_is_missing_is_said_as_upstream_says_it() {
    let pair = Movers::new();
    let mut command = pair.source();
    command.env_remove("DESTINATION_ADDRESS");
    let outcome = run(&mut command).exits(1);
    assert!(outcome.text().contains("Remote host must be provided in DESTINATION_ADDRESS"), "{outcome}");
    let nowhere = Path::new("/does/not/exist");
    let outcome = run(pair.mover("source", nowhere, pair.tmp[0].path()).env("DESTINATION_ADDRESS", "x")).exits(1);
    assert!(outcome.text().contains("ERROR: source location not found"), "{outcome}");
    let outcome = run(&mut pair.mover("destination", nowhere, pair.tmp[0].path())).exits(1);
    assert!(outcome.text().contains("ERROR: target location not found"), "{outcome}");
}

#[test]
fn a_person_can_look_around_instead() {
    let pair = Movers::new();
    let flag = pair.tmp[0].path().join("exit-debug-if-removed");
    let source = Running::start(pair.source().env("DEBUG_MOVER", "1"));
    let deadline = Instant::now() + Duration::from_mins(1);
    while fs::remove_file(&flag).is_err() {
        assert!(Instant::now() < deadline, "{} does not appear", flag.display());
        std::thread::yield_now();
    }
    source.wait(LIMIT).success();
    assert_eq!(fs::read_dir(pair.destination.path()).unwrap().count(), 0);
}

#[test]
fn a_signal_ends_the_destination() {
    let pair = Movers::new();
    let destination = pair.start_destination();
    pair.wait_for_destination();
    destination.signal(rustix::process::Signal::TERM);
    let started = Instant::now();
    let outcome = destination.wait(LIMIT);
    assert!(outcome.code() != 0 && started.elapsed() < Duration::from_secs(20), "{outcome}");
}
