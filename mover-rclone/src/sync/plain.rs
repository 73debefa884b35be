//! rclone's `sync`, `copy` and `check`, between any two sides.

use std::collections::BTreeSet;
use std::sync::Arc;

use volsync_common::exit::ExitCode;

use super::flow::{self, Moved};
use super::problems::Problem;
use super::run::Run;
use super::side::Side;
use super::{Goal, feed};
use crate::store::{Listing, OneFile};

/// Does it. What `file` names is no directory: nothing is done with it.
pub(super) async fn run(run: &Arc<Run>, file: Option<&OneFile>) -> Result<(), Problem> {
    let source = listing(run, &run.source).await?;
    let missing = match &source {
        // To a bucket every directory exists; one that a file takes the place of would be taken for empty, and so emptied.
        Some(listing) if listing.exists() && listing.is_empty() => match file {
            Some(file) => file.exists().await?,
            None => false,
        },
        Some(listing) => !listing.exists(),
        None => false,
    };
    if missing {
        return Err(Problem::new(&run.source.describe(), "directory not found").exiting(ExitCode::DirectoryNotFound));
    }
    let blind = run.context.options.no_check_dest;
    if blind && run.goal != Goal::Copy {
        return Err(Problem::refusal(
            "",
            "--no-check-dest is for copy only: without a look at the destination nothing can be compared or deleted",
        ));
    }
    let dest = if blind { None } else { listing(run, &run.dest).await? };
    if let Some(listing) = &source {
        flow::tell_refused(run, listing);
    }
    let mut directories: BTreeSet<Vec<u8>> = BTreeSet::new();
    if let Some(listing) = &source {
        directories.extend(feed::directories(listing, run.select()).into_iter().map(|path| path.as_bytes().to_vec()));
    }
    let source_feed = run.feed(&run.source, source.as_ref(), false)?;
    let dest_feed = if blind { Box::new(std::iter::empty()) } else { run.feed(&run.dest, dest.as_ref(), true)? };
    let mut moved = flow::transfer_all(run, source_feed, dest_feed, None, directories.clone()).await;
    if run.goal == Goal::Check {
        check_end(run, &moved);
        return Ok(());
    }
    directories.extend(moved.planned.source_directories.iter().map(|(path, _)| path.as_bytes().to_vec()));
    let markers = flow::markers(run, dest.as_ref());
    let missing = directories.difference(&markers);
    let missing = missing.filter_map(|path| volsync_common::path::RelPath::new(path.as_slice()).ok());
    flow::make_directories(run, missing).await;
    if !run.context.options.dry_run {
        super::delete::leftovers(run, &moved.planned.leftovers);
    }
    if run.goal == Goal::Sync && flow::may_delete(run, &moved.planned) {
        flow::delete_extra(run, &moved, &flow::extra_markers(&markers, &directories)).await;
    }
    flow::transfer_put_off(run, &mut moved).await;
    if run.context.options.error_on_no_transfer && run.context.counters.snapshot().transfers == 0 {
        let problem = Problem::new("", "no files were transferred");
        run.problems.report(problem.exiting(ExitCode::NothingTransferred));
    }
    Ok(())
}

async fn listing(run: &Run, side: &Side) -> Result<Option<Arc<Listing>>, Problem> {
    match side {
        Side::Local(_) => Ok(None),
        Side::Store(store) => flow::list(run, store).await.map(Some),
    }
}

/// What a comparison found beyond differing files, which were told as they were found.
fn check_end(run: &Arc<Run>, moved: &Moved) {
    if !run.context.options.one_way {
        for (path, _) in moved.planned.extra_files.iter() {
            run.problems.report(Problem::refusal(&path, format!("file not in {}", run.source.describe())));
        }
    }
    let differences = run.context.counters.errors();
    let matching = run.context.counters.snapshot().checks.saturating_sub(differences);
    tracing::warn!("{}: {differences} differences found", run.dest.describe());
    tracing::warn!("{}: {matching} matching files", run.dest.describe());
}
