//! A directory that cannot be left: where files of a restore are created, replaced and removed.
//!
//! Every operation takes a path below the directory and refuses to go through a link ([`Root`]). Content is written to
//! a temporary file beside its place and gets its name only when it is complete ([`Temp`]): alone and flushed by
//! [`Temp::commit`], or many at once by [`Dest::commit_batch`], which flushes the file system once for all of them.
//!
//! **Guarantee** of a flushed commit and of a batch: after a crash of the machine a name leads to the old content or
//! to the whole new content, never to content that was not on disk when the name was given. Ext4, XFS and btrfs write
//! sizes and names before data when they may: a rename alone leaves full-size files of zeros.

mod directory;
mod temp;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::path::RelPath;
use crate::root::{Root, Strategy, is_in_the_way};
use crate::time::Timestamp;
use crate::walk::{Kind, Stat};
pub use directory::{Directory, Staged};
pub use temp::{CommitMeta, Sealed, Temp, is_temp_name};

/// How a [`Dest`] works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestOptions {
    /// How paths are resolved; [`Strategy::Kernel`] unless a test says otherwise.
    pub strategy: Strategy,
}

impl Default for DestOptions {
    fn default() -> Self {
        Self { strategy: Strategy::Kernel }
    }
}

/// Why [`Dest::make_dir_all`] failed.
#[derive(Debug, thiserror::Error)]
pub enum MakeDirError {
    /// A file or link stands where a directory is needed; the caller may remove it and try again.
    #[error("{0} is not a directory")]
    InTheWay(RelPath),
    /// Anything else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<MakeDirError> for io::Error {
    fn from(error: MakeDirError) -> Self {
        match error {
            MakeDirError::Io(error) => error,
            in_the_way @ MakeDirError::InTheWay(_) => Self::other(in_the_way),
        }
    }
}

/// A directory to restore into.
#[derive(Clone, Debug)]
pub struct Dest(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    root: Root,
    stat: Stat,
    /// What the process takes away from the mode of new files.
    umask: u32,
    /// The first failure of `syncfs`. The kernel tells a failed write-back once per descriptor: whoever asks next must
    /// hear it too.
    flush: Mutex<Option<Errno>>,
}

impl Dest {
    /// Opens the directory `path`; links on the way to it are followed.
    pub fn open(path: &Path, options: DestOptions) -> io::Result<Self> {
        let root = Root::open(path, options.strategy)?;
        let stat = Stat::of(&root)?;
        Ok(Self(Arc::new(Shared { root, stat, umask: umask(), flush: Mutex::default() })))
    }

    /// [`Dest::open`], after making the directory and those above it as far as they are missing.
    pub fn open_or_make(path: &Path, options: DestOptions) -> io::Result<Self> {
        for above in path.ancestors() {
            let here = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            let dest = match Self::open(here, options) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let missing = path.strip_prefix(above).map_err(io::Error::other)?.as_os_str().as_encoded_bytes();
            if missing.is_empty() {
                return Ok(dest);
            }
            dest.make_dir_all(&RelPath::new(missing).map_err(io::Error::other)?)?;
            return Self::open(path, options);
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// The directory itself, for reading below it.
    pub fn root(&self) -> &Root {
        &self.0.root
    }

    /// Creates the directory `path` and those above it as far as they are missing (mode 0777 less the umask).
    pub fn make_dir_all(&self, path: &RelPath) -> Result<(), MakeDirError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if self.0.root.open_at(Some(path), flags, Mode::empty()).is_ok() {
            return Ok(());
        }
        let mut at = self.0.root.open_at(None, flags, Mode::empty())?;
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(end, _)| end);
        let mut start = 0;
        for end in ends.chain([path.len()]) {
            let name = &path[start..end];
            start = end + 1;
            match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(MakeDirError::Io(error.into())),
            }
            at = match rustix::fs::openat(&at, name, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(in_the_way(&path[..end])),
                Err(error) => return Err(MakeDirError::Io(error.into())),
            };
        }
        Ok(())
    }

    /// Begins a file of `size` bytes that will be called `path`. Its directory must exist.
    pub fn create(&self, path: &RelPath, size: u64) -> io::Result<Temp> {
        Temp::create(self, path, size)
    }

    /// Gives all these files their names after flushing the file system once. If the flush fails none gets its name
    /// and all are removed; a rename that fails fails alone. One result per file, in order.
    pub fn commit_batch(&self, files: Vec<Sealed>) -> io::Result<Vec<io::Result<()>>> {
        self.sync_fs()?;
        Ok(files.into_iter().map(Sealed::publish).collect())
    }

    /// Removes what is not a directory; whether there was something.
    pub fn remove_file(&self, path: &RelPath) -> io::Result<bool> {
        self.unlink(path, AtFlags::empty())
    }

    /// Removes an empty directory; `false` if it holds something or is not there.
    pub fn remove_dir(&self, path: &RelPath) -> io::Result<bool> {
        match self.unlink(path, AtFlags::REMOVEDIR) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            // POSIX lets a file system say this instead.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other,
        }
    }

    fn unlink(&self, path: &RelPath, flags: AtFlags) -> io::Result<bool> {
        let result = self.0.root.parent(path).and_then(|dir| Ok(rustix::fs::unlinkat(dir, path.name(), flags)?));
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the modification and access time of what stands at `path`, a link itself if it is one.
    pub fn set_mtime(&self, path: &RelPath, mtime: Timestamp) -> io::Result<()> {
        let dir = self.0.root.parent(path)?;
        Ok(rustix::fs::utimensat(dir, path.name(), &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Creates a symbolic link with these bytes as its target; something at `path` is an error.
    pub fn symlink(&self, path: &RelPath, target: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, self.0.root.parent(path)?, path.name())?)
    }

    /// Puts a symbolic link with these bytes as its target at `path`, in the place of a file or link that stands there.
    /// Nobody sees the path without the old or the new one.
    pub fn replace_with_link(&self, path: &RelPath, target: &[u8], mtime: Timestamp) -> io::Result<()> {
        temp::link(self, path, target, mtime)
    }

    /// What stands at `path`, `None` if nothing does (also when the way to it is not a directory).
    pub fn stat(&self, path: &RelPath) -> io::Result<Option<(Kind, Stat)>> {
        match self.0.root.parent(path).and_then(|dir| Stat::at(dir, path.name())) {
            Ok(stat) => Ok(Some((stat.kind(), stat))),
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_in_the_way(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether an entry is on the file system of the directory itself.
    pub fn same_file_system(&self, stat: &Stat) -> bool {
        stat.dev == self.0.stat.dev
    }

    /// Writes everything on this file system to the disk. After one failure every later call fails too. Kernels
    /// before 5.8 do not report failed write-back here.
    pub fn sync_fs(&self) -> io::Result<()> {
        let mut failed = self.0.flush.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_none() {
            *failed = rustix::fs::syncfs(&self.0.root).err();
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl AsFd for Dest {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.root.as_fd()
    }
}

fn in_the_way(path: &[u8]) -> MakeDirError {
    match RelPath::new(path) {
        Ok(path) => MakeDirError::InTheWay(path),
        Err(error) => MakeDirError::Io(io::Error::other(error)),
    }
}

pub(crate) fn timestamps(mtime: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// The umask, read without changing it where /proc is there: setting it would race with other threads.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or_else(|| {
        let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        mask.as_raw_mode()
    })
}

#[cfg(test)]
mod tests;
