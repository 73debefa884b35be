//! One message in a lane: where its bytes come from, how far it got.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::Advice;
use volsync_md5::{Block, Lane, State, padding};

use super::FileDigest;
use super::queue::Job;

/// Bytes read at a time: 32 of them stay in a second-level cache of 2 MiB, and a system call is worth its price.
const BUFFER: usize = 64 << 10;

/// What the allocation for one lane takes: the buffer, and room behind it for the padding of a message.
pub(super) const BUFFER_MEMORY: usize = BUFFER + 128;

/// Where a message lies.
#[derive(Debug)]
pub(super) enum Source {
    /// From this offset on.
    File(Arc<File>, u64),
    Memory(Bytes),
}

/// A job in progress.
///
/// What is to be hashed next lies in `ready` of the buffer, except while a body in memory has whole blocks left: those
/// are hashed in place.
#[derive(Debug)]
pub(super) struct Active {
    job: Job,
    state: State,
    /// Bytes that were read, or hashed in place.
    bytes: u64,
    buffer: Buffer,
    ready: std::ops::Range<usize>,
    /// The padding is in: nothing comes after what is ready.
    last: bool,
}

/// Memory of one lane, used for one message after the other.
pub(super) type Buffer = Box<[u8]>;

/// A buffer for [`Active::begin`].
pub(super) fn buffer() -> Buffer {
    vec![0; BUFFER_MEMORY].into_boxed_slice()
}

impl Job {
    /// Bytes to read next. One more than expected of a whole file, which tells that it grew; never behind a range.
    fn most(&self, done: u64) -> usize {
        let end = if self.within { self.len.saturating_sub(done) } else { u64::MAX };
        usize::try_from(end).unwrap_or(BUFFER).min(BUFFER)
    }
}

impl Active {
    /// Nothing is read yet; the kernel is told what will be.
    pub(super) fn begin(job: Job, buffer: Buffer) -> Active {
        if let Source::File(file, from) = &job.source {
            // Advice only: a file system that knows none reads all the same.
            let _ = rustix::fs::fadvise(file, *from, None, Advice::Sequential);
            let _ = rustix::fs::fadvise(file, *from, std::num::NonZeroU64::new(BUFFER as u64), Advice::WillNeed);
        }
        Active { job, state: State::START, bytes: 0, buffer, ready: 0..0, last: false }
    }

    /// Whether nobody waits for the digest any more.
    pub(super) fn abandoned(&self) -> bool {
        self.job.reply.is_closed()
    }

    /// Whether the whole message went through.
    pub(super) fn finished(&self) -> bool {
        self.last && self.ready.is_empty()
    }

    /// Makes at least one block ready, unless the message went through.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if !self.last && self.blocks().is_empty() {
            match &self.job.source {
                Source::File(file, from) => {
                    let most = self.job.most(self.bytes);
                    let got = read(file, &mut self.buffer[..most], from + self.bytes)?;
                    self.took(got, got < BUFFER);
                }
                Source::Memory(body) => {
                    let rest = body.as_chunks::<64>().1;
                    self.buffer[..rest.len()].copy_from_slice(rest);
                    let rest = rest.len();
                    self.took(rest, true);
                }
            }
        }
        Ok(())
    }

    /// `got` bytes of the message lie in the buffer; after the last of them comes the padding.
    fn took(&mut self, got: usize, end: bool) {
        self.bytes += got as u64;
        self.ready = 0..got;
        // A file that grew is not read on, see `hash_file`; what is ready are whole blocks then, and the sum is moot.
        if end || self.bytes > self.job.len {
            let padding = padding(self.bytes);
            self.buffer[got..got + padding.len()].copy_from_slice(&padding);
            self.ready.end += padding.len();
            self.last = true;
        }
    }

    fn blocks(&self) -> &[Block] {
        match &self.job.source {
            Source::Memory(body) if !self.last => body.as_chunks().0.get(self.done_blocks()..).unwrap_or(&[]),
            _ => self.buffer[self.ready.clone()].as_chunks().0,
        }
    }

    /// Of a body in memory: the blocks hashed in place.
    fn done_blocks(&self) -> usize {
        usize::try_from(self.bytes / 64).unwrap_or(usize::MAX)
    }

    /// For the kernel.
    pub(super) fn lane(&self) -> Lane<'_> {
        Lane { state: self.state, blocks: self.blocks() }
    }

    /// After the kernel: `count` blocks went through.
    pub(super) fn advanced(&mut self, state: State, count: usize) {
        self.state = state;
        match self.job.source {
            Source::Memory(_) if !self.last => self.bytes += 64 * count as u64,
            _ => self.ready.start += 64 * count,
        }
    }

    /// Sends the digest, or the error that ended it, and gives the buffer back. Nobody may be there to receive it:
    /// then nobody asked for it either.
    pub(super) fn end(self, error: Option<io::Error>) -> Buffer {
        let digest = FileDigest { md5: self.state.digest(), bytes: self.bytes };
        drop(self.job.room);
        drop(self.job.reply.send(error.map_or(Ok(digest), Err)));
        self.buffer
    }
}

/// Fills the buffer from `at` on; less only at the end of the file. A short read alone does not say so: file systems
/// in user space may return one anywhere.
pub(super) fn read(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], at + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
