//! What the mover asks of a bucket where less would lose something and more would cost something.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use volsync_common::exit::ExitCode;
use volsync_embedded_s3::store::Attributes;
use volsync_embedded_s3::{RequestRecord, ServerOptions};
use volsync_tests::bucket::{self, Bucket};
use volsync_tests::embedded::Embedded;
use volsync_tests::rclone::Rclone;
use volsync_tests::volume;

const REMOTE: &str = "remote:volumes/p";

/// The mover's command line as a remote of `provider` with further `options`.
fn ours(server: &Embedded, provider: &str, options: &str) -> Rclone {
    Rclone::with_options(server, provider, options).ours()
}

fn dir() -> TempDir {
    TempDir::with_prefix("requests-").unwrap()
}

fn write(dir: &Path, name: &str, content: &[u8], time: u64) {
    fs::write(dir.join(name), content).unwrap();
    set_time(dir, name, time);
}

fn set_time(dir: &Path, name: &str, time: u64) {
    let file = File::options().write(true).open(dir.join(name)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(time)).unwrap();
}

fn count(requests: &[RequestRecord], operation: &str) -> usize {
    requests.iter().filter(|request| request.operation == operation).count()
}

#[test]
fn one_bucket_is_made_however_many_files_find_it_missing() {
    for flags in [vec!["sync"], vec!["copy", "--no-check-dest"]] {
        let server = Embedded::with(ServerOptions::default());
        let source = dir();
        volume::plain(source.path(), 1, 60, 3, 1..2_000);
        let args = [flags, vec![source.path().to_str().unwrap(), REMOTE]].concat();
        ours(&server, "Minio", "").run(&args).success();
        assert_eq!(count(&server.requests(), "CreateBucket"), 1, "{args:?}");
        assert_eq!(Bucket::of(&server, "volumes", "p").0.len(), 60, "{args:?}");
    }
}

#[test]
fn a_new_time_that_no_copy_can_store_comes_with_the_content() {
    for (provider, options) in [
        ("Rabata", ""),
        ("Fastly", ""),
        ("Minio", "storage_class = GLACIER"),
        ("Minio", "storage_class = DEEP_ARCHIVE"),
        ("Minio", "copy_cutoff = 5B"),
    ] {
        let server = Embedded::with(ServerOptions::default());
        let (ours, source) = (ours(&server, provider, options), dir());
        write(source.path(), "file", b"content", 1_000);
        let args = ["sync", source.path().to_str().unwrap(), REMOTE];
        ours.run(&args).success();
        set_time(source.path(), "file", 2_000);
        server.requests();
        ours.run(&args).success();
        let requests = server.requests();
        let asked = (count(&requests, "CopyObject"), count(&requests, "PutObject"));
        assert_eq!(asked, (0, 1), "{provider} {options}");
        let stored = Bucket::of(&server, "volumes", "p").0.remove("file").unwrap();
        assert_eq!((stored.size, stored.metadata["mtime"].as_str()), (7, "2000"), "{provider} {options}");
        ours.run(&args).success();
        assert_eq!(count(&server.requests(), "PutObject"), 0, "{provider} {options}");
    }
}

#[test]
fn a_new_time_leaves_what_the_object_says_of_its_content() {
    let metadata = |mtime: &str| {
        let pairs = [("mtime", mtime), ("md5chksum", "mgNkuembtIDdJeHwKEyFVQ=="), ("note", "kept")];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    };
    let server = Embedded::start("volumes");
    let before = Attributes {
        content_type: Some("text/x-own".to_owned()),
        content_language: Some("de".to_owned()),
        content_disposition: Some("attachment".to_owned()),
        cache_control: Some("no-store".to_owned()),
        metadata: metadata("5"),
        ..Attributes::default()
    };
    server.server().store().put("volumes", "p/file", b"content".to_vec(), before.clone()).unwrap();
    let source = dir();
    write(source.path(), "file", b"content", 1_000);
    let key = "sse_customer_key = 0123456789abcdef0123456789abcdef";
    ours(&server, "Minio", key).run(&["sync", source.path().to_str().unwrap(), REMOTE]).success();
    let requests = server.requests();
    let copy = requests.iter().find(|request| request.operation == "CopyObject").unwrap();
    let sum = |name: &str| copy.header(&format!("{name}server-side-encryption-customer-key-md5"));
    assert!(sum("x-amz-").is_some() && sum("x-amz-") == sum("x-amz-copy-source-"), "{copy:?}");
    let after = server.server().store().get("volumes", "p/file").unwrap().attributes.clone();
    assert_eq!(after, Attributes { metadata: metadata("1000"), ..before });
}

#[test]
fn a_new_time_is_a_change_that_immutable_refuses() {
    let server = Embedded::start("volumes");
    bucket::put(&server, "volumes", "p/file", b"content", 5);
    let (before, source) = (Bucket::of(&server, "volumes", "p"), dir());
    write(source.path(), "file", b"content", 1_000);
    let args = ["sync", "--immutable", source.path().to_str().unwrap(), REMOTE];
    ours(&server, "Minio", "").run(&args).fails(ExitCode::NoRetry, &["immutable file modified"]);
    before.assert_same(&Bucket::of(&server, "volumes", "p"));
}

#[test]
fn markers_are_put_once() {
    let server = Embedded::start("volumes");
    let (ours, source) = (ours(&server, "Minio", "directory_markers = true"), dir());
    fs::create_dir_all(source.path().join("a/b")).unwrap();
    fs::create_dir(source.path().join("c")).unwrap();
    let args = ["sync", "--create-empty-src-dirs", source.path().to_str().unwrap(), REMOTE];
    ours.run(&args).success();
    assert_eq!(server.server().store().keys("volumes"), ["p/a/", "p/a/b/", "p/c/"]);
    server.requests();
    fs::remove_dir(source.path().join("c")).unwrap();
    ours.run(&args).success();
    assert_eq!(count(&server.requests(), "PutObject"), 0);
    assert_eq!(server.server().store().keys("volumes"), ["p/a/", "p/a/b/"]);
}

#[test]
fn no_directory_goes_after_a_limit_of_deletions() {
    let server = Embedded::start("volumes");
    bucket::put(&server, "volumes", "p/kept", b"kept", 5);
    let target = dir();
    for name in ["one", "two", "none"] {
        fs::create_dir(target.path().join(name)).unwrap();
    }
    write(target.path(), "one/file", b"1", 5);
    write(target.path(), "two/file", b"2", 5);
    let args = ["sync", "--max-delete", "1", REMOTE, target.path().to_str().unwrap()];
    ours(&server, "Minio", "").run(&args).fails(ExitCode::Fatal, &["--max-delete"]);
    for name in ["one", "two", "none"] {
        assert!(target.path().join(name).is_dir(), "{name}");
    }
}

#[test]
fn a_page_has_as_many_keys_as_asked_for() {
    let server = Embedded::start("volumes");
    ours(&server, "Minio", "list_chunk = 5000").run(&["ls", REMOTE]);
    let sizes: Vec<_> = server.requests().into_iter().map(|request| request.query).collect();
    assert!(sizes.iter().any(|query| query.contains("max-keys=5000")), "{sizes:?}");
}

#[test]
fn a_restore_by_the_time_of_the_store_is_as_rclones_and_done_once() {
    let server = Embedded::start("volumes");
    bucket::put(&server, "volumes", "p/file", b"content", 5);
    let restore = |program: &Rclone, dir: &Path| {
        program.run(&["sync", "--use-server-modtime", REMOTE, dir.to_str().unwrap()]).success();
        fs::metadata(dir.join("file")).unwrap().modified().unwrap()
    };
    let (theirs, target) = (dir(), dir());
    let wanted = restore(&Rclone::new(&server, "Minio"), theirs.path());
    let ours = ours(&server, "Minio", "");
    assert_eq!(restore(&ours, target.path()), wanted);
    server.requests();
    restore(&ours, target.path());
    assert_eq!(count(&server.requests(), "GetObject"), 0);
}
