//! Content, digests and times.

use std::sync::Arc;

use md5::{Digest as _, Md5};
use mover_rclone::store::{ObjectMeta, PutRequest, StoreErrorKind};
use tokio::task::JoinSet;
use volsync_common::time::Timestamp;

use super::{Script, Subject, WHEN, path};
use crate::volume::Random;

fn random(size: u64) -> Vec<u8> {
    Random::new(size).bytes(size)
}

fn md5(content: &[u8]) -> [u8; 16] {
    Md5::digest(content).into()
}

fn sizes(subject: &Subject) -> Vec<u64> {
    let around = subject.edges.iter().flat_map(|edge| [edge - 1, *edge, edge + 1, 2 * edge, 2 * edge + 1]);
    [0, 1, 1000].into_iter().chain(around).collect()
}

/// Bytes, size, time and digest of objects of every interesting size, with and without the digest known before.
pub async fn content_comes_back(subject: &Subject) {
    let features = subject.store.features();
    for size in sizes(subject) {
        for known in [false, true] {
            let (name, content) = (format!("content/{size}").into_bytes(), random(size));
            let sum = md5(&content);
            let put = subject.put_as(&name, Script::new(content.clone()), WHEN, known.then_some(sum)).await.unwrap();
            assert_eq!(put.bytes, size);
            assert!(put.md5.is_none_or(|md5| md5 == sum), "{size}");
            let meta = subject.store.stat(&name).await.unwrap();
            assert_eq!((meta.size, meta.mtime), (size, Some(WHEN)), "{size}");
            assert!(meta.md5.is_none_or(|md5| md5 == sum) && !meta.gzip);
            assert_eq!(subject.store.md5(&name).await.unwrap(), features.md5.then_some(sum), "{size}");
            let (got, back) = subject.read(&name, None, None).await.unwrap();
            assert!(back == content, "{size}");
            assert_eq!((got.size, got.mtime, got.etag), (size, Some(WHEN), meta.etag), "{size}");
        }
    }
    let listing = subject.list().await;
    for size in sizes(subject) {
        let listed = listing.find(format!("content/{size}").as_bytes()).unwrap();
        assert_eq!(listed.size, size);
        assert!(listed.md5.is_none_or(|sum| sum == md5(&random(size))));
        assert!(!features.listed_mtime || listed.mtime == Some(WHEN));
    }
}

/// Any range of an object, also beyond its end; an empty range tells the size.
pub async fn parts_come_back(subject: &Subject) {
    let size = subject.several_pieces();
    let content = random(size);
    subject.put(b"parts/f", content.clone()).await.unwrap();
    let edges = subject.edges.iter().flat_map(|edge| [edge - 1..edge + 1, *edge..edge + 7, edge - 3..*edge]);
    let ranges = [0..1, 0..size, 1..size - 1, size - 1..size, size - 5..size + 100, 7..7, 500..500_000];
    for range in ranges.into_iter().chain(edges) {
        let (meta, part) = subject.read(b"parts/f", Some(range.clone()), None).await.unwrap();
        let [start, end] = [range.start, range.end.min(size)].map(|at| usize::try_from(at).unwrap());
        assert!(part == content[start..end], "{range:?}");
        assert_eq!(meta.size, size, "{range:?}");
    }
}

/// What was read before is not continued with the bytes of another version, even of the same size and time.
pub async fn old_content_is_not_taken_for_new(subject: &Subject) {
    let name = b"versions/f";
    subject.put(name, b"version 1".to_vec()).await.unwrap();
    let (meta, _) = subject.read(name, Some(0..3), None).await.unwrap();
    let etag = meta.etag.unwrap();
    let (_, rest) = subject.read(name, Some(3..9), Some(&etag)).await.unwrap();
    assert_eq!(rest, b"sion 1");
    subject.put(name, b"version 2".to_vec()).await.unwrap();
    for range in [None, Some(3..9), Some(0..9)] {
        let error = subject.read(name, range.clone(), Some(&etag)).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Changed, "{range:?}: {error}");
    }
    assert_eq!(subject.get(name).await.unwrap(), b"version 2");
}

/// Readers beside writers of one object: every read is one whole version or an error that says so.
pub async fn readers_get_one_version_or_the_other(subject: &Subject) {
    const ROUNDS: u8 = 8;
    let name = b"race/f";
    let size = usize::try_from(subject.edges.iter().min().copied().unwrap_or(0).max(200_000)).unwrap();
    subject.put(name, vec![0; size]).await.unwrap();
    let mut tasks = JoinSet::new();
    for version in 0..ROUNDS {
        let subject = subject.clone();
        tasks.spawn(async move {
            subject.put(name, vec![version; size]).await.unwrap();
            match subject.get(name).await {
                Ok(content) => assert!(content.len() == size && content.iter().all(|byte| *byte == content[0])),
                Err(error) => assert_eq!(error.kind, StoreErrorKind::Changed, "{error}"),
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(subject.names(b"race/").await, [name]);
}

/// Setting the time keeps content, digest and all other metadata.
pub async fn only_the_time_changes(subject: &Subject) {
    let later = Timestamp { secs: 1_800_000_000, nanos: 5 };
    let metadata = [("note".to_owned(), b"kept \xc3\xbc".to_vec())];
    for (name, size) in [("touched/small.txt", 10), ("touched/large", subject.several_pieces())] {
        let (name, content) = (path(name.as_bytes()), random(size));
        let source = Arc::new(Script::new(content.clone()));
        let request = PutRequest { path: &name, source, mtime: WHEN, md5: None, metadata: &metadata };
        subject.store.put(request).await.unwrap();
        let before = subject.stat(&name).await;
        let sum = subject.store.md5(&name).await.unwrap();
        subject.store.set_mtime(&name, later).await.unwrap();
        let after = subject.stat(&name).await;
        assert_eq!((after.size, after.mtime), (size, Some(later)));
        assert_eq!(subject.store.md5(&name).await.unwrap(), sum);
        let others =
            |meta: ObjectMeta| meta.metadata.into_iter().filter(|(name, _)| name != "mtime").collect::<Vec<_>>();
        assert_eq!(others(after), others(before));
        assert!(subject.get(&name).await.unwrap() == content);
    }
}

/// Times before 1970, far away and to the nanosecond, both with the content and set later.
pub async fn times_are_kept_to_the_nanosecond(subject: &Subject) {
    let times =
        [(0, 0), (0, 1), (-1, 999_999_999), (-2, 500_000_000), (-2_000_000_000, 7), (4_102_444_800, 999_999_999)];
    for (n, (secs, nanos)) in times.into_iter().enumerate() {
        let (name, mtime) = (format!("times/{n}").into_bytes(), Timestamp { secs, nanos });
        subject.put_as(&name, Script::new(vec![1]), mtime, None).await.unwrap();
        assert_eq!(subject.store.stat(&name).await.unwrap().mtime, Some(mtime));
        subject.put(&name, vec![2]).await.unwrap();
        subject.store.set_mtime(&path(&name), mtime).await.unwrap();
        assert_eq!(subject.store.stat(&name).await.unwrap().mtime, Some(mtime));
        let listed = subject.list().await.find(&name).unwrap().mtime;
        assert!(!subject.store.features().listed_mtime || listed == Some(mtime));
    }
}
