//! The point-in-time copy of a source's volume.
//!
//! What the user does not set is the source's. Everything is set when the copy is made and left alone afterwards.

use super::{
    names,
    owner::Owner,
    snapshot::{self, VolumeSnapshot, VolumeSnapshotOrigin, VolumeSnapshotSpec},
};
use crate::api::{CopyMethod, SourceVolume};
use k8s_openapi::{
    api::core::v1::{
        PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference, VolumeResourceRequirements,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use std::{collections::BTreeMap, fmt};

/// A way to copy that a kind of replication does not have. The texts are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsupportedCopyMethod {
    /// Of a source.
    Source(Option<CopyMethod>),
    /// Of a destination.
    Destination(Option<CopyMethod>),
}

impl fmt::Display for UnsupportedCopyMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Source(method) | Self::Destination(method)) = self;
        let method = method.map_or_else(String::new, |method| method.to_string());
        let choice = match self {
            Self::Source(_) => "Direct, None, Clone, or Snapshot",
            Self::Destination(_) => "Direct, None, or Snapshot",
        };
        write!(f, "unsupported copyMethod: {method} -- must be {choice}")
    }
}

impl std::error::Error for UnsupportedCopyMethod {}

/// How a source's volume is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// As it is.
    Direct,
    /// From a clone.
    Clone,
    /// From a volume that is made from a snapshot.
    Snapshot,
}

impl Copy {
    /// The way that is asked for.
    pub fn of(method: Option<CopyMethod>) -> Result<Self, UnsupportedCopyMethod> {
        match method {
            Some(CopyMethod::Direct | CopyMethod::None) => Ok(Self::Direct),
            Some(CopyMethod::Clone) => Ok(Self::Clone),
            Some(CopyMethod::Snapshot) => Ok(Self::Snapshot),
            None => Err(UnsupportedCopyMethod::Source(None)),
        }
    }
}

/// The snapshot of a claim.
pub fn snapshot(owner: &Owner<'_>, claim: &str, volume: &SourceVolume) -> VolumeSnapshot {
    VolumeSnapshot {
        metadata: owner.temporary(names::copy(owner.name)),
        spec: VolumeSnapshotSpec {
            source: VolumeSnapshotOrigin { persistent_volume_claim_name: Some(claim.to_owned()) },
            volume_snapshot_class_name: volume.volume_snapshot_class_name.clone(),
        },
        status: None,
    }
}

/// A claim for a clone of the source's volume.
pub fn clone(owner: &Owner<'_>, source: &PersistentVolumeClaim, volume: &SourceVolume) -> PersistentVolumeClaim {
    let from = TypedLocalObjectReference {
        api_group: None,
        kind: "PersistentVolumeClaim".to_owned(),
        name: source.metadata.name.clone().unwrap_or_default(),
    };
    claim(owner, source, volume, from, size_of(source))
}

/// A claim for a volume that is made from the snapshot of [`snapshot()`], once that is ready.
pub fn from_snapshot(
    owner: &Owner<'_>,
    source: &PersistentVolumeClaim,
    snapshot: &VolumeSnapshot,
    volume: &SourceVolume,
) -> PersistentVolumeClaim {
    let from = TypedLocalObjectReference {
        api_group: Some(snapshot::GROUP.to_owned()),
        kind: snapshot::KIND.to_owned(),
        name: snapshot.metadata.name.clone().unwrap_or_default(),
    };
    let restore = snapshot.status.as_ref().and_then(|status| status.restore_size.clone());
    let size = restore.filter(|size| !is_zero(size)).or_else(|| size_of(source));
    claim(owner, source, volume, from, size)
}

fn claim(
    owner: &Owner<'_>,
    source: &PersistentVolumeClaim,
    volume: &SourceVolume,
    from: TypedLocalObjectReference,
    size: Option<Quantity>,
) -> PersistentVolumeClaim {
    let original = source.spec.clone().unwrap_or_default();
    PersistentVolumeClaim {
        metadata: owner.temporary(names::copy(owner.name)),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: volume.access_modes.clone().or(original.access_modes),
            storage_class_name: volume.storage_class_name.clone().or(original.storage_class_name),
            volume_mode: original.volume_mode,
            data_source: Some(from),
            resources: volume.capacity.clone().or(size).map(request),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// A request for a volume of this size.
pub(super) fn request(size: Quantity) -> VolumeResourceRequirements {
    VolumeResourceRequirements { requests: Some(BTreeMap::from([("storage".to_owned(), size)])), limits: None }
}

/// What a claim got, or what it asked for while it has nothing.
fn size_of(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    let got = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
    let asked = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    [got, asked].into_iter().flatten().find_map(|sizes| sizes.get("storage")).cloned()
}

/// Some drivers report that nothing is needed.
fn is_zero(size: &Quantity) -> bool {
    !size.0.chars().take_while(|c| !c.is_ascii_alphabetic()).any(|c| matches!(c, '1'..='9'))
}
