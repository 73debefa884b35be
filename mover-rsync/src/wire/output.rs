//! Appending values to a buffer.

/// The longest string that [`Output::vstring`] can carry.
pub const VSTRING_MAX: usize = 0x7fff;

/// What values are appended to.
pub trait Output {
    /// Appends bytes as they are.
    fn raw(&mut self, bytes: &[u8]);

    /// One byte.
    fn byte(&mut self, value: u8) {
        self.raw(&[value]);
    }

    /// Two bytes.
    fn short(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    /// Four bytes, signed.
    fn int(&mut self, value: i32) {
        self.raw(&value.to_le_bytes());
    }

    /// See [`super::Input::varint`].
    fn varint(&mut self, value: i32) {
        packed(self, &value.to_le_bytes(), 1);
    }

    /// See [`super::Input::varlong`].
    fn varlong(&mut self, value: i64, min: usize) {
        packed(self, &value.to_le_bytes(), min);
    }

    /// A number of things that are in memory. More than fit are cut to what the reader will refuse.
    fn count(&mut self, value: usize) {
        self.varint(i32::try_from(value).unwrap_or(i32::MAX));
    }

    /// A string behind its length; callers keep it within [`VSTRING_MAX`], what is longer is cut.
    fn vstring(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(VSTRING_MAX)];
        let [low, high, ..] = bytes.len().to_le_bytes();
        if bytes.len() > 0x7f {
            self.byte(high | 0x80);
        }
        self.byte(low);
        self.raw(bytes);
    }
}

impl Output for Vec<u8> {
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Writes a little-endian number in as few bytes as hold it, but at least `min`. The first byte tells how many follow
/// beyond `min` by its leading ones, and carries the highest byte if that leaves room for it.
fn packed(out: &mut (impl Output + ?Sized), bytes: &[u8], min: usize) {
    let count = bytes.iter().rposition(|b| *b != 0).map_or(min, |last| (last + 1).max(min));
    let extra = count - min;
    // Bits of the first byte that are left for the number, as the first that is not.
    let limit = 0x80u8 >> extra.min(7);
    let top = bytes[count - 1];
    if top >= limit {
        out.byte(!(limit - 1));
        out.raw(&bytes[..count]);
    } else {
        let ones = if extra == 0 { 0 } else { !(limit.wrapping_mul(2).wrapping_sub(1)) };
        out.byte(top | ones);
        out.raw(&bytes[..count - 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Input, WireError};
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn numbers_look_as_recorded() {
        let ints: &[(i32, &[u8])] = &[
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 0x80]),
            (255, &[0x80, 0xff]),
            (256, &[0x81, 0x00]),
            (511, &[0x81, 0xff]),
            (4242, &[0x90, 0x92]),
            (16384, &[0xc0, 0x00, 0x40]),
            (65535, &[0xc0, 0xff, 0xff]),
            (2_097_152, &[0xe0, 0, 0, 0x20]),
            (123_456_789, &[0xe7, 0x15, 0xcd, 0x5b]),
            (268_435_456, &[0xf0, 0, 0, 0, 0x10]),
            (i32::MAX, &[0xf0, 0xff, 0xff, 0xff, 0x7f]),
            (-1, &[0xf0, 0xff, 0xff, 0xff, 0xff]),
        ];
        for (value, bytes) in ints {
            assert_eq!(written(|out| out.varint(*value)), *bytes, "{value}");
        }
        let longs: &[(i64, usize, &[u8])] = &[
            (0, 3, &[0, 0, 0]),
            (4096, 3, &[0, 0, 0x10]),
            (70_000, 3, &[1, 0x70, 0x11]),
            (8_388_608, 3, &[0x80, 0, 0, 0x80]),
            (1_000_000_000_000, 3, &[0xe0, 0, 0x10, 0xa5, 0xd4, 0xe8]),
            (1_704_164_645, 4, &[0x65, 0x25, 0x7d, 0x93]),
            (2_147_483_647, 4, &[0x7f, 0xff, 0xff, 0xff]),
            (2_147_483_648, 4, &[0x80, 0, 0, 0, 0x80]),
            (4_294_967_296, 4, &[0x81, 0, 0, 0, 0]),
        ];
        for (value, min, bytes) in longs {
            assert_eq!(written(|out| out.varlong(*value, *min)), *bytes, "{value}");
        }
    }

    #[test]
    fn hostile_numbers_are_refused() {
        for bytes in [&[0xf8, 0, 0, 0, 0, 0, 0][..], &[0xff; 9], &[0xf1, 0, 0, 0, 0]] {
            let mut input = bytes;
            assert!(matches!(input.varint(), Err(WireError::Bad(_))), "{bytes:x?}");
        }
        assert!(matches!((&[0x80u8][..]).varint(), Err(WireError::Ended)));
        assert!(matches!((&[0xffu8; 12][..]).varlong(4), Err(WireError::Bad(_))));
    }

    proptest! {
        #[test]
        fn every_number_and_string_comes_back(
            int in any::<i32>(), long in any::<i64>(), min in 3usize..5, text in prop::collection::vec(any::<u8>(), 0..400)
        ) {
            let bytes = written(|out| {
                out.varint(int);
                out.varlong(long, min);
                out.varlong(long >> 20, min);
                out.vstring(&text);
            });
            let mut input = &bytes[..];
            prop_assert_eq!(input.varint().unwrap(), int);
            prop_assert_eq!(input.varlong(min).unwrap(), long);
            prop_assert_eq!(input.varlong(min).unwrap(), long >> 20);
            prop_assert_eq!(input.vstring().unwrap(), text);
            prop_assert!(input.is_empty());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..16), min in 1usize..9) {
            let _ = (&bytes[..]).varint();
            let _ = (&bytes[..]).varlong(min);
            let _ = (&bytes[..]).vstring();
        }
    }
}
