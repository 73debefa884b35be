//! Jobs for the hashing threads, and who wakes up for them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use volsync_md5::MAX_LANES;

use super::FileDigest;
use super::lane::Source;

/// So many lanes run about as fast as one (`docs/performance.md`), so a thread gets them before another is woken.
pub(super) const PACKED: usize = 8;

/// One message, and where its digest goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) source: Source,
    pub(super) len: u64,
    /// The message ends at `len`, whatever follows in the file.
    pub(super) within: bool,
    pub(super) reply: oneshot::Sender<io::Result<FileDigest>>,
    /// Its place among the jobs that are waiting or in lanes.
    pub(super) room: OwnedSemaphorePermit,
}

/// The queue. Bounded: a job enters with a permit that it keeps until it is done.
#[derive(Debug)]
pub(super) struct Queue {
    threads: usize,
    room: Arc<Semaphore>,
    /// Held for a few instructions only, never across a read or an await.
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Jobs in lanes.
    active: usize,
    /// Threads that are not asleep, counting those about to wake up.
    awake: usize,
    /// Threads that may leave their sleep.
    wakes: usize,
    closed: bool,
}

impl State {
    /// Whether the threads awake have their hands full.
    fn crowded(&self) -> bool {
        self.active + self.jobs.len() > self.awake * PACKED
    }

    /// How many more jobs a thread with `have` of them takes: an even share, as far as lanes go.
    fn share(&self, have: usize) -> usize {
        let even = (self.active + self.jobs.len()).div_ceil(self.awake.max(1)).min(MAX_LANES);
        even.saturating_sub(have).min(self.jobs.len())
    }
}

impl Queue {
    pub(super) fn new(threads: usize) -> Queue {
        // Twice what the lanes hold: the next ones are there when lanes fall free.
        let room = Arc::new(Semaphore::new(2 * threads * MAX_LANES));
        Queue { threads, room, state: Mutex::default(), woken: Condvar::new() }
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Waits until one more job may enter.
    pub(super) async fn room(&self) -> io::Result<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_owned().await.map_err(io::Error::other)
    }

    pub(super) fn push(&self, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        if state.crowded() && state.awake < self.threads {
            state.awake += 1;
            state.wakes += 1;
            self.woken.notify_one();
        }
    }

    /// Gives a thread that has finished `done` of its jobs and still has `have` its share of the waiting ones; one
    /// that has nothing sleeps until there are some. `None`: the hasher is gone.
    pub(super) fn take(&self, done: usize, have: usize) -> Option<Vec<Job>> {
        let mut state = self.lock();
        state.active -= done;
        while have == 0 && state.jobs.is_empty() && !state.closed {
            state.awake -= 1;
            state = self.sleep(state);
        }
        if state.closed {
            return None;
        }
        let share = state.share(have);
        state.active += share;
        Some(state.jobs.drain(..share).collect())
    }

    /// A thread's first sleep, before it ever counted as awake.
    pub(super) fn wait(&self) {
        drop(self.sleep(self.lock()));
    }

    fn sleep<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while state.wakes == 0 && !state.closed {
            state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.wakes = state.wakes.saturating_sub(1);
        state
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.jobs.clear();
        self.woken.notify_all();
    }

    // Every change under the lock is complete in itself, so a poisoned lock guards a sound state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(active: usize, awake: usize, jobs: usize, have: usize, expect: (bool, usize)) {
        let room = Arc::new(Semaphore::new(jobs.max(1)));
        let job = || Job {
            source: Source::Memory(bytes::Bytes::new()),
            len: 0,
            within: false,
            reply: oneshot::channel().0,
            room: Arc::clone(&room).try_acquire_owned().unwrap(),
        };
        let state = State { jobs: (0..jobs).map(|_| job()).collect(), active, awake, ..State::default() };
        assert_eq!((state.crowded(), state.share(have)), expect, "{active} {awake} {jobs} {have}");
    }

    #[test]
    fn threads_are_packed_before_others_wake() {
        check(0, 0, 1, 0, (true, 1));
        check(0, 1, 8, 0, (false, 8));
        check(0, 1, 9, 0, (true, 9));
        check(4, 1, 4, 4, (false, 4));
        check(8, 2, 9, 0, (true, 9));
    }

    #[test]
    fn a_share_is_even_and_fits_the_lanes() {
        check(0, 1, 100, 0, (true, MAX_LANES));
        check(0, 2, 40, 0, (true, 20));
        check(30, 2, 10, 25, (true, 0));
        check(30, 2, 10, 5, (true, 10));
        check(32, 1, 5, 32, (true, 0));
        check(3, 1, 0, 3, (false, 0));
    }
}
