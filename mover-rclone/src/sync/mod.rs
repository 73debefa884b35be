//! Making a destination equal to a source: the engine behind every sub-command that moves data.
//!
//! A [`Job`] names two [`Place`]s and what is wanted; [`fn@run`] does it and says how it ended. What the engine needs of the
//! process comes in a [`Context`]; it reads no environment and opens no remote by itself.

mod commit;
mod compare;
mod delete;
mod download;
mod execute;
mod feed;
mod flow;
pub mod guard;
mod item;
mod merge;
mod metadata;
mod nesting;
mod ordered;
mod parts;
mod paths;
mod plain;
mod plan;
mod problems;
mod relay;
mod run;
pub mod select;
mod side;
mod small;
mod steady;
mod touch;
mod transfer;
mod upload;
mod volume;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use volsync_common::budget::Budget;
use volsync_common::exit::ExitCode;
use volsync_common::hash::FileHasher;
use volsync_common::report::{Counters, Reporter};
use volsync_common::time::Timestamp;

use crate::filter::Filter;
use crate::flags::GlobalOptions;
use crate::store::{LocalSettings, LocalStore, OneFile, Store};
use feed::LocalRules;
use problems::{Problem, Problems};
use run::Run;
use side::{Local, Side};

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

impl Goal {
    /// What a directory that cannot be read means for the exit code. As with rclone it is the deletions that do not happen
    /// which make a failure of it (docs/compat-rclone.md).
    fn unread(self) -> ExitCode {
        if self == Self::Copy { ExitCode::NoRetry } else { ExitCode::Failure }
    }
}

/// One piece of work.
#[derive(Clone)]
pub struct Job {
    /// What to read.
    pub source: Place,
    /// What to write.
    pub destination: Place,
    /// What the source is if it is no directory but a file.
    pub file: Option<OneFile>,
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
    /// Where it is told what happens to each entry.
    pub reporter: Reporter,
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
    let what = match job.goal {
        Goal::Volume | Goal::Sync => "sync",
        Goal::Copy => "copy",
        Goal::Check => "check",
    };
    let (mut problems, mut result) = attempt(job, context).await;
    if let Err(problem) = &result
        && let Some(narrowed) = of_one_file(job, context, problem).await
    {
        match narrowed {
            Ok((job, context)) => (problems, result) = attempt(&job, &context).await,
            Err(problem) => result = Err(problem),
        }
    }
    if let Err(problem) = result {
        problems.report(problem);
    }
    if context.cancel.is_cancelled() {
        let text = "ended by a signal; a rerun goes on from here".to_owned();
        return Outcome { exit: ExitCode::Terminated, epitaph: vec![text] };
    }
    problems.conclude(what)
}

/// An error ended it before anything was transferred.
async fn attempt(job: &Job, context: &Context) -> (Problems, Result<(), Problem>) {
    let run = match open(job, context) {
        Ok(run) => run,
        Err(problem) => return (Problems::new(context.reporter.clone()), Err(problem)),
    };
    let result = match job.goal {
        Goal::Volume => volume::run(&run, &job.mount).await,
        Goal::Sync | Goal::Copy | Goal::Check => plain::run(&run, job.file.as_ref()).await,
    };
    (run.problems.clone(), result)
}

/// The same job, if its source turned out to be a file: that one is copied whatever the filters say, or compared, and nothing
/// is deleted.
async fn of_one_file(job: &Job, context: &Context, problem: &Problem) -> Option<Result<(Job, Context), Problem>> {
    let may_be = problem.exit == ExitCode::DirectoryNotFound || matches!(job.source, Place::Directory(_));
    let file = job.file.as_ref().filter(|_| may_be)?;
    if !file.exists().await.unwrap_or(false) {
        return None;
    }
    if job.goal == Goal::Check && !context.filter.is_empty() {
        let text = "can't limit to single files when using filters";
        return Some(Err(Problem::refusal(&file.path, text)));
    }
    let goal = if job.goal == Goal::Sync { Goal::Copy } else { job.goal };
    let destination = match &job.destination {
        Place::Store(store) => Place::Store(Arc::new(file.beside(store.clone()))),
        directory @ Place::Directory(_) => directory.clone(),
    };
    let source = Place::Store(Arc::new(file.clone()));
    let filter = Arc::new(Filter::only(&file.path));
    let job = Job { source, destination, file: None, goal, mount: job.mount.clone() };
    Some(Ok((job, Context { filter, ..context.clone() })))
}

/// Opens both sides.
fn open(job: &Job, context: &Context) -> Result<Arc<Run>, Problem> {
    let volume = job.goal == Goal::Volume;
    let rules = |destination| LocalRules::new(&context.options, volume, destination);
    let missing = |path: &std::path::Path, error: std::io::Error| {
        let problem = Problem::io(&feed::shown(path), "failed to open the directory", &error);
        problem.exiting(match error.kind() {
            std::io::ErrorKind::NotFound => ExitCode::DirectoryNotFound,
            _ => job.goal.unread(),
        })
    };
    let make = job.goal != Goal::Check && !context.options.dry_run;
    let source = match &job.source {
        Place::Store(store) => Side::Store(store.clone()),
        // Between two directories the source is read as any other store.
        Place::Directory(path) if matches!(job.destination, Place::Directory(_)) => {
            Side::Store(Arc::new(local_store(path, context)?))
        }
        Place::Directory(path) => {
            Side::Local(Local::source(path.clone(), rules(false)).map_err(|error| missing(path, error))?)
        }
    };
    let dest = match &job.destination {
        Place::Store(store) => Side::Store(store.clone()),
        Place::Directory(path) => {
            Side::Local(Local::destination(path.clone(), rules(true), make).map_err(|error| missing(path, error))?)
        }
    };
    Ok(Run::new(context.clone(), job.goal, source, dest))
}

fn local_store(path: &std::path::Path, context: &Context) -> Result<LocalStore, Problem> {
    let options = &context.options;
    let settings = LocalSettings {
        copy_links: options.copy_links,
        links: options.links,
        skip_links: options.skip_links,
        skip_specials: options.skip_specials,
        one_file_system: options.one_file_system,
        filter: Some(context.filter.clone()),
        ..LocalSettings::new(path)
    };
    LocalStore::open(settings, context.hasher.clone()).map_err(Problem::from)
}
