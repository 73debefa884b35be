//! `sync`, `copy` and `check` with every flag that decides what happens to a file: our binary ends as the real rclone does,
//! with the same exit code, counts and result, whichever sides are buckets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use volsync_common::time::Timestamp;
use volsync_tests::conformance::Subject;
use volsync_tests::embedded::Embedded;
use volsync_tests::rclone::{Counted, Rclone};
use volsync_tests::stores;
use walkdir::WalkDir;

/// When the files of both sides changed, in seconds.
const THEN: u64 = 1_700_000_000;

/// Name, content and seconds after [`THEN`]; a name that ends in `/` is an empty directory.
type Files = &'static [(&'static str, &'static str, i64)];

const SOURCE: Files = &[
    ("same", "same", 0),
    ("touched", "touched", 9),
    ("newer", "NEW", 9),
    ("older", "OLDER", -99),
    ("grown", "grown more", 5),
    ("edited", "abc", 0),
    ("new", "new", 0),
    ("d/new", "n2", 0),
    ("hollow/", "", 0),
];

const TARGET: Files = &[
    ("same", "same", 0),
    ("touched", "touched", 0),
    ("newer", "old", 0),
    ("older", "older", 0),
    ("grown", "grown", 0),
    ("edited", "abd", 0),
    ("x1", "x1", 0),
    ("x2", "x2x2", 0),
    ("x3", "x3", 0),
    ("g/y", "y", 0),
];

/// What a side holds: content and time by name, directories without either.
type Held = BTreeMap<String, Option<(String, u128)>>;

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
struct End {
    code: i32,
    /// Transfers, checks, deletions.
    counts: Option<(u64, u64, u64)>,
    /// Files that were called wrong.
    failed: BTreeSet<String>,
    held: Held,
}

struct World {
    server: Embedded,
    programs: [Rclone; 2],
    runtime: Runtime,
}

/// Where a side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    Bucket,
}

const PAIRS: [(Kind, Kind); 4] = [
    (Kind::Directory, Kind::Bucket),
    (Kind::Bucket, Kind::Directory),
    (Kind::Directory, Kind::Directory),
    (Kind::Bucket, Kind::Bucket),
];

impl World {
    fn new() -> Self {
        let server = Embedded::start("bucket");
        let program = || Rclone::new(&server, "Minio").env("RCLONE_RETRIES", "1");
        let programs = [program(), program().ours()];
        Self { server, programs, runtime: Runtime::new().unwrap() }
    }

    /// Makes a side; what names it on a command line.
    fn make(&self, kind: Kind, dir: &Path, name: &str, files: Files) -> String {
        let root = dir.join(name);
        if kind == Kind::Directory {
            fs::create_dir_all(&root).unwrap();
            for file in files {
                write(&root, *file);
            }
            return root.to_str().unwrap().to_owned();
        }
        let path = format!("{}-{name}", dir.file_name().unwrap().to_str().unwrap());
        let subject = self.subject(&path);
        self.runtime.block_on(async {
            for (file, content, after) in files.iter().filter(|(file, ..)| !file.ends_with('/')) {
                let mtime = Timestamp { secs: THEN.cast_signed() + after, nanos: 0 };
                subject.put_at(file.as_bytes(), content.as_bytes().to_vec(), mtime).await.unwrap();
            }
        });
        format!("remote:bucket/{path}")
    }

    /// The objects below a path.
    fn subject(&self, path: &str) -> Subject {
        let _runtime = self.runtime.enter();
        Subject::new(stores::s3(&self.server, "bucket", path, |_| {}), &[])
    }

    fn held(&self, place: &str) -> Held {
        let Some(path) = place.strip_prefix("remote:bucket/") else { return held_by(Path::new(place)) };
        let all = self.runtime.block_on(self.subject(path).all());
        let one = |(name, content, mtime): (Vec<u8>, Vec<u8>, Option<Timestamp>)| {
            let [name, content] = [name, content].map(|bytes| String::from_utf8(bytes).unwrap());
            let Timestamp { secs, nanos } = mtime.unwrap();
            (name, Some((content, u128::from(secs.cast_unsigned()) * 1_000_000_000 + u128::from(nanos))))
        };
        all.into_iter().map(one).collect()
    }

    fn run(&self, program: &Rclone, case: &Case, (from, to): (Kind, Kind)) -> End {
        let dir = TempDir::with_prefix("sync-").unwrap();
        let from = self.make(from, dir.path(), "from", case.source);
        let to = self.make(to, dir.path(), "to", case.target);
        let named = if case.file.is_empty() { from } else { format!("{from}/{}", case.file) };
        let args = [&[case.command, &named, &to], case.flags].concat();
        let Counted { outcome, counts, failed } = program.counted(&args);
        let known = |name: &String| case.source.iter().chain(case.target).any(|(file, ..)| file == name);
        End {
            code: outcome.code(),
            counts: counts.map(|counts| (counts.transfers, counts.checks, counts.deletes)),
            failed: failed.into_iter().filter(known).collect(),
            held: self.held(&to),
        }
    }
}

fn write(root: &Path, (name, content, after): (&str, &str, i64)) {
    let path = root.join(name);
    if name.ends_with('/') {
        return fs::create_dir_all(path).unwrap();
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(THEN.strict_add_signed(after));
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn held_by(root: &Path) -> Held {
    let entries = WalkDir::new(root).min_depth(1).into_iter().map(Result::unwrap);
    let one = |entry: walkdir::DirEntry| {
        let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let meta = entry.metadata().unwrap();
        let file = meta.is_file().then(|| {
            let time = meta.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            (fs::read_to_string(entry.path()).unwrap(), time.as_nanos())
        });
        (name, file)
    };
    entries.map(one).collect()
}

#[derive(Debug, Clone, Copy)]
struct Case {
    command: &'static str,
    flags: &'static [&'static str],
    source: Files,
    target: Files,
    /// What of the source is named; nothing for all of it.
    file: &'static str,
}

const fn sync(flags: &'static [&'static str]) -> Case {
    Case { command: "sync", flags, source: SOURCE, target: TARGET, file: "" }
}

const fn copy(flags: &'static [&'static str]) -> Case {
    Case { command: "copy", ..sync(flags) }
}

/// One file into the destination itself.
const fn one(command: &'static str, file: &'static str) -> Case {
    Case { command, file, ..sync(&[]) }
}

const fn check(flags: &'static [&'static str]) -> Case {
    Case { command: "check", ..sync(flags) }
}

const SAME: Files = &[("same", "same", 0), ("d/same", "same", 1)];

/// Everything is as with rclone.
const ALIKE: &[Case] = &[
    sync(&[]),
    sync(&["--checksum"]),
    sync(&["--size-only"]),
    sync(&["--size-only", "--checksum"]),
    sync(&["--ignore-times"]),
    sync(&["--ignore-size"]),
    sync(&["--ignore-existing"]),
    sync(&["--update"]),
    sync(&["--update", "--checksum"]),
    sync(&["--update", "--size-only"]),
    sync(&["--update", "--ignore-times"]),
    sync(&["--immutable"]),
    sync(&["--immutable", "--checksum"]),
    sync(&["--modify-window", "20s"]),
    sync(&["--no-update-modtime"]),
    sync(&["--dry-run"]),
    sync(&["--delete-during"]),
    sync(&["--delete-before"]),
    sync(&["--max-delete", "9"]),
    sync(&["--max-delete-size", "100B"]),
    sync(&["--max-transfer", "100B"]),
    sync(&["--create-empty-src-dirs"]),
    sync(&["--exclude", "x*", "--exclude", "/g/**"]),
    sync(&["--exclude", "x*", "--delete-excluded"]),
    sync(&["--include", "*w*"]),
    sync(&["--filter", "- x1", "--filter", "+ *"]),
    sync(&["--max-depth", "1"]),
    sync(&["--min-size", "4B"]),
    sync(&["--max-size", "3B"]),
    sync(&["--max-age", "1d"]),
    sync(&["--fast-list", "--checkers", "1", "--transfers", "1", "--check-first"]),
    Case { source: &[], ..sync(&[]) },
    Case { source: &[("hollow/", "", 0)], ..sync(&[]) },
    Case { target: &[], ..sync(&[]) },
    Case { source: SAME, target: SAME, ..sync(&["--error-on-no-transfer"]) },
    copy(&[]),
    copy(&["--update"]),
    copy(&["--no-check-dest"]),
    check(&[]),
    check(&["--one-way"]),
    check(&["--size-only"]),
    Case { source: SAME, target: SAME, ..check(&[]) },
];

/// A refusal of ours, or a different choice among equals: only code and failures are as with rclone.
const LIMITED: &[Case] = &[
    sync(&["--max-delete", "2"]),
    sync(&["--max-delete", "0"]),
    sync(&["--max-delete-size", "3B"]),
    sync(&["--max-transfer", "5B", "--transfers", "1"]),
    sync(&["--max-duration", "1ns"]),
    check(&["--download"]),
];

/// A file is named where a directory could be.
const ONE: &[Case] = &[
    one("copy", "new"),
    one("copy", "d/new"),
    one("copy", "edited"),
    one("copy", "same"),
    one("copy", "older"),
    one("sync", "grown"),
    one("check", "same"),
    one("check", "grown"),
    one("copy", "no"),
    one("sync", "no/such"),
    Case { flags: &["--dry-run"], ..one("sync", "new") },
    Case { flags: &["--checksum"], ..one("copy", "touched") },
    Case { target: &[], ..one("copy", "new") },
    Case { flags: &["--include", "x*"], ..one("copy", "new") },
    Case { flags: &["--include", "s*"], ..one("check", "same") },
];

fn compare(cases: &[Case], alike: impl Fn(&End, &End) -> bool) {
    let world = World::new();
    let mut wrong = Vec::new();
    for (case, pair) in cases.iter().flat_map(|case| PAIRS.map(|pair| (case, pair))) {
        let [theirs, ours] = [0, 1].map(|program| world.run(&world.programs[program], case, pair));
        if !alike(&theirs, &ours) {
            wrong.push(format!("{} {:?} {pair:?}\n  rclone {theirs:?}\n  ours   {ours:?}", case.command, case.flags));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len() * PAIRS.len(), wrong.join("\n"));
}

#[test]
fn every_flag_leads_to_what_it_leads_to_with_rclone() {
    compare(ALIKE, |theirs, ours| theirs == ours);
}

#[test]
fn one_file_is_copied_and_compared_as_by_rclone() {
    compare(ONE, |theirs, ours| (theirs.code, &theirs.held) == (ours.code, &ours.held));
}

#[test]
fn limits_end_a_run_as_with_rclone() {
    let deleted = |end: &End| end.counts.map(|(_, _, deletes)| deletes);
    compare(LIMITED, |theirs, ours| (theirs.code, deleted(theirs)) == (ours.code, deleted(ours)));
}

#[test]
fn what_is_refused_says_so_and_changes_nothing() {
    let world = World::new();
    for flags in
        [&["--backup-dir", "/nowhere"][..], &["--suffix", ".old"], &["--track-renames"], &["--ignore-case-sync"]]
    {
        let dir = TempDir::with_prefix("sync-").unwrap();
        let [from, to] = [("from", SOURCE), ("to", TARGET)]
            .map(|(name, files)| world.make(Kind::Directory, dir.path(), name, files));
        let before = world.held(&to);
        let outcome = world.programs[1].run(&[&["sync", &from, &to], flags].concat()).exits(2);
        assert!(outcome.text().contains(&format!("{} is refused", flags[0])), "{outcome}");
        assert_eq!(world.held(&to), before);
    }
}
