//! Every store does what the engine expects of a store: the checks of `volsync_tests::conformance`, and what is special
//! about each kind.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it cannot go on")]

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use mover_rclone::s3::S3Settings;
use mover_rclone::store::{PutRequest, Store, StoreErrorKind};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use volsync_common::dest::is_temp_name;
use volsync_common::path::RelPath;
use volsync_common::walk::{Event, WalkOptions, walk};
use volsync_embedded_s3::{Action, Quirks, ServerOptions, When};
use volsync_tests::conformance::{self, Script, Subject};
use volsync_tests::embedded::Embedded;
use volsync_tests::servers::{Minio, S3Endpoint};
use volsync_tests::stores::{self, PART, local};

const BUCKET: &str = "conform";
/// What crypt encrypts at a time, then what a directory reads at a time.
const BLOCK: u64 = 64 << 10;
const BUFFER: u64 = 256 << 10;

fn run<T>(test: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(test)
}

fn s3(endpoint: &dyn S3Endpoint, path: &str, change: impl FnOnce(&mut S3Settings)) -> Arc<dyn Store> {
    stores::s3(endpoint, BUCKET, path, change)
}

fn crypt(inner: &Arc<dyn Store>, options: &str) -> Arc<dyn Store> {
    stores::crypt("/wrapped", options, "", |_| Arc::clone(inner))
}

fn s3_conforms(endpoint: &dyn S3Endpoint, lists_below_objects: bool, change: impl FnOnce(&mut S3Settings)) {
    run(async {
        let subject = Subject { lists_below_objects, ..Subject::new(s3(endpoint, "some/path", change), &[PART]) };
        conformance::a_missing_root_is_empty_until_something_is_written(&subject).await;
        conformance::all(&subject).await;
    });
}

/// Without any bucket, so that the first write has to make it.
fn embedded(options: ServerOptions) -> Embedded {
    Embedded::with(ServerOptions { buckets: Vec::new(), ..options })
}

fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).unwrap()
}

fn leftovers(dir: &Path) -> Vec<String> {
    let paths = walk(dir, WalkOptions::default(), |_, _, _| true).unwrap().map(|event| match event {
        Event::Entry(entry) => entry.path,
        Event::Failed { error, .. } => panic!("{error}"),
    });
    paths.filter(|path| is_temp_name(path.name())).map(|path| path.to_string()).collect()
}

#[test]
fn a_directory() {
    let temp = TempDir::new().unwrap();
    run(async {
        let subject = Subject::new(local(&temp.path().join("not/yet")), &[BUFFER]);
        conformance::a_missing_root_is_empty_until_something_is_written(&subject).await;
        conformance::all(&subject).await;
    });
    assert_eq!(leftovers(temp.path()), [""; 0]);
}

#[test]
fn crypt_over_a_directory() {
    for (options, longest_name) in [
        // 143 bytes become 144, in base32 231 characters; one more would be 257.
        ("", 143),
        ("filename_encoding=base64\n", 175),
        ("filename_encryption=off\n", 251),
        ("directory_name_encryption=false\nno_data_encryption=true\n", 143),
    ] {
        let temp = TempDir::new().unwrap();
        run(async {
            let store = crypt(&local(&temp.path().join("not/yet")), options);
            let subject = Subject { longest_name, ..Subject::new(store, &[BLOCK, 4 * BLOCK]) };
            conformance::a_missing_root_is_empty_until_something_is_written(&subject).await;
            conformance::all(&subject).await;
        });
        assert_eq!(leftovers(temp.path()), [""; 0]);
    }
}

#[test]
fn the_embedded_server() {
    s3_conforms(&embedded(ServerOptions::default()), true, |settings| settings.list_chunk = 300);
}

#[test]
fn the_embedded_server_over_tls_with_directory_markers() {
    s3_conforms(&embedded(ServerOptions { tls: true, ..ServerOptions::default() }), true, |settings| {
        settings.directory_markers = true;
        settings.provider = "Other".into();
    });
}

#[test]
fn a_server_that_can_do_little() {
    let quirks = Quirks { ignore_start_after: true, no_delete_objects: true, v1_only: true, no_etag_md5: true };
    s3_conforms(&embedded(ServerOptions { quirks, ..ServerOptions::default() }), true, |settings| {
        settings.provider = "Other".into();
        settings.list_version = 1;
        settings.server_side_encryption = "aws:kms".into();
    });
}

#[test]
fn crypt_over_the_embedded_server() {
    let server = embedded(ServerOptions { tls: true, ..ServerOptions::default() });
    run(async {
        let subject = Subject::new(crypt(&s3(&server, "some/path", |_| {}), ""), &[BLOCK, PART]);
        conformance::a_missing_root_is_empty_until_something_is_written(&subject).await;
        conformance::all(&subject).await;
    });
}

#[test]
fn minio() {
    s3_conforms(&Minio::start(), false, |_| {});
}

#[test]
fn minio_over_tls_as_any_server_with_the_first_listing() {
    s3_conforms(&Minio::start_tls(), false, |settings| settings.provider = "Other".into());
}

async fn put(store: &dyn Store, name: &str, content: Vec<u8>) -> Result<(), StoreErrorKind> {
    let (path, source) = (path(name), Arc::new(Script::new(content)));
    let request = PutRequest { path: &path, source, mtime: conformance::WHEN, md5: None, metadata: &[] };
    store.put(request).await.map(|_| ()).map_err(|error| error.kind)
}

#[test]
fn large_objects_go_in_parts_and_tell_the_digest_of_the_whole() {
    let server = embedded(ServerOptions::default());
    run(async {
        let store = s3(&server, "", |_| {});
        put(&*store, "large", vec![7; 11_000_000]).await.unwrap();
        let meta = store.stat(b"large").await.unwrap();
        assert!(meta.etag.unwrap().contains("-3"));
        assert!(meta.metadata.iter().any(|(name, _)| name == "md5chksum") && meta.md5.is_some());
    });
}

/// What the server refuses, breaks or answers wrongly replaces nothing and leaves no parts behind.
#[test]
fn a_write_that_the_server_fails_leaves_what_was_there() {
    let server = embedded(ServerOptions::default());
    let wrong = Action::WrongEtag { etag: "0".repeat(32) };
    let faults = [
        ("PutObject", Action::deny(), 10),
        ("PutObject", Action::error(500, "InternalError"), 10),
        ("PutObject", Action::ResetAfterBody, 10),
        ("CreateMultipartUpload", Action::deny(), 6 << 20),
        ("UploadPart", Action::error(400, "BadDigest"), 6 << 20),
        ("UploadPart", Action::ResetBeforeBody, 6 << 20),
        ("UploadPart", wrong, 6 << 20),
        ("CompleteMultipartUpload", Action::ErrorIn200 { code: "InternalError".into() }, 6 << 20),
        ("CompleteMultipartUpload", Action::deny(), 6 << 20),
    ];
    run(async {
        let store = s3(&server, "p", |_| {});
        put(&*store, "old", b"old content".to_vec()).await.unwrap();
        let before = store.stat(b"old").await.unwrap();
        for (operation, action, size) in faults {
            server.faults().add(When::operation(operation), action.clone());
            let failed = put(&*store, "old", vec![1; size]).await;
            assert!(failed.is_err(), "{operation} {action:?}");
            server.faults().clear();
            assert_eq!(store.stat(b"old").await.unwrap(), before, "{operation} {action:?}");
            let left = server.server().store().unfinished_uploads(BUCKET);
            assert!(left.is_empty(), "{operation} {action:?}: {left:?}");
        }
    });
}

/// Uploads of other prefixes and uploads of today are somebody's work.
#[test]
fn only_old_unfinished_uploads_of_our_own_prefix_are_aborted() {
    const DAY: i64 = 86_400;
    let server = Embedded::with(ServerOptions { anonymous: true, ..ServerOptions::with_bucket(BUCKET) });
    let begin = |key: &str, age: i64| {
        server.server().set_clock_offset(-age);
        let url = format!("{}/{BUCKET}/{key}?uploads", server.url());
        let mut curl = std::process::Command::new(volsync_tests::peers::tool("curl"));
        volsync_tests::process::run(curl.args(["-sSf", "-X", "POST", &url])).success();
        server.server().set_clock_offset(0);
    };
    for (key, age) in [
        ("mine/old", 2 * DAY),
        ("mine/d/old", DAY + 60),
        ("mine/young", DAY - 60),
        ("mine-not/old", 2 * DAY),
        ("mine", 2 * DAY),
        ("other/old", 9 * DAY),
    ] {
        begin(key, age);
    }
    let removed = run(async { s3(&server, "mine", |_| {}).clean_up().await.unwrap() });
    assert_eq!(removed, 2);
    let left = server.server().store().unfinished_uploads(BUCKET);
    let left: Vec<_> = left.into_iter().map(|upload| upload.key).collect();
    assert_eq!(left, ["mine", "mine-not/old", "mine/young", "other/old"]);
}

/// A listing that breaks off, or is cut short, is an error and no listing.
#[test]
fn a_listing_is_whole_or_an_error() {
    let server = embedded(ServerOptions::default());
    run(async {
        let store = s3(&server, "p", |settings| settings.list_chunk = 10);
        for n in 0..100 {
            put(&*store, &format!("{n}"), vec![1]).await.unwrap();
        }
        let truncated = Action::Truncate { after: 700 };
        for action in [Action::deny(), Action::error(500, "InternalError"), truncated, Action::Shorten { after: 700 }] {
            for page in [1, 2, 7] {
                server.faults().add(When::operation("ListObjectsV2").nth(page), action.clone());
                // Another try may make it whole.
                if let Ok(listing) = store.list(&|_| {}).await {
                    assert_eq!(listing.len(), 100, "{action:?} {page}");
                }
                server.faults().clear();
            }
            server.faults().add(When::operation("ListObjectsV2"), action.clone());
            assert!(store.list(&|_| {}).await.is_err(), "{action:?}");
            server.faults().clear();
        }
    });
}
