//! The two kinds, as one type with a parameter: they differ in their specifications and statuses alone.
//!
//! Written by hand where kube has a derive: the derive wants a `spec`, but upstream's schema does not, and one object
//! without it would make the whole list unreadable.

use super::{ReplicationDestinationSpec, ReplicationDestinationStatus, ReplicationSourceSpec, ReplicationSourceStatus};
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};
use std::{borrow::Cow, fmt::Debug};

/// The API group of VolSync.
pub const GROUP: &str = "volsync.backube";

/// Its only version.
pub const VERSION: &str = "v1alpha1";

/// What makes a kind of replication.
pub trait Kind: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// The name of the kind.
    const KIND: &'static str;
    /// Its plural in addresses.
    const PLURAL: &'static str;
    /// What users ask for.
    type Spec: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync;
    /// What the controller answers.
    type Status: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync;
}

/// The kind of ReplicationSource.
#[derive(Clone, Debug, PartialEq)]
pub struct Source;

/// The kind of ReplicationDestination.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination;

impl Kind for Source {
    const KIND: &'static str = "ReplicationSource";
    const PLURAL: &'static str = "replicationsources";
    type Spec = ReplicationSourceSpec;
    type Status = ReplicationSourceStatus;
}

impl Kind for Destination {
    const KIND: &'static str = "ReplicationDestination";
    const PLURAL: &'static str = "replicationdestinations";
    type Spec = ReplicationDestinationSpec;
    type Status = ReplicationDestinationStatus;
}

/// A volume that is replicated to another place.
pub type ReplicationSource = Replication<Source>;

/// A volume that receives what is replicated.
pub type ReplicationDestination = Replication<Destination>;

/// An object of either kind.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(bound = "")]
pub struct Replication<K: Kind> {
    /// Name, labels, owner.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is asked for; absent is the same as empty.
    #[serde(default)]
    pub spec: K::Spec,
    /// What was done; absent until the controller has seen the object.
    #[serde(default)]
    pub status: Option<K::Status>,
}

/// An object as API servers want it: with its version and kind, which the type knows and its values do not carry.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Written<'a, Spec, Status> {
    pub(crate) api_version: String,
    pub(crate) kind: &'static str,
    pub(crate) metadata: &'a ObjectMeta,
    pub(crate) spec: &'a Spec,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: &'a Option<Status>,
}

impl<K: Kind> Serialize for Replication<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { metadata, spec, status } = self;
        Written { api_version: format!("{GROUP}/{VERSION}"), kind: K::KIND, metadata, spec, status }
            .serialize(serializer)
    }
}

impl<K: Kind> kube::Resource for Replication<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
