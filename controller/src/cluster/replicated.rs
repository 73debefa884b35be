//! What sources and destinations do differently.

use super::{Progress, Trouble, clean_up, copy, hands::Hands, image, rclone::Transfer};
use crate::{
    api::{Destination, Kind, Source, SyncStatus, Trigger, non_empty},
    machine::{Configured, Method},
    objects::{
        destination::Image,
        names::{self, Direction},
    },
    settings::Settings,
};
use std::future::Future;

/// One look at one replication.
pub(super) struct Pass<'a, K: Kind> {
    pub(super) hands: &'a Hands<'a>,
    pub(super) settings: &'a Settings,
    pub(super) spec: &'a K::Spec,
    pub(super) privileged: bool,
    pub(super) debug: bool,
}

/// A kind that can be replicated.
pub(super) trait Replicated: Kind {
    fn configured(spec: &Self::Spec) -> Configured;
    fn trigger(spec: &Self::Spec) -> Option<&Trigger>;
    fn sync(status: &mut Self::Status) -> &mut SyncStatus;

    /// What comes before everything else, in every phase.
    fn prepare(pass: &Pass<'_, Self>) -> impl Future<Output = Result<(), Trouble>> + Send
    where
        Self: Sized;

    /// Works on a sync.
    fn synchronize(
        pass: &Pass<'_, Self>,
        status: &mut Self::Status,
    ) -> impl Future<Output = Result<Progress, Trouble>> + Send
    where
        Self: Sized;

    /// Works on what the last sync has left behind.
    fn clean_up(pass: &Pass<'_, Self>) -> impl Future<Output = Result<(), Trouble>> + Send
    where
        Self: Sized;
}

fn no_method() -> Trouble {
    Trouble::User("no method is configured that this controller runs".to_owned())
}

impl Replicated for Source {
    fn configured(spec: &Self::Spec) -> Configured {
        spec.into()
    }

    fn trigger(spec: &Self::Spec) -> Option<&Trigger> {
        spec.trigger.as_ref()
    }

    fn sync(status: &mut Self::Status) -> &mut SyncStatus {
        &mut status.sync
    }

    async fn prepare(_: &Pass<'_, Self>) -> Result<(), Trouble> {
        Ok(())
    }

    async fn synchronize(pass: &Pass<'_, Self>, status: &mut Self::Status) -> Result<Progress, Trouble> {
        let spec = pass.spec.rclone.as_ref().ok_or_else(no_method)?;
        let source = non_empty(pass.spec.source_pvc.as_ref());
        let source = source.ok_or_else(|| Trouble::User("sourcePVC must be provided".to_owned()))?;
        let transfer = Transfer {
            direction: Direction::Source,
            rclone: &spec.rclone,
            options: &spec.mover,
            pod: &spec.pod,
            copy_method: spec.volume.copy_method,
            paused: pass.spec.paused.unwrap_or_default(),
            debug: pass.debug,
            privileged: pass.privileged,
        };
        let keys = transfer.check(pass.hands).await?;
        let mover = status.sync.latest_mover_status.get_or_insert_default();
        let Some(claim) = copy::volume(pass.hands, source, &spec.volume, mover).await? else {
            return Ok(Progress::Pending);
        };
        transfer.run(pass.hands, pass.settings, &keys, &claim, mover).await
    }

    async fn clean_up(pass: &Pass<'_, Self>) -> Result<(), Trouble> {
        clean_up::iteration(pass.hands).await
    }
}

impl Replicated for Destination {
    fn configured(spec: &Self::Spec) -> Configured {
        spec.into()
    }

    fn trigger(spec: &Self::Spec) -> Option<&Trigger> {
        spec.trigger.as_ref()
    }

    fn sync(status: &mut Self::Status) -> &mut SyncStatus {
        &mut status.sync
    }

    async fn prepare(pass: &Pass<'_, Self>) -> Result<(), Trouble> {
        image::release_kept(pass.hands).await
    }

    async fn synchronize(pass: &Pass<'_, Self>, status: &mut Self::Status) -> Result<Progress, Trouble> {
        let spec = pass.spec.rclone.as_ref().ok_or_else(no_method)?;
        let hands = pass.hands;
        // Asked before the transfer: upstream says so when the data has moved already.
        let kept = Image::of(spec.volume.copy_method).map_err(|error| Trouble::user(&error))?;
        let transfer = Transfer {
            direction: Direction::Destination,
            rclone: &spec.rclone,
            options: &spec.mover,
            pod: &spec.pod,
            copy_method: spec.volume.copy_method,
            paused: pass.spec.paused.unwrap_or_default(),
            debug: pass.debug,
            privileged: pass.privileged,
        };
        let keys = transfer.check(hands).await?;
        let claim = image::claim(hands, Method::Rclone, &spec.volume, None).await?;
        let mover = status.sync.latest_mover_status.get_or_insert_default();
        if transfer.run(hands, pass.settings, &keys, &claim, mover).await? == Progress::Pending {
            return Ok(Progress::Pending);
        }
        let Some(new) = image::keep(hands, kept, &claim, &spec.volume, &pass.settings.local).await? else {
            return Ok(Progress::Pending);
        };
        image::retire_old(hands, status.latest_image.as_ref(), &new).await?;
        status.latest_image = Some(new);
        Ok(Progress::Done)
    }

    async fn clean_up(pass: &Pass<'_, Self>) -> Result<(), Trouble> {
        let given = pass.spec.rclone.as_ref().and_then(|spec| non_empty(spec.volume.destination_pvc.as_ref()));
        let made = names::destination_claim(Method::Rclone, pass.hands.owner.name);
        clean_up::forget_snapshot_name(pass.hands, given.unwrap_or(&made)).await?;
        clean_up::iteration(pass.hands).await
    }
}
