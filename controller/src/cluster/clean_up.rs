//! What an iteration leaves behind is removed; finds nothing, and writes nothing, when that was done.

use super::{
    Trouble,
    copy::name_of,
    hands::{Hands, Namespaced},
    image,
};
use crate::{
    labels::{CLEANUP, SNAPSHOT_NAME},
    objects::{
        destination::{Retirement, retire},
        snapshot::VolumeSnapshot,
    },
};
use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::api::ListParams;
use serde_json::{Value, json};

/// Removes what is labelled for it: copies, snapshots, Jobs.
pub(super) async fn iteration(hands: &Hands<'_>) -> Result<(), Trouble> {
    // At once: in a large cluster each answer takes a while, and before a sync starts all of them are waited for.
    let (claims, snapshots, jobs) = tokio::try_join!(
        labelled::<PersistentVolumeClaim>(hands),
        labelled::<VolumeSnapshot>(hands),
        labelled::<Job>(hands)
    )?;
    for claim in claims {
        hands.delete(&claim).await?;
    }
    for snapshot in snapshots {
        match retire(&snapshot.metadata, hands.owner.uid) {
            Retirement::Delete => hands.delete_unchanged(&snapshot).await?,
            other => image::leave(hands, &snapshot, other).await?,
        }
    }
    for job in jobs {
        hands.delete(&job).await?;
    }
    Ok(())
}

/// Objects of this replication with the label, but for those that are going already.
async fn labelled<K: Namespaced>(hands: &Hands<'_>) -> Result<Vec<K>, Trouble> {
    let selector = format!("{CLEANUP}={}", hands.owner.uid);
    match hands.api::<K>().list(&ListParams::default().labels(&selector)).await {
        // A cluster without snapshots.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        other => Ok(other?.items.into_iter().filter(|item| item.meta().deletion_timestamp.is_none()).collect()),
    }
}

/// Forgets the name of the iteration's snapshot. The claim may be gone, or somebody else's.
pub(super) async fn forget_snapshot_name(hands: &Hands<'_>, claim: &str) -> Result<(), Trouble> {
    let Some(claim) = hands.get::<PersistentVolumeClaim>(claim).await? else { return Ok(()) };
    if !claim.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(SNAPSHOT_NAME)) {
        return Ok(());
    }
    let changes = json!({ "metadata": { "annotations": { SNAPSHOT_NAME: Value::Null } } });
    hands.patch::<PersistentVolumeClaim>(&name_of(claim.metadata.name.as_ref()), &changes).await.map(drop)
}
