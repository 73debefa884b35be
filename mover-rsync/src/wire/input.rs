//! Taking values from a stream.

use super::{WireError, bad};

/// How much memory is taken at once for bytes whose number the peer announced.
const STEP: usize = 64 * 1024;

/// Where bytes come from: a slice, or a stream without its frames.
pub trait Input {
    /// Fills `buf`.
    fn exact(&mut self, buf: &mut [u8]) -> Result<(), WireError>;

    /// One byte.
    fn byte(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[b]| b)
    }

    /// As many bytes as the array holds.
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut bytes = [0; N];
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Two bytes.
    fn short(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, signed.
    fn int(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_le_bytes)
    }

    /// A number in one to five bytes: as many leading ones in the first as bytes follow, its other bits on top.
    fn varint(&mut self) -> Result<i32, WireError> {
        let first = self.byte()?;
        let extra = first.leading_ones() as usize;
        if extra == 0 {
            return Ok(first.into());
        }
        if extra > 4 {
            return bad("a number longer than five bytes");
        }
        let mut bytes = [0; 5];
        self.exact(&mut bytes[..extra])?;
        bytes[extra] = first & (0x7f >> extra);
        let [a, b, c, d, over] = bytes;
        if over != 0 {
            return bad("a number beyond 32 bits");
        }
        Ok(i32::from_le_bytes([a, b, c, d]))
    }

    /// A number in at least `min` bytes (1 to 8), its highest in front.
    fn varlong(&mut self, min: usize) -> Result<i64, WireError> {
        let first = self.byte()?;
        // The reference counts no further than six.
        let extra = (first.leading_ones() as usize).min(6);
        if min + extra > 9 {
            return bad("a number longer than nine bytes");
        }
        let mut bytes = [0; 9];
        self.exact(&mut bytes[..min - 1 + extra])?;
        bytes[min - 1 + extra] = if extra == 0 { first } else { first & (0x7f >> extra) };
        let [low @ .., over] = bytes;
        if over != 0 && extra < 6 {
            return bad("a number beyond 64 bits");
        }
        Ok(i64::from_le_bytes(low))
    }

    /// A [`Input::varint`] that counts something: not negative and at most `max`.
    fn count(&mut self, max: usize, what: &'static str) -> Result<usize, WireError> {
        match usize::try_from(self.varint()?) {
            Ok(count) if count <= max => Ok(count),
            _ => bad(format!("{what} out of range")),
        }
    }

    /// Appends `len` bytes to `out`, taking memory only as they arrive.
    fn append(&mut self, len: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
        let end = out.len() + len;
        while out.len() < end {
            let from = out.len();
            out.resize(end.min(from + STEP), 0);
            self.exact(&mut out[from..])?;
        }
        Ok(())
    }

    /// `len` bytes.
    fn bytes(&mut self, len: usize) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(len.min(STEP));
        self.append(len, &mut out)?;
        Ok(out)
    }

    /// A string of at most 32,767 bytes behind its length.
    fn vstring(&mut self) -> Result<Vec<u8>, WireError> {
        let first = usize::from(self.byte()?);
        let len = if first & 0x80 == 0 { first } else { (first & 0x7f) << 8 | usize::from(self.byte()?) };
        self.bytes(len)
    }
}

impl Input for &[u8] {
    fn exact(&mut self, buf: &mut [u8]) -> Result<(), WireError> {
        let (head, rest) = self.split_at_checked(buf.len()).ok_or(WireError::Ended)?;
        buf.copy_from_slice(head);
        *self = rest;
        Ok(())
    }
}

impl<I: Input + ?Sized> Input for &mut I {
    fn exact(&mut self, buf: &mut [u8]) -> Result<(), WireError> {
        (**self).exact(buf)
    }
}
