//! One directory of a [`Dest`], held open: what is done to the names in it, without resolving a path each time.
//!
//! Names are single elements; every call goes by the descriptor and follows no link. New things are made under a
//! temporary name and renamed, so that a name leads to the old thing or to the whole new one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::temp::temp_name;
use super::{Dest, timestamps};
use crate::meta::{Inode, list_at};
use crate::path::RelPath;
use crate::time::Timestamp;
use crate::walk::{Child, Kind, Stat, children};

/// An open directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Directory(Arc<OwnedFd>);

impl Dest {
    /// Opens the directory `path` (`None`: the destination itself).
    pub fn directory(&self, path: Option<&RelPath>) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let opened = match self.root().open_at(path, flags, Mode::empty()) {
            // One that may be entered but not read still takes files.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.root().open_at(path, flags | OFlags::PATH, Mode::empty())
            }
            other => other,
        };
        Ok(Directory(Arc::new(opened?)))
    }
}

impl Directory {
    /// What the name leads to; a link itself. `None` if nothing does.
    pub fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match Stat::at(&*self.0, name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The target of a link.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&*self.0, name, Vec::new())?.into_bytes())
    }

    /// What is in it.
    pub fn children(&self) -> io::Result<Vec<Child>> {
        // Its own offset, whoever else reads the shared descriptor.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        children(rustix::fs::openat(&*self.0, c".", flags, Mode::empty())?)
    }

    /// Whether there is nothing in it but what is called `but`.
    pub fn holds_only(&self, but: &[u8]) -> io::Result<bool> {
        for child in rustix::fs::Dir::read_from(&*self.0)? {
            let child = child?;
            let name = child.file_name().to_bytes();
            if ![b".", &b".."[..], but].contains(&name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Names of the extended attributes of what is called `name`, those of access lists among them; in one call where
    /// the kernel has one for that or /proc is there.
    pub fn xattr_names(&self, name: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut small = [0; 256];
        let listed = match list_at(self.0.as_fd(), name, &mut small) {
            Err(Errno::NOSYS) => {
                let path = [format!("/proc/self/fd/{}/", self.0.as_raw_fd()).as_bytes(), name].concat();
                rustix::fs::llistxattr(&path[..], &mut small)
            }
            other => other,
        };
        match listed {
            Ok(len) => {
                Ok(small[..len].split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Vec::new()),
            // More than fit, or no /proc.
            Err(Errno::RANGE | Errno::NOENT) => Inode::at(self, name)?.xattr_names(),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a directory in it.
    pub fn enter(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(Arc::new(rustix::fs::openat(&*self.0, name, flags, Mode::empty())?)))
    }

    /// Opens a regular file for reading; anything else is [`io::ErrorKind::InvalidInput`].
    pub fn open(&self, name: &[u8]) -> io::Result<(File, Stat)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&*self.0, name, flags, Mode::empty())?);
        let stat = Stat::of(&file)?;
        if stat.kind() != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file any more"));
        }
        Ok((file, stat))
    }

    /// Opens a regular file for reading and writing where it stands, or makes it, readable for the owner alone; anything
    /// else is [`io::ErrorKind::InvalidInput`].
    pub fn open_in_place(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = |flags, mode| rustix::fs::openat(&*self.0, name, flags, Mode::from_raw_mode(mode));
        let opened = match open(flags, 0) {
            Err(Errno::NOENT) => open(flags | OFlags::CREATE | OFlags::EXCL, 0o600),
            other => other,
        };
        let file = File::from(opened?);
        if Stat::of(&file)?.kind() != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file any more"));
        }
        Ok(file)
    }

    /// Makes a directory.
    pub fn make_dir(&self, name: &[u8], mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&*self.0, name, Mode::from_raw_mode(mode & 0o7777))?)
    }

    /// Removes what is not a directory; whether there was something.
    pub fn remove_file(&self, name: &[u8]) -> io::Result<bool> {
        self.unlink(name, AtFlags::empty())
    }

    /// Removes an empty directory; whether there was one.
    pub fn remove_dir(&self, name: &[u8]) -> io::Result<bool> {
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    fn unlink(&self, name: &[u8], flags: AtFlags) -> io::Result<bool> {
        match rustix::fs::unlinkat(&*self.0, name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets owner and group, of a link itself.
    pub fn chown(&self, name: &[u8], uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        Ok(rustix::fs::chownat(&*self.0, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets modification and access time, of a link itself.
    pub fn set_times(&self, name: &[u8], mtime: Timestamp) -> io::Result<()> {
        Ok(rustix::fs::utimensat(&*self.0, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Begins a regular file that will be called `name`, readable for the owner alone.
    pub fn create(&self, name: &[u8]) -> io::Result<Staged> {
        self.create_with(name, 0o600)
    }

    /// The same with these permission bits, as far as the process' umask leaves them.
    pub fn create_with(&self, name: &[u8], mode: u32) -> io::Result<Staged> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = |temp: &[u8]| rustix::fs::openat(&*self.0, temp, flags, Mode::from_raw_mode(mode & 0o777));
        let (fd, mut staged) = self.stage(name, made)?;
        staged.file = Some(File::from(fd));
        Ok(staged)
    }

    /// Makes a symbolic link that will be called `name`.
    pub fn create_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<Staged> {
        Ok(self.stage(name, |temp| rustix::fs::symlinkat(target, &*self.0, temp))?.1)
    }

    /// Makes a device, fifo or socket that will be called `name`; `mode` has its type.
    pub fn create_node(&self, name: &[u8], mode: u32, (major, minor): (u32, u32)) -> io::Result<Staged> {
        let (kind, bits) = (FileType::from_raw_mode(mode), Mode::from_raw_mode(mode & 0o7777));
        let dev = rustix::fs::makedev(major, minor);
        Ok(self.stage(name, |temp| rustix::fs::mknodat(&*self.0, temp, kind, bits, dev))?.1)
    }

    /// Makes another name of `other` in `there` that will be called `name`.
    pub fn create_link(&self, name: &[u8], there: &Self, other: &[u8]) -> io::Result<Staged> {
        let made = |temp: &[u8]| rustix::fs::linkat(&*there.0, other, &*self.0, temp, AtFlags::empty());
        let ((), mut staged) = self.stage(name, made)?;
        staged.linked = true;
        Ok(staged)
    }

    fn stage<T>(&self, name: &[u8], make: impl Fn(&[u8]) -> rustix::io::Result<T>) -> io::Result<(T, Staged)> {
        for _ in 0..16 {
            let temp = temp_name();
            match make(&temp) {
                Err(Errno::EXIST) => {}
                made => {
                    let staged = Staged {
                        dir: self.clone(),
                        name: name.into(),
                        temp,
                        file: None,
                        linked: false,
                        published: false,
                    };
                    return Ok((made?, staged));
                }
            }
        }
        Err(Errno::EXIST.into())
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Something new under a temporary name. Dropped before it is published it is removed.
#[derive(Debug)]
pub struct Staged {
    dir: Directory,
    name: Box<[u8]>,
    temp: Vec<u8>,
    file: Option<File>,
    linked: bool,
    published: bool,
}

impl Staged {
    /// The open file, when it is a regular one.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Its directory.
    pub fn dir(&self) -> &Directory {
        &self.dir
    }

    /// Its name in the directory for now.
    pub fn temp(&self) -> &[u8] {
        &self.temp
    }

    /// Gives it its name, in place of what has it, which must not be a directory.
    pub fn publish(mut self) -> io::Result<()> {
        rustix::fs::renameat(&*self.dir.0, &self.temp[..], &*self.dir.0, &*self.name)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Renaming one of two names of a file over the other leaves both (rename(2)); then it is still to be removed.
        if (!self.published || self.linked)
            && let Err(error) = rustix::fs::unlinkat(&*self.dir.0, &self.temp[..], AtFlags::empty())
            && !self.published
        {
            tracing::debug!("leaving a temporary file: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::DestOptions;
    use super::*;
    use std::fs;
    use std::io::Write as _;

    fn directory() -> (tempfile::TempDir, Directory) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dest::open(temp.path(), DestOptions::default()).unwrap().directory(None).unwrap();
        (temp, dir)
    }

    #[test]
    fn a_directory_is_empty_but_for_one_name() {
        let (temp, dir) = directory();
        assert!(dir.holds_only(b"x").unwrap());
        fs::create_dir(temp.path().join("x")).unwrap();
        assert!(dir.holds_only(b"x").unwrap() && !dir.holds_only(b"y").unwrap());
        fs::write(temp.path().join(".z"), b"").unwrap();
        assert!(!dir.holds_only(b"x").unwrap());
    }

    fn names(dir: &Directory) -> Vec<String> {
        dir.children().unwrap().iter().map(|child| String::from_utf8_lossy(&child.name).into_owned()).collect()
    }

    #[test]
    fn what_is_staged_appears_whole_or_not_at_all() {
        let (temp, dir) = directory();
        fs::write(temp.path().join("f"), b"old").unwrap();
        let staged = dir.create(b"f").unwrap();
        staged.file().unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read(temp.path().join("f")).unwrap(), b"old");
        staged.publish().unwrap();
        assert_eq!(fs::read(temp.path().join("f")).unwrap(), b"new");
        drop(dir.create(b"g").unwrap());
        dir.create_symlink(b"l", b"/etc/passwd").unwrap().publish().unwrap();
        dir.create_node(b"p", 0o010_640, (0, 0)).unwrap().publish().unwrap();
        assert_eq!(names(&dir), ["f", "l", "p"]);
        assert_eq!(dir.read_link(b"l").unwrap(), b"/etc/passwd");
    }

    #[test]
    fn a_link_over_itself_leaves_nothing_behind() {
        let (temp, dir) = directory();
        fs::write(temp.path().join("a"), b"x").unwrap();
        for _ in 0..2 {
            dir.create_link(b"b", &dir, b"a").unwrap().publish().unwrap();
        }
        assert_eq!((names(&dir), dir.stat(b"a").unwrap().unwrap().nlink), (vec!["a".into(), "b".into()], 2));
    }

    #[test]
    fn links_are_neither_opened_nor_entered() {
        let (temp, dir) = directory();
        fs::create_dir(temp.path().join("d")).unwrap();
        std::os::unix::fs::symlink("d", temp.path().join("l")).unwrap();
        assert!(dir.enter(b"d").is_ok() && dir.enter(b"l").is_err() && dir.open(b"l").is_err());
        assert!(dir.open_in_place(b"l").is_err() && dir.open_in_place(b"new").is_ok());
        assert_eq!(dir.open(b"d").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
