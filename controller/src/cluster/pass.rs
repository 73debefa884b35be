//! What is known of a replication while it is looked at once.

use super::{follow::Follows, hands::Hands, leftovers::Leftovers, retries::Retries};
use crate::{
    machine::traffic::Traffic,
    metrics::{Happened, Metrics, Subject},
    settings::Settings,
};
use jiff::Timestamp;

/// One look at one replication.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) hands: &'a Hands<'a>,
    pub(super) settings: &'a Settings,
    pub(super) retries: &'a Retries,
    pub(super) follows: &'a Follows,
    pub(super) leftovers: &'a Leftovers,
    pub(super) metrics: (&'a Metrics, &'a Subject),
    /// Changes with every change of what is asked for.
    pub(super) generation: i64,
    pub(super) now: Timestamp,
    pub(super) paused: bool,
    pub(super) debug: bool,
    /// Whether the namespace allows movers that are root.
    pub(super) privileged: bool,
    pub(super) openshift: bool,
    /// Whether a status keeps how far its mover is.
    pub(super) progress: bool,
}

impl Pass<'_> {
    /// Counts something of this replication.
    pub(super) fn count(&self, happened: Happened) {
        let (metrics, subject) = self.metrics;
        metrics.count(subject, happened, self.now);
    }
    /// Counts what the Job of this UID has moved, once.
    pub(super) fn count_traffic(&self, job: &str, traffic: Traffic) {
        let (metrics, subject) = self.metrics;
        metrics.count_traffic(subject, job, traffic);
    }
}
