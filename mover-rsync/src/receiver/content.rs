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

/// A file being written from its beginning to its end.
#[derive(Debug)]
pub(super) struct Content<'a> {
    /// `None` when it could not be created: what comes is thrown away.
    file: Option<&'a File>,
    sparse: bool,
    /// There is an old content where this one is not written.
    in_place: bool,
    gathered: &'a mut Vec<u8>,
    /// Where what is gathered begins.
    offset: u64,
    /// Where the last write ended.
    written: u64,
}

impl<'a> Content<'a> {
    pub(super) fn new(file: Option<&'a File>, sparse: bool, in_place: bool, gathered: &'a mut Vec<u8>) -> Self {
        gathered.clear();
        Self { file, sparse, in_place, gathered, offset: 0, written: 0 }
    }

    /// Appends bytes that stand at `from` in the old content, which need no writing if they stay there.
    pub(super) fn copy(&mut self, data: &[u8], from: u64) -> io::Result<()> {
        if !self.in_place || from != self.offset + self.gathered.len() as u64 {
            return self.write(data);
        }
        self.flush()?;
        self.offset += data.len() as u64;
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
                let old = self.in_place && !punched(file, self.offset + at as u64, end - at);
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
fn punched(file: &File, offset: u64, len: usize) -> bool {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(file, flags, offset, len as u64).is_ok()
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
