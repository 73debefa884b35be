//! Sessions of which both ends are ours: the same result as the real rsync's, with less said.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::SeekFrom;
use tempfile::TempDir;
use volsync_tests::devices::Mounted;
use volsync_tests::peers;
use volsync_tests::process::{Outcome, run};
use volsync_tests::rsync::{End, PAIRS, Pair, STOCK, Shell, Sshd, Way, assert_same, command_of, items, transfer};
use volsync_tests::tree::Ignore;
use volsync_tests::volume::{Names, awkward, plain, shell};

const OURS: [Pair; 2] = [
    Pair { way: Way::Push, client: End::Ours, server: End::Ours },
    Pair { way: Way::Pull, client: End::Ours, server: End::Ours },
];

/// Bytes that a list of nothing but the root takes at most.
const NO_LIST: u64 = 100;

fn contents(dir: &Path) -> String {
    format!("{}/", dir.display())
}

/// The number in a line of the client's statistics.
fn counted(outcome: &Outcome, what: &str) -> u64 {
    let text = outcome.text();
    let line = text.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_else(|| panic!("{what}: {text}"));
    let number = line.trim_start_matches(": ").split(' ').next().unwrap();
    number.replace(',', "").parse().unwrap()
}

/// The bytes of the file list.
fn list_size(outcome: &Outcome) -> u64 {
    counted(outcome, "File list size")
}

/// The bytes of everything.
fn said(outcome: &Outcome) -> u64 {
    counted(outcome, "Total bytes sent") + counted(outcome, "Total bytes received")
}

/// 600 files in 40 directories, 30 of them one below another.
fn tree() -> TempDir {
    let dir = TempDir::new().unwrap();
    plain(dir.path(), 21, 600, 10, 0..300);
    shell(
        dir.path(),
        "mkdir -p $(seq -s / 30); for d in $(seq 30); do echo $d > $(seq -s / $d)/file; done
         find . -mmin -60 -print0 | xargs -0 touch -h -d @1400000000",
    );
    dir
}

#[test]
fn an_unchanged_tree_is_not_listed_and_a_stock_peer_gets_the_plain_protocol() {
    let remote = Shell::Ssh(Sshd::start());
    for pair in PAIRS {
        let (source, destination) = (tree(), TempDir::new().unwrap());
        let from = contents(source.path());
        let first = transfer(&remote, pair, "-aHAX --delete --stats", &from, destination.path()).success();
        let again = transfer(&remote, pair, "-aHAX --delete --stats -i", &from, destination.path()).success();
        assert_eq!(items(&again), Vec::<String>::new());
        // A name takes at least four bytes, with its time and size ten.
        assert_eq!(said(&again) < 670 * 4, OURS.contains(&pair), "{pair:?}: {again}");
        // What the source holds is told all the same.
        let files = |outcome: &Outcome| counted(outcome, "Number of files");
        assert_eq!((files(&first), files(&again)), (671, 671), "{pair:?}");
        assert_same(source.path(), destination.path(), Ignore::default());
    }
}

#[test]
fn only_directories_that_differ_are_listed() {
    let remote = Shell::local();
    for pair in OURS {
        let (source, destination) = (tree(), TempDir::new().unwrap());
        let from = contents(source.path());
        let first = transfer(&remote, pair, "-a --stats", &from, destination.path()).success();
        let deep = (1..=29).map(|n| n.to_string()).collect::<Vec<_>>().join("/");
        shell(source.path(), &format!("echo changed > {deep}/file; touch -d @1400000001 {deep}/file"));
        shell(destination.path(), "mkdir -p d3/surplus/deeper; echo > d3/surplus/deeper/file; rm d4/f4");
        shell(destination.path(), "touch -d @7 d3 d4");
        let again = transfer(&remote, pair, "-a --delete --stats -i", &from, destination.path()).success();
        assert_same(source.path(), destination.path(), Ignore::default());
        assert!(list_size(&again) < list_size(&first) / 2, "{again}");
        let told = items(&again);
        assert!(told.contains(&"*deleting   d3/surplus/deeper/file".to_owned()), "{told:?}");
        assert!(told.iter().any(|line| line.ends_with(&format!(" {deep}/file"))), "{told:?}");
        assert_eq!(told.len(), 7, "{told:?}");
    }
}

#[test]
fn small_files_go_many_at_a_time() {
    let remote = Shell::local();
    let (source, log) = (TempDir::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    plain(source.path(), 23, 3000, 30, 50..200);
    let strace = peers::tool("strace").display().to_string();
    let log = log.path().display().to_string();
    let sender = [&strace, "-f", "-qq", "--trace=write", "-o", &log];
    for pair in OURS {
        let destination = TempDir::new().unwrap();
        run(&mut command_of(&remote, pair, [&sender, &[]], "-a", &contents(source.path()), destination.path()))
            .success();
        assert_same(source.path(), destination.path(), Ignore::default());
        let writes = fs::read_to_string(&log).unwrap().lines().filter(|line| line.contains("write(")).count();
        assert!(writes < 300, "{pair:?}: {writes}");
    }
}

/// Everything that can differ, in some directories and not in others.
fn change(source: &Path, destination: &Path) {
    shell(
        source,
        "rm -r hollow shared; echo file > hollow; mkdir -p shared/deeper; rm link-to-file; ln -s other link-to-file
         chmod 640 plain; chown 9:9 setuid; setfacl -m u:99:r owned; setfattr -x user.note with-xattr; rm pipe
         echo > pipe; mv sparse sparser; setfacl -k inheriting; touch -d @5 read-only; ln plain inheriting/further
         find . -mmin -60 -print0 | xargs -0 touch -h -d @1400000000",
    );
    shell(
        destination,
        "mkdir -p keep-1/x inheriting/keep-2 inheriting/gone; echo > keep-1/x/y; echo > inheriting/gone/file
         rm -f plain; echo other > plain; find . -mmin -60 -print0 | xargs -0 touch -h -d @1400000000",
    );
}

#[test]
fn the_result_is_that_of_the_real_rsync_whatever_is_asked_for() {
    let remote = Shell::local();
    let all = [
        "-aHAX --delete",
        "-aHAX --delete --numeric-ids -x",
        "-aHAX --delete -c",
        "-aH --delete-before --exclude=hollow --filter=P_keep-*",
        "-a --delete-after --delete-excluded --exclude=inheriting",
        "-rlptD --delete-delay --filter=-s_/shared",
        "-rlpt",
        "-aHO --delete --size-only",
    ];
    // Pushing and pulling take turns.
    for (options, (ours, stock)) in all.into_iter().zip(OURS.into_iter().zip(STOCK).cycle()) {
        let results = [stock, ours].map(|pair| {
            let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            awkward(source.path(), 31, Names::All);
            shell(source.path(), "mknod null c 1 3; touch -d @1300000000 null .");
            let from = contents(source.path());
            transfer(&remote, pair, "-aHAX", &from, destination.path()).success();
            change(source.path(), destination.path());
            let outcome = transfer(&remote, pair, options, &from, destination.path());
            (source, destination, outcome.code())
        });
        let [(_, stock, stocks_code), (_, ours, our_code)] = &results;
        assert_eq!(our_code, stocks_code, "{options}");
        let ignore = Ignore { directory_times: options.contains("-aHO"), ..Ignore::default() };
        assert_same(stock.path(), ours.path(), ignore);
    }
}

#[test]
fn hard_links_between_equal_and_changed_directories_are_made() {
    let remote = Shell::local();
    for pair in OURS {
        let (source, destination) = (tree(), TempDir::new().unwrap());
        shell(source.path(), "ln d1/f1 d2/second; ln d1/f1 d3/third; touch -d @1400000000 d1 d2 d3");
        let from = contents(source.path());
        transfer(&remote, pair, "-aH --delete", &from, destination.path()).success();
        assert_same(source.path(), destination.path(), Ignore::default());
        // Directories of the first and the third stay as they are.
        shell(source.path(), "ln d1/f1 d5/fourth; touch -d @1400000000 d5");
        shell(destination.path(), "rm d2/second; cp -p d1/f1 d2/second; touch -d @1400000000 d2");
        transfer(&remote, pair, "-aH --delete", &from, destination.path()).success();
        assert_same(source.path(), destination.path(), Ignore::default());
        let last = transfer(&remote, pair, "-aH --delete --stats", &from, destination.path()).success();
        assert!(list_size(&last) < NO_LIST, "{last}");
    }
}

#[test]
fn what_cannot_be_read_stops_deletions() {
    let remote = Shell::local();
    let strace = peers::tool("strace").display().to_string();
    for pair in OURS {
        for call in ["getdents64:error=EIO:when=5", "newfstatat:error=EIO:when=70"] {
            let (source, destination) = (tree(), TempDir::new().unwrap());
            let from = contents(source.path());
            transfer(&remote, pair, "-a", &from, destination.path()).success();
            shell(destination.path(), "mkdir d7/surplus; echo > d8/surplus");
            let trace = format!("--trace={}", call.split(':').next().unwrap());
            let inject = format!("--inject={call}");
            // The threads of the sender, but not the other end, which may be its child.
            let before = [&strace, "-f", "-b", "execve", "-qq", "-o", "/dev/null", &trace, &inject];
            let mut failing = command_of(&remote, pair, [&before, &[]], "-a --delete", &from, destination.path());
            let outcome = run(&mut failing).exits(23);
            assert!(destination.path().join("d7/surplus").is_dir(), "{call}: {outcome}");
            assert!(destination.path().join("d8/surplus").is_file(), "{call}: {outcome}");
            transfer(&remote, pair, "-a --delete", &from, destination.path()).success();
            assert_same(source.path(), destination.path(), Ignore::default());
        }
    }
}

#[test]
fn somebody_without_rights_gets_by_with_digests_too() {
    let remote = Shell::local();
    let somebody = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"];
    let pair = OURS[0];
    let (source, destination) = (tree(), TempDir::new().unwrap());
    shell(source.path(), "chown -R 1000:1000 d1 d2; setfattr -n trusted.x -v y d1/f1");
    shell(destination.path(), "chown 1234:1234 .; chmod 755 .");
    let from = contents(source.path());
    let transfer = || {
        let ends: [&[&str]; 2] = [&[], &somebody];
        run(&mut command_of(&remote, pair, ends, "-aHAX --delete --stats", &from, destination.path()))
    };
    let _told = transfer();
    let again = transfer();
    assert!(list_size(&again) < NO_LIST, "{again}");
    let ignore = Ignore { owners: true, xattrs: true, ..Ignore::default() };
    assert_same(&source.path().join("d3"), &destination.path().join("d3"), ignore);
    assert_eq!(fs::read(source.path().join("d1/f1")).unwrap(), fs::read(destination.path().join("d1/f1")).unwrap());
}

/// Pages of a file that its copy lacks: where they are, and with what bytes.
fn patch(file: &Path, pages: impl Iterator<Item = u64>, byte: u8) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    pages.for_each(|page| file.write_all_at(&[byte; 4096], page * 4096).unwrap());
}

#[test]
fn unchanged_pages_are_shared_with_the_old_file_where_the_file_system_can() {
    let remote = Shell::local();
    let mounted = Mounted::xfs();
    let (from, to, kept) = (mounted.path().join("from"), mounted.path().join("to"), mounted.path().join("kept"));
    shell(mounted.path(), "mkdir from to; head -c 48M /dev/urandom > from/image; cp from/image to; ln to/image kept");
    shell(
        mounted.path(),
        "truncate -s 80M from/image; head -c 1M /dev/urandom >> from/image; touch -d @5 to/image; sync",
    );
    // Zeros in place of data, data, and data that moved by whole pages.
    patch(&from.join("image"), (0..48 * 256).step_by(97), 7);
    shell(&from, "fallocate -p -o 16M -l 4M image; fallocate -i -o 30M -l 1M image");
    let before = free(&mounted);
    for pair in OURS {
        let outcome = transfer(&remote, pair, "-aS --stats", &contents(&from), &to).success();
        assert_same(&from, &to, Ignore::default());
        assert!(counted(&outcome, "Matched data") > 40 << 20, "{outcome}");
        shell(mounted.path(), "sync to/image");
        let taken = before.saturating_sub(free(&mounted));
        // XFS keeps 128 KiB around each changed page for a while.
        assert!(taken < 24 << 20, "{pair:?} took {taken} bytes");
        shell(mounted.path(), "rm to/image; ln kept to/image; sync to");
    }
    assert_eq!(fs::metadata(kept).unwrap().len(), 48 << 20);
}

/// Free bytes of the file system.
fn free(mounted: &Mounted) -> u64 {
    let stat = rustix::fs::statvfs(mounted.path()).unwrap();
    stat.f_bfree * stat.f_frsize
}

#[test]
fn a_hole_costs_a_word_and_becomes_a_hole() {
    let remote = Shell::local();
    for pair in OURS {
        for options in ["-aS --stats", "-aSz --stats"] {
            let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            let (image, copy) = (source.path().join("image"), destination.path().join("image"));
            shell(source.path(), "truncate -s 2T image");
            let pages = [0, 5 << 20, (1 << 28) + 77, (1 << 29) - 1];
            patch(&image, pages.into_iter(), 9);
            let from = contents(source.path());
            let first = transfer(&remote, pair, options, &from, destination.path()).success();
            assert!(said(&first) < 100_000, "{first}");
            // What became a hole, and what became data.
            patch(&copy, [7 << 20, 8 << 20].into_iter(), 3);
            patch(&image, [9 << 20].into_iter(), 4);
            shell(source.path(), "fallocate -p -o 20G -l 1M image; touch -d @7 image");
            let again = transfer(&remote, pair, &format!("{options} -W"), &from, destination.path()).success();
            assert!(said(&again) < 100_000, "{again}");
            assert_eq!(extents(&image), extents(&copy), "{pair:?} {options}");
            assert_eq!(fs::metadata(&copy).unwrap().len(), 2 << 40);
        }
    }
}

/// What is not zero, page by page.
fn extents(file: &Path) -> Vec<(u64, u8)> {
    let file = fs::File::open(file).unwrap();
    let (mut at, mut found, mut page) = (0, Vec::new(), [0; 4096]);
    while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        at = data - data % 4096;
        file.read_exact_at(&mut page, at).unwrap();
        found.extend(page.iter().find(|b| **b != 0).map(|b| (at / 4096, *b)));
        at += 4096;
    }
    found
}
