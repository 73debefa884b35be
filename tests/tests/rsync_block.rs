//! Volumes without a file system: against the real diskrsync at either end, and from device to device by the movers.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use volsync_tests::devices::Loop;
use volsync_tests::peers;
use volsync_tests::process::{LIMIT, Outcome, run};
use volsync_tests::rsync::End;
use volsync_tests::ssh_movers::Movers;
use volsync_tests::volume::Random;

const MIB: usize = 1 << 20;

/// An `ssh` that runs the command here, and the programs of either kind of end.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::with_prefix("diskrsync-").unwrap();
        let ssh = dir.path().join("ssh");
        fs::write(&ssh, "#!/bin/sh\nwhile [ \"$1\" != peer ]; do shift; done\nshift\nexec sh -c \"$*\"\n").unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(End::Ours.program(), dir.path().join("diskrsync")).unwrap();
        Self { dir }
    }

    fn program(&self, end: End) -> PathBuf {
        match end {
            End::Stock => peers::diskrsync(),
            End::Ours => self.dir.path().join("diskrsync"),
        }
    }

    /// Brings one file to another: the program of `here` is started by a user, that of `there` by the remote shell.
    fn copy(&self, [here, there]: [End; 2], from: &str, to: &str) -> Outcome {
        let path = format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(self.program(here));
        // Stock starts there what it was called itself.
        match here {
            End::Stock => command.arg0(self.program(there)),
            End::Ours => command.arg("--cmd-path").arg(self.program(there)),
        };
        command.args(["--no-compress", from, to]).env("PATH", path);
        run(&mut command)
    }
}

/// Whose programs the ends are, the one that the user starts first. At least one is ours.
const ENDS: [[End; 2]; 3] = [[End::Ours, End::Stock], [End::Stock, End::Ours], [End::Ours, End::Ours]];

/// The old and the new content of a file.
fn changes() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let mut random = Random::new(9);
    let old = random.bytes(3_000_000);
    let mut edited = old.clone();
    edited[1_000_000..1_000_010].fill(7);
    edited[2_000_000..2_600_000].fill(0);
    let longer = [old.clone(), vec![0; 400_000], random.bytes(200_000), vec![0; 300_000]].concat();
    vec![
        ("nothing to nothing", vec![], vec![]),
        ("a byte", vec![], vec![1]),
        ("one block", vec![5; 131_072], random.bytes(131_072)),
        ("equal", old.clone(), old.clone()),
        ("edited", old.clone(), edited.clone()),
        ("new", vec![], edited),
        ("longer", old.clone(), longer),
        ("ends with data", old[..100_000].to_vec(), old.clone()),
        ("shorter", old.clone(), old[..1_234_567].to_vec()),
        ("zeros over data", vec![0xff; 2 * MIB], vec![0; 2 * MIB]),
    ]
}

#[test]
fn files_become_equal_whoever_is_at_the_other_end() {
    let bench = Bench::new();
    let at = |name: &str| bench.dir.path().join(name);
    for (name, old, new) in changes() {
        for ends in ENDS {
            for push in [true, false] {
                fs::write(at("from"), &new).unwrap();
                fs::write(at("to"), &old).unwrap();
                let remote = |path: &Path, is: bool| format!("{}{}", if is { "peer:" } else { "" }, path.display());
                let outcome = bench.copy(ends, &remote(&at("from"), !push), &remote(&at("to"), push)).success();
                assert!(fs::read(at("to")).unwrap() == new, "{name}, {ends:?}, push {push}: {outcome}");
            }
        }
    }
}

/// Five places in each phase of an end: reading what is there, and bringing it over.
#[test]
fn an_end_that_is_killed_in_any_phase_is_made_good() {
    let bench = Bench::new();
    let at = |name: &str| bench.dir.path().join(name);
    let strace = peers::tool("strace");
    let [old, new] = [3, 5].map(|seed| Random::new(seed).bytes(24_000_000));
    let phases = [
        (true, "pread64", [1, 2, 8, 40, 100]),
        (false, "pread64", [1, 2, 4, 8, 12]),
        (false, "pwrite64", [1, 2, 4, 6, 9]),
    ];
    for (sends, call, places) in phases {
        for place in places {
            fs::write(at("from"), &new).unwrap();
            fs::write(at("to"), &old).unwrap();
            let killer = at("killed");
            let script = format!(
                "#!/bin/sh\nexec {} -f -qq -o /dev/null --trace={call} --inject={call}:signal=KILL:when={place} {} \"$@\"\n",
                strace.display(),
                bench.program(End::Ours).display()
            );
            fs::write(&killer, script).unwrap();
            fs::set_permissions(&killer, fs::Permissions::from_mode(0o755)).unwrap();
            // The one that is killed is started by the remote shell.
            let (from, to) = (at("from").display().to_string(), at("to").display().to_string());
            let (from, to) = if sends { (format!("peer:{from}"), to) } else { (from, format!("peer:{to}")) };
            let path = format!("{}:{}", bench.dir.path().display(), std::env::var("PATH").unwrap());
            let mut command = Command::new(bench.program(End::Ours));
            command.arg("--cmd-path").arg(&killer).args(["--no-compress", &from, &to]).env("PATH", path);
            let outcome = run(&mut command);
            assert_ne!(outcome.code(), 0, "{call} {place}: {outcome}");
            assert!(fs::read(at("from")).unwrap() == new);
            bench.copy([End::Ours, End::Ours], &from, &to).success();
            assert!(fs::read(at("to")).unwrap() == new, "{call} {place}");
        }
    }
}

#[test]
fn holes_of_a_file_stay_holes() {
    let bench = Bench::new();
    let at = |name: &str| bench.dir.path().join(name);
    fs::write(at("to"), vec![0xff; 4 * MIB]).unwrap();
    fs::File::create(at("from")).unwrap().set_len(64 << 20).unwrap();
    let to = format!("peer:{}", at("to").display());
    bench.copy([End::Ours, End::Ours], &at("from").display().to_string(), &to).success();
    let taken = run(Command::new("du").arg("-k").arg(at("to"))).success().text();
    assert!(taken.starts_with("0\t"), "{taken}");
    assert_eq!(fs::metadata(at("to")).unwrap().len(), 64 << 20);
}

/// A device of data with stretches of zeros, some of which are no multiple of anything.
fn content() -> Vec<u8> {
    let mut random = Random::new(4);
    let mut all = random.bytes(12 * MIB as u64);
    for zeros in [0..100_000, MIB + 1..3 * MIB, 5 * MIB..9 * MIB, 12 * MIB - 70_000..12 * MIB] {
        all[zeros].fill(0);
    }
    all
}

#[test]
fn a_device_goes_over_and_zeros_take_no_space() {
    let (from, to) = (Loop::of(&content()), Loop::of(&vec![0xff; 13 * MIB]));
    let movers = Movers::of_devices(from.path(), to.path());
    let destination = movers.start_destination();
    let source = run(&mut movers.source()).success();
    let destination = destination.wait(LIMIT).success();
    let found = to.content();
    assert!(found[..12 * MIB] == content() && found[12 * MIB..].iter().all(|byte| *byte == 0xff));
    // Of the 6 MiB and more of zeros whole blocks are gone.
    assert!(to.taken() < 8 * MIB as u64, "{}", to.taken());
    let text = source.text();
    for expected in [
        "Source PVC volumeMode is block\n",
        "\nsent 6.",
        "\ntotal size is 12.58M  speedup is ",
        "\nRsync completed in ",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing: {source}");
    }
    assert!(destination.text().contains("Destination PVC volumeMode is block\n"), "{destination}");
    // What is there already is only compared.
    let destination = movers.start_destination();
    let again = run(&mut movers.source()).success().text();
    assert!(again.contains("\nsent 17 bytes  received 80 bytes  "), "{again}");
    destination.wait(LIMIT).success();
}

#[test]
fn upstreams_source_finds_our_device_as_its_own() {
    let (from, to) = (Loop::of(&content()), Loop::of(&vec![0xff; 12 * MIB]));
    let movers = Movers::of_devices(from.path(), to.path());
    let destination = movers.start_destination();
    movers.wait_for_destination();
    let push = |from: &Path| {
        let mut diskrsync = Command::new(peers::diskrsync());
        diskrsync.arg0("diskrsync").args(["--ssh-flags", &movers.ssh_flags()]);
        run(diskrsync.arg(from).arg("root@127.0.0.1:/dev/block"))
    };
    push(from.path()).success();
    assert!(to.content() == content());
    // More than it holds is refused before anything changes.
    let large = Loop::of(&vec![3; 14 * MIB]);
    let refused = push(large.path()).exits(1);
    assert!(refused.text().contains("fewer than the 14680064 of the source; nothing was written"), "{refused}");
    assert!(to.content() == content());
    // Files are not this destination's business.
    movers.ask("rsync --server -e.LsfxCIvu . .").exits(3);
    movers.ask("shutdown 0").success();
    destination.wait(LIMIT).success();
}

#[test]
fn our_source_finds_upstreams_device_as_its_own() {
    let (from, to) = (Loop::of(&content()), Loop::of(&vec![0xff; 12 * MIB]));
    let movers = Movers::of_devices(from.path(), to.path());
    let destination = movers.start_upstream_destination();
    run(&mut movers.source()).success();
    assert!(to.content() == content());
    destination.wait(LIMIT);
}

#[test]
fn a_device_that_is_too_small_stays_as_it_was() {
    let (from, to) = (Loop::of(&content()), Loop::of(&vec![0xff; 11 * MIB]));
    let movers = Movers::of_devices(from.path(), to.path());
    let destination = movers.start_upstream_destination();
    movers.wait_for_destination();
    // Upstream's target would write until its end; our source does not let it begin. It tries again for a minute.
    let source = movers.source();
    let mut once = Command::new(peers::tool("timeout"));
    once.arg("8").arg(source.get_program()).args(source.get_args());
    once.envs(source.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let refused = run(&mut once).exits(124);
    for expected in
        ["fewer than the 12582912 of the source; nothing was written", "Syncronization failed. Retrying in 2"]
    {
        assert!(refused.text().contains(expected), "{expected:?} is missing: {refused}");
    }
    assert!(to.content().iter().all(|byte| *byte == 0xff));
    movers.ask("shutdown 0");
    destination.wait(LIMIT);
}
