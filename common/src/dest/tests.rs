use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;

fn rel(path: &str) -> RelPath {
    RelPath::new(path.as_bytes()).unwrap()
}

const AT: Timestamp = Timestamp { secs: 1_234_567_890, nanos: 123_456_789 };
const META: CommitMeta = CommitMeta { mtime: AT, mode: None };

fn both(test: impl Fn(&Path, Dest)) {
    for strategy in [Strategy::Kernel, Strategy::Elements] {
        let temp = tempfile::tempdir().unwrap();
        test(temp.path(), Dest::open(temp.path(), DestOptions { strategy }).unwrap());
    }
}

#[test]
fn a_file_gets_its_name_with_content_time_and_mode() {
    both(|at, dest| {
        dest.make_dir_all(&rel("a/b")).unwrap();
        let temp = dest.create(&rel("a/b/f"), 6).unwrap();
        temp.write_at(3, b"def").unwrap();
        temp.write_at(0, b"abc").unwrap();
        assert!(!at.join("a/b/f").exists());
        temp.commit(META, true).unwrap();
        let meta = std::fs::metadata(at.join("a/b/f")).unwrap();
        assert_eq!(std::fs::read(at.join("a/b/f")).unwrap(), b"abcdef");
        assert_eq!((meta.mtime(), meta.mtime_nsec(), meta.atime()), (AT.secs, i64::from(AT.nanos), AT.secs));
        assert_eq!(meta.mode() & 0o7777, 0o666 & !umask());
        dest.create(&rel("g"), 0).unwrap().commit(CommitMeta { mode: Some(0o4711), ..META }, false).unwrap();
        assert_eq!(std::fs::metadata(at.join("g")).unwrap().mode() & 0o7777, 0o4711);
        assert_eq!(std::fs::read_dir(at).unwrap().count(), 2);
    });
}

#[test]
fn what_is_missing_of_the_directory_is_made_below_what_exists() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("real")).unwrap();
    symlink("real", temp.path().join("link")).unwrap();
    std::fs::write(temp.path().join("file"), b"").unwrap();
    for path in ["link", "link/a/b", "link/a/b/"] {
        Dest::open_or_make(&temp.path().join(path), DestOptions::default()).unwrap();
    }
    assert!(temp.path().join("real/a/b").is_dir());
    for path in ["file", "file/below"] {
        let error = Dest::open_or_make(&temp.path().join(path), DestOptions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{path}");
    }
    assert!(Dest::open_or_make(Path::new("."), DestOptions::default()).is_ok());
}

#[test]
fn a_dropped_file_leaves_nothing_and_the_old_one_stays() {
    both(|at, dest| {
        std::fs::write(at.join("f"), b"old").unwrap();
        let temp = dest.create(&rel("f"), 3).unwrap();
        temp.write_at(0, b"new").unwrap();
        drop(temp);
        drop(dest.create(&rel("f"), 3).unwrap().seal(META).unwrap());
        assert_eq!(std::fs::read_dir(at).unwrap().count(), 1);
        assert_eq!(std::fs::read(at.join("f")).unwrap(), b"old");
    });
}

#[test]
fn a_planted_link_is_refused_as_a_directory_and_replaced_as_a_file() {
    both(|at, dest| {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("f"), b"theirs").unwrap();
        symlink(outside.path(), at.join("d")).unwrap();
        symlink(outside.path().join("f"), at.join("f")).unwrap();
        assert!(dest.create(&rel("d/x"), 0).is_err());
        assert!(dest.remove_file(&rel("d/f")).is_err() && dest.set_mtime(&rel("d/f"), AT).is_err());
        assert!(dest.symlink(&rel("d/l"), b"x").is_err() && dest.stat(&rel("d/f")).unwrap().is_none());
        assert!(matches!(dest.make_dir_all(&rel("d/e")), Err(MakeDirError::InTheWay(path)) if path == rel("d")));
        assert!(matches!(dest.make_dir_all(&rel("f")), Err(MakeDirError::InTheWay(path)) if path == rel("f")));
        dest.create(&rel("f"), 0).unwrap().commit(META, false).unwrap();
        assert!(std::fs::symlink_metadata(at.join("f")).unwrap().is_file());
        assert_eq!(std::fs::read(outside.path().join("f")).unwrap(), b"theirs");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    });
}

#[test]
fn removing_tells_whether_there_was_something() {
    both(|_, dest| {
        dest.make_dir_all(&rel("a/b")).unwrap();
        dest.symlink(&rel("l"), b"no\xffwhere").unwrap();
        assert_eq!(dest.stat(&rel("l")).unwrap().unwrap().0, Kind::Symlink);
        dest.set_mtime(&rel("l"), AT).unwrap();
        assert_eq!(dest.stat(&rel("l")).unwrap().unwrap().1.mtime, AT);
        let results = [dest.remove_dir(&rel("a")), dest.remove_dir(&rel("a/b")), dest.remove_dir(&rel("a"))];
        assert_eq!(results.map(Result::unwrap), [false, true, true]);
        let results = [dest.remove_dir(&rel("a")), dest.remove_file(&rel("l")), dest.remove_file(&rel("l"))];
        assert_eq!(results.map(Result::unwrap), [false, true, false]);
    });
}

#[test]
fn a_link_takes_the_place_of_a_file_or_link_and_of_nothing_else() {
    both(|at, dest| {
        std::fs::write(at.join("f"), b"old").unwrap();
        std::fs::create_dir(at.join("d")).unwrap();
        for target in [&b"no\xffwhere"[..], b"d"] {
            dest.replace_with_link(&rel("f"), target, AT).unwrap();
            assert_eq!(dest.root().read_link(&rel("f")).unwrap(), target);
            assert_eq!(dest.stat(&rel("f")).unwrap().unwrap().1.mtime, AT);
        }
        assert!(dest.replace_with_link(&rel("d"), b"x", AT).is_err());
        assert!(dest.replace_with_link(&rel("f/x"), b"x", AT).is_err());
        assert_eq!(std::fs::read_dir(at).unwrap().count(), 2);
        assert_eq!(std::fs::read_dir(at.join("d")).unwrap().count(), 0);
    });
}

#[test]
fn zeros_become_holes_unless_they_replace_something() {
    both(|at, dest| {
        for size in [512 * 1024, 8 * 1024 * 1024] {
            let temp = dest.create(&rel("f"), size).unwrap();
            let content = vec![0; usize::try_from(size).unwrap()];
            temp.write_at(0, &content).unwrap();
            temp.commit(META, true).unwrap();
            let meta = std::fs::metadata(at.join("f")).unwrap();
            assert_eq!((meta.len(), meta.blocks()), (size, 0));
            let temp = dest.create(&rel("f"), size).unwrap();
            temp.write_at(100_000, &vec![7; 300_000]).unwrap();
            temp.write_at(0, &content).unwrap();
            temp.write_at(size - 1, b"x").unwrap();
            assert_eq!(temp.write_at(size, b"x").unwrap_err().kind(), io::ErrorKind::InvalidInput);
            assert!(temp.write_at(u64::MAX, b"x").is_err());
            temp.commit(META, false).unwrap();
            let read = std::fs::read(at.join("f")).unwrap();
            assert!(read.len() == content.len() && read[..read.len() - 1].iter().all(|b| *b == 0));
            assert_eq!(read.last(), Some(&b'x'));
        }
    });
}

#[test]
fn a_batch_names_every_file_and_a_failure_stays_alone() {
    both(|at, dest| {
        std::fs::create_dir_all(at.join("taken/x")).unwrap();
        let sealed: Vec<_> = ["a", "taken", "b"]
            .map(|name| {
                let temp = dest.create(&rel(name), 1).unwrap();
                temp.write_at(0, &name.as_bytes()[..1]).unwrap();
                temp.seal(META).unwrap()
            })
            .into();
        let results = dest.commit_batch(sealed).unwrap();
        assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(std::fs::read(at.join("b")).unwrap(), b"b");
        assert_eq!(std::fs::read_dir(at).unwrap().count(), 3);
    });
}

#[test]
fn names_may_be_as_long_as_the_file_system_takes_them() {
    both(|_, dest| {
        dest.create(&rel(&"n".repeat(255)), 0).unwrap().commit(META, false).unwrap();
        let error = dest.create(&rel(&"n".repeat(256)), 0).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NAMETOOLONG));
        assert!(dest.create(&rel("f"), u64::MAX).is_err());
    });
}

#[test]
fn extended_attributes_are_listed_of_a_name_itself_however_many_there_are() {
    both(|at, dest| {
        for name in ["none", "few", "many"] {
            std::fs::write(at.join(name), name).unwrap();
        }
        symlink("few", at.join("link")).unwrap();
        let set = |name: &str, key: &str| {
            rustix::fs::setxattr(at.join(name), key, b"v", rustix::fs::XattrFlags::empty()).unwrap();
        };
        set("few", "user.b");
        let keys: Vec<String> = (0..40).map(|n| format!("user.number-{n:02}")).collect();
        for key in &keys {
            set("many", key);
        }
        let dir = dest.directory(None).unwrap();
        let names = |name: &[u8]| {
            let mut names = dir.xattr_names(name).unwrap();
            names.retain(|name| name.starts_with(b"user."));
            names.sort();
            names
        };
        assert_eq!((names(b"none"), names(b"few"), names(b"link")), (vec![], vec![b"user.b".to_vec()], vec![]));
        assert_eq!(names(b"many"), keys.iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(dir.xattr_names(b"gone").unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}
