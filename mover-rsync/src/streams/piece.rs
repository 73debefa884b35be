//! What a stream carries: pieces with numbers, and its end.

use crate::wire::{WireError, bad};

/// Before each piece: its number (64 bits), then its length (32 bits), both little-endian. A length of zero ends the stream.
pub(super) const HEAD: usize = 12;

/// The longest piece in bytes.
pub(super) const MAX: usize = 256 << 10;

pub(super) fn head(number: u64, len: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&number.to_le_bytes());
    head[8..].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    head
}

/// The number and the length of what follows.
pub(super) fn parse(head: [u8; HEAD]) -> Result<(u64, usize), WireError> {
    let [number @ .., a, b, c, d] = head;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len > MAX {
        return bad("a piece of a stream is too long");
    }
    Ok((u64::from_le_bytes(number), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_and_long_pieces_are_refused() {
        for (number, len) in [(0, 0), (7, 1), (u64::MAX, MAX)] {
            assert_eq!(parse(head(number, len)).unwrap(), (number, len));
        }
        assert!(parse(head(0, MAX + 1)).is_err());
        assert!(parse([0xff; HEAD]).is_err());
    }
}
