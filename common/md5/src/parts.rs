//! A message and its parts of equal length, all summed in one pass.

use crate::stream::update_both;
use crate::{Digest, Md5};

/// The sums of a whole message and of its parts, of which all but the last have the same length: what S3 wants to know of
/// an object that goes up in parts. Costs little more than the sum of the whole (`docs/performance.md`, "MD5").
#[derive(Clone, Debug)]
pub struct Parts {
    whole: Md5,
    current: Md5,
    /// Bytes of a part, and what the current one still lacks.
    len: u64,
    left: u64,
    done: Vec<Digest>,
}

impl Parts {
    /// Nothing summed yet, of parts of `len` bytes. 0 is taken for 1.
    pub fn new(len: u64) -> Parts {
        let len = len.max(1);
        Parts { whole: Md5::new(), current: Md5::new(), len, left: len, done: Vec::new() }
    }

    /// Adds bytes.
    pub fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let (now, later) = data.split_at(usize::try_from(self.left).unwrap_or(data.len()).min(data.len()));
            update_both(&mut self.whole, &mut self.current, now);
            self.left -= now.len() as u64;
            if self.left == 0 {
                self.done.push(std::mem::take(&mut self.current).finalize());
                self.left = self.len;
            }
            data = later;
        }
    }

    /// The sum of the whole, and those of the parts in their order. An empty message has no part.
    pub fn finalize(mut self) -> (Digest, Vec<Digest>) {
        if self.left < self.len {
            self.done.push(self.current.finalize());
        }
        (self.whole.finalize(), self.done)
    }
}
