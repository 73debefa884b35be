//! A directory that cannot be left: every path is resolved below it, and no link in it is followed.
//!
//! `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)` does that in one call. Where it is missing (kernels before 5.6,
//! seccomp filters that do not know it) or cannot take the path (longer than PATH_MAX), the path is walked element by
//! element with `O_NOFOLLOW`, which refuses the same things.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::path::RelPath;
use crate::walk::Stat;

/// How a path below a [`Root`] is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// `openat2` with the kernel's own guarantee; falls back to [`Strategy::Elements`] where it is not available.
    Kernel,
    /// One `openat(O_NOFOLLOW)` per element.
    Elements,
    /// As the kernel always did, through links: only for sources that the user asked to follow links in.
    FollowLinks,
}

/// An open directory, shared by everything that works below it.
#[derive(Clone, Debug)]
pub struct Root(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    fd: OwnedFd,
    strategy: Strategy,
    /// `openat2` said that it does not exist; not asked again.
    no_openat2: AtomicBool,
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Root {
    /// Opens `path`, whose own links are followed: the user named it.
    pub fn open(path: &Path, strategy: Strategy) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::new(rustix::fs::openat(CWD, path, flags, Mode::empty())?, strategy))
    }

    /// Wraps a directory that is open already (not with `O_PATH`: it is also what `syncfs` is asked on).
    pub fn new(fd: OwnedFd, strategy: Strategy) -> Self {
        Self(Arc::new(Shared { fd, strategy, no_openat2: AtomicBool::new(false) }))
    }

    /// Opens `path` with `flags`; `None` is the root itself.
    pub fn open_at(&self, path: Option<&RelPath>, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        match path {
            None => Ok(rustix::fs::openat(&self.0.fd, c".", flags, mode)?),
            Some(path) => Ok(self.resolve(path, flags, mode)?),
        }
    }

    /// Opens the directory that holds `path`, for calls that take a directory and a name (`O_PATH`).
    pub fn parent(&self, path: &RelPath) -> io::Result<OwnedFd> {
        match path.parent() {
            None => Ok(rustix::fs::openat(&self.0.fd, c".", DIRECTORY, Mode::empty())?),
            Some(parent) => Ok(self.resolve(parent, DIRECTORY, Mode::empty())?),
        }
    }

    /// Attributes of what stands at `path`: of a link itself, but with [`Strategy::FollowLinks`] of what it leads to. No
    /// permission on the file itself is needed.
    pub fn stat(&self, path: &RelPath) -> io::Result<Stat> {
        match self.0.strategy {
            Strategy::FollowLinks => Stat::of(self.resolve(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?),
            Strategy::Kernel | Strategy::Elements => Stat::at(self.parent(path)?, path.name()),
        }
    }

    /// The target of the symbolic link at `path`, as its bytes.
    pub fn read_link(&self, path: &RelPath) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(self.parent(path)?, path.name(), Vec::new())?.into_bytes())
    }

    fn resolve(&self, path: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        match self.0.strategy {
            Strategy::Kernel => self.by_kernel(path, flags, mode),
            Strategy::Elements => self.by_elements(path, flags, mode),
            Strategy::FollowLinks => rustix::fs::openat(&self.0.fd, path, flags, mode),
        }
    }

    fn by_kernel(&self, path: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        if self.0.no_openat2.load(Ordering::Relaxed) {
            return self.by_elements(path, flags, mode);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.0.fd, path, flags, mode, resolve) {
            Err(Errno::NOSYS) => self.0.no_openat2.store(true, Ordering::Relaxed),
            // EPERM: a seccomp filter, or O_NOATIME on another user's file. EAGAIN: a rename raced. E2BIG, EINVAL: a
            // kernel that knows less. The walk by elements gives the definite answer.
            Err(Errno::PERM | Errno::AGAIN | Errno::TOOBIG | Errno::INVAL | Errno::NAMETOOLONG | Errno::XDEV) => {}
            definite => return definite,
        }
        self.by_elements(path, flags, mode)
    }

    fn by_elements(&self, path: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let mut at: Option<OwnedFd> = None;
        let mut elements = path.split(|b| *b == b'/').peekable();
        while let Some(element) = elements.next() {
            let from = at.as_ref().map_or(self.0.fd.as_fd(), AsFd::as_fd);
            let last = elements.peek().is_none();
            let (flags, mode) = if last { (flags, mode) } else { (DIRECTORY, Mode::empty()) };
            at = Some(rustix::fs::openat(from, element, flags | OFlags::NOFOLLOW, mode)?);
        }
        at.ok_or(Errno::NOENT)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

/// Whether an error of resolving a path means that a file or a link stands where a directory should be.
pub fn is_in_the_way(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::NOTDIR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::Kind;

    fn rel(path: &str) -> RelPath {
        RelPath::new(path.as_bytes()).unwrap()
    }

    #[test]
    fn both_strategies_open_what_is_inside_and_refuse_links() {
        let temp = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), b"x").unwrap();
        std::fs::create_dir_all(temp.path().join("a/b")).unwrap();
        std::fs::write(temp.path().join("a/b/f"), b"f").unwrap();
        std::os::unix::fs::symlink(outside.path(), temp.path().join("a/link")).unwrap();
        std::os::unix::fs::symlink("b", temp.path().join("a/inner")).unwrap();
        std::os::unix::fs::symlink("f", temp.path().join("a/b/leaf")).unwrap();
        for strategy in [Strategy::Kernel, Strategy::Elements] {
            let root = Root::open(temp.path(), strategy).unwrap();
            let open = |path: &str| root.open_at(Some(&rel(path)), OFlags::RDONLY, Mode::empty());
            assert!(open("a/b/f").is_ok());
            for path in ["a/link/secret", "a/inner/f", "a/b/leaf", "a/b/f/x"] {
                assert!(is_in_the_way(&open(path).unwrap_err()), "{strategy:?} {path}");
                assert!(is_in_the_way(&root.parent(&rel(&format!("{path}/x"))).unwrap_err()), "{strategy:?} {path}");
            }
            assert_eq!(open("a/none/f").unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        let root = Root::open(temp.path(), Strategy::FollowLinks).unwrap();
        assert!(root.open_at(Some(&rel("a/link/secret")), OFlags::RDONLY, Mode::empty()).is_ok());
    }

    #[test]
    fn links_are_told_as_links_unless_they_are_followed() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("d")).unwrap();
        std::fs::write(temp.path().join("f"), b"four").unwrap();
        std::os::unix::fs::symlink("../f", temp.path().join("d/link")).unwrap();
        std::os::unix::fs::symlink("no\nwhere", temp.path().join("dangling")).unwrap();
        for strategy in [Strategy::Kernel, Strategy::Elements, Strategy::FollowLinks] {
            let root = Root::open(temp.path(), strategy).unwrap();
            assert_eq!(root.stat(&rel("f")).unwrap().size, 4);
            assert_eq!(root.read_link(&rel("d/link")).unwrap(), b"../f");
            assert_eq!(root.read_link(&rel("dangling")).unwrap(), b"no\nwhere");
            assert!(root.read_link(&rel("f")).is_err());
            let followed = strategy == Strategy::FollowLinks;
            let kind = if followed { Kind::File } else { Kind::Symlink };
            assert_eq!(root.stat(&rel("d/link")).unwrap().kind(), kind);
            assert_eq!(root.stat(&rel("dangling")).is_err(), followed);
        }
    }

    #[test]
    fn a_path_longer_than_path_max_is_reached_by_its_elements() {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path(), Strategy::Kernel).unwrap();
        let name = "d".repeat(200);
        let mut path = String::new();
        for _ in 0..30 {
            path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let parent = root.parent(&rel(&path)).unwrap();
            rustix::fs::mkdirat(parent, name.as_str(), Mode::from_raw_mode(0o755)).unwrap();
        }
        assert!(path.len() > 4096 && root.open_at(Some(&rel(&path)), OFlags::RDONLY, Mode::empty()).is_ok());
    }
}
