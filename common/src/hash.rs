//! MD5 of many files at once, on threads of their own.
//!
//! One MD5 leaves most of a core idle; [`volsync_md5`] runs up to 32 independent ones side by side. Here the messages
//! are files: each thread keeps a set of them open as lanes, tops up their buffers with `pread`, and runs the kernel
//! over all lanes for as long as every one of them has blocks. A file that ends makes room for the next, so lengths
//! need not agree.
//!
//! Up to eight lanes run as fast as one (they share a register), so work is packed: a further thread is woken only
//! when those awake have [`queue::PACKED`] lanes each. Few files cost one core, many use them all.
//!
//! Bodies in memory take the cheapest of three ways by size: hashed on the spot, gathered with those of other tasks
//! that are ready at the same moment, or handed to the threads as one more lane.

mod gather;
mod lane;
mod large;
mod queue;
mod worker;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
pub use volsync_md5::Digest;

use gather::Gather;
use lane::Source;
use queue::{Job, Queue};

/// Bodies up to this size are hashed where they are: 1.5 microseconds, less than meeting others takes.
const ON_THE_SPOT: usize = 1 << 10;

/// Bodies above this size go to the threads: 90 microseconds on the caller's thread would hold up its other tasks.
const HAND_OVER: usize = 64 << 10;

/// What hashing a file from its first byte found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// The sum of the bytes that were read.
    pub md5: Digest,
    /// How many those were. Other than the expected length: the file changed.
    pub bytes: u64,
}

/// Threads that hash. They end, dropping what they work on, soon after the hasher is dropped.
#[derive(Debug)]
pub struct FileHasher {
    queue: Arc<Queue>,
    gather: Gather,
    /// Of the one large file that is hashed by itself.
    alone: Semaphore,
}

impl FileHasher {
    /// Starts `threads` of them, at least one. They sleep until there is work.
    pub fn start(threads: usize) -> io::Result<FileHasher> {
        let threads = threads.max(1);
        let hasher =
            FileHasher { queue: Arc::new(Queue::new(threads)), gather: Gather::default(), alone: Semaphore::new(1) };
        for n in 0..threads {
            let queue = Arc::clone(&hasher.queue);
            std::thread::Builder::new().name(format!("md5-{n}")).spawn(move || worker::run(&queue))?;
        }
        Ok(hasher)
    }

    /// The most memory that buffers take, in bytes. They are allocated when first needed and used again.
    pub fn memory(&self) -> usize {
        self.queue.threads() * volsync_md5::MAX_LANES * lane::BUFFER_MEMORY + large::MEMORY
    }

    /// Hashes a file from offset 0, wherever its own offset stands, to its end.
    ///
    /// `len` is the expected length. A file that turns out longer is given up at the first read past it, so that one
    /// that grows without end does not hold a lane: its digest then says `bytes > len` and its sum is of no use. Pass
    /// [`u64::MAX`] to read whatever there is.
    ///
    /// One large file at a time is not a lane: it is read by a thread while another hashes, which is faster for it and
    /// costs the lanes nothing. Needs a Tokio runtime.
    ///
    /// # Errors
    /// What reading said; the caller knows the path. Dropping the future ends the work before its next read.
    pub async fn hash_file(&self, file: Arc<File>, len: u64) -> io::Result<FileDigest> {
        if (large::LARGE..u64::MAX).contains(&len)
            && let Ok(_alone) = self.alone.try_acquire()
        {
            return large::hash(file, len).await;
        }
        self.submit(Source::File(file, 0), len, false).await
    }

    /// Hashes a range of a file, as far as the file goes: its digest says how many bytes there were.
    ///
    /// # Errors
    /// As [`FileHasher::hash_file`].
    pub async fn hash_range(&self, file: Arc<File>, range: Range<u64>) -> io::Result<FileDigest> {
        let len = range.end.saturating_sub(range.start);
        self.submit(Source::File(file, range.start), len, true).await
    }

    /// Hashes a body in memory. Never slower than doing it alone by more than one turn of the scheduler.
    pub async fn hash_bytes(&self, body: Bytes) -> Digest {
        match body.len() {
            0..=ON_THE_SPOT => volsync_md5::md5(&body),
            len if len <= HAND_OVER => self.gather.hash(body).await,
            len => match self.submit(Source::Memory(body.clone()), len as u64, false).await {
                Ok(digest) => digest.md5,
                Err(_) => volsync_md5::md5(&body),
            },
        }
    }

    async fn submit(&self, source: Source, len: u64, within: bool) -> io::Result<FileDigest> {
        let room = self.queue.room().await?;
        let (reply, digest) = tokio::sync::oneshot::channel();
        self.queue.push(Job { source, len, within, reply, room });
        digest.await.map_err(|_| io::Error::other("the hashing thread ended early"))?
    }
}

impl Drop for FileHasher {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests;
