//! Sessions of two ends of ours over a long line: several connections, and the same result.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use volsync_tests::delay::{Break, Delay};
use volsync_tests::process::{LIMIT, Outcome, run};
use volsync_tests::rsync::{End, NO_XATTRS, Pair, Shell, Sshd, Way, assert_same, transfer};
use volsync_tests::ssh_movers::Movers;
use volsync_tests::tree::Ignore;
use volsync_tests::volume::{Random, plain, shell};

/// An SSH channel carries 2 MiB in that time.
const ROUND_TRIP: Duration = Duration::from_millis(60);

/// More than is carried before there are further connections.
const FILES: usize = 20;
const SIZE: u64 = 6 << 20;

fn large(dir: &Path) {
    plain(dir, 9, 100, 5, 0..3000);
    let mut random = Random::new(3);
    for file in 0..FILES {
        fs::write(dir.join(format!("large-{file}")), random.bytes(SIZE)).unwrap();
    }
    shell(dir, "touch -h -d @999 -- * .");
}

fn contents(dir: &Path) -> String {
    format!("{}/", dir.display())
}

/// Connections that carried contents, in full or in part.
fn carriers(delay: &Delay) -> usize {
    delay.carried().iter().filter(|bytes| **bytes > 1 << 20).count()
}

fn ours(way: Way) -> Pair {
    Pair { way, client: End::Ours, server: End::Ours }
}

fn over(delay: &Delay, sshd: Sshd, way: Way, options: &str, source: &Path, destination: &Path) -> Outcome {
    let remote = Shell::Ssh(sshd.reached_at(delay.port()));
    transfer(&remote, ours(way), options, &contents(source), destination)
}

#[test]
fn contents_go_over_several_connections_where_the_line_is_long() {
    let source = TempDir::new().unwrap();
    large(source.path());
    for way in [Way::Push, Way::Pull] {
        let (sshd, destination) = (Sshd::start(), TempDir::new().unwrap());
        let delay = Delay::to(sshd.port(), ROUND_TRIP).unwrap();
        over(&delay, sshd, way, "-aHAX --timeout=60", source.path(), destination.path()).success();
        assert_same(source.path(), destination.path(), Ignore::default());
        assert!(carriers(&delay) > 2, "{way:?}: {:?}", delay.carried());
    }
}

#[test]
fn there_is_one_connection_where_the_line_is_short_or_more_are_not_wanted() {
    let source = TempDir::new().unwrap();
    large(source.path());
    for (round_trip, options) in
        [(Duration::ZERO, "-a"), (ROUND_TRIP, "-a --streams=1"), (ROUND_TRIP, "-a --bwlimit=90000")]
    {
        let (sshd, destination) = (Sshd::start(), TempDir::new().unwrap());
        let delay = Delay::to(sshd.port(), round_trip).unwrap();
        over(&delay, sshd, Way::Push, options, source.path(), destination.path()).success();
        assert_eq!(carriers(&delay), 1, "{options} {:?}", delay.carried());
    }
}

/// A connection that breaks is found by whoever reads it and by whoever writes to it; the others end with it.
#[test]
fn one_connection_that_breaks_ends_the_session_and_the_next_one_finishes_it() {
    let source = TempDir::new().unwrap();
    large(source.path());
    for way in [Way::Push, Way::Pull] {
        for connection in [0, 1] {
            let destination = TempDir::new().unwrap();
            let sshd = Sshd::start();
            // Those before the last one are in use by then.
            let broken = Break { connection, after: if connection == 0 { 20 << 20 } else { 1 << 20 } };
            let delay = Delay::breaking(sshd.port(), ROUND_TRIP, Some(broken)).unwrap();
            let outcome = over(&delay, sshd, way, "-aHAX", source.path(), destination.path());
            assert!([12, 255].contains(&outcome.code()), "{way:?} {connection} {:?}: {outcome}", delay.carried());
            // A server may still be removing what it was writing.
            let deadline = Instant::now() + LIMIT;
            while names(destination.path()).iter().any(|name| name.ends_with(".partial")) {
                assert!(Instant::now() < deadline, "{way:?} {connection}: {:?}", names(destination.path()));
                std::thread::yield_now();
            }
            for file in (0..FILES).map(|file| format!("large-{file}")) {
                let found = fs::read(destination.path().join(&file));
                assert!(found.is_err() || found.unwrap() == fs::read(source.path().join(&file)).unwrap(), "{file}");
            }
            transfer(&Shell::local(), ours(way), "-aHAX", &contents(source.path()), destination.path()).success();
            assert_same(source.path(), destination.path(), Ignore::default());
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().display().to_string()).collect()
}

/// Behind the forced command of a destination too.
#[test]
fn a_source_and_a_destination_use_several_connections() {
    let movers = Movers::new();
    large(movers.source.path());
    // It stays where it is.
    shell(movers.source.path(), "rm -r lost+found; touch -d @999 .");
    let _destination = movers.start_destination();
    movers.wait_for_destination();
    let delay = Delay::to(movers.port(), ROUND_TRIP).unwrap();
    let mut source = movers.source();
    run(source.env("DESTINATION_PORT", delay.port().to_string())).success();
    assert_same(movers.source.path(), movers.destination.path(), NO_XATTRS);
    assert!(carriers(&delay) > 2, "{:?}", delay.carried());
}

/// A name that nobody waits under, one that is none, and a session of somebody else.
#[test]
fn whoever_joins_nothing_is_told() {
    for token in ["0", "zz", "1f", "0123456789abcdef0123456789abcdef0123"] {
        let outcome = run(Command::new(End::Ours.program()).args(["--server", "--join", token])).exits(5);
        assert!(outcome.text().contains("cannot join a session"), "{token}: {outcome}");
    }
}

/// Other users see the names of meetings, but may not use them.
#[test]
fn nobody_else_joins_a_session() {
    let destination = TempDir::new().unwrap();
    let mut server = Command::new(End::Ours.program());
    server.args(["--server", "-logDtpre.LsfxCIvu_4", ".", "."]).current_dir(&destination);
    let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // It says something only after it has a name, and lets others join when it knows its client.
    server.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
    server.stdin.as_mut().unwrap().write_all(b"\x20\0\0\0\x06xxh128").unwrap();
    let token = meeting_of(server.id());
    let join = |uid: u32| {
        let mut join = Command::new(End::Ours.program());
        join.args(["--server", "--join", &token]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        join.uid(uid).gid(uid).spawn().unwrap()
    };
    let refused = join(1234).wait_with_output().unwrap();
    assert_eq!((refused.status.code(), &refused.stdout[..]), (Some(5), &b""[..]));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cannot join a session"), "{refused:?}");
    // Its own user is met.
    let mut joined = join(0);
    joined.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(joined.wait().unwrap().success());
}

/// Under which name a process is met.
fn meeting_of(pid: u32) -> String {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).map(|link| link.display().to_string());
    let own: Vec<_> =
        links.filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect();
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let mut meetings = sockets.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let token = words.last()?.strip_prefix("@volsync-rsync-")?;
        own.iter().any(|inode| inode == words[6]).then(|| token.to_owned())
    });
    meetings.next().unwrap()
}
