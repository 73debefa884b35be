//! The sub-commands that move data: from words to a job, and from its outcome to an exit code.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use volsync_common::budget::Budget;
use volsync_common::exit::ExitCode;
use volsync_common::hash::FileHasher;
use volsync_common::report::Counters;
use volsync_common::time::Timestamp;

use super::command::Command;
use super::session::Session;
use super::{Env, Failure, process};
use crate::filter::Filter;
use crate::flags::GlobalOptions;
use crate::open::Resolved;
use crate::sync::{self, Context, Goal, Job, Outcome, Place};

/// What the VolSync flow always does; a flag of the user's comes later and wins.
const VOLUME_FLAGS: [&str; 3] = ["--checksum", "--one-file-system", "--create-empty-src-dirs"];

/// What paths in `permissions.facl` begin with, whatever the directory is called: where VolSync mounts every volume. So
/// what was pushed from anywhere can be restored by VolSync, and what VolSync stored can be pulled to anywhere.
const MOUNT: &[u8] = b"data";

/// A job with everything read and checked; nothing has been sent.
pub struct Prepared {
    job: Job,
    options: GlobalOptions,
    filter: Filter,
    budget: Budget,
    now: Timestamp,
}

/// Carries out `command`.
pub fn run(command: &'static Command, goal: Goal, rest: &[OsString], env: &Env) -> Result<ExitCode, Failure> {
    let (env, rest) = (env.clone(), rest.to_vec());
    let outcome = process::run(async move |cancel: CancellationToken| {
        let prepared = spawn_blocking(move || prepare(command, goal, &rest, MOUNT, &env));
        let prepared =
            prepared.await.map_err(|error| Failure::System { what: "a thread ended", error: error.into() })??;
        carry_out(prepared, cancel).await
    })?;
    outcome.epitaph.iter().for_each(|line| eprintln!("{line}"));
    Ok(outcome.exit)
}

/// Reads flags and configuration and opens both places.
pub fn prepare(
    command: &'static Command,
    goal: Goal,
    rest: &[OsString],
    mount: &[u8],
    env: &Env,
) -> Result<Prepared, Failure> {
    let volume = VOLUME_FLAGS.iter().filter(|_| goal == Goal::Volume).map(OsString::from);
    let args: Vec<OsString> = volume.chain(rest.iter().cloned()).collect();
    let (mut session, words) = Session::start(env, command, &args)?;
    let filter = Filter::new(&session.options.filter)?;
    let directory = match (goal, command.name) {
        (Goal::Volume, "push") => Some(0),
        (Goal::Volume, _) => Some(1),
        _ => None,
    };
    let remotes: Vec<&[u8]> =
        words.iter().enumerate().filter(|(at, _)| Some(*at) != directory).map(|(_, word)| word.as_bytes()).collect();
    let resolved = session.resolve(&remotes)?;
    let budget = session.budget(&resolved);
    let links = session.options.clone();
    session.options = with_local_options(links, &resolved);
    let opener = session.opener(&budget);
    let mut places = resolved.into_iter().map(|place| opener.open(place)).collect::<Result<Vec<_>, _>>()?;
    if let Some(at) = directory {
        places.insert(at, Place::Directory(PathBuf::from(OsString::from_vec(words[at].as_bytes().to_vec()))));
    }
    let mut places = places.into_iter();
    let (Some(source), Some(destination)) = (places.next(), places.next()) else {
        return Err(Failure::Usage(format!("{} needs a source and a destination", command.name)));
    };
    let job = Job { source, destination, goal, mount: mount.to_vec() };
    drop(opener);
    Ok(Prepared { job, options: session.options, filter, budget, now: session.now })
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

async fn carry_out(prepared: Prepared, cancel: CancellationToken) -> Result<Outcome, Failure> {
    let Prepared { job, options, filter, budget, now } = prepared;
    let hasher =
        FileHasher::start(process::cores()).map_err(|error| Failure::System { what: "starting threads", error })?;
    let context = Context {
        options: Arc::new(options),
        filter: Arc::new(filter),
        counters: Counters::new(),
        budget,
        hasher: Arc::new(hasher),
        cancel,
        now,
    };
    Ok(sync::run(&job, &context).await)
}
