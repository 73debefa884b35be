//! What goes wrong must not show in the store.

use mover_rclone::store::StoreErrorKind;

use super::{Breaks, Script, Subject, WHEN, path};

/// Of what is not there nothing can be had, and asking for it makes nothing.
pub async fn what_is_missing_is_not_found(subject: &Subject) {
    subject.put(b"missing/there", b"x".to_vec()).await.unwrap();
    for name in [&b"missing/none"[..], b"missing", b"missing/none/below", b"missing/there/below"] {
        let errors = [
            subject.store.stat(name).await.err(),
            subject.store.md5(name).await.err().or_else(|| (!subject.store.features().md5).then(not_found)),
            subject.get(name).await.err(),
            subject.read(name, Some(0..10), None).await.err(),
            subject.store.set_mtime(&path(name), WHEN).await.err(),
        ];
        let kinds = errors.map(|error| error.map(|error| error.kind));
        assert_eq!(kinds, [Some(StoreErrorKind::NotFound); 5], "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(subject.names(b"missing").await, [b"missing/there"]);
}

fn not_found() -> mover_rclone::store::StoreError {
    mover_rclone::store::StoreError::new(StoreErrorKind::NotFound, "", "", "")
}

/// A source that changes, shrinks, fails or is not what it was said to be replaces nothing and makes nothing new.
pub async fn a_failed_write_leaves_what_was_there(subject: &Subject) {
    for size in [1000, subject.several_pieces()] {
        for (breaks, kind) in [
            (Breaks::Changes, StoreErrorKind::SourceChanged),
            (Breaks::Shrinks(0), StoreErrorKind::SourceChanged),
            (Breaks::Shrinks(size - 1), StoreErrorKind::SourceChanged),
            (Breaks::Fails(0), StoreErrorKind::SourceRead),
            (Breaks::Fails(size - 1), StoreErrorKind::SourceRead),
        ] {
            for known in [None, Some([7; 16])] {
                let script = Script::broken(vec![9; usize::try_from(size).unwrap()], breaks);
                fails(subject, script, known, kind).await;
            }
        }
    }
    // A store that knows no digests, as crypt, has nothing to compare it with.
    if subject.store.features().md5 {
        let other = Script::new(b"not what was hashed".to_vec());
        fails(subject, other, Some([7; 16]), StoreErrorKind::SourceChanged).await;
    }
}

async fn fails(subject: &Subject, script: Script, md5: Option<[u8; 16]>, kind: StoreErrorKind) {
    subject.put(b"fails/old", b"old content".to_vec()).await.unwrap();
    let before = subject.stat(b"fails/old").await;
    let later = volsync_common::time::Timestamp { secs: 1_800_000_000, nanos: 0 };
    for name in ["fails/old", "fails/new"] {
        let error = subject.put_as(name.as_bytes(), script.clone(), later, md5).await.unwrap_err();
        assert_eq!(error.kind, kind, "{name}: {error}");
    }
    assert_eq!(subject.stat(b"fails/old").await, before);
    assert_eq!(subject.get(b"fails/old").await.unwrap(), b"old content");
    assert_eq!(subject.names(b"fails/").await, [b"fails/old"]);
}

/// Objects stay whatever their age; what an interrupted write left moments ago may still be in use.
pub async fn cleaning_up_leaves_what_is_young(subject: &Subject) {
    let old = volsync_common::time::Timestamp { secs: 0, nanos: 0 };
    subject.put_as(b"clean/old", Script::new(b"x".to_vec()), old, None).await.unwrap();
    assert_eq!(subject.store.clean_up().await.unwrap(), 0);
    assert_eq!(subject.get(b"clean/old").await.unwrap(), b"x");
}
