//! The condition `Synchronizing`, the only one that is written. Reasons and messages are upstream's where it has them.

use crate::api::SyncStatus;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

const TYPE: &str = "Synchronizing";

/// The longest message that API servers take, in characters.
const MESSAGE_LIMIT: usize = 32_768;

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synchronizing<'a> {
    InProgress,
    CleaningUp,
    WaitingForSchedule,
    WaitingForManual,
    /// Ours: a sync is due, and others are before it.
    Queued,
    /// What is wrong.
    Error(&'a str),
}

impl Synchronizing<'_> {
    fn texts(&self) -> (&'static str, &'static str, &str) {
        match self {
            Self::InProgress => ("True", "SyncInProgress", "Synchronization in-progress"),
            Self::CleaningUp => ("False", "CleaningUp", "Cleaning up"),
            Self::WaitingForSchedule => ("False", "WaitingForSchedule", "Waiting for next scheduled synchronization"),
            Self::WaitingForManual => ("False", "WaitingForManual", "Waiting for manual trigger"),
            Self::Queued => ("False", "Queued", "Waiting for other synchronizations to end"),
            Self::Error(message) => ("False", "Error", message),
        }
    }

    /// Writes the condition. The time of its transition changes with its status alone, and conditions of other types stay.
    pub(super) fn show(&self, status: &mut SyncStatus, now: Timestamp) {
        let (value, reason, message) = self.texts();
        let conditions = status.conditions.get_or_insert_default();
        let old = conditions.iter().position(|condition| condition.type_ == TYPE);
        let unchanged = old.map(|at| &conditions[at]).filter(|condition| condition.status == value);
        let condition = Condition {
            last_transition_time: unchanged.map_or_else(|| whole_seconds(now), |old| old.last_transition_time.clone()),
            message: message.chars().take(MESSAGE_LIMIT).collect(),
            observed_generation: None,
            reason: reason.to_owned(),
            status: value.to_owned(),
            type_: TYPE.to_owned(),
        };
        match old {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
    }
}

/// Kubernetes keeps whole seconds; what is written must be equal to what is read back.
pub(super) fn whole_seconds(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
