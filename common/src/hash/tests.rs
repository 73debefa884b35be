//! Files and bodies of awkward sizes, all at once, against the `md-5` crate.

use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::task::{Context, Waker};

use futures_util::future::join_all;
use md5::Digest as _;

use super::*;

const SIZES: [usize; 18] =
    [0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 4096, 65_535, 65_536, 65_537, 131_072, 1 << 20, (1 << 20) + 77];

fn content(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 7).to_le_bytes()[0]).collect()
}

fn file(content: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    Arc::new(file)
}

fn expected(content: &[u8]) -> FileDigest {
    FileDigest { md5: md5::Md5::digest(content).into(), bytes: content.len() as u64 }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

#[test]
fn files_of_all_sizes_at_once() {
    let contents: Vec<Vec<u8>> = (0..200).map(|n| content(SIZES[n % SIZES.len()], n)).collect();
    for threads in [0, 1, 3] {
        let hasher = FileHasher::start(threads).unwrap();
        let all = contents.iter().map(|content| hasher.hash_file(file(content), content.len() as u64));
        let digests = runtime().block_on(join_all(all));
        for (digest, content) in digests.into_iter().zip(&contents) {
            assert_eq!(digest.unwrap(), expected(content), "{} bytes, {threads} threads", content.len());
        }
    }
}

#[test]
fn a_large_file_alone_and_beside_another() {
    let hasher = FileHasher::start(1).unwrap();
    let file = file(b"starts like this");
    let len = large::LARGE + 12_345;
    file.set_len(len).unwrap();
    let mut expect = md5::Md5::new();
    expect.update(b"starts like this");
    expect.update(vec![0; usize::try_from(len).unwrap() - 16]);
    let expect = FileDigest { md5: expect.finalize().into(), bytes: len };
    let both = join_all([hasher.hash_file(file.clone(), len), hasher.hash_file(file.clone(), len)]);
    for digest in runtime().block_on(both) {
        assert_eq!(digest.unwrap(), expect);
    }
    let longer = runtime().block_on(hasher.hash_file(file.clone(), len - 1)).unwrap();
    assert!(longer.bytes > len - 1, "a file that grew is told from one that did not");
    let shorter = runtime().block_on(hasher.hash_file(file, len + 1)).unwrap();
    assert_eq!(shorter.bytes, len);
}

#[test]
fn ranges_end_where_they_end() {
    let hasher = FileHasher::start(2).unwrap();
    let content = content(300_000, 1);
    let file = file(&content);
    let edges = [0, 1, 63, 64, 65_535, 65_536, 65_537, 131_072, 299_999, 300_000];
    for (start, end) in edges.iter().flat_map(|start| edges.iter().map(move |end| (*start, *end))) {
        let range = start as u64..end as u64;
        let digest = runtime().block_on(hasher.hash_range(file.clone(), range)).unwrap();
        let expect = content.get(start..end).unwrap_or_default();
        assert_eq!(digest, expected(expect), "{start}..{end}");
    }
    let beyond = runtime().block_on(hasher.hash_range(file, 299_990..400_000)).unwrap();
    assert_eq!(beyond, expected(&content[299_990..]));
}

#[test]
fn one_file_alone() {
    let hasher = FileHasher::start(2).unwrap();
    for (n, size) in SIZES.into_iter().enumerate() {
        let content = content(size, n);
        let digest = runtime().block_on(hasher.hash_file(file(&content), size as u64)).unwrap();
        assert_eq!(digest, expected(&content), "{size} bytes");
    }
}

#[test]
fn bodies_of_all_sizes_at_once() {
    let hasher = Arc::new(FileHasher::start(2).unwrap());
    let runtime = runtime();
    let bodies: Vec<Bytes> = (0..300).map(|n| content(SIZES[n % SIZES.len()], n).into()).collect();
    let tasks: Vec<_> = bodies
        .iter()
        .map(|body| {
            let (hasher, body) = (Arc::clone(&hasher), body.clone());
            runtime.spawn(async move { hasher.hash_bytes(body).await })
        })
        .collect();
    for (task, body) in tasks.into_iter().zip(&bodies) {
        assert_eq!(runtime.block_on(task).unwrap(), expected(body).md5, "{} bytes", body.len());
    }
}

#[test]
fn a_file_that_is_shorter_or_longer_says_so() {
    let hasher = FileHasher::start(1).unwrap();
    let content = content(200_000, 1);
    let runtime = runtime();
    let hash = |len| runtime.block_on(hasher.hash_file(file(&content), len)).unwrap();
    assert_eq!(hash(300_000), expected(&content));
    assert_eq!(hash(u64::MAX), expected(&content));
    assert!(hash(199_999).bytes > 199_999);
    assert!(hash(0).bytes > 0);
}

#[test]
fn a_file_that_cannot_be_read_fails_alone() {
    let hasher = FileHasher::start(1).unwrap();
    let dir = Arc::new(File::open("/").unwrap());
    let content = content(100_000, 1);
    let both = async { futures_util::join!(hasher.hash_file(dir, 1), hasher.hash_file(file(&content), 100_000)) };
    let (failed, fine) = runtime().block_on(both);
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert_eq!(fine.unwrap(), expected(&content));
}

/// Polls once and drops.
fn start_and_forget<F: Future>(future: F) {
    let mut future = pin!(future);
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[test]
fn forgotten_work_keeps_no_lane() {
    let hasher = FileHasher::start(1).unwrap();
    let endless = Arc::new(File::open("/dev/zero").unwrap());
    for _ in 0..500 {
        start_and_forget(hasher.hash_file(Arc::clone(&endless), u64::MAX));
    }
    let content = content(100_000, 1);
    let digest = runtime().block_on(hasher.hash_file(file(&content), 100_000)).unwrap();
    assert_eq!(digest, expected(&content));
}

#[test]
fn a_first_body_that_is_forgotten_does_not_strand_the_others() {
    let hasher = FileHasher::start(1).unwrap();
    let bodies = [content(5000, 1), content(7000, 2)];
    let runtime = runtime();
    let digest = runtime.block_on(async {
        let mut second = pin!(hasher.hash_bytes(bodies[1].clone().into()));
        {
            let mut first = pin!(hasher.hash_bytes(bodies[0].clone().into()));
            let context = &mut Context::from_waker(Waker::noop());
            assert!(first.as_mut().poll(context).is_pending());
            assert!(second.as_mut().poll(context).is_pending());
        }
        second.await
    });
    assert_eq!(digest, expected(&bodies[1]).md5);
}

#[test]
fn threads_end_with_the_hasher() {
    let hasher = FileHasher::start(3).unwrap();
    let endless = Arc::new(File::open("/dev/zero").unwrap());
    let queue = Arc::downgrade(&hasher.queue);
    let runtime = runtime();
    let hasher = Arc::new(hasher);
    let task = runtime.spawn({
        let hasher = Arc::clone(&hasher);
        async move { hasher.hash_file(endless, u64::MAX).await }
    });
    task.abort();
    drop(hasher);
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while queue.upgrade().is_some() {
        assert!(std::time::Instant::now() < limit, "a thread is still there");
        std::thread::yield_now();
    }
}

#[test]
fn memory_is_bounded_and_stated() {
    assert_eq!(FileHasher::start(2).unwrap().memory(), 2 * 32 * (65_536 + 128) + 2 * 262_144);
}
