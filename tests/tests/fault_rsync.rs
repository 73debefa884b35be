//! What goes wrong on the way: damaged bytes, and ends that are killed. Afterwards a second run makes it good.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use volsync_tests::peers;
use volsync_tests::process::{Outcome, run};
use volsync_tests::rsync::{End, PAIRS, Pair, Shell, assert_same, command_of, transfer};
use volsync_tests::tree::Ignore;
use volsync_tests::volume::{Random, plain, shell};
use walkdir::WalkDir;

fn contents(dir: &Path) -> String {
    format!("{}/", dir.display())
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

/// Every name leads to a whole file. What the source does not have is temporary; a server whose client was killed may
/// still be removing it.
fn assert_nothing_torn(source: &Path, destination: &Path) {
    for entry in WalkDir::new(destination).into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
        let path = entry.path().strip_prefix(destination).unwrap();
        let (Ok(wanted), Ok(found)) = (fs::read(source.join(path)), fs::read(entry.path())) else { continue };
        assert!(found == wanted, "{} is torn", path.display());
    }
}

fn is_killed_and_finished(pair: Pair, sender: &[String], receiver: &[String]) {
    let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    plain(source.path(), 8, 60, 6, 0..40_000);
    shell(source.path(), "ln d1/f1 d2/hard; ln -s x link; touch -h -d @999 link d* .");
    let outcome = killed(pair, sender, receiver, source.path(), destination.path());
    assert_ne!(outcome.code(), 0, "{outcome}");
    assert_nothing_torn(source.path(), destination.path());
    killed(pair, &[], &[], source.path(), destination.path()).success();
    assert_same(source.path(), destination.path(), Ignore::default());
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
