//! Open directories of a tree. Files come directory by directory, so a few of them serve nearly all.

use std::io;

use volsync_common::dest::{Dest, Directory};
use volsync_common::path::RelPath;

/// Directories that stay open: those on the way down and the ones used last.
const OPEN: usize = 16;

/// The longest path that the kernel takes, without its NUL (Linux PATH_MAX).
const PATH_MAX: usize = 4095;

/// Opens directories and keeps the ones used last, the most recent one first.
#[derive(Debug)]
pub(crate) struct Directories {
    /// `None`: there is nothing, and nothing is made.
    dest: Option<Dest>,
    recent: Vec<(Vec<u8>, Directory)>,
}

impl Directories {
    pub(crate) fn new(dest: Option<Dest>) -> Self {
        Self { dest, recent: Vec::with_capacity(OPEN + 1) }
    }

    /// The directory `path`, `.` for the root of the tree.
    pub(crate) fn open(&mut self, path: &[u8]) -> io::Result<Directory> {
        if let Some(at) = self.recent.iter().position(|(known, _)| known == path) {
            self.recent[..=at].rotate_right(1);
            return Ok(self.recent[0].1.clone());
        }
        let dir = self.open_anew(path)?;
        self.recent.insert(0, (path.to_vec(), dir.clone()));
        self.recent.truncate(OPEN);
        Ok(dir)
    }

    /// Paths may be longer than the kernel takes at once: what is beyond goes name by name.
    fn open_anew(&self, path: &[u8]) -> io::Result<Directory> {
        let dest = self.dest.as_ref().ok_or(io::ErrorKind::NotFound)?;
        if path == b"." {
            return dest.directory(None);
        }
        let cut = match path.get(..PATH_MAX) {
            Some(head) => head.iter().rposition(|b| *b == b'/').unwrap_or(PATH_MAX),
            None => path.len(),
        };
        let (head, rest) = path.split_at(cut);
        let mut dir = dest.directory(Some(&RelPath::new(head).map_err(io::Error::other)?))?;
        for name in rest.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            dir = dir.enter(name)?;
        }
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

/// The name that a transfer of `path` begins with; `None` when the contents of a directory are meant: `dir/`, `dir/.`.
pub(crate) fn named(path: &[u8]) -> Option<&[u8]> {
    match split(path).1 {
        b"" | b"." | b".." => None,
        name => Some(name),
    }
}

/// The path below a volume, empty for the volume itself; `None` if it would lead out.
pub(crate) fn confined(path: &[u8]) -> Option<Vec<u8>> {
    let elements: Vec<_> = path.split(|b| *b == b'/').filter(|element| !matches!(*element, b"" | b".")).collect();
    if elements.contains(&&b".."[..]) { None } else { Some(elements.join(&b'/')) }
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
        let mut dirs = Directories::new(Dest::open(temp.path(), DestOptions::default()).ok());
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
    fn directories_deeper_than_any_path_are_opened() {
        let temp = tempfile::tempdir().unwrap();
        let dest = Dest::open(temp.path(), DestOptions::default()).unwrap();
        let mut dir = dest.directory(None).unwrap();
        for _ in 0..2100 {
            dir.make_dir(b"d", 0o755).unwrap();
            dir = dir.enter(b"d").unwrap();
        }
        dir.make_dir(b"bottom", 0o755).unwrap();
        let path = [&b"d/".repeat(2100)[..], b"bottom"].concat();
        let mut dirs = Directories::new(Some(dest));
        assert!(dirs.open(&path).is_ok() && dirs.open(&path[..path.len() - 1]).is_err());
        // The library would hold a descriptor for each level.
        assert!(std::process::Command::new("rm").arg("-rf").arg(temp.path()).status().unwrap().success());
    }

    #[test]
    fn paths_are_split_and_joined() {
        for (path, dir, name) in [("a/b/c", "a/b", "c"), ("a", ".", "a"), (".", ".", ".")] {
            assert_eq!(split(path.as_bytes()), (dir.as_bytes(), name.as_bytes()));
        }
        for (path, name) in
            [("a/b", Some("b")), ("a", Some("a")), ("a/", None), ("a/..", None), (".", None), ("", None)]
        {
            assert_eq!(named(path.as_bytes()), name.map(str::as_bytes), "{path}");
        }
        assert_eq!((join(b".", b"a"), join(b"a", b"b")), (b"a".to_vec(), b"a/b".to_vec()));
    }
}
