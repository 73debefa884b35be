//! Finding blocks of the receiver's basis in a new file, in one pass over it.
//!
//! A window of one block moves over the file; its rolling sum is looked up among those of the basis, and only where one
//! is equal the strong sum decides. After a match the window jumps by a block. Most windows match nothing, so a bit
//! table sized to the cache answers first.

use std::io;

use super::digest::{SumKind, Whole};
use super::rolling::Rolling;
use crate::wire::sums::SumHead;
use crate::wire::{Input, WireError};

/// Read at once.
const CHUNK: usize = 256 * 1024;

/// Blocks with one rolling sum that are looked at for a window; more would make some files quadratic (rsync's limit
/// since CVE-2026-70453).
const CHAIN_MAX: usize = 1024;

/// Bits of the first table for each block; one in sixteen lets a window through by chance.
const BITS_PER_BLOCK: usize = 16;

/// Bits of the first table: from 8 KiB to 8 MiB.
const BITS: std::ops::RangeInclusive<usize> = 1 << 16..=1 << 26;

/// No block.
const NONE: u32 = u32::MAX;

/// The sums of a basis, ready to be searched.
#[derive(Debug)]
pub struct BlockTable {
    head: SumHead,
    weak: Vec<u32>,
    /// `head.strong` bytes a block.
    strong: Vec<u8>,
    filter: Vec<u64>,
    filter_shift: u32,
    first: Vec<u32>,
    first_shift: u32,
    next: Vec<u32>,
}

impl BlockTable {
    /// Takes the sums that follow `head`.
    pub fn read(head: SumHead, input: &mut impl Input) -> Result<Self, WireError> {
        let (mut weak, mut strong) = (Vec::new(), Vec::new());
        for _ in 0..head.count {
            weak.push(input.int()?.cast_unsigned());
            input.append(head.strong as usize, &mut strong)?;
        }
        Ok(Self::new(head, weak, strong))
    }

    fn new(head: SumHead, weak: Vec<u32>, strong: Vec<u8>) -> Self {
        let bits = (weak.len() * BITS_PER_BLOCK).next_power_of_two().clamp(*BITS.start(), *BITS.end());
        let slots = (weak.len() * 2).next_power_of_two().max(2);
        let mut table = Self {
            head,
            strong,
            filter: vec![0; bits / 64],
            filter_shift: 32 - bits.ilog2().min(32),
            first: vec![NONE; slots],
            first_shift: 32 - slots.ilog2().min(32),
            next: vec![NONE; weak.len()],
            weak,
        };
        // From the last on, so that chains ascend.
        for block in (0..table.weak.len()).rev() {
            table.insert(block);
        }
        table
    }

    fn insert(&mut self, block: usize) {
        let hash = spread(self.weak[block]);
        let bit = (hash >> self.filter_shift) as usize;
        self.filter[bit / 64] |= 1 << (bit % 64);
        let slot = &mut self.first[(hash >> self.first_shift) as usize];
        self.next[block] = std::mem::replace(slot, u32::try_from(block).unwrap_or(NONE));
    }

    #[inline]
    fn may_have(&self, weak: u32) -> bool {
        let bit = (spread(weak) >> self.filter_shift) as usize;
        self.filter[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// The block from `first` on that `window` equals; those `hinted` at are looked at first.
    fn find(&self, weak: u32, window: &[u8], first: u32, hinted: [u32; 2], kind: SumKind, seed: i32) -> Option<u32> {
        let mut strong = None;
        let mut equals = |block: u32| {
            block >= first
                && self.weak.get(block as usize) == Some(&weak)
                && self.head.block_len(block) as usize == window.len()
                && {
                    let sum = strong.get_or_insert_with(|| kind.block(seed, window));
                    let len = self.head.strong as usize;
                    let at = block as usize * len;
                    sum.as_bytes().get(..len) == self.strong.get(at..at + len)
                }
        };
        if let Some(block) = hinted.into_iter().find(|block| equals(*block)) {
            return Some(block);
        }
        let slot = (spread(weak) >> self.first_shift) as usize;
        let mut block = self.first[slot];
        for _ in 0..CHAIN_MAX {
            if block == NONE {
                return None;
            }
            if equals(block) {
                return Some(block);
            }
            block = self.next[block as usize];
        }
        None
    }
}

/// Spreads a sum over 32 bits (Fibonacci hashing, Knuth 6.4).
#[inline]
fn spread(weak: u32) -> u32 {
    weak.wrapping_mul(0x9e37_79b1)
}

/// Where the parts of a file go, in order.
pub trait Sink {
    /// Bytes that the receiver lacks.
    fn literal(&mut self, data: &[u8]) -> Result<(), WireError>;
    /// A block that it has, and what is in it.
    fn matched(&mut self, block: u32, content: &[u8]) -> Result<(), WireError>;
}

/// Where the bytes of a file come from.
pub trait Source {
    /// Fills as much of `buf` as there is; less than all only at the end.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;
}

/// Sends files; keeps its buffer from one to the next.
#[derive(Debug, Default)]
pub struct Matcher {
    buffer: Vec<u8>,
}

/// What a file is held against.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// Its sums.
    pub table: &'a BlockTable,
    /// Of the strong ones.
    pub kind: SumKind,
    /// Of the strong ones.
    pub seed: i32,
    /// It becomes the new file as it stands: what lies before the place where the receiver writes is gone.
    pub in_place: bool,
}

impl Basis<'_> {
    fn block(&self) -> usize {
        self.table.head.block as usize
    }

    /// The first block that the receiver still has when it writes at `offset`, and the one that need not be moved.
    fn left_at(&self, offset: u64) -> (u32, u32) {
        let block = u64::from(self.table.head.block);
        if !self.in_place {
            return (0, NONE);
        }
        let first = u32::try_from(offset.div_ceil(block)).unwrap_or(NONE);
        (first, if offset.is_multiple_of(block) { first } else { NONE })
    }
}

impl Matcher {
    /// Sends `source` to `sink`, against a basis if there is one, and adds every byte to `whole`.
    ///
    /// The outer error is of the sink. The inner one is of reading: what was sent before stands, and the file must not
    /// be taken for whole.
    pub fn send(
        &mut self,
        source: &mut impl Source,
        basis: Option<Basis<'_>>,
        whole: &mut Whole,
        sink: &mut impl Sink,
    ) -> Result<io::Result<()>, WireError> {
        self.buffer.resize(CHUNK + 2 * basis.map_or(0, |basis| basis.block()), 0);
        match basis.filter(|basis| !basis.table.head.is_empty()) {
            None => plain(&mut self.buffer, source, whole, sink),
            Some(basis) => {
                let mut scan = Scan { buffer: &mut self.buffer, start: 0, literal: 0, at: 0, end: 0, ended: false };
                scan.run(&basis, source, whole, sink)
            }
        }
    }
}

fn plain(
    buffer: &mut [u8],
    source: &mut impl Source,
    whole: &mut Whole,
    sink: &mut impl Sink,
) -> Result<io::Result<()>, WireError> {
    loop {
        let filled = match source.read(buffer) {
            Ok(filled) => filled,
            Err(error) => return Ok(Err(error)),
        };
        whole.update(&buffer[..filled]);
        sink.literal(&buffer[..filled])?;
        if filled < buffer.len() {
            return Ok(Ok(()));
        }
    }
}

/// The state of a search: `buffer[literal..at]` is unmatched and unsent, the window begins at `at`, bytes are known up
/// to `end`.
struct Scan<'a> {
    buffer: &'a mut [u8],
    /// Where the buffer begins in the file.
    start: u64,
    literal: usize,
    at: usize,
    end: usize,
    ended: bool,
}

impl Scan<'_> {
    fn run(
        &mut self,
        basis: &Basis<'_>,
        source: &mut impl Source,
        whole: &mut Whole,
        sink: &mut impl Sink,
    ) -> Result<io::Result<()>, WireError> {
        let mut wanted = 0;
        loop {
            if self.at + basis.block() > self.end && !self.ended {
                if let Err(error) = self.refill(source, whole, sink)? {
                    return Ok(Err(error));
                }
                continue;
            }
            if self.at == self.end {
                sink.literal(&self.buffer[self.literal..self.end])?;
                return Ok(Ok(()));
            }
            if let Some(block) = self.search(basis, wanted) {
                let len = basis.table.head.block_len(block) as usize;
                sink.literal(&self.buffer[self.literal..self.at])?;
                sink.matched(block, &self.buffer[self.at..self.at + len])?;
                self.at += len;
                self.literal = self.at;
                wanted = block.saturating_add(1);
            }
        }
    }

    /// Moves the window on until it equals a block, or until the buffer has no whole window any more.
    fn search(&mut self, basis: &Basis<'_>, wanted: u32) -> Option<u32> {
        let table = basis.table;
        let mut len = basis.block().min(self.end - self.at);
        let mut sum = Rolling::new(&self.buffer[self.at..self.at + len]);
        let width = u32::try_from(len).unwrap_or(u32::MAX);
        let mut wanted = wanted;
        loop {
            let weak = sum.value();
            if table.may_have(weak) {
                let window = &self.buffer[self.at..self.at + len];
                let (first, here) = basis.left_at(self.start + self.at as u64);
                let hinted = if here == NONE { [wanted, NONE] } else { [here, wanted] };
                if let Some(block) = table.find(weak, window, first, hinted, basis.kind, basis.seed) {
                    return Some(block);
                }
            }
            wanted = NONE;
            if self.at + len < self.end {
                sum.roll(width, self.buffer[self.at], self.buffer[self.at + len]);
                self.at += 1;
            } else if self.ended {
                // At the end the window gets shorter, down to a short last block.
                sum.shrink(u32::try_from(len).unwrap_or(u32::MAX), self.buffer[self.at]);
                self.at += 1;
                len -= 1;
                if len == 0 {
                    return None;
                }
            } else {
                // This window matched nothing; the next one needs more bytes.
                self.at += 1;
                return None;
            }
        }
    }

    /// Sends what is unmatched, moves the rest to the front and reads on.
    fn refill(
        &mut self,
        source: &mut impl Source,
        whole: &mut Whole,
        sink: &mut impl Sink,
    ) -> Result<io::Result<()>, WireError> {
        sink.literal(&self.buffer[self.literal..self.at])?;
        self.buffer.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.start += self.at as u64;
        (self.literal, self.at) = (0, 0);
        match source.read(&mut self.buffer[self.end..]) {
            Err(error) => Ok(Err(error)),
            Ok(filled) => {
                whole.update(&self.buffer[self.end..self.end + filled]);
                self.end += filled;
                self.ended = self.end < self.buffer.len();
                Ok(Ok(()))
            }
        }
    }
}

/// The sums of the blocks of a basis, as the receiving side sends them, from consecutive blocks.
pub fn append_sums(head: &SumHead, kind: SumKind, seed: i32, block: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&Rolling::new(block).value().to_le_bytes());
    let sum = kind.block(seed, block);
    out.extend_from_slice(&sum.as_bytes()[..head.strong as usize]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Bytes<'a>(&'a [u8]);

    impl Source for Bytes<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let len = buf.len().min(self.0.len());
            buf[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    #[derive(Default)]
    struct Rebuilt<'a> {
        head: SumHead,
        basis: &'a [u8],
        content: Vec<u8>,
        literal: usize,
        blocks: Vec<u32>,
        in_place: bool,
    }

    impl Sink for Rebuilt<'_> {
        fn literal(&mut self, data: &[u8]) -> Result<(), WireError> {
            self.literal += data.len();
            self.content.extend_from_slice(data);
            Ok(())
        }
        fn matched(&mut self, block: u32, content: &[u8]) -> Result<(), WireError> {
            let start = usize::try_from(self.head.offset(block)).unwrap();
            assert!(!self.in_place || start >= self.content.len(), "it is overwritten by now");
            let own = &self.basis[start..start + self.head.block_len(block) as usize];
            assert_eq!(own, content);
            self.content.extend_from_slice(own);
            self.blocks.push(block);
            Ok(())
        }
    }

    fn rebuild<'a>(basis: &'a [u8], new: &[u8], block: u32) -> Rebuilt<'a> {
        rebuild_by(basis, new, block, false)
    }

    fn rebuild_by<'a>(basis: &'a [u8], new: &[u8], block: u32, in_place: bool) -> Rebuilt<'a> {
        let (kind, seed) = (SumKind::Xxh3, -7);
        let chosen = SumHead::choose(basis.len() as u64, 8, true);
        let count = u32::try_from(basis.len()).unwrap().div_ceil(block);
        let head = SumHead { block, count, remainder: u32::try_from(basis.len()).unwrap() % block, ..chosen };
        let mut sums = Vec::new();
        basis.chunks(block as usize).for_each(|part| append_sums(&head, kind, seed, part, &mut sums));
        let table = BlockTable::read(head, &mut &sums[..]).unwrap();
        let mut rebuilt = Rebuilt { head, basis, in_place, ..Rebuilt::default() };
        let mut whole = kind.whole();
        let mut matcher = Matcher::default();
        let basis = Basis { table: &table, kind, seed, in_place };
        matcher.send(&mut Bytes(new), Some(basis), &mut whole, &mut rebuilt).unwrap().unwrap();
        assert_eq!(whole.finish(), kind.block(0, new));
        rebuilt
    }

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut word = seed | 1;
        let mut next = || {
            word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            word.to_le_bytes()[7]
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn what_was_inserted_is_all_that_is_sent() {
        let basis = noise(3_000_017, 1);
        let mut new = basis.clone();
        new.splice(1_500_000..1_500_000, noise(100, 2));
        new.splice(10..10, [1, 2, 3]);
        let rebuilt = rebuild(&basis, &new, 1000);
        assert!(rebuilt.content == new);
        // The second one falls between two blocks.
        assert_eq!(rebuilt.literal, 103 + 1000);
        assert!(rebuilt.blocks.is_sorted() && rebuilt.blocks.last() == Some(&3000));
    }

    #[test]
    fn equal_blocks_give_runs() {
        let basis = vec![0; 70_000];
        let rebuilt = rebuild(&basis, &basis, 700);
        assert_eq!(rebuilt.blocks, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_stays_in_place_is_found_there_and_nothing_behind_is_used() {
        let noise = noise(70_000, 3);
        let zeros = vec![0; 70_000];
        for (basis, new, literal) in [
            // Moved on: all of it was overwritten before it was wanted.
            ([&zeros[..700], &noise].concat(), noise.clone(), 0),
            (noise.clone(), [&zeros[..700], &noise].concat(), 70_700),
            ([&zeros[..], &noise].concat(), [&noise[..700], &zeros[700..], &noise].concat(), 0),
        ] {
            assert_eq!(rebuild_by(&basis, &new, 700, true).literal, literal);
        }
        let changed = [&zeros[..70_000 - 1], b"x"].concat();
        assert_eq!(rebuild_by(&zeros, &changed, 700, true).blocks, (0..99).collect::<Vec<_>>());
    }

    #[test]
    fn a_broken_source_is_told_and_what_came_before_was_sent() {
        struct Broken(bool);
        impl Source for Broken {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                buf.fill(1);
                if std::mem::replace(&mut self.0, true) { Err(io::Error::other("bad disk")) } else { Ok(buf.len()) }
            }
        }
        let mut sink = Rebuilt::default();
        let sent = Matcher::default().send(&mut Broken(false), None, &mut SumKind::Md5.whole(), &mut sink).unwrap();
        assert!(sent.is_err() && sink.literal == CHUNK);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_file_is_rebuilt(
            basis in prop::collection::vec(0u8..3, 0..3000),
            edits in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(0u8..3, 0..40), 0usize..60), 0..5),
            block in 1u32..300,
        ) {
            let mut new = basis.clone();
            for (at, insert, remove) in edits {
                let at = at.index(new.len() + 1);
                new.splice(at..(at + remove).min(new.len()), insert);
            }
            prop_assert_eq!(&rebuild(&basis, &new, block).content, &new);
            prop_assert_eq!(rebuild_by(&basis, &new, block, true).content, new);
        }
    }
}
