//! A volume or a prefix is never wiped by mistake, and nothing is believed that was not checked.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use volsync_common::exit::ExitCode;
use volsync_embedded_s3::{Action, Quirks, ServerOptions, When};
use volsync_tests::embedded::Embedded;
use volsync_tests::mover::Mover;
use volsync_tests::servers::{Inspect, on_each_server};
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::volume;

const BUCKET: &str = "volumes";

/// A dozen files in three directories.
fn plain(seed: u64) -> TempDir {
    let dir = TempDir::with_prefix("volume-").unwrap();
    volume::plain(dir.path(), seed, 12, 3, 1..20_000);
    dir
}

fn empty() -> TempDir {
    TempDir::with_prefix("volume-").unwrap()
}

fn pushed(server: &dyn Inspect, path: &str) -> (TempDir, Mover) {
    let (source, mover) = (plain(1), Mover::new(server));
    mover.push(source.path(), path).success();
    (source, mover)
}

#[track_caller]
fn same(wanted: &Path, found: &Path) {
    Tree::of(wanted).assert_same(&Tree::of(found), Ignore::LOST_IN_BUCKET);
}

/// Runs `test`, which must change nothing below `dir`.
#[track_caller]
fn leaves_alone<T>(dir: &Path, test: impl FnOnce() -> T) -> T {
    let before = Tree::of(dir);
    let result = test();
    before.assert_same(&Tree::of(dir), Ignore::default());
    result
}

#[test]
fn a_missing_or_mistyped_prefix_wipes_no_volume() {
    on_each_server(BUCKET, |server| {
        let (source, mover) = pushed(server, "volumes/right");
        server.put(BUCKET, "foreign/file", b"somebody else's");
        let advice = "RCLONE_VOLSYNC_ALLOW_MISSING_PERMISSIONS=1";
        for (path, code, words) in [
            ("volumes/rigth", ExitCode::Failure, ["path rigth: ", "no permissions.facl", advice]),
            ("volumes/foreign", ExitCode::Failure, ["path foreign: ", "no permissions.facl", advice]),
            ("volumes/right/d1", ExitCode::Failure, ["path right/d1: ", "no permissions.facl", advice]),
            (
                "volume/right",
                ExitCode::DirectoryNotFound,
                ["S3 bucket volume path right: ", "the bucket does not exist", "check its name (rcloneDestPath)"],
            ),
        ] {
            let outcome = leaves_alone(source.path(), || mover.pull(path, source.path()));
            outcome.fails(code, &words).fails(code, &["Failed to sync"]);
        }
    });
}

#[test]
fn an_unfinished_first_push_is_not_restored() {
    let server = Embedded::start(BUCKET);
    let (source, mover) = (plain(1), Mover::new(&server));
    server.faults().add(When::operation("PutObject").key("d1/"), Action::deny());
    mover.push(source.path(), "volumes/half").fails(ExitCode::Failure, &["d1/f", "AccessDenied", "s3:PutObject"]);
    server.faults().clear();
    let target = plain(2);
    let words =
        ["path half: ", "has not finished", "run the source again", "RCLONE_VOLSYNC_ALLOW_MISSING_PERMISSIONS=1"];
    leaves_alone(target.path(), || mover.pull("volumes/half", target.path())).fails(ExitCode::Failure, &words);
    mover.push(source.path(), "volumes/half").success();
    mover.pull("volumes/half", target.path()).success();
    same(source.path(), target.path());
}

#[test]
fn a_restore_without_permissions_is_done_when_asked_for() {
    on_each_server(BUCKET, |server| {
        server.put(BUCKET, "foreign/d/file", b"somebody else's");
        let mover = Mover::new(server).env("RCLONE_VOLSYNC_ALLOW_MISSING_PERMISSIONS", "1");
        let target = plain(1);
        mover.pull("volumes/foreign", target.path()).success();
        assert_eq!(fs::read(target.path().join("d/file")).unwrap(), b"somebody else's");
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1, "what only the volume had is gone");
        // An empty prefix is one step further.
        let words = ["path nothing: ", "nothing was deleted", "RCLONE_VOLSYNC_ALLOW_EMPTY_SOURCE=1"];
        let outcome = leaves_alone(target.path(), || mover.pull("volumes/nothing", target.path()));
        outcome.fails(ExitCode::Failure, &words);
        mover.env("RCLONE_VOLSYNC_ALLOW_EMPTY_SOURCE", "1").pull("volumes/nothing", target.path()).success();
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    });
}

/// What a listing can be: refused, cut at any place, corrupt, an error with status 200.
fn broken_listings() -> Vec<Action> {
    let cuts = [0, 1, 100, 250, 300].map(|after| Action::Shorten { after });
    let truncated = [1, 250].map(|after| Action::Truncate { after });
    let mut all = vec![
        Action::deny(),
        Action::error(500, "InternalError"),
        Action::error(404, "NoSuchKey"),
        Action::ErrorIn200 { code: "InternalError".to_owned() },
        Action::ResetInResponse { after: 200 },
    ];
    all.extend(cuts.into_iter().chain(truncated));
    all
}

#[test]
fn a_failed_or_partial_listing_deletes_nothing() {
    let server = Embedded::start(BUCKET);
    let (source, _) = pushed(&server, "volumes/p");
    let mover = Mover::with_options(&server, "list_chunk = 5").env("RCLONE_LOW_LEVEL_RETRIES", "1");
    let stored = server.objects(BUCKET, "");
    // A volume of other files: whatever a listing lacks or has too much would be uploaded or deleted.
    let other = plain(2);
    for page in 1..=3 {
        for action in broken_listings() {
            server.faults().add(When::operation("ListObjectsV2").nth(page), action.clone());
            let outcome = leaves_alone(other.path(), || mover.pull("volumes/p", other.path()));
            outcome.fails(ExitCode::Failure, &["Failed to sync", "failed to list S3 bucket volumes path p: "]);
            server.faults().clear();
            server.faults().add(When::operation("ListObjectsV2").nth(page), action);
            let outcome = mover.push(other.path(), "volumes/p");
            outcome.fails(ExitCode::Failure, &["Failed to sync", "failed to list S3 bucket volumes path p: "]);
            server.faults().clear();
            assert_eq!(server.objects(BUCKET, ""), stored);
        }
    }
    mover.pull("volumes/p", other.path()).success();
    same(source.path(), other.path());
}

#[test]
fn a_listing_with_a_changed_byte_loses_nothing() {
    let server = Embedded::start(BUCKET);
    let source = empty();
    volume::plain(source.path(), 1, 3, 1, 1..200);
    let mover = Mover::new(&server).env("RCLONE_LOW_LEVEL_RETRIES", "1").env("RCLONE_RETRIES", "1");
    mover.push(source.path(), "volumes/p").success();
    let (stored, target) = (server.objects(BUCKET, ""), empty());
    mover.pull("volumes/p", target.path()).success();
    let wanted = Tree::of(source.path());
    for at in (0..1_600).step_by(11) {
        server.faults().add(When::operation("ListObjectsV2"), Action::Corrupt { at });
        let pulled = mover.pull("volumes/p", target.path());
        // A key that the byte made up does not exist: the run fails and deletes nothing.
        let lines = wanted.diff(&Tree::of(target.path()), Ignore::LOST_IN_BUCKET);
        assert!(lines.iter().all(|line| line.starts_with("surplus")), "byte {at}: {lines:?}\n{pulled}");
        let pushed = mover.push(source.path(), "volumes/p");
        server.faults().clear();
        let kept = server.objects(BUCKET, "");
        assert!(stored.iter().all(|(key, etag)| kept.get(key) == Some(etag)), "byte {at}: {kept:?}\n{pushed}");
    }
    mover.pull("volumes/p", target.path()).success();
    same(source.path(), target.path());
}

#[test]
fn an_empty_volume_never_empties_a_prefix() {
    on_each_server(BUCKET, |server| {
        let (source, mover) = pushed(server, "volumes/p");
        let stored = server.objects(BUCKET, "p/");
        assert_eq!(stored.len(), 13);
        let words = ["the volume is empty", "nothing was deleted", "RCLONE_VOLSYNC_ALLOW_EMPTY_SOURCE=1"];
        for content in ["", "mkdir lost+found; touch lost+found/x", "mkdir -p a/b", "ln -s x link; mkfifo pipe"] {
            let volume = empty();
            volume::shell(volume.path(), &format!("{content}\ntrue"));
            let outcome = mover.push(volume.path(), "volumes/p").fails(ExitCode::Failure, &words);
            assert!(outcome.last_words().contains(volume.path().to_str().unwrap()), "{outcome}");
            assert_eq!(server.objects(BUCKET, "p/"), stored, "{content}");
        }
        // So does a filter that leaves nothing over.
        let outcome = Mover::new(server).env("RCLONE_EXCLUDE", "d*/**").push(source.path(), "volumes/p");
        outcome.fails(ExitCode::Failure, &words);
        assert_eq!(server.objects(BUCKET, "p/"), stored);
        let volume = empty();
        let mover = mover.env("RCLONE_VOLSYNC_ALLOW_EMPTY_SOURCE", "1");
        mover.push(volume.path(), "volumes/p").success();
        let left: Vec<_> = server.objects(BUCKET, "p/").into_keys().collect();
        assert_eq!(left, ["p/permissions.facl"]);
        mover.pull("volumes/p", source.path()).success();
        assert_eq!(Tree::of(source.path()).0.len(), 1, "an empty volume can be restored, when asked for");
    });
}

#[test]
fn a_push_into_somebody_elses_prefix_is_refused_before_the_first_write() {
    on_each_server(BUCKET, |server| {
        server.put(BUCKET, "foreign/file", b"somebody else's");
        let stored = server.objects(BUCKET, "");
        let (source, mover) = (plain(1), Mover::new(server));
        let words =
            ["path foreign: ", "no permissions.facl", "Nothing was written", "RCLONE_VOLSYNC_ALLOW_FOREIGN_PREFIX=1"];
        mover.push(source.path(), "volumes/foreign").fails(ExitCode::Failure, &words);
        assert_eq!(server.objects(BUCKET, ""), stored);
        let mover = mover.env("RCLONE_VOLSYNC_ALLOW_FOREIGN_PREFIX", "1");
        mover.push(source.path(), "volumes/foreign").success();
        assert!(!server.objects(BUCKET, "foreign/").contains_key("foreign/file"), "it became the volume's");
        mover.pull("volumes/foreign", source.path()).success();
    });
    let server = Embedded::start(BUCKET);
    server.put(BUCKET, "foreign/file", b"somebody else's");
    Mover::new(&server).push(plain(1).path(), "volumes/foreign").exits(1);
    assert!(server.requests().iter().all(|request| request.method == "GET"));
}

#[test]
fn uploads_come_first_then_permissions_then_deletions() {
    let server = Embedded::start(BUCKET);
    let (source, mover) = (plain(1), Mover::with_options(&server, "upload_cutoff = 5Mi\nchunk_size = 5Mi"));
    mover.push(source.path(), "volumes/p").success();
    let kind = |request: &volsync_embedded_s3::RequestRecord| match (request.operation.as_str(), request.key.as_str()) {
        ("PutObject", "p/permissions.facl") => "permissions",
        ("PutObject" | "UploadPart" | "CreateMultipartUpload" | "CompleteMultipartUpload", _) => "upload",
        ("DeleteObjects" | "DeleteObject", _) => "delete",
        _ => "read",
    };
    let order = |requests: &[volsync_embedded_s3::RequestRecord]| {
        let mut kinds: Vec<_> = requests.iter().map(kind).filter(|kind| *kind != "read").collect();
        kinds.dedup();
        kinds
    };
    // The first push marks the prefix before anything else.
    assert_eq!(order(&server.requests()), ["permissions", "upload", "permissions"]);
    fs::remove_dir_all(source.path().join("d0")).unwrap();
    fs::remove_file(source.path().join("d1/f1")).unwrap();
    for seed in 3..6 {
        volume::plain(&source.path().join("new"), seed, 40, 2, 1..30_000);
        fs::write(source.path().join("new/large"), volume::Random::new(seed).bytes(11 << 20)).unwrap();
        mover.push(source.path(), "volumes/p").success();
        let requests = server.requests();
        let expect: &[_] = if seed == 3 { &["upload", "permissions", "delete"] } else { &["upload"] };
        let found = order(&requests);
        assert!(found.starts_with(expect) && found.len() <= 3, "{found:?}");
        fs::remove_file(source.path().join("new/large")).unwrap();
    }
    let objects = server.objects(BUCKET, "p/d0/");
    assert_eq!(objects, BTreeMap::new());
}

#[test]
fn every_byte_is_checked_before_a_file_gets_its_name() {
    let server = Embedded::start(BUCKET);
    let options = "upload_cutoff = 5Mi\nchunk_size = 5Mi";
    let source = plain(1);
    fs::write(source.path().join("large"), volume::Random::new(9).bytes(40 << 20)).unwrap();
    Mover::with_options(&server, options).push(source.path(), "volumes/p").success();
    // In one piece, in ranges, and small.
    let mover = || Mover::with_options(&server, options).env("RCLONE_MULTI_THREAD_CUTOFF", "32Mi");
    let whole = || mover().env("RCLONE_MULTI_THREAD_STREAMS", "1");
    for (key, at, ways) in [("large", 3 << 20, vec![mover(), whole()]), ("d1/f1", 0, vec![mover()])] {
        for mover in ways {
            let target = plain(2);
            fs::write(target.path().join("large"), b"old").unwrap();
            let gets = || When::operation("GetObject").key(key);
            server.faults().add(gets(), Action::Corrupt { at });
            let old = fs::read(target.path().join(key)).unwrap();
            let surplus = target.path().join("surplus");
            fs::write(&surplus, b"x").unwrap();
            let outcome = mover.pull("volumes/p", target.path());
            outcome.fails(ExitCode::Failure, &[key, "corrupted on transfer: md5 hashes differ"]);
            assert_eq!(fs::read(target.path().join(key)).unwrap(), old, "the old content stays");
            assert!(surplus.exists(), "nothing is deleted");
            assert_eq!(temporary_files(target.path()), 0);
            server.faults().clear();
            server.faults().add(gets().nth(1), Action::Corrupt { at });
            mover.pull("volumes/p", target.path()).success();
            same(source.path(), target.path());
            server.faults().clear();
        }
    }
}

/// Objects that S3 knows no MD5 of but their parts', as other programs leave them.
const PARTS_ALONE: &str = "upload_cutoff = 5Mi\nchunk_size = 5Mi\ndisable_checksum = true";

/// A volume with files of one part, of whole parts, and of parts and a bit.
fn of_parts() -> TempDir {
    let source = plain(1);
    for (name, size) in [("one", 5 << 20), ("two", 10 << 20), ("three", (12 << 20) + 7)] {
        fs::write(source.path().join(name), volume::Random::new(size).bytes(size)).unwrap();
    }
    source
}

#[test]
fn objects_without_an_md5_are_compared_by_their_parts() {
    use std::os::unix::fs::MetadataExt as _;
    on_each_server(BUCKET, |server| {
        let source = of_parts();
        let mover = Mover::with_options(server, PARTS_ALONE);
        mover.push(source.path(), "volumes/p").success();
        let outer = empty();
        let target = outer.path().join("target");
        fs::create_dir(&target).unwrap();
        mover.pull("volumes/p", &target).success();
        same(source.path(), &target);
        let inodes = || ["one", "two", "three"].map(|name| fs::metadata(target.join(name)).unwrap().ino());
        let before = inodes();
        mover.pull("volumes/p", &target).success();
        assert_eq!(inodes(), before, "what was there already is not restored anew");
        zero(&target);
        mover.pull("volumes/p", &target).success();
        same(source.path(), &target);
    });
}

#[test]
fn objects_without_an_md5_are_verified() {
    let server = Embedded::start(BUCKET);
    let source = of_parts();
    Mover::with_options(&server, PARTS_ALONE).push(source.path(), "volumes/p").success();
    let mover = |more: &str| Mover::with_options(&server, PARTS_ALONE).env("RCLONE_IGNORE_CHECKSUM", more);
    for key in ["one", "three"] {
        let target = empty();
        server.faults().add(When::operation("GetObject").key(key), Action::Corrupt { at: 5_000_000 });
        let outcome = mover("false").pull("volumes/p", target.path());
        outcome.fails(ExitCode::Failure, &[key, "corrupted on transfer: md5 hashes differ"]);
        assert!(!target.path().join(key).exists());
        mover("true").pull("volumes/p", target.path()).success();
        server.faults().clear();
        mover("false").pull("volumes/p", target.path()).success();
        same(source.path(), target.path());
    }
}

fn temporary_files(dir: &Path) -> usize {
    Tree::of(dir).0.into_keys().filter(|path| path.ends_with(b".partial")).count()
}

#[test]
fn the_servers_etag_must_be_that_of_what_was_read() {
    let server = Embedded::start(BUCKET);
    let (source, mover) = (plain(1), Mover::with_options(&server, "upload_cutoff = 5Mi\nchunk_size = 5Mi"));
    mover.push(source.path(), "volumes/p").success();
    fs::remove_file(source.path().join("d0/f0")).unwrap();
    fs::write(source.path().join("large"), volume::Random::new(9).bytes(11 << 20)).unwrap();
    fs::write(source.path().join("small"), b"small").unwrap();
    let permissions = server.objects(BUCKET, "p/permissions.facl");
    for (operation, key) in [("PutObject", "small"), ("UploadPart", "large"), ("CompleteMultipartUpload", "large")] {
        let parts = if operation == "CompleteMultipartUpload" { "-3" } else { "" };
        let wrong = Action::WrongEtag { etag: format!("{}{parts}", "0".repeat(32)) };
        server.faults().add(When::operation(operation).key(key), wrong);
        let outcome = mover.push(source.path(), "volumes/p");
        outcome.fails(ExitCode::Failure, &[key, operation, "ETag"]);
        server.faults().clear();
        assert_eq!(server.objects(BUCKET, "p/permissions.facl"), permissions, "{operation}");
        assert!(server.objects(BUCKET, "p/").contains_key("p/d0/f0"), "{operation}: nothing was deleted");
        for (key, _) in server.objects(BUCKET, "p/large") {
            server.delete(BUCKET, &key);
        }
        server.delete(BUCKET, "p/small");
    }
    mover.push(source.path(), "volumes/p").success();
    let target = empty();
    mover.pull("volumes/p", target.path()).success();
    same(source.path(), target.path());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_tried_again() {
    let server = Embedded::start(BUCKET);
    let mover = Mover::with_options(&server, "upload_cutoff = 5Mi\nchunk_size = 5Mi\nupload_concurrency = 1");
    let source = plain(1);
    let large = source.path().join("large");
    fs::write(&large, vec![b'a'; 16 << 20]).unwrap();
    let gate = server.faults().block(When::operation("UploadPart").nth(2));
    let running = mover.start_push(source.path(), "volumes/p");
    server.wait_at(&gate, &running);
    fs::write(&large, vec![b'b'; 16 << 20]).unwrap();
    gate.release();
    running.wait(volsync_tests::process::LIMIT).success();
    assert!(server.read(BUCKET, "p/large").unwrap() == vec![b'b'; 16 << 20]);
    assert_eq!(server.unfinished(BUCKET), 0);
}

#[test]
fn a_file_that_keeps_changing_is_named_and_its_object_stays() {
    let server = Embedded::start(BUCKET);
    let options = "upload_cutoff = 5Mi\nchunk_size = 5Mi\nupload_concurrency = 1";
    let mover = Mover::with_options(&server, options);
    let source = plain(1);
    let large = source.path().join("large");
    fs::write(&large, vec![b'a'; 16 << 20]).unwrap();
    mover.push(source.path(), "volumes/p").success();
    fs::remove_file(source.path().join("d0/f0")).unwrap();
    fs::write(source.path().join("d0/new"), b"new").unwrap();
    fs::write(&large, vec![b'b'; 16 << 20]).unwrap();
    let before = server.objects(BUCKET, "p/large");
    // Each attempt meets another change, after it has read the file once and before it does so again.
    let gates = [1, 2, 3].map(|nth| server.faults().block(When::operation("CreateMultipartUpload").nth(nth)));
    let running = mover.start_push(source.path(), "volumes/p");
    for (gate, letter) in gates.iter().zip(b"cde") {
        server.wait_at(gate, &running);
        fs::write(&large, vec![*letter; 16 << 20]).unwrap();
        gate.release();
    }
    let outcome = running.wait(volsync_tests::process::LIMIT);
    outcome.fails(ExitCode::Failure, &["large: ", "the file changed while it was read"]);
    assert_eq!(server.objects(BUCKET, "p/large"), before, "no torn object");
    assert!(server.objects(BUCKET, "p/").contains_key("p/d0/new"), "the others are uploaded");
    assert!(server.objects(BUCKET, "p/").contains_key("p/d0/f0"), "nothing is deleted");
    assert_eq!(server.unfinished(BUCKET), 0);
    server.faults().clear();
    mover.push(source.path(), "volumes/p").success();
    let target = empty();
    mover.pull("volumes/p", target.path()).success();
    same(source.path(), target.path());
}

/// Makes the content of every file zeros, with size and time as they are.
fn zero(dir: &Path) {
    volume::shell(
        dir,
        "find . -type f -size +0 | while read -r file; do
           touch -r \"$file\" ../stamp; size=$(stat -c %s \"$file\")
           truncate -s 0 \"$file\"; truncate -s \"$size\" \"$file\"; touch -r ../stamp \"$file\"
         done",
    );
}

fn size_and_time_prove_nothing(server: &dyn Inspect) {
    let source = plain(1);
    fs::write(source.path().join("large"), volume::Random::new(9).bytes(11 << 20)).unwrap();
    let mover = Mover::with_options(server, "upload_cutoff = 5Mi\nchunk_size = 5Mi");
    mover.push(source.path(), "volumes/p").success();
    let outer = empty();
    let target = outer.path().join("target");
    fs::create_dir(&target).unwrap();
    mover.pull("volumes/p", &target).success();
    zero(&target);
    let zeros = Tree::of(&target);
    assert!(!Tree::of(source.path()).diff(&zeros, Ignore::LOST_IN_BUCKET).is_empty());
    let fast = Mover::with_options(server, "").env("RCLONE_CHECKSUM", "0");
    fast.pull("volumes/p", &target).success();
    assert_eq!(Tree::of(&target), zeros, "size and time were to be enough");
    mover.pull("volumes/p", &target).success();
    same(source.path(), &target);
}

#[test]
fn size_and_time_are_no_proof_unless_asked_for() {
    on_each_server(BUCKET, size_and_time_prove_nothing);
}

#[test]
fn a_bucket_that_encrypts_by_itself_is_told_of_and_restored_from() {
    let quirks = Quirks { no_etag_md5: true, ..Quirks::default() };
    let server = Embedded::with(ServerOptions { quirks, ..ServerOptions::with_bucket(BUCKET) });
    let source = of_parts();
    let parts = "upload_cutoff = 5Mi\nchunk_size = 5Mi\n";
    let knows = Mover::with_options(&server, &format!("{parts}server_side_encryption = aws:kms"));
    let unaware = Mover::with_options(&server, parts);
    let words = ["encrypts with keys of its own", "add server_side_encryption = aws:kms to the remote"];
    unaware.push(source.path(), "volumes/p").fails(ExitCode::Failure, &words);
    knows.push(source.path(), "volumes/p").success();
    for mover in [knows, unaware] {
        let target = empty();
        mover.pull("volumes/p", target.path()).success();
        same(source.path(), target.path());
    }
}

#[test]
fn size_and_time_are_no_proof_where_etags_are_no_digests() {
    let quirks = Quirks { no_etag_md5: true, ..Quirks::default() };
    let server = Embedded::with(ServerOptions { quirks, ..ServerOptions::with_bucket(BUCKET) });
    let source = plain(1);
    let mover = Mover::with_options(&server, "server_side_encryption = aws:kms");
    mover.push(source.path(), "volumes/p").success();
    let outer = empty();
    let target = outer.path().join("target");
    fs::create_dir(&target).unwrap();
    mover.pull("volumes/p", &target).success();
    zero(&target);
    mover.pull("volumes/p", &target).success();
    same(source.path(), &target);
}
