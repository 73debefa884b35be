//! What both sides agree on before the first frame: protocol number, compat flags, digest, compression, seed.
//!
//! Names are always offered in the canonical order: up to release 3.4.4 the client's first common name wins on both
//! sides, a 3.5.0 server picks by its own order, and only the canonical order gives the same answer to both.

use super::{Input, Output, WireError};
use crate::delta::digest::SumKind;
use crate::native;

/// The newest protocol that is spoken. 32 differs from 31 in nothing.
pub const NEWEST: i32 = 32;

/// The oldest protocol that is spoken (rsync 3.0).
pub const OLDEST: i32 = 30;

/// Numbers that a peer may name at all (20 to 40, as the reference accepts).
const SANE: std::ops::RangeInclusive<i32> = 20..=40;

/// The protocol for a session with a peer that named `theirs`.
pub fn protocol(theirs: i32) -> Result<i32, WireError> {
    if !SANE.contains(&theirs) {
        return Err(WireError::Incompatible(
            format!(
                "the peer does not speak rsync (it began with protocol number {theirs}): is something printed at login?"
            )
            .into(),
        ));
    }
    if theirs < OLDEST {
        return Err(WireError::Incompatible(
            format!("the peer speaks protocol {theirs}; at least {OLDEST} (rsync 3.0) is needed").into(),
        ));
    }
    Ok(theirs.min(NEWEST))
}

/// What the server decided, bit by bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compat(pub u32);

impl Compat {
    /// The file list comes in segments.
    pub const INC_RECURSE: u32 = 0x001;
    /// The receiver can set times of links.
    pub const SYMLINK_TIMES: u32 = 0x002;
    /// Link targets are converted with `--iconv`.
    pub const SYMLINK_ICONV: u32 = 0x004;
    /// The end of a list may carry error bits.
    pub const SAFE_FLIST: u32 = 0x008;
    /// No short cut in the exchange of attributes.
    pub const AVOID_XATTR_OPTIM: u32 = 0x010;
    /// MD5 of blocks begins with the seed.
    pub const CHKSUM_SEED_FIX: u32 = 0x020;
    /// A partial-dir basis is updated in place.
    pub const INPLACE_PARTIAL_DIR: u32 = 0x040;
    /// Entry flags are varints, and names are negotiated.
    pub const VARINT_FLIST_FLAGS: u32 = 0x080;
    /// Lists of ids end with the names of id 0.
    pub const ID0_NAMES: u32 = 0x100;
    /// Both ends are ours and compare digests of directories before the file list (`native`); no stock client hears it.
    pub const NATIVE: u32 = 0x10_0000;

    /// Whether all bits of `bits` are set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// What a server grants to a client with these capability letters (what follows `e.` in its options).
    pub fn granted(letters: &[u8], segments: bool) -> Self {
        let by_letter = [
            (b'i', if segments { Self::INC_RECURSE } else { 0 }),
            (b'f', Self::SAFE_FLIST),
            (b'x', Self::AVOID_XATTR_OPTIM),
            (b'C', Self::CHKSUM_SEED_FIX),
            (b'I', Self::INPLACE_PARTIAL_DIR),
            (b'v', Self::VARINT_FLIST_FLAGS),
            (b'u', Self::ID0_NAMES),
        ];
        let granted = by_letter.iter().filter(|(letter, _)| letters.contains(letter));
        let native = if native::marked(letters).is_some() { Self::NATIVE } else { 0 };
        Self(granted.fold(Self::SYMLINK_TIMES | native, |all, (_, bit)| all | bit))
    }
}

/// The capability letters of a client of ours behind `e.`; `i` only if it can take or send segments. One that compares
/// trees adds the mark that only a server of ours looks at.
pub fn capabilities(segments: bool, compares: bool) -> &'static str {
    match (segments, compares) {
        (true, true) => "iLsfxCIvu_5",
        (false, true) => "LsfxCIvu_5",
        (true, false) => "iLsfxCIvu",
        (false, false) => "LsfxCIvu",
    }
}

/// How file contents are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// zlib, with matched blocks in its history.
    Zlib,
    /// zlib without matched blocks.
    Zlibx,
    /// LZ4 blocks.
    Lz4,
    /// One zstd stream for the session.
    Zstd,
}

/// Digests by name in canonical order. MD4 and SHA-1 are not offered: two builds of the reference disagree on where
/// MD4's seed goes, and nothing needs SHA-1.
const SUMS: [(&str, SumKind); 4] =
    [("xxh128", SumKind::Xxh128), ("xxh3", SumKind::Xxh3), ("xxh64", SumKind::Xxh64), ("md5", SumKind::Md5)];

/// Another name that is understood.
const SUM_ALIAS: (&str, SumKind) = ("xxhash", SumKind::Xxh64);

/// Compressions by name in canonical order.
const COMPRESSIONS: [(&str, Compression); 4] = [
    ("zstd", Compression::Zstd),
    ("lz4", Compression::Lz4),
    ("zlibx", Compression::Zlibx),
    ("zlib", Compression::Zlib),
];

/// A digest by the name a user or peer gives.
pub fn sum_by_name(name: &str) -> Option<SumKind> {
    find(&SUMS, name.as_bytes()).or_else(|| find(&[SUM_ALIAS], name.as_bytes()))
}

/// The name of a digest.
pub fn sum_name(kind: SumKind) -> &'static str {
    SUMS.iter().find(|(_, known)| *known == kind).map_or("md5", |(name, _)| name)
}

/// A compression by the name a user or peer gives.
pub fn compression_by_name(name: &str) -> Option<Compression> {
    if name.eq_ignore_ascii_case("none") {
        return Some(Compression::None);
    }
    find(&COMPRESSIONS, name.as_bytes())
}

/// The name of a compression.
pub fn compression_name(kind: Compression) -> &'static str {
    COMPRESSIONS.iter().find(|(_, known)| *known == kind).map_or("none", |(name, _)| name)
}

fn find<T: Copy>(table: &[(&str, T)], name: &[u8]) -> Option<T> {
    table.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

/// Appends the digests that we offer.
pub fn offer_sums(out: &mut impl Output) {
    offer(&SUMS, out);
}

/// Appends the compressions that we offer.
pub fn offer_compressions(out: &mut impl Output) {
    offer(&COMPRESSIONS, out);
}

fn offer<T>(table: &[(&str, T)], out: &mut impl Output) {
    let names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
    out.vstring(names.join(" ").as_bytes());
}

/// Which side we are: the client's order decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Started by the user.
    Client,
    /// Started by the remote shell.
    Server,
}

/// The digest, from the peer's offer.
pub fn agree_sum(side: Side, input: &mut impl Input) -> Result<SumKind, WireError> {
    agree(&SUMS, Some(SUM_ALIAS), side, &input.vstring()?, "checksum")
}

/// The compression, from the peer's offer.
pub fn agree_compression(side: Side, input: &mut impl Input) -> Result<Compression, WireError> {
    agree(&COMPRESSIONS, None, side, &input.vstring()?, "compression")
}

fn agree<T: Copy + PartialEq>(
    ours: &[(&str, T)],
    alias: Option<(&str, T)>,
    side: Side,
    theirs: &[u8],
    what: &str,
) -> Result<T, WireError> {
    let known = |name: &[u8]| find(ours, name).or_else(|| find(alias.as_slice(), name));
    let mut offered = theirs.split(|b| *b == b' ').filter_map(known);
    let agreed = match side {
        Side::Server => offered.next(),
        Side::Client => {
            let offered: Vec<T> = offered.collect();
            ours.iter().map(|(_, value)| *value).find(|value| offered.contains(value))
        }
    };
    agreed.ok_or_else(|| {
        let theirs = volsync_common::path::Shown(theirs);
        WireError::Incompatible(format!("the peer offers no {what} that is known here: {theirs}").into())
    })
}

/// For the fuzzer: any offer is answered or refused.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    for side in [Side::Client, Side::Server] {
        let mut input = data;
        let _ = agree_sum(side, &mut input);
        let _ = agree_compression(side, &mut input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_below_30_are_refused() {
        for (theirs, expect) in [(29, None), (20, None), (19, None), (41, None), (30, Some(30)), (31, Some(31))] {
            assert_eq!(protocol(theirs).ok(), expect, "{theirs}");
        }
        assert_eq!((protocol(32).ok(), protocol(40).ok()), (Some(32), Some(32)));
    }

    #[test]
    fn flags_follow_the_letters() {
        assert_eq!(Compat::granted(b"iLsfxCIvu", true), Compat(0x1ff & !Compat::SYMLINK_ICONV));
        assert_eq!(Compat::granted(b"iLsf", false), Compat(0x00a));
        assert_eq!(Compat::granted(b"", true), Compat(0x002));
        assert_eq!(Compat::granted(b"Lsf_3", false), Compat(0x00a | Compat::NATIVE));
    }

    fn sum(side: Side, offer: &[u8]) -> Option<SumKind> {
        let mut bytes = Vec::new();
        bytes.vstring(offer);
        agree_sum(side, &mut &bytes[..]).ok()
    }

    #[test]
    fn the_first_common_name_wins() {
        for side in [Side::Client, Side::Server] {
            assert_eq!(sum(side, b"xxh128 xxh3 xxh64 md5 md4 sha1 none"), Some(SumKind::Xxh128));
            assert_eq!(sum(side, b"blake9 XXHASH none"), Some(SumKind::Xxh64));
            assert_eq!(sum(side, b"md4 sha1 none"), None);
            assert_eq!(sum(side, b""), None);
        }
        assert_eq!(sum(Side::Server, b"md5 xxh128"), Some(SumKind::Md5));
    }

    #[test]
    fn offers_are_in_canonical_order() {
        let mut out = Vec::new();
        offer_sums(&mut out);
        offer_compressions(&mut out);
        assert_eq!(out, b"\x15xxh128 xxh3 xxh64 md5\x13zstd lz4 zlibx zlib");
    }
}
