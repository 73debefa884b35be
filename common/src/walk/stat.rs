//! What a walk tells of each entry.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType};

use crate::time::Timestamp;

/// What an entry is, as far as callers treat it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link (never with `follow_links`).
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            _ => Self::Other,
        }
    }
}

/// The attributes of an entry as `stat` gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// File system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// When the content changed last.
    pub mtime: Timestamp,
    /// When anything changed last.
    pub ctime: Timestamp,
    /// When it was read last.
    pub atime: Timestamp,
    /// Which device, for device files.
    pub rdev: u64,
}

impl Stat {
    /// Of an open file or directory (`O_PATH` too).
    pub fn of(fd: impl AsFd) -> io::Result<Self> {
        Ok(rustix::fs::fstat(fd)?.into())
    }

    /// Of `name` in the directory `dir`; the link itself if it is one.
    pub fn at(dir: impl AsFd, name: &[u8]) -> io::Result<Self> {
        Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.into())
    }

    /// Of what `name` in `dir` leads to.
    pub(crate) fn through_links(dir: impl AsFd, name: &[u8]) -> io::Result<Self> {
        Ok(rustix::fs::statat(dir, name, AtFlags::empty())?.into())
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        FileType::from_raw_mode(self.mode).into()
    }

    /// Whether both are one inode.
    pub fn same_inode(&self, other: &Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }
}

impl From<rustix::fs::Stat> for Stat {
    #[allow(clippy::useless_conversion, reason = "the widths differ between architectures")]
    fn from(s: rustix::fs::Stat) -> Self {
        let time = |secs: i64, nanos: u64| Timestamp { secs, nanos: u32::try_from(nanos).unwrap_or(0) };
        Self {
            dev: s.st_dev.into(),
            ino: s.st_ino.into(),
            mode: s.st_mode,
            nlink: s.st_nlink.into(),
            uid: s.st_uid,
            gid: s.st_gid,
            size: u64::try_from(s.st_size).unwrap_or(0),
            mtime: time(s.st_mtime.into(), s.st_mtime_nsec.into()),
            ctime: time(s.st_ctime.into(), s.st_ctime_nsec.into()),
            atime: time(s.st_atime.into(), s.st_atime_nsec.into()),
            rdev: s.st_rdev.into(),
        }
    }
}
