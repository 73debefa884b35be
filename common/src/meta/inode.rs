//! One regular file or directory, pinned by a descriptor, whose attributes are read and set.
//!
//! The descriptor is opened with `O_PATH`: that needs no permission on the file, blocks on nothing, and shows a link
//! as a link. Calls that do not take such descriptors go through `/proc/self/fd/N`, which leads to exactly the pinned
//! inode. Without /proc the file is opened for reading instead.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::acl::Acl;
use crate::path::RelPath;
use crate::root::{Root, is_in_the_way};
use crate::time::Timestamp;
use crate::walk::{Kind, Stat};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// The largest value of an extended attribute (Linux XATTR_SIZE_MAX).
const XATTR_MAX: usize = 64 * 1024;

/// The access list and, for directories, the default list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acls {
    /// Who may do what.
    pub access: Acl,
    /// What new entries of a directory get.
    pub default: Option<Acl>,
}

/// A regular file or a directory, by a descriptor that is its own or a borrowed one.
#[derive(Debug)]
pub struct Inode<F = OwnedFd> {
    fd: F,
    stat: Stat,
    /// `/proc/self/fd/N`; `None` when `fd` is open for reading itself.
    by_proc: Option<String>,
}

impl Inode {
    /// Pins what is at `path` (`None`: the root); `None` if that is neither a regular file nor a directory, or if a
    /// link is in the way.
    pub fn open(root: &Root, path: Option<&RelPath>) -> io::Result<Option<Self>> {
        let fd = match root.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => fd,
            Err(error) if is_in_the_way(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = Stat::of(&fd)?;
        if !matches!(stat.kind(), Kind::File | Kind::Directory) {
            return Ok(None);
        }
        let by_proc = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let inode = Self { fd, stat, by_proc: Some(by_proc) };
        if has_proc() { Ok(Some(inode)) } else { inode.for_reading(root, path).map(Some) }
    }

    /// Pins `name` in the directory `dir`, whatever it is; a link itself.
    pub fn at(dir: impl AsFd, name: &[u8]) -> io::Result<Self> {
        let fd = rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let stat = Stat::of(&fd)?;
        let by_proc = Some(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        Ok(Self { fd, stat, by_proc })
    }

    fn for_reading(self, root: &Root, path: Option<&RelPath>) -> io::Result<Self> {
        let fd = root.open_at(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty())?;
        let stat = Stat::of(&fd)?;
        if !stat.same_inode(&self.stat) {
            return Err(io::Error::other("it was replaced while it was looked at"));
        }
        Ok(Self { fd, stat, by_proc: None })
    }
}

impl<F: AsFd> Inode<F> {
    /// Takes what is open for reading or writing.
    pub fn of(fd: F) -> io::Result<Self> {
        let stat = Stat::of(&fd)?;
        Ok(Self { fd, stat, by_proc: None })
    }

    /// Its attributes as read last.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Reads the attributes again.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.stat = Stat::of(&self.fd)?;
        Ok(())
    }

    /// Its access lists; from the mode where the file system has none.
    pub fn acls(&self) -> io::Result<Acls> {
        let access = self.list(ACCESS)?.unwrap_or_else(|| Acl::from_mode(self.stat.mode));
        let default = if self.stat.kind() == Kind::Directory { self.list(DEFAULT)? } else { None };
        Ok(Acls { access, default })
    }

    /// Names of all extended attributes, those of access lists among them; none where the file system has none.
    pub fn xattr_names(&self) -> io::Result<Vec<Vec<u8>>> {
        let read = |buffer: &mut [u8]| match &self.by_proc {
            Some(path) => rustix::fs::listxattr(path, buffer),
            None => rustix::fs::flistxattr(&self.fd, buffer),
        };
        let list = match growing(read) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Vec::new(),
            other => other?,
        };
        Ok(list.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// The value of an extended attribute, `None` if there is none of the name.
    pub fn xattr(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let read = |buffer: &mut [u8]| match &self.by_proc {
            Some(path) => rustix::fs::getxattr(path, name, buffer),
            None => rustix::fs::fgetxattr(&self.fd, name, buffer),
        };
        match growing(read) {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets an extended attribute.
    pub fn set_xattr(&self, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        match &self.by_proc {
            Some(path) => rustix::fs::setxattr(path, name, value, XattrFlags::empty()),
            None => rustix::fs::fsetxattr(&self.fd, name, value, XattrFlags::empty()),
        }
    }

    /// Removes an extended attribute; one that is not there is as good as removed.
    pub fn remove_xattr(&self, name: &[u8]) -> rustix::io::Result<()> {
        let removed = match &self.by_proc {
            Some(path) => rustix::fs::removexattr(path, name),
            None => rustix::fs::fremovexattr(&self.fd, name),
        };
        if removed == Err(Errno::NODATA) { Ok(()) } else { removed }
    }

    /// Sets modification and access time.
    pub fn set_times(&self, mtime: Timestamp) -> rustix::io::Result<()> {
        let times = crate::dest::timestamps(mtime);
        match &self.by_proc {
            Some(path) => rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()),
            None => rustix::fs::futimens(&self.fd, &times),
        }
    }

    fn list(&self, name: &str) -> io::Result<Option<Acl>> {
        // Most files have none, and nearly all lists are short.
        let mut small = [0; 256];
        match self.get(name, &mut small) {
            Ok(len) => decode(&small[..len]),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
            Err(Errno::RANGE) => {
                let mut large = vec![0; XATTR_MAX];
                let len = self.get(name, &mut large)?;
                decode(&large[..len])
            }
            Err(error) => Err(error.into()),
        }
    }

    fn get(&self, name: &str, value: &mut [u8]) -> rustix::io::Result<usize> {
        match &self.by_proc {
            Some(path) => rustix::fs::getxattr(path, name, value),
            None => rustix::fs::fgetxattr(&self.fd, name, value),
        }
    }

    /// Sets the access list.
    pub fn set_access(&self, acl: &Acl) -> rustix::io::Result<()> {
        self.set_xattr(ACCESS.as_bytes(), &acl.to_xattr())
    }

    /// Sets or removes the default list of a directory.
    pub fn set_default(&self, acl: Option<&Acl>) -> rustix::io::Result<()> {
        match acl {
            Some(acl) => self.set_xattr(DEFAULT.as_bytes(), &acl.to_xattr()),
            None => self.remove_xattr(DEFAULT.as_bytes()),
        }
    }

    /// Sets permission and special bits.
    pub fn chmod(&self, mode: u32) -> rustix::io::Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        match &self.by_proc {
            Some(path) => rustix::fs::chmod(path, mode),
            None => rustix::fs::fchmod(&self.fd, mode),
        }
    }

    /// Sets owner and group.
    pub fn chown(&self, uid: u32, gid: u32) -> rustix::io::Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(self.fd.as_fd(), c"", uid, gid, AtFlags::EMPTY_PATH)
    }
}

/// Calls `read` with more and more room, up to the most the kernel gives.
fn growing(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 256];
    match read(&mut small) {
        Ok(len) => return Ok(small[..len].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut large = vec![0; XATTR_MAX];
    let len = read(&mut large)?;
    large.truncate(len);
    Ok(large)
}

fn decode(value: &[u8]) -> io::Result<Option<Acl>> {
    // A default list that was removed may be left empty.
    if value.is_empty() {
        return Ok(None);
    }
    Acl::from_xattr(value).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Whether /proc is mounted; it does not come or go while we run.
fn has_proc() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS.get_or_init(|| rustix::fs::access("/proc/self/fd", rustix::fs::Access::EXEC_OK).is_ok())
}
