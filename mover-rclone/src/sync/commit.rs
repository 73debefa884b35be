//! Gives downloaded files their names, many at a time: one flush of the file system makes all of them safe.
//!
//! Small files come as content: a thread checks, writes and seals as many as have arrived, which costs one wake-up instead
//! of several a file.
//!
//! A file waits under its temporary name until the next flush. So after a crash of the machine no name leads to content
//! that was not on disk; a flush of each file by itself would cost ten times as much (`docs/performance.md`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use volsync_common::budget::Reservation;
use volsync_common::dest::{CommitMeta, Dest, Sealed};
use volsync_common::report::Transfer;
use volsync_common::time::Timestamp;

use super::item::Item;
use super::problems::Problem;
use super::run::Run;
use super::small;
use super::transfer::{Cure, Failed};
use crate::store::Md5;

/// Files of one flush at most.
const FILES: usize = 4096;

/// Bytes of one flush at most: what a full disk must hold twice.
const BYTES: u64 = 256 << 20;

/// Batches of small files that are written at a time.
const WRITERS: usize = 4;

/// The longest that the first file of a batch waits.
const WAIT: Duration = Duration::from_secs(2);

/// A complete file under its temporary name.
pub(super) struct Finished {
    pub(super) sealed: Sealed,
    pub(super) transfer: Transfer,
    pub(super) item: Item,
    pub(super) replacing: bool,
    pub(super) size: u64,
}

/// A small file whose content has arrived and is neither checked nor written yet.
pub(super) struct Arrived {
    pub(super) content: Bytes,
    /// What the content must have.
    pub(super) md5: Option<Md5>,
    pub(super) mtime: Timestamp,
    pub(super) transfer: Transfer,
    pub(super) item: Item,
    pub(super) replacing: bool,
    /// Of the content; given back when it is written.
    pub(super) memory: Reservation,
}

enum Message {
    File(Box<Finished>),
    Small(Box<Arrived>),
    /// Name everything now and answer.
    Flush(oneshot::Sender<()>),
}

/// The way to the task that gives names.
pub(super) struct Committer {
    send: mpsc::Sender<Message>,
    later: Arc<Mutex<Later>>,
}

/// Files that must be transferred another time.
#[derive(Default)]
pub(super) struct Later {
    /// Something else stands in their place.
    pub(super) blocked: Vec<Item>,
    /// Their content was not what it should be, or could not be written.
    pub(super) again: Vec<(Item, bool)>,
}

impl Committer {
    /// Starts the task; it ends with the last way to it.
    pub(super) fn start(run: Arc<Run>, dest: Dest) -> Self {
        let (send, receive) = mpsc::channel(FILES);
        let later = Arc::new(Mutex::new(Later::default()));
        let writers = JoinSet::new();
        tokio::spawn(Task { run, dest, later: later.clone(), writers, batch: Vec::new(), bytes: 0 }.work(receive));
        Self { send, later }
    }

    /// Hands over a file; waits when too many wait already.
    pub(super) async fn commit(&self, file: Finished) -> Result<(), Failed> {
        self.hand_over(Message::File(Box::new(file))).await
    }

    /// Hands over a small file to be checked, written and named.
    pub(super) async fn write(&self, file: Arrived) -> Result<(), Failed> {
        self.hand_over(Message::Small(Box::new(file))).await
    }

    async fn hand_over(&self, message: Message) -> Result<(), Failed> {
        let gone = |_| Failed::new(Problem::new("", "the run is ending"), Cure::None);
        self.send.send(message).await.map_err(gone)
    }

    /// Returns when everything that was handed over has its name, or failed.
    pub(super) async fn flush(&self) {
        let (answer, answered) = oneshot::channel();
        if self.send.send(Message::Flush(answer)).await.is_ok() {
            // An error means that the task ended, after naming all it had.
            let _ended = answered.await;
        }
    }

    /// Notes a file whose place is taken by something else.
    pub(super) fn put_off(&self, item: Item) {
        lock(&self.later).blocked.push(item);
    }

    /// The files that were noted so far.
    pub(super) fn take_later(&self) -> Later {
        std::mem::take(&mut *lock(&self.later))
    }
}

fn lock(later: &Mutex<Later>) -> std::sync::MutexGuard<'_, Later> {
    later.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Task {
    run: Arc<Run>,
    dest: Dest,
    later: Arc<Mutex<Later>>,
    /// Batches of small files that are being written.
    writers: JoinSet<Vec<Written>>,
    batch: Vec<Finished>,
    bytes: u64,
}

/// A small file, sealed or not.
type Written = Result<Finished, (Box<Item>, bool, Failed)>;

impl Task {
    async fn work(mut self, mut receive: mpsc::Receiver<Message>) {
        let mut deadline: Option<Instant> = None;
        let mut messages = Vec::with_capacity(small::FILES);
        loop {
            let due = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(written) = self.writers.join_next(), if !self.writers.is_empty() => self.written(written),
                count = receive.recv_many(&mut messages, small::FILES), if self.writers.len() < WRITERS => {
                    if count == 0 {
                        break;
                    }
                    self.take(&mut messages).await;
                }
                () = due => self.name_all().await,
            }
            if self.batch.len() >= FILES || self.bytes >= BYTES {
                self.name_all().await;
            }
            deadline = if self.batch.is_empty() { None } else { deadline.or_else(|| Some(Instant::now() + WAIT)) };
        }
        self.settle().await;
    }

    async fn take(&mut self, messages: &mut Vec<Message>) {
        let mut arrived = Vec::new();
        let mut answers = Vec::new();
        for message in messages.drain(..) {
            match message {
                Message::File(file) => self.add(*file),
                Message::Small(file) => arrived.push(*file),
                Message::Flush(answer) => answers.push(answer),
            }
        }
        if !arrived.is_empty() {
            let (dest, checked) = (self.dest.clone(), !self.run.context.options.ignore_checksum);
            self.writers.spawn_blocking(move || write_all(&dest, arrived, checked));
        }
        if !answers.is_empty() {
            self.settle().await;
        }
        for answer in answers {
            // Whoever asked may have given up.
            let _gone = answer.send(());
        }
    }

    fn add(&mut self, file: Finished) {
        self.bytes += file.size;
        self.batch.push(file);
    }

    fn written(&mut self, written: Result<Vec<Written>, JoinError>) {
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                return self.run.problems.report(Problem::new("", format!("a task of this program failed: {error}")));
            }
        };
        for one in written {
            match one {
                Ok(file) => self.add(file),
                Err((item, replacing, failed)) => self.not_written(*item, replacing, failed),
            }
        }
    }

    fn not_written(&self, item: Item, replacing: bool, failed: Failed) {
        match failed.cure {
            Cure::Retry | Cure::Room => {
                tracing::debug!(object = %item.path, "attempt 1 failed: {}", failed.problem.text);
                self.run.context.counters.transfer_dropped(item.size);
                lock(&self.later).again.push((item, replacing));
            }
            Cure::Clear => {
                self.run.context.counters.transfer_dropped(item.size);
                lock(&self.later).blocked.push(item);
            }
            Cure::Gone | Cure::None => self.run.problems.report(failed.problem),
        }
    }

    /// Everything that was handed over gets its name.
    async fn settle(&mut self) {
        while let Some(written) = self.writers.join_next().await {
            self.written(written);
        }
        self.name_all().await;
    }

    async fn name_all(&mut self) {
        self.bytes = 0;
        let (sealed, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.batch).into_iter().map(split).unzip();
        if sealed.is_empty() {
            return;
        }
        let dest = self.dest.clone();
        let named = tokio::task::spawn_blocking(move || dest.commit_batch(sealed)).await;
        let results = match named.map_err(std::io::Error::other).and_then(|results| results) {
            Ok(results) => results,
            Err(error) => {
                let text = format!("failed to flush the volume: {error}; {} files keep their old content", rest.len());
                return self.run.problems.report(Problem::new("", text));
            }
        };
        for ((transfer, item, replacing, size), result) in rest.into_iter().zip(results) {
            match result.map_err(|error| Failed::io(&item, "failed to give the file its name", &error)) {
                Ok(()) => {
                    transfer.finish(size);
                    self.run.copied(&item, replacing);
                }
                Err(Failed { cure: Cure::Clear, .. }) => {
                    drop(transfer);
                    self.run.context.counters.transfer_dropped(item.size);
                    lock(&self.later).blocked.push(item);
                }
                Err(failed) => self.run.problems.report(failed.problem),
            }
        }
    }
}

type Rest = (Transfer, Item, bool, u64);

fn split(file: Finished) -> (Sealed, Rest) {
    (file.sealed, (file.transfer, file.item, file.replacing, file.size))
}

/// Checks, writes and seals a batch of small files.
fn write_all(dest: &Dest, files: Vec<Arrived>, checked: bool) -> Vec<Written> {
    let contents: Vec<&[u8]> = files.iter().map(|file| &file.content[..]).collect();
    let sums = volsync_md5::md5_many(&contents);
    files.into_iter().zip(sums).map(|(file, sum)| write(dest, file, sum, checked)).collect()
}

fn write(dest: &Dest, file: Arrived, sum: Md5, checked: bool) -> Written {
    let Arrived { content, md5, mtime, transfer, item, replacing, memory } = file;
    let size = content.len() as u64;
    let sealed = verify(&item, md5.filter(|_| checked), sum).and_then(|()| {
        let temp = dest.create(&item.path, size);
        let sealed = temp.and_then(|temp| {
            temp.write_at(0, &content)?;
            temp.seal(CommitMeta { mtime, mode: None })
        });
        sealed.map_err(|error| Failed::io(&item, "failed to write the file", &error))
    });
    drop(memory);
    match sealed {
        Ok(sealed) => Ok(Finished { sealed, transfer, item, replacing, size }),
        Err(failed) => Err((Box::new(item), replacing, failed)),
    }
}

/// The content must have this hash, if one is known.
pub(super) fn verify(item: &Item, expect: Option<Md5>, sum: Md5) -> Result<(), Failed> {
    match expect {
        Some(expect) if expect != sum => {
            let hex = |sum: Md5| format!("{:032x}", u128::from_be_bytes(sum));
            let text =
                format!("corrupted on transfer: md5 hashes differ src \"{}\" vs dst \"{}\"", hex(expect), hex(sum));
            Err(Failed::new(Problem::new(&item.path, text), Cure::Retry))
        }
        _ => Ok(()),
    }
}
