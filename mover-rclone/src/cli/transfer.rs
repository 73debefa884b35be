//! The sub-commands that move data: from words to a job, and from its outcome to an exit code.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use volsync_common::budget::Budget;
use volsync_common::exit::ExitCode;
use volsync_common::hash::FileHasher;
use volsync_common::path::Shown;
use volsync_common::report::{self, Counters, Reporter, Style, Title};
use volsync_common::telemetry::Log;
use volsync_common::time::Timestamp;

use super::command::Command;
use super::session::{Session, hasher};
use super::{Env, Failure, console, process};
use crate::config::WithDefaults;
use crate::filter::Filter;
use crate::flags::GlobalOptions;
use crate::open::{Resolved, Spot};
use crate::store::OneFile;
use crate::sync::{self, Context, Goal, Job, Outcome, Place};

/// What the VolSync flow always does, as upstream's mover does; a flag of the user's comes later and wins.
const VOLUME_FLAGS: [&str; 2] = ["--one-file-system", "--create-empty-src-dirs"];
/// What it does unless told otherwise.
const VOLUME_DEFAULTS: [(&str, &str); 1] = [("RCLONE_CHECKSUM", "1")];

/// What paths in `permissions.facl` begin with, whatever the directory is called: where VolSync mounts every volume. So
/// what was pushed from anywhere can be restored by VolSync, and what VolSync stored can be pulled to anywhere.
const MOUNT: &[u8] = b"data";

/// What is to be moved.
pub struct Order {
    /// The sub-command.
    pub command: &'static Command,
    /// What is wanted.
    pub goal: Goal,
    /// Flags and words.
    pub args: Vec<OsString>,
    /// What paths in `permissions.facl` begin with.
    pub mount: Vec<u8>,
    /// The process is the mover of a Job: statistics are always printed, and nobody looks at a terminal.
    pub in_job: bool,
    /// Where progress is counted; whoever gives the order may look.
    pub counters: Arc<Counters>,
}

impl Order {
    /// A command line of somebody at a desk.
    pub fn new(command: &'static Command, goal: Goal, args: Vec<OsString>) -> Self {
        Self { command, goal, args, mount: MOUNT.to_vec(), in_job: false, counters: Counters::new() }
    }
}

/// A job with everything read and checked; nothing has been sent.
struct Prepared {
    job: Job,
    title: Title,
    options: GlobalOptions,
    filter: Arc<Filter>,
    budget: Budget,
    hasher: Arc<FileHasher>,
    now: Timestamp,
    log: Log,
}

/// Carries out `command`.
pub fn run(command: &'static Command, goal: Goal, rest: &[OsString], env: &Env) -> Result<ExitCode, Failure> {
    let outcome = execute(Order::new(command, goal, rest.to_vec()), env)?;
    console::epitaph(&outcome.epitaph);
    Ok(outcome.exit)
}

/// Moves what `order` says, under the signals of this process.
pub fn execute(order: Order, env: &Env) -> Result<Outcome, Failure> {
    let env = env.clone();
    process::run(async move |cancel: CancellationToken| {
        let (in_job, counters) = (order.in_job, order.counters.clone());
        let prepared = spawn_blocking(move || prepare(&order, &env)).await;
        let prepared = prepared.map_err(|error| Failure::System { what: "a thread ended", error: error.into() })??;
        carry_out(prepared, in_job, counters, cancel).await
    })
}

/// Reads flags and configuration and opens both places.
fn prepare(order: &Order, env: &Env) -> Result<Prepared, Failure> {
    let (mut session, words) = if order.goal == Goal::Volume {
        let env: Env = Arc::new(WithDefaults::new(env.clone(), VOLUME_DEFAULTS.to_vec()));
        let args: Vec<OsString> = VOLUME_FLAGS.iter().map(OsString::from).chain(order.args.iter().cloned()).collect();
        Session::start(&env, order.command, &args)?
    } else {
        Session::start(env, order.command, &order.args)?
    };
    let filter = Arc::new(Filter::new(&session.options.filter)?);
    let hasher = hasher()?;
    let places = open(&mut session, &words, order, &filter, &hasher)?;
    let Opened { source, destination, file, budget } = places;
    let title = Title {
        operation: order.command.name.to_owned(),
        source: describe(&source),
        destination: describe(&destination),
    };
    let job = Job { source, destination, file, goal: order.goal, mount: order.mount.clone() };
    let Session { options, now, log, .. } = session;
    Ok(Prepared { job, title, options, filter, budget, hasher, now, log })
}

/// Which word is a directory, whatever it looks like.
fn directory(order: &Order) -> Option<usize> {
    match (order.goal, order.command.name) {
        (Goal::Volume, "push") => Some(0),
        (Goal::Volume, _) => Some(1),
        _ => None,
    }
}

struct Opened {
    source: Place,
    destination: Place,
    /// What the source is if it is a file.
    file: Option<OneFile>,
    budget: Budget,
}

/// Of a volume one side is the directory, the other a store even where it is a directory too.
fn open(
    session: &mut Session,
    words: &[OsString],
    order: &Order,
    filter: &Arc<Filter>,
    hasher: &Arc<FileHasher>,
) -> Result<Opened, Failure> {
    let directory = directory(order);
    let remotes = words.iter().enumerate().filter(|(at, _)| Some(*at) != directory);
    let remotes: Vec<&[u8]> = remotes.map(|(_, word)| word.as_bytes()).collect();
    let resolved = session.resolve(&remotes)?;
    keep_apart(order, &resolved, directory.and_then(|at| words.get(at)), filter)?;
    let budget = session.budget(&resolved);
    session.options = with_local_options(session.options.clone(), &resolved);
    let opener = session.opener(&budget, filter.clone(), hasher.clone());
    let open = |place| match directory {
        Some(_) => opener.store(place).map(Place::Store),
        None => opener.place(place),
    };
    let mut places = resolved.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
    if let Some((at, word)) = directory.and_then(|at| Some((at, words.get(at)?))) {
        places.insert(at, Place::Directory(PathBuf::from(word)));
    }
    let file = remotes.first().filter(|_| order.goal != Goal::Volume).and_then(|word| session.file(word, &opener));
    match <[Place; 2]>::try_from(places) {
        Ok([source, destination]) => Ok(Opened { source, destination, file, budget }),
        Err(_) => Err(Failure::Usage("a source and a destination are needed".to_owned())),
    }
}

/// Refuses to delete in a place that is being read.
fn keep_apart(
    order: &Order,
    resolved: &[Resolved],
    directory: Option<&OsString>,
    filter: &Filter,
) -> Result<(), Failure> {
    if !matches!(order.goal, Goal::Sync | Goal::Volume) {
        return Ok(());
    }
    let mut spots: Vec<Spot> = resolved.iter().map(Spot::of).collect();
    spots.extend(directory.map(|path| Spot::of_directory(path.as_ref())));
    match spots.as_slice() {
        [one, other] if one.overlaps(other, |path| filter.include_directory(path)) => {
            Err(Failure::Overlapping(order.command.name))
        }
        _ => Ok(()),
    }
}

fn describe(place: &Place) -> String {
    match place {
        Place::Directory(path) => Shown(path.as_os_str().as_bytes()).to_string(),
        Place::Store(store) => store.describe(),
    }
}

/// Options of a local remote that the engine obeys for every directory.
fn with_local_options(mut options: GlobalOptions, places: &[Resolved]) -> GlobalOptions {
    for remote in places.iter().filter(|place| place.is_directory()).flat_map(Resolved::remotes) {
        let set = |key: &str, slot: &mut bool| *slot |= remote.options.bool(key).unwrap_or(false);
        set("copy_links", &mut options.copy_links);
        set("links", &mut options.links);
        set("skip_links", &mut options.skip_links);
        set("skip_specials", &mut options.skip_specials);
        set("one_file_system", &mut options.one_file_system);
    }
    options
}

async fn carry_out(
    prepared: Prepared,
    in_job: bool,
    counters: Arc<Counters>,
    cancel: CancellationToken,
) -> Result<Outcome, Failure> {
    let Prepared { job, title, options, filter, budget, hasher, now, log } = prepared;
    // A store that is written has two thirds for its uploads.
    let budget = match job.destination {
        Place::Store(_) => Budget::new(budget.limit() / 3),
        Place::Directory(_) => budget,
    };
    let reporter = Reporter::start(reporting(&options, log, title, in_job), counters.clone());
    let context = Context {
        options: Arc::new(options),
        filter,
        counters,
        reporter: reporter.clone(),
        budget,
        hasher,
        cancel,
        now,
    };
    let outcome = sync::run(&job, &context).await;
    reporter.finish();
    Ok(outcome)
}

fn reporting(options: &GlobalOptions, log: Log, title: Title, in_job: bool) -> report::Settings {
    let style = match (options.stats_one_line_date, options.stats_one_line) {
        (true, _) => Style::DatedLine,
        (false, true) => Style::OneLine,
        (false, false) => Style::Block,
    };
    // The operator keeps lines of the statistics in the status, and --progress asks for them: they are printed however
    // rare log lines are.
    let always = in_job || options.progress;
    let stats_level = if always { options.stats_log_level.min(log.level()) } else { options.stats_log_level };
    report::Settings {
        stats: options.stats,
        stats_level,
        style: if in_job { Style::LineThenBlock } else { style },
        dry_run: options.dry_run,
        terminal: !in_job && report::on_terminal(),
        events: if options.json { Some(Box::new(io::stdout())) } else { None },
        title,
        log,
    }
}
