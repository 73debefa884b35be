//! Vectors of x86-64: SSE2 (which every such processor has), AVX2, AVX-512.
//!
//! AVX-512 does each round function in one instruction and rotates in another.
//!
//! **Invariant**: a `Ymm` is named only below a function with AVX2 enabled, `Short`, `Middle` and `Long` only below one
//! with AVX-512F and VL; [`kernel`](crate::kernel) alone calls those, after detection. That is what every `SAFETY`
//! comment here leans on.

#[allow(clippy::wildcard_imports, reason = "some fifty intrinsics, told apart by their _mm prefix")]
use std::arch::x86_64::*;

use crate::Block;
use crate::rounds::{Vector, Word};

/// Builds a vector type: its load, its transposition, and the conversions of the state.
///
/// Row `r` collects 16 bytes of the lanes `r`, `r + 4`, `r + 8`, ...; turning each 4 by 4 square around then leaves
/// every vector with one word of all lanes in their order.
macro_rules! vector {
    ($name:ident, $inner:ty, $lanes:literal, $row:ident, $lo32:ident, $hi32:ident, $lo64:ident, $hi64:ident) => {
        impl Vector for $name {
            const LANES: usize = $lanes;

            #[inline(always)]
            fn load(blocks: &[&Block]) -> [Self; 16] {
                let blocks: &[&Block; $lanes] = match blocks.first_chunk() {
                    Some(blocks) => blocks,
                    None => return [Self::splat(0); 16],
                };
                let mut m = [Self::splat(0); 16];
                for (quarter, words) in m.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    // SAFETY: the instruction set is there (module invariant).
                    unsafe {
                        let (r0, r1) = ($row(blocks, 0, quarter), $row(blocks, 1, quarter));
                        let (r2, r3) = ($row(blocks, 2, quarter), $row(blocks, 3, quarter));
                        let (a, b) = ($lo32(r0, r1), $hi32(r0, r1));
                        let (c, d) = ($lo32(r2, r3), $hi32(r2, r3));
                        *words = [Self($lo64(a, c)), Self($hi64(a, c)), Self($lo64(b, d)), Self($hi64(b, d))];
                    }
                }
                m
            }
            #[inline(always)]
            fn from_lanes(lanes: &[u32]) -> Self {
                let mut all = [0; $lanes];
                all.copy_from_slice(&lanes[..$lanes]);
                // SAFETY: an array of 32-bit numbers and a vector of the same size; any bits are valid in both.
                Self(unsafe { std::mem::transmute::<[u32; $lanes], $inner>(all) })
            }
            #[inline(always)]
            fn to_lanes(self, lanes: &mut [u32]) {
                // SAFETY: as above.
                let all = unsafe { std::mem::transmute::<$inner, [u32; $lanes]>(self.0) };
                lanes[..$lanes].copy_from_slice(&all);
            }
        }
    };
}

/// Words through AVX-512F and VL.
macro_rules! ternary {
    ($name:ident, $set1:ident, $add:ident, $rol:ident, $ternary:ident) => {
        // SAFETY (of every block here): the instruction set is there (module invariant).
        impl Word for $name {
            #[inline(always)]
            fn splat(value: u32) -> Self {
                // SAFETY: see above.
                Self(unsafe { $set1(value.cast_signed()) })
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $add(self.0, other.0) })
            }
            #[inline(always)]
            fn rotl<const N: i32, const M: i32>(self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $rol::<N>(self.0) })
            }
            #[inline(always)]
            fn f(sum: Self, b: Self, c: Self, d: Self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $add(sum.0, $ternary::<0xca>(b.0, c.0, d.0)) })
            }
            #[inline(always)]
            fn g(sum: Self, b: Self, c: Self, d: Self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $add(sum.0, $ternary::<0xe4>(b.0, c.0, d.0)) })
            }
            #[inline(always)]
            fn h(sum: Self, b: Self, c: Self, d: Self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $add(sum.0, $ternary::<0x96>(b.0, c.0, d.0)) })
            }
            #[inline(always)]
            fn i(sum: Self, b: Self, c: Self, d: Self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $add(sum.0, $ternary::<0x39>(b.0, c.0, d.0)) })
            }
        }
    };
}

/// Words through and, or, xor and shifts.
macro_rules! binary {
    ($name:ident, $set1:ident, $add:ident, $shl:ident, $shr:ident, $and:ident, $or:ident, $xor:ident) => {
        // SAFETY (of every block here): the instruction set is there (module invariant).
        impl Word for $name {
            #[inline(always)]
            fn splat(value: u32) -> Self {
                // SAFETY: see above.
                Self(unsafe { $set1(value.cast_signed()) })
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $add(self.0, other.0) })
            }
            #[inline(always)]
            fn rotl<const N: i32, const M: i32>(self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $or($shl::<N>(self.0), $shr::<M>(self.0)) })
            }
            #[inline(always)]
            fn f(sum: Self, b: Self, c: Self, d: Self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $add(sum.0, $xor(d.0, $and(b.0, $xor(c.0, d.0)))) })
            }
            #[inline(always)]
            fn g(sum: Self, b: Self, c: Self, d: Self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $add(sum.0, $xor(c.0, $and(d.0, $xor(b.0, c.0)))) })
            }
            #[inline(always)]
            fn h(sum: Self, b: Self, c: Self, d: Self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $add(sum.0, $xor(b.0, $xor(c.0, d.0))) })
            }
            #[inline(always)]
            fn i(sum: Self, b: Self, c: Self, d: Self) -> Self {
                // SAFETY: see above.
                Self(unsafe { $add(sum.0, $xor(c.0, $or(b.0, $xor(d.0, $set1(-1))))) })
            }
        }
    };
}

/// Four lanes of SSE2.
#[derive(Clone, Copy)]
pub(crate) struct Xmm(__m128i);
/// Eight lanes of AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Ymm(__m256i);
/// Four lanes of AVX-512VL.
#[derive(Clone, Copy)]
pub(crate) struct Short(__m128i);
/// Eight lanes of AVX-512VL.
#[derive(Clone, Copy)]
pub(crate) struct Middle(__m256i);
/// Sixteen lanes of AVX-512F.
#[derive(Clone, Copy)]
pub(crate) struct Long(__m512i);

binary!(Xmm, _mm_set1_epi32, _mm_add_epi32, _mm_slli_epi32, _mm_srli_epi32, _mm_and_si128, _mm_or_si128, _mm_xor_si128);
binary!(
    Ymm,
    _mm256_set1_epi32,
    _mm256_add_epi32,
    _mm256_slli_epi32,
    _mm256_srli_epi32,
    _mm256_and_si256,
    _mm256_or_si256,
    _mm256_xor_si256
);
ternary!(Short, _mm_set1_epi32, _mm_add_epi32, _mm_rol_epi32, _mm_ternarylogic_epi32);
ternary!(Middle, _mm256_set1_epi32, _mm256_add_epi32, _mm256_rol_epi32, _mm256_ternarylogic_epi32);
ternary!(Long, _mm512_set1_epi32, _mm512_add_epi32, _mm512_rol_epi32, _mm512_ternarylogic_epi32);

vector!(Xmm, __m128i, 4, row4, _mm_unpacklo_epi32, _mm_unpackhi_epi32, _mm_unpacklo_epi64, _mm_unpackhi_epi64);
vector!(Short, __m128i, 4, row4, _mm_unpacklo_epi32, _mm_unpackhi_epi32, _mm_unpacklo_epi64, _mm_unpackhi_epi64);
vector!(
    Ymm,
    __m256i,
    8,
    row8,
    _mm256_unpacklo_epi32,
    _mm256_unpackhi_epi32,
    _mm256_unpacklo_epi64,
    _mm256_unpackhi_epi64
);
vector!(
    Middle,
    __m256i,
    8,
    row8,
    _mm256_unpacklo_epi32,
    _mm256_unpackhi_epi32,
    _mm256_unpacklo_epi64,
    _mm256_unpackhi_epi64
);
vector!(
    Long,
    __m512i,
    16,
    row16,
    _mm512_unpacklo_epi32,
    _mm512_unpackhi_epi32,
    _mm512_unpacklo_epi64,
    _mm512_unpackhi_epi64
);

/// The 16 bytes of one quarter (0 to 3) of a block.
#[inline(always)]
fn quarter_of(block: &Block, quarter: usize) -> __m128i {
    let bytes: &[u8; 16] = &block.as_chunks().0[quarter];
    // SAFETY: 16 readable bytes; the load needs no alignment, and SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline(always)]
fn row4(blocks: &[&Block; 4], row: usize, quarter: usize) -> __m128i {
    quarter_of(blocks[row], quarter)
}

/// # Safety
/// AVX2 must be there.
#[inline(always)]
unsafe fn row8(blocks: &[&Block; 8], row: usize, quarter: usize) -> __m256i {
    let (low, high) = (quarter_of(blocks[row], quarter), quarter_of(blocks[row + 4], quarter));
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high) }
}

/// # Safety
/// AVX-512F must be there.
#[inline(always)]
unsafe fn row16(blocks: &[&Block; 16], row: usize, quarter: usize) -> __m512i {
    // SAFETY: the caller has AVX-512F.
    unsafe {
        let mut all = _mm512_castsi128_si512(quarter_of(blocks[row], quarter));
        all = _mm512_inserti32x4::<1>(all, quarter_of(blocks[row + 4], quarter));
        all = _mm512_inserti32x4::<2>(all, quarter_of(blocks[row + 8], quarter));
        _mm512_inserti32x4::<3>(all, quarter_of(blocks[row + 12], quarter))
    }
}
