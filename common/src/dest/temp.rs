//! A file that is being written under a temporary name.
//!
//! **Zeros.** Blocks of 64 KiB that are all zeros and were never written are left as holes. Files from 1 MiB on get
//! their space reserved at the start, so that a full disk shows before anything is transferred; what was left out is
//! given back at the end. A block that was written once is always written again, zeros included: a retry must be able
//! to replace what a broken transfer left.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Dest, timestamps};
use crate::path::RelPath;
use crate::time::Timestamp;
use crate::walk::Stat;

/// What becomes a hole when it is zero: the largest block size in common use (arm64 pages).
const BLOCK: u64 = 64 * 1024;

/// Smaller files fill up a disk when they are written, which is soon enough.
const RESERVE_FROM: u64 = 1024 * 1024;

/// Linux's NAME_MAX on every file system we know.
const NAME_MAX: usize = 255;

const PREFIX: &[u8] = b".volsync-";
const SUFFIX: &[u8] = b".partial";
const DIGITS: usize = 16;

/// Whether `name` is one that [`Temp`] gives: what a killed run left behind.
pub fn is_temp_name(name: &[u8]) -> bool {
    let digits = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    digits.is_some_and(|d| d.len() == DIGITS && d.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

pub(super) fn temp_name() -> Vec<u8> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unique = RandomState::new().hash_one((std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    [PREFIX, format!("{unique:016x}").as_bytes(), SUFFIX].concat()
}

/// What a file gets with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitMeta {
    /// Modification and access time.
    pub mtime: Timestamp,
    /// Permission bits; `None` is 0666 less the umask.
    pub mode: Option<u32>,
}

/// A file under a temporary name. Dropped without a commit it is removed.
#[derive(Debug)]
pub struct Temp {
    file: File,
    size: u64,
    written: Blocks,
    reserved: bool,
    /// Another mount below the root: flushing the root's file system does not reach it.
    elsewhere: bool,
    name: Pending,
}

/// A complete file under a temporary name, waiting for [`Dest::commit_batch`]. Dropped it is removed. It holds no
/// descriptor, so that a batch can be large.
#[derive(Debug)]
pub struct Sealed(Pending);

impl Temp {
    pub(super) fn create(dest: &Dest, path: &RelPath, size: u64) -> io::Result<Self> {
        if path.name().len() > NAME_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        if i64::try_from(size).is_err() {
            return Err(Errno::FBIG.into());
        }
        let (file, temp) = create_new(dest, path)?;
        let name = Pending { dest: dest.clone(), path: path.clone(), temp, published: false };
        let elsewhere = !dest.same_file_system(&Stat::of(&file)?);
        let reserved = size >= RESERVE_FROM && reserve(&file, size)?;
        Ok(Self { file, size, written: Blocks::new(size), reserved, elsewhere, name })
    }

    /// Writes `data` at `offset`; ranges may come in any order, from any thread, and again. Beyond the size the file
    /// was created with is [`io::ErrorKind::InvalidInput`].
    pub fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "more content than announced"))?;
        let mut start = offset;
        let mut at = offset;
        while at < end {
            let next = (at - at % BLOCK + BLOCK).min(end);
            let piece = slice(data, offset, at, next);
            if self.may_skip(at, next, piece) {
                self.write_run(start, slice(data, offset, start, at))?;
                start = next;
            }
            at = next;
        }
        self.write_run(start, slice(data, offset, start, end))
    }

    fn may_skip(&self, at: u64, next: u64, piece: &[u8]) -> bool {
        at.is_multiple_of(BLOCK) && next - at == BLOCK && !self.written.has(at / BLOCK) && is_zero(piece)
    }

    fn write_run(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        for block in offset / BLOCK..=(offset + data.len() as u64 - 1) / BLOCK {
            self.written.set(block);
        }
        self.file.write_all_at(data, offset)
    }

    /// Fills `buf` from `offset` with what was written; fewer bytes mean that nothing was written further on.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        crate::source::read_full_at(&self.file, offset, buf)
    }

    /// The content as far as it is written, zeros where it is not, to be read as a file: of its final length from now on.
    pub fn reader(&self) -> io::Result<File> {
        rustix::fs::ftruncate(&self.file, self.size)?;
        self.file.try_clone()
    }

    /// The open file, for attributes that it gets before its name.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Completes the file and gives it its name, replacing what stands there (a link, not what it leads to). With
    /// `flush` content and attributes are on disk before the name is.
    pub fn commit(self, meta: CommitMeta, flush: bool) -> io::Result<()> {
        self.complete(meta)?;
        if flush {
            rustix::fs::fsync(&self.file)?;
        }
        self.name.publish()
    }

    /// Completes the file for a later [`Dest::commit_batch`].
    pub fn seal(self, meta: CommitMeta) -> io::Result<Sealed> {
        self.complete(meta)?;
        if self.elsewhere {
            rustix::fs::fsync(&self.file)?;
        }
        Ok(Sealed(self.name))
    }

    fn complete(&self, meta: CommitMeta) -> io::Result<()> {
        rustix::fs::ftruncate(&self.file, self.size)?;
        self.punch_holes()?;
        let mode = meta.mode.unwrap_or(0o666 & !self.name.dest.0.umask);
        match rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & 0o7777)) {
            // It is our own file, so nobody can set a mode here: those of the mount count (CIFS, some FUSE).
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(rustix::fs::futimens(&self.file, &timestamps(meta.mtime))?)
    }

    /// Gives back reserved space that only holds zeros.
    fn punch_holes(&self) -> io::Result<()> {
        if !self.reserved {
            return Ok(());
        }
        for (first, end) in self.written.gaps() {
            let (start, end) = (first * BLOCK, (end * BLOCK).min(self.size));
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match rustix::fs::fallocate(&self.file, mode, start, end - start) {
                // The space stays taken; reserved space reads as zeros all the same.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Sealed {
    /// Where it will stand.
    pub fn path(&self) -> &RelPath {
        &self.0.path
    }

    pub(super) fn publish(self) -> io::Result<()> {
        self.0.publish()
    }
}

/// A temporary name on its way to the final one.
#[derive(Debug)]
struct Pending {
    dest: Dest,
    path: RelPath,
    temp: Vec<u8>,
    published: bool,
}

impl Pending {
    fn publish(mut self) -> io::Result<()> {
        let dir = self.dest.root().parent(&self.path)?;
        rustix::fs::renameat(&dir, &self.temp[..], &dir, self.path.name())?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.published {
            let removed = self.dest.root().parent(&self.path).and_then(|dir| {
                rustix::fs::unlinkat(dir, &self.temp[..], AtFlags::empty())?;
                Ok(())
            });
            if let Err(error) = removed {
                tracing::debug!("leaving a temporary file beside {}: {error}", self.path);
            }
        }
    }
}

fn create_new(dest: &Dest, path: &RelPath) -> io::Result<(File, Vec<u8>)> {
    let dir = dest.root().parent(path)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (fd, name) = unused(|name| rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o600)))?;
    Ok((File::from(fd), name))
}

/// What `make` made under a temporary name that was not in use, and the name.
fn unused<T>(make: impl Fn(&[u8]) -> rustix::io::Result<T>) -> io::Result<(T, Vec<u8>)> {
    for _ in 0..16 {
        let name = temp_name();
        match make(&name) {
            Err(Errno::EXIST) => {}
            other => return Ok((other?, name)),
        }
    }
    Err(Errno::EXIST.into())
}

/// A symbolic link that gets its name with its target and time.
pub(super) fn link(dest: &Dest, path: &RelPath, target: &[u8], mtime: Timestamp) -> io::Result<()> {
    let dir = dest.root().parent(path)?;
    let temp = unused(|name| rustix::fs::symlinkat(target, &dir, name))?.1;
    let name = Pending { dest: dest.clone(), path: path.clone(), temp, published: false };
    rustix::fs::utimensat(&dir, &name.temp[..], &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)?;
    name.publish()
}

/// Whether the space could be reserved; a full disk is an error.
fn reserve(file: &File, size: u64) -> io::Result<bool> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// `data` begins at `base`; the part from `from` to `to`. All lie in memory, so they fit.
#[allow(clippy::cast_possible_truncation, reason = "offsets within a slice")]
fn slice(data: &[u8], base: u64, from: u64, to: u64) -> &[u8] {
    &data[(from - base) as usize..(to - base) as usize]
}

fn is_zero(data: &[u8]) -> bool {
    data.chunks(4096).all(|chunk| chunk.iter().fold(0, |all, b| all | b) == 0)
}

/// One bit per block.
#[derive(Debug)]
struct Blocks {
    count: u64,
    bits: Box<[AtomicU64]>,
}

impl Blocks {
    fn new(size: u64) -> Self {
        let count = size.div_ceil(BLOCK);
        Self { count, bits: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    fn word(&self, block: u64) -> Option<&AtomicU64> {
        self.bits.get(usize::try_from(block / 64).ok()?)
    }

    fn set(&self, block: u64) {
        if let Some(word) = self.word(block) {
            word.fetch_or(1 << (block % 64), Ordering::Relaxed);
        }
    }

    fn has(&self, block: u64) -> bool {
        self.word(block).is_some_and(|word| word.load(Ordering::Relaxed) >> (block % 64) & 1 == 1)
    }

    /// Runs of blocks that are not set, as first and end.
    fn gaps(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = (at..self.count).find(|block| !self.has(*block))?;
            let end = (first..self.count).find(|block| self.has(*block)).unwrap_or(self.count);
            at = end;
            Some((first, end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_are_recognised_and_unique() {
        let name = temp_name();
        assert!(is_temp_name(&name) && name != temp_name() && name.len() <= NAME_MAX);
        for other in [&b".volsync-.partial"[..], b".volsync-0123456789abcdeG.partial", b"x.partial", b""] {
            assert!(!is_temp_name(other));
        }
    }

    #[test]
    fn gaps_are_the_runs_that_were_not_written() {
        let blocks = Blocks::new(BLOCK * 130 + 1);
        assert_eq!(blocks.gaps().collect::<Vec<_>>(), [(0, 131)]);
        for block in [0, 1, 64, 130] {
            blocks.set(block);
        }
        assert_eq!(blocks.gaps().collect::<Vec<_>>(), [(2, 64), (65, 130)]);
        assert_eq!(Blocks::new(0).gaps().count(), 0);
    }
}
