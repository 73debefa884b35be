//! What an iteration leaves behind is removed; finds nothing, and writes nothing, when that was done.

use super::{
    Trouble,
    copy::name_of,
    hands::{Hands, Namespaced},
    image,
    pass::Pass,
};
use crate::{
    labels::{CLEANUP, SNAPSHOT_NAME},
    objects::{
        destination::{Retirement, retire},
        snapshot::VolumeSnapshot,
    },
};
use futures_util::future::try_join_all;
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
pub(super) async fn iteration(pass: &Pass<'_>, names: &Names) -> Result<(), Trouble> {
    let hands = pass.hands;
    if pass.leftovers.nothing(&hands.owner, pass.generation) {
        return Ok(());
    }
    // At once: in a large cluster each answer takes a while, and before a sync starts all of them are waited for.
    let (claims, snapshots, jobs) = tokio::try_join!(
        labelled::<PersistentVolumeClaim>(pass, names.claim.as_ref()),
        labelled::<VolumeSnapshot>(pass, names.snapshot.as_ref()),
        labelled::<Job>(pass, names.job.as_ref())
    )?;
    if claims.is_empty() && snapshots.is_empty() && jobs.is_empty() {
        pass.leftovers.found_nothing(&hands.owner, pass.generation);
    }
    for claim in claims.into_iter().filter(stays) {
        hands.delete(&claim).await?;
    }
    for snapshot in snapshots.into_iter().filter(stays) {
        match retire(&snapshot.metadata, hands.owner.uid) {
            Retirement::Delete => hands.delete_unchanged(&snapshot).await?,
            other => image::leave(hands, &snapshot, other).await?,
        }
    }
    for job in jobs.into_iter().filter(stays) {
        hands.delete(&job).await?;
    }
    Ok(())
}

/// Whether an object is not going already.
fn stays<K: Namespaced>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_none()
}

/// Objects of this replication with the label: those that the watch tells of, and the one that must not be found by the next
/// sync, of which it may not tell yet. Before the watch has told of all, the API server is asked for a list.
async fn labelled<K: Namespaced>(pass: &Pass<'_>, name: Option<&String>) -> Result<Vec<K>, Trouble> {
    let hands = pass.hands;
    let Some(mut names) = pass.leftovers.names::<K>(&hands.owner) else {
        return list(hands, &ListParams::default().labels(&format!("{CLEANUP}={}", hands.owner.uid))).await;
    };
    names.extend(name.cloned());
    let found = try_join_all(names.iter().map(|name| hands.get::<K>(name))).await?;
    let ours = |object: &K| {
        object.meta().labels.as_ref().and_then(|labels| labels.get(CLEANUP)).is_some_and(|of| *of == hands.owner.uid)
    };
    Ok(found.into_iter().flatten().filter(ours).collect())
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
