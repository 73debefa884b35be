//! Which instructions are used, and the one place that may call them.

use crate::portable::Quad;
use crate::rounds::{Two, Vector, rounds, run_same};
use crate::{Block, State};

/// The most messages that one call of a kernel keeps in flight; more are worked off in groups.
pub const MAX_LANES: usize = 32;

/// A set of instructions that this processor has. There is no way to name one that it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// One message on its way through [`Kernel::advance`].
#[derive(Clone, Copy, Debug)]
pub struct Lane<'a> {
    /// The chaining value after everything consumed so far.
    pub state: State,
    /// What is there to be consumed; `advance` shortens it from the front.
    pub blocks: &'a [Block],
}

impl Kernel {
    /// The one that works without any detection.
    pub const PORTABLE: Kernel = Kernel(Level::Portable);

    /// The fastest one here.
    pub fn best() -> Kernel {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                return Kernel(Level::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                return Kernel(Level::Avx2);
            }
        }
        Kernel::PORTABLE
    }

    /// Every one that works here, the slowest first.
    pub fn available() -> Vec<Kernel> {
        let mut all = vec![Kernel::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                all.push(Kernel(Level::Avx2));
            }
            if Kernel::best() == Kernel(Level::Avx512) {
                all.push(Kernel(Level::Avx512));
            }
        }
        all
    }

    /// How many messages at a time it works on at its best.
    pub fn lanes(self) -> usize {
        match self.0 {
            Level::Portable => 4,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => 16,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => 32,
        }
    }

    /// Feeds each lane as many blocks as the shortest of them holds, and says how many those were.
    ///
    /// Any number of lanes will do; a few run in a narrower kernel, one alone as a single message.
    pub fn advance(self, lanes: &mut [Lane<'_>]) -> usize {
        let count = lanes.iter().map(|lane| lane.blocks.len()).min().unwrap_or(0);
        for group in lanes.chunks_mut(self.lanes()) {
            match group {
                [only] => Self::one(&mut only.state, &only.blocks[..count]),
                group => self.group(group, count),
            }
        }
        for lane in lanes {
            lane.blocks = &lane.blocks[count..];
        }
        count
    }

    fn group(self, group: &mut [Lane<'_>], count: usize) {
        match (self.0, group.len()) {
            // Two messages fit into the 32-bit registers, whose steps are shorter than those of vectors.
            (_, 2) => run::<Two<u32>>(group, count),
            (Level::Portable, _) => run::<Quad>(group, count),
            // SAFETY: AVX2 was detected when this level was made.
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, n) => unsafe { x86::avx2(group, count, n) },
            // SAFETY: AVX-512F and VL were detected when this level was made.
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, n) => unsafe { x86::avx512(group, count, n) },
        }
    }

    /// One message: 32-bit registers are faster than one lane of a vector.
    pub(crate) fn one(state: &mut State, blocks: &[Block]) {
        state.0 = run_same(state.0, blocks);
    }

    /// The same blocks into two messages.
    pub(crate) fn both(first: &mut State, second: &mut State, blocks: &[Block]) {
        let mut state = [Two(0, 0); 4];
        for ((word, one), two) in state.iter_mut().zip(first.0).zip(second.0) {
            *word = Two(one, two);
        }
        let state = run_same(state, blocks);
        for ((word, one), two) in state.iter().zip(&mut first.0).zip(&mut second.0) {
            (*one, *two) = (word.0, word.1);
        }
    }
}

/// The first `count` blocks of at most `V::LANES` lanes. Lanes that are missing repeat the first one's work, which
/// costs nothing beside it.
#[inline(always)]
fn run<V: Vector>(group: &mut [Lane<'_>], count: usize) {
    let mut lanes: [&[Block]; MAX_LANES] = [&[]; MAX_LANES];
    let mut words = [[0; MAX_LANES]; 4];
    for (l, slot) in lanes[..V::LANES].iter_mut().enumerate() {
        let lane = group.get(l).unwrap_or(&group[0]);
        *slot = &lane.blocks[..count];
        for (word, value) in words.iter_mut().zip(lane.state.0) {
            word[l] = value;
        }
    }
    let mut state = [V::splat(0); 4];
    for (vector, word) in state.iter_mut().zip(&words) {
        *vector = V::from_lanes(word);
    }
    state = run_lanes(state, &lanes, count);
    for (vector, word) in state.iter().zip(&mut words) {
        vector.to_lanes(word);
    }
    for (l, lane) in group.iter_mut().enumerate() {
        lane.state = State([words[0][l], words[1][l], words[2][l], words[3][l]]);
    }
}

/// The loop itself: gather a block of every lane, turn them around, 64 steps.
#[inline(always)]
fn run_lanes<V: Vector>(mut state: [V; 4], lanes: &[&[Block]; MAX_LANES], count: usize) -> [V; 4] {
    let mut at: [&Block; MAX_LANES] = [&[0; 64]; MAX_LANES];
    for index in 0..count {
        for (block, lane) in at[..V::LANES].iter_mut().zip(lanes) {
            *block = &lane[index];
        }
        state = rounds(state, &V::load(&at));
    }
    state
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Lane, Two, run};
    use crate::x86::{Long, Middle, Short, Xmm, Ymm};

    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(group: &mut [Lane<'_>], count: usize, lanes: usize) {
        match lanes {
            ..=4 => run::<Xmm>(group, count),
            5..=8 => run::<Ymm>(group, count),
            _ => run::<Two<Ymm>>(group, count),
        }
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn avx512(group: &mut [Lane<'_>], count: usize, lanes: usize) {
        match lanes {
            ..=4 => run::<Short>(group, count),
            5..=8 => run::<Middle>(group, count),
            9..=16 => run::<Long>(group, count),
            _ => run::<Two<Long>>(group, count),
        }
    }
}
