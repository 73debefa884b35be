//! Names that tools lose or break, keys that no volume can hold, and links planted where a restore writes.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use volsync_common::exit::ExitCode;
use volsync_embedded_s3::{Action, When};
use volsync_tests::embedded::Embedded;
use volsync_tests::mover::Mover;
use volsync_tests::servers::{Inspect, on_each_server};
use volsync_tests::tree::{Ignore, Tree, files};
use volsync_tests::volume::{self, Names};

const BUCKET: &str = "volumes";

fn empty() -> TempDir {
    TempDir::with_prefix("volume-").unwrap()
}

/// Files whose content is their name.
fn named(names: &[&[u8]]) -> TempDir {
    let dir = empty();
    for name in names {
        let path = dir.path().join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    dir
}

#[test]
fn every_name_survives_the_round_trip() {
    on_each_server(BUCKET, |server| {
        let [source, target] = [empty(), empty()];
        volume::awkward(source.path(), 1, Names::All);
        let mover = Mover::new(server);
        mover.push(source.path(), "volumes/p").success();
        mover.pull("volumes/p", target.path()).success();
        let restorable = |path: &[u8]| !path.starts_with(b"lost+found");
        let [pushed, pulled] = [&source, &target].map(|dir| Tree::of(dir.path()).filter(|path, _| restorable(path)));
        pushed.assert_same(&pulled, Ignore::LOST_IN_BUCKET);
        // Nothing of it looks different a second time.
        let again = mover.push(source.path(), "volumes/p").success();
        assert!(!again.text().contains("Copied"), "{again}");
    });
}

#[test]
fn a_name_without_a_key_is_named_and_the_others_are_moved() {
    on_each_server(BUCKET, |server| {
        let long = [b'\xff'; 250];
        let source = named(&["looks like ‛FF".as_bytes(), b"good", &long]);
        let mover = Mover::new(server);
        mover.push(named(&[b"old", b"good"]).path(), "volumes/p").success();
        let outcome = mover.push(source.path(), "volumes/p");
        let words = [
            "looks like ‛FF: ",
            "stands for another byte",
            "the key is longer than the 1024 bytes that S3 allows",
            "Failed to sync with 2 errors",
        ];
        outcome.fails(ExitCode::Failure, &words);
        let keys: Vec<_> = server.objects(BUCKET, "p/").into_keys().collect();
        assert_eq!(keys, ["p/good", "p/old", "p/permissions.facl"]);
    });
}

#[test]
fn a_name_cannot_forge_what_others_read() {
    let server = Embedded::start(BUCKET);
    let source = named(&[b"d/\nTransferred: 1\nRclone completed in 1s\n\x1b[2J", b"good"]);
    server.faults().add(When::operation("PutObject").key("p/d/"), Action::deny());
    let outcome = Mover::new(&server).push(source.path(), "volumes/p");
    let words = ["d/\\nTransferred: 1\\nRclone completed in 1s\\n\\u{1b}[2J: PutObject: AccessDenied"];
    let outcome = outcome.fails(ExitCode::Failure, &words);
    assert!(outcome.text().lines().all(|line| !line.starts_with("Transferred: 1") && !line.starts_with("Rclone")));
}

#[test]
fn hostile_keys_are_named_and_lead_nowhere() {
    let server = Embedded::start(BUCKET);
    let outer = empty();
    let target = outer.path().join("a/b/target");
    fs::create_dir_all(&target).unwrap();
    let mover = Mover::new(&server);
    let source = named(&[b"good", b"d/good"]);
    mover.push(source.path(), "volumes/p").success();
    fs::write(target.join("surplus"), b"x").unwrap();
    let absolute = format!("p/{}/planted", outer.path().display());
    let hostile =
        ["p/../planted", "p/d/../../planted", &absolute, "p//planted", "p/d//planted", "p/./planted", "p/d/."];
    for key in hostile {
        server.put(BUCKET, key, b"planted");
        let outcome = mover.pull("volumes/p", &target);
        let shown = key.strip_prefix("p/").unwrap();
        outcome.fails(ExitCode::Failure, &[shown, "its key is no path of a volume", "path element"]);
        assert!(target.join("surplus").exists(), "{key}: nothing is deleted");
        let found: Vec<_> = files(outer.path()).into_keys().map(|path| String::from_utf8(path).unwrap()).collect();
        assert_eq!(found, ["a/b/target/d/good", "a/b/target/good", "a/b/target/surplus"], "{key}");
        server.delete(BUCKET, key);
    }
    // On the side that is written they are nobody's business.
    for key in &hostile {
        server.put(BUCKET, key, b"planted");
    }
    mover.push(source.path(), "volumes/p").success();
    let keys = server.objects(BUCKET, "p/");
    assert!(hostile.iter().all(|key| keys.contains_key(*key)), "{keys:?}");
}

#[test]
fn a_key_that_is_also_a_directory_is_named_and_the_rest_is_restored() {
    let server = Embedded::start(BUCKET);
    let mover = Mover::new(&server);
    let source = named(&[b"good", b"d/good", b"d/deep/good"]);
    mover.push(source.path(), "volumes/p").success();
    for key in ["p/d", "p/d/deep"] {
        server.put(BUCKET, key, b"both");
        let target = named(&[b"surplus"]);
        let words = [key.strip_prefix("p/").unwrap(), "is an object, and there are objects below it"];
        mover.pull("volumes/p", target.path()).fails(ExitCode::Failure, &words);
        for path in ["good", "surplus"] {
            assert!(target.path().join(path).exists(), "{key}: {path}");
        }
        server.delete(BUCKET, key);
        mover.pull("volumes/p", target.path()).success();
        Tree::of(source.path()).assert_same(&Tree::of(target.path()), Ignore::LOST_IN_BUCKET);
    }
    // A directory marker is a directory.
    server.put(BUCKET, "p/d/", b"");
    let target = empty();
    mover.pull("volumes/p", target.path()).success();
    Tree::of(source.path()).assert_same(&Tree::of(target.path()), Ignore::LOST_IN_BUCKET);
}

#[test]
fn a_link_planted_in_the_target_is_never_followed() {
    let server = Embedded::start(BUCKET);
    let mover = Mover::new(&server);
    let source = named(&[b"good", b"d/one", b"d/deep/two", b"other/three"]);
    mover.push(source.path(), "volumes/p").success();
    let outside = named(&[b"theirs", b"deep/theirs", b"one"]);
    let before = Tree::of(outside.path());
    let target = empty();
    symlink(outside.path(), target.path().join("d")).unwrap();
    symlink(outside.path().join("theirs"), target.path().join("good")).unwrap();
    fs::create_dir(target.path().join("other")).unwrap();
    symlink(outside.path().join("new"), target.path().join("other/three")).unwrap();
    let outcome = mover.pull("volumes/p", target.path());
    let words =
        ["Failed to sync with 2 errors", "d/one: ", "d/deep/two: ", "d is in the way", "links are never followed"];
    outcome.fails(ExitCode::Failure, &words);
    before.assert_same(&Tree::of(outside.path()), Ignore::default());
    for name in ["good", "other/three"] {
        assert!(fs::symlink_metadata(target.path().join(name)).unwrap().is_file(), "{name}");
        assert_eq!(fs::read(target.path().join(name)).unwrap(), name.as_bytes());
    }
    fs::remove_file(target.path().join("d")).unwrap();
    mover.pull("volumes/p", target.path()).success();
    Tree::of(source.path()).assert_same(&Tree::of(target.path()), Ignore::LOST_IN_BUCKET);
}

#[test]
fn files_and_directories_take_each_others_places() {
    on_each_server(BUCKET, |server| {
        let mover = Mover::new(server);
        let [one, other] = [
            named(&[b"file", b"dir/inner/leaf", b"dir/leaf", b"same", b"x/y"]),
            named(&[b"file/now/deep", b"dir", b"same", b"x.y", b"x-y"]),
        ];
        let target = empty();
        // The time of a file that only got another one stays, as with rclone.
        let ignore = Ignore { file_times: true, ..Ignore::LOST_IN_BUCKET };
        for source in [&one, &other, &one, &other] {
            mover.push(source.path(), "volumes/p").success();
            mover.pull("volumes/p", target.path()).success();
            Tree::of(source.path()).assert_same(&Tree::of(target.path()), ignore);
        }
    });
}
