//! Making a destination equal to a source: the engine behind every sub-command that moves data.
//!
//! A [`Job`] names two [`Place`]s and what is wanted; [`run`] does it and says how it ended. What the engine needs of the
//! process comes in a [`Context`]; it reads no environment and opens no remote by itself.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use volsync_common::budget::Budget;
use volsync_common::exit::ExitCode;
use volsync_common::hash::FileHasher;
use volsync_common::report::Counters;
use volsync_common::time::Timestamp;

use crate::filter::Filter;
use crate::flags::GlobalOptions;
use crate::store::Store;

/// One side of a job.
#[derive(Clone)]
pub enum Place {
    /// A directory of this machine: walked, read and written by descriptors.
    Directory(PathBuf),
    /// Anything else.
    Store(Arc<dyn Store>),
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The VolSync flow: a sync of a volume (the side that is a directory) together with its `permissions.facl`, with
    /// every guard against wiping. `/lost+found` takes no part.
    Volume,
    /// rclone's `sync`: the destination becomes equal to the source.
    Sync,
    /// rclone's `copy`: nothing is deleted.
    Copy,
    /// rclone's `check`: nothing is written; differences are errors.
    Check,
}

/// One piece of work.
#[derive(Clone)]
pub struct Job {
    /// What to read.
    pub source: Place,
    /// What to write.
    pub destination: Place,
    /// What is wanted.
    pub goal: Goal,
    /// What paths in `permissions.facl` begin with: `data` for a volume mounted at `/data`.
    pub mount: Vec<u8>,
}

/// What the engine needs of the process.
#[derive(Clone)]
pub struct Context {
    /// The flags.
    pub options: Arc<GlobalOptions>,
    /// Which files take part.
    pub filter: Arc<Filter>,
    /// Where progress is counted.
    pub counters: Arc<Counters>,
    /// Memory for data.
    pub budget: Budget,
    /// Threads that hash.
    pub hasher: Arc<FileHasher>,
    /// Cancelled by the first signal.
    pub cancel: CancellationToken,
    /// When the run began; ages count from here.
    pub now: Timestamp,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The process's exit code.
    pub exit: ExitCode,
    /// What to print at the very end, one paragraph a line, safe to print, short enough that the last 1,024 bytes of
    /// output say what failed, on what, why, what to do. Empty after success.
    pub epitaph: Vec<String>,
}

/// Does `job`.
pub async fn run(job: &Job, context: &Context) -> Outcome {
    let _ = (job, context);
    Outcome { exit: ExitCode::Failure, epitaph: vec!["not built yet".to_owned()] }
}
