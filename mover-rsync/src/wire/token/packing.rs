//! The compressors behind tokens.

use flate2::{Compress, Compression as Level, Decompress, FlushCompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, Encoder, InBuffer, Operation, OutBuffer};

use super::super::handshake::Compression;
use super::super::{WireError, bad};
use super::{ITEM_MAX, SYNC_TAIL, history};

/// What a stock peer has room for when it unpacks an LZ4 block.
const LZ4_MAX: usize = 32_912;

/// Levels that stock rsync uses by default.
const ZSTD_LEVEL: i32 = 3;
const ZLIB_LEVEL: u32 = 6;

/// Unpacks what a peer packed.
pub(super) enum Unpacker {
    Zstd(Decoder<'static>),
    Deflate { inflate: Box<Decompress>, keeps_matches: bool, protocol: i32 },
    Lz4,
}

impl Unpacker {
    pub(super) fn new(kind: Compression, protocol: i32) -> Result<Self, WireError> {
        Ok(match kind {
            Compression::Zstd => Self::Zstd(Decoder::new()?),
            Compression::Lz4 => Self::Lz4,
            Compression::None | Compression::Zlib | Compression::Zlibx => Self::Deflate {
                inflate: Box::new(Decompress::new(false)),
                keeps_matches: kind == Compression::Zlib,
                protocol,
            },
        })
    }

    /// Before the first token of a file.
    pub(super) fn begin_file(&mut self) {
        if let Self::Deflate { inflate, .. } = self {
            inflate.reset(false);
        }
    }

    /// Unpacks some of `packed` into `out`, which has room for at most `out.len()` bytes. Returns how much was taken and
    /// how much was given.
    pub(super) fn unpack(&mut self, packed: &[u8], out: &mut [u8]) -> Result<(usize, usize), WireError> {
        match self {
            Self::Zstd(decoder) => {
                let (mut from, mut to) = (InBuffer::around(packed), OutBuffer::around(out));
                let done = decoder.run(&mut from, &mut to);
                let (taken, given) = (from.pos(), to.pos());
                match done {
                    // A frame ended: what follows is another one.
                    Ok(0) => decoder.reinit()?,
                    Ok(_) => {}
                    Err(error) => return bad(format!("zstd data: {error}")),
                }
                Ok((taken, given))
            }
            Self::Deflate { inflate, .. } => inflated(inflate, packed, out),
            Self::Lz4 => match lz4_flex::block::decompress_into(packed, out) {
                Ok(given) => Ok((packed.len(), given)),
                Err(error) => bad(format!("LZ4 data: {error}")),
            },
        }
    }

    /// What is to be unpacked once more where literal data ends.
    pub(super) fn tail(&self) -> &'static [u8] {
        if matches!(self, Self::Deflate { .. }) { &SYNC_TAIL } else { &[] }
    }

    /// A matched block enters the history.
    pub(super) fn matched(&mut self, block: &[u8], scratch: &mut [u8]) -> Result<(), WireError> {
        let Self::Deflate { inflate, keeps_matches: true, protocol } = self else { return Ok(()) };
        for piece in history(block, *protocol) {
            // A stored block (RFC 1951 3.2.4), not the last.
            let [low, high, ..] = piece.len().to_le_bytes();
            feed(inflate, &[0, low, high, !low, !high], scratch)?;
            feed(inflate, piece, scratch)?;
        }
        Ok(())
    }
}

fn feed(inflate: &mut Decompress, mut data: &[u8], scratch: &mut [u8]) -> Result<(), WireError> {
    while !data.is_empty() {
        let (taken, given) = inflated(inflate, data, scratch)?;
        if taken == 0 && given == 0 {
            return bad("deflate data that stops in the middle");
        }
        data = &data[taken..];
    }
    Ok(())
}

fn inflated(inflate: &mut Decompress, packed: &[u8], out: &mut [u8]) -> Result<(usize, usize), WireError> {
    let before = (inflate.total_in(), inflate.total_out());
    match inflate.decompress(packed, out, FlushDecompress::Sync) {
        Ok(Status::StreamEnd) => return bad("deflate data that ends by itself"),
        Ok(_) => {}
        Err(error) => return bad(format!("deflate data: {error}")),
    }
    let moved = |now: u64, then: u64| usize::try_from(now - then).unwrap_or(0);
    Ok((moved(inflate.total_in(), before.0), moved(inflate.total_out(), before.1)))
}

/// Packs for a peer.
pub(super) enum Packer {
    Zstd(Box<Encoder<'static>>),
    Deflate { deflate: Box<Compress>, keeps_matches: bool, protocol: i32 },
    Lz4 { pending: Vec<u8> },
}

/// Takes finished items of at most [`ITEM_MAX`] bytes together; flushes the rest of them as they are.
#[derive(Debug, Default)]
pub(super) struct Packed(Vec<u8>);

impl Packed {
    /// Appends everything as items.
    pub(super) fn drain_into(&mut self, out: &mut Vec<u8>) {
        for item in self.0.chunks(ITEM_MAX) {
            let [low, high, ..] = item.len().to_le_bytes();
            out.extend_from_slice(&[super::flag::DATA | high, low]);
            out.extend_from_slice(item);
        }
        self.0.clear();
    }
}

impl Packer {
    pub(super) fn new(kind: Compression, protocol: i32, level: Option<i32>) -> Result<Self, WireError> {
        Ok(match kind {
            Compression::Zstd => Self::Zstd(Box::new(Encoder::new(level.unwrap_or(ZSTD_LEVEL))?)),
            Compression::Lz4 => Self::Lz4 { pending: Vec::with_capacity(ITEM_MAX) },
            Compression::None | Compression::Zlib | Compression::Zlibx => {
                let level = level.and_then(|level| u32::try_from(level).ok()).map_or(ZLIB_LEVEL, |level| level.min(9));
                Self::Deflate {
                    deflate: Box::new(Compress::new(Level::new(level), false)),
                    keeps_matches: kind == Compression::Zlib,
                    protocol,
                }
            }
        })
    }

    /// Before the first token of a file.
    pub(super) fn begin_file(&mut self) {
        if let Self::Deflate { deflate, .. } = self {
            deflate.reset();
        }
    }

    /// Whether it may be flushed between literal bytes.
    pub(super) fn may_flush(&self) -> bool {
        !matches!(self, Self::Deflate { .. })
    }

    /// Packs literal bytes.
    pub(super) fn pack(&mut self, data: &[u8], packed: &mut Packed) -> Result<(), WireError> {
        match self {
            Self::Zstd(encoder) => {
                let mut from = InBuffer::around(data);
                while from.pos() < data.len() {
                    grow(&mut packed.0, |room| {
                        let mut to = OutBuffer::around(room);
                        encoder.run(&mut from, &mut to)?;
                        Ok(to.pos())
                    })?;
                }
                Ok(())
            }
            Self::Deflate { deflate, .. } => deflated(deflate, data, FlushCompress::None, &mut packed.0),
            Self::Lz4 { pending } => {
                let mut data = data;
                while !data.is_empty() {
                    let (head, rest) = data.split_at(data.len().min(ITEM_MAX - pending.len()));
                    pending.extend_from_slice(head);
                    data = rest;
                    if pending.len() == ITEM_MAX {
                        lz4_blocks(pending, &mut packed.0);
                    }
                }
                Ok(())
            }
        }
    }

    /// Makes everything so far readable for the peer and appends it as items.
    pub(super) fn flush(&mut self, packed: &mut Packed, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Self::Zstd(encoder) => loop {
                let mut left = 0;
                grow(&mut packed.0, |room| {
                    let mut to = OutBuffer::around(room);
                    left = encoder.flush(&mut to)?;
                    Ok(to.pos())
                })?;
                if left == 0 {
                    break;
                }
            },
            Self::Deflate { deflate, .. } => {
                synced(deflate, &[], &mut packed.0)?;
                let kept = packed.0.len().saturating_sub(SYNC_TAIL.len());
                packed.0.truncate(kept);
            }
            Self::Lz4 { pending } => {
                lz4_blocks(pending, &mut packed.0);
                // Each block is an item, framed already.
                out.append(&mut packed.0);
                return Ok(());
            }
        }
        packed.drain_into(out);
        Ok(())
    }

    /// What is packed already may go out before the flush.
    pub(super) fn spill(&self, packed: &mut Packed, out: &mut Vec<u8>) {
        match self {
            Self::Lz4 { .. } => out.append(&mut packed.0),
            // The last bytes may be the tail that a flush leaves out.
            Self::Zstd(_) | Self::Deflate { .. } => {
                let whole = packed.0.len().saturating_sub(SYNC_TAIL.len()) / ITEM_MAX * ITEM_MAX;
                let rest = packed.0.split_off(whole);
                packed.drain_into(out);
                packed.0 = rest;
            }
        }
    }

    /// A matched block enters the history.
    pub(super) fn matched(&mut self, block: &[u8]) -> Result<(), WireError> {
        let Self::Deflate { deflate, keeps_matches: true, protocol } = self else { return Ok(()) };
        let mut thrown_away = Vec::new();
        for piece in history(block, *protocol) {
            synced(deflate, piece, &mut thrown_away)?;
            thrown_away.clear();
        }
        Ok(())
    }
}

/// Gives `write` some room at the end of `buffer`; it tells how much it used.
fn grow(buffer: &mut Vec<u8>, write: impl FnOnce(&mut [u8]) -> std::io::Result<usize>) -> Result<(), WireError> {
    let start = buffer.len();
    buffer.resize(start + ITEM_MAX, 0);
    let used = write(&mut buffer[start..]);
    buffer.truncate(start + used.as_ref().map_or(0, |used| *used));
    Ok(used.map(drop)?)
}

fn deflated(deflate: &mut Compress, mut data: &[u8], flush: FlushCompress, out: &mut Vec<u8>) -> Result<(), WireError> {
    loop {
        let before = (deflate.total_in(), deflate.total_out());
        let mut room = false;
        grow(out, |space| {
            deflate.compress(data, space, flush).map_err(std::io::Error::other)?;
            let given = usize::try_from(deflate.total_out() - before.1).unwrap_or(0);
            room = given < space.len();
            Ok(given)
        })?;
        data = &data[usize::try_from(deflate.total_in() - before.0).unwrap_or(0)..];
        if data.is_empty() && room {
            return Ok(());
        }
    }
}

/// What a sync flush gives when nothing is pending and the stream is at a byte boundary: an empty stored block (RFC 1951
/// 3.2.4).
const NOTHING_LEFT: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// Packs `data` and flushes all of it; what it appends ends in [`SYNC_TAIL`].
///
/// One flush is not enough: where a block fills up meanwhile, the compressor returns after that block although its output
/// had room, and whether the tail came is not for the last bytes to say, which may be content. So it is asked until it
/// says that nothing is left: five bytes a flush, which mean nothing to the reader.
fn synced(deflate: &mut Compress, data: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    deflated(deflate, data, FlushCompress::Sync, out)?;
    loop {
        let before = out.len();
        deflated(deflate, &[], FlushCompress::Sync, out)?;
        match &out[before..] {
            again if again == NOTHING_LEFT => return Ok(()),
            [] => return bad("a compressor that does not finish"),
            _ => {}
        }
    }
}

/// Appends `pending` as LZ4 blocks, each an item; halves what does not get small enough, as the reference does.
fn lz4_blocks(pending: &mut Vec<u8>, out: &mut Vec<u8>) {
    let mut block = vec![0; LZ4_MAX];
    let mut rest = &pending[..];
    while !rest.is_empty() {
        let mut take = rest.len();
        let len = loop {
            match lz4_flex::block::compress_into(&rest[..take], &mut block) {
                Ok(len) if len <= ITEM_MAX => break len,
                // A block of a few bytes always fits.
                _ => take = take.div_ceil(2),
            }
        };
        let [low, high, ..] = len.to_le_bytes();
        out.extend_from_slice(&[super::flag::DATA | high, low]);
        out.extend_from_slice(&block[..len]);
        rest = &rest[take..];
    }
    pending.clear();
}
