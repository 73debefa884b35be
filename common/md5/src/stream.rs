//! One message, fed in pieces.

use crate::{Block, Digest, Kernel, State};

/// An MD5 sum in progress.
#[derive(Clone, Debug)]
pub struct Md5 {
    state: State,
    /// Bytes of the unfinished block: `total % 64` of them.
    rest: Block,
    /// Bytes so far. RFC 1321 counts bits modulo 2^64, so wrapping is what it asks for.
    total: u64,
}

impl Md5 {
    /// Nothing hashed yet.
    pub fn new() -> Md5 {
        Md5 { state: State::START, rest: [0; 64], total: 0 }
    }

    /// Adds bytes.
    pub fn update(&mut self, data: &[u8]) {
        let (mut state, blocks, rest) = self.start(data);
        Kernel::one(&mut state, blocks);
        self.went_through(state, blocks.len(), rest);
    }

    /// Begins to add `data`: the state before its whole blocks, those blocks, and what follows them.
    pub(crate) fn start<'a>(&mut self, data: &'a [u8]) -> (State, &'a [Block], &'a [u8]) {
        let (blocks, rest) = self.fill(data).as_chunks();
        (self.state, blocks, rest)
    }

    /// After [`Md5::start`]: so many blocks led to `state`, and `rest` follows them.
    pub(crate) fn went_through(&mut self, state: State, blocks: usize, rest: &[u8]) {
        self.state = state;
        self.keep(blocks, rest);
    }

    /// The sum of everything added.
    pub fn finalize(mut self) -> Digest {
        self.update(&padding(self.total));
        self.state.digest()
    }

    fn used(&self) -> usize {
        usize::from((self.total % 64) as u8)
    }

    /// Completes the unfinished block, if there is one, and returns what is left for whole blocks. When the data does
    /// not reach that far, all of it goes in and nothing is left.
    fn fill<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let used = self.used();
        if used == 0 {
            return data;
        }
        let (head, left) = data.split_at(data.len().min(64 - used));
        self.rest[used..used + head.len()].copy_from_slice(head);
        self.total = self.total.wrapping_add(head.len() as u64);
        if self.used() == 0 && !head.is_empty() {
            Kernel::one(&mut self.state, &[self.rest]);
        }
        left
    }

    /// Books whole blocks that went through, and keeps the bytes after them. With bytes pending from before, `fill`
    /// took everything and both are empty.
    fn keep(&mut self, blocks: usize, rest: &[u8]) {
        self.total = self.total.wrapping_add(blocks as u64 * 64 + rest.len() as u64);
        if !rest.is_empty() {
            self.rest[..rest.len()].copy_from_slice(rest);
        }
    }
}

impl Default for Md5 {
    fn default() -> Self {
        Md5::new()
    }
}

/// Adds the same bytes to two sums.
///
/// While both stand at the same place within a block, one pass serves both at little more than the price of one; otherwise
/// each is fed by itself.
pub(crate) fn update_both(first: &mut Md5, second: &mut Md5, data: &[u8]) {
    if first.used() != second.used() {
        first.update(data);
        second.update(data);
        return;
    }
    let left = first.fill(data);
    second.fill(data);
    let (blocks, rest) = left.as_chunks();
    Kernel::both(&mut first.state, &mut second.state, blocks);
    first.keep(blocks.len(), rest);
    second.keep(blocks.len(), rest);
}

/// The sum of one slice.
pub fn md5(data: &[u8]) -> Digest {
    let (blocks, rest) = data.as_chunks();
    let mut state = State::START;
    Kernel::one(&mut state, blocks);
    let mut tail = [0; 128];
    let used = close(rest, data.len() as u64, &mut tail);
    Kernel::one(&mut state, tail[..used].as_chunks().0);
    state.digest()
}

/// Copies the last bytes of a message (fewer than 64) and its padding into `tail`; returns 64 or 128.
pub(crate) fn close(rest: &[u8], total: u64, tail: &mut [u8; 128]) -> usize {
    let padding = padding(total);
    tail[..rest.len()].copy_from_slice(rest);
    tail[rest.len()..rest.len() + padding.len()].copy_from_slice(&padding);
    rest.len() + padding.len()
}

/// What is appended to a message of a given length: 9 to 72 bytes. Dereferences to them.
#[derive(Clone, Copy, Debug)]
pub struct Padding {
    bytes: [u8; 72],
    len: usize,
}

impl std::ops::Deref for Padding {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The padding of a message of `total` bytes (RFC 1321 3.1 and 3.2): one bit, zeros, the length in bits. Message and
/// padding together are whole blocks.
pub fn padding(total: u64) -> Padding {
    let used = usize::from((total % 64) as u8);
    let len = if used < 56 { 64 - used } else { 128 - used };
    let mut bytes = [0; 72];
    bytes[0] = 0x80;
    bytes[len - 8..len].copy_from_slice(&total.wrapping_mul(8).to_le_bytes());
    Padding { bytes, len }
}
