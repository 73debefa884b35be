//! The phases that every run goes through: read both sides, plan, transfer, delete.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use volsync_common::dest::MakeDirError;
use volsync_common::path::{RelPath, Shown};
use volsync_common::report::Action;

use super::Goal;
use super::commit::Committer;
use super::delete;
use super::execute::Executor;
use super::feed::{self, ListingFeed, LocalFeed};
use super::item::Seen;
use super::paths::Paths;
use super::plan::{Planned, Planner};
use super::problems::Problem;
use super::run::Run;
use super::select::Select;
use super::side::Side;
use super::transfer::Transfers;
use crate::permissions::FaclWriter;
use crate::store::{Listed, Listing, ListingBuilder, Store};

/// Work that is planned and not taken yet.
const PLANNED_AHEAD: usize = 256;

/// HEAD requests under way for the times of a listing.
const HEADS: usize = 64;

/// A side that was read or is being read.
pub(super) type Feed = Box<dyn Iterator<Item = Seen> + Send>;

/// Lists a store, or says why that failed; what keys no path can have is told.
pub(super) async fn list(run: &Run, store: &Arc<dyn Store>) -> Result<Arc<Listing>, Problem> {
    let counters = run.context.counters.clone();
    let listing = store.list(&move |entries| counters.listed(entries)).await;
    let listing = listing.map_err(|error| {
        let error = Problem::from(error);
        let text = format!("failed to list {}: {}", store.describe(), error.text);
        Problem { text, ..error }
    })?;
    with_times(run, store, Arc::new(listing)).await
}

/// The same with the times that the uploaders stored, where a filter asks for ages: a listing has the store's own.
async fn with_times(run: &Run, store: &Arc<dyn Store>, listing: Arc<Listing>) -> Result<Arc<Listing>, Problem> {
    let told = store.features().listed_mtime || run.context.options.use_server_modtime;
    if told || !run.select().looks_at_times() {
        return Ok(listing);
    }
    let heads = listing.iter().filter(|object| !object.directory).map(|object| {
        let path = object.path.to_vec();
        async move {
            let meta = store.stat(&path).await;
            meta.map(|meta| (path.clone(), meta)).map_err(|error| Problem::from(error).about(&Shown(&path)))
        }
    });
    let heads: Vec<_> = heads.collect();
    let metas: Vec<_> = stream::iter(heads).buffered(HEADS).try_collect().await?;
    let mut timed = ListingBuilder::default();
    let mut metas = metas.into_iter();
    for object in listing.iter() {
        let meta = if object.directory { None } else { metas.next() };
        let mtime = meta.and_then(|(_, meta)| meta.mtime).or(object.mtime);
        timed.push(Listed { mtime, ..object });
    }
    Ok(Arc::new(timed.finish(listing.exists())))
}

/// Objects that no volume can hold are errors: their content would be missing from a restore. (On a destination they are
/// nobody's business: they are left alone.)
pub(super) fn tell_refused(run: &Run, listing: &Listing) {
    for why in listing.refused() {
        run.problems
            .report(Problem::refusal("", format!("object not restored, its key is no path of a volume: {why}")));
    }
}

impl Run {
    /// The rules of the source.
    pub(super) fn select(&self) -> Select {
        let context = &self.context;
        Select::new(context.filter.clone(), &context.options, self.goal, context.now)
    }

    fn dest_select(&self) -> Select {
        let select = self.select();
        if self.context.options.delete_excluded { select.without_filter() } else { select }
    }

    /// The feed of a side; `listing` if it is a store.
    pub(super) fn feed(&self, side: &Side, listing: Option<&Arc<Listing>>, dest: bool) -> Result<Feed, Problem> {
        let select = if dest { self.dest_select() } else { self.select() };
        match (side, listing) {
            (Side::Local(local), _) => {
                let feed = LocalFeed::open(&local.path, local.rules, select, self.context.reporter.clone());
                let feed =
                    feed.map_err(|error| Problem::io(&side.describe(), "failed to open the directory", &error))?;
                Ok(Box::new(feed))
            }
            (Side::Store(_), Some(listing)) => {
                Ok(Box::new(ListingFeed::new(listing.clone(), select, self.context.options.links)))
            }
            (Side::Store(_), None) => Err(Problem::new(&side.describe(), "it was not listed")),
        }
    }
}

/// What planning and transferring left.
pub(super) struct Moved {
    pub(super) planned: Planned,
    pub(super) facl: Option<FaclWriter>,
    pub(super) transfers: Arc<Transfers>,
}

/// Plans and does everything but deletions.
pub(super) async fn transfer_all(
    run: &Arc<Run>,
    source: Feed,
    dest: Feed,
    facl: Option<FaclWriter>,
    keep: BTreeSet<Vec<u8>>,
) -> Moved {
    let (send, receive) = mpsc::channel(PLANNED_AHEAD);
    let planning = {
        let run = run.clone();
        let mut facl = facl;
        tokio::task::spawn_blocking(move || {
            let planned = Planner::new(&run, send, facl.as_mut(), &keep).plan(source, dest);
            (planned, facl)
        })
    };
    let committer = match &run.dest {
        Side::Local(local) => local.dest.clone().map(|dest| Committer::start(run.clone(), dest)),
        Side::Store(_) => None,
    };
    let transfers = Arc::new(Transfers::new(run.clone(), committer));
    Executor::new(run.clone(), transfers.clone()).work(receive).await;
    let (planned, facl) = planning.await.unwrap_or_else(|error| {
        run.problems.report(Problem::new("", format!("planning failed: {error}")));
        (Planned::default(), None)
    });
    let mut moved = Moved { planned, facl, transfers };
    transfer_again(run, &mut moved).await;
    moved
}

/// Whether deletions may follow: both sides were read whole, and nothing failed (or the user does not mind).
pub(super) fn may_delete(run: &Run, planned: &Planned) -> bool {
    if run.cancelled() {
        return false;
    }
    if !planned.complete {
        if run.problems.is_empty() {
            run.problems.report(Problem::new("", "the sides were not read to their ends"));
        }
        tracing::error!("not deleting files as a directory could not be read");
        return false;
    }
    if !run.problems.is_empty() && !run.context.options.ignore_errors {
        tracing::error!("not deleting files as there were IO errors");
        return false;
    }
    true
}

/// Deletes what only the destination has.
pub(super) async fn delete_extra(run: &Arc<Run>, moved: &Moved, marker_directories: &Paths) {
    delete::files(run, &moved.planned.extra_files).await;
    if !run.problems.is_empty() && !run.context.options.ignore_errors {
        tracing::error!("not deleting directories as there were IO errors");
        return;
    }
    delete::directories(run, &moved.planned.extra_directories).await;
    delete::directories(run, marker_directories).await;
}

/// Names everything, and transfers once more what a batch of small files failed to write.
async fn transfer_again(run: &Arc<Run>, moved: &mut Moved) {
    let Some(committer) = &moved.transfers.committer else { return };
    committer.flush().await;
    let later = committer.take_later();
    moved.planned.blocked.extend(later.blocked);
    for (item, replacing) in later.again {
        if run.cancelled() {
            return;
        }
        run.context.counters.transfer_planned(item.size);
        moved.transfers.again(item, replacing).await;
    }
    committer.flush().await;
    moved.planned.blocked.extend(committer.take_later().blocked);
}

/// Transfers what had to wait until something else was out of its way.
pub(super) async fn transfer_put_off(run: &Arc<Run>, moved: &mut Moved) {
    let Some(committer) = &moved.transfers.committer else { return };
    for item in std::mem::take(&mut moved.planned.blocked) {
        if run.cancelled() {
            return;
        }
        match clear_way(run, &item) {
            Ok(()) => {
                run.context.counters.transfer_planned(item.size);
                moved.transfers.again(item, false).await;
            }
            Err(problem) => run.problems.report(problem),
        }
    }
    committer.flush().await;
    for item in committer.take_later().blocked {
        let text = "a directory that is not empty stands in its place";
        run.problems.report(Problem::refusal(&item.path, text));
    }
}

/// Makes the directory of a file that was put off. What stands in the way and was no file of the destination (a link, a
/// directory with excluded files) stays, and is named.
fn clear_way(run: &Run, item: &super::item::Item) -> Result<(), Problem> {
    let Side::Local(super::side::Local { dest: Some(dest), .. }) = &run.dest else { return Ok(()) };
    if let Ok(Some((volsync_common::walk::Kind::Directory, _))) = dest.stat(&item.path) {
        // Still holding something: the rename will say so.
        let _kept = dest.remove_dir(&item.path);
    }
    let Some(parent) = item.path.parent().and_then(|parent| RelPath::new(parent).ok()) else {
        return Ok(());
    };
    dest.make_dir_all(&parent).map_err(|error| match error {
        MakeDirError::InTheWay(at) => {
            let text = format!("{at} is in the way: it is not a directory (links are never followed); remove it");
            Problem::refusal(&item.path, text)
        }
        MakeDirError::Io(error) => Problem::io(&item.path, "failed to make its directory", &error),
    })
}

/// `--create-empty-src-dirs`: directories of the source that the destination can keep.
pub(super) async fn make_directories(run: &Arc<Run>, directories: impl Iterator<Item = RelPath>) {
    if !run.context.options.create_empty_src_dirs || run.goal == Goal::Check {
        return;
    }
    for path in directories {
        if run.context.options.dry_run {
            run.context.reporter.action(Action::MakeDirectory, &path, 0);
            continue;
        }
        let made = match &run.dest {
            Side::Local(local) => match &local.dest {
                Some(dest) => dest
                    .make_dir_all(&path)
                    .map_err(|error| Problem::new(&path, format!("failed to make the directory: {error}"))),
                None => Ok(()),
            },
            Side::Store(store) if store.features().directories => {
                store.make_directory(&path).await.map_err(|error| Problem::from(error).about(&path))
            }
            Side::Store(_) => return,
        };
        if let Err(problem) = made {
            run.problems.report(problem);
        }
    }
}

/// Directories that a listed destination tells by itself.
pub(super) fn markers(run: &Run, dest: Option<&Arc<Listing>>) -> BTreeSet<Vec<u8>> {
    let told = dest.map(|listing| feed::directories(listing, run.select())).unwrap_or_default();
    told.into_iter().map(|path| path.as_bytes().to_vec()).collect()
}

/// Those of them that the source lacks.
pub(super) fn extra_markers(markers: &BTreeSet<Vec<u8>>, source: &BTreeSet<Vec<u8>>) -> Paths {
    let mut extra = Paths::default();
    for path in markers.difference(source).filter_map(|path| RelPath::new(path.as_slice()).ok()) {
        extra.push(&path, 0);
    }
    extra
}
