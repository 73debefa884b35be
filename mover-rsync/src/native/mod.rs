//! What two ends that are both ours do beyond rsync's protocol: they compare digests of whole directories, and only
//! what differs is listed.
//!
//! A client of ours marks the letters of what it can do (`e.LsfxCIvu_3`), which no other server looks at; a server of
//! ours that sees the mark grants [`NATIVE`](crate::wire::handshake::Compat::NATIVE) and says the version right behind
//! the seed. Then, before the file list:
//!
//! 1. The receiving side says what it would [`judge`], and whether it has anything at all (else the list tells
//!    everything); the sender whether it sends a tree, and where that goes.
//! 2. Both walk their trees at the same time. A directory has two digests: of the names in it with everything that is
//!    judged, and of that together with everything below it ([`tree`]).
//! 3. The receiving side tells the digests of its top; the sender asks for those below directories that differ, until
//!    it knows every directory whose names must be listed ([`plan`]).
//!
//! The list then leaves out what is equal, and is rsync's own in everything else: so are the decisions for each entry,
//! deletions, links and attributes. A directory whose names are left out is listed like a mount point, in which nothing
//! is deleted. Because the sender has read its whole tree by then, an error of reading stops all deletions.
//!
//! Nothing in a digest is trusted for more than "this needs no look": contents have digests of their own.

mod judge;
mod plan;
mod scan;
mod talk;
mod tree;
mod wire;

use crate::options::Beyond;
pub(crate) use plan::Plan;
pub(crate) use talk::{Comparison, LOST_AND_FOUND, receive, send};
pub use wire::fuzz;

/// The version of all this; the lower one of both sides counts.
pub(crate) const VERSION: u8 = 5;

/// The first one whose servers say where further streams of a session meet.
pub(crate) const STREAMS: u8 = 4;

/// The first one whose literal bytes may stand among packed ones as they are.
pub(crate) const STORES: u8 = 5;

/// The oldest that is spoken. With an older end nothing is native.
pub(crate) const OLDEST: u8 = 3;

/// The mark behind the letters of a client: an underscore and its version; another one and bits of what it wants beyond
/// rsync may follow.
pub(crate) const MARK: u8 = b'_';

/// The version that a client of ours marked, if it did.
pub(crate) fn marked(letters: &[u8]) -> Option<u8> {
    number(letters, 1).filter(|version| *version >= OLDEST)
}

const VOLUME: u8 = 1;
const CAPABILITIES: u8 = 2;
const DIRECTORY_TIMES: u8 = 4;

/// What a client of ours wants beyond rsync.
pub(crate) fn beyond(letters: &[u8]) -> Beyond {
    let bits = number(letters, 2).unwrap_or(0);
    Beyond {
        volume: bits & VOLUME != 0,
        capabilities: bits & CAPABILITIES != 0,
        directory_times: bits & DIRECTORY_TIMES != 0,
    }
}

/// The letters of a client that wants this.
pub(crate) fn with_beyond(letters: &str, beyond: Beyond) -> String {
    let bits = [
        (beyond.volume, VOLUME),
        (beyond.volume && beyond.capabilities, CAPABILITIES),
        (beyond.directory_times, DIRECTORY_TIMES),
    ];
    match bits.iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, bit)| all | bit) {
        0 => letters.to_owned(),
        bits => format!("{letters}_{bits}"),
    }
}

/// The number behind the so-manieth underscore.
fn number(letters: &[u8], nth: usize) -> Option<u8> {
    let behind = letters.split(|b| *b == MARK).nth(nth)?;
    let digits = behind.iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&behind[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_with_a_number_counts() {
        for (letters, version) in [
            ("LsfxCIvu_3", Some(3)),
            ("LsfxCIvu_37x", Some(37)),
            ("LsfxCIvu", None),
            ("LsfxCIvu_", None),
            ("LsfxCIvu_0", None),
            ("LsfxCIvu_2", None),
            ("_999", None),
            ("_x1", None),
        ] {
            assert_eq!(marked(letters.as_bytes()), version, "{letters}");
        }
    }

    #[test]
    fn what_is_wanted_beyond_stands_behind_the_version() {
        for (volume, capabilities, directory_times, letters) in [
            (false, false, false, "x_3"),
            (true, false, false, "x_3_1"),
            (true, true, false, "x_3_3"),
            (false, false, true, "x_3_4"),
        ] {
            let wanted = Beyond { volume, capabilities, directory_times };
            assert_eq!(with_beyond("x_3", wanted), letters);
            assert_eq!((beyond(letters.as_bytes()), marked(letters.as_bytes())), (wanted, Some(3)));
        }
        assert_eq!(beyond(b"x_3_"), Beyond::default());
    }
}
