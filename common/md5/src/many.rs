//! Many slices in memory, side by side in lanes.

use crate::stream::close;
use crate::{Block, Digest, Kernel, Lane, State};

/// The sums of independent slices, in their order.
pub fn md5_many(messages: &[&[u8]]) -> Vec<Digest> {
    md5_many_with(Kernel::best(), messages)
}

/// As [`md5_many`] on given instructions.
pub fn md5_many_with(kernel: Kernel, messages: &[&[u8]]) -> Vec<Digest> {
    let tails: Vec<Tail> = messages.iter().map(|message| Tail::of(message)).collect();
    let mut digests = vec![[0; 16]; messages.len()];
    let mut waiting = 0..messages.len();
    let mut lanes: Vec<Lane<'_>> = Vec::with_capacity(kernel.lanes());
    let mut owners: Vec<Owner> = Vec::with_capacity(kernel.lanes());
    loop {
        while lanes.len() < kernel.lanes()
            && let Some(message) = waiting.next()
        {
            lanes.push(Lane { state: State::START, blocks: messages[message].as_chunks().0 });
            owners.push(Owner { message, in_tail: false });
        }
        if lanes.is_empty() {
            return digests;
        }
        kernel.advance(&mut lanes);
        for at in (0..lanes.len()).rev() {
            if !lanes[at].blocks.is_empty() {
                continue;
            }
            let owner = &mut owners[at];
            if owner.in_tail {
                digests[owner.message] = lanes[at].state.digest();
                lanes.swap_remove(at);
                owners.swap_remove(at);
            } else {
                owner.in_tail = true;
                lanes[at].blocks = tails[owner.message].blocks();
            }
        }
    }
}

/// Whose blocks a lane works on, and whether they are the last ones.
struct Owner {
    message: usize,
    in_tail: bool,
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
