//! `ls`: size and path of every object that the filters let pass.

use std::ffi::OsString;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use volsync_common::exit::ExitCode;
use volsync_common::path::Shown;
use volsync_common::report::units::short_bytes;
use volsync_common::time::Timestamp;

use super::command::Command;
use super::session::{Session, hasher};
use super::{Env, Failure, process};
use crate::filter::Filter;
use crate::flags::GlobalOptions;
use crate::standard::standard;
use crate::store::{Listed, Listing, OneFile, Store};

struct Prepared {
    store: Arc<dyn Store>,
    /// What it is if it is a file.
    file: Option<OneFile>,
    filter: Arc<Filter>,
    options: GlobalOptions,
    now: Timestamp,
}

/// Carries out `command`.
pub fn run(command: &'static Command, rest: &[OsString], env: &Env) -> Result<ExitCode, Failure> {
    let (env, rest) = (env.clone(), rest.to_vec());
    process::run(async move |_| {
        let prepared = spawn_blocking(move || prepare(command, &rest, &env));
        let prepared =
            prepared.await.map_err(|error| Failure::System { what: "a thread ended", error: error.into() })??;
        list(command.name, &prepared).await
    })?;
    Ok(ExitCode::Success)
}

fn prepare(command: &Command, rest: &[OsString], env: &Env) -> Result<Prepared, Failure> {
    let (mut session, words) = Session::start(env, command, rest)?;
    let filter = Arc::new(Filter::new(&session.options.filter)?);
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let resolved = session.resolve(&words)?;
    let budget = session.budget(&resolved);
    let place = resolved.into_iter().next().ok_or_else(|| Failure::Usage("ls needs a remote".to_owned()))?;
    let opener = session.opener(&budget, filter.clone(), hasher()?);
    let store = opener.store(place)?;
    let file = words.first().and_then(|word| session.file(word, &opener));
    Ok(Prepared { store, file, filter, options: session.options, now: session.now })
}

async fn list(command: &'static str, prepared: &Prepared) -> Result<(), Failure> {
    let mut found = prepared.store.list(&|_| {}).await;
    let missed = found.as_ref().map_or(true, Listing::is_empty);
    if let Some(file) = prepared.file.as_ref().filter(|_| missed)
        && file.exists().await.unwrap_or(false)
    {
        if !prepared.filter.is_empty() {
            return Err(Failure::OneFile(Shown(&file.path).to_string()));
        }
        found = file.list(&|_| {}).await;
    }
    let listing = found.map_err(|error| Failure::Store { command, error: Box::new(error) })?;
    if !listing.exists() {
        return Err(Failure::NoDirectory { command, place: prepared.store.describe() });
    }
    match write(&listing, prepared, &mut BufWriter::new(io::stdout().lock())) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::System { what: "writing to standard output", error })
        }
        _ => Ok(()),
    }
}

fn write(listing: &Listing, prepared: &Prepared, out: &mut impl Write) -> io::Result<()> {
    for object in listing.iter().filter(|object| takes_part(object, prepared)) {
        let size = object.size;
        let size = if prepared.options.human_readable { short_bytes(size) } else { size.to_string() };
        write!(out, "{size:>9} ")?;
        out.write_all(&[&*standard(object.path), b"\n"].concat())?;
    }
    out.flush()
}

fn takes_part(object: &Listed<'_>, prepared: &Prepared) -> bool {
    let Prepared { filter, options, now, .. } = prepared;
    let mut slashes = object.path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    let deep = options.max_depth.is_some_and(|most| slashes.clone().count() >= most as usize);
    !object.directory
        && !deep
        && slashes.all(|at| filter.include_directory(&object.path[..at]))
        && filter.include_file(object.path, object.size, object.mtime.unwrap_or(*now), *now)
}
