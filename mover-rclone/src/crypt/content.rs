//! The format of encrypted contents (rclone `backend/crypt/cipher.go`): a magic, a nonce, then blocks of up to 64 KiB,
//! each a NaCl secretbox under the nonce plus its number. Every block stands alone, so any part can be read or written.

use crypto_secretbox::aead::AeadInPlace as _;
use crypto_secretbox::{KeyInit as _, Nonce, Tag, XSalsa20Poly1305};

/// First bytes of every encrypted object.
pub const MAGIC: [u8; 8] = *b"RCLONE\0\0";
/// Bytes of a nonce.
pub const NONCE: usize = 24;
/// Magic and nonce.
pub const HEADER: u64 = 32;
/// Content of a full block.
pub const BLOCK: u64 = 65_536;
/// Tag before each block.
pub const TAG: u64 = 16;
/// A full block with its tag.
pub const SEALED: u64 = BLOCK + TAG;

/// Why encrypted content cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Shorter than the header, or with a block of nothing.
    #[error("the encrypted object is too short: it was cut off")]
    Short,
    /// Not the magic.
    #[error("it is not an encrypted object (bad magic)")]
    Magic,
    /// The tag of a block is wrong.
    #[error("block {0} does not authenticate: wrong password or damaged content")]
    Block(u64),
}

/// The length of the encrypted form; `None` if it is beyond numbers.
pub fn sealed_len(clear: u64) -> Option<u64> {
    clear.div_ceil(BLOCK).checked_mul(TAG)?.checked_add(clear)?.checked_add(HEADER)
}

/// The length of the content of an encrypted object of this length.
pub fn clear_len(sealed: u64) -> Result<u64, ContentError> {
    let body = sealed.checked_sub(HEADER).ok_or(ContentError::Short)?;
    match body % SEALED {
        0 => Ok(body / SEALED * BLOCK),
        rest if rest <= TAG => Err(ContentError::Short),
        rest => Ok(body / SEALED * BLOCK + rest - TAG),
    }
}

/// The nonce after the magic.
pub fn nonce_of(header: &[u8]) -> Result<[u8; NONCE], ContentError> {
    let rest = header.get(..MAGIC.len()).ok_or(ContentError::Short)?;
    if rest != MAGIC {
        return Err(ContentError::Magic);
    }
    header.get(MAGIC.len()..MAGIC.len() + NONCE).and_then(|n| n.try_into().ok()).ok_or(ContentError::Short)
}

/// The nonce of one block: a little-endian number that counts up.
fn nonce_at(base: &[u8; NONCE], block: u64) -> [u8; NONCE] {
    let mut nonce = *base;
    let mut carry = u128::from(block);
    for byte in &mut nonce {
        let sum = u128::from(*byte) + (carry & 0xff);
        *byte = u8::try_from(sum & 0xff).unwrap_or_default();
        carry = (carry >> 8) + (sum >> 8);
    }
    nonce
}

/// Encrypts and decrypts the blocks of one object.
#[derive(Clone)]
pub struct BlockCipher {
    cipher: XSalsa20Poly1305,
    nonce: [u8; NONCE],
}

impl BlockCipher {
    /// For one object.
    pub fn new(key: &[u8; 32], nonce: [u8; NONCE]) -> Self {
        Self { cipher: XSalsa20Poly1305::new(key.into()), nonce }
    }

    /// The header of the object.
    pub fn header(&self) -> [u8; 32] {
        let mut header = [0; 32];
        let (magic, nonce) = header.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        nonce.copy_from_slice(&self.nonce);
        header
    }

    /// Encrypts a block whose content stands in `sealed` after room for the tag.
    pub fn seal(&self, block: u64, sealed: &mut [u8]) -> Result<(), ContentError> {
        let (tag, content) = sealed.split_first_chunk_mut::<16>().ok_or(ContentError::Short)?;
        let nonce = nonce_at(&self.nonce, block);
        let made = self.cipher.encrypt_in_place_detached(Nonce::from_slice(&nonce), b"", content);
        *tag = made.map_err(|_| ContentError::Block(block))?.into();
        Ok(())
    }

    /// Checks and decrypts a block in place; its content is what is given back.
    pub fn open<'a>(&self, block: u64, sealed: &'a mut [u8]) -> Result<&'a mut [u8], ContentError> {
        let (tag, content) = sealed.split_first_chunk_mut::<16>().ok_or(ContentError::Short)?;
        if content.is_empty() {
            return Err(ContentError::Short);
        }
        let nonce = nonce_at(&self.nonce, block);
        let opened =
            self.cipher.decrypt_in_place_detached(Nonce::from_slice(&nonce), b"", content, Tag::from_slice(tag));
        opened.map_err(|_| ContentError::Block(block))?;
        Ok(content)
    }
}

impl std::fmt::Debug for BlockCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockCipher(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Keys;
    use super::*;

    fn cipher() -> BlockCipher {
        let keys = Keys::derive(b"potato", b"sausage").unwrap();
        BlockCipher::new(&keys.data, std::array::from_fn(|i| u8::try_from(i).unwrap()))
    }

    #[test]
    fn vector_of_the_reference() {
        let mut block = [&[0; 16], &b"hi"[..]].concat();
        cipher().seal(0, &mut block).unwrap();
        let hex = block.iter().fold(String::new(), |s, b| s + &format!("{b:02x}"));
        assert_eq!(hex, "a410bf71a05952aed675190720a4731c4076");
        assert_eq!(&cipher().header()[..10], b"RCLONE\0\0\x00\x01");
        assert_eq!(cipher().open(0, &mut block.clone()).unwrap(), b"hi");
        assert_eq!(cipher().open(1, &mut block.clone()), Err(ContentError::Block(1)));
        block[17] ^= 1;
        assert_eq!(cipher().open(0, &mut block), Err(ContentError::Block(0)));
    }

    #[test]
    fn lengths_map_both_ways() {
        let cases = [(0, 32), (1, 49), (65_535, 65_583), (65_536, 65_584), (65_537, 65_601), (131_072, 131_136)];
        for (clear, sealed) in cases {
            assert_eq!(sealed_len(clear), Some(sealed));
            assert_eq!(clear_len(sealed), Ok(clear));
        }
        for sealed in [0, 31, 33, 48, 65_585, 65_600] {
            assert_eq!(clear_len(sealed), Err(ContentError::Short), "{sealed}");
        }
        assert_eq!(sealed_len(u64::MAX), None);
    }

    #[test]
    fn a_nonce_carries_and_wraps() {
        let mut base = [0u8; NONCE];
        base[0] = 0xff;
        base[1] = 0xff;
        let expect = |head: [u8; 4]| std::array::from_fn(|i| head.get(i).copied().unwrap_or(0));
        assert_eq!(nonce_at(&base, 1), expect([0, 0, 1, 0]));
        assert_eq!(nonce_at(&base, 0x1_0001), expect([0, 0, 2, 0]));
        assert_eq!(nonce_at(&[0xff; NONCE], 1), [0; NONCE]);
    }
}
