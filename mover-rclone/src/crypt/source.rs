//! A source that reads as its own encrypted form, at any offset and the same each time: the nonce is drawn once.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::content::{BLOCK, BlockCipher, HEADER, SEALED, TAG, sealed_len};
use crate::store::Source;

/// The encrypted form of another source.
pub struct SealedSource {
    clear: Arc<dyn Source>,
    cipher: BlockCipher,
    len: u64,
    /// The block that was made last: readers ask for pieces of a block one after the other.
    last: Mutex<Option<(u64, Arc<[u8]>)>>,
}

impl SealedSource {
    /// The encrypted form of `clear`; `None` if it is too long for any.
    pub fn new(clear: Arc<dyn Source>, cipher: BlockCipher) -> Option<Self> {
        let len = sealed_len(clear.len())?;
        Some(Self { clear, cipher, len, last: Mutex::new(None) })
    }

    fn block(&self, number: u64) -> io::Result<Arc<[u8]>> {
        if let Some((at, block)) = self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
            && *at == number
        {
            return Ok(block.clone());
        }
        let start = number * BLOCK;
        let want = usize::try_from(self.clear.len().saturating_sub(start).min(BLOCK)).unwrap_or(0);
        let tag = usize::try_from(TAG).unwrap_or(16);
        let mut block = vec![0; tag + want];
        let got = self.clear.read_full(start, block.get_mut(tag..).unwrap_or_default())?;
        block.truncate(tag + got);
        if got > 0 {
            self.cipher.seal(number, &mut block).map_err(io::Error::other)?;
        } else {
            block.clear();
        }
        let block: Arc<[u8]> = block.into();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, block.clone()));
        Ok(block)
    }

    /// The bytes from `offset` to the end of what they belong to: the header or one block.
    fn piece(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let Some(in_body) = offset.checked_sub(HEADER) else {
            return Ok(copy(&self.cipher.header(), offset, buf));
        };
        Ok(copy(&self.block(in_body / SEALED)?, in_body % SEALED, buf))
    }
}

fn copy(from: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|at| from.get(at..)).unwrap_or_default();
    buf.iter_mut().zip(rest).map(|(to, from)| *to = *from).count()
}

impl Source for SealedSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            if at >= self.len {
                break;
            }
            match self.piece(at, rest)? {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }

    fn sent(&self, bytes: u64) {
        self.clear.sent(bytes);
    }

    fn unchanged(&self) -> io::Result<bool> {
        self.clear.unchanged()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl Source for Bytes {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            Ok(copy(&self.0, offset, buf))
        }
        fn unchanged(&self) -> io::Result<bool> {
            Ok(true)
        }
    }

    #[test]
    fn any_piece_is_the_same_as_of_the_whole() {
        let clear: Vec<u8> = (0..200_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let source = SealedSource::new(Arc::new(Bytes(clear.clone())), BlockCipher::new(&[1; 32], [2; 24])).unwrap();
        let mut whole = vec![0; usize::try_from(source.len()).unwrap()];
        assert_eq!(source.read_at(0, &mut whole).unwrap(), whole.len());
        for (offset, len) in [(0usize, 10), (5, 40), (31, 2), (65_583, 3), (131_000, 70_000), (200_050, 1000)] {
            let mut piece = vec![0; len];
            let got = source.read_at(offset as u64, &mut piece).unwrap();
            assert_eq!(piece[..got], whole[offset..whole.len().min(offset + len)], "{offset} {len}");
        }
        let cipher = BlockCipher::new(&[1; 32], [2; 24]);
        let mut back = Vec::new();
        for (number, block) in whole[32..].chunks_mut(65_552).enumerate() {
            back.extend_from_slice(cipher.open(number as u64, block).unwrap());
        }
        assert_eq!(back, clear);
    }

    #[test]
    fn nothing_is_a_header() {
        let source = SealedSource::new(Arc::new(Bytes(Vec::new())), BlockCipher::new(&[1; 32], [2; 24])).unwrap();
        let mut whole = [0; 40];
        assert_eq!(source.read_at(0, &mut whole).unwrap(), 32);
    }
}
