//! Writing the content of a file, a new one or into the old one: gathered into large writes; with `--sparse`, zeros
//! become holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::FallocateFlags;

/// Gathered before it is written.
const GATHER: usize = 128 * 1024;

/// Zeros are left out in units of this: the block size of nearly every file system.
const HOLE: usize = 4096;

/// Moved blocks are shared where their places are multiples of this: the block size of XFS and btrfs.
const SHARED: u64 = 4096;

/// A file being written from its beginning to its end.
#[derive(Debug)]
pub(super) struct Content<'a> {
    /// `None` when it could not be created: what comes is thrown away.
    file: Option<&'a File>,
    sparse: bool,
    /// There is an old content where this one is not written.
    in_place: bool,
    /// The file that the old content is shared with: blocks that move are shared with it too.
    shared: Option<&'a File>,
    /// Bytes of that file that are still to be shared.
    run: Run,
    gathered: &'a mut Vec<u8>,
    /// Where what is gathered begins.
    offset: u64,
    /// Where the last write ended.
    written: u64,
}

/// A range of the old file, and where it goes.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    from: u64,
    at: u64,
    len: u64,
}

impl<'a> Content<'a> {
    pub(super) fn new(file: Option<&'a File>, sparse: bool, in_place: bool, gathered: &'a mut Vec<u8>) -> Self {
        gathered.clear();
        Self { file, sparse, in_place, shared: None, run: Run::default(), gathered, offset: 0, written: 0 }
    }

    /// In a file that shares its blocks with `basis` already.
    pub(super) fn shared(self, basis: &'a File) -> Self {
        Self { in_place: true, shared: Some(basis), ..self }
    }

    /// Appends bytes that stand at `from` in the old content, which need no writing if they stay there.
    pub(super) fn copy(&mut self, data: &[u8], from: u64) -> io::Result<()> {
        let at = self.offset + self.gathered.len() as u64;
        let moves = from != at;
        // Only whole blocks of a file system can be shared.
        let shares = self.shared.is_some() && from.is_multiple_of(SHARED) && at.is_multiple_of(SHARED);
        if !self.in_place || (moves && !shares) {
            return self.write(data);
        }
        self.flush()?;
        if moves {
            self.share(from, data.len() as u64)?;
        }
        self.offset += data.len() as u64;
        Ok(())
    }

    /// Appends zeros, as a hole.
    pub(super) fn hole(&mut self, len: u64) -> io::Result<()> {
        self.flush()?;
        let end = self.offset.checked_add(len).ok_or(io::ErrorKind::FileTooLarge)?;
        if let Some(file) = self.file.filter(|_| self.in_place)
            && !punched(file, self.offset, len)
        {
            let zeros = vec![0; GATHER];
            let mut left = len;
            while left > 0 {
                let piece = &zeros[..usize::try_from(left).unwrap_or(GATHER).min(GATHER)];
                file.write_all_at(piece, self.offset + (len - left))?;
                left -= piece.len() as u64;
            }
        }
        self.offset = end;
        Ok(())
    }

    /// Notes that bytes of the old file go to the offset.
    fn share(&mut self, from: u64, len: u64) -> io::Result<()> {
        let Run { from: first, at, len: before } = self.run;
        if first + before == from && at + before == self.offset {
            self.run.len += len;
            return Ok(());
        }
        self.share_run()?;
        self.run = Run { from, at: self.offset, len };
        Ok(())
    }

    /// Shares what was noted. The kernel shares blocks where it can and copies where it cannot (`copy_file_range`).
    fn share_run(&mut self) -> io::Result<()> {
        let Run { mut from, mut at, mut len } = std::mem::take(&mut self.run);
        let (Some(file), Some(basis)) = (self.file, self.shared) else { return Ok(()) };
        while len > 0 {
            let most = usize::try_from(len).unwrap_or(usize::MAX);
            let copied = rustix::fs::copy_file_range(basis, Some(&mut from), file, Some(&mut at), most)?;
            if copied == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the old file got shorter"));
            }
            len -= copied as u64;
        }
        Ok(())
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.gathered.is_empty() && data.len() >= GATHER / 2 {
            self.put(data)?;
            self.offset += data.len() as u64;
            return Ok(());
        }
        self.gathered.extend_from_slice(data);
        if self.gathered.len() >= GATHER { self.flush() } else { Ok(()) }
    }

    /// Writes the rest and sets the length.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.share_run()?;
        match self.file {
            // A hole at the end, or what the old content has too much.
            Some(file) if self.in_place || self.written < self.offset => file.set_len(self.offset),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(self.gathered);
        let done = self.put(&gathered);
        self.offset += gathered.len() as u64;
        *self.gathered = gathered;
        self.gathered.clear();
        done
    }

    /// Writes `data` at the offset, but not its blocks of zeros when they may be holes.
    fn put(&mut self, data: &[u8]) -> io::Result<()> {
        let Some(file) = self.file else { return Ok(()) };
        if !self.sparse {
            return self.put_run(file, self.offset, data);
        }
        // Holes begin and end at blocks of the file.
        let first = usize::try_from(self.offset.next_multiple_of(HOLE as u64) - self.offset).unwrap_or(0);
        let (mut run, mut at) = (0, first.min(data.len()));
        while at < data.len() {
            let end = data.len().min(at + HOLE);
            if is_zero(&data[at..end]) {
                self.put_run(file, self.offset + run as u64, &data[run..at])?;
                // Where no hole can be made, zeros are written.
                let old = self.in_place && !punched(file, self.offset + at as u64, (end - at) as u64);
                run = if old { at } else { end };
            }
            at = end;
        }
        self.put_run(file, self.offset + run as u64, &data[run..])
    }

    fn put_run(&mut self, file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
        if !data.is_empty() {
            file.write_all_at(data, offset)?;
            self.written = offset + data.len() as u64;
        }
        Ok(())
    }
}

/// Whether a hole is there now.
fn punched(file: &File, offset: u64, len: u64) -> bool {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(file, flags, offset, len).is_ok()
}

fn is_zero(data: &[u8]) -> bool {
    data.iter().fold(0, |all, b| all | b) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt as _;

    fn written(pieces: &[Vec<u8>], sparse: bool) -> (Vec<u8>, u64) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut gathered = Vec::new();
        let mut content = Content::new(Some(file.as_file()), sparse, false, &mut gathered);
        for piece in pieces {
            content.write(piece).unwrap();
        }
        content.finish().unwrap();
        (std::fs::read(file.path()).unwrap(), file.as_file().metadata().unwrap().blocks())
    }

    #[test]
    fn zeros_are_holes_only_when_asked_for() {
        let pieces = [vec![0; 1 << 20], b"x".to_vec(), vec![0; 3 << 20]];
        let whole = pieces.concat();
        let (sparse, blocks) = written(&pieces, true);
        assert!(sparse == whole && blocks <= 16, "{blocks}");
        let (dense, blocks) = written(&pieces, false);
        assert!(dense == whole && blocks >= 4 << 11, "{blocks}");
    }

    #[test]
    fn what_stays_in_place_is_not_written_and_zeros_become_holes_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let old = vec![7; 1 << 20];
        std::fs::write(file.path(), &old).unwrap();
        let mut gathered = Vec::new();
        let mut content = Content::new(Some(file.as_file()), true, true, &mut gathered);
        content.write(b"new").unwrap();
        content.copy(&old[3..5000], 3).unwrap();
        content.copy(&old[5000..6000], 9000).unwrap();
        content.write(&vec![0; 900_000]).unwrap();
        content.copy(b"end", 0).unwrap();
        content.finish().unwrap();
        let expected = [b"new", &old[3..6000], &vec![0; 900_000], b"end"].concat();
        assert!(std::fs::read(file.path()).unwrap() == expected);
        let blocks = file.as_file().metadata().unwrap().blocks();
        assert!(blocks <= 48, "{blocks}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_content_is_written(
            pieces in prop::collection::vec((0usize..150_000, prop::sample::select(vec![0u8, 0, 7])), 0..6),
            sparse in any::<bool>(),
        ) {
            let pieces: Vec<_> = pieces.into_iter().map(|(len, byte)| vec![byte; len]).collect();
            prop_assert!(written(&pieces, sparse).0 == pieces.concat());
        }
    }
}
