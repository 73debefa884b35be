//! The volume that a destination fills, and what it keeps of it.

use super::{
    copies::{UnsupportedCopyMethod, request},
    names,
    owner::Owner,
    snapshot::{self, VolumeSnapshot, VolumeSnapshotOrigin, VolumeSnapshotSpec},
};
use crate::{
    api::{CopyMethod, DestinationVolume, non_empty},
    labels::{CLEANUP, CREATED_BY, DO_NOT_DELETE, POPULATING_PREFIX},
    machine::Method,
};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// What a volume cannot be made without, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} must be provided when destinationPVC is not")]
pub struct Missing(&'static str);

/// The claim that receives the data.
#[derive(Clone, Debug, PartialEq)]
pub enum DestinationClaim<'a> {
    /// One of the user's, which must exist.
    Given(&'a str),
    /// One to make. Where it exists already, only its size and labels are made so.
    Made(Box<PersistentVolumeClaim>),
}

/// The claim that a specification asks for. `mode` is the volume's mode, a file system if not set.
pub fn claim<'a>(
    owner: &Owner<'_>,
    method: Method,
    volume: &'a DestinationVolume,
    mode: Option<&str>,
) -> Result<DestinationClaim<'a>, Missing> {
    if let Some(name) = non_empty(volume.destination_pvc.as_ref()) {
        return Ok(DestinationClaim::Given(name));
    }
    let access_modes = volume.access_modes.clone().filter(|modes| !modes.is_empty()).ok_or(Missing("accessModes"))?;
    let capacity = volume.capacity.clone().ok_or(Missing("capacity"))?;
    let name = names::destination_claim(method, owner.name);
    // Data that stays is what makes the next sync incremental, so only a user who asks for it loses the volume.
    let metadata =
        if volume.cleanup_temp_pvc.unwrap_or_default() { owner.temporary(name) } else { owner.lasting(name) };
    Ok(DestinationClaim::Made(Box::new(PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(access_modes),
            storage_class_name: volume.storage_class_name.clone(),
            volume_mode: mode.map(str::to_owned),
            resources: Some(request(capacity)),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })))
}

/// What is kept when the data has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// The volume.
    Claim,
    /// A snapshot of it.
    Snapshot,
}

impl Image {
    /// What is asked for. Upstream finds out that it is not supported after the transfer; the caller asks before.
    pub fn of(method: Option<CopyMethod>) -> Result<Self, UnsupportedCopyMethod> {
        match method {
            Some(CopyMethod::Direct | CopyMethod::None) => Ok(Self::Claim),
            Some(CopyMethod::Snapshot) => Ok(Self::Snapshot),
            Some(CopyMethod::Clone) | None => Err(UnsupportedCopyMethod::Destination(method)),
        }
    }
}

/// The snapshot of the claim, without the label by which it would be deleted at the end of the iteration.
pub fn snapshot(owner: &Owner<'_>, name: &str, claim: &str, class: Option<&str>) -> VolumeSnapshot {
    VolumeSnapshot {
        metadata: owner.lasting(name.to_owned()),
        spec: VolumeSnapshotSpec {
            source: VolumeSnapshotOrigin { persistent_volume_claim_name: Some(claim.to_owned()) },
            volume_snapshot_class_name: class.map(str::to_owned),
        },
        status: None,
    }
}

/// `status.latestImage` for a claim. The group is there, and empty: the core group.
pub fn image_of_claim(name: &str) -> TypedLocalObjectReference {
    TypedLocalObjectReference {
        api_group: Some(String::new()),
        kind: "PersistentVolumeClaim".to_owned(),
        name: name.to_owned(),
    }
}

/// `status.latestImage` for a snapshot.
pub fn image_of_snapshot(name: &str) -> TypedLocalObjectReference {
    TypedLocalObjectReference {
        api_group: Some(snapshot::GROUP.to_owned()),
        kind: snapshot::KIND.to_owned(),
        name: name.to_owned(),
    }
}

/// The snapshot that a new image replaces, to be labelled for deletion unless its user wants it kept.
pub fn replaced<'a>(old: Option<&'a TypedLocalObjectReference>, new: &TypedLocalObjectReference) -> Option<&'a str> {
    let old = old.filter(|old| old.kind == snapshot::KIND && old.api_group.as_deref() == Some(snapshot::GROUP))?;
    (old != new).then_some(old.name.as_str())
}

/// What becomes of a snapshot that an iteration leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retirement {
    /// Its user keeps it: remove our labels and our ownership.
    Release,
    /// Others need it still: remove our ownership, and the last of them deletes it.
    Disown,
    /// Delete it, if it is still as it was read.
    Delete,
}

/// Decides about a snapshot with the cleanup label. `uid` is the replication's.
pub fn retire(metadata: &ObjectMeta, uid: &str) -> Retirement {
    let labels = metadata.labels.iter().flatten();
    let others = metadata.owner_references.iter().flatten().any(|owner| owner.uid != uid);
    if labels.clone().any(|(key, _)| key == DO_NOT_DELETE) {
        Retirement::Release
    } else if others || labels.clone().any(|(key, _)| key.starts_with(POPULATING_PREFIX)) {
        Retirement::Disown
    } else {
        Retirement::Delete
    }
}

/// Metadata without our ownership, and for a snapshot that its user keeps without our labels.
pub fn retired(metadata: &ObjectMeta, uid: &str, retirement: Retirement) -> ObjectMeta {
    let mut metadata = metadata.clone();
    if let Some(owners) = &mut metadata.owner_references {
        owners.retain(|owner| owner.uid != uid);
    }
    if let (Retirement::Release, Some(labels)) = (retirement, &mut metadata.labels) {
        labels.remove(CLEANUP);
        labels.remove(CREATED_BY.0);
    }
    metadata
}
