//! One file from the source to the destination, with as many attempts as the flags allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::RwLock;
use volsync_common::exit::ExitCode;

use super::commit::Committer;
use super::item::Item;
use super::problems::Problem;
use super::run::Run;
use super::side::Side;
use super::small::Content;
use super::{download, relay, upload};
use crate::store::{Md5, StoreErrorKind};

/// Files of this size and more are named while they are under way.
pub(super) const SHOWN: u64 = 8 << 20;

/// Pause before another attempt; grows with each.
const PAUSE: Duration = Duration::from_millis(200);

/// Why one attempt failed.
pub(super) struct Failed {
    pub(super) problem: Problem,
    pub(super) cure: Cure,
}

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// Trying again.
    Retry,
    /// Making room: naming what waits frees what it replaces.
    Room,
    /// Removing what stands in the way, once all else is transferred.
    Clear,
    /// The source is gone: nothing to do.
    Gone,
    /// Nothing.
    None,
}

impl Failed {
    pub(super) fn new(problem: Problem, cure: Cure) -> Self {
        Self { problem, cure }
    }

    /// What a store said about `item`.
    pub(super) fn store(item: &Item, error: crate::store::StoreError) -> Self {
        let cure = match error.kind {
            StoreErrorKind::Corrupt
            | StoreErrorKind::Changed
            | StoreErrorKind::SourceChanged
            | StoreErrorKind::Interrupted => Cure::Retry,
            _ => Cure::None,
        };
        Self { problem: Problem::from(error).about(&item.path), cure }
    }

    /// What the file system said about `item`.
    pub(super) fn io(item: &Item, what: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let cure = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Cure::Room,
            ErrorKind::IsADirectory | ErrorKind::NotADirectory | ErrorKind::DirectoryNotEmpty => Cure::Clear,
            _ => Cure::None,
        };
        Self { problem: Problem::io(&item.path, what, error), cure }
    }
}

/// How an attempt ended well.
pub(super) enum Ended {
    /// The destination has it.
    Stored,
    /// The committer has it and will tell.
    Sealed,
}

/// What is known of the source's content before an attempt.
pub(super) struct Read {
    /// Its hash.
    pub(super) md5: Option<Md5>,
    /// Itself.
    pub(super) content: Option<Content>,
    /// An attempt before failed: what was known may be wrong.
    pub(super) again: bool,
}

/// Everything that transfers need.
pub(super) struct Transfers {
    pub(super) run: Arc<Run>,
    /// Of a local destination.
    pub(super) committer: Option<Committer>,
    /// Attempts share it; one on a disk that was full has it alone, so that nobody takes the room that there is.
    room: RwLock<()>,
    /// An attempt alone did not find room either.
    full: AtomicBool,
}

impl Transfers {
    pub(super) fn new(run: Arc<Run>, committer: Option<Committer>) -> Self {
        Self { run, committer, room: RwLock::default(), full: AtomicBool::new(false) }
    }

    /// Transfers one file and tells how it went.
    pub(super) async fn transfer(&self, item: Item, replacing: bool, md5: Option<Md5>, content: Option<Content>) {
        let run = &self.run;
        if replacing && run.context.options.immutable {
            let text = "source and destination exist but do not match: immutable file modified";
            run.problems.report(Problem::refusal(&item.path, text).exiting(ExitCode::NoRetry));
            return run.context.counters.transfer_dropped(item.size);
        }
        if run.context.options.dry_run {
            // Counted as if it had been done, as rclone does.
            run.context.counters.transfer(&item.path, item.size, u64::MAX).finish(item.size);
            return run.copied(&item, replacing);
        }
        let read = Read { md5, content, again: false };
        self.told(item, replacing, read).await;
    }

    /// The same for a file whose first attempt failed elsewhere.
    pub(super) async fn again(&self, item: Item, replacing: bool) {
        if self.run.context.options.dry_run {
            self.run.copied(&item, replacing);
            return self.run.context.counters.transfer_dropped(item.size);
        }
        self.told(item, replacing, Read { md5: None, content: None, again: true }).await;
    }

    async fn told(&self, item: Item, replacing: bool, read: Read) {
        let run = &self.run;
        match self.attempts(&item, replacing, read).await {
            Ok(Ended::Stored) => run.copied(&item, replacing),
            Ok(Ended::Sealed) => {}
            Err(Failed { cure: Cure::Gone, .. }) => {
                tracing::warn!(object = %item.path, "Vanished while the source was read");
                run.context.counters.transfer_dropped(item.size);
            }
            Err(Failed { cure: Cure::Clear, .. }) if self.committer.is_some() => {
                run.context.counters.transfer_dropped(item.size);
                self.put_off(item);
            }
            Err(failed) => run.problems.report(failed.problem),
        }
    }

    fn put_off(&self, item: Item) {
        if let Some(committer) = &self.committer {
            committer.put_off(item);
        }
    }

    async fn attempts(&self, item: &Item, replacing: bool, mut read: Read) -> Result<Ended, Failed> {
        let tries = self.run.context.options.retries.max(1);
        let mut attempt = 1;
        loop {
            let shared = self.room.read().await;
            let failed = match self.attempt(item, replacing, read).await {
                Ok(ended) => return Ok(ended),
                Err(failed) => failed,
            };
            drop(shared);
            match (failed.cure, &self.committer) {
                (Cure::Retry, _) if attempt < tries && !self.run.cancelled() => {}
                (Cure::Room, Some(committer)) if !self.full.load(Ordering::Relaxed) => {
                    return self.attempt_alone(item, replacing, committer).await;
                }
                _ => return Err(failed),
            }
            tracing::debug!(object = %item.path, "attempt {attempt} failed: {}", failed.problem.text);
            read = Read { md5: None, content: None, again: true };
            tokio::time::sleep(PAUSE * attempt + self.run.context.options.retries_sleep).await;
            attempt += 1;
        }
    }

    /// The disk is full: once more when everything else has its name, and what that replaced is gone.
    async fn attempt_alone(&self, item: &Item, replacing: bool, committer: &Committer) -> Result<Ended, Failed> {
        let _alone = self.room.write().await;
        committer.flush().await;
        let result = self.attempt(item, replacing, Read { md5: None, content: None, again: true }).await;
        match &result {
            Ok(_) => committer.flush().await,
            Err(failed) => self.full.store(failed.cure == Cure::Room, Ordering::Relaxed),
        }
        result
    }

    async fn attempt(&self, item: &Item, replacing: bool, read: Read) -> Result<Ended, Failed> {
        match (&self.run.source, &self.run.dest, &self.committer) {
            (Side::Local(source), Side::Store(dest), _) => upload::upload(&self.run, source, dest, item, read).await,
            (Side::Store(source), Side::Local(dest), Some(committer)) => {
                download::download(&self.run, source, dest, committer, item, replacing, read.again).await
            }
            (Side::Store(source), Side::Store(dest), _) => relay::relay(&self.run, source, dest, item).await,
            _ => Err(Failed::new(Problem::new(&item.path, "this pair of sides is not supported"), Cure::None)),
        }
    }
}
