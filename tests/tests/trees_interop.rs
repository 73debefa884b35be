//! Random trees and random changes to them: our binary and the real rclone make the same bucket of them, round by round, and
//! the same directory of either bucket.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tempfile::TempDir;
use volsync_tests::bucket::Bucket;
use volsync_tests::embedded::Embedded;
use volsync_tests::rclone::Rclone;
use volsync_tests::servers::{Minio, S3Endpoint};
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::volume::Random;

fn set_time(path: &Path, time: Duration) {
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + time);
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What happens to a file of the tree.
#[derive(Debug, Clone)]
enum Change {
    Write { size: u64, seed: u64, time: Duration },
    Touch(Duration),
    Remove,
}

/// What paths are made of.
const ELEMENTS: &[&[u8]] = &[b"a", b"b", b"a b", b"a.b", b"+%", b"\xff", b"new\nline", b"\xc3\xa9", b"A", b"x.csv"];

fn path() -> impl Strategy<Value = Vec<u8>> {
    vec(select(ELEMENTS), 1..4).prop_map(|elements| elements.join(&b'/'))
}

/// Fractions of a second, for their digits.
const NANOS: &[u32] = &[0, 1, 500_000_000, 123_456_789, 999_999_999];

fn time() -> impl Strategy<Value = Duration> {
    (0..2_000_000_000_u64, select(NANOS)).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn change() -> impl Strategy<Value = Change> {
    let size = prop_oneof![Just(0), 1..40_u64, 900..1100_u64, 3000..9000_u64];
    prop_oneof![
        4 => (size, any::<u64>(), time()).prop_map(|(size, seed, time)| Change::Write { size, seed, time }),
        1 => time().prop_map(Change::Touch),
        1 => Just(Change::Remove),
    ]
}

/// Does what can be done: a file does not replace a directory.
fn apply(dir: &Path, changes: &[(Vec<u8>, Change)]) {
    for (path, change) in changes {
        let path = dir.join(OsStr::from_bytes(path));
        match change {
            Change::Write { size, seed, time } => {
                let made = fs::create_dir_all(path.parent().unwrap());
                if made.and_then(|()| fs::write(&path, Random::new(*seed).bytes(*size))).is_ok() {
                    set_time(&path, *time);
                }
            }
            Change::Touch(time) if path.is_file() => set_time(&path, *time),
            Change::Remove if path.is_file() => fs::remove_file(&path).unwrap(),
            Change::Touch(_) | Change::Remove => {}
        }
    }
}

type Changes = Vec<(Vec<u8>, Change)>;

fn changes(number: std::ops::Range<usize>) -> impl Strategy<Value = Changes> {
    vec((path(), change()), number)
}

/// Both programs on one server, each with a path of its own for every tree.
struct Rounds<'a> {
    server: &'a dyn S3Endpoint,
    programs: [Rclone; 2],
    /// Content, times and digests of the objects below a path, for comparison.
    held: &'a dyn Fn(&str) -> Vec<String>,
}

impl<'a> Rounds<'a> {
    fn new(server: &'a dyn S3Endpoint, held: &'a dyn Fn(&str) -> Vec<String>) -> Self {
        let program = || Rclone::with_options(server, "Minio", "upload_cutoff = 1Ki");
        Self { server, programs: [program(), program().ours()], held }
    }

    /// The tree and each round of changes to it make the same bucket, and each bucket the same directory.
    fn are_alike(&self, number: u32, rounds: &[Changes], checksum: bool) -> Result<(), TestCaseError> {
        let source = TempDir::new().unwrap();
        let paths = ["rclone", "ours"].map(|who| format!("{number}/{who}"));
        let remotes = paths.each_ref().map(|path| format!("remote:bucket/{path}"));
        let flag = if checksum { "--checksum" } else { "--modify-window=1ns" };
        for changes in rounds {
            apply(source.path(), changes);
            for (program, remote) in self.programs.iter().zip(&remotes) {
                program.run(&["sync", flag, text(source.path()), remote]).success();
            }
            let [theirs, ours] = paths.each_ref().map(|path| (self.held)(path));
            prop_assert_eq!(theirs, ours);
        }
        for (program, remote) in self.programs.iter().rev().zip(&remotes) {
            let target = TempDir::new().unwrap();
            program.run(&["sync", remote, text(target.path())]).success();
            // A file that only got a new time keeps the old one in the bucket under --checksum.
            let ignore = Ignore { file_times: checksum, ..Ignore::ALL_BUT_CONTENT };
            let lines = Tree::of(source.path()).diff(&Tree::of(target.path()), ignore);
            prop_assert_eq!(lines, Vec::<String>::new());
        }
        Ok(())
    }

    fn try_many(&self, cases: u32) {
        let number = Cell::new(0);
        let strategy = (changes(1..20), vec(changes(0..8), 2), any::<bool>());
        let config = Config { cases, max_shrink_iters: 30, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let result = runner.run(&strategy, |(tree, rounds, checksum)| {
            number.set(number.get() + 1);
            self.are_alike(number.get(), &[vec![tree], rounds].concat(), checksum)
        });
        result.unwrap_or_else(|error| panic!("{}: {error}", self.server.url()));
    }
}

#[test]
fn any_tree_and_any_change_make_the_same_bucket_and_the_same_restore() {
    let server = Embedded::start("bucket");
    let held = |path: &str| {
        let objects = Bucket::of(&server, "bucket", path).0;
        objects.into_iter().map(|(key, stored)| format!("{key:?}: {stored:?}")).collect()
    };
    Rounds::new(&server, &held).try_many(12);
}

#[test]
fn any_tree_and_any_change_make_the_same_bucket_and_the_same_restore_on_minio() {
    let server = Minio::start();
    server.bucket("bucket");
    let rclone = Rclone::new(&server, "Minio");
    let held = |path: &str| {
        let remote = format!("remote:bucket/{path}");
        let listed = rclone.run(&["lsf", "-R", "--files-only", "--format", "phts", "--hash", "MD5", &remote]);
        let mut lines: Vec<_> = listed.success().text().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    Rounds::new(&server, &held).try_many(4);
}
