//! What goes wrong on the way: damaged bytes, and ends that are killed. Afterwards a second run makes it good.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;
use volsync_tests::devices::Mounted;
use volsync_tests::peers;
use volsync_tests::process::{LIMIT, Outcome, Running, run};
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
        ("newfstatat", [1, 4, 8, 15, 20]),
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
        ("newfstatat", true, [1, 4, 9, 15, 20]),
        ("pwrite64", true, [1, 2, 10, 20, 28]),
        ("renameat", true, [1, 2, 10, 20, 28]),
        ("getdents64", false, [1, 2, 3, 4, 5]),
        ("pread64", false, [1, 2, 10, 20, 28]),
        ("write", false, [2, 3, 4, 5, 6]),
    ];
    let pair = OURS;
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

/// A tree that differs from its copy in everything that a session can be about, and what it differs from.
fn edited() -> [TempDir; 2] {
    let [source, old] = std::array::from_fn(|_| TempDir::new().unwrap());
    plain(source.path(), 8, 60, 6, 0..40_000);
    fs::write(source.path().join("large"), Random::new(3).bytes(400_000)).unwrap();
    killed(OURS, &[], &[], source.path(), old.path()).success();
    shell(
        source.path(),
        "for d in d1 d2 d3; do for f in $d/f*; do echo x >> $f; done; done; ln d1/f1 d4/hard; rm d5/f5
         printf x | dd of=large bs=1 seek=200000 conv=notrunc status=none; touch -d @999 d* large .",
    );
    [source, old]
}

const OURS: Pair = Pair { way: Way::Push, client: End::Ours, server: End::Ours };

/// The connection breaks at places all over a session: handshake, digests, questions, list, block sums, contents, goodbye.
#[test]
fn two_ends_of_ours_are_made_good_after_the_connection_broke_anywhere() {
    const PLACES: u64 = 10;
    let [source, old] = edited();
    let local = Shell::local();
    let copy = || {
        let copy = TempDir::new().unwrap();
        let (from, to) = (contents(old.path()), copy.path().display().to_string());
        run(std::process::Command::new("cp").args(["-a", "-T", &from, &to])).success();
        copy
    };
    for way in [Way::Push, Way::Pull] {
        let pair = Pair { way, ..OURS };
        let again = |shell: &Shell, to: &TempDir| {
            transfer(shell, pair, "-aHAX --delete --stats", &contents(source.path()), to.path())
        };
        let whole = again(&local, &copy()).success();
        for (back, line) in [(false, "Total bytes sent: "), (true, "Total bytes received: ")] {
            let text = whole.text();
            let said = text.lines().find_map(|said| said.strip_prefix(line)).unwrap().replace(',', "");
            let said: u64 = said.parse().unwrap();
            // The beginning has phases of a few bytes.
            let places = (0..PLACES).map(|place| 1 + said * place / PLACES).chain([30, 70, 110, 150, 200]);
            for place in places.filter(|place| *place < said) {
                let destination = copy();
                let broken = again(&Shell::cutting(back, place), &destination);
                assert_ne!(broken.code(), 0, "{way:?} {back} {place} of {said}: {broken}");
                assert_nothing_torn(source.path(), old.path(), destination.path());
                assert_eq!(temporary(destination.path()), Vec::<String>::new(), "{way:?} {back} {place}");
                again(&local, &destination).success();
                assert_same(source.path(), destination.path(), Ignore::default());
            }
        }
    }
}

/// Waits until bytes are held back at `gate`; the end of the value lets them go.
fn held(gate: &Path) -> fs::File {
    fs::OpenOptions::new().write(true).open(gate).unwrap()
}

/// Somebody writes to the old file while the new one is made of it: that is noticed before the new one gets its name, and
/// the file is made of what there is then.
#[test]
fn an_old_file_that_is_written_to_meanwhile_is_not_replaced_unseen() {
    let [source, old] = edited();
    let (file, gates) = (old.path().join("large"), TempDir::new().unwrap());
    fs::write(&file, Random::new(4).bytes(400_000)).unwrap();
    let from = format!("{}/large", source.path().display());
    for (pair, gate) in [Pair { way: Way::Pull, ..OURS }, OURS].into_iter().zip(["a", "b"]) {
        shell(old.path(), "touch -d @5 large");
        let gate = gates.path().join(gate);
        // In the middle of the new file.
        let remote = Shell::holding(pair.way, 200_000, &gate);
        let running = Running::start(&mut command_of(&remote, pair, [&[], &[]], "-aIHAX", &from, old.path()));
        let held = held(&gate);
        let deadline = Instant::now() + LIMIT;
        while temporary(old.path()).is_empty() {
            assert!(Instant::now() < deadline, "nothing is written");
            std::thread::yield_now();
        }
        fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(b"other", 100).unwrap();
        drop(held);
        let outcome = running.wait(LIMIT).success();
        assert!(outcome.text().contains("large failed verification; trying again"), "{pair:?}: {outcome}");
        assert_eq!(fs::read(&file).unwrap(), fs::read(source.path().join("large")).unwrap());
        fs::write(&file, Random::new(4).bytes(400_000)).unwrap();
    }
}

/// Files that are cut, removed and appended to while they are read end in whole files or in none, told as such, and a second
/// run brings the rest.
#[test]
fn a_source_that_changes_while_it_is_read_leaves_whole_files_and_a_word() {
    for server in [End::Ours, End::Stock] {
        let pair = Pair { server, ..OURS };
        let [source, destination, gates] = std::array::from_fn(|_| TempDir::new().unwrap());
        // More than pipes hold.
        for (file, len) in [("cut", 8_000_000), ("gone", 10_000), ("kept", 10_000), ("larger", 10_000)] {
            fs::write(source.path().join(file), Random::new(9).bytes(len)).unwrap();
        }
        let gate = gates.path().join("gate");
        let remote = Shell::holding(Way::Push, 100_000, &gate);
        let from = contents(source.path());
        let sender = Running::start(&mut command_of(&remote, pair, [&[], &[]], "-aHAX", &from, destination.path()));
        let held = held(&gate);
        // The one that is read comes last: the others are opened as soon as it is found to be shorter.
        shell(source.path(), "rm gone; echo more >> larger; truncate -s 1000 cut; touch -d @5 cut larger .");
        drop(held);
        let outcome = sender.wait(LIMIT);
        assert!([23, 24].contains(&outcome.code()), "{outcome}");
        assert!(outcome.text().contains("file has vanished: gone"), "{outcome}");
        assert!(!destination.path().join("gone").exists(), "{outcome}");
        let read = |dir: &TempDir, file: &str| fs::read(dir.path().join(file)).unwrap();
        assert_eq!(read(&source, "kept"), read(&destination, "kept"));
        transfer(&Shell::local(), pair, "-aHAX --delete", &from, destination.path()).success();
        assert_same(source.path(), destination.path(), Ignore::default());
    }
}

/// As many names of one file as no ext4 takes, and values as long as the kernel takes.
#[test]
fn a_hundred_thousand_hard_links_and_the_longest_attributes_arrive() {
    const LINKS: u64 = 100_000;
    let mounted = Mounted::xfs();
    let source = mounted.path().join("from");
    shell(mounted.path(), "mkdir -p from/d; echo one > from/d/first; echo > from/long");
    for n in 1..LINKS {
        fs::hard_link(source.join("d/first"), source.join(format!("d/{n}"))).unwrap();
    }
    for (name, byte) in [("user.longest", 1), ("user.other", 2)] {
        let value = vec![byte; 64 << 10];
        rustix::fs::setxattr(source.join("long"), name, &value, rustix::fs::XattrFlags::empty()).unwrap();
    }
    shell(&source, "touch -d @999 long d/first d .");
    let remote = Shell::local();
    for (pair, times) in [(OURS, 2), (Pair { server: End::Stock, ..OURS }, 1)] {
        let destination = mounted.path().join("to");
        for _ in 0..times {
            transfer(&remote, pair, "-aHAX", &contents(&source), &destination).success();
        }
        let first = fs::metadata(destination.join("d/first")).unwrap();
        assert_eq!((first.nlink(), first.len()), (LINKS, 4), "{pair:?}");
        for (name, byte) in [("user.longest", 1), ("user.other", 2)] {
            let mut value = vec![0; 64 << 10];
            let len = rustix::fs::getxattr(destination.join("long"), name, &mut value[..]).unwrap();
            assert!(len == 64 << 10 && value.iter().all(|b| *b == byte), "{pair:?} {name}");
        }
        shell(mounted.path(), "rm -rf to");
    }
}
