//! Whether packing is worth its time: most large files are packed already.
//!
//! Some bytes are packed and measured; if they hardly got smaller, the next ones go as they are, twice as many each time
//! in a row, before some are tried again. So hardly more goes unpacked in vain than went unpacked for a reason before.

/// Bytes that are tried before they are judged: of what is smaller, several files.
const TRIED: u64 = 32 * 1024;

/// Bytes that are tried at most: a block of zstd, so that measuring costs nothing.
const TRIED_MOST: u64 = 128 * 1024;

/// Bytes that go as they are after the first try that was in vain.
const STORED: u64 = 128 * 1024;

/// Bytes that go as they are at most.
const STORED_MOST: u64 = 4 << 20;

/// What the last tries gave.
#[derive(Debug)]
pub(super) struct Worth {
    /// Bytes that were tried since the last judgement.
    tried: u64,
    /// Bytes that became of them.
    became: u64,
    /// Bytes that still go as they are.
    stored: u64,
    /// How many will after the next try in vain.
    next: u64,
}

impl Default for Worth {
    fn default() -> Self {
        Self { tried: 0, became: 0, stored: 0, next: STORED }
    }
}

impl Worth {
    /// Whether so many bytes go as they are.
    pub(super) fn stores(&mut self, len: usize) -> bool {
        let stores = self.stored > 0;
        self.stored = self.stored.saturating_sub(len as u64);
        stores
    }

    /// So many bytes are being packed. Whether that is enough for a judgement.
    pub(super) fn trying(&mut self, len: usize) -> bool {
        self.tried += len as u64;
        self.tried >= TRIED_MOST
    }

    /// So many bytes came of what is tried.
    pub(super) fn became(&mut self, len: usize) {
        self.became += len as u64;
    }

    /// All that is tried came out.
    pub(super) fn judge(&mut self) {
        if self.tried < TRIED {
            return;
        }
        // A twentieth less is worth it.
        if self.became > self.tried - self.tried / 20 {
            self.stored = self.next;
            self.next = (self.next * 2).min(STORED_MOST);
        } else {
            self.next = STORED;
        }
        (self.tried, self.became) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that went as they are of pieces of 8 KiB that pack to so many bytes each.
    fn stored(pieces: impl IntoIterator<Item = usize>) -> usize {
        let (mut worth, mut stored) = (Worth::default(), 0);
        for packed in pieces {
            if worth.stores(8192) {
                stored += 8192;
            } else {
                worth.trying(8192);
                worth.became(packed);
                worth.judge();
            }
        }
        stored
    }

    #[test]
    fn what_does_not_get_smaller_goes_as_it_is() {
        let all = 100 << 20;
        let pieces = |packed| std::iter::repeat_n(packed, all / 8192);
        assert_eq!(stored(pieces(7000)), 0);
        assert_eq!(stored(pieces(7782)), 0, "a twentieth");
        let most = stored(pieces(8200));
        assert!(most > all - all / 64, "{most}");
    }

    #[test]
    fn no_more_goes_unpacked_in_vain_than_did_not_get_smaller_before() {
        for packed in [1, 10, 100, 1000] {
            let pieces = std::iter::repeat_n(8200, packed).chain(std::iter::repeat_n(100, 10_000));
            let in_vain = stored(pieces) / 8192;
            assert!(in_vain <= 2 * packed + 16 && in_vain <= packed + 512, "{packed}: {in_vain}");
        }
    }

    #[test]
    fn a_long_piece_is_judged_after_one_block() {
        let mut worth = Worth::default();
        assert!(!worth.trying(64 * 1024) && worth.trying(64 * 1024));
        worth.became(131_100);
        worth.judge();
        assert!(worth.stores(1));
    }
}
