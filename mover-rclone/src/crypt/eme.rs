//! EME, a wide-block cipher over AES-256: every bit of a name depends on every other (S. Halevi, P. Rogaway, "A
//! Parallelizable Enciphering Mode", 2003).

use aes::Aes256;
use aes::cipher::{BlockDecrypt as _, BlockEncrypt as _, KeyInit as _};

const BLOCK: usize = 16;
/// The mode is proven for up to as many blocks as a block has bits.
pub const MAX_LEN: usize = 128 * BLOCK;

type Block = [u8; BLOCK];

/// The cipher with its key and tweak.
#[derive(Clone)]
pub struct Eme {
    aes: Aes256,
    tweak: Block,
    /// Twice the encryption of zero: the first mask.
    mask: Block,
}

/// A message that is empty, too long, or not whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength;

impl Eme {
    /// A cipher for one key and tweak.
    pub fn new(key: &[u8; 32], tweak: Block) -> Self {
        let aes = Aes256::new(key.into());
        let mut zero = [0; BLOCK].into();
        aes.encrypt_block(&mut zero);
        Self { aes, tweak, mask: doubled(zero.into()) }
    }

    /// Encrypts in place.
    pub fn encrypt(&self, message: &mut [u8]) -> Result<(), BadLength> {
        self.transform(message, |block| {
            let mut b = (*block).into();
            self.aes.encrypt_block(&mut b);
            *block = b.into();
        })
    }

    /// Decrypts in place.
    pub fn decrypt(&self, message: &mut [u8]) -> Result<(), BadLength> {
        self.transform(message, |block| {
            let mut b = (*block).into();
            self.aes.decrypt_block(&mut b);
            *block = b.into();
        })
    }

    /// The mode is its own inverse with the block cipher turned round. Names as in the paper, figure 3.
    fn transform(&self, message: &mut [u8], cipher: impl Fn(&mut Block)) -> Result<(), BadLength> {
        let (chunks, []) = message.as_chunks_mut::<BLOCK>() else { return Err(BadLength) };
        if chunks.len() * BLOCK > MAX_LEN {
            return Err(BadLength);
        }
        self.masked(chunks, &cipher, true);
        let (first, rest) = chunks.split_first_mut().ok_or(BadLength)?;
        let sp = rest.iter().fold(*first, |sum, b| xor(sum, *b));
        let mp = xor(sp, self.tweak);
        let mut mc = mp;
        cipher(&mut mc);
        let mut m = xor(mp, mc);
        let mut ccc = xor(mc, self.tweak);
        for block in rest {
            m = doubled(m);
            *block = xor(*block, m);
            ccc = xor(ccc, *block);
        }
        *first = ccc;
        self.masked(chunks, &cipher, false);
        Ok(())
    }

    /// One pass of the block cipher with the masks `L * 2^j` before (`mask_first`) or after it.
    fn masked(&self, blocks: &mut [Block], cipher: impl Fn(&mut Block), mask_first: bool) {
        let mut mask = self.mask;
        for block in blocks {
            if mask_first {
                *block = xor(*block, mask);
            }
            cipher(block);
            if !mask_first {
                *block = xor(*block, mask);
            }
            mask = doubled(mask);
        }
    }
}

fn xor(a: Block, b: Block) -> Block {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// Multiplication by x in GF(2^128), least significant byte first, modulo x^128 + x^7 + x^2 + x + 1.
fn doubled(block: Block) -> Block {
    let number = u128::from_le_bytes(block);
    let reduced = if number >> 127 == 1 { 0x87 } else { 0 };
    ((number << 1) ^ reduced).to_le_bytes()
}
