//! Reading tokens.

use super::super::handshake::Compression;
use super::super::{Input, WireError, bad};
use super::packing::Unpacker;
use super::{PLAIN_HOLE, STORED_MAX, flag};

/// The most literal bytes that one step gives.
pub(super) const STEP: usize = 64 * 1024;

/// What comes next in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Literal bytes, given to the caller's buffer.
    Data,
    /// A block of the basis. Whether it exists is for the caller to check.
    Match(u32),
    /// So many zeros that the sender did not read, where both ends are ours.
    Hole(u64),
    /// The end of the file; its digest follows.
    End,
}

/// Reads the tokens of a session, file after file.
pub enum TokenReader {
    /// Integers.
    Plain {
        /// Literal bytes still to come.
        left: usize,
        /// There may be holes.
        holes: bool,
    },
    /// Packed.
    Packed(Box<Packed>),
}

/// The state of reading packed tokens.
pub struct Packed {
    unpacker: Unpacker,
    item: Vec<u8>,
    /// How much of the item is unpacked.
    taken: usize,
    /// The unpacker may have more to give.
    more: bool,
    /// Literal data came since the last token: its flush is still to be completed.
    open: bool,
    /// A flag that was read before the flush was completed.
    flag: Option<u8>,
    /// The block that differences count from.
    current: u32,
    /// Blocks of the current run that are still to come.
    run: u32,
    /// There may be holes.
    holes: bool,
    /// There may be literal bytes as they are.
    stored: bool,
    scratch: Vec<u8>,
}

impl TokenReader {
    /// Nothing read yet.
    pub fn new(kind: Compression, protocol: i32) -> Result<Self, WireError> {
        if kind == Compression::None {
            return Ok(Self::Plain { left: 0, holes: false });
        }
        Ok(Self::Packed(Box::new(Packed {
            unpacker: Unpacker::new(kind, protocol)?,
            item: Vec::new(),
            taken: 0,
            more: false,
            open: false,
            flag: None,
            current: 0,
            run: 0,
            holes: false,
            stored: false,
            scratch: Vec::new(),
        })))
    }

    /// With holes, which only an end of ours tells.
    #[must_use]
    pub fn with_holes(mut self, told: bool) -> Self {
        match &mut self {
            Self::Plain { holes, .. } => *holes = told,
            Self::Packed(packed) => packed.holes = told,
        }
        self
    }

    /// With literal bytes as they are among packed ones, which only an end of ours sends.
    #[must_use]
    pub fn with_stored(mut self, told: bool) -> Self {
        if let Self::Packed(packed) = &mut self {
            packed.stored = told;
        }
        self
    }

    /// The next token; literal bytes replace what is in `data`.
    pub fn next(&mut self, input: &mut impl Input, data: &mut Vec<u8>) -> Result<Token, WireError> {
        match self {
            Self::Plain { left, holes } => plain(left, *holes, input, data),
            Self::Packed(packed) => packed.next(input, data),
        }
    }

    /// Tells the content of a matched block, which zlib's history takes in.
    pub fn matched(&mut self, block: &[u8]) -> Result<(), WireError> {
        match self {
            Self::Plain { .. } => Ok(()),
            Self::Packed(packed) => {
                packed.scratch.resize(STEP, 0);
                packed.unpacker.matched(block, &mut packed.scratch)
            }
        }
    }
}

fn hole(input: &mut impl Input) -> Result<Token, WireError> {
    match u64::try_from(input.varlong(3)?) {
        Ok(len @ 1..) => Ok(Token::Hole(len)),
        _ => bad("a hole of no length"),
    }
}

fn plain(left: &mut usize, holes: bool, input: &mut impl Input, data: &mut Vec<u8>) -> Result<Token, WireError> {
    if *left == 0 {
        match input.int()? {
            0 => return Ok(Token::End),
            len @ 1.. => *left = len.unsigned_abs() as usize,
            PLAIN_HOLE if holes => return hole(input),
            // -1 is block 0.
            block => return Ok(Token::Match((block + 1).unsigned_abs())),
        }
    }
    let step = (*left).min(STEP);
    data.resize(step, 0);
    input.exact(data)?;
    *left -= step;
    Ok(Token::Data)
}

impl Packed {
    fn next(&mut self, input: &mut impl Input, data: &mut Vec<u8>) -> Result<Token, WireError> {
        loop {
            if self.run > 0 {
                self.run -= 1;
                return self.step(1);
            }
            if self.taken < self.item.len() || self.more {
                if self.unpack(data)? {
                    return Ok(Token::Data);
                }
                continue;
            }
            let flag = match self.flag.take() {
                Some(flag) => flag,
                None => input.byte()?,
            };
            if matches!(flag, flag::DATA..flag::NEAR_BLOCK) {
                self.read_item(flag, input)?;
            } else if self.open {
                // First the flush before it: it may give more literal bytes.
                self.open = false;
                self.flag = Some(flag);
                self.set_item(|item, unpacker| item.extend_from_slice(unpacker.tail()));
            } else {
                return self.token(flag, input, data);
            }
        }
    }

    fn read_item(&mut self, flag: u8, input: &mut impl Input) -> Result<(), WireError> {
        let len = usize::from(flag & flag::LOW) << 8 | usize::from(input.byte()?);
        self.set_item(|_, _| {});
        input.append(len, &mut self.item)?;
        self.open = true;
        Ok(())
    }

    fn set_item(&mut self, fill: impl FnOnce(&mut Vec<u8>, &Unpacker)) {
        self.item.clear();
        self.taken = 0;
        fill(&mut self.item, &self.unpacker);
    }

    /// Unpacks a step; whether it gave anything.
    fn unpack(&mut self, data: &mut Vec<u8>) -> Result<bool, WireError> {
        data.resize(STEP, 0);
        let (taken, given) = self.unpacker.unpack(&self.item[self.taken..], data)?;
        self.taken += taken;
        // A full buffer may hide more; anything less means that all that went in came out.
        self.more = given == data.len();
        data.truncate(given);
        if taken == 0 && given == 0 && self.taken < self.item.len() {
            return bad("compressed data that cannot be unpacked");
        }
        Ok(given > 0)
    }

    fn token(&mut self, flag: u8, input: &mut impl Input, data: &mut Vec<u8>) -> Result<Token, WireError> {
        match flag {
            flag::END => {
                self.current = 0;
                self.unpacker.begin_file();
                Ok(Token::End)
            }
            flag::HOLE if self.holes => hole(input),
            flag::STORED if self.stored => {
                let [low, middle, high] = input.array()?;
                let len = u32::from_le_bytes([low, middle, high, 0]) as usize;
                if len == 0 || len > STORED_MAX {
                    return bad(format!("{len} literal bytes as they are"));
                }
                data.resize(len, 0);
                input.exact(data)?;
                Ok(Token::Data)
            }
            flag::BLOCK | flag::RUN => {
                let Ok(block) = u32::try_from(input.int()?) else { return bad("a negative block number") };
                if flag == flag::RUN {
                    self.run = input.short()?.into();
                }
                self.current = block;
                Ok(Token::Match(block))
            }
            flag::NEAR_BLOCK..=0xff => {
                if flag >= flag::NEAR_RUN {
                    self.run = input.short()?.into();
                }
                self.step((flag & flag::LOW).into())
            }
            _ => bad(format!("the token {flag:#x}")),
        }
    }

    fn step(&mut self, by: u32) -> Result<Token, WireError> {
        match self.current.checked_add(by) {
            Some(block) => {
                self.current = block;
                Ok(Token::Match(block))
            }
            None => bad("a block number beyond 32 bits"),
        }
    }
}
