//! The contents of files: literal bytes and numbers of blocks that the receiver has.
//!
//! Without compression a token is an integer. With it, literal bytes are packed into items of at most 16,383 bytes and
//! runs of blocks are one token.
//!
//! Between two ends of ours there are holes too, as lengths (varlong, at least 3 bytes), and packed tokens may be literal
//! bytes as they are, behind their number (3 bytes), where packing is not [worth] it.

mod packing;
mod reader;
mod worth;
mod writer;

pub use reader::{Token, TokenReader};
pub use writer::TokenWriter;

/// The longest run of literal bytes without compression: rsync 3.4.3 and 3.4.4 abort on more.
pub const LITERAL_MAX: usize = 32 * 1024;

/// The longest run of literal bytes as they are: what is hashed and written at once.
pub const STORED_MAX: usize = 128 * 1024;

/// The longest item of packed bytes: what its 14 bits can tell.
const ITEM_MAX: usize = 0x3fff;

/// Bytes of tokens with compression.
mod flag {
    pub(super) const END: u8 = 0x00;
    /// Between two ends of ours.
    pub(super) const HOLE: u8 = 0x10;
    /// Between two ends of ours.
    pub(super) const STORED: u8 = 0x11;
    pub(super) const BLOCK: u8 = 0x20;
    pub(super) const RUN: u8 = 0x21;
    pub(super) const DATA: u8 = 0x40;
    pub(super) const NEAR_BLOCK: u8 = 0x80;
    pub(super) const NEAR_RUN: u8 = 0xc0;
    /// Bits that are a difference, or the high bits of a length.
    pub(super) const LOW: u8 = 0x3f;
}

/// A hole between two ends of ours, without compression: no basis has so many blocks that this could be one.
const PLAIN_HOLE: i32 = i32::MIN;

/// What a sync flush of deflate ends with; it is left out.
const SYNC_TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// How much of a matched block enters zlib's history at once.
const HISTORY_PIECE: usize = 0xffff;

/// The pieces in which a matched block enters zlib's history. Before protocol 31 every piece began at the block's first
/// byte, which must be kept up for those peers.
fn history(block: &[u8], protocol: i32) -> impl Iterator<Item = &[u8]> {
    block.chunks(HISTORY_PIECE).map(move |piece| if protocol < 31 { &block[..piece.len()] } else { piece })
}

/// For the fuzzer: any bytes end in an error or an end, in bounded memory.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    use super::handshake::Compression;
    let Some((kind, mut input)) = data.split_first() else { return };
    let kinds = [Compression::None, Compression::Zlib, Compression::Zlibx, Compression::Lz4, Compression::Zstd];
    let Ok(reader) = TokenReader::new(kinds[usize::from(*kind) % kinds.len()], 32) else { return };
    let mut reader = reader.with_holes(kind & 0x80 != 0).with_stored(kind & 0x40 != 0);
    let mut data = Vec::new();
    // A bomb of 64 KiB could unpack to 64 MiB and more; the point here is that each step is bounded.
    for _ in 0..1000 {
        match reader.next(&mut input, &mut data) {
            Ok(Token::Match(_)) => drop(reader.matched(&[1, 2, 3])),
            Ok(Token::Data) => assert!(!data.is_empty() && data.len() <= reader::STEP.max(STORED_MAX)),
            Ok(Token::Hole(len)) => assert!(len > 0 && i64::try_from(len).is_ok()),
            Ok(Token::End) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
