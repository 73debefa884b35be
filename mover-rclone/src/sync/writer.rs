//! Writes what arrives of many files, and hashes it on the way.
//!
//! What several downloads have brought is hashed together, in SIMD lanes, while it is still in memory. Sixteen pieces
//! take about the time of one, so a thread waits a moment until half of the downloads have brought theirs: the other half
//! keeps the network busy meanwhile.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use volsync_common::dest::Temp;
use volsync_md5::{MAX_LANES, Md5, update_many};

/// Threads that write at a time: a slow disk is kept busy by a few.
const THREADS: usize = 4;

/// So many pieces are hashed in little more than the time of one (`docs/performance.md`).
const PACKED: usize = 16;

/// The longest that a piece waits for others: a slow network brings none.
const WAIT: Duration = Duration::from_millis(4);

/// The way to the writing threads. Bounded by its users: each waits for its last piece before it brings the next.
#[derive(Debug, Default)]
pub(super) struct Writer {
    queue: Mutex<Queue>,
    company: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Piece>,
    threads: usize,
    /// Downloads that bring something to be hashed.
    downloads: usize,
}

/// A download that brings something to be hashed, until it is dropped.
pub(super) struct Download<'a>(&'a Writer);

impl Drop for Download<'_> {
    fn drop(&mut self) {
        self.0.lock().downloads -= 1;
    }
}

/// Content that was handed over, or why it could not be written, with the sum that goes on behind it.
pub(super) type Written = oneshot::Receiver<io::Result<Option<Md5>>>;

#[derive(Debug)]
struct Piece {
    to: Arc<Temp>,
    at: u64,
    content: Vec<Bytes>,
    sum: Option<Md5>,
    reply: oneshot::Sender<io::Result<Option<Md5>>>,
}

impl Queue {
    /// How many pieces are worth the work of a thread.
    fn enough(&self) -> usize {
        let hashed = self.waiting.back().is_some_and(|piece| piece.sum.is_some());
        if hashed { (self.downloads / 2).clamp(1, PACKED) } else { 1 }
    }

    /// Whether one more thread is worth its start.
    fn crowded(&self) -> bool {
        self.threads == 0 || (self.threads < THREADS && self.waiting.len() > self.enough())
    }
}

impl Writer {
    /// Counts a download that brings something to be hashed.
    pub(super) fn download(&self) -> Download<'_> {
        self.lock().downloads += 1;
        Download(self)
    }

    /// Has `content` written at `at`, and added to `sum` if there is one.
    pub(super) fn write(self: &Arc<Self>, to: Arc<Temp>, at: u64, content: Vec<Bytes>, sum: Option<Md5>) -> Written {
        let (reply, written) = oneshot::channel();
        let mut queue = self.lock();
        queue.waiting.push_back(Piece { to, at, content, sum, reply });
        if queue.waiting.len() >= queue.enough() {
            self.company.notify_one();
        }
        if queue.crowded() {
            queue.threads += 1;
            let writer = self.clone();
            tokio::task::spawn_blocking(move || writer.work());
        }
        written
    }

    fn work(&self) {
        while let Some(pieces) = self.take() {
            write_all(pieces);
        }
    }

    /// What waits, as far as there are lanes for it; `None` ends the thread.
    fn take(&self) -> Option<Vec<Piece>> {
        let few = |queue: &mut Queue| !queue.waiting.is_empty() && queue.waiting.len() < queue.enough();
        let waited = self.company.wait_timeout_while(self.lock(), WAIT, few);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if queue.waiting.is_empty() {
            queue.threads -= 1;
            return None;
        }
        let count = queue.waiting.len().min(MAX_LANES);
        Some(queue.waiting.drain(..count).collect())
    }

    // Every change under the lock is complete in itself.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_all(mut pieces: Vec<Piece>) {
    let hashed = pieces.iter_mut().filter_map(|piece| Some((piece.sum.as_mut()?, &piece.content[..])));
    update_many(&mut hashed.collect::<Vec<_>>());
    for Piece { to, at, content, sum, reply } in pieces {
        let written = write_one(&to, at, &content);
        drop((to, content));
        // Whoever gave up needs no answer.
        let _gone = reply.send(written.map(|()| sum));
    }
}

fn write_one(to: &Temp, mut at: u64, content: &[Bytes]) -> io::Result<()> {
    for bytes in content {
        to.write_at(at, bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
}
