//! Indexes of files, sent as differences. Each direction has its own state.

use super::{Input, Output, WireError, bad};

/// What stands where an index is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ndx {
    /// The end of a segment or phase.
    Done,
    /// No further segment of the file list follows.
    ListEnd,
    /// Numbers of deleted things follow.
    DeleteStats,
    /// A segment of the file list follows: what directory number so-and-so holds.
    Segment(u32),
    /// A file of the list.
    File(u32),
}

const DONE: i32 = -1;
const LIST_END: i32 = -2;
const DELETE_STATS: i32 = -3;
const SEGMENTS: i32 = -101;

impl Ndx {
    fn to_number(self) -> i32 {
        match self {
            Self::Done => DONE,
            Self::ListEnd => LIST_END,
            Self::DeleteStats => DELETE_STATS,
            Self::Segment(dir) => SEGMENTS.saturating_sub_unsigned(dir),
            Self::File(ndx) => i32::try_from(ndx).unwrap_or(i32::MAX),
        }
    }

    fn from_number(number: i32) -> Result<Self, WireError> {
        match number {
            DONE => Ok(Self::Done),
            LIST_END => Ok(Self::ListEnd),
            DELETE_STATS => Ok(Self::DeleteStats),
            0.. => Ok(Self::File(number.cast_unsigned())),
            i32::MIN..=SEGMENTS => Ok(Self::Segment(SEGMENTS.abs_diff(number))),
            _ => bad(format!("the index {number} means nothing")),
        }
    }
}

/// The state of one direction.
#[derive(Clone, Copy, Debug)]
pub struct NdxState {
    positive: i32,
    negative: i32,
}

impl Default for NdxState {
    fn default() -> Self {
        Self { positive: -1, negative: 1 }
    }
}

impl NdxState {
    /// Appends an index.
    pub fn write(&mut self, ndx: Ndx, out: &mut impl Output) {
        let number = ndx.to_number();
        let (value, previous) = match number {
            DONE => return out.byte(0),
            0.. => (number, &mut self.positive),
            _ => {
                out.byte(0xff);
                (-number, &mut self.negative)
            }
        };
        // The previous number is at least -1 and both are at most i32::MAX.
        let difference = value.wrapping_sub(*previous);
        *previous = value;
        match difference {
            1..=253 => out.byte(difference.to_le_bytes()[0]),
            0 | 254..=0x7fff => {
                let [low, high, ..] = difference.to_le_bytes();
                out.raw(&[0xfe, high, low]);
            }
            _ => {
                let [a, b, c, d] = value.to_le_bytes();
                out.raw(&[0xfe, d | 0x80, a, b, c]);
            }
        }
    }

    /// Takes an index.
    pub fn read(&mut self, input: &mut impl Input) -> Result<Ndx, WireError> {
        let mut first = input.byte()?;
        if first == 0 {
            return Ok(Ndx::Done);
        }
        let negative = first == 0xff;
        if negative {
            first = input.byte()?;
        }
        let previous = if negative { &mut self.negative } else { &mut self.positive };
        let value = match first {
            0xfe => match input.array()? {
                [high, low] if high & 0x80 == 0 => previous.checked_add(i32::from(high) << 8 | i32::from(low)),
                [high, a] => {
                    let [b, c] = input.array()?;
                    Some(i32::from_le_bytes([a, b, c, high & 0x7f]))
                }
            },
            small => previous.checked_add(small.into()),
        };
        let Some(value) = value else { return bad("an index beyond 31 bits") };
        if negative && value < 2 {
            return bad("a negative index that is none");
        }
        *previous = value;
        Ndx::from_number(if negative { -value } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn indexes_look_as_recorded() {
        let recorded: &[(Ndx, &[u8])] = &[
            (Ndx::File(2), &[3]),
            (Ndx::File(3), &[1]),
            (Ndx::Done, &[0]),
            (Ndx::Segment(1), &[0xff, 0x65]),
            (Ndx::Segment(2), &[0xff, 0x01]),
            (Ndx::Segment(3), &[0xff, 0x01]),
            (Ndx::Segment(4), &[0xff, 0x01]),
            (Ndx::ListEnd, &[0xff, 0xfe, 0x80, 2, 0, 0]),
            (Ndx::DeleteStats, &[0xff, 0x01]),
            (Ndx::File(26), &[23]),
            (Ndx::File(8), &[0xfe, 0x80, 8, 0, 0]),
        ];
        let (mut writer, mut reader) = (NdxState::default(), NdxState::default());
        for (ndx, bytes) in recorded {
            let mut out = Vec::new();
            writer.write(*ndx, &mut out);
            assert_eq!(out, *bytes, "{ndx:?}");
            assert_eq!(reader.read(&mut &out[..]).unwrap(), *ndx);
        }
        let mut out = Vec::new();
        NdxState::default().write(Ndx::DeleteStats, &mut out);
        assert_eq!(out, [0xff, 2]);
    }

    fn any_ndx() -> impl Strategy<Value = Ndx> {
        prop_oneof![
            Just(Ndx::Done),
            Just(Ndx::ListEnd),
            Just(Ndx::DeleteStats),
            (0u32..1 << 30).prop_map(Ndx::Segment),
            (0u32..40_000).prop_map(Ndx::File),
            (0u32..=0x7fff_ffff).prop_map(Ndx::File),
        ]
    }

    proptest! {
        #[test]
        fn every_sequence_comes_back(sequence in prop::collection::vec(any_ndx(), 0..50)) {
            let (mut out, mut writer, mut reader) = (Vec::new(), NdxState::default(), NdxState::default());
            for ndx in &sequence {
                writer.write(*ndx, &mut out);
            }
            let mut input = &out[..];
            for ndx in sequence {
                prop_assert_eq!(reader.read(&mut input).unwrap(), ndx);
            }
            prop_assert!(input.is_empty());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let (mut input, mut state) = (&bytes[..], NdxState::default());
            while state.read(&mut input).is_ok() {}
        }
    }
}
