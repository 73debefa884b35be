//! What only the destination has goes away: last, and only when everything before went well.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use volsync_common::dest::Dest;
use volsync_common::exit::ExitCode;
use volsync_common::path::RelPath;
use volsync_common::report::Action;

use super::feed;
use super::item::LINK_SUFFIX;
use super::paths::Paths;
use super::problems::Problem;
use super::run::Run;
use super::side::Side;
use crate::store::{MAX_DELETE, Store};

/// Requests under way.
const AT_ONCE: usize = 4;

/// Files per piece of work on a local destination.
const LOCAL_BATCH: usize = 512;

/// Deletes files, as far as `--max-delete` and `--max-delete-size` allow.
pub(super) async fn files(run: &Arc<Run>, files: &Paths) {
    let allowed = allowed(run, files);
    let all: Vec<(RelPath, u64)> = files.iter().take(allowed).collect();
    if run.context.options.dry_run {
        for (path, size) in &all {
            deleted(run, path, *size);
        }
    } else {
        match &run.dest {
            Side::Store(store) => from_store(run, store, all).await,
            Side::Local(local) => from_directory(run, local.dest.clone(), all).await,
        }
    }
    if allowed < files.len() && !run.cancelled() {
        let text = "--max-delete threshold reached: not all files were deleted";
        run.problems.report(Problem::refusal("", text).exiting(ExitCode::Fatal));
    }
}

/// How many of the files may be deleted.
fn allowed(run: &Run, files: &Paths) -> usize {
    let options = &run.context.options;
    let count = options.max_delete.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let Some(most) = options.max_delete_size else { return count.min(files.len()) };
    let mut total = 0_u64;
    let fits = files.iter().take_while(|(_, size)| {
        total = total.saturating_add(*size);
        total <= most
    });
    count.min(fits.count())
}

async fn from_store(run: &Arc<Run>, store: &Arc<dyn Store>, all: Vec<(RelPath, u64)>) {
    let batches: Vec<Vec<(RelPath, u64)>> = all.chunks(MAX_DELETE).map(<[_]>::to_vec).collect();
    let jobs = batches.into_iter().map(|batch| async move {
        if run.cancelled() {
            return;
        }
        let paths: Vec<RelPath> = batch.iter().map(|(path, _)| path.clone()).collect();
        for ((path, size), result) in batch.iter().zip(store.delete(&paths).await) {
            match result {
                Ok(()) => deleted(run, path, *size),
                Err(error) => run.problems.report(Problem::from(error).about(path)),
            }
        }
    });
    stream::iter(jobs.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

async fn from_directory(run: &Arc<Run>, dest: Option<Dest>, all: Vec<(RelPath, u64)>) {
    let Some(dest) = dest else { return };
    for batch in all.chunks(LOCAL_BATCH) {
        if run.cancelled() {
            return;
        }
        let (batch, dest, links) = (batch.to_vec(), dest.clone(), run.context.options.links);
        let results = tokio::task::spawn_blocking(move || {
            let remove = |(path, size): (RelPath, u64)| {
                let result = dest.remove_file(&local_name(&path, links));
                (path, size, result)
            };
            batch.into_iter().map(remove).collect::<Vec<_>>()
        });
        match results.await {
            Err(error) => run.problems.report(Problem::new("", format!("a task of this program failed: {error}"))),
            Ok(results) => results.into_iter().for_each(|(path, size, result)| match result {
                Ok(_) => deleted(run, &path, size),
                Err(error) => run.problems.report(Problem::io(&path, "failed to delete", &error)),
            }),
        }
    }
}

/// What an item is called on a local side.
fn local_name(path: &RelPath, links: bool) -> RelPath {
    let link = (links && path.ends_with(LINK_SUFFIX)).then(|| feed::link_path(path)).flatten();
    link.unwrap_or_else(|| path.clone())
}

fn deleted(run: &Run, path: &RelPath, size: u64) {
    run.context.counters.deleted_file(size);
    run.context.reporter.action(Action::Delete, path, size);
}

/// Removes directories, the deepest first; one that holds something stays, without a word.
pub(super) async fn directories(run: &Arc<Run>, directories: &Paths) {
    for (path, _) in directories.iter().rev() {
        if run.cancelled() {
            return;
        }
        if run.context.options.dry_run {
            run.context.counters.deleted_directory();
            run.context.reporter.action(Action::RemoveDirectory, &path, 0);
            continue;
        }
        let removed = match &run.dest {
            Side::Local(local) => match &local.dest {
                Some(dest) => {
                    dest.remove_dir(&path).map_err(|error| Problem::io(&path, "failed to remove the directory", &error))
                }
                None => Ok(false),
            },
            Side::Store(store) => {
                let removed = store.remove_directory(&path).await;
                removed.map(|()| true).map_err(|error| Problem::from(error).about(&path))
            }
        };
        match removed {
            Ok(true) => {
                run.context.counters.deleted_directory();
                run.context.reporter.action(Action::RemoveDirectory, &path, 0);
            }
            Ok(false) => {}
            Err(problem) => run.problems.report(problem),
        }
    }
}

/// Removes temporary files that killed runs left.
pub(super) fn leftovers(run: &Run, leftovers: &Paths) {
    let Side::Local(super::side::Local { dest: Some(dest), .. }) = &run.dest else { return };
    for (path, _) in leftovers.iter() {
        match dest.remove_file(&path) {
            Ok(_) => tracing::info!(object = %path, "Removed a temporary file of an interrupted run"),
            Err(error) => run.problems.report(Problem::io(&path, "failed to remove a temporary file", &error)),
        }
    }
}
