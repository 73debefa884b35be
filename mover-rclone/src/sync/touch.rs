//! Giving a destination the source's modification time without moving content.

use std::sync::Arc;

use volsync_common::report::Action;
use volsync_common::time::Timestamp;

use super::item::Item;
use super::problems::Problem;
use super::run::Run;
use super::side::Side;
use crate::store::StoreErrorKind;

/// Sets the time; a store that cannot gets the content again.
pub(super) async fn touch(run: &Arc<Run>, source: &Item, dest: &Item, time: Timestamp) -> Result<(), Problem> {
    if run.context.options.dry_run {
        run.context.reporter.action(Action::UpdateModTime, &source.path, source.size);
        return Ok(());
    }
    match &run.dest {
        Side::Local(local) => {
            let Some(target) = local.dest.clone() else { return Ok(()) };
            let path = super::feed::link_path(&dest.path).filter(|_| dest.kind == super::item::ItemKind::Link);
            let path = path.unwrap_or_else(|| dest.path.clone());
            target
                .set_mtime(&path, time)
                .map_err(|error| Problem::io(&path, "failed to set the modification time", &error))?;
        }
        Side::Store(store) => match store.set_mtime(&dest.path, time).await {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::Unsupported => {
                tracing::debug!(object = %dest.path, "the store cannot change times: {error}");
                return Ok(());
            }
            Err(error) => return Err(Problem::from(error).about(&dest.path)),
        },
    }
    run.context.reporter.action(Action::UpdateModTime, &source.path, source.size);
    Ok(())
}
