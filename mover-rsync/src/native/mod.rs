//! What two ends that are both ours do beyond rsync's protocol: they compare digests of whole directories, and only
//! what differs is listed.
//!
//! A client of ours marks the letters of what it can do (`e.LsfxCIvu_2`), which no other server looks at; a server of
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

pub(crate) use plan::Plan;
pub(crate) use talk::{Comparison, receive, send};
pub use wire::fuzz;

/// The version of all this; the lower one of both sides counts.
pub(crate) const VERSION: u8 = 2;

/// The oldest that is spoken. With an older end nothing is native.
pub(crate) const OLDEST: u8 = 2;

/// The mark behind the letters of a client: an underscore and its version.
pub(crate) const MARK: u8 = b'_';

/// The version that a client of ours marked, if it did.
pub(crate) fn marked(letters: &[u8]) -> Option<u8> {
    let at = letters.iter().position(|b| *b == MARK)?;
    let digits = letters[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&letters[at + 1..at + 1 + digits]).ok()?.parse().ok().filter(|version| *version >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_with_a_number_counts() {
        for (letters, version) in [
            ("LsfxCIvu_2", Some(2)),
            ("LsfxCIvu_27x", Some(27)),
            ("LsfxCIvu", None),
            ("LsfxCIvu_", None),
            ("LsfxCIvu_0", None),
            ("LsfxCIvu_1", None),
            ("_999", None),
            ("_x1", None),
        ] {
            assert_eq!(marked(letters.as_bytes()), version, "{letters}");
        }
    }
}
