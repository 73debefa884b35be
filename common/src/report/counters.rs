//! What a run has done so far. Workers count, whoever prints takes a [`Snapshot`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::meter::Meter;
use crate::path::RelPath;

/// Files under way that a snapshot lists at most.
const SHOWN: usize = 64;

/// Counts of one run, shared by everything that works for it.
#[derive(Debug, Default)]
pub struct Counters {
    numbers: Numbers,
    fatal: AtomicBool,
    retryable: AtomicBool,
    /// Large files under way only: short sections, never across a wait.
    under_way: Mutex<BTreeMap<u64, Arc<File>>>,
    next: AtomicU64,
    speed: Mutex<Meter>,
}

#[derive(Debug, Default)]
struct Numbers {
    listed: AtomicU64,
    checks: AtomicU64,
    checks_planned: AtomicU64,
    transfers: AtomicU64,
    transfers_planned: AtomicU64,
    transferring: AtomicU64,
    bytes: AtomicU64,
    bytes_planned: AtomicU64,
    bytes_hashed: AtomicU64,
    deleted_files: AtomicU64,
    deleted_directories: AtomicU64,
    deleted_bytes: AtomicU64,
    errors: AtomicU64,
}

#[derive(Debug)]
struct File {
    path: RelPath,
    size: u64,
    done: AtomicU64,
    speed: Mutex<Meter>,
}

/// All counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Entries that were listed on both sides.
    pub listed: u64,
    /// Files that were compared.
    pub checks: u64,
    /// Files that are to be compared, those compared included.
    pub checks_planned: u64,
    /// Files that were transferred.
    pub transfers: u64,
    /// Files that are to be transferred, those transferred included.
    pub transfers_planned: u64,
    /// Files under way, of any size.
    pub transferring: u64,
    /// Bytes of content that were transferred.
    pub bytes: u64,
    /// Bytes that are to be transferred, those transferred included.
    pub bytes_planned: u64,
    /// Bytes a second, lately; 0 until it was measured.
    pub speed: u64,
    /// Bytes that were read to compare.
    pub bytes_hashed: u64,
    /// Files that were deleted.
    pub deleted_files: u64,
    /// Directories that were deleted.
    pub deleted_directories: u64,
    /// Bytes of the deleted files.
    pub deleted_bytes: u64,
    /// Errors.
    pub errors: u64,
    /// An error ended the run.
    pub fatal: bool,
    /// Some error may not come again.
    pub retryable: bool,
    /// Larger files under way, the oldest first, at most 64.
    pub under_way: Vec<UnderWay>,
}

/// A file under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Which.
    pub path: RelPath,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes done.
    pub done: u64,
    /// Bytes a second, lately; 0 until it was measured.
    pub speed: u64,
}

/// A transfer that has begun. Dropped without [`Transfer::finish`] its bytes are taken back: it will be tried again or
/// counted as an error.
#[derive(Debug)]
pub struct Transfer {
    counters: Arc<Counters>,
    shown: Option<(u64, Arc<File>)>,
    size: u64,
    done: AtomicU64,
    finished: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Counters {
    /// All at zero.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// So many more entries were listed.
    pub fn listed(&self, entries: u64) {
        add(&self.numbers.listed, entries);
    }

    /// A file is to be compared.
    pub fn check_planned(&self) {
        add(&self.numbers.checks_planned, 1);
    }

    /// It was.
    pub fn checked(&self) {
        add(&self.numbers.checks, 1);
    }

    /// Bytes were read to compare.
    pub fn hashed(&self, bytes: u64) {
        add(&self.numbers.bytes_hashed, bytes);
    }

    /// A file is to be transferred.
    pub fn transfer_planned(&self, bytes: u64) {
        add(&self.numbers.transfers_planned, 1);
        add(&self.numbers.bytes_planned, bytes);
    }

    /// A planned transfer will not happen.
    pub fn transfer_dropped(&self, bytes: u64) {
        self.numbers.transfers_planned.fetch_sub(1, Ordering::Relaxed);
        self.numbers.bytes_planned.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A planned transfer begins; files of `shown_from` bytes and more are listed by name while they are under way.
    pub fn transfer(self: &Arc<Self>, path: &RelPath, size: u64, shown_from: u64) -> Transfer {
        let shown = (size >= shown_from).then(|| {
            let file =
                Arc::new(File { path: path.clone(), size, done: AtomicU64::new(0), speed: Mutex::new(Meter::new()) });
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            lock(&self.under_way).insert(number, file.clone());
            (number, file)
        });
        add(&self.numbers.transferring, 1);
        Transfer { counters: self.clone(), shown, size, done: AtomicU64::new(0), finished: AtomicBool::new(false) }
    }

    /// A file was deleted. It counts as compared too: that is how rclone's numbers come about.
    pub fn deleted_file(&self, bytes: u64) {
        self.check_planned();
        self.checked();
        add(&self.numbers.deleted_files, 1);
        add(&self.numbers.deleted_bytes, bytes);
    }

    /// A directory was deleted.
    pub fn deleted_directory(&self) {
        add(&self.numbers.deleted_directories, 1);
    }

    /// Something failed; `retryable` if another run may do better.
    pub fn error(&self, retryable: bool) {
        add(&self.numbers.errors, 1);
        self.retryable.fetch_or(retryable, Ordering::Relaxed);
    }

    /// Something failed that ends the run.
    pub fn fatal(&self) {
        add(&self.numbers.errors, 1);
        self.fatal.store(true, Ordering::Relaxed);
    }

    /// Number of errors so far.
    pub fn errors(&self) -> u64 {
        self.numbers.errors.load(Ordering::Relaxed)
    }

    /// Bytes of content transferred so far.
    pub fn bytes(&self) -> u64 {
        self.numbers.bytes.load(Ordering::Relaxed)
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let n = &self.numbers;
        Snapshot {
            listed: get(&n.listed),
            checks: get(&n.checks),
            checks_planned: get(&n.checks_planned),
            transfers: get(&n.transfers),
            transfers_planned: get(&n.transfers_planned),
            transferring: get(&n.transferring),
            bytes: get(&n.bytes),
            bytes_planned: get(&n.bytes_planned),
            speed: lock(&self.speed).speed(),
            bytes_hashed: get(&n.bytes_hashed),
            deleted_files: get(&n.deleted_files),
            deleted_directories: get(&n.deleted_directories),
            deleted_bytes: get(&n.deleted_bytes),
            errors: get(&n.errors),
            fatal: self.fatal.load(Ordering::Relaxed),
            retryable: self.retryable.load(Ordering::Relaxed),
            under_way: lock(&self.under_way).values().take(SHOWN).map(|file| file.shown()).collect(),
        }
    }

    /// Measures speeds; to be called about once a second, as rclone does. While nothing is under way the last speed stays.
    pub fn measure(&self, now: Instant) {
        let bytes = self.numbers.bytes.load(Ordering::Relaxed);
        let busy = self.numbers.transferring.load(Ordering::Relaxed) > 0;
        lock(&self.speed).measure(now, bytes, busy);
        for file in lock(&self.under_way).values() {
            lock(&file.speed).measure(now, file.done.load(Ordering::Relaxed), true);
        }
    }

    /// Another attempt begins: the errors of the last one count no more, as in rclone.
    pub fn forget_errors(&self) {
        self.numbers.errors.store(0, Ordering::Relaxed);
        self.fatal.store(false, Ordering::Relaxed);
        self.retryable.store(false, Ordering::Relaxed);
    }
}

impl File {
    fn shown(&self) -> UnderWay {
        let (done, speed) = (self.done.load(Ordering::Relaxed), lock(&self.speed).speed());
        UnderWay { path: self.path.clone(), size: self.size, done, speed }
    }
}

impl Transfer {
    /// So many more bytes are done. What is sent again counts once: never more than the size.
    pub fn add(&self, bytes: u64) {
        let most = self.size.saturating_sub(self.done.load(Ordering::Relaxed));
        self.count(bytes.min(most));
    }

    fn count(&self, bytes: u64) {
        add(&self.done, bytes);
        add(&self.counters.numbers.bytes, bytes);
        if let Some((_, file)) = &self.shown {
            add(&file.done, bytes);
        }
    }

    /// It is complete: whatever was not counted of its `size` yet is counted now.
    pub fn finish(&self, size: u64) {
        self.count(size.saturating_sub(self.done.load(Ordering::Relaxed)));
        add(&self.counters.numbers.transfers, 1);
        self.finished.store(true, Ordering::Relaxed);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.counters.numbers.transferring.fetch_sub(1, Ordering::Relaxed);
        if !self.finished.load(Ordering::Relaxed) {
            self.counters.numbers.bytes.fetch_sub(self.done.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        if let Some((number, _)) = &self.shown {
            lock(&self.counters.under_way).remove(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_transfer_takes_its_bytes_back_and_a_finished_one_counts_whole() {
        let counters = Counters::new();
        let path = RelPath::new(*b"a").unwrap();
        counters.transfer_planned(10);
        let broken = counters.transfer(&path, 10, 10);
        broken.add(4);
        let shown = counters.snapshot();
        assert_eq!((shown.bytes, shown.under_way[0].done), (4, 4));
        drop(broken);
        assert_eq!(counters.snapshot().bytes, 0);
        let whole = counters.transfer(&path, 10, 11);
        whole.add(4);
        assert!(counters.snapshot().under_way.is_empty());
        whole.finish(10);
        let done = counters.snapshot();
        assert_eq!((done.bytes, done.transfers, done.transfers_planned), (10, 1, 1));
    }
}
