//! VolSync's resources, `volsync.backube/v1alpha1`, as upstream's users and tools write and read them.
//!
//! Fields are held against upstream's list by `tests/crds.rs`. Every field is optional and has no default in the schema:
//! defaults are the controller's, so that an object read back is what its user wrote.

mod movers;
mod replication;
mod spec;
mod status;
mod volume;

pub use movers::{
    CustomCa, MoverOptions, MoverVolume, MoverVolumeSource, PodOptions, Rclone, RcloneDestination, RcloneSource,
    RsyncDestination, RsyncSource, RsyncTlsDestination, RsyncTlsSource,
};
pub(crate) use replication::Written;
pub use replication::{
    Destination, GROUP, Kind, Replication, ReplicationDestination, ReplicationSource, Source, VERSION,
};
pub use spec::{External, ReplicationDestinationSpec, ReplicationSourceSpec, Trigger};
pub use status::{
    MoverProgress, MoverResult, MoverStatus, ReplicationDestinationStatus, ReplicationSourceStatus, RsyncStatus,
    RsyncTlsDestinationStatus, RsyncTlsSourceStatus, SyncStatus,
};
pub use volume::{CopyMethod, DestinationVolume, SourceVolume};

use schemars::{
    Schema, SchemaGenerator, json_schema,
    transform::{RecursiveTransform, transform_subschemas},
};

/// The part of a text field that says something: Go's tools write an empty string for a field that is not set.
pub fn non_empty(field: Option<&String>) -> Option<&str> {
    field.map(String::as_str).filter(|text| !text.is_empty())
}

/// An object of a method that this controller does not run: kept as it is, and not looked into.
fn opaque(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Drops the descriptions within Kubernetes' own types: they are nine tenths of a definition, and every API server and
/// client keeps it in memory.
fn terse(schema: &mut Schema) {
    transform_subschemas(&mut RecursiveTransform(|inner: &mut Schema| _ = inner.remove("description")), schema);
}
