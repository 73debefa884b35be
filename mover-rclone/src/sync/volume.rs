//! The VolSync flow: a volume and its permissions to a store and back.
//!
//! **Order** of a push: uploads, then `permissions.facl`, then deletions. While the first push into a prefix is under way
//! [`guard::IN_PROGRESS`] stands for the permissions, so that a restore of half a volume is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use volsync_common::path::RelPath;
use volsync_common::time::Timestamp;

use super::flow::{self, Moved};
use super::guard::{self, Allowed, Permissions};
use super::problems::Problem;
use super::run::Run;
use super::select::PERMISSIONS;
use super::side::{Local, Side};
use super::steady::Steady;
use super::upload::Text;
use crate::permissions::{self, FaclText, FaclWriter};
use crate::spool::Spool;
use crate::store::{Listing, PutRequest, Source, Store, StoreErrorKind};

fn allowed(run: &Run) -> Allowed {
    let options = &run.context.options;
    Allowed {
        empty_source: options.allow_empty_source,
        foreign_prefix: options.allow_foreign_prefix,
        missing_permissions: options.allow_missing_permissions,
    }
}

fn permissions_path() -> Result<RelPath, Problem> {
    RelPath::new(PERMISSIONS).map_err(|error| Problem::new("permissions.facl", error.to_string()))
}

fn holds_objects(listing: &Listing) -> bool {
    listing.iter().any(|object| object.path != PERMISSIONS && !object.directory)
}

/// A volume into a store.
pub(super) async fn push(run: &Arc<Run>, local: &Local, store: &Arc<dyn Store>, mount: &[u8]) -> Result<(), Problem> {
    let facl = FaclWriter::new(local.root.clone(), mount);
    let facl = facl.map_err(|error| Problem::io(&run.source.describe(), "failed to read the volume", &error))?;
    // The walk reads ahead while the store is listed.
    let source = run.feed(&run.source, None, false)?;
    let listing = flow::list(run, store).await?;
    let objects = holds_objects(&listing);
    let stored = listing.find(PERMISSIONS).and_then(|object| object.md5);
    let had_permissions = listing.find(PERMISSIONS).is_some();
    guard::push_may_write(&store.describe(), objects, had_permissions, allowed(run))?;
    let mark = !had_permissions && !objects && !run.context.options.dry_run;
    let mut source = source.peekable();
    if mark && source.peek().is_some() {
        put_permissions(store, Arc::new(Text(guard::IN_PROGRESS.to_vec()))).await?;
    }
    let dest = run.feed(&run.dest, Some(&listing), true)?;
    let mut moved = flow::transfer_all(run, Box::new(source), dest, Some(facl), BTreeSet::new()).await;
    let facl = moved.facl.take();
    if !flow::may_delete(run, &moved.planned) {
        return Ok(());
    }
    guard::push_may_delete(&run.source.describe(), moved.planned.source_files, objects, allowed(run))?;
    let text = facl.map(FaclWriter::finish).transpose();
    let text = text.map_err(|error| Problem::io("permissions.facl", "failed to keep it", &error))?;
    if let Some(text) = text
        && !run.context.options.dry_run
        // With --ignore-errors deletions go on, but what failed to be stored is not called complete.
        && run.problems.is_empty()
        && stored != Some(text.md5())
    {
        put_permissions(store, Arc::new(text)).await?;
    }
    finish_push(run, store, &listing, &moved).await;
    Ok(())
}

async fn finish_push(run: &Arc<Run>, store: &Arc<dyn Store>, listing: &Arc<Listing>, moved: &Moved) {
    let kept: BTreeSet<Vec<u8>> =
        moved.planned.source_directories.iter().map(|(path, _)| path.as_bytes().to_vec()).collect();
    let markers = flow::markers(run, Some(listing));
    if store.features().directories {
        let all = moved.planned.source_directories.iter().map(|(path, _)| path);
        flow::make_directories(run, all.filter(|path| !markers.contains(path.as_bytes()))).await;
    }
    flow::delete_extra(run, moved, &flow::extra_markers(&markers, &kept)).await;
    if run.problems.is_empty() && !run.context.options.dry_run {
        clean_up(store).await;
    }
}

/// Removes what interrupted runs left; that it fails is no failure of this run.
async fn clean_up(store: &Arc<dyn Store>) {
    match store.clean_up().await {
        Ok(0) => {}
        Ok(count) => tracing::info!("Removed {count} unfinished uploads of interrupted runs, older than a day"),
        Err(error) => tracing::debug!("looking for unfinished uploads: {error}"),
    }
}

async fn put_permissions(store: &Arc<dyn Store>, text: Arc<dyn Source>) -> Result<(), Problem> {
    let path = permissions_path()?;
    let request = PutRequest { path: &path, source: text, mtime: Timestamp::now(), md5: None, metadata: &[] };
    store.put(request).await.map(|_| ()).map_err(|error| Problem::from(error).about("permissions.facl"))
}

/// A volume out of a store.
pub(super) async fn pull(run: &Arc<Run>, store: &Arc<dyn Store>, local: &Local) -> Result<(), Problem> {
    let text = get_permissions(store).await?;
    let state = match &text {
        None => Permissions::Missing,
        Some(text) if is_in_progress(text) => Permissions::InProgress,
        Some(_) => Permissions::Complete,
    };
    guard::pull_may_begin(&store.describe(), state, allowed(run))?;
    let text = text.filter(|_| state == Permissions::Complete);
    // The walk reads ahead while the store is listed.
    let dest = run.feed(&run.dest, None, true)?;
    let listing = flow::list(run, store).await?;
    if !listing.exists() {
        return Err(missing(&store.describe()));
    }
    flow::tell_refused(run, &listing);
    let keep = text.as_ref().map(permissions::empty_directories).unwrap_or_default();
    let source = run.feed(&run.source, Some(&listing), false)?;
    let mut moved = flow::transfer_all(run, source, dest, None, keep).await;
    if !run.context.options.dry_run {
        super::delete::leftovers(run, &moved.planned.leftovers);
    }
    if flow::may_delete(run, &moved.planned) {
        let planned = &moved.planned;
        guard::pull_may_delete(&store.describe(), planned.source_files, planned.dest_files > 0, allowed(run))?;
        flow::delete_extra(run, &moved, &super::paths::Paths::default()).await;
    }
    flow::transfer_put_off(run, &mut moved).await;
    if run.cancelled() || run.context.options.dry_run {
        return Ok(());
    }
    // Also after errors: what was restored gets its rights.
    if let Some(text) = text {
        restore_permissions(run, local, text).await?;
    }
    flush(run, local).await
}

fn missing(what: &str) -> Problem {
    Problem::new(what, "the bucket does not exist; check its name (rcloneDestPath)")
        .exiting(volsync_common::exit::ExitCode::DirectoryNotFound)
}

fn is_in_progress(text: &Spool) -> bool {
    let mut start = vec![0; guard::IN_PROGRESS.len()];
    text.read_at(0, &mut start).is_ok_and(|count| count == start.len()) && start == guard::IN_PROGRESS
}

async fn get_permissions(store: &Arc<dyn Store>) -> Result<Option<Spool>, Problem> {
    let about = |error| Problem::from(error).about("permissions.facl");
    let mut body = match Steady::open(store.clone(), permissions_path()?, None, None).await {
        Ok(body) => body,
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind == StoreErrorKind::NoSuchBucket => return Err(missing(&store.describe())),
        Err(error) => return Err(about(error)),
    };
    let mut text = FaclText::default();
    let keep = |error: std::io::Error| Problem::io("permissions.facl", "failed to keep it", &error);
    while let Some(piece) = body.next().await.map_err(about)? {
        text.push(&piece).map_err(keep)?;
    }
    let text = text.finish().map_err(keep)?;
    if body.meta.md5.is_some_and(|md5| md5 != text.md5()) {
        return Err(Problem::new("permissions.facl", "corrupted on transfer: its MD5 differs"));
    }
    Ok(Some(text))
}

async fn restore_permissions(run: &Arc<Run>, local: &Local, text: Spool) -> Result<(), Problem> {
    let Some(dest) = local.dest.clone() else { return Ok(()) };
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    let restored = tokio::task::spawn_blocking(move || permissions::restore(&text, &dest, threads)).await;
    let restored = restored.map_err(|error| Problem::new("permissions.facl", format!("restoring failed: {error}")))?;
    let restored =
        restored.map_err(|(path, error)| Problem::io(&path, "failed to restore owner, mode or access list", &error))?;
    tracing::info!("permissions.facl: {} records, {} files changed", restored.records, restored.changed);
    if let Some(shortfall) = restored.shortfall() {
        tracing::warn!("permissions.facl: {shortfall}");
    }
    run.context.counters.listed(0);
    Ok(())
}

async fn flush(run: &Arc<Run>, local: &Local) -> Result<(), Problem> {
    let Some(dest) = local.dest.clone() else { return Ok(()) };
    let flushed = tokio::task::spawn_blocking(move || dest.sync_fs()).await.map_err(std::io::Error::other);
    flushed.and_then(|r| r).map_err(|error| Problem::io(&run.dest.describe(), "failed to flush the volume", &error))
}

/// Which way a volume goes.
pub(super) async fn run(run: &Arc<Run>, mount: &[u8]) -> Result<(), Problem> {
    match (&run.source, &run.dest) {
        (Side::Local(local), Side::Store(store)) => push(run, local, store, mount).await,
        (Side::Store(store), Side::Local(local)) => pull(run, store, local).await,
        _ => Err(Problem::refusal("", "a volume is moved between a directory and a store")),
    }
}
