//! What sources and destinations do differently.

use super::{
    Progress, Trouble,
    clean_up::{self, Names},
    copy, image,
    pass::Pass,
    peer::Published,
    transfer::Transfer,
    wants::Wants,
};
use crate::{
    api::{Destination, RsyncStatus, RsyncTlsDestinationStatus, RsyncTlsSourceStatus, Source, non_empty},
    machine::Method,
    objects::{
        destination::Image,
        names::{self, Direction},
    },
    synced::Synced,
};
use std::future::Future;

/// A kind that can be replicated.
pub(super) trait Replicated: Synced {
    /// Its name in metrics.
    const ROLE: &'static str;

    /// Whether a sync counts against the limit on transfers. Who waits for another one does not.
    fn takes_seat(method: Method) -> bool;

    /// The claim that a user changes to let a copy be made.
    fn gated_claim(spec: &Self::Spec) -> Option<&str>;

    /// What the other side of rsync was told.
    fn published(spec: &Self::Spec, status: &Self::Status) -> Published;

    /// Tells it.
    fn publish(spec: &Self::Spec, status: &mut Self::Status, published: Published);

    /// What comes before everything else, in every phase.
    fn prepare(pass: &Pass<'_>) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Works on a sync.
    fn synchronize(
        pass: &Pass<'_>,
        spec: &Self::Spec,
        status: &mut Self::Status,
        published: &mut Published,
    ) -> impl Future<Output = Result<Progress, Trouble>> + Send;

    /// Works on what the last sync has left behind.
    fn clean_up(pass: &Pass<'_>, spec: &Self::Spec) -> impl Future<Output = Result<(), Trouble>> + Send;
}

fn no_method() -> Trouble {
    Trouble::User("no method is configured that this controller runs".to_owned())
}

fn of_rsync(status: Option<&RsyncStatus>) -> Published {
    let status = status.cloned().unwrap_or_default();
    Published { address: status.address, keys: status.ssh_keys }
}

fn to_rsync(published: Published) -> RsyncStatus {
    RsyncStatus { address: published.address, ssh_keys: published.keys, port: None }
}

impl Replicated for Source {
    const ROLE: &'static str = "source";

    fn takes_seat(_: Method) -> bool {
        true
    }

    fn gated_claim(spec: &Self::Spec) -> Option<&str> {
        non_empty(spec.source_pvc.as_ref())
    }

    fn published(spec: &Self::Spec, status: &Self::Status) -> Published {
        if spec.rsync_tls.is_none() {
            return of_rsync(status.rsync.as_ref());
        }
        Published { address: None, keys: status.rsync_tls.clone().unwrap_or_default().key_secret }
    }

    fn publish(spec: &Self::Spec, status: &mut Self::Status, published: Published) {
        if spec.rsync.is_some() {
            status.rsync = Some(to_rsync(published));
        } else if spec.rsync_tls.is_some() {
            status.rsync_tls = Some(RsyncTlsSourceStatus { key_secret: published.keys });
        }
    }

    async fn prepare(_: &Pass<'_>) -> Result<(), Trouble> {
        Ok(())
    }

    async fn synchronize(
        pass: &Pass<'_>,
        spec: &Self::Spec,
        status: &mut Self::Status,
        published: &mut Published,
    ) -> Result<Progress, Trouble> {
        let wants = Wants::of_source(spec).ok_or_else(no_method)?;
        let source = non_empty(spec.source_pvc.as_ref());
        let source = source.ok_or_else(|| Trouble::User("sourcePVC must be provided".to_owned()))?;
        let volume = wants.volume;
        let transfer = Transfer { pass, direction: Direction::Source, wants, copy_method: volume.copy_method };
        transfer.check().await?;
        let mover = status.sync.latest_mover_status.get_or_insert_default();
        let Some(claim) = copy::volume(pass.hands, source, volume, mover).await? else {
            return Ok(Progress::Pending);
        };
        transfer.run(&claim, published, mover).await
    }

    async fn clean_up(pass: &Pass<'_>, spec: &Self::Spec) -> Result<(), Trouble> {
        let name = pass.hands.owner.name;
        let job = Wants::of_source(spec).map(|wants| names::job(wants.method, Direction::Source, name));
        let copy = Some(names::copy(name));
        clean_up::iteration(pass, &Names { claim: copy.clone(), snapshot: copy, job }).await
    }
}

impl Replicated for Destination {
    const ROLE: &'static str = "destination";

    fn takes_seat(method: Method) -> bool {
        method == Method::Rclone
    }

    fn gated_claim(_: &Self::Spec) -> Option<&str> {
        None
    }

    fn published(spec: &Self::Spec, status: &Self::Status) -> Published {
        if spec.rsync_tls.is_none() {
            return of_rsync(status.rsync.as_ref());
        }
        let status = status.rsync_tls.clone().unwrap_or_default();
        Published { address: status.address, keys: status.key_secret }
    }

    fn publish(spec: &Self::Spec, status: &mut Self::Status, published: Published) {
        if spec.rsync.is_some() {
            status.rsync = Some(to_rsync(published));
        } else if spec.rsync_tls.is_some() {
            let Published { address, keys } = published;
            status.rsync_tls = Some(RsyncTlsDestinationStatus { address, port: None, key_secret: keys });
        }
    }

    async fn prepare(pass: &Pass<'_>) -> Result<(), Trouble> {
        image::release_kept(pass.hands).await
    }

    async fn synchronize(
        pass: &Pass<'_>,
        spec: &Self::Spec,
        status: &mut Self::Status,
        published: &mut Published,
    ) -> Result<Progress, Trouble> {
        let wants = Wants::of_destination(spec).ok_or_else(no_method)?;
        let (hands, method, volume, mode) = (pass.hands, wants.method, wants.volume, wants.mode);
        // A command line tool of upstream's makes destinations of rsync without a method, whose syncs never end: only the
        // image of a sync that ended needs one. Any other is better told before the transfer than after it.
        let kept = match volume.copy_method {
            None if method == Method::Rsync => None,
            asked => Some(Image::of(asked).map_err(|error| Trouble::user(&error))?),
        };
        let transfer = Transfer { pass, direction: Direction::Destination, wants, copy_method: volume.copy_method };
        transfer.check().await?;
        let claim = image::claim(hands, method, volume, mode).await?;
        let mover = status.sync.latest_mover_status.get_or_insert_default();
        match transfer.run(&claim, published, mover).await? {
            Progress::Done => {}
            other => return Ok(other),
        }
        let kept = kept.map_or_else(|| Image::of(None).map_err(|error| Trouble::user(&error)), Ok)?;
        let Some(new) = image::keep(hands, kept, &claim, volume, &pass.settings.local).await? else {
            return Ok(Progress::Pending);
        };
        image::retire_old(hands, status.latest_image.as_ref(), &new).await?;
        status.latest_image = Some(new);
        Ok(Progress::Done)
    }

    async fn clean_up(pass: &Pass<'_>, spec: &Self::Spec) -> Result<(), Trouble> {
        let Some(wants) = Wants::of_destination(spec) else {
            return clean_up::iteration(pass, &Names::default()).await;
        };
        let given = non_empty(wants.volume.destination_pvc.as_ref());
        let made = names::destination_claim(wants.method, pass.hands.owner.name);
        clean_up::forget_snapshot_name(pass.hands, given.unwrap_or(&made)).await?;
        let job = names::job(wants.method, Direction::Destination, pass.hands.owner.name);
        clean_up::iteration(pass, &Names { claim: Some(made), snapshot: None, job: Some(job) }).await
    }
}
