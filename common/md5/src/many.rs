//! Many messages in memory, side by side in lanes.

use crate::stream::close;
use crate::{Block, Digest, Kernel, Lane, Md5, State};

/// The sums of independent slices, in their order.
pub fn md5_many(messages: &[&[u8]]) -> Vec<Digest> {
    md5_many_with(Kernel::best(), messages)
}

/// As [`md5_many`] on given instructions.
pub fn md5_many_with(kernel: Kernel, messages: &[&[u8]]) -> Vec<Digest> {
    let tails: Vec<Tail> = messages.iter().map(|message| Tail::of(message)).collect();
    let mut digests = vec![[0; 16]; messages.len()];
    let whole = messages.iter().zip(&tails).zip(&mut digests);
    side_by_side(kernel, whole.map(|((bytes, tail), digest)| Whole { bytes: Some(bytes), tail: Some(tail), digest }));
    digests
}

/// Adds to each sum the pieces beside it, in their order, at the price that they have together in lanes.
pub fn update_many<P: AsRef<[u8]>>(work: &mut [(&mut Md5, &[P])]) {
    update_many_with(Kernel::best(), work);
}

/// As [`update_many`] on given instructions.
pub fn update_many_with<P: AsRef<[u8]>>(kernel: Kernel, work: &mut [(&mut Md5, &[P])]) {
    let messages = work.iter_mut().map(|(sum, pieces)| Pieces { sum, left: pieces.iter(), rest: &[], blocks: 0 });
    side_by_side(kernel, messages);
}

/// What goes through a lane, one run of blocks after the other.
trait Message<'a> {
    /// The next blocks, of which there is at least one, and the state that they start from; `reached` is where the ones
    /// before have led. `None`: nothing comes any more.
    fn next(&mut self, reached: Option<State>) -> Option<Lane<'a>>;
}

/// Keeps the lanes full as long as there are messages.
fn side_by_side<'a, M: Message<'a>>(kernel: Kernel, mut waiting: impl Iterator<Item = M>) {
    let mut lanes: Vec<Lane<'_>> = Vec::with_capacity(kernel.lanes());
    let mut owners: Vec<M> = Vec::with_capacity(kernel.lanes());
    loop {
        while lanes.len() < kernel.lanes()
            && let Some(mut message) = waiting.next()
        {
            if let Some(lane) = message.next(None) {
                lanes.push(lane);
                owners.push(message);
            }
        }
        if lanes.is_empty() {
            return;
        }
        kernel.advance(&mut lanes);
        for at in (0..lanes.len()).rev().filter(|&at| lanes[at].blocks.is_empty()).collect::<Vec<_>>() {
            if let Some(lane) = owners[at].next(Some(lanes[at].state)) {
                lanes[at] = lane;
            } else {
                lanes.swap_remove(at);
                owners.swap_remove(at);
            }
        }
    }
}

/// One slice, then its padding.
struct Whole<'a, 'd> {
    bytes: Option<&'a [u8]>,
    tail: Option<&'a Tail>,
    digest: &'d mut Digest,
}

impl<'a> Message<'a> for Whole<'a, '_> {
    fn next(&mut self, reached: Option<State>) -> Option<Lane<'a>> {
        let state = reached.unwrap_or(State::START);
        let blocks = self.bytes.take().map(|bytes| bytes.as_chunks().0).filter(|blocks| !blocks.is_empty());
        let next = blocks.or_else(|| self.tail.take().map(Tail::blocks));
        if next.is_none() {
            *self.digest = state.digest();
        }
        next.map(|blocks| Lane { state, blocks })
    }
}

/// More bytes of a sum in progress.
struct Pieces<'a, 's, P> {
    sum: &'s mut Md5,
    left: std::slice::Iter<'a, P>,
    /// Of the piece whose blocks are on their way: what follows them, and how many they are.
    rest: &'a [u8],
    blocks: usize,
}

impl<'a, P: AsRef<[u8]>> Message<'a> for Pieces<'a, '_, P> {
    fn next(&mut self, reached: Option<State>) -> Option<Lane<'a>> {
        if let Some(state) = reached {
            self.sum.went_through(state, self.blocks, self.rest);
        }
        for piece in self.left.by_ref() {
            let (state, blocks, rest) = self.sum.start(piece.as_ref());
            if blocks.is_empty() {
                self.sum.went_through(state, 0, rest);
                continue;
            }
            (self.blocks, self.rest) = (blocks.len(), rest);
            return Some(Lane { state, blocks });
        }
        None
    }
}

/// The end of a message with its padding.
struct Tail {
    bytes: [u8; 128],
    used: usize,
}

impl Tail {
    fn of(message: &[u8]) -> Tail {
        let mut bytes = [0; 128];
        let used = close(message.as_chunks::<64>().1, message.len() as u64, &mut bytes);
        Tail { bytes, used }
    }

    fn blocks(&self) -> &[Block] {
        self.bytes[..self.used].as_chunks().0
    }
}
