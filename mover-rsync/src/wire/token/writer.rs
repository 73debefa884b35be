//! Writing tokens.

use super::super::handshake::Compression;
use super::super::{Output, WireError};
use super::packing::{Packed, Packer};
use super::worth::Worth;
use super::{LITERAL_MAX, PLAIN_HOLE, STORED_MAX, flag};

/// The most blocks of one run: the first, and as many more as 16 bits count.
const RUN_MAX: u32 = 1 << 16;

/// Writes the tokens of a session, file after file.
pub enum TokenWriter {
    /// Integers.
    Plain,
    /// Packed.
    Packed(Box<Packing>),
}

/// The state of writing packed tokens.
pub struct Packing {
    packer: Packer,
    packed: Packed,
    /// Literal bytes went in since the last flush.
    open: bool,
    /// The run that is still growing: first block and number of blocks.
    run: Option<(u32, u32)>,
    /// The block that differences count from.
    current: u32,
    /// Literal bytes may go as they are.
    worth: Option<Worth>,
}

impl TokenWriter {
    /// Nothing written yet. `level` is the compressor's; `None` is its default.
    pub fn new(kind: Compression, protocol: i32, level: Option<i32>) -> Result<Self, WireError> {
        if kind == Compression::None {
            return Ok(Self::Plain);
        }
        let packer = Packer::new(kind, protocol, level)?;
        let packed = Packed::default();
        Ok(Self::Packed(Box::new(Packing { packer, packed, open: false, run: None, current: 0, worth: None })))
    }

    /// To an end that takes literal bytes as they are among packed ones. All are packed with deflate, whose readers expect
    /// a flush before other tokens only.
    #[must_use]
    pub fn with_stored(mut self, taken: bool) -> Self {
        if let Self::Packed(packing) = &mut self {
            packing.worth = (taken && packing.packer.may_flush()).then(Worth::default);
        }
        self
    }

    /// Appends literal bytes.
    pub fn literal(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        if data.is_empty() {
            return Ok(());
        }
        match self {
            Self::Plain => {
                for piece in data.chunks(LITERAL_MAX) {
                    out.int(i32::try_from(piece.len()).unwrap_or(0));
                    out.raw(piece);
                }
                Ok(())
            }
            Self::Packed(packing) => {
                packing.end_run(out);
                if packing.worth.as_mut().is_some_and(|worth| worth.stores(data.len())) {
                    return packing.store(data, out);
                }
                let before = out.len();
                packing.open = true;
                packing.packer.pack(data, &mut packing.packed)?;
                packing.packer.spill(&mut packing.packed, out);
                packing.became(out.len() - before);
                if packing.worth.as_mut().is_some_and(|worth| worth.trying(data.len())) {
                    packing.flush(out)?;
                }
                Ok(())
            }
        }
    }

    /// Appends a block of the basis; `content` is what it holds.
    pub fn matched(&mut self, block: u32, content: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Self::Plain => {
                out.int(-i32::try_from(block).unwrap_or(i32::MAX - 1) - 1);
                Ok(())
            }
            Self::Packed(packing) => {
                packing.flush(out)?;
                match &mut packing.run {
                    Some((first, count)) if *count < RUN_MAX && first.checked_add(*count) == Some(block) => *count += 1,
                    _ => {
                        packing.end_run(out);
                        packing.run = Some((block, 1));
                    }
                }
                packing.packer.matched(content)
            }
        }
    }

    /// Appends a hole of `len` bytes, for an end of ours.
    pub fn hole(&mut self, len: u64, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Self::Plain => out.int(PLAIN_HOLE),
            Self::Packed(packing) => {
                packing.flush(out)?;
                packing.end_run(out);
                out.byte(flag::HOLE);
            }
        }
        out.varlong(len.cast_signed(), 3);
        Ok(())
    }

    /// Ends the file; its digest follows.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Self::Plain => out.int(0),
            Self::Packed(packing) => {
                packing.flush(out)?;
                packing.end_run(out);
                out.byte(flag::END);
                packing.current = 0;
                packing.packer.begin_file();
            }
        }
        Ok(())
    }
}

impl Packing {
    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), WireError> {
        if std::mem::take(&mut self.open) {
            let before = out.len();
            self.packer.flush(&mut self.packed, out)?;
            self.became(out.len() - before);
            if let Some(worth) = &mut self.worth {
                worth.judge();
            }
        }
        Ok(())
    }

    /// Literal bytes became so many bytes of items.
    fn became(&mut self, len: usize) {
        if let Some(worth) = &mut self.worth {
            worth.became(len);
        }
    }

    /// Appends literal bytes as they are.
    fn store(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        self.flush(out)?;
        for piece in data.chunks(STORED_MAX) {
            let [low, middle, high, ..] = piece.len().to_le_bytes();
            out.raw(&[flag::STORED, low, middle, high]);
            out.raw(piece);
        }
        Ok(())
    }

    fn end_run(&mut self, out: &mut Vec<u8>) {
        let Some((first, count)) = self.run.take() else { return };
        let more = u16::try_from(count - 1).unwrap_or(u16::MAX);
        let near = first.checked_sub(self.current).and_then(|by| u8::try_from(by).ok()).filter(|by| *by <= flag::LOW);
        match (near, more) {
            (Some(by), 0) => out.byte(flag::NEAR_BLOCK | by),
            (Some(by), _) => out.byte(flag::NEAR_RUN | by),
            (None, 0) => out.byte(flag::BLOCK),
            (None, _) => out.byte(flag::RUN),
        }
        if near.is_none() {
            out.int(i32::try_from(first).unwrap_or(i32::MAX));
        }
        if more > 0 {
            out.short(more);
        }
        self.current = first + (count - 1);
    }
}
