//! rsync 3.2.7, which VolSync's images of the last years have, in every role: other ends must not depend on what came since.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use volsync_tests::peers;
use volsync_tests::process::{Running, run};
use volsync_tests::rsync::{End, NO_XATTRS, PAIRS, Pair, Shell, VOLSYNC, assert_same, command_of};
use volsync_tests::tree::Ignore;
use volsync_tests::volume::{Names, awkward, shell};

/// A word before the system's rsync that runs the old one instead.
fn instead() -> (TempDir, String) {
    let dir = TempDir::with_prefix("old-").unwrap();
    let script = dir.path().join("instead");
    fs::write(&script, format!("#!/bin/sh\nshift\nexec {} \"$@\"\n", peers::old_rsync().display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let word = script.display().to_string();
    (dir, word)
}

#[track_caller]
fn transfer(pair: Pair, options: &str, source: &Path, destination: &Path) {
    let (_dir, word) = instead();
    let words = |end: End| if end == End::Stock { vec![word.as_str()] } else { Vec::new() };
    let (sender, receiver) = (words(pair.sender()), words(pair.receiver()));
    let from = format!("{}/", source.display());
    run(&mut command_of(&Shell::local(), pair, [&sender, &receiver], options, &from, destination)).success();
}

#[test]
fn it_is_the_old_one() {
    let outcome = run(Command::new(peers::old_rsync()).arg("--version")).success();
    assert!(outcome.text().starts_with("rsync  version 3.2.7 "), "{outcome}");
}

#[test]
fn volumes_become_equal_and_stay_so_with_it_at_either_end() {
    for (options, ignore) in
        [(VOLSYNC, NO_XATTRS), ("-aHAXS --delete-after --checksum --numeric-ids", Ignore::default())]
    {
        for pair in PAIRS.into_iter().filter(|pair| pair.client != pair.server) {
            let [source, destination] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
            awkward(source.path(), 61, Names::All);
            transfer(pair, options, source.path(), destination.path());
            assert_same(source.path(), destination.path(), ignore);
            shell(
                source.path(),
                "rm -r hollow page; echo more >> large; printf island | dd of=large bs=1 seek=1000000 conv=notrunc \
                 status=none; ln -sf elsewhere link-out; touch -h -d @7 large link-out .",
            );
            transfer(pair, options, source.path(), destination.path());
            assert_same(source.path(), destination.path(), ignore);
        }
    }
}

#[test]
fn its_daemon_is_a_place_like_any_other() {
    let [source, module, back, tmp] = std::array::from_fn(|_| TempDir::new().unwrap());
    awkward(source.path(), 62, Names::All);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = tmp.path().join("rsyncd.conf");
    let text = format!("read only = false\nuid = 0\ngid = *\n[files]\npath = {}\n", module.path().display());
    fs::write(&config, text).unwrap();
    let mut daemon = Command::new(peers::old_rsync());
    daemon.args(["--daemon", "--no-detach", "--address=127.0.0.1"]).arg(format!("--port={port}"));
    let _daemon = Running::start(daemon.arg(format!("--config={}", config.display())));
    let deadline = Instant::now() + Duration::from_mins(1);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "the daemon does not listen");
        std::thread::yield_now();
    }
    let ours = |from: &str, to: &str| {
        run(Command::new(End::Ours.program()).args(["-aHAXz", "--delete", from, to])).success();
    };
    let place = format!("rsync://127.0.0.1:{port}/files/");
    ours(&format!("{}/", source.path().display()), &place);
    assert_same(source.path(), module.path(), Ignore::default());
    ours(&place, &format!("{}/", back.path().display()));
    assert_same(source.path(), back.path(), Ignore::default());
}
