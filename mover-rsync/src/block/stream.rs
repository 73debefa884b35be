//! diskrsync's messages (1.3.0, `BSNC0002`) and the bytes between both ends.

use std::io::{BufReader, Read, Write};

use super::shape::LARGEST;
use crate::wire::{Input, WireError};

/// What either end begins with, before the size of its volume.
const MAGIC: [u8; 8] = *b"BSNC0002";

/// Data of one item of the tail, except of the last one.
pub const TAIL_PIECE: u32 = 128 << 10;

/// Read from the connection at once.
const BUFFER: usize = 256 << 10;

/// What the source says of a node, and the kind of an item of the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Answer {
    /// Of a leaf: it is zeros. In the tail: a length of zeros follows.
    Hole = 0,
    /// In the tail alone: data follow.
    Data = 1,
    /// Both ends have the same.
    Equal = 2,
    /// Children follow, or the data of the leaf.
    Different = 3,
}

impl TryFrom<u8> for Answer {
    type Error = WireError;

    fn try_from(byte: u8) -> Result<Self, WireError> {
        match byte {
            0 => Ok(Self::Hole),
            1 => Ok(Self::Data),
            2 => Ok(Self::Equal),
            3 => Ok(Self::Different),
            other => Err(WireError::bad(format!("an answer of kind {other}"))),
        }
    }
}

/// The first message of an end whose volume has `size` bytes.
pub fn header(size: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..].copy_from_slice(&size.to_le_bytes());
    bytes
}

/// The size of the peer's volume.
pub fn read_header(input: &mut impl Input) -> Result<u64, WireError> {
    if input.array()? != MAGIC {
        return Err(WireError::Incompatible("the other side does not speak diskrsync's protocol BSNC0002".into()));
    }
    match u64::from_le_bytes(input.array()?) {
        size if size <= LARGEST => Ok(size),
        size => Err(WireError::bad(format!("a volume of {size} bytes"))),
    }
}

/// A run of the tail: what the source has beyond the end of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// So many zeros.
    Zeros(u64),
    /// So many bytes of data follow.
    Data(u64),
}

impl Run {
    /// The bytes in front of a run.
    pub fn to_wire(self) -> Vec<u8> {
        match self {
            Self::Zeros(len) => [&[Answer::Hole as u8][..], &len.to_le_bytes()].concat(),
            Self::Data(_) => vec![Answer::Data as u8],
        }
    }

    /// The next run of a tail of which `left` bytes are to come.
    pub fn read(input: &mut impl Input, left: u64) -> Result<Self, WireError> {
        match Answer::try_from(input.byte()?)? {
            Answer::Data if left > 0 => Ok(Self::Data(left.min(TAIL_PIECE.into()))),
            Answer::Hole => match u64::from_le_bytes(input.array()?) {
                len if (1..=left).contains(&len) => Ok(Self::Zeros(len)),
                len => Err(WireError::bad(format!("a hole of {len} bytes where {left} are to come"))),
            },
            _ => Err(WireError::bad("an item that does not belong there")),
        }
    }
}

/// The incoming direction.
pub struct Incoming<R> {
    reader: BufReader<R>,
    received: u64,
}

impl<R: Read> Incoming<R> {
    /// Over the bytes of the connection.
    pub fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER, reader), received: 0 }
    }

    /// Bytes taken so far.
    pub fn received(&self) -> u64 {
        self.received
    }
}

impl<R: Read> Input for Incoming<R> {
    fn exact(&mut self, buf: &mut [u8]) -> Result<(), WireError> {
        match self.reader.read_exact(buf) {
            Ok(()) => {
                self.received += buf.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(WireError::Ended),
            Err(error) => Err(error.into()),
        }
    }
}

/// The outgoing direction: every message is sent at once, for the peer waits for it.
pub struct Outgoing<W> {
    writer: W,
    sent: u64,
}

impl<W: Write> Outgoing<W> {
    /// Over the bytes of the connection.
    pub fn new(writer: W) -> Self {
        Self { writer, sent: 0 }
    }

    /// Bytes sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends a message.
    pub fn send(&mut self, message: &[u8]) -> Result<(), WireError> {
        self.writer.write_all(message)?;
        self.writer.flush()?;
        self.sent += message.len() as u64;
        Ok(())
    }
}

/// For the fuzzer: any bytes are messages or refused, and no run is longer than what is to come.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let mut input = data;
    let Ok(mut left) = read_header(&mut input) else { return };
    while let Ok(run) = Run::read(&mut input, left) {
        let (Run::Zeros(len) | Run::Data(len)) = run;
        assert!(0 < len && len <= left, "{run:?} of {left}");
        left -= len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_what_diskrsync_sends() {
        assert_eq!(header(2_999_808), *b"BSNC0002\x00\xc6\x2d\0\0\0\0\0");
        assert_eq!(read_header(&mut &header(LARGEST)[..]).unwrap(), LARGEST);
        for hostile in [&header(LARGEST + 1)[..], &header(u64::MAX), b"BSNC0001\0\0\0\0\0\0\0\0", b"BSNC0002\0"] {
            assert!(read_header(&mut &hostile[..]).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn runs_end_with_the_volume() {
        let read = |bytes: &[u8], left| Run::read(&mut &bytes[..], left).ok();
        assert_eq!(read(&[1], 1 << 20), Some(Run::Data(TAIL_PIECE.into())));
        assert_eq!(read(&[1], 7), Some(Run::Data(7)));
        assert_eq!(read(&Run::Zeros(7).to_wire(), 7), Some(Run::Zeros(7)));
        for (hostile, left) in [
            (&[1][..], 0),
            (&[2], 9),
            (&[3], 9),
            (&[4], 9),
            (&[0, 1, 0], 9),
            (&Run::Zeros(0).to_wire(), 9),
            (&Run::Zeros(10).to_wire(), 9),
            (&Run::Zeros(u64::MAX).to_wire(), 9),
        ] {
            assert_eq!(read(hostile, left), None, "{hostile:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_understood_or_refused(bytes: Vec<u8>, size: u64) {
            fuzz(&bytes);
            fuzz(&[&header(size % LARGEST)[..], &bytes].concat());
        }
    }
}
