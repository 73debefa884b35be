//! Random volumes, brought over with random options by ours and by the real rsync: the same things stand there afterwards.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use volsync_tests::process::run;
use volsync_tests::random::{random, shake};
use volsync_tests::rsync::{PAIRS, STOCK, Shell, inodes, transfer};
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::volume::Random;

/// How many volumes, some of each pair.
const VOLUMES: u64 = 36;

/// What is kept.
const KEPT: [&str; 5] = ["-a", "-aAX", "-aHAX", "-rlptD", "-rlptgo"];

/// How and what: of each group one is taken now and then.
const SOMETIMES: [&[&str]; 12] = [
    &["--delete", "--delete-before", "--delete-after", "--delete-delay", "--delete --delete-excluded"],
    &["--existing", "--ignore-existing", "-u"],
    &["-z", "-z --compress-choice=lz4", "-z --compress-choice=zlib", "-z --compress-choice=zlibx"],
    &["--checksum-choice=md5", "--checksum-choice=xxh64", "--checksum-choice=xxh3", "--checksum-choice=xxh128"],
    &["-c", "-I", "--size-only"],
    &["-S", "-W", "--inplace", "-B 700"],
    &["-H"],
    &["--numeric-ids"],
    &["--force"],
    &["-O"],
    &["--exclude=*.o", "--include=*/ --include=g* --exclude=*.tmp"],
    &["-x --timeout=60 --bwlimit=200m"],
];

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    run(Command::new("cp").arg("-a").arg("--no-target-directory").arg(from).arg(to.path())).success();
    to
}

/// Everything that is random about one of them.
fn held_against_the_real_one(seed: u64) {
    let remote = Shell::local();
    let mut chosen = Random::new(seed);
    let mut options = vec![chosen.choose(&KEPT)];
    for group in SOMETIMES {
        if chosen.within(0..4) == 0 {
            options.push(chosen.choose(group));
        }
    }
    let options = options.join(" ");
    let pair = PAIRS[usize::try_from(seed).unwrap() % PAIRS.len()];
    let stock = STOCK.into_iter().find(|stock| stock.way == pair.way).unwrap();
    let source = TempDir::new().unwrap();
    random(source.path(), seed);
    let old = if chosen.within(0..3) == 0 { TempDir::new().unwrap() } else { copy(source.path()) };
    shake(old.path(), seed.wrapping_add(1));
    let from = format!("{}/", source.path().display());
    let results = [stock, pair].map(|pair| {
        let to = copy(old.path());
        let outcome = transfer(&remote, pair, &format!("-i {options}"), &from, to.path());
        (outcome, to)
    });
    let [(expected, wanted), (found, got)] = &results;
    let told = format!("seed {seed}: {pair:?} {options}\n{expected}\n{found}");
    assert_eq!(found.code(), expected.code(), "{told}");
    // What stock does beside its errors is its own affair.
    let failed = expected.code() != 0;
    let ignore = Ignore { directory_times: failed || options.contains("-O"), file_times: failed, ..Ignore::default() };
    let different = Tree::of(wanted.path()).diff(&Tree::of(got.path()), ignore);
    assert!(different.is_empty(), "{different:#?}\n{told}");
    assert_eq!(inodes(got.path()), inodes(wanted.path()), "hard links and devices: {told}");
}

#[test]
fn random_volumes_become_what_the_real_one_makes_of_them() {
    // `RSYNC_RANDOM=7` looks at one, `RSYNC_RANDOM=0..1000` at many.
    let asked = std::env::var("RSYNC_RANDOM").unwrap_or_else(|_| format!("0..{VOLUMES}"));
    let (first, end) = asked.split_once("..").map_or((asked.as_str(), None), |(first, end)| (first, Some(end)));
    let first: u64 = first.parse().unwrap();
    let end = end.map_or(first + 1, |end| end.parse().unwrap());
    (first..end).for_each(held_against_the_real_one);
}
