//! Giving a destination the source's modification time without moving content.

use std::sync::Arc;

use volsync_common::report::Action;
use volsync_common::time::Timestamp;

use super::item::Item;
use super::problems::Problem;
use super::run::Run;
use super::side::Side;
use crate::store::StoreErrorKind;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touched {
    /// The destination has the time.
    Done,
    /// The store can only take a time with content.
    NeedsContent,
}

/// Sets the time.
pub(super) async fn touch(run: &Arc<Run>, source: &Item, dest: &Item, time: Timestamp) -> Result<Touched, Problem> {
    if run.context.options.dry_run {
        run.context.reporter.action(Action::UpdateModTime, &source.path, source.size);
        return Ok(Touched::Done);
    }
    match &run.dest {
        Side::Local(local) => {
            let Some(target) = local.dest.clone() else { return Ok(Touched::Done) };
            let path = super::feed::link_path(&dest.path).filter(|_| dest.kind == super::item::ItemKind::Link);
            let path = path.unwrap_or_else(|| dest.path.clone());
            target
                .set_mtime(&path, time)
                .map_err(|error| Problem::io(&path, "failed to set the modification time", &error))?;
        }
        Side::Store(store) => match store.set_mtime(&dest.path, time).await {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::Unsupported => {
                tracing::debug!(object = %dest.path, "the time cannot be changed without the content: {error}");
                return Ok(Touched::NeedsContent);
            }
            Err(error) => return Err(Problem::from(error).about(&dest.path)),
        },
    }
    run.context.reporter.action(Action::UpdateModTime, &source.path, source.size);
    Ok(Touched::Done)
}
