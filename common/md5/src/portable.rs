//! Four lanes in plain Rust, for processors without a vector kernel here: the compiler turns them into the vectors
//! every 64-bit target has (SSE2, NEON).

use crate::Block;
use crate::rounds::{Vector, Word};

const LANES: usize = 4;

/// One word of four messages.
#[derive(Clone, Copy)]
pub(crate) struct Quad([u32; LANES]);

macro_rules! lanewise {
    ($l:ident => $e:expr) => {
        Quad([
            {
                let $l = 0;
                $e
            },
            {
                let $l = 1;
                $e
            },
            {
                let $l = 2;
                $e
            },
            {
                let $l = 3;
                $e
            },
        ])
    };
}

impl Word for Quad {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        Quad([value; LANES])
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        lanewise!(l => self.0[l].wrapping_add(other.0[l]))
    }
    #[inline(always)]
    fn rotl<const N: i32, const M: i32>(self) -> Self {
        lanewise!(l => (self.0[l] << N) | (self.0[l] >> M))
    }
    #[inline(always)]
    fn f(sum: Self, b: Self, c: Self, d: Self) -> Self {
        lanewise!(l => sum.0[l].wrapping_add(d.0[l] ^ (b.0[l] & (c.0[l] ^ d.0[l]))))
    }
    #[inline(always)]
    fn g(sum: Self, b: Self, c: Self, d: Self) -> Self {
        lanewise!(l => sum.0[l].wrapping_add(c.0[l] ^ (d.0[l] & (b.0[l] ^ c.0[l]))))
    }
    #[inline(always)]
    fn h(sum: Self, b: Self, c: Self, d: Self) -> Self {
        lanewise!(l => sum.0[l].wrapping_add(b.0[l] ^ c.0[l] ^ d.0[l]))
    }
    #[inline(always)]
    fn i(sum: Self, b: Self, c: Self, d: Self) -> Self {
        lanewise!(l => sum.0[l].wrapping_add(c.0[l] ^ (b.0[l] | !d.0[l])))
    }
}

impl Vector for Quad {
    const LANES: usize = LANES;

    #[inline(always)]
    fn load(blocks: &[&Block]) -> [Self; 16] {
        let mut m = [Quad([0; LANES]); 16];
        for (lane, block) in blocks.iter().take(LANES).enumerate() {
            for (word, bytes) in m.iter_mut().zip(block.as_chunks::<4>().0) {
                word.0[lane] = u32::from_le_bytes(*bytes);
            }
        }
        m
    }
    #[inline(always)]
    fn from_lanes(lanes: &[u32]) -> Self {
        Quad([lanes[0], lanes[1], lanes[2], lanes[3]])
    }
    #[inline(always)]
    fn to_lanes(self, lanes: &mut [u32]) {
        lanes[..LANES].copy_from_slice(&self.0);
    }
}
