//! The receiver's old file: its block sums for the sender, and its blocks when they are matched.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::delta::digest::SumKind;
use crate::delta::matcher::append_sums;
use crate::wire::sums::SumHead;

/// Read at once.
const CHUNK: usize = 256 * 1024;

/// What one thread sums up before its sums are sent.
const PART: usize = 2 << 20;

/// Threads at most.
const THREADS: usize = 4;

/// Appends the block sums of `file` to `out`, which `spill` empties from time to time. What lies beyond its end, when
/// it shrank meanwhile, counts as zeros: the digest of the whole file finds out.
pub(super) fn send_sums<E>(
    file: &File,
    head: &SumHead,
    kind: SumKind,
    seed: i32,
    out: &mut Vec<u8>,
    mut spill: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let block = u64::from(head.block.max(1));
    let part = (PART as u64 / block).max(1) * block;
    let starts: Vec<u64> = (0..head.len().div_ceil(part)).map(|number| number * part).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    for starts in starts.chunks(threads) {
        let sums = |start: u64| part_sums(file, head, kind, seed, start..head.len().min(start + part));
        let Some((first, others)) = starts.split_first() else { break };
        std::thread::scope(|scope| {
            let others: Vec<_> = others.iter().map(|start| (scope.spawn(|| sums(*start)), *start)).collect();
            out.append(&mut sums(*first));
            for (other, start) in others {
                // A thread that could not finish its work leaves it to this one.
                out.append(&mut other.join().unwrap_or_else(|_| sums(start)));
            }
        });
        spill(out)?;
    }
    Ok(())
}

fn part_sums(file: &File, head: &SumHead, kind: SumKind, seed: i32, range: Range<u64>) -> Vec<u8> {
    let block = head.block as usize;
    if is_hole(file, &range) {
        return zero_sums(head, kind, seed, range);
    }
    let (mut buffer, mut out) = (vec![0; (CHUNK / block).max(1) * block], Vec::new());
    let mut offset = range.start;
    while offset < range.end {
        let len = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(buffer.len());
        let filled = read(file, &mut buffer[..len], offset).unwrap_or(0);
        buffer[filled..len].fill(0);
        for part in buffer[..len].chunks(block) {
            append_sums(head, kind, seed, part, &mut out);
        }
        offset += len as u64;
    }
    out
}

/// Whether there is no data at all, as far as the file system knows.
fn is_hole(file: &File, range: &Range<u64>) -> bool {
    match seek(file, SeekFrom::Data(range.start)) {
        Ok(data) => data >= range.end,
        Err(error) => error == Errno::NXIO,
    }
}

/// The sums of blocks of zeros, of which only the last may be short.
fn zero_sums(head: &SumHead, kind: SumKind, seed: i32, range: Range<u64>) -> Vec<u8> {
    let len = range.end - range.start;
    let block = vec![0; head.block as usize];
    let (whole, rest) = (len / u64::from(head.block), usize::try_from(len % u64::from(head.block)).unwrap_or(0));
    let (mut one, mut out) = (Vec::new(), Vec::new());
    append_sums(head, kind, seed, &block, &mut one);
    (0..whole).for_each(|_| out.extend_from_slice(&one));
    if rest > 0 {
        append_sums(head, kind, seed, &block[..rest], &mut out);
    }
    out
}

/// Fills as much of `buf` as there is.
fn read(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Gives out blocks of a file; they mostly come in order.
#[derive(Debug)]
pub(super) struct Blocks {
    file: Arc<File>,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file, and how much of it is known.
    start: u64,
    len: usize,
}

impl Blocks {
    pub(super) fn new(file: Arc<File>, buffer: Vec<u8>) -> Self {
        Self { file, buffer, start: 0, len: 0 }
    }

    /// `len` bytes at `offset`; it is an error if the file ends before.
    pub(super) fn get(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let known = self.start..self.start + self.len as u64;
        if !known.contains(&offset) || offset + len as u64 > known.end {
            self.buffer.resize(CHUNK.max(len), 0);
            self.len = read(&self.file, &mut self.buffer, offset)?;
            self.start = offset;
        }
        let at = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let block = self.buffer[..self.len].get(at..at + len);
        block.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the old file got shorter"))
    }

    /// Gives the buffer back for the next file.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn sums(file: &File, head: &SumHead) -> Vec<u8> {
        let mut all = Vec::new();
        let spilled = send_sums::<Infallible>(file, head, SumKind::Blake3, 7, &mut Vec::new(), |out| {
            all.append(out);
            Ok(())
        });
        spilled.unwrap();
        all
    }

    #[test]
    fn holes_have_the_sums_of_zeros() {
        let (holey, full) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let len = (9 << 20) + 1234;
        holey.set_len(len).unwrap();
        full.write_all_at(&vec![0; usize::try_from(len).unwrap()], 0).unwrap();
        for file in [&holey, &full] {
            file.write_all_at(&[5; 100], 3 << 20).unwrap();
        }
        for head in [SumHead::fine(len, false), SumHead::choose(len, 16, true)] {
            let found = sums(&holey, &head);
            assert_eq!(found.len(), head.count as usize * (4 + head.strong as usize));
            assert_eq!(found, sums(&full, &head));
        }
    }
}
