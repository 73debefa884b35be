//! What goes wrong on the way: damaged bytes, and ends that are killed. Afterwards a second run makes it good.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use volsync_tests::devices::Mounted;
use volsync_tests::peers;
use volsync_tests::process::{Outcome, run};
use volsync_tests::rsync::{End, PAIRS, Pair, Shell, Way, assert_same, command_of, transfer};
use volsync_tests::tree::Ignore;
use volsync_tests::volume::{Names, Random, awkward, plain, shell};
use walkdir::WalkDir;

fn contents(dir: &Path) -> String {
    format!("{}/", dir.display())
}

/// Copied, changed, and left alone, on each file system; in place too.
#[test]
fn xfs_ext4_and_tmpfs_hold_the_same() {
    let remote = Shell::local();
    let all = [("XFS", Mounted::xfs()), ("ext4", Mounted::ext4(64 << 20)), ("tmpfs", Mounted::tmpfs(64 << 20))];
    for (name, mounted) in all {
        let (source, destination) = (mounted.path().join("from"), mounted.path().join("to"));
        for pair in PAIRS {
            shell(mounted.path(), "rm -rf from to; mkdir from to");
            awkward(&source, 61, Names::All);
            shell(&source, "ln plain third; mknod null c 1 3; touch -h -d @999 null third .");
            for options in ["-aHAXSx --delete", "-aHAXSx --delete", "-aHAXSx --delete --inplace"] {
                let outcome = transfer(&remote, pair, options, &contents(&source), &destination);
                assert_eq!(outcome.code(), 0, "{name} {pair:?}: {outcome}");
                assert_same(&source, &destination, Ignore::default());
                shell(&source, "rm -rf link-to-file hollow; echo x >> large; touch -h -d @5 large .");
            }
        }
    }
}

#[test]
fn a_target_that_cannot_be_written_to_ends_with_an_error_and_stays() {
    let remote = Shell::local();
    for pair in PAIRS.into_iter().filter(|pair| pair.receiver() == End::Ours) {
        let source = TempDir::new().unwrap();
        plain(source.path(), 7, 5, 2, 0..100);
        let mounted = Mounted::tmpfs(1 << 20);
        fs::write(mounted.path().join("old"), "old").unwrap();
        mounted.make_read_only();
        let outcome = transfer(&remote, pair, "-a --delete", &contents(source.path()), mounted.path()).exits(23);
        assert!(outcome.text().contains("Read-only file system"), "{outcome}");
        assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 1);
    }
}

/// What is damaged on the way.
const TEXT: &str = "This text arrives.";

/// A source whose only file of interest is new or, with a basis, differs from the old one in [`TEXT`].
fn damaged_source(basis: bool) -> (TempDir, TempDir) {
    let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut content = Random::new(5).bytes(100_000);
    if basis {
        fs::write(destination.path().join("f"), &content).unwrap();
        shell(destination.path(), "touch -d @5 f");
    }
    content.splice(50_000..50_000, TEXT.bytes());
    fs::write(source.path().join("f"), content).unwrap();
    plain(source.path(), 6, 50, 5, 0..2000);
    (source, destination)
}

#[test]
fn what_is_damaged_on_the_way_is_asked_for_again() {
    for pair in PAIRS {
        for basis in [false, true] {
            let (source, destination) = damaged_source(basis);
            let remote = Shell::damaging(pair.way, TEXT, 1);
            let outcome = transfer(&remote, pair, "-a", &contents(source.path()), destination.path()).success();
            let ignore = Ignore { directory_times: true, ..Ignore::default() };
            assert_same(source.path(), destination.path(), ignore);
            // The real receiver asks again in silence.
            assert!(pair.receiver() == End::Stock || outcome.text().contains("failed verification"), "{outcome}");
        }
    }
}

#[test]
fn what_is_damaged_twice_leaves_the_old_file() {
    for pair in PAIRS {
        let (source, destination) = damaged_source(true);
        let old = fs::read(destination.path().join("f")).unwrap();
        let remote = Shell::damaging(pair.way, TEXT, 9);
        transfer(&remote, pair, "-a", &contents(source.path()), destination.path()).exits(23);
        assert_eq!(fs::read(destination.path().join("f")).unwrap(), old, "{pair:?}");
        assert_eq!(temporary(destination.path()), Vec::<String>::new());
    }
}

fn temporary(dir: &Path) -> Vec<String> {
    let names = WalkDir::new(dir).into_iter().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".partial")).collect()
}

/// strace that kills what it runs at a call of a kind.
fn killer(what: &str) -> Vec<String> {
    let call = what.split(':').next().unwrap();
    let strace = peers::tool("strace").display().to_string();
    [&strace, "-f", "-qq", "-o", "/dev/null", &format!("--trace={call}"), &format!("--inject={what}")]
        .map(ToOwned::to_owned)
        .to_vec()
}

/// Runs with one end that is killed on the way.
fn killed(pair: Pair, sender: &[String], receiver: &[String], source: &Path, destination: &Path) -> Outcome {
    let [sender, receiver] = [sender, receiver].map(|words| words.iter().map(String::as_str).collect::<Vec<_>>());
    let remote = Shell::local();
    let (from, options) = (contents(source), "-aHAX --delete");
    run(&mut command_of(&remote, pair, [&sender, &receiver], options, &from, destination))
}

/// Every name leads to a whole file, the old one or the new one. What the source does not have is temporary; a server whose client was killed may
/// still be removing it.
fn assert_nothing_torn(source: &Path, old: &Path, destination: &Path) {
    for entry in WalkDir::new(destination).into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
        let path = entry.path().strip_prefix(destination).unwrap();
        let (Ok(wanted), Ok(found)) = (fs::read(source.join(path)), fs::read(entry.path())) else { continue };
        let before = fs::read(old.join(path)).ok();
        assert!(found == wanted || Some(found) == before, "{} is torn", path.display());
    }
}

fn is_killed_and_finished(pair: Pair, sender: &[String], receiver: &[String]) {
    let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    plain(source.path(), 8, 60, 6, 0..40_000);
    shell(source.path(), "ln d1/f1 d2/hard; ln -s x link; touch -h -d @999 link d* .");
    shell(destination.path(), "mkdir -p gone/deep; for n in 1 2 3 4 5 6; do echo > gone/$n; echo > gone/deep/$n; done");
    is_killed_between(pair, [sender, receiver], &source, &TempDir::new().unwrap(), &destination);
}

/// `old` is what the destination holds.
fn is_killed_between(
    pair: Pair,
    [sender, receiver]: [&[String]; 2],
    source: &TempDir,
    old: &TempDir,
    destination: &TempDir,
) {
    let outcome = killed(pair, sender, receiver, source.path(), destination.path());
    assert_ne!(outcome.code(), 0, "{outcome}");
    assert_nothing_torn(source.path(), old.path(), destination.path());
    killed(pair, &[], &[], source.path(), destination.path()).success();
    assert_same(source.path(), destination.path(), Ignore::default());
}

/// An end is killed at five places in each phase of its work, by the calls that one of its threads has made.
fn five_times(phases: &[(&str, [u32; 5])], pairs: impl Fn(Pair) -> bool, receives: bool) {
    for pair in PAIRS.into_iter().filter(|pair| pairs(*pair)) {
        for (call, places) in phases {
            for place in places {
                let words = killer(&format!("{call}:signal=KILL:when={place}"));
                let none: &[String] = &[];
                let (sender, receiver) = if receives { (none, &words[..]) } else { (&words[..], none) };
                is_killed_and_finished(pair, sender, receiver);
            }
        }
    }
}

/// The stock program is at the other end, so that ours is once the server and once the client.
#[test]
fn a_receiver_that_is_killed_in_any_phase_is_made_good() {
    let phases = [
        ("mkdirat", [1, 2, 3, 4, 5]),
        ("pwrite64", [1, 2, 20, 40, 55]),
        ("renameat", [2, 3, 30, 45, 58]),
        ("unlinkat", [1, 2, 5, 9, 14]),
        ("utimensat", [1, 7, 33, 50, 58]),
    ];
    five_times(&phases, |pair| pair.receiver() == End::Ours && pair.sender() == End::Stock, true);
}

#[test]
fn a_sender_that_is_killed_in_any_phase_is_made_good() {
    let phases = [
        ("getdents64", [1, 2, 3, 4, 5]),
        ("llistxattr", [1, 8, 30, 50, 60]),
        ("pread64", [1, 3, 17, 50, 59]),
        ("write", [2, 3, 4, 5, 6]),
    ];
    five_times(&phases, |pair| pair.sender() == End::Ours && pair.receiver() == End::Stock, false);
}

#[test]
fn a_killed_receiver_leaves_whole_files_and_a_second_run_the_rest() {
    for pair in PAIRS.into_iter().filter(|pair| pair.receiver() == End::Ours) {
        for what in ["renameat:signal=KILL:when=1", "renameat:signal=KILL:when=17", "mkdirat:signal=KILL:when=4"] {
            is_killed_and_finished(pair, &[], &killer(what));
        }
    }
}

#[test]
fn a_killed_sender_leaves_whole_files_and_a_second_run_the_rest() {
    for pair in PAIRS.into_iter().filter(|pair| pair.sender() == End::Ours) {
        for what in ["pread64:signal=KILL:when=2", "pread64:signal=KILL:when=40", "getdents64:signal=KILL:when=3"] {
            is_killed_and_finished(pair, &killer(what), &[]);
        }
    }
}

/// What only two ends of ours do: digests of a tree that is there, the list of what differs, contents against a basis.
#[test]
fn two_ends_of_ours_are_made_good_after_either_is_killed_in_any_phase() {
    let phases: [(&str, bool, [u32; 5]); 7] = [
        ("getdents64", true, [1, 2, 3, 4, 5]),
        ("llistxattr", true, [1, 9, 30, 50, 60]),
        ("pwrite64", true, [1, 2, 10, 20, 28]),
        ("renameat", true, [1, 2, 10, 20, 28]),
        ("getdents64", false, [1, 2, 3, 4, 5]),
        ("pread64", false, [1, 2, 10, 20, 28]),
        ("write", false, [2, 3, 4, 5, 6]),
    ];
    let pair = Pair { way: Way::Push, client: End::Ours, server: End::Ours };
    for (call, receives, places) in phases {
        for place in places {
            let [source, old, destination] = std::array::from_fn(|_| TempDir::new().unwrap());
            plain(source.path(), 8, 60, 6, 0..40_000);
            for copy in [&old, &destination] {
                killed(pair, &[], &[], source.path(), copy.path()).success();
            }
            shell(
                source.path(),
                "for d in d1 d2 d3; do for f in $d/f*; do echo x >> $f; done; done; ln d1/f1 d4/hard; touch -d @999 d* .",
            );
            let (words, none) = (killer(&format!("{call}:signal=KILL:when={place}")), Vec::new());
            let (sender, receiver) = if receives { (none, words) } else { (words, none) };
            is_killed_between(pair, [&sender, &receiver], &source, &old, &destination);
        }
    }
}
