//! Directories of a walk: how they are opened, and opened again when too many are open.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::stat::Stat;

/// Directories that stay open at most, besides the root and those in use right now. Well below the usual limit of
/// 1,024 descriptors per process.
const OPEN: usize = 192;

/// A directory of the tree; it knows its ancestors, so that it can be opened again without any path length limit.
#[derive(Debug)]
pub(super) struct Dir {
    parent: Option<Arc<Dir>>,
    name: Box<[u8]>,
    /// Relative to the root, empty for the root.
    pub(super) path: Box<[u8]>,
    pub(super) stat: Stat,
    fd: Mutex<Option<Arc<OwnedFd>>>,
}

impl Dir {
    pub(super) fn root(fd: OwnedFd) -> io::Result<Self> {
        let stat = Stat::of(&fd)?;
        let fd = Mutex::new(Some(Arc::new(fd)));
        Ok(Self { parent: None, name: Box::default(), path: Box::default(), stat, fd })
    }

    /// Whether `stat` is this directory or one above it.
    pub(super) fn is_within(&self, stat: &Stat) -> bool {
        let mut dir = Some(self);
        while let Some(at) = dir {
            if at.stat.same_inode(stat) {
                return true;
            }
            dir = at.parent.as_deref();
        }
        false
    }

    fn kept(&self) -> Option<Arc<OwnedFd>> {
        self.fd.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, fd: Option<Arc<OwnedFd>>) {
        *self.fd.lock().unwrap_or_else(PoisonError::into_inner) = fd;
    }
}

impl Drop for Dir {
    /// Frees a long chain of ancestors without recursion.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut dir) = parent.and_then(Arc::into_inner) {
            parent = dir.parent.take();
        }
    }
}

/// Opens directories and closes those that were opened longest ago.
#[derive(Debug)]
pub(super) struct Opener {
    follow_links: bool,
    open: Mutex<VecDeque<Weak<Dir>>>,
}

impl Opener {
    pub(super) fn new(follow_links: bool) -> Self {
        Self { follow_links, open: Mutex::default() }
    }

    /// Opens the directory `name` in `parent` for the first time.
    pub(super) fn enter(&self, parent: &Arc<Dir>, name: &[u8], path: Box<[u8]>) -> io::Result<Arc<Dir>> {
        let above = self.fd(parent)?;
        let fd = self.open_below(above.as_fd(), name)?;
        let stat = Stat::of(&fd)?;
        let fd = Mutex::new(Some(Arc::new(fd)));
        let dir = Arc::new(Dir { parent: Some(parent.clone()), name: name.into(), path, stat, fd });
        self.opened(&dir);
        Ok(dir)
    }

    /// The descriptor of `dir`, opened again from its nearest open ancestor if it was closed.
    pub(super) fn fd(&self, dir: &Arc<Dir>) -> io::Result<Arc<OwnedFd>> {
        let mut closed = Vec::new();
        let mut at = dir;
        let mut fd = loop {
            if let Some(fd) = at.kept() {
                break fd;
            }
            closed.push(at);
            at = at.parent.as_ref().ok_or(Errno::BADF)?;
        };
        for dir in closed.into_iter().rev() {
            fd = self.reopen(fd.as_fd(), dir)?;
        }
        Ok(fd)
    }

    fn reopen(&self, above: BorrowedFd<'_>, dir: &Arc<Dir>) -> io::Result<Arc<OwnedFd>> {
        let fd = self.open_below(above, &dir.name)?;
        if !Stat::of(&fd)?.same_inode(&dir.stat) {
            return Err(io::Error::other("the directory was replaced while it was read"));
        }
        let fd = Arc::new(fd);
        dir.keep(Some(fd.clone()));
        self.opened(dir);
        Ok(fd)
    }

    fn open_below(&self, above: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
        let nofollow = if self.follow_links { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK | nofollow;
        rustix::fs::openat(above, name, flags, Mode::empty())
    }

    fn opened(&self, dir: &Arc<Dir>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back(Arc::downgrade(dir));
        while open.len() > OPEN {
            if let Some(oldest) = open.pop_front().and_then(|dir| dir.upgrade()) {
                oldest.keep(None);
            }
        }
    }
}
