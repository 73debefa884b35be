//! Text of any length kept compressed in memory: `permissions.facl` of a large volume.
//!
//! A record of permissions.facl takes some 130 bytes and looks like the one before; deflate keeps about a tenth. A pod's
//! `/tmp` is memory too, so a file there would cost the whole text.

use std::io::{self, BufRead, Read, Write};
use std::sync::{Mutex, PoisonError};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use volsync_md5::Md5 as Hasher;

use crate::store::{Md5, Source};

/// Text that is compressed at a time; also what a read keeps unpacked.
const BLOCK: usize = 256 << 10;

/// Takes the text.
pub struct SpoolWriter {
    packed: Vec<Box<[u8]>>,
    open: Vec<u8>,
    len: u64,
    sum: Hasher,
}

impl Default for SpoolWriter {
    fn default() -> Self {
        Self { packed: Vec::new(), open: Vec::new(), len: 0, sum: Hasher::new() }
    }
}

impl SpoolWriter {
    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ends the text.
    ///
    /// # Errors
    /// Only what compressing says.
    pub fn finish(mut self) -> io::Result<Spool> {
        self.pack()?;
        Ok(Spool { packed: self.packed, len: self.len, md5: self.sum.finalize(), unpacked: Mutex::default() })
    }

    fn pack(&mut self) -> io::Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.open)?;
        self.packed.push(encoder.finish()?.into_boxed_slice());
        self.open.clear();
        Ok(())
    }
}

impl Write for SpoolWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let taken = buf.get(..buf.len().min(BLOCK - self.open.len())).unwrap_or(buf);
        self.open.extend_from_slice(taken);
        self.sum.update(taken);
        self.len += taken.len() as u64;
        if self.open.len() == BLOCK {
            self.pack()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The finished text.
pub struct Spool {
    packed: Vec<Box<[u8]>>,
    len: u64,
    md5: Md5,
    /// The block that was read last: readers go forward.
    unpacked: Mutex<Option<(usize, Vec<u8>)>>,
}

impl Spool {
    /// MD5 of the text.
    pub fn md5(&self) -> Md5 {
        self.md5
    }

    /// Memory that the packed text takes, in bytes.
    pub fn packed_len(&self) -> usize {
        self.packed.iter().map(|block| block.len()).sum()
    }

    /// The text from its start.
    pub fn reader(&self) -> SpoolReader<'_> {
        SpoolReader { spool: self, next: 0, text: Vec::new(), at: 0 }
    }

    fn block(&self, index: usize) -> io::Result<Vec<u8>> {
        let packed = self.packed.get(index).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut text = Vec::with_capacity(BLOCK);
        DeflateDecoder::new(&packed[..]).read_to_end(&mut text)?;
        Ok(text)
    }
}

/// Reads a [`Spool`] from its start.
pub struct SpoolReader<'a> {
    spool: &'a Spool,
    next: usize,
    text: Vec<u8>,
    at: usize,
}

impl BufRead for SpoolReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.text.len() && self.next < self.spool.packed.len() {
            self.text = self.spool.block(self.next)?;
            self.next += 1;
            self.at = 0;
        }
        Ok(self.text.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut text = self.fill_buf()?;
        let count = text.read(buf)?;
        self.consume(count);
        Ok(count)
    }
}

impl Source for Spool {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.len || buf.is_empty() {
            return Ok(0);
        }
        let index = usize::try_from(offset / BLOCK as u64).map_err(io::Error::other)?;
        let start = usize::try_from(offset % BLOCK as u64).map_err(io::Error::other)?;
        let mut held = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|(at, _)| *at != index) {
            *held = Some((index, self.block(index)?));
        }
        let text = held.as_ref().and_then(|(_, text)| text.get(start..)).unwrap_or_default();
        let count = text.len().min(buf.len());
        buf[..count].copy_from_slice(&text[..count]);
        Ok(count)
    }

    fn unchanged(&self) -> io::Result<bool> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_at_any_offset_and_takes_little_memory() {
        let text: Vec<u8> =
            (0..30_000).flat_map(|n| format!("# file: data/dir/f{n}\nuser::rw-\n\n").into_bytes()).collect();
        let mut writer = SpoolWriter::default();
        writer.write_all(&text).unwrap();
        let spool = writer.finish().unwrap();
        assert_eq!((spool.len(), spool.md5()), (text.len() as u64, volsync_md5::md5(&text)));
        assert!(spool.packed_len() * 4 < text.len());
        let mut all = Vec::new();
        spool.reader().read_to_end(&mut all).unwrap();
        assert!(all == text);
        for offset in [0, 1, BLOCK - 1, BLOCK, BLOCK + 7, text.len() - 3, text.len(), text.len() + 9] {
            let mut buf = vec![0; 5];
            let count = spool.read_at(offset as u64, &mut buf).unwrap();
            let expect = text.get(offset..).unwrap_or_default();
            assert!(count <= 5 && buf[..count] == expect[..count] && (count > 0) != expect.is_empty(), "{offset}");
        }
    }
}
