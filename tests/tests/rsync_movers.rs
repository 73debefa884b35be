//! VolSync's rsync movers: our source and destination against each other, and each against what upstream runs.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use volsync_tests::peers;
use volsync_tests::process::{LIMIT, Outcome, Running, run};
use volsync_tests::rsync::{End, NO_XATTRS, VOLSYNC, assert_same};
use volsync_tests::ssh_movers::Movers;
use volsync_tests::volume::shell;

#[test]
fn a_volume_goes_over_and_both_sides_end() {
    let pair = Movers::new();
    // Between ours it stays where it is.
    shell(pair.source.path(), "rm -rf lost+found");
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
    assert!(outcome.code() != 0 && started.elapsed() < Duration::from_secs(5), "{:?}: {outcome}", started.elapsed());
}

#[test]
fn a_signal_ends_sessions_of_the_destination_too() {
    let pair = Movers::new();
    let destination = pair.start_destination();
    pair.wait_for_destination();
    shell(pair.source.path(), "rm -rf -- ..?* .[!.]* *; truncate -s 1G large");
    let mut client = Command::new(End::Stock.program());
    let from = format!("{}/", pair.source.path().display());
    client.args(["-a", "--bwlimit=1m", "-e", &pair.ssh(), &from, "root@127.0.0.1:."]);
    let client = Running::start(&mut client);
    let deadline = Instant::now() + Duration::from_mins(1);
    while fs::read_dir(pair.destination.path()).unwrap().count() == 0 {
        assert!(Instant::now() < deadline, "nothing comes");
        std::thread::yield_now();
    }
    destination.signal(rustix::process::Signal::TERM);
    let started = Instant::now();
    let outcome = destination.wait(LIMIT);
    assert!(outcome.code() != 0 && started.elapsed() < Duration::from_secs(5), "{:?}: {outcome}", started.elapsed());
    assert_ne!(client.wait(LIMIT).code(), 0);
}

#[test]
fn a_source_finds_its_destination_by_an_address_of_the_sixth_version() {
    let pair = Movers::new();
    shell(pair.source.path(), "rm -rf lost+found");
    let destination = pair.start_destination();
    run(pair.source().env("DESTINATION_ADDRESS", "::1")).success();
    destination.wait(LIMIT).success();
    assert_same(pair.source.path(), pair.destination.path(), NO_XATTRS);
}

#[test]
fn probes_from_an_address_do_not_lock_out_a_source_behind_it() {
    let pair = Movers::new();
    shell(pair.source.path(), "rm -rf lost+found");
    let destination = pair.start_destination();
    pair.wait_for_destination();
    let connect = || TcpStream::connect(("127.0.0.1", pair.port())).unwrap();
    // Some go at once, some say something else, some only stay.
    for _ in 0..100 {
        drop(connect());
        let _refused = connect().write_all(b"GET / HTTP/1.0\r\n\r\n");
    }
    let staying: Vec<_> = (0..50).map(|_| connect()).collect();
    // Wrong keys, too.
    let other = TempDir::new().unwrap();
    let key = other.path().join("key");
    run(Command::new(peers::tool("ssh-keygen")).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key)).success();
    for _ in 0..5 {
        let flags =
            pair.ssh_flags().replace(&pair.keys.path().join("source").display().to_string(), key.to_str().unwrap());
        let mut ssh = Command::new(peers::tool("ssh"));
        run(ssh.args(flags.split(' ')).args(["-o", "BatchMode=yes", "root@127.0.0.1", "shutdown 1"])).exits(255);
    }
    run(&mut pair.source()).success();
    // What listens to them has the destination's output open.
    drop(staying);
    destination.wait(LIMIT).success();
    assert_same(pair.source.path(), pair.destination.path(), NO_XATTRS);
}

#[test]
fn what_came_is_flushed_once_before_the_destination_ends_well() {
    let pair = Movers::new();
    let log = pair.tmp[0].path().join("calls");
    let mover = pair.destination();
    let mut destination = Command::new(peers::tool("strace"));
    destination.args(["-f", "-qq", "--trace=syncfs,fsync,fdatasync,sync,exit_group", "-o"]).arg(&log);
    destination.arg(mover.get_program()).args(mover.get_args());
    let destination = Running::start(&mut destination);
    let source = run(&mut pair.source()).success();
    let destination = destination.wait(LIMIT).success();
    let calls = fs::read_to_string(&log).unwrap();
    let flushes: Vec<_> = calls.lines().filter(|line| line.contains("sync(") || line.contains("syncfs(")).collect();
    assert_eq!(flushes.len(), 1, "{flushes:?}\n{source}\n{destination}");
    let process = flushes[0].split_whitespace().next().unwrap();
    let own: Vec<_> = calls.lines().filter(|line| line.split_whitespace().next() == Some(process)).collect();
    // A call in the middle of which another process was heard of has two lines.
    let flushed = own.iter().position(|line| line.contains("syncfs") && line.ends_with(" = 0"));
    let ended = own.iter().position(|line| line.contains("exit_group(0)"));
    assert!(flushed.is_some() && flushed < ended, "{own:#?}");
}

/// Both ends of a volume that is pushed; the source is given these variables.
fn pushed(pair: &Movers, wishes: &[(&str, &str)]) -> [Outcome; 2] {
    let destination = pair.start_destination();
    pair.wait_for_destination();
    let source = run(pair.source().envs(wishes.iter().copied())).success();
    [source, destination.wait(LIMIT).success()]
}

fn attributes(file: &Path) -> String {
    let getfattr = Command::new(peers::tool("getfattr")).args(["-d", "-m", "-", "--absolute-names"]).arg(file).output();
    String::from_utf8(getfattr.unwrap().stdout).unwrap()
}

#[test]
fn between_ours_attributes_of_users_travel_and_lost_and_found_stays() {
    let pair = Movers::new();
    shell(
        pair.source.path(),
        "mkdir -p lost+found sub/lost+found; touch lost+found/here sub/lost+found/too file
         setfattr -n user.x -v 1 file; setfattr -n trusted.x -v 2 file; setfattr -n user.y -v 3 sub
         cp /bin/true tool; setcap cap_net_raw+p tool",
    );
    shell(pair.destination.path(), "mkdir lost+found; touch lost+found/there surplus");
    pushed(&pair, &[]);
    let at = |path: &str| pair.destination.path().join(path);
    assert!(at("lost+found/there").exists() && !at("lost+found/here").exists() && !at("surplus").exists());
    assert!(at("sub/lost+found/too").exists());
    assert!(attributes(&at("file")).contains("user.x=\"1\"") && attributes(&at("sub")).contains("user.y=\"3\""));
    assert!(!attributes(&at("file")).contains("trusted") && !attributes(&at("tool")).contains("security"));
    // Again: what was set is found, and what is not to be set is not missed.
    let [again, _] = pushed(&pair, &[]);
    assert!(!again.text().contains("f..........x"), "{again}");
    assert!(again.text().contains("Number of regular files transferred: 0\n"), "{again}");
    pushed(&pair, &[("VOLSYNC_FILE_CAPABILITIES", "1")]);
    assert!(attributes(&at("tool")).contains("security.capability"));
}

#[test]
fn an_empty_volume_is_refused_unless_told() {
    let pair = Movers::new();
    shell(pair.source.path(), "rm -rf -- ..?* .[!.]* *; mkdir lost+found; touch lost+found/x");
    shell(pair.destination.path(), "touch kept");
    let kept = pair.destination.path().join("kept");
    let refused = run(&mut pair.source()).exits(3);
    assert!(refused.text().contains("VOLSYNC_ALLOW_EMPTY_SOURCE") && kept.exists(), "{refused}");
    pushed(&pair, &[("VOLSYNC_ALLOW_EMPTY_SOURCE", "1")]);
    assert!(!kept.exists());
}

#[test]
fn what_may_not_be_set_is_summed_up() {
    let pair = Movers::new();
    shell(
        pair.source.path(),
        "rm -rf -- ..?* .[!.]* *; for n in $(seq 9); do echo $n > f$n; done; chown 7:8 f*; touch -d @7 .",
    );
    shell(pair.destination.path(), "chown 1234:1234 .; chmod 755 .");
    // In place of ssh: the destination's program as somebody without rights.
    let dir = TempDir::new().unwrap();
    let script = format!(
        "#!/bin/sh\nwhile [ \"$1\" != root@127.0.0.1 ] && [ \"$1\" != 127.0.0.1 ]; do shift; done\nshift\n\
         case \"$*\" in shutdown*) exit 0 ;; esac\ncd {to} && exec setpriv --reuid=1234 --regid=1234 --clear-groups sh -c \
         \"{program} ${{*#rsync}}\"\n",
        to = pair.destination.path().display(),
        program = End::Ours.program().display(),
    );
    fs::write(dir.path().join("ssh"), script).unwrap();
    fs::set_permissions(dir.path().join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let outcome = run(pair.source().env("PATH", path)).success();
    let line = "rsync: not set, for want of privilege: owner and group (10)\n";
    assert!(outcome.text().contains(line), "{outcome}");
    assert_eq!(fs::read(pair.destination.path().join("f9")).unwrap(), b"9\n");
}
