//! Gives downloaded files their names, many at a time: one flush of the file system makes all of them safe.
//!
//! A file waits under its temporary name until the next flush. So after a crash of the machine no name leads to content
//! that was not on disk; a flush of each file by itself would cost ten times as much (`docs/performance.md`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use volsync_common::dest::{Dest, Sealed};
use volsync_common::report::Transfer;

use super::item::Item;
use super::problems::Problem;
use super::run::Run;
use super::transfer::{Cure, Failed};

/// Files of one flush at most.
const FILES: usize = 4096;

/// Bytes of one flush at most: what a full disk must hold twice.
const BYTES: u64 = 256 << 20;

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

enum Message {
    File(Box<Finished>),
    /// Name everything now and answer.
    Flush(oneshot::Sender<()>),
}

/// The way to the task that gives names.
pub(super) struct Committer {
    send: mpsc::Sender<Message>,
    put_off: Arc<Mutex<Vec<Item>>>,
}

impl Committer {
    /// Starts the task; it ends with the last clone of the way to it.
    pub(super) fn start(run: Arc<Run>, dest: Dest) -> Self {
        let (send, receive) = mpsc::channel(FILES);
        let put_off = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(Task { run, dest, put_off: put_off.clone(), batch: Vec::new(), bytes: 0 }.work(receive));
        Self { send, put_off }
    }

    /// Hands over a file; waits when too many wait already.
    pub(super) async fn commit(&self, file: Finished) -> Result<(), Failed> {
        let gone = |_| Failed::new(Problem::new("", "the run is ending"), Cure::None);
        self.send.send(Message::File(Box::new(file))).await.map_err(gone)
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
        self.put_off.lock().unwrap_or_else(PoisonError::into_inner).push(item);
    }

    /// The files that were put off so far.
    pub(super) fn take_put_off(&self) -> Vec<Item> {
        std::mem::take(&mut *self.put_off.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Task {
    run: Arc<Run>,
    dest: Dest,
    put_off: Arc<Mutex<Vec<Item>>>,
    batch: Vec<Finished>,
    bytes: u64,
}

impl Task {
    async fn work(mut self, mut receive: mpsc::Receiver<Message>) {
        let mut deadline = None;
        loop {
            let message = match deadline {
                None => Ok(receive.recv().await),
                Some(at) => timeout_at(at, receive.recv()).await,
            };
            match message {
                Ok(Some(Message::File(file))) => {
                    deadline = deadline.or(Some(Instant::now() + WAIT));
                    self.bytes += file.size;
                    self.batch.push(*file);
                    if self.batch.len() < FILES && self.bytes < BYTES {
                        continue;
                    }
                    self.name_all().await;
                }
                Ok(Some(Message::Flush(answer))) => {
                    self.name_all().await;
                    // Whoever asked may have given up.
                    let _gone = answer.send(());
                }
                Ok(None) => return self.name_all().await,
                Err(_) => self.name_all().await,
            }
            deadline = None;
        }
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
                    self.put_off.lock().unwrap_or_else(PoisonError::into_inner).push(item);
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
