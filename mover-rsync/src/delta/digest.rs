//! Digests of blocks and of whole files.
//!
//! The seed is a signed number: XXH takes it sign-extended to 64 bits; MD5 takes its four bytes, unless it is 0. Sums of
//! whole files have no seed.

use volsync_md5::Md5;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed, xxh3_128_with_seed};
use xxhash_rust::xxh64::{Xxh64, xxh64};

/// The longest digest.
pub const DIGEST_MAX: usize = 16;

/// A digest as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    bytes: [u8; DIGEST_MAX],
    len: u8,
}

impl Sum {
    fn new(bytes: &[u8]) -> Self {
        let mut sum = Self { bytes: [0; DIGEST_MAX], len: u8::try_from(bytes.len().min(DIGEST_MAX)).unwrap_or(0) };
        let len = usize::from(sum.len);
        sum.bytes[..len].copy_from_slice(&bytes[..len]);
        sum
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// A sum that is certainly wrong: what a sender sends after it failed to read a file to its end.
    #[must_use]
    pub fn spoilt(self) -> Self {
        let mut wrong = Self { bytes: [0; DIGEST_MAX], len: self.len };
        if wrong == self
            && let Some(last) = wrong.bytes[..usize::from(self.len)].last_mut()
        {
            *last = 1;
        }
        wrong
    }
}

/// Which digest a session uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SumKind {
    /// XXH3 with 128 bits.
    Xxh128,
    /// XXH3 with 64 bits.
    Xxh3,
    /// XXH64.
    Xxh64,
    /// MD5; blocks begin with the seed.
    Md5,
    /// MD5; blocks end with the seed (peers before 3.1).
    Md5SeedLast,
    /// Between two ends of ours: BLAKE3, cut to 128 bits, of whole files; XXH3 with 128 bits of blocks.
    Blake3,
}

impl SumKind {
    /// Bytes of the digest.
    #[allow(clippy::len_without_is_empty, reason = "a digest is never empty")]
    pub fn len(self) -> usize {
        match self {
            Self::Xxh128 | Self::Md5 | Self::Md5SeedLast | Self::Blake3 => 16,
            Self::Xxh3 | Self::Xxh64 => 8,
        }
    }

    /// The digest of a block.
    pub fn block(self, seed: i32, data: &[u8]) -> Sum {
        let wide = i64::from(seed).cast_unsigned();
        match self {
            Self::Xxh128 | Self::Blake3 => Sum::new(&xxh3_128_with_seed(data, wide).to_le_bytes()),
            Self::Xxh3 => Sum::new(&xxh3_64_with_seed(data, wide).to_le_bytes()),
            Self::Xxh64 => Sum::new(&xxh64(data, wide).to_le_bytes()),
            Self::Md5 | Self::Md5SeedLast => {
                let bytes = seed.to_le_bytes();
                let salt = if seed == 0 { &[][..] } else { &bytes };
                let mut md5 = Md5::new();
                let order = if self == Self::Md5 { [salt, data] } else { [data, salt] };
                for part in order {
                    md5.update(part);
                }
                Sum::new(&md5.finalize())
            }
        }
    }

    /// Begins the digest of a whole file.
    pub fn whole(self) -> Whole {
        match self {
            Self::Xxh128 => Whole::Xxh128(Box::new(Xxh3::new())),
            Self::Xxh3 => Whole::Xxh3(Box::new(Xxh3::new())),
            Self::Xxh64 => Whole::Xxh64(Xxh64::new(0)),
            Self::Md5 | Self::Md5SeedLast => Whole::Md5(Md5::new()),
            Self::Blake3 => Whole::Blake3(Box::default()),
        }
    }
}

/// The digest of a whole file in progress.
pub enum Whole {
    /// XXH3 with 128 bits.
    Xxh128(Box<Xxh3>),
    /// XXH3 with 64 bits.
    Xxh3(Box<Xxh3>),
    /// XXH64.
    Xxh64(Xxh64),
    /// MD5.
    Md5(Md5),
    /// BLAKE3.
    Blake3(Box<Gathered>),
}

/// BLAKE3 hashes 16 KiB side by side, but only of what it gets at once and only where that begins at such a place of its
/// tree: pieces as they come off the wire would take three times as long.
#[derive(Default)]
pub struct Gathered {
    hasher: blake3::Hasher,
    /// Not hashed yet; less than [`GATHER`].
    bytes: Vec<u8>,
    /// Something is in the hasher.
    begun: bool,
    /// Bytes so far, holes included.
    len: u64,
    /// Where holes are and how long, once there is one.
    holes: Option<blake3::Hasher>,
}

/// Hashed at once: a power of two.
const GATHER: usize = 128 * 1024;

impl Gathered {
    fn update(&mut self, mut data: &[u8]) {
        self.len = self.len.wrapping_add(data.len() as u64);
        while self.bytes.len() + data.len() >= GATHER {
            if self.bytes.is_empty() {
                self.hasher.update(&data[..GATHER]);
                data = &data[GATHER..];
            } else {
                let (head, rest) = data.split_at(GATHER - self.bytes.len());
                self.bytes.extend_from_slice(head);
                self.hasher.update(&self.bytes);
                self.bytes.clear();
                data = rest;
            }
            self.begun = true;
        }
        self.bytes.extend_from_slice(data);
    }

    fn hole(&mut self, len: u64) {
        let holes = self.holes.get_or_insert_default();
        holes.update(&self.len.to_le_bytes());
        holes.update(&len.to_le_bytes());
        self.len = self.len.wrapping_add(len);
    }

    /// With holes: the digest over that of everything else and that over the places and lengths of the holes.
    fn finish(&mut self) -> blake3::Hash {
        self.len = 0;
        let content = self.finish_content();
        match self.holes.take() {
            None => content,
            Some(holes) => blake3::hash(&[*content.as_bytes(), *holes.finalize().as_bytes()].concat()),
        }
    }

    fn finish_content(&mut self) -> blake3::Hash {
        // A small file is known whole, last bytes included, which a hasher would have to keep back one by one.
        let digest = if self.begun { self.hasher.update(&self.bytes).finalize() } else { blake3::hash(&self.bytes) };
        if std::mem::take(&mut self.begun) {
            self.hasher.reset();
        }
        self.bytes.clear();
        digest
    }
}

impl Whole {
    /// Adds bytes.
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Xxh128(state) | Self::Xxh3(state) => state.update(data),
            Self::Xxh64(state) => state.update(data),
            Self::Md5(state) => state.update(data),
            Self::Blake3(state) => state.update(data),
        }
    }

    /// Adds a hole, which only BLAKE3 knows.
    pub fn hole(&mut self, len: u64) {
        if let Self::Blake3(state) = self {
            state.hole(len);
        }
    }

    /// The digest; the state can be used for another file then.
    pub fn finish(&mut self) -> Sum {
        match self {
            Self::Xxh128(state) => {
                let sum = Sum::new(&state.digest128().to_le_bytes());
                state.reset();
                sum
            }
            Self::Xxh3(state) => {
                let sum = Sum::new(&state.digest().to_le_bytes());
                state.reset();
                sum
            }
            Self::Xxh64(state) => {
                let sum = Sum::new(&state.digest().to_le_bytes());
                state.reset(0);
                sum
            }
            Self::Md5(state) => Sum::new(&std::mem::take(state).finalize()),
            Self::Blake3(state) => Sum::new(state.finish().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(sum: Sum) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for b in sum.as_bytes() {
            write!(text, "{b:02x}").unwrap();
        }
        text
    }

    #[test]
    fn block_sums_are_those_of_the_reference() {
        let table = [
            (SumKind::Xxh128, 12345, "f53878efc050a057405fa5920efb8866"),
            (SumKind::Xxh128, -5, "24ab1f37976fc9c222255606082b0d6b"),
            (SumKind::Xxh3, 12345, "a89c33934cec6277"),
            (SumKind::Xxh3, -5, "f92146163b31f1a9"),
            (SumKind::Xxh64, 12345, "1e85078cc5ca7735"),
            (SumKind::Xxh64, -5, "2fbcd471ff14a739"),
            (SumKind::Md5, 12345, "3c0aebb6fd25841cfbffe82f4593203d"),
            (SumKind::Md5, -5, "d3f636f8ffe255263047fa9c2bbf330e"),
            (SumKind::Md5SeedLast, 12345, "6720ac40add3861ef97f4aa65a21d7c7"),
        ];
        for (kind, seed, expect) in table {
            assert_eq!(hex(kind.block(seed, b"short old")), expect, "{kind:?} {seed}");
        }
    }

    #[test]
    fn whole_files_have_no_seed_and_a_state_serves_many() {
        let table = [
            (SumKind::Xxh128, "9ce4c8f135b4105a6df569e0c786ba6b"),
            (SumKind::Xxh3, "2a46a2ab9a81fc99"),
            (SumKind::Xxh64, "5388bd91d091c1e4"),
            (SumKind::Md5, "b1946ac92492d2347c6235b4d2611184"),
        ];
        for (kind, expect) in table {
            let mut whole = kind.whole();
            for _ in 0..2 {
                whole.update(b"hel");
                whole.update(b"lo\n");
                assert_eq!(hex(whole.finish()), expect, "{kind:?}");
            }
            assert_eq!(hex(kind.block(0, b"hello\n")), expect);
        }
    }

    #[test]
    fn blake3_is_the_same_in_pieces_of_any_size() {
        let data: Vec<u8> = (0..3 * GATHER + 777).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut whole = SumKind::Blake3.whole();
        for len in [0, 1, 1024, 16_383, GATHER - 1, GATHER, GATHER + 1, data.len()] {
            let expect = Sum::new(blake3::hash(&data[..len]).as_bytes());
            for piece in [1000, 16_383, GATHER, GATHER + 5, data.len()] {
                data[..len].chunks(piece).for_each(|piece| whole.update(piece));
                assert_eq!(whole.finish(), expect, "{len} bytes by {piece}");
            }
        }
    }

    #[test]
    fn holes_count_by_place_and_length() {
        let mut whole = SumKind::Blake3.whole();
        let mut digest = |parts: &[Result<&[u8], u64>]| {
            for part in parts {
                match part {
                    Ok(data) => whole.update(data),
                    Err(hole) => whole.hole(*hole),
                }
            }
            whole.finish()
        };
        let all = [
            digest(&[Ok(b"ab")]),
            digest(&[Ok(b"a"), Err(5), Ok(b"b")]),
            digest(&[Ok(b"a"), Err(6), Ok(b"b")]),
            digest(&[Err(5), Ok(b"ab")]),
            digest(&[Ok(b"ab"), Err(5)]),
            digest(&[Err(5)]),
            digest(&[]),
        ];
        assert!(all.iter().enumerate().all(|(at, sum)| !all[..at].contains(sum)));
        assert_eq!(digest(&[Ok(b"a"), Err(5), Ok(b"b")]), all[1]);
    }

    #[test]
    fn a_spoilt_sum_is_never_right() {
        let sum = SumKind::Xxh3.block(0, b"x");
        assert_ne!(sum.spoilt(), sum);
        assert_ne!(sum.spoilt().spoilt(), sum.spoilt());
    }
}
