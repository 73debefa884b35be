//! Names, listings, directories, removal.

use std::sync::atomic::{AtomicU64, Ordering};

use mover_rclone::store::{MAX_DELETE, StoreErrorKind};
use tokio::task::JoinSet;

use super::{Subject, path};

/// More than two pages of any server, in directories of very different sizes; in order, whole, and counted as they come.
pub async fn listings_are_complete_and_sorted(subject: &Subject) {
    let mut names: Vec<_> = (0..2_600_u32).map(|n| format!("many/d{:02}/{n:04}", n * n % 37).into_bytes()).collect();
    names.extend([&b"many/d-0"[..], b"many/d00-", b"many/d00.x/y", b"many/d000"].map(<[u8]>::to_vec));
    put_all(subject, &names).await;
    names.sort();
    let counted = AtomicU64::new(0);
    let count = |entries| {
        counted.fetch_add(entries, Ordering::Relaxed);
    };
    let listing = subject.store.list(&count).await.unwrap();
    assert!(listing.exists() && listing.refused().is_empty(), "{:?}", listing.refused());
    assert!(counted.load(Ordering::Relaxed) >= names.len() as u64);
    let paths: Vec<_> = listing.iter().map(|object| object.path).collect();
    assert!(paths.is_sorted());
    assert!(subject.names(b"many/").await == names);
    for batch in names.chunks(MAX_DELETE) {
        assert!(subject.delete(batch).await.iter().all(Result::is_ok));
    }
    assert!(subject.names(b"many/").await.is_empty());
}

async fn put_all(subject: &Subject, names: &[Vec<u8>]) {
    for batch in names.chunks(64) {
        let mut tasks = JoinSet::new();
        for name in batch {
            let (subject, name) = (subject.clone(), name.clone());
            tasks.spawn(async move { subject.put(&name, vec![1]).await.unwrap() });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// `x` and `x/y`: a store of keys may keep both, a file system cannot; what is refused changes nothing.
pub async fn one_name_is_an_object_and_a_directory_or_neither_breaks(subject: &Subject) {
    for [first, second] in [["both/down", "both/down/below"], ["both/up/below", "both/up"]] {
        subject.put(first.as_bytes(), b"first".to_vec()).await.unwrap();
        let both = subject.put(second.as_bytes(), b"second".to_vec()).await.is_ok();
        assert_eq!(subject.get(first.as_bytes()).await.unwrap(), b"first");
        let names = subject.names(&first.as_bytes()[..7]).await;
        assert_eq!(names.len(), if both && subject.lists_below_objects { 2 } else { 1 }, "{names:?}");
        if both {
            assert_eq!(subject.get(second.as_bytes()).await.unwrap(), b"second");
            assert!(subject.delete(&[second.into()]).await[0].is_ok());
            assert_eq!(subject.get(first.as_bytes()).await.unwrap(), b"first");
        }
    }
}

/// Names that every store has to take.
fn odd_names(longest: usize) -> Vec<Vec<u8>> {
    let plain = [
        &b"a b+c%20&<>\"'"[..],
        b"bad\xff\xfe",
        b"\x80",
        b"dot.",
        b"...",
        b"..a",
        b" blanks ",
        "\u{fc}\u{1f980}".as_bytes(),
        "cafe\u{301}".as_bytes(),
        "caf\u{e9}".as_bytes(),
        b"new\nline\r\t",
        b"\x01ctl\x7f",
        b";:=@,$!*()#?~^`|{}[]",
        b"back\\slash",
        "quote\u{201b}mark".as_bytes(),
        "\u{201b}".as_bytes(),
        "\u{ff0e}".as_bytes(),
        "\u{2400}\u{ff0f}".as_bytes(),
        b"Case",
        b"case",
        b"x.rclonelink",
    ];
    let long = [vec![b'n'; longest], "\u{fc}".repeat(longest / 2).into_bytes(), "d/".repeat(30).into_bytes()];
    let long = long.into_iter().map(|mut name| {
        name.pop_if(|last| *last == b'/');
        name
    });
    plain.iter().map(|name| name.to_vec()).chain(long).map(|name| [b"odd/", &name[..]].concat()).collect()
}

/// Names that a store may refuse, but not change.
fn doubtful_names() -> Vec<Vec<u8>> {
    let names = ["\u{201b}FF".as_bytes().to_vec(), vec![0xff; 255], vec![b'n'; 256], "long/".repeat(250).into_bytes()];
    let name = |name: &Vec<u8>| [b"odd/", name.strip_suffix(b"/").unwrap_or(name)].concat();
    names.iter().map(name).collect()
}

/// Every name comes back as it was, from a listing too; what cannot be kept is refused before anything is written.
pub async fn odd_names_are_kept_or_refused(subject: &Subject) {
    let mut kept = odd_names(subject.longest_name);
    for name in &kept {
        subject.put(name, name.clone()).await.unwrap();
    }
    for name in doubtful_names() {
        match subject.put(&name, name.clone()).await {
            Ok(_) => kept.push(name),
            Err(error) => assert_eq!(error.kind, StoreErrorKind::Refused, "{error}"),
        }
    }
    kept.sort();
    for name in &kept {
        assert!(subject.get(name).await.unwrap() == *name, "{}", String::from_utf8_lossy(name));
        assert_eq!(subject.store.stat(name).await.unwrap().size, name.len() as u64);
    }
    assert_eq!(subject.names(b"odd/").await, kept);
    assert!(subject.list().await.refused().is_empty());
    assert!(subject.delete(&kept).await.iter().all(Result::is_ok));
    assert!(subject.names(b"odd/").await.is_empty());
}

/// What is not there counts as removed; nothing else goes; one result each.
pub async fn removing_is_about_objects_only(subject: &Subject) {
    for name in ["gone/a", "gone/a-b", "gone/d/x", "gone/d/y", "gone/stays"] {
        subject.put(name.as_bytes(), b"x".to_vec()).await.unwrap();
    }
    assert!(subject.delete(&[]).await.is_empty());
    let names = ["gone/a", "gone/none", "gone/d", "gone/d/x", "gone/a", "gone/a/below"].map(Vec::from);
    let results = subject.delete(&names).await;
    assert_eq!(results.len(), names.len());
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(subject.names(b"gone/").await, [&b"gone/a-b"[..], b"gone/d/y", b"gone/stays"]);
    assert!(subject.delete(&[b"gone/stays".to_vec()]).await[0].is_ok());
    assert_eq!(subject.names(b"gone/").await.len(), 2);
    assert_eq!(subject.get(b"gone/d/y").await.unwrap(), b"x");
}

/// Empty directories stay and go where the store says so; elsewhere asking for them does nothing.
pub async fn directories_are_kept_where_they_can_be(subject: &Subject) {
    let kept = subject.store.features().directories;
    let [empty, full] = [&b"dirs/empty/in\nner"[..], b"dirs/full"].map(path);
    let is_listed = async || {
        let listing = subject.list().await;
        listing.iter().any(|object| object.directory && object.path == empty.as_bytes())
    };
    for _ in 0..2 {
        subject.store.make_directory(&empty).await.unwrap();
        assert_eq!(is_listed().await, kept);
    }
    for _ in 0..2 {
        subject.store.remove_directory(&empty).await.unwrap();
        assert!(!is_listed().await);
    }
    subject.put(b"dirs/full/file", b"x".to_vec()).await.unwrap();
    subject.store.make_directory(&full).await.unwrap();
    subject.store.remove_directory(&full).await.unwrap();
    assert_eq!(subject.get(b"dirs/full/file").await.unwrap(), b"x");
    subject.store.remove_directory(&path(b"dirs/never/there")).await.unwrap();
    subject.store.remove_directory(&path(b"dirs/full/file")).await.unwrap();
    assert_eq!(subject.names(b"dirs/").await, [b"dirs/full/file"]);
}
