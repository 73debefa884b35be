//! What every S3 server has to do for the store: the same list of checks on each.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io;
use std::sync::Arc;

use mover_rclone::http::{Client, HttpSettings};
use mover_rclone::s3::{AccessKey, RetryLimits, S3Deps, S3Settings, S3Store};
use mover_rclone::store::{GetRequest, PutRequest, Source, Store, StoreErrorKind};
use volsync_common::path::RelPath;
use volsync_common::time::Timestamp;
use volsync_tests::servers::{Minio, S3Endpoint};

struct Content(Vec<u8>);

impl Source for Content {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
    fn unchanged(&self) -> io::Result<bool> {
        Ok(true)
    }
}

fn path(name: &[u8]) -> RelPath {
    RelPath::new(name.to_vec()).unwrap()
}

const WHEN: Timestamp = Timestamp { secs: 1_704_164_645, nanos: 123_456_789 };

async fn put(store: &dyn Store, name: &[u8], content: Vec<u8>) {
    let name = path(name);
    let source = Arc::new(Content(content));
    let request = PutRequest { path: &name, source, mtime: WHEN, md5: None, metadata: &[] };
    store.put(request).await.unwrap();
}

async fn get(store: &dyn Store, name: &[u8], range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let mut got = store.get(GetRequest { path: name, range, if_match: None }).await.unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = got.body.next().await.unwrap() {
        all.extend_from_slice(&chunk);
    }
    all
}

async fn names(store: &dyn Store) -> Vec<Vec<u8>> {
    store.list(&|_| {}).await.unwrap().iter().map(|o| o.path.to_vec()).collect()
}

async fn the_first_write_creates_the_bucket(store: &dyn Store) {
    let listing = store.list(&|_| {}).await.unwrap();
    assert!(!listing.exists() && listing.is_empty());
    put(store, b"first", b"x".to_vec()).await;
    assert!(store.list(&|_| {}).await.unwrap().exists());
    assert!(store.delete(&[path(b"first")]).await.iter().all(Result::is_ok));
}

async fn content_time_and_digest_come_back(store: &dyn Store) {
    for (name, content) in [(&b"empty"[..], vec![]), (b"d/small", b"hello".to_vec()), (b"x", vec![7; 300_000])] {
        put(store, name, content.clone()).await;
        let meta = store.stat(name).await.unwrap();
        assert_eq!((meta.size, meta.mtime), (content.len() as u64, Some(WHEN)));
        assert!(meta.md5.is_some());
        assert_eq!(get(store, name, None).await, content);
    }
    assert_eq!(get(store, b"d/small", Some(1..3)).await, b"el");
    let missing = store.stat(b"nothing").await.unwrap_err();
    assert_eq!(missing.kind, StoreErrorKind::NotFound);
}

async fn odd_names_are_names(store: &dyn Store) {
    let odd: Vec<&[u8]> = vec![
        b"odd/a b+c%20&<>\"'",
        b"odd/bad\xff\xfe",
        b"odd/dot...",
        "odd/\u{fc}\u{1f980}".as_bytes(),
        b"odd/new\nline\t",
        b"odd/ctl\x01\x7f",
        b"odd/;:=@,$!*()#?",
    ];
    for name in &odd {
        put(store, name, name.to_vec()).await;
        assert_eq!(get(store, name, None).await, *name);
    }
    let mut listed = names(store).await;
    listed.retain(|n| n.starts_with(b"odd/"));
    let mut expect: Vec<Vec<u8>> = odd.iter().map(|n| n.to_vec()).collect();
    expect.sort();
    assert_eq!(listed, expect);
    let paths: Vec<_> = odd.iter().map(|n| path(n)).collect();
    assert!(store.delete(&paths).await.iter().all(Result::is_ok));
    assert!(!names(store).await.iter().any(|n| n.starts_with(b"odd/")));
}

async fn only_the_time_changes(store: &dyn Store) {
    put(store, b"touched.txt", b"same".to_vec()).await;
    let before = store.stat(b"touched.txt").await.unwrap();
    let later = Timestamp { secs: 1_800_000_000, nanos: 5 };
    store.set_mtime(&path(b"touched.txt"), later).await.unwrap();
    let after = store.stat(b"touched.txt").await.unwrap();
    assert_eq!((after.mtime, after.md5, after.size), (Some(later), before.md5, before.size));
}

async fn large_objects_go_in_parts_and_keep_their_digest(store: &dyn Store) {
    let content: Vec<u8> = (0..11_000_001u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    put(store, b"large", content.clone()).await;
    let meta = store.stat(b"large").await.unwrap();
    assert!(meta.etag.unwrap().contains("-3"));
    let whole = meta.metadata.iter().find(|(name, _)| name == "md5chksum");
    assert!(whole.is_some() && meta.md5.is_some());
    assert_eq!(get(store, b"large", None).await, content);
    assert_eq!(store.clean_up().await.unwrap(), 0);
}

async fn large_listings_are_complete(store: &dyn Store) {
    let mut expect = Vec::new();
    for n in 0..60 {
        let name = format!("list/d{:02}/f{n}", n / 5).into_bytes();
        put(store, &name, vec![1]).await;
        expect.push(name);
    }
    expect.sort();
    let mut listed = names(store).await;
    listed.retain(|n| n.starts_with(b"list/"));
    assert_eq!(listed, expect);
}

async fn conforms(endpoint: &dyn S3Endpoint, change: impl Fn(&mut S3Settings)) {
    let mut settings = S3Settings {
        provider: "Minio".into(),
        bucket: "conform".into(),
        path: b"some/path".to_vec(),
        endpoint: endpoint.url(),
        upload_cutoff: Some(5 << 20),
        list_chunk: 7,
        ..S3Settings::default()
    };
    change(&mut settings);
    let trust = volsync_common::tls::client_config(&volsync_common::tls::Trust::default()).unwrap();
    let key = AccessKey { id: endpoint.access_key().into(), secret: endpoint.secret_key().into(), token: None };
    let deps = S3Deps {
        http: Client::new(HttpSettings::new(trust)).unwrap(),
        identity: Arc::new(Some(Arc::new(key))),
        retry: RetryLimits::default(),
        max_requests: 64,
        upload_memory: 64 << 20,
    };
    let store = S3Store::open(settings, deps).unwrap();
    the_first_write_creates_the_bucket(&store).await;
    content_time_and_digest_come_back(&store).await;
    odd_names_are_names(&store).await;
    only_the_time_changes(&store).await;
    large_objects_go_in_parts_and_keep_their_digest(&store).await;
    large_listings_are_complete(&store).await;
}

#[tokio::test]
async fn minio_with_the_second_listing() {
    conforms(&Minio::start(), |_| {}).await;
}

#[tokio::test]
async fn minio_as_any_server_with_the_first_listing() {
    conforms(&Minio::start(), |s| s.provider = "Other".into()).await;
}
