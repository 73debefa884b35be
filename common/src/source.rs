//! Files that are read: opened below a root without following links, read at offsets, checked for changes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::fs::{Advice, Mode, OFlags};
use rustix::io::Errno;

use crate::path::RelPath;
use crate::root::Root;
use crate::walk::{Kind, Stat};

/// What Linux reads ahead by itself (128 KiB unless the device says otherwise); smaller files need no hint.
const READAHEAD: u64 = 128 * 1024;

/// A regular file that is being read.
#[derive(Clone, Debug)]
pub struct SourceFile {
    file: Arc<File>,
    stat: Stat,
}

impl SourceFile {
    /// Opens `path` below `root`. What is not a regular file is refused with [`io::ErrorKind::InvalidInput`]; nothing
    /// planted in its place (a FIFO, a device) can block.
    pub fn open(root: &Root, path: &RelPath) -> io::Result<Self> {
        let fd = open_quietly(root, path)?;
        let stat = Stat::of(&fd)?;
        if stat.kind() != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file any more"));
        }
        if stat.size > READAHEAD {
            // Only a hint, and some file systems do not take it.
            let _hint = rustix::fs::fadvise(&fd, 0, None, Advice::Sequential);
        }
        Ok(Self { file: Arc::new(File::from(fd)), stat })
    }

    /// Its attributes when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Fills `buf` from `offset`; fewer bytes than asked for mean that the file ended there.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        read_full_at(&self.file, offset, buf)
    }

    /// Whether the content is still what it was when the file was opened: same size, mtime and ctime. Unlinking
    /// and chmod change the ctime too: they look like a change, which costs one more look at the file.
    pub fn unchanged(&self) -> io::Result<bool> {
        let now = Stat::of(&*self.file)?;
        Ok((now.size, now.mtime, now.ctime) == (self.stat.size, self.stat.mtime, self.stat.ctime)
            && now.same_inode(&self.stat))
    }

    /// The open file.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }
}

/// Fills `buf` from `offset` of `file`; fewer bytes than asked for mean that the file ended there.
pub(crate) fn read_full_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Without touching the access time where that is allowed (own files, or CAP_FOWNER).
fn open_quietly(root: &Root, path: &RelPath) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    match root.open_at(Some(path), flags | OFlags::NOATIME, Mode::empty()) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => {
            root.open_at(Some(path), flags, Mode::empty())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Strategy;

    fn open(dir: &std::path::Path, path: &str) -> io::Result<SourceFile> {
        let root = Root::open(dir, Strategy::Kernel).unwrap();
        SourceFile::open(&root, &RelPath::new(path.as_bytes()).unwrap())
    }

    #[test]
    fn a_file_is_read_at_offsets_and_ends_short() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("f"), b"0123456789").unwrap();
        let file = open(temp.path(), "f").unwrap();
        let mut buf = [0; 8];
        assert_eq!((file.read_at(6, &mut buf).unwrap(), &buf[..4]), (4, &b"6789"[..]));
        assert_eq!(file.read_at(10, &mut buf).unwrap(), 0);
        assert_eq!(file.stat().size, 10);
    }

    #[test]
    fn a_change_shows_and_a_removed_name_does_not() {
        let temp = tempfile::tempdir().unwrap();
        let at = temp.path().join("f");
        std::fs::write(&at, b"before").unwrap();
        let file = open(temp.path(), "f").unwrap();
        assert!(file.unchanged().unwrap());
        std::fs::write(&at, b"after!!").unwrap();
        assert!(!file.unchanged().unwrap());
        let file = open(temp.path(), "f").unwrap();
        std::fs::write(temp.path().join("g"), b"other").unwrap();
        std::fs::rename(temp.path().join("g"), &at).unwrap();
        let mut buf = [0; 7];
        assert_eq!((file.read_at(0, &mut buf).unwrap(), &buf), (7, b"after!!"));
    }

    #[test]
    fn what_was_planted_neither_blocks_nor_passes() {
        let temp = tempfile::tempdir().unwrap();
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, temp.path().join("fifo"), mode).unwrap();
        std::os::unix::fs::symlink("fifo", temp.path().join("link")).unwrap();
        std::fs::create_dir(temp.path().join("dir")).unwrap();
        for path in ["fifo", "dir"] {
            assert_eq!(open(temp.path(), path).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        assert!(crate::root::is_in_the_way(&open(temp.path(), "link").unwrap_err()));
    }

    #[test]
    fn a_file_of_somebody_else_is_read_without_privilege() {
        let temp = tempfile::tempdir().unwrap();
        let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(temp.path(), mode(0o755)).unwrap();
        for (name, bits) in [("open", 0o644), ("closed", 0o600)] {
            std::fs::write(temp.path().join(name), name).unwrap();
            std::fs::set_permissions(temp.path().join(name), mode(bits)).unwrap();
        }
        crate::unprivileged::run(|| {
            assert!(open(temp.path(), "open").is_ok());
            let own = !rustix::process::geteuid().is_root() && open(temp.path(), "closed").is_ok();
            let denied = open(temp.path(), "closed").is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
            assert!(own || denied);
        });
    }
}
