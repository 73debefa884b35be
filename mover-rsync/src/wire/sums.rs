//! Block sums of a basis: the head and what follows it.

use super::{Input, Output, WireError, bad};

/// The largest block since protocol 30.
pub const BLOCK_MAX: u32 = 1 << 17;

/// The largest block between two ends of ours.
pub const FINE_MAX: u32 = 1 << 24;

/// Between two ends of ours a block is that of most file systems and databases, in files of any size ...
const FINE: u32 = 4096;

/// ... until there are so many of them: what is kept of them is bounded.
const FINE_COUNT: u64 = 1 << 20;

/// Bytes of each strong sum of fine blocks. Many blocks make chances, and the digest of the file finds the rest.
const FINE_STRONG: u32 = 8;

/// The smallest block that is chosen by itself.
const BLOCK_MIN: u32 = 700;

/// The longest strong sum that is sent.
const STRONG_MAX: u32 = 16;

/// How a basis is cut into blocks. All zero: there is no basis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SumHead {
    /// Number of blocks.
    pub count: u32,
    /// Length of all blocks but a short last one.
    pub block: u32,
    /// Bytes of each strong sum.
    pub strong: u32,
    /// Length of a short last block, else 0.
    pub remainder: u32,
}

impl SumHead {
    /// Appends the head.
    pub fn write(&self, out: &mut impl Output) {
        for number in [self.count, self.block, self.strong, self.remainder] {
            out.raw(&number.to_le_bytes());
        }
    }

    /// How many bytes head and sums take.
    pub fn wire_len(&self) -> u64 {
        16 + u64::from(self.count) * (4 + u64::from(self.strong))
    }

    /// Takes a head; `digest` is the length of the transfer's digest, `largest` that of a block. What it describes fits an
    /// `i64`.
    pub fn read(digest: usize, largest: u32, input: &mut impl Input) -> Result<Self, WireError> {
        let [count, block, strong, remainder] = [input.int()?, input.int()?, input.int()?, input.int()?];
        let in_range = |value: i32, max: u32| u32::try_from(value).ok().filter(|value| *value <= max);
        let head = (|| {
            Some(Self {
                count: in_range(count, i32::MAX.unsigned_abs())?,
                block: in_range(block, largest)?,
                strong: in_range(strong, u32::try_from(digest).ok()?)?,
                remainder: in_range(remainder, block.unsigned_abs())?,
            })
        })();
        match head {
            Some(head) if head.count == 0 || head.block > 0 => Ok(head),
            _ => bad(format!("block sums with a head of {count}, {block}, {strong}, {remainder}")),
        }
    }

    /// The head for a basis of `len` bytes; `full` asks for whole strong sums, as a second try does. `digest` is the
    /// length of the transfer's digest.
    pub fn choose(len: u64, digest: usize, full: bool) -> Self {
        let Some(log) = len.checked_ilog2() else { return Self::default() };
        let most = STRONG_MAX.min(u32::try_from(digest).unwrap_or(STRONG_MAX));
        let block = block_length(len);
        // 10 bits more than the birthday bound for pairs of (block, offset), less the 32 of the rolling sum.
        let bits = (10 + 2 * log).saturating_sub(block.ilog2()).saturating_sub(31);
        let strong = if full { most } else { bits.div_ceil(8).clamp(2, most) };
        let count = u32::try_from(len.div_ceil(block.into())).unwrap_or(u32::MAX);
        let remainder = u32::try_from(len % u64::from(block)).unwrap_or(0);
        Self { count, block, strong, remainder }
    }

    /// The head between two ends of ours: changes of single pages stay small whatever the size of the file.
    pub fn fine(len: u64, full: bool) -> Self {
        let coarse = Self::choose(len, STRONG_MAX as usize, full);
        let least = len.div_ceil(FINE_COUNT).next_power_of_two().max(FINE.into());
        let block = match u32::try_from(least) {
            // Small files are cut as the reference does.
            Ok(FINE) if coarse.block < FINE => return coarse,
            Ok(block) => block.min(FINE_MAX),
            Err(_) => FINE_MAX,
        };
        let count = u32::try_from(len.div_ceil(block.into())).unwrap_or(u32::MAX);
        let remainder = u32::try_from(len % u64::from(block)).unwrap_or(0);
        Self { count, block, strong: if full { STRONG_MAX } else { FINE_STRONG }, remainder }
    }

    /// Length of block `index`.
    pub fn block_len(&self, index: u32) -> u32 {
        if index + 1 == self.count && self.remainder != 0 { self.remainder } else { self.block }
    }

    /// Where block `index` begins.
    pub fn offset(&self, index: u32) -> u64 {
        u64::from(index) * u64::from(self.block)
    }

    /// Length of the basis.
    pub fn len(&self) -> u64 {
        match self.count.checked_sub(1) {
            Some(last) => self.offset(last) + u64::from(self.block_len(last)),
            None => 0,
        }
    }

    /// Whether there is no basis.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// 700 bytes for small files, then the square root cut to a multiple of 8, as the reference chooses; at most 128 KiB.
fn block_length(len: u64) -> u32 {
    if len <= 490_000 {
        return BLOCK_MIN;
    }
    let root = u32::try_from(len.isqrt()).unwrap_or(u32::MAX);
    (root & !7).clamp(BLOCK_MIN, BLOCK_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn block_sizes_are_those_of_the_reference() {
        let table: &[(u64, u32, u32, u32, u32)] = &[
            (490_000, 700, 700, 2, 0),
            (490_001, 700, 701, 2, 1),
            (1_048_576, 1024, 1024, 2, 0),
            (100_000_000, 10_000, 10_000, 3, 0),
            (1_073_741_824, 32_768, 32_768, 3, 0),
            (3_221_225_472, 56_752, 56_760, 4, 38_704),
            (1 << 34, 131_072, 131_072, 4, 0),
            (11_544, 700, 17, 2, 344),
        ];
        for (len, block, count, strong, remainder) in table {
            let expect = SumHead { count: *count, block: *block, strong: *strong, remainder: *remainder };
            assert_eq!(SumHead::choose(*len, 16, false), expect, "{len}");
            assert_eq!(expect.len(), *len);
        }
        assert_eq!(SumHead::choose(5, 8, true).strong, 8);
        assert_eq!(SumHead::choose(0, 16, false), SumHead::default());
    }

    #[test]
    fn fine_blocks_are_pages_until_there_are_too_many() {
        for (len, block, strong) in
            [(11_544, 700, 2), (1 << 30, 4096, 8), (1 << 32, 4096, 8), (1 << 40, 1 << 20, 8), (1 << 46, FINE_MAX, 8)]
        {
            let head = SumHead::fine(len, false);
            assert_eq!((head.block, head.strong, head.len()), (block, strong, len));
        }
        assert_eq!((SumHead::fine(1 << 30, true).strong, SumHead::fine(0, false)), (16, SumHead::default()));
    }

    #[test]
    fn hostile_heads_are_refused() {
        let heads = [
            [1, 0, 2, 0],
            [-1, 700, 2, 0],
            [1, 131_073, 2, 0],
            [1, 700, 17, 0],
            [1, 700, -1, 0],
            [1, 700, 2, 701],
            [1, 700, 2, -1],
        ];
        for head in heads {
            let bytes: Vec<u8> = head.iter().flat_map(|n: &i32| n.to_le_bytes()).collect();
            assert!(SumHead::read(16, BLOCK_MAX, &mut &bytes[..]).is_err(), "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn chosen_heads_come_back(len in 0u64..1 << 45, digest in prop::sample::select(vec![8usize, 16])) {
            let head = SumHead::choose(len, digest, false);
            let mut out = Vec::new();
            head.write(&mut out);
            prop_assert_eq!(SumHead::read(digest, BLOCK_MAX, &mut &out[..]).unwrap(), head);
            prop_assert_eq!(head.len(), len);
        }

        #[test]
        fn any_bytes_are_refused_or_make_sense(bytes in prop::collection::vec(any::<u8>(), 16)) {
            if let Ok(head) = SumHead::read(16, BLOCK_MAX, &mut &bytes[..]) {
                prop_assert!(i64::try_from(head.len()).is_ok());
            }
        }
    }
}
