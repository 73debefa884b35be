//! VolumeSnapshots: the part of the resource that is made and read here.

use crate::api::Written;
use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;

/// The API group of snapshots.
pub const GROUP: &str = "snapshot.storage.k8s.io";

/// Its version.
pub const VERSION: &str = "v1";

/// The kind.
pub const KIND: &str = "VolumeSnapshot";

/// A snapshot of a claim's volume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct VolumeSnapshot {
    /// Name, labels, owners.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Of what.
    #[serde(default)]
    pub spec: VolumeSnapshotSpec,
    /// How far it is.
    #[serde(default)]
    pub status: Option<VolumeSnapshotStatus>,
}

/// Of what a snapshot is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotSpec {
    /// The claim.
    #[serde(default)]
    pub source: VolumeSnapshotOrigin,
    /// The class; the cluster's default one if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
}

/// The claim of which a snapshot is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotOrigin {
    /// Its name. Snapshots that exist already have another origin, which is not read here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_name: Option<String>,
}

/// How far a snapshot is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotStatus {
    /// The cluster's object for the snapshot. With it, the snapshot is bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_volume_snapshot_content_name: Option<String>,
    /// Whether volumes can be made from it. Some drivers never say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_to_use: Option<bool>,
    /// The smallest volume that can be made from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_size: Option<Quantity>,
}

impl VolumeSnapshot {
    /// Whether a volume can be made from it: bound, and not said to be unready.
    pub fn is_ready(&self) -> bool {
        self.status.as_ref().is_some_and(|status| {
            status.bound_volume_snapshot_content_name.as_ref().is_some_and(|name| !name.is_empty())
                && status.ready_to_use != Some(false)
        })
    }
}

impl Serialize for VolumeSnapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { metadata, spec, status } = self;
        Written { api_version: format!("{GROUP}/{VERSION}"), kind: KIND, metadata, spec, status }.serialize(serializer)
    }
}

impl kube::Resource for VolumeSnapshot {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "volumesnapshots".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
