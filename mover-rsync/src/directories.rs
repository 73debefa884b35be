//! Open directories of a tree. Files come directory by directory, so a few of them serve nearly all.

use std::io;

use volsync_common::dest::{Dest, Directory};
use volsync_common::path::RelPath;

/// Directories that stay open: those on the way down and the ones used last.
const OPEN: usize = 16;

/// Opens directories and keeps the ones used last, the most recent one first.
#[derive(Debug)]
pub(crate) struct Directories {
    dest: Dest,
    recent: Vec<(Vec<u8>, Directory)>,
}

impl Directories {
    pub(crate) fn new(dest: Dest) -> Self {
        Self { dest, recent: Vec::with_capacity(OPEN + 1) }
    }

    /// The directory `path`, `.` for the root of the tree.
    pub(crate) fn open(&mut self, path: &[u8]) -> io::Result<Directory> {
        if let Some(at) = self.recent.iter().position(|(known, _)| known == path) {
            self.recent[..=at].rotate_right(1);
            return Ok(self.recent[0].1.clone());
        }
        let dir = if path == b"." {
            self.dest.directory(None)?
        } else {
            self.dest.directory(Some(&RelPath::new(path).map_err(io::Error::other)?))?
        };
        self.recent.insert(0, (path.to_vec(), dir.clone()));
        self.recent.truncate(OPEN);
        Ok(dir)
    }

    /// The directory in which `path` is a name, and the name; the root is `.` in itself.
    pub(crate) fn parent<'a>(&mut self, path: &'a [u8]) -> io::Result<(Directory, &'a [u8])> {
        let (parent, name) = split(path);
        Ok((self.open(parent)?, name))
    }

    /// Forgets what was removed, and everything below it.
    pub(crate) fn forget(&mut self, path: &[u8]) {
        self.recent.retain(|(known, _)| {
            !known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        });
    }
}

/// A path as its directory (`.` at the top) and its name there.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b".", path),
    }
}

/// The path of `name` in a directory.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir == b"." { name.to_vec() } else { [dir, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use volsync_common::dest::DestOptions;

    #[test]
    fn directories_are_found_again_until_they_are_forgotten() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("a/b")).unwrap();
        std::fs::create_dir(temp.path().join("ab")).unwrap();
        let mut dirs = Directories::new(Dest::open(temp.path(), DestOptions::default()).unwrap());
        for path in [&b"."[..], b"a", b"a/b", b"ab", b"a"] {
            dirs.open(path).unwrap();
        }
        assert_eq!((dirs.recent.len(), &dirs.recent[0].0[..]), (4, &b"a"[..]));
        dirs.forget(b"a");
        let left: Vec<_> = dirs.recent.iter().map(|(path, _)| &path[..]).collect();
        assert_eq!(left, [&b"ab"[..], b"."]);
        assert_eq!(dirs.parent(b"a/b/c").unwrap().1, b"c");
    }

    #[test]
    fn paths_are_split_and_joined() {
        for (path, dir, name) in [("a/b/c", "a/b", "c"), ("a", ".", "a"), (".", ".", ".")] {
            assert_eq!(split(path.as_bytes()), (dir.as_bytes(), name.as_bytes()));
        }
        assert_eq!((join(b".", b"a"), join(b"a", b"b")), (b"a".to_vec(), b"a/b".to_vec()));
    }
}
