//! What sources and destinations do differently on one machine.

use super::{Place, documents::Documents, job::Transfer};
use crate::{
    api::{Destination, MoverResult, Replication, Source, non_empty},
    machine::Method,
    objects::{
        copies::Copy,
        destination::{Image, image_of_claim, image_of_snapshot},
        names::{self, Direction},
        rclone::Remote,
        snapshot,
    },
    synced::Synced,
};
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// A kind that can be replicated here.
pub(super) trait Local: Synced {
    fn find<'a>(documents: &'a Documents, name: &str) -> Option<&'a Replication<Self>>;

    /// Moves the data. Says whether that went well; errors are about what the user asks for.
    fn synchronize(
        place: &Place,
        documents: &Documents,
        asked: &Replication<Self>,
        status: &mut Self::Status,
    ) -> impl Future<Output = Result<bool, String>> + Send;

    /// Removes what the last sync has left behind.
    fn clean_up(place: &Place, asked: &Replication<Self>, status: &Self::Status) -> Result<(), String>;
}

const NO_RCLONE: &str = "only rclone runs on one machine";

fn name_of<K: Local>(asked: &Replication<K>) -> &str {
    asked.metadata.name.as_deref().unwrap_or_default()
}

/// Runs the mover, and keeps what it tells. Says whether it succeeded.
async fn moved<K: Local>(
    place: &Place,
    documents: &Documents,
    asked: &Replication<K>,
    (direction, volume): (Direction, &Path),
    remote: Remote<'_>,
    status: &mut K::Status,
) -> Result<bool, String> {
    let name = format!("{}-{}", K::KIND, name_of(asked));
    let mover = place.movers.run(&Transfer { name, direction, volume, remote }, documents).await?;
    let success = mover.result == Some(MoverResult::Successful);
    K::sync(status).latest_mover_status = Some(mover);
    Ok(success)
}

fn text(error: &impl ToString) -> String {
    error.to_string()
}

impl Local for Source {
    fn find<'a>(documents: &'a Documents, name: &str) -> Option<&'a Replication<Self>> {
        documents.sources.get(name)
    }

    async fn synchronize(
        place: &Place,
        documents: &Documents,
        asked: &Replication<Self>,
        status: &mut Self::Status,
    ) -> Result<bool, String> {
        let rclone = asked.spec.rclone.as_ref().ok_or(NO_RCLONE)?;
        let remote = Remote::of(&rclone.rclone).map_err(|error| text(&error))?;
        let claim = non_empty(asked.spec.source_pvc.as_ref()).ok_or("sourcePVC must be provided")?;
        let volume = place.disk.volume(claim)?;
        let data = match Copy::of(rclone.volume.copy_method).map_err(|error| text(&error))? {
            Copy::Direct => volume,
            Copy::Clone | Copy::Snapshot => place.disk.snapshot(&volume, &names::copy(name_of(asked))).await?,
        };
        moved(place, documents, asked, (Direction::Source, &data), remote, status).await
    }

    fn clean_up(place: &Place, asked: &Replication<Self>, _: &Self::Status) -> Result<(), String> {
        place.disk.remove_snapshot(&names::copy(name_of(asked)))
    }
}

impl Local for Destination {
    fn find<'a>(documents: &'a Documents, name: &str) -> Option<&'a Replication<Self>> {
        documents.destinations.get(name)
    }

    async fn synchronize(
        place: &Place,
        documents: &Documents,
        asked: &Replication<Self>,
        status: &mut Self::Status,
    ) -> Result<bool, String> {
        let rclone = asked.spec.rclone.as_ref().ok_or(NO_RCLONE)?;
        let remote = Remote::of(&rclone.rclone).map_err(|error| text(&error))?;
        let image = Image::of(rclone.volume.copy_method).map_err(|error| text(&error))?;
        let (claim, volume) = volume_of(place, asked)?;
        if !moved(place, documents, asked, (Direction::Destination, &volume), remote, status).await? {
            return Ok(false);
        }
        status.latest_image = Some(match image {
            Image::Claim => image_of_claim(&claim),
            Image::Snapshot => {
                let name = names::destination_snapshot(&claim, Timestamp::now(), &place.zone);
                place.disk.snapshot(&volume, &name).await?;
                image_of_snapshot(&name)
            }
        });
        Ok(true)
    }

    /// One snapshot is kept: that of the status. Others are of earlier syncs, or of one that was broken off.
    fn clean_up(place: &Place, asked: &Replication<Self>, status: &Self::Status) -> Result<(), String> {
        let given = given(asked);
        let made = names::destination_claim(Method::Rclone, name_of(asked));
        let claim = given.unwrap_or(&made);
        let kept = status.latest_image.as_ref().filter(|image| image.kind == snapshot::KIND);
        for name in place.disk.snapshots()? {
            let time = name.strip_prefix(claim).and_then(|rest| rest.strip_prefix('-'));
            let ours = time.is_some_and(|time| time.len() == 14 && time.bytes().all(|byte| byte.is_ascii_digit()));
            if ours && kept.is_none_or(|kept| kept.name != name) {
                place.disk.remove_snapshot(&name)?;
            }
        }
        let temporary = asked.spec.rclone.as_ref().and_then(|rclone| rclone.volume.cleanup_temp_pvc);
        if given.is_none() && temporary == Some(true) {
            place.disk.remove_volume(&made)?;
        }
        Ok(())
    }
}

fn given(asked: &Replication<Destination>) -> Option<&str> {
    non_empty(asked.spec.rclone.as_ref()?.volume.destination_pvc.as_ref())
}

/// The claim of a destination and its directory.
fn volume_of(place: &Place, asked: &Replication<Destination>) -> Result<(String, PathBuf), String> {
    if let Some(claim) = given(asked) {
        return Ok((claim.to_owned(), place.disk.volume(claim)?));
    }
    let claim = names::destination_claim(Method::Rclone, name_of(asked));
    let volume = place.disk.made_volume(&claim)?;
    Ok((claim, volume))
}
