//! The 64 steps of MD5, once, over whatever a word is: one number, two interleaved messages, a vector of lanes.

use crate::Block;

/// RFC 1321 3.4: `floor(2^32 * abs(sin(i + 1)))`.
#[rustfmt::skip]
const K: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// A 32-bit word of MD5, or several of them that take the same steps.
///
/// The four round functions add into `sum`, so that an implementation may choose the order that keeps `b`, the word
/// that is known last, off the long way.
pub(crate) trait Word: Copy {
    /// The same number for every message.
    fn splat(value: u32) -> Self;
    /// Addition modulo 2^32.
    fn add(self, other: Self) -> Self;
    /// Rotation to the left by `N`; `M` is `32 - N`.
    fn rotl<const N: i32, const M: i32>(self) -> Self;
    /// `sum + ((b & c) | (!b & d))`
    fn f(sum: Self, b: Self, c: Self, d: Self) -> Self;
    /// `sum + ((b & d) | (c & !d))`
    fn g(sum: Self, b: Self, c: Self, d: Self) -> Self;
    /// `sum + (b ^ c ^ d)`
    fn h(sum: Self, b: Self, c: Self, d: Self) -> Self;
    /// `sum + (c ^ (b | !d))`
    fn i(sum: Self, b: Self, c: Self, d: Self) -> Self;
}

/// Several messages that lie in different places, one lane each.
pub(crate) trait Vector: Word {
    /// How many messages.
    const LANES: usize;
    /// The sixteen words of one block of each message. `blocks` holds at least `LANES` of them.
    fn load(blocks: &[&Block]) -> [Self; 16];
    /// Reads the lanes of one word of the state, `LANES` of them.
    fn from_lanes(lanes: &[u32]) -> Self;
    /// Writes them back.
    fn to_lanes(self, lanes: &mut [u32]);
}

/// One block (RFC 1321 3.4).
#[inline(always)]
pub(crate) fn rounds<W: Word>(state: [W; 4], m: &[W; 16]) -> [W; 4] {
    let [mut a, mut b, mut c, mut d] = state;
    macro_rules! step {
        ($mix:ident, $shift:literal, $i:expr, $word:expr) => {
            let sum = W::$mix(a.add(m[($word) % 16].add(W::splat(K[$i]))), b, c, d);
            (a, d, c, b) = (d, c, b, b.add(sum.rotl::<$shift, { 32 - $shift }>()));
        };
    }
    macro_rules! round {
        ($mix:ident, $from:literal, $times:literal, $plus:literal, [$s0:literal, $s1:literal, $s2:literal, $s3:literal]) => {
            round!(@four $mix, $from, $times, $plus, 0, $s0, $s1, $s2, $s3);
            round!(@four $mix, $from, $times, $plus, 4, $s0, $s1, $s2, $s3);
            round!(@four $mix, $from, $times, $plus, 8, $s0, $s1, $s2, $s3);
            round!(@four $mix, $from, $times, $plus, 12, $s0, $s1, $s2, $s3);
        };
        (@four $mix:ident, $from:literal, $times:literal, $plus:literal, $i:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal) => {
            step!($mix, $s0, $from + $i, $times * $i + $plus);
            step!($mix, $s1, $from + $i + 1, $times * ($i + 1) + $plus);
            step!($mix, $s2, $from + $i + 2, $times * ($i + 2) + $plus);
            step!($mix, $s3, $from + $i + 3, $times * ($i + 3) + $plus);
        };
    }
    round!(f, 0, 1, 0, [7, 12, 17, 22]);
    round!(g, 16, 5, 1, [5, 9, 14, 20]);
    round!(h, 32, 3, 5, [4, 11, 16, 23]);
    round!(i, 48, 7, 0, [6, 10, 15, 21]);
    [state[0].add(a), state[1].add(b), state[2].add(c), state[3].add(d)]
}

/// The same blocks into every message of `W`.
#[inline(always)]
pub(crate) fn run_same<W: Word>(mut state: [W; 4], blocks: &[Block]) -> [W; 4] {
    for block in blocks {
        state = rounds(state, &words(block).map(W::splat));
    }
    state
}

/// The value itself, which the compiler knows nothing of: it would otherwise reorder sums of words so that the word
/// that is known last passes through more of them, which costs a sixth of the speed of one message.
#[inline(always)]
#[allow(asm_sub_register, reason = "the register is named in a comment only")]
fn opaque(mut value: u32) -> u32 {
    // SAFETY: no instruction at all, only a register that is read and written.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}

impl Word for u32 {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        value
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn rotl<const N: i32, const M: i32>(self) -> Self {
        self.rotate_left(N.unsigned_abs())
    }
    #[inline(always)]
    fn f(sum: Self, b: Self, c: Self, d: Self) -> Self {
        opaque(sum).wrapping_add(d ^ (b & (c ^ d)))
    }
    // The halves have no bit in common, so they can be added one by one: only `b & d` waits for `b`.
    #[inline(always)]
    fn g(sum: Self, b: Self, c: Self, d: Self) -> Self {
        opaque(sum.wrapping_add(c & !d)).wrapping_add(b & d)
    }
    #[inline(always)]
    fn h(sum: Self, b: Self, c: Self, d: Self) -> Self {
        opaque(sum).wrapping_add(b ^ opaque(c ^ d))
    }
    #[inline(always)]
    fn i(sum: Self, b: Self, c: Self, d: Self) -> Self {
        opaque(sum).wrapping_add(c ^ (b | opaque(!d)))
    }
}

/// One message, as a vector of one lane.
impl Vector for u32 {
    const LANES: usize = 1;

    #[inline(always)]
    fn load(blocks: &[&Block]) -> [Self; 16] {
        blocks.first().map_or([0; 16], |block| words(block))
    }
    #[inline(always)]
    fn from_lanes(lanes: &[u32]) -> Self {
        lanes[0]
    }
    #[inline(always)]
    fn to_lanes(self, lanes: &mut [u32]) {
        lanes[0] = self;
    }
}

/// The sixteen words of a block (RFC 1321 2).
#[inline(always)]
fn words(block: &Block) -> [u32; 16] {
    let mut m = [0; 16];
    for (word, bytes) in m.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    m
}

/// Two words that take their steps in turn, so that one fills the waits of the other.
#[derive(Clone, Copy)]
pub(crate) struct Two<W>(pub(crate) W, pub(crate) W);

impl<W: Word> Word for Two<W> {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        Two(W::splat(value), W::splat(value))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Two(self.0.add(other.0), self.1.add(other.1))
    }
    #[inline(always)]
    fn rotl<const N: i32, const M: i32>(self) -> Self {
        Two(self.0.rotl::<N, M>(), self.1.rotl::<N, M>())
    }
    #[inline(always)]
    fn f(sum: Self, b: Self, c: Self, d: Self) -> Self {
        Two(W::f(sum.0, b.0, c.0, d.0), W::f(sum.1, b.1, c.1, d.1))
    }
    #[inline(always)]
    fn g(sum: Self, b: Self, c: Self, d: Self) -> Self {
        Two(W::g(sum.0, b.0, c.0, d.0), W::g(sum.1, b.1, c.1, d.1))
    }
    #[inline(always)]
    fn h(sum: Self, b: Self, c: Self, d: Self) -> Self {
        Two(W::h(sum.0, b.0, c.0, d.0), W::h(sum.1, b.1, c.1, d.1))
    }
    #[inline(always)]
    fn i(sum: Self, b: Self, c: Self, d: Self) -> Self {
        Two(W::i(sum.0, b.0, c.0, d.0), W::i(sum.1, b.1, c.1, d.1))
    }
}

impl<V: Vector> Vector for Two<V> {
    const LANES: usize = 2 * V::LANES;

    #[inline(always)]
    fn load(blocks: &[&Block]) -> [Self; 16] {
        let (low, high) = blocks.split_at(V::LANES);
        let (low, high) = (V::load(low), V::load(high));
        let mut m = [Self::splat(0); 16];
        for ((word, low), high) in m.iter_mut().zip(low).zip(high) {
            *word = Two(low, high);
        }
        m
    }
    #[inline(always)]
    fn from_lanes(lanes: &[u32]) -> Self {
        let (low, high) = lanes.split_at(V::LANES);
        Two(V::from_lanes(low), V::from_lanes(high))
    }
    #[inline(always)]
    fn to_lanes(self, lanes: &mut [u32]) {
        let (low, high) = lanes.split_at_mut(V::LANES);
        self.0.to_lanes(low);
        self.1.to_lanes(high);
    }
}
