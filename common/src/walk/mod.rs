//! A sorted walk of a directory tree by descriptors: raw bytes, no link followed, one file system.
//!
//! Entries come in the order of the bytes of their whole paths, directories sorting as name and slash (`a-b` < `a/x` <
//! `a0`), each directory right before what it holds: the order in which object stores list keys, so that both sides of
//! a sync can be merged as streams.
//!
//! Reading a directory and looking at up to 512 of its entries are jobs. Their keys sort like the walk, worker threads
//! take the smallest, and the iterator runs the job it needs next by itself if nobody has begun it: so nothing can
//! wait for ever, and with no workers at all the walk still works. Workers stop while some tens of thousands of names
//! are ready and not yet taken, which bounds the memory; a directory of a million names costs some 40 MB for the names
//! (they must be sorted before the first can be told), never their attributes. There is no recursion, and paths may be
//! longer than PATH_MAX: every call names one element below an open directory.
//!
//! 100,000 files in 1,000 directories on two cores with warm caches: `docs/performance.md`, section "Walk".

mod children;
mod dir;
mod names;
mod stat;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::path::RelPath;
pub use children::{Child, children};
use dir::{Dir, Opener};
use names::Names;
pub use stat::{Kind, Stat};

/// Entries looked at in one job.
const CHUNK: usize = 512;

/// Workers pause while this many names are ready and not taken.
const AHEAD: usize = 32 * 1024;

/// How to walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkOptions {
    /// Leave out directories on other file systems than the root's (rclone `-x`).
    pub one_file_system: bool,
    /// Tell of what links lead to instead of links (rclone `-L`); dangling and circular ones fail.
    pub follow_links: bool,
    /// Threads that read ahead; 0 reads everything on the caller's thread.
    pub threads: usize,
}

/// One file, directory, link or special file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the root.
    pub path: RelPath,
    /// What it is.
    pub kind: Kind,
    /// Its attributes.
    pub stat: Stat,
}

/// What a walk tells.
#[derive(Debug)]
pub enum Event {
    /// The next entry.
    Entry(Entry),
    /// What is at or below `path` (empty: the root) is not known: nothing may be concluded from its absence.
    Failed {
        /// Below the root.
        path: Vec<u8>,
        /// Why.
        error: io::Error,
    },
}

type Keep = dyn Fn(&RelPath, Kind, &Stat) -> bool + Send + Sync;
type Enter = dyn Fn(&RelPath) -> bool + Send + Sync;

/// Walks the tree below `root` (whose own links are followed). `keep` decides about each entry, on any thread: what it
/// refuses is neither told nor entered. Entries that vanish while they are read are left out.
///
/// Fails when `root` cannot be opened or a thread cannot be started.
pub fn walk(
    root: &Path,
    options: WalkOptions,
    keep: impl Fn(&RelPath, Kind, &Stat) -> bool + Send + Sync + 'static,
) -> io::Result<Walk> {
    start(root, options, false, Box::new(keep), Box::new(|_| true))
}

/// Walks as [`walk`] does, and with `one_file_system` tells also of the directories that it leaves out, not of what they
/// hold (rsync `-x`).
pub fn walk_with_mount_points(
    root: &Path,
    options: WalkOptions,
    keep: impl Fn(&RelPath, Kind, &Stat) -> bool + Send + Sync + 'static,
) -> io::Result<Walk> {
    walk_pruned(root, options, keep, |_| true)
}

/// Walks as [`walk_with_mount_points`] does, but tells nothing of what a directory holds where `enter` says no.
pub fn walk_pruned(
    root: &Path,
    options: WalkOptions,
    keep: impl Fn(&RelPath, Kind, &Stat) -> bool + Send + Sync + 'static,
    enter: impl Fn(&RelPath) -> bool + Send + Sync + 'static,
) -> io::Result<Walk> {
    start(root, options, true, Box::new(keep), Box::new(enter))
}

fn start(root: &Path, options: WalkOptions, tell_mounts: bool, keep: Box<Keep>, enter: Box<Enter>) -> io::Result<Walk> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = Arc::new(Dir::root(rustix::fs::openat(CWD, root, flags, Mode::empty())?)?);
    let opener = Opener::new(options.follow_links);
    let reader = Reader { options, tell_mounts, keep, enter, opener, root: top.stat };
    let shared = Arc::new(Shared { reader, state: Mutex::default(), work: Condvar::new(), done: Condvar::new() });
    let mut walk = Walk { root: top.stat, stack: Vec::new(), enter: None, shared, workers: Vec::new() };
    let (batch, jobs) = walk.shared.reader.run(Job::Names(top));
    walk.shared.lock().queue.extend(jobs);
    walk.stack.push(batch);
    for _ in 0..options.threads {
        let shared = walk.shared.clone();
        let builder = std::thread::Builder::new().name("walk".into());
        walk.workers.push(builder.spawn(move || shared.work())?);
    }
    Ok(walk)
}

/// The walk in progress; dropping it ends it.
pub struct Walk {
    root: Stat,
    stack: Vec<Batch>,
    enter: Option<Key>,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Walk {
    /// The attributes of the root, which is not told as an entry.
    pub fn root(&self) -> &Stat {
        &self.root
    }
}

impl Iterator for Walk {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if let Some(key) = self.enter.take() {
            self.stack.push(self.shared.take(&key));
        }
        loop {
            let batch = self.stack.last_mut()?;
            if let Some(item) = batch.items.pop_front() {
                self.enter = item.enter;
                return Some(item.event);
            }
            match batch.chunks.pop_front() {
                Some(key) => batch.items = self.shared.take(&key).items,
                None => drop(self.stack.pop()),
            }
        }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker never panics: jobs are run behind catch_unwind.
            drop(worker.join());
        }
    }
}

/// Where a job stands in the walk: the path and `/` for a directory to read, the path of the first entry and NUL for
/// a chunk. Unique, and ordered like the walk.
type Key = Vec<u8>;

enum Job {
    /// Read the names of a directory that is open (the root).
    Names(Arc<Dir>),
    /// Enter `name` in the directory and read its names.
    Enter(Arc<Dir>, RelPath),
    /// Look at these entries.
    Chunk(Arc<Dir>, Arc<Names>, Range<usize>),
}

/// The result of a job: what to tell, then chunks of the same directory.
#[derive(Default)]
struct Batch {
    items: VecDeque<Item>,
    chunks: VecDeque<Key>,
    /// Names that wait in memory because of it.
    weight: usize,
}

struct Item {
    event: Event,
    /// The job that reads what this directory holds.
    enter: Option<Key>,
}

#[derive(Default)]
struct State {
    queue: BTreeMap<Key, Job>,
    ready: BTreeMap<Key, Batch>,
    ahead: usize,
    stopped: bool,
}

struct Shared {
    reader: Reader,
    state: Mutex<State>,
    /// There may be something to do for workers.
    work: Condvar,
    /// A worker finished a job.
    done: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every worker does.
    fn work(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let job = if state.ahead < AHEAD { state.queue.pop_first() } else { None };
            let Some((key, job)) = job else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let (batch, jobs) = self.reader.run(job);
            state = self.lock();
            state.ahead += batch.weight;
            state.ready.insert(key, batch);
            self.enqueue(&mut state, jobs);
            self.done.notify_one();
        }
    }

    fn enqueue(&self, state: &mut State, jobs: Vec<(Key, Job)>) {
        if !jobs.is_empty() {
            state.queue.extend(jobs);
            self.work.notify_all();
        }
    }

    /// The result of the job `key`: ready, run here, or waited for.
    fn take(&self, key: &Key) -> Batch {
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.ready.remove(key) {
                state.ahead -= batch.weight;
                self.work.notify_one();
                return batch;
            }
            if let Some(job) = state.queue.remove(key) {
                drop(state);
                let (batch, jobs) = self.reader.run(job);
                self.enqueue(&mut self.lock(), jobs);
                return batch;
            }
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Reader {
    options: WalkOptions,
    tell_mounts: bool,
    keep: Box<Keep>,
    enter: Box<Enter>,
    opener: Opener,
    root: Stat,
}

impl Reader {
    /// Runs a job to its end. A panic (only `keep` could) becomes a failure of that directory: somebody waits for the
    /// result.
    fn run(&self, job: Job) -> (Batch, Vec<(Key, Job)>) {
        let path = match &job {
            Job::Names(dir) | Job::Chunk(dir, ..) => dir.path.to_vec(),
            Job::Enter(_, path) => path.to_vec(),
        };
        let result = catch_unwind(AssertUnwindSafe(|| match job {
            Job::Names(dir) => self.names(&dir),
            Job::Enter(parent, path) => self.enter(&parent, &path),
            Job::Chunk(dir, names, range) => self.chunk(&dir, &names, range),
        }));
        match result {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => (Batch::failed(path, error), Vec::new()),
            Err(_) => (Batch::failed(path, io::Error::other("the decision about an entry panicked")), Vec::new()),
        }
    }

    fn enter(&self, parent: &Arc<Dir>, path: &RelPath) -> io::Result<(Batch, Vec<(Key, Job)>)> {
        let dir = match self.opener.enter(parent, path.name(), path.as_bytes().into()) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => return Err(error),
        };
        // A mount since the entry was looked at.
        if self.is_elsewhere(&dir.stat) {
            return Ok(Default::default());
        }
        if self.options.follow_links && parent.is_within(&dir.stat) {
            return Err(Errno::LOOP.into());
        }
        self.names(&dir)
    }

    fn is_elsewhere(&self, stat: &Stat) -> bool {
        self.options.one_file_system && stat.dev != self.root.dev
    }

    /// Reads the names of `dir`, looks at the first chunk, leaves the others as jobs.
    fn names(&self, dir: &Arc<Dir>) -> io::Result<(Batch, Vec<(Key, Job)>)> {
        let names = Arc::new(Names::read(self.opener.fd(dir)?, self.options.follow_links)?);
        let (mut batch, mut jobs) = self.chunk(dir, &names, 0..names.len().min(CHUNK))?;
        batch.weight = names.len();
        for start in (CHUNK..names.len()).step_by(CHUNK) {
            let range = start..names.len().min(start + CHUNK);
            let key = chunk_key(&dir.path, &names, start);
            batch.chunks.push_back(key.clone());
            jobs.push((key, Job::Chunk(dir.clone(), names.clone(), range)));
        }
        Ok((batch, jobs))
    }

    fn chunk(&self, dir: &Arc<Dir>, names: &Names, range: Range<usize>) -> io::Result<(Batch, Vec<(Key, Job)>)> {
        let mut batch = Batch { weight: range.len(), ..Batch::default() };
        let mut jobs = Vec::new();
        let fd = self.opener.fd(dir)?;
        for at in range {
            let (name, directory) = names.get(at);
            let bytes = join(&dir.path, name);
            match self.look(&fd, name, directory, &bytes) {
                Ok(Some(entry)) => batch.items.push_back(self.item(entry, dir, &mut jobs)),
                Ok(None) => {}
                Err(error) => batch.items.push_back(Item { event: Event::Failed { path: bytes, error }, enter: None }),
            }
        }
        Ok((batch, jobs))
    }

    fn item(&self, entry: Entry, dir: &Arc<Dir>, jobs: &mut Vec<(Key, Job)>) -> Item {
        let enter = (entry.kind == Kind::Directory && (self.enter)(&entry.path)).then(|| {
            let mut key = entry.path.to_vec();
            key.push(b'/');
            jobs.push((key.clone(), Job::Enter(dir.clone(), entry.path.clone())));
            key
        });
        Item { event: Event::Entry(entry), enter }
    }

    /// One entry; `None` when it vanished or is not wanted.
    fn look(
        &self,
        dir: &Arc<std::os::fd::OwnedFd>,
        name: &[u8],
        directory: bool,
        path: &[u8],
    ) -> io::Result<Option<Entry>> {
        let Some(stat) = self.stat(dir, name)? else { return Ok(None) };
        let kind = stat.kind();
        if (kind == Kind::Directory) != directory {
            // Its place in the order is not known any more.
            return Err(io::Error::other("it was replaced while its directory was read"));
        }
        let path = RelPath::new(path).map_err(io::Error::other)?;
        let elsewhere = kind == Kind::Directory && self.is_elsewhere(&stat) && !self.tell_mounts;
        let wanted = !elsewhere && (self.keep)(&path, kind, &stat);
        Ok(wanted.then_some(Entry { path, kind, stat }))
    }

    fn stat(&self, dir: &Arc<std::os::fd::OwnedFd>, name: &[u8]) -> io::Result<Option<Stat>> {
        let stat = if self.options.follow_links { Stat::through_links(dir, name) } else { Stat::at(dir, name) };
        match stat {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A dangling link is there itself.
                if self.options.follow_links && Stat::at(dir, name).is_ok() { Err(error) } else { Ok(None) }
            }
            other => other.map(Some),
        }
    }
}

impl Batch {
    fn failed(path: Vec<u8>, error: io::Error) -> Self {
        let item = Item { event: Event::Failed { path, error }, enter: None };
        Self { items: VecDeque::from([item]), chunks: VecDeque::new(), weight: 1 }
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

fn chunk_key(path: &[u8], names: &Names, start: usize) -> Key {
    let (name, directory) = names.get(start);
    let mut key = join(path, name);
    key.extend_from_slice(if directory { b"/\0" } else { b"\0" });
    key
}

#[cfg(test)]
mod tests;
