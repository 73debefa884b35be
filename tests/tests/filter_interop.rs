//! Random rules over awkward names: ours choose the files that `rclone lsf` lists, and print the rules that
//! `rclone --dump filters` prints.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Output};

use mover_rclone::filter::{Filter, FilterOptions};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const FILES: [&[u8]; 19] = [
    b"a",
    b"b.jpg",
    b"ab",
    b"a/b/c",
    b"a/c.jpg",
    b"a/[x]",
    b"b/a/b",
    b"b/a*b",
    b"c d/e",
    b"c d/a,b",
    b"x{y}/z",
    b"lost+found/q",
    b"b/lost+found/q",
    b"\xc3\xa9/a",
    b"a\xc3\xa9b",
    b"\xff\xfe",
    b"A/B",
    b"b/$",
    b"a\nb",
];

/// Makes the tree; a name that is both a file and a directory is only a directory.
fn tree(root: &Path) -> Vec<&'static [u8]> {
    let is_directory = |name: &[u8]| FILES.iter().any(|f| f.starts_with(&[name, b"/"].concat()));
    let files: Vec<_> = FILES.into_iter().filter(|name| !is_directory(name)).collect();
    for name in &files {
        let path = root.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    files
}

fn rclone(root: &Path, args: &[String]) -> Output {
    Command::new(volsync_tests::peers::rclone())
        .args(["lsf", "-R", "--files-only", "--local-encoding=Slash", "--config=", "--dump", "filters"])
        .args(args)
        .arg(root)
        .output()
        .unwrap()
}

/// What ours would list: files whose directories are all walked.
fn chosen(filter: &Filter, files: &[&[u8]]) -> BTreeSet<Vec<u8>> {
    let walked = |path: &[u8]| {
        let slashes = path.iter().enumerate().filter(|&(_, b)| *b == b'/');
        slashes.into_iter().all(|(at, _)| filter.include_directory(&path[..at]))
    };
    files.iter().filter(|path| walked(path) && filter.include_name(path)).map(|path| path.to_vec()).collect()
}

fn rules_in(stderr: &str) -> String {
    let from = stderr.find("--- File filter rules").unwrap_or_default();
    let to = stderr.find("--- end filters").unwrap_or(stderr.len());
    stderr[from..to].to_owned()
}

fn check(root: &Path, files: &[&[u8]], options: &FilterOptions, args: &[String]) {
    let theirs = rclone(root, args);
    let said = [String::from_utf8_lossy(&theirs.stdout), String::from_utf8_lossy(&theirs.stderr)].concat();
    match Filter::new(options) {
        Err(ours) => assert!(!theirs.status.success(), "{args:?}: ours says {ours}, rclone accepts it:\n{said}"),
        Ok(filter) => {
            assert!(theirs.status.success(), "{args:?}: rclone refuses it:\n{said}");
            assert_eq!(filter.dump(), rules_in(&said), "{args:?}");
            // rclone's picture of the line end in one of the names.
            let shown = |line: &[u8]| if line == "a\u{240a}b".as_bytes() { b"a\nb".to_vec() } else { line.to_vec() };
            let stdout = theirs.stdout.split(|&b| b == b'\n').map(shown);
            let listed: BTreeSet<_> = stdout.filter(|line| files.contains(&line.as_slice())).collect();
            assert_eq!(chosen(&filter, files), listed, "{args:?}\n{said}");
        }
    }
}

fn glob() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[abcxé]", 2 => Just("*".to_owned()), 2 => Just("**".to_owned()), 3 => Just("/".to_owned()),
        1 => Just("?".to_owned()), 1 => Just("{a,b}".to_owned()), 1 => Just("{a*,{b,c}x}".to_owned()),
        1 => Just("[a-c]".to_owned()), 1 => Just("[^a]".to_owned()), 1 => Just(".jpg".to_owned()),
        1 => Just("lost+found".to_owned()), 1 => Just("{{[a-c]+}}".to_owned()), 1 => "[{}\\[\\],$|\\\\]",
    ];
    proptest::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

#[test]
fn random_rules_choose_what_rclone_chooses() {
    let root = tempfile::tempdir().unwrap();
    let files = tree(root.path());
    let rules = proptest::collection::vec((0..4_u8, glob()), 1..4);
    let mut runner = TestRunner::new(Config { cases: 150, ..Config::default() });
    let outcome = runner.run(&(rules, any::<bool>()), |(rules, ignore_case)| {
        let mut options = FilterOptions { ignore_case, ..FilterOptions::default() };
        let mut args: Vec<String> = ignore_case.then(|| "--ignore-case".to_owned()).into_iter().collect();
        for (kind, glob) in rules {
            let (list, flag, rule) = match kind {
                0 => (&mut options.include, "include", glob),
                1 => (&mut options.exclude, "exclude", glob),
                2 => (&mut options.filter, "filter", format!("+ {glob}")),
                _ => (&mut options.filter, "filter", format!("- {glob}")),
            };
            list.push(rule.as_bytes().to_vec());
            args.push(format!("--{flag}={rule}"));
        }
        check(root.path(), &files, &options, &args);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
