use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn options(threads: usize) -> WalkOptions {
    WalkOptions { threads, ..WalkOptions::default() }
}

/// Paths as told, directories with a slash; failures as `!path`.
fn told(root: &Path, options: WalkOptions) -> Vec<String> {
    walk(root, options, |_, _, _| true).unwrap().map(show).collect()
}

fn show(event: Event) -> String {
    match event {
        Event::Entry(entry) => format!("{}{}", entry.path, if entry.kind == Kind::Directory { "/" } else { "" }),
        Event::Failed { path, .. } => format!("!{}", crate::path::Shown(&path)),
    }
}

fn plant(root: &Path, paths: &[&str]) {
    for path in paths {
        let at = root.join(path);
        if path.ends_with('/') {
            std::fs::create_dir_all(at).unwrap();
        } else {
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(at, path).unwrap();
        }
    }
}

#[test]
fn entries_come_in_the_order_of_whole_paths() {
    let temp = tempfile::tempdir().unwrap();
    plant(temp.path(), &["a-b", "a/x", "a/x.y/z", "a/x-", "a0", "a.d/q", "empty/", "A"]);
    let expect = ["A", "a-b", "a.d/", "a.d/q", "a/", "a/x", "a/x-", "a/x.y/", "a/x.y/z", "a0", "empty/"];
    for threads in [0, 1, 4] {
        assert_eq!(told(temp.path(), options(threads)), expect);
    }
}

#[test]
fn what_keep_refuses_is_not_entered() {
    let temp = tempfile::tempdir().unwrap();
    plant(temp.path(), &["lost+found/x", "a/lost+found/y"]);
    let walk = walk(temp.path(), options(2), |path, _, _| path.as_bytes() != b"lost+found").unwrap();
    assert_eq!(walk.map(show).collect::<Vec<_>>(), ["a/", "a/lost+found/", "a/lost+found/y"]);
}

#[test]
fn links_are_told_as_links_or_followed() {
    let temp = tempfile::tempdir().unwrap();
    plant(temp.path(), &["d/f"]);
    symlink("d", temp.path().join("to-d")).unwrap();
    symlink("d/f", temp.path().join("to-f")).unwrap();
    symlink("nowhere", temp.path().join("dangling")).unwrap();
    symlink("..", temp.path().join("d/up")).unwrap();
    assert_eq!(told(temp.path(), options(2)), ["d/", "d/f", "d/up", "dangling", "to-d", "to-f"]);
    let followed = told(temp.path(), WalkOptions { follow_links: true, ..options(2) });
    let expect = ["!dangling", "d/", "d/f", "d/up/", "!d/up", "to-d/", "to-d/f", "to-d/up/", "!to-d/up", "to-f"];
    let mut sorted = (followed.clone(), expect.map(String::from).to_vec());
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1);
    let place = |what: &str| followed.iter().position(|line| line == what);
    assert!(place("d/up/") < place("!d/up") && place("!d/up") < place("to-d/"));
}

#[test]
fn an_unreadable_directory_is_told_and_the_rest_goes_on() {
    let temp = crate::unprivileged::home();
    let told = crate::unprivileged::run(|| {
        plant(temp.path(), &["a/x", "b/y", "c"]);
        let set =
            |mode| std::fs::set_permissions(temp.path().join("b"), std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o000);
        let told = [told(temp.path(), options(0)), {
            // It can be read, but nothing in it can be looked at.
            set(0o400);
            told(temp.path(), options(0))
        }];
        set(0o700);
        told
    });
    assert_eq!(told, [["a/", "a/x", "b/", "!b", "c"], ["a/", "a/x", "b/", "!b/y", "c"]]);
}

#[test]
fn attributes_are_those_of_the_entry() {
    let temp = tempfile::tempdir().unwrap();
    plant(temp.path(), &["f"]);
    let meta = std::fs::metadata(temp.path().join("f")).unwrap();
    let mut walk = walk(temp.path(), options(0), |_, _, _| true).unwrap();
    assert_eq!(walk.root().ino, std::fs::metadata(temp.path()).unwrap().ino());
    let Some(Event::Entry(entry)) = walk.next() else { panic!("no entry") };
    let stat = entry.stat;
    assert_eq!((stat.ino, stat.size, stat.mode), (meta.ino(), 1, meta.mode()));
    assert_eq!((stat.mtime.secs, i64::from(stat.mtime.nanos)), (meta.mtime(), meta.mtime_nsec()));
}

#[test]
fn a_tree_deeper_than_any_path_and_any_stack_is_walked() {
    const DEPTH: usize = 3000;
    let temp = tempfile::tempdir().unwrap();
    let mut at = rustix::fs::openat(CWD, temp.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..DEPTH {
        rustix::fs::mkdirat(&at, c"d", Mode::from_raw_mode(0o700)).unwrap();
        rustix::fs::mkdirat(&at, c"e", Mode::from_raw_mode(0o700)).unwrap();
        at = rustix::fs::openat(&at, c"d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    for threads in [0, 2] {
        let events: Vec<_> = walk(temp.path(), options(threads), |_, _, _| true).unwrap().collect();
        assert!(events.iter().all(|event| matches!(event, Event::Entry(_))));
        assert_eq!(events.len(), 2 * DEPTH);
    }
    assert!(std::process::Command::new("rm").arg("-rf").arg(temp.path()).status().unwrap().success());
}

#[test]
fn a_large_directory_comes_in_chunks_and_dropping_early_ends_the_workers() {
    let temp = tempfile::tempdir().unwrap();
    for n in 0..CHUNK * 3 + 7 {
        std::fs::write(temp.path().join(format!("{n:05}")), b"").unwrap();
    }
    let expect: Vec<_> = (0..CHUNK * 3 + 7).map(|n| format!("{n:05}")).collect();
    assert_eq!(told(temp.path(), options(3)), expect);
    let mut early = walk(temp.path(), options(3), |_, _, _| true).unwrap();
    assert!(early.next().is_some());
}

#[test]
fn a_panic_of_the_callers_decision_is_a_failure_not_a_hang() {
    let temp = tempfile::tempdir().unwrap();
    plant(temp.path(), &["d/x"]);
    let walk = walk(temp.path(), options(1), |path, _, _| {
        assert_ne!(path.as_bytes(), b"d/x");
        true
    });
    assert_eq!(walk.unwrap().map(show).collect::<Vec<_>>(), ["d/", "!d"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_tree_is_told_whole_and_sorted(paths in prop::collection::vec("[a-c.\\-0]{1,2}(/[a-c.\\-0]{1,2}){0,3}", 0..40)) {
        let temp = tempfile::tempdir().unwrap();
        for path in &paths {
            if crate::path::check(path.as_bytes()).is_ok() {
                let at = temp.path().join(path);
                // A file may stand where a directory should be: then the path is not part of the tree.
                if std::fs::create_dir_all(at.parent().unwrap()).is_ok() && !at.exists() {
                    std::fs::write(at, b"").unwrap();
                }
            }
        }
        let mut expect = BTreeSet::new();
        model(temp.path(), "", &mut expect);
        let expect: Vec<_> = expect.into_iter().collect();
        prop_assert_eq!(&told(temp.path(), options(0)), &expect);
        prop_assert_eq!(&told(temp.path(), options(2)), &expect);
    }
}

fn model(dir: &Path, prefix: &str, all: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            all.insert(format!("{path}/"));
            model(&entry.path(), &format!("{path}/"), all);
        } else {
            all.insert(path);
        }
    }
}
