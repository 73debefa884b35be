//! Runs that end without a word at any place: what is there is whole, and a rerun brings the exact state.
//!
//! A run is killed where the server holds one of its requests, or at a system call, so that every phase is hit for certain.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]
#![allow(clippy::panic, reason = "test support: a panic is the report")]

use std::collections::BTreeMap;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;
use volsync_common::exit::ExitCode;
use volsync_embedded_s3::{Quirks, ServerOptions, When};
use volsync_tests::mover::Mover;
use volsync_tests::process::{LIMIT, Outcome, Running};
use volsync_tests::scene::{BUCKET, PARTS, Scene};
use volsync_tests::servers::{Inspect, Minio};
use volsync_tests::tree::{Ignore, Tree, files};
use volsync_tests::volume;

/// Each phase is hit at least this often.
const OFTEN: usize = 5;

/// Written when everything else is there.
const PERMISSIONS: &str = "permissions.facl";

/// As the shell shows a process that was killed.
const KILLED: i32 = 128 + 9;

/// Listings take several requests.
fn scene(quirks: Quirks) -> Scene {
    Scene::with(ServerOptions { quirks, ..ServerOptions::default() }).line("list_chunk = 3")
}

/// Where a request is held when its run is killed.
#[derive(Clone, Copy, Debug)]
enum Held {
    Before,
    /// It was carried out; only its answer is missing.
    After,
}

const BOTH: [Held; 2] = [Held::Before, Held::After];

/// Kills `run` when the n-th of the requests arrives.
#[track_caller]
fn kill_at(scene: &Scene, when: When, held: Held, run: impl FnOnce() -> Running) {
    let faults = scene.server.faults();
    let gate = match held {
        Held::Before => faults.block(when),
        Held::After => faults.block_answer(when),
    };
    let running = run();
    scene.server.wait_at(&gate, &running);
    running.signal(Signal::KILL);
    running.wait(LIMIT).exits(KILLED);
    faults.clear();
}

/// What is stored below a prefix.
fn stored(scene: &Scene, prefix: &str) -> BTreeMap<String, String> {
    let prefix = format!("{prefix}/");
    let objects = scene.server.objects(BUCKET, &prefix).into_iter();
    objects.map(|(key, etag)| (key.strip_prefix(&prefix).unwrap().to_owned(), etag)).collect()
}

/// A push is killed; what is stored is in order, and a rerun completes it.
#[track_caller]
fn push_is_killed(scene: &Scene, prefix: &str, fresh: bool, when: &When, held: Held) {
    let path = if fresh { format!("{BUCKET}/{prefix}") } else { scene.stored(prefix) };
    let old = stored(scene, prefix);
    let mover = scene.mover();
    kill_at(scene, when.clone(), held, || mover.start_push(scene.after.path(), &path));
    let left = stored(scene, prefix);
    mover.push(scene.after.path(), &path).success();
    let wanted = stored(scene, "complete");
    assert_eq!(stored(scene, prefix), wanted, "{when:?} {held:?}");
    let all = wanted.iter().all(|(key, etag)| left.get(key) == Some(etag));
    let deleted = old.keys().any(|key| !left.contains_key(key));
    assert!(!deleted || all, "{when:?} {held:?}: deleted before all was there");
    let finished = left.get(PERMISSIONS) == wanted.get(PERMISSIONS);
    assert!(!finished || all, "{when:?} {held:?}: the permissions were written before all was there");
}

#[test]
fn a_killed_push_is_completed_by_a_rerun() {
    let scene = scene(Quirks::default());
    let path = complete(&scene);
    let target = scene.restored();
    scene.mover().pull(&path, target.path()).success();
    assert_eq!(scene.differs(&target), [""; 0]);
    let mut hits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kill = |phase: &'static str, fresh: bool, when: When, held: Held| {
        let count = hits.entry(phase).or_default();
        *count += 1;
        push_is_killed(&scene, &format!("{phase}{count}"), fresh, &when, held);
    };
    for nth in 1..=5 {
        kill("list", false, When::operation("ListObjectsV2").nth(nth), Held::Before);
    }
    for held in BOTH {
        for nth in [2, 4, 7] {
            kill("put", true, When::operation("PutObject").nth(nth), held);
        }
        for nth in [1, 2] {
            kill("create", false, When::operation("CreateMultipartUpload").nth(nth), held);
        }
        for nth in [1, 3, 5] {
            kill("part", false, When::operation("UploadPart").nth(nth), held);
        }
        for (fresh, nth) in [(false, 1), (false, 2), (true, 1)] {
            kill("complete", fresh, When::operation("CompleteMultipartUpload").nth(nth), held);
        }
        for (fresh, nth) in [(false, 1), (true, 1), (true, 2)] {
            kill("facl", fresh, When::operation("PutObject").key("permissions.facl").nth(nth), held);
        }
        kill("delete", false, When::operation("DeleteObjects"), held);
        kill("clean", false, When::operation("ListMultipartUploads"), held);
    }
    let singles = self::scene(Quirks { no_delete_objects: true, ..Quirks::default() });
    complete(&singles);
    for held in BOTH {
        for nth in [1, 2] {
            let prefix = format!("single{nth}{held:?}");
            push_is_killed(&singles, &prefix, false, &When::operation("DeleteObject").nth(nth), held);
            *hits.entry("delete").or_default() += 1;
        }
    }
    for phase in ["list", "put", "part", "complete", "facl", "delete"] {
        assert!(hits[phase] >= OFTEN, "{hits:?}");
    }
}

#[test]
fn a_killed_first_push_is_not_restored() {
    let scene = Scene::new();
    let path = format!("{BUCKET}/first");
    let mover = scene.mover();
    let when = When::operation("CompleteMultipartUpload").nth(1);
    kill_at(&scene, when, Held::Before, || mover.start_push(scene.after.path(), &path));
    let target = scene.restored();
    let before = Tree::of(target.path());
    let outcome = mover.pull(&path, target.path());
    outcome.fails(ExitCode::Failure, &["path first: ", "has not finished", "run the source again"]);
    before.assert_same(&Tree::of(target.path()), Ignore::default());
}

/// A prefix that holds the volume as it is after.
fn complete(scene: &Scene) -> String {
    let path = format!("{BUCKET}/complete");
    scene.mover().push(scene.after.path(), &path).success();
    path
}

/// What a killed pull left: each file is as it was or as it shall be, and nothing is gone before all is there.
#[track_caller]
fn left_in_order(scene: &Scene, target: &TempDir, at: &str) {
    let [before, after, mut found] = [&scene.before, &scene.after, target].map(|dir| files(dir.path()));
    found.retain(|path, _| !path.ends_with(b".partial"));
    for (path, entry) in &found {
        let whole = [before.get(path), after.get(path)].into_iter().flatten().any(|known| known.kind == entry.kind);
        assert!(whole, "{at}: {}", String::from_utf8_lossy(path));
    }
    let gone = before.keys().any(|path| !found.contains_key(path));
    let all = after.iter().all(|(path, entry)| found.get(path).is_some_and(|found| found.kind == entry.kind));
    assert!(!gone || all, "{at}: deleted before all was there");
}

/// The rerun after a killed pull.
#[track_caller]
fn pull_is_completed(scene: &Scene, path: &str, target: &TempDir, at: &str) {
    left_in_order(scene, target, at);
    scene.mover().pull(path, target.path()).success();
    assert_eq!(scene.differs(target), [""; 0], "{at}");
}

#[test]
fn a_pull_that_is_killed_at_a_request_is_completed_by_a_rerun() {
    let scene = scene(Quirks::default());
    let path = complete(&scene);
    let list = (1..=5).map(|nth| (When::operation("ListObjectsV2").nth(nth), Held::Before));
    let gets = (1..=5).flat_map(|nth| BOTH.map(|held| (When::operation("GetObject").nth(nth), held)));
    let large = (1..=2).map(|nth| (When::operation("GetObject").key("large").nth(nth), Held::After));
    for (when, held) in list.chain(gets).chain(large) {
        let (mover, target) = (scene.mover(), scene.restored());
        let at = format!("{when:?} {held:?}");
        kill_at(&scene, when, held, || mover.start_pull(&path, target.path()));
        pull_is_completed(&scene, &path, &target, &at);
    }
}

/// Kills at the n-th of a system call, until it was reached often enough.
#[track_caller]
fn kill_often(call: &str, places: &[usize], mut run: impl FnMut(&str) -> Outcome) {
    let mut hits = 0;
    for nth in places {
        hits += usize::from(run(&format!("{call}:signal=KILL:when={nth}")).code() == KILLED);
        if hits == OFTEN {
            return;
        }
    }
    panic!("{call} was hit only {hits} times")
}

/// Names are given by one thread, one after the other.
const RENAME: &str = "renameat,renameat2";
const FIRST: [usize; 7] = [1, 2, 3, 4, 5, 6, 7];

/// Whichever thread waits for the network comes here often.
const WAIT: &str = "epoll_wait,epoll_pwait";
const SPREAD: [usize; 12] = [1, 2, 3, 4, 6, 8, 11, 15, 20, 26, 33, 41];

#[test]
fn a_pull_that_is_killed_at_a_system_call_is_completed_by_a_rerun() {
    let scene = Scene::new();
    let path = complete(&scene);
    let pull = |inject: &str| {
        let target = scene.restored();
        // Something to do for each.
        volume::shell(target.path(), "chown -R 1:1 .");
        let outcome = scene.mover().inject(inject).pull(&path, target.path());
        pull_is_completed(&scene, &path, &target, inject);
        outcome
    };
    // The temporary file: its directory is made, it gets space, content, size, mode, time. Then flush, names, deletions
    // and rights.
    for call in
        ["mkdirat", "fallocate", "pwrite64", "ftruncate", "fchmod", "utimensat", "syncfs", "unlinkat", "fchownat"]
    {
        pull(&format!("{call}:signal=KILL:when=1")).exits(KILLED);
    }
    kill_often(RENAME, &FIRST, pull);
}

#[test]
fn a_run_that_is_killed_anywhere_is_completed_by_a_rerun_on_minio() {
    let (server, scene) = (Minio::start(), Scene::new());
    server.bucket(BUCKET);
    let mover = || Mover::with_options(&server, PARTS);
    let objects = |prefix: &str| {
        let objects = server.objects(BUCKET, prefix).into_iter();
        objects.map(|(key, md5)| (key.strip_prefix(prefix).unwrap().to_owned(), md5)).collect::<BTreeMap<_, _>>()
    };
    let path = format!("{BUCKET}/complete");
    mover().push(scene.after.path(), &path).success();
    let wanted = objects("complete/");
    let mut count = 0;
    kill_often(WAIT, &SPREAD, |inject| {
        count += 1;
        let path = format!("{BUCKET}/p{count}");
        mover().push(scene.before.path(), &path).success();
        let outcome = mover().inject(inject).push(scene.after.path(), &path);
        mover().push(scene.after.path(), &path).success();
        assert_eq!(objects(&format!("p{count}/")), wanted, "{inject}");
        outcome
    });
    for (call, places) in [(RENAME, &FIRST[..]), (WAIT, &SPREAD)] {
        kill_often(call, places, |inject| {
            let target = scene.restored();
            let outcome = mover().inject(inject).pull(&path, target.path());
            left_in_order(&scene, &target, inject);
            mover().pull(&path, target.path()).success();
            assert_eq!(scene.differs(&target), [""; 0], "{inject}");
            outcome
        });
    }
}

/// Leaves the parts of an unfinished upload below a prefix.
fn leave_parts(scene: &Scene, prefix: &str, file: &str) {
    let mover = scene.mover();
    let when = When::operation("UploadPart").key(file).nth(2);
    kill_at(scene, when, Held::Before, || mover.start_push(scene.after.path(), &format!("{BUCKET}/{prefix}")));
}

fn unfinished(scene: &Scene) -> Vec<String> {
    scene.server.server().store().unfinished_uploads(BUCKET).into_iter().map(|upload| upload.key).collect()
}

const DAY: i64 = 86_400;

#[test]
fn parts_that_nobody_completes_are_removed_when_they_are_a_day_old_and_below_our_prefix() {
    let scene = Scene::new();
    let parts = |prefix: &str| leave_parts(&scene, prefix, "large");
    scene.server.server().set_clock_offset(-DAY - 60);
    ["p", "p2", "other/p"].into_iter().for_each(parts);
    let of = |all: &[String], prefix: &str| all.iter().filter(|key| key.starts_with(prefix)).count();
    let old = unfinished(&scene);
    assert!(of(&old, "p/") >= 1 && of(&old, "p2/") >= 1 && of(&old, "other/p/") >= 1, "{old:?}");
    scene.server.server().set_clock_offset(-DAY + 60);
    parts("p");
    scene.server.server().set_clock_offset(0);
    let young = of(&unfinished(&scene), "p/") - of(&old, "p/");
    assert!(young >= 1);
    scene.mover().push(scene.after.path(), &format!("{BUCKET}/p")).success();
    let left = unfinished(&scene);
    assert_eq!(of(&left, "p/"), young, "{left:?}: younger than a day");
    assert_eq!((of(&left, "p2/"), of(&left, "other/")), (of(&old, "p2/"), of(&old, "other/")));
    scene.server.server().set_clock_offset(DAY);
    scene.mover().push(scene.after.path(), &format!("{BUCKET}/p")).success();
    assert_eq!(of(&unfinished(&scene), "p/"), 0);
}

#[test]
fn the_age_of_parts_is_told_by_the_servers_clock() {
    let scene = Scene::new();
    // Ours is three days ahead.
    scene.server.server().set_clock_offset(-3 * DAY);
    leave_parts(&scene, "p", "large");
    let left = unfinished(&scene);
    assert!(!left.is_empty());
    scene.mover().push(scene.after.path(), &format!("{BUCKET}/p")).success();
    assert_eq!(unfinished(&scene), left);
}

fn partial(dir: &Path) -> usize {
    files(dir).into_keys().filter(|path| path.ends_with(b".partial")).count()
}

#[test]
fn temporary_files_of_killed_pulls_are_removed_and_never_pushed() {
    let scene = Scene::new();
    let path = complete(&scene);
    let target = scene.restored();
    for _ in 0..3 {
        let mover = scene.mover().inject("syncfs:signal=KILL:when=1");
        mover.pull(&path, target.path()).exits(KILLED);
    }
    assert!(partial(target.path()) > 0);
    // A push does not take them for data, and does not touch what it only reads.
    let before = Tree::of(target.path());
    scene.mover().push(target.path(), &format!("{BUCKET}/pushed")).success();
    before.assert_same(&Tree::of(target.path()), Ignore::default());
    let keys = scene.server.objects(BUCKET, "pushed/");
    assert!(!keys.is_empty() && keys.keys().all(|key| !key.ends_with(".partial")), "{keys:?}");
    scene.mover().pull(&path, target.path()).success();
    assert_eq!(partial(target.path()), 0);
    assert_eq!(scene.differs(&target), [""; 0]);
}
