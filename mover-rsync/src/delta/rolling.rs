//! The rolling sum: two 16-bit sums over signed bytes, moved along by one byte at a time.

/// The sum of a window of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rolling {
    /// Sum of the bytes. Only the low 16 bits count.
    a: u32,
    /// Sum of all sums so far. Only the low 16 bits count.
    b: u32,
}

/// Bytes summed up at once.
const PIECE: u16 = 64;

/// How often each of them counts in the second sum: 64, 63, ... 1.
const WEIGHTS: [u16; PIECE as usize] = {
    let mut weights = [0; PIECE as usize];
    let mut left = PIECE;
    while left > 0 {
        weights[(PIECE - left) as usize] = left;
        left -= 1;
    }
    weights
};

/// Bytes count from -128 to 127.
fn signed(byte: u8) -> u32 {
    i32::from(byte.cast_signed()).cast_unsigned()
}

impl Rolling {
    /// The sum of `window`.
    pub fn new(window: &[u8]) -> Self {
        // In pieces, without dependencies from byte to byte, and with 16 bits for what has 16 bits: that is what the
        // compiler makes vectors of. Overflow checks would undo it.
        let mut sum = Self::default();
        let (pieces, rest) = window.as_chunks::<{ PIECE as usize }>();
        for piece in pieces {
            let (mut a, mut b) = (0_u16, 0_u16);
            for (weight, byte) in WEIGHTS.iter().zip(piece) {
                let value = i16::from(byte.cast_signed()).cast_unsigned();
                a = a.wrapping_add(value);
                b = b.wrapping_add(value.wrapping_mul(*weight));
            }
            sum.b = sum.b.wrapping_add(sum.a.wrapping_mul(PIECE.into())).wrapping_add(b.into());
            sum.a = sum.a.wrapping_add(a.into());
        }
        for byte in rest {
            sum.a = sum.a.wrapping_add(signed(*byte));
            sum.b = sum.b.wrapping_add(sum.a);
        }
        sum
    }

    /// Moves a window of `len` bytes one byte on.
    #[inline]
    pub fn roll(&mut self, len: u32, out: u8, new: u8) {
        self.a = self.a.wrapping_sub(signed(out)).wrapping_add(signed(new));
        self.b = self.b.wrapping_sub(len.wrapping_mul(signed(out))).wrapping_add(self.a);
    }

    /// Takes the first byte out of a window of `len` bytes at the end of the data.
    #[inline]
    pub fn shrink(&mut self, len: u32, out: u8) {
        self.a = self.a.wrapping_sub(signed(out));
        self.b = self.b.wrapping_sub(len.wrapping_mul(signed(out)));
    }

    /// As it travels: the first sum in the low half.
    #[inline]
    pub fn value(self) -> u32 {
        self.a & 0xffff | self.b << 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sums_are_those_of_the_reference() {
        let all: Vec<u8> = (0..=255).collect();
        for (data, expect) in [(&b"short old"[..], 0x124d_038f), (&all, 0x6a80_ff80), (&[0xff; 10], 0xffc9_fff6)] {
            assert_eq!(Rolling::new(data).value(), expect);
        }
    }

    proptest! {
        #[test]
        fn rolling_equals_starting_anew(data in prop::collection::vec(any::<u8>(), 2..400), len in 1usize..200) {
            let len = len.min(data.len());
            let mut sum = Rolling::new(&data[..len]);
            let width = u32::try_from(len).unwrap();
            for start in 1..=data.len() - len {
                sum.roll(width, data[start - 1], data[start - 1 + len]);
                prop_assert_eq!(sum.value(), Rolling::new(&data[start..start + len]).value());
            }
            for (gone, start) in (data.len() - len..data.len()).enumerate() {
                prop_assert_eq!(sum.value(), Rolling::new(&data[start..]).value());
                sum.shrink(width - u32::try_from(gone).unwrap(), data[start]);
            }
        }
    }
}
