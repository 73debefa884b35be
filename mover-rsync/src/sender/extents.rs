//! Where a file has data, and where it has holes that need no reading.

use std::fs::File;
use std::ops::Range;

use rustix::fs::{SeekFrom, seek};

/// Shorter holes are read as zeros: a word about them, and what they cut in two, would cost more.
const HOLE_MIN: u64 = 128 * 1024;

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// To be read.
    Data(Range<u64>),
    /// So many zeros.
    Hole(u64),
}

/// The parts of a file in order, all of it together. The kernel's word counts when it is asked: data that is written into
/// a hole meanwhile is as if it had been written after that part was read.
#[derive(Debug)]
pub(super) struct Extents<'a> {
    file: &'a File,
    at: u64,
    size: u64,
    /// Holes are told, as far as is known.
    holes: bool,
    /// Data that begins where a hole ended.
    next: Option<u64>,
}

impl<'a> Extents<'a> {
    /// Of a file of `size` bytes; without `holes` it is all data.
    pub(super) fn of(file: &'a File, size: u64, holes: bool) -> Self {
        Self { file, at: 0, size, holes: holes && size >= HOLE_MIN, next: None }
    }

    /// The next long hole at or behind `from`, or the end.
    fn hole(&self, mut from: u64) -> Range<u64> {
        let none = self.size..self.size;
        while self.holes && from < self.size {
            // A file system that knows no holes says that there is one at the end.
            let Ok(start) = seek(self.file, SeekFrom::Hole(from)) else { return none };
            if start >= self.size {
                return none;
            }
            // No data behind it (ENXIO) is a hole to the end.
            let end = seek(self.file, SeekFrom::Data(start)).unwrap_or(self.size).min(self.size);
            if end - start >= HOLE_MIN {
                return start..end;
            }
            from = end.max(start + 1);
        }
        none
    }
}

impl Iterator for Extents<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        if let Some(end) = self.next.take() {
            let len = end - self.at;
            self.at = end;
            return Some(Extent::Hole(len));
        }
        if self.at >= self.size {
            return None;
        }
        let hole = self.hole(self.at);
        let data = self.at..hole.start;
        self.at = hole.start;
        if hole.is_empty() {
            return Some(Extent::Data(data));
        }
        self.next = Some(hole.end);
        if data.is_empty() { self.next() } else { Some(Extent::Data(data)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    const MIB: u64 = 1 << 20;

    fn extents(data: &[(u64, u64)], size: u64, holes: bool) -> Vec<Extent> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for (start, end) in data {
            file.write_all_at(&vec![1; usize::try_from(end - start).unwrap()], *start).unwrap();
        }
        Extents::of(&file, size, holes).collect()
    }

    #[test]
    fn long_holes_are_told_and_short_ones_are_data() {
        use Extent::{Data, Hole};
        let data = [(MIB, 2 * MIB), (2 * MIB + 4096, 3 * MIB)];
        assert_eq!(extents(&data, 5 * MIB, true), [Hole(MIB), Data(MIB..3 * MIB), Hole(2 * MIB)]);
        assert_eq!(extents(&data, 5 * MIB, false), [Data(0..5 * MIB)]);
        assert_eq!(extents(&[(0, MIB)], MIB, true), [Data(0..MIB)]);
        assert_eq!((extents(&[], 0, true), extents(&[], 4096, true)), (vec![], vec![Data(0..4096)]));
        assert_eq!(extents(&[], 1 << 40, true), [Hole(1 << 40)]);
    }
}
