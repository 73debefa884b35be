//! What there is to know of a replication of either kind to let the state machine decide about it.

use crate::{
    api::{Destination, Kind, Source, SyncStatus, Trigger},
    machine::Configured,
};

/// A kind whose objects synchronize.
pub(crate) trait Synced: Kind {
    fn configured(spec: &Self::Spec) -> Configured;
    fn trigger(spec: &Self::Spec) -> Option<&Trigger>;
    fn paused(spec: &Self::Spec) -> bool;
    fn sync(status: &mut Self::Status) -> &mut SyncStatus;
}

impl Synced for Source {
    fn configured(spec: &Self::Spec) -> Configured {
        spec.into()
    }

    fn trigger(spec: &Self::Spec) -> Option<&Trigger> {
        spec.trigger.as_ref()
    }

    fn paused(spec: &Self::Spec) -> bool {
        spec.paused.unwrap_or_default()
    }

    fn sync(status: &mut Self::Status) -> &mut SyncStatus {
        &mut status.sync
    }
}

impl Synced for Destination {
    fn configured(spec: &Self::Spec) -> Configured {
        spec.into()
    }

    fn trigger(spec: &Self::Spec) -> Option<&Trigger> {
        spec.trigger.as_ref()
    }

    fn paused(spec: &Self::Spec) -> bool {
        spec.paused.unwrap_or_default()
    }

    fn sync(status: &mut Self::Status) -> &mut SyncStatus {
        &mut status.sync
    }
}
