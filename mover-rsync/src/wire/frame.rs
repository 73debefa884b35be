//! Multiplexed frames: a header of four bytes (7 plus the tag, 24 bits of length), then the payload.

use super::{WireError, bad};

/// Length of a header.
pub const HEADER: usize = 4;

/// The longest payload of anything but data that a stock peer takes (it calls more a "multiplexing overflow").
pub const MESSAGE_MAX: usize = 5 * 1024 - 1;

/// The longest payload the header can tell.
pub const PAYLOAD_MAX: usize = 0x00ff_ffff;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// A piece of the stream.
    Data,
    /// Text about a failed transfer: the reader's exit code becomes 23.
    ErrorXfer,
    /// Text.
    Info,
    /// Text about a failure.
    Error,
    /// Text about something odd.
    Warning,
    /// Error bits of the sender.
    IoError,
    /// The daemon's time limit in seconds.
    IoTimeout,
    /// Nothing: keeps the connection alive.
    Noop,
    /// The sender of this ends, with a code or none.
    ErrorExit,
    /// A file is done and may be removed at the source.
    Success,
    /// A path that was deleted.
    Deleted,
    /// A file that the sender could not open.
    NoSend,
    /// What follows goes over several streams; between ends of ours only.
    Streams,
}

/// Tags and their numbers. Those missing (5 to 10) are for processes of one side among themselves.
const TAGS: [(u8, Tag); 13] = [
    (0, Tag::Data),
    (1, Tag::ErrorXfer),
    (2, Tag::Info),
    (3, Tag::Error),
    (4, Tag::Warning),
    (22, Tag::IoError),
    (33, Tag::IoTimeout),
    (42, Tag::Noop),
    (86, Tag::ErrorExit),
    (100, Tag::Success),
    (101, Tag::Deleted),
    (102, Tag::NoSend),
    (120, Tag::Streams),
];

/// The header of a frame of at most [`PAYLOAD_MAX`] bytes.
pub fn header(tag: Tag, len: usize) -> [u8; HEADER] {
    let number = TAGS.iter().find(|(_, known)| *known == tag).map_or(0, |(number, _)| *number);
    let [a, b, c, ..] = len.min(PAYLOAD_MAX).to_le_bytes();
    [a, b, c, number + 7]
}

/// Reads a header: what follows, and how much of it.
pub fn parse_header(header: [u8; HEADER]) -> Result<(Tag, usize), WireError> {
    let [a, b, c, number] = header;
    let known = TAGS.iter().find(|(tag, _)| tag + 7 == number);
    let Some((_, tag)) = known else { return bad(format!("a frame of the unknown kind {number}")) };
    let len = u32::from_le_bytes([a, b, c, 0]) as usize;
    if *tag != Tag::Data && len > MESSAGE_MAX {
        return bad("a message too long");
    }
    Ok((*tag, len))
}

/// Everything but data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text for people; `tag` says how bad it is.
    Text {
        /// One of the four tags of text.
        tag: Tag,
        /// The words, usually with a newline.
        text: Vec<u8>,
    },
    /// Error bits of the sender, masked to those that exist.
    IoError(u32),
    /// The peer's time limit in seconds, sane.
    IoTimeout(u32),
    /// Nothing.
    Noop,
    /// The peer ends; with a code when it failed.
    ErrorExit(Option<i32>),
    /// This file may be removed at the source.
    Success(u32),
    /// A path that was deleted; directories end with NUL.
    Deleted(Vec<u8>),
    /// This file could not be opened by the sender.
    NoSend(u32),
}

/// Bits of [`Message::IoError`] and of the end of a file list.
pub mod io_error {
    /// Something could not be read.
    pub const GENERAL: u32 = 1;
    /// Something vanished.
    pub const VANISHED: u32 = 2;
    /// `--max-delete` stopped deletions.
    pub const DELETE_LIMIT: u32 = 4;
    /// All there are.
    pub const ALL: u32 = 7;
}

/// The longest time limit that is believed: a day.
const TIMEOUT_MAX: i32 = 86_400;

impl Message {
    /// Reads a payload; `None` for time limits that make no sense and are to be ignored.
    pub fn parse(tag: Tag, payload: &[u8]) -> Result<Option<Self>, WireError> {
        let int =
            || <[u8; 4]>::try_from(payload).map(i32::from_le_bytes).or_else(|_| bad("a message of a wrong length"));
        let ndx = || u32::try_from(int()?).or_else(|_| bad("a message about a negative index"));
        Ok(Some(match tag {
            Tag::Data => return bad("data where a message is due"),
            Tag::Streams => return bad("several streams, which were not agreed on"),
            Tag::ErrorXfer | Tag::Info | Tag::Error | Tag::Warning => Self::Text { tag, text: payload.to_vec() },
            Tag::IoError => Self::IoError(int()?.cast_unsigned() & io_error::ALL),
            Tag::IoTimeout => match int()? {
                seconds @ 1..=TIMEOUT_MAX => Self::IoTimeout(seconds.unsigned_abs()),
                _ => return Ok(None),
            },
            Tag::Noop => Self::Noop,
            Tag::ErrorExit if payload.is_empty() => Self::ErrorExit(None),
            Tag::ErrorExit => Self::ErrorExit(Some(int()?)),
            Tag::Success => Self::Success(ndx()?),
            Tag::Deleted => Self::Deleted(payload.to_vec()),
            Tag::NoSend => Self::NoSend(ndx()?),
        }))
    }

    /// The whole frame. Text and paths that are too long for a stock peer are cut.
    pub fn encode(&self) -> Vec<u8> {
        let signed = |ndx: u32| i32::try_from(ndx).unwrap_or(i32::MAX).to_le_bytes().to_vec();
        let (tag, payload) = match self {
            Self::Text { tag, text } => (*tag, text[..text.len().min(MESSAGE_MAX)].to_vec()),
            Self::IoError(bits) => (Tag::IoError, signed(*bits)),
            Self::IoTimeout(seconds) => (Tag::IoTimeout, signed(*seconds)),
            Self::Noop => (Tag::Noop, Vec::new()),
            Self::ErrorExit(None) => (Tag::ErrorExit, Vec::new()),
            Self::ErrorExit(Some(code)) => (Tag::ErrorExit, code.to_le_bytes().to_vec()),
            Self::Success(ndx) => (Tag::Success, signed(*ndx)),
            Self::Deleted(path) => (Tag::Deleted, path[..path.len().min(MESSAGE_MAX)].to_vec()),
            Self::NoSend(ndx) => (Tag::NoSend, signed(*ndx)),
        };
        [&header(tag, payload.len())[..], &payload].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_look_as_recorded() {
        let recorded: &[(Message, &[u8])] = &[
            (Message::NoSend(3), &[4, 0, 0, 0x6d, 3, 0, 0, 0]),
            (Message::IoError(1), &[4, 0, 0, 0x1d, 1, 0, 0, 0]),
            (Message::ErrorExit(Some(11)), &[4, 0, 0, 0x5d, 0x0b, 0, 0, 0]),
            (Message::Deleted(b"gonedir/x\0".to_vec()), b"\x0a\0\0\x6cgonedir/x\0"),
        ];
        for (message, bytes) in recorded {
            assert_eq!(message.encode(), *bytes);
        }
        assert_eq!(header(Tag::Data, 0x01_6a), [0x6a, 1, 0, 7]);
    }

    #[test]
    fn what_is_only_for_siblings_or_too_long_is_refused() {
        for number in (5..=10).chain([11, 50, 200]) {
            assert!(parse_header([0, 0, 0, number + 7]).is_err(), "{number}");
        }
        assert!(parse_header([0, 0x14, 0, 9]).is_err());
        assert!(parse_header([0xff, 0xff, 0xff, 7]).is_ok());
        assert!(Message::parse(Tag::NoSend, &[0xff; 4]).is_err());
        assert!(Message::parse(Tag::IoError, &[1]).is_err());
        assert!(matches!(Message::parse(Tag::IoTimeout, &[0; 4]), Ok(None)));
    }

    proptest! {
        #[test]
        fn every_message_comes_back(tag in 0usize..12, payload in prop::collection::vec(any::<u8>(), 0..9)) {
            if let Ok(Some(message)) = Message::parse(TAGS[tag].1, &payload) {
                let bytes = message.encode();
                let (head, rest) = bytes.split_first_chunk().unwrap();
                let (tag, len) = parse_header(*head).unwrap();
                prop_assert_eq!(len, rest.len());
                prop_assert_eq!(Message::parse(tag, rest).unwrap(), Some(message));
            }
        }
    }
}
