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

/// What an iteration may leave under a name that the next one uses again.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) claim: Option<String>,
    pub(super) snapshot: Option<String>,
    pub(super) job: Option<String>,
}

/// Removes what is labelled for it: copies, snapshots, Jobs.
pub(super) async fn iteration(hands: &Hands<'_>, names: &Names) -> Result<(), Trouble> {
    // At once: in a large cluster each answer takes a while, and before a sync starts all of them are waited for.
    let (claims, snapshots, jobs) = tokio::try_join!(
        labelled::<PersistentVolumeClaim>(hands, names.claim.as_deref()),
        labelled::<VolumeSnapshot>(hands, names.snapshot.as_deref()),
        labelled::<Job>(hands, names.job.as_deref())
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
///
/// An API server answers with a list that is surely the latest only when its cache has caught up, which takes up to a tenth of
/// a second. Where the name is known that must not be found by the next sync, that is asked for instead, and the list may be
/// a moment old: whatever else it misses is found at the next look.
async fn labelled<K: Namespaced>(hands: &Hands<'_>, name: Option<&str>) -> Result<Vec<K>, Trouble> {
    let selector = format!("{CLEANUP}={}", hands.owner.uid);
    let latest = ListParams::default().labels(&selector);
    let (mut found, named) = match name {
        None => (list::<K>(hands, &latest).await?, None),
        Some(name) => {
            let recent = latest.match_any();
            tokio::try_join!(list::<K>(hands, &recent), hands.get::<K>(name))?
        }
    };
    let ours = |object: &K| {
        object.meta().labels.as_ref().and_then(|labels| labels.get(CLEANUP)).is_some_and(|of| *of == hands.owner.uid)
    };
    if let Some(named) = named.filter(ours) {
        found.retain(|other| other.meta().name != named.meta().name);
        found.push(named);
    }
    found.retain(|item| item.meta().deletion_timestamp.is_none());
    Ok(found)
}

async fn list<K: Namespaced>(hands: &Hands<'_>, parameters: &ListParams) -> Result<Vec<K>, Trouble> {
    match hands.api::<K>().list(parameters).await {
        // A cluster without snapshots.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        other => Ok(other?.items),
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
