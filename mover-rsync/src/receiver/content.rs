//! Writing the content of a file: gathered into large writes; with `--sparse`, zeros become holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

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
    gathered: &'a mut Vec<u8>,
    /// Where what is gathered begins.
    offset: u64,
    /// Where the last write ended.
    written: u64,
}

impl<'a> Content<'a> {
    pub(super) fn new(file: Option<&'a File>, sparse: bool, gathered: &'a mut Vec<u8>) -> Self {
        gathered.clear();
        Self { file, sparse, gathered, offset: 0, written: 0 }
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
            // A hole at the end.
            Some(file) if self.written < self.offset => file.set_len(self.offset),
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
                run = end;
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
        let mut content = Content::new(Some(file.as_file()), sparse, &mut gathered);
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
