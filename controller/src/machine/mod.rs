//! What happens next to a replication: a pure function of its trigger, its status, what its work came to, and the time.
//!
//! A reconcile asks [`phase`] what is to be worked on, looks how far that is, and hands the answer to [`decide`], which
//! gives the new status and when to look again:
//!
//! ```text
//!            started                    all moved
//! Initial ────────────► Synchronizing ─────────────► Idle ──┐ cleaned up, and not due
//!                             ▲                        │ ▲──┘
//!                             └────────────────────────┘
//!                               cleaned up, and due
//! ```
//!
//! The phase is read off `lastSyncStartTime` and `lastSyncTime` and kept nowhere else, so that another controller can take
//! over at any time. Source of every rule: `docs/compat-volsync.md`, section "When a sync runs".

mod conditions;
mod copy_trigger;
pub mod election;
pub mod logs;
mod method;
pub mod traffic;
mod trigger;

pub use copy_trigger::{Annotations, Copied, CopyGate, copied, copy_gate};
pub use method::{Configured, Method, Selection, select};
pub use trigger::Trigger;

use crate::api::{SyncStatus, non_empty};
use conditions::Synchronizing;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::{fmt, time::Duration};
use volsync_cron as cron;

/// How long after which work that goes on is looked at again, if nothing that is watched changes before. Upstream's value.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// The shortest time to wait for the clock; a wait of nothing means "not at all" to work queues.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Where a replication stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was ever moved. There is no work; a sync starts at once, whatever the trigger.
    Initial,
    /// The work is a sync.
    Synchronizing,
    /// The work is to clean up after the last sync, again and again, as it may find more.
    Idle,
}

/// The phase of a replication with this status.
pub fn phase(status: &SyncStatus) -> Phase {
    match (&status.last_sync_start_time, &status.last_sync_time) {
        (Some(_), _) => Phase::Synchronizing,
        (None, Some(_)) => Phase::Idle,
        (None, None) => Phase::Initial,
    }
}

/// How far the work of a phase is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// It goes on.
    Pending,
    /// It goes on, and has to be looked at again after this time.
    Waiting(Duration),
    /// All of it is done.
    Finished,
    /// It cannot go on as things are. The text is for the user.
    Failed(String),
}

/// All that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// When to synchronize, or why that could not be read.
    pub trigger: &'a Result<Trigger, cron::Error>,
    /// The status as it is.
    pub status: &'a SyncStatus,
    /// What the work of the status' phase came to. Of no account in `Initial`.
    pub work: &'a Work,
    /// Whether the limit on simultaneous syncs leaves room for one more.
    pub admitted: bool,
    /// The time.
    pub now: Timestamp,
    /// The zone of schedules that name none.
    pub local: &'a TimeZone,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The status as it shall be.
    pub status: SyncStatus,
    /// When to look again.
    pub requeue: Requeue,
    /// Set if a sync starts with this decision: why.
    pub started: Option<Reason>,
    /// What changes in the metrics, in order.
    pub measurements: Vec<Measurement>,
}

/// When a replication is looked at again. The write of a status that changed is itself a change that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// When something that is watched changes.
    OnChange,
    /// Then, and at the latest after this time.
    After(Duration),
    /// After an error: later with each one that follows.
    BackOff,
}

/// Why a sync starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the first.
    First,
    /// The schedule fired.
    Schedule(Timestamp),
    /// The tag of the trigger changed.
    Manual(String),
    /// There is no trigger: one sync follows the other.
    Continuous,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first synchronization"),
            Self::Schedule(time) => write!(f, "scheduled for {time}"),
            Self::Manual(tag) => write!(f, "manual trigger {tag}"),
            Self::Continuous => f.write_str("no trigger is set, so synchronizations follow each other"),
        }
    }
}

/// A change of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// `volsync_volume_out_of_sync`.
    OutOfSync(bool),
    /// `volsync_missed_intervals_total` grows by one.
    MissedInterval,
    /// `volsync_sync_duration_seconds` of a sync that ended.
    SyncDuration(Duration),
}

/// Decides. Status, conditions and times come out as upstream writes them.
pub fn decide(situation: &Situation<'_>) -> Decision {
    let mut decision = Decision {
        status: situation.status.clone(),
        requeue: Requeue::OnChange,
        started: None,
        measurements: Vec::new(),
    };
    if situation.status.last_sync_time.is_none() || situation.missed_deadline() {
        decision.measurements.push(Measurement::OutOfSync(true));
    }
    match (phase(situation.status), situation.work) {
        (Phase::Initial, _) => situation.begin_first(&mut decision),
        (_, Work::Failed(message)) => situation.fail(&mut decision, message, Requeue::BackOff),
        (Phase::Synchronizing, Work::Pending) => {
            situation.show(&mut decision, Synchronizing::InProgress, Requeue::After(LOOK_AGAIN));
        }
        (Phase::Synchronizing, Work::Waiting(wait)) => {
            situation.show(&mut decision, Synchronizing::InProgress, Requeue::After((*wait).max(SHORTEST_WAIT)));
        }
        (Phase::Idle, Work::Waiting(wait)) => {
            situation.show(&mut decision, Synchronizing::CleaningUp, Requeue::After((*wait).max(SHORTEST_WAIT)));
        }
        (Phase::Synchronizing, Work::Finished) => situation.finish(&mut decision),
        (Phase::Idle, Work::Pending) => {
            situation.show(&mut decision, Synchronizing::CleaningUp, Requeue::After(LOOK_AGAIN));
        }
        (Phase::Idle, Work::Finished) => situation.begin_or_wait(&mut decision),
    }
    decision
}

/// Says why there is nothing to decide about: no method, or several. The phase is left as it is.
pub fn refuse(status: &SyncStatus, message: &str, now: Timestamp) -> SyncStatus {
    let mut status = status.clone();
    Synchronizing::Error(message).show(&mut status, now);
    status
}

impl Situation<'_> {
    fn begin_first(&self, decision: &mut Decision) {
        match self.trigger {
            Ok(_) => self.begin(decision, Reason::First),
            Err(error) => self.fail(decision, &error.to_string(), Requeue::OnChange),
        }
    }

    fn begin(&self, decision: &mut Decision, reason: Reason) {
        if !self.admitted {
            return self.show(decision, Synchronizing::Queued, Requeue::After(LOOK_AGAIN));
        }
        decision.status.last_sync_start_time = Some(self.time());
        decision.started = Some(reason);
        self.show(decision, Synchronizing::InProgress, Requeue::After(LOOK_AGAIN));
    }

    fn finish(&self, decision: &mut Decision) {
        let took = self.time_since_start();
        decision.measurements.push(Measurement::OutOfSync(false));
        if self.missed_deadline() {
            decision.measurements.push(Measurement::MissedInterval);
        }
        decision.measurements.push(Measurement::SyncDuration(took));
        let status = &mut decision.status;
        status.last_sync_time = Some(self.time());
        status.last_sync_duration = Some(cron::duration::format(took));
        status.next_sync_time = self.next_after(self.now).map(Time);
        status.last_manual_sync = self.manual_tag().map(str::to_owned);
        status.last_sync_start_time = None;
        self.show(decision, Synchronizing::CleaningUp, Requeue::After(LOOK_AGAIN));
    }

    fn begin_or_wait(&self, decision: &mut Decision) {
        let next = self.status.last_sync_time.as_ref().and_then(|last| self.next_after(last.0));
        decision.status.next_sync_time = next.map(Time);
        match (self.trigger, next) {
            (Err(error), _) => self.fail(decision, &error.to_string(), Requeue::OnChange),
            (Ok(Trigger::Continuous), _) => self.begin(decision, Reason::Continuous),
            (Ok(Trigger::Manual(tag)), _) if non_empty(self.status.last_manual_sync.as_ref()) == Some(tag) => {
                self.show(decision, Synchronizing::WaitingForManual, Requeue::OnChange);
            }
            (Ok(Trigger::Manual(tag)), _) => self.begin(decision, Reason::Manual(tag.clone())),
            (Ok(Trigger::Schedule(_)), None) => {
                self.fail(decision, "the schedule never fires: change spec.trigger.schedule", Requeue::OnChange);
            }
            (Ok(Trigger::Schedule(_)), Some(next)) if self.now > next => self.begin(decision, Reason::Schedule(next)),
            (Ok(Trigger::Schedule(_)), Some(next)) => {
                let wait = until(self.now, next).max(SHORTEST_WAIT);
                self.show(decision, Synchronizing::WaitingForSchedule, Requeue::After(wait));
            }
        }
    }

    fn fail(&self, decision: &mut Decision, message: &str, requeue: Requeue) {
        self.show(decision, Synchronizing::Error(message), requeue);
    }

    fn show(&self, decision: &mut Decision, condition: Synchronizing<'_>, requeue: Requeue) {
        condition.show(&mut decision.status, self.now);
        decision.requeue = requeue;
    }

    /// The time as Kubernetes keeps it, in whole seconds.
    fn time(&self) -> Time {
        conditions::whole_seconds(self.now)
    }

    /// Up to a second too long, as the start is kept in whole seconds. Nothing if the clock went back.
    fn time_since_start(&self) -> Duration {
        self.status.last_sync_start_time.as_ref().map_or(Duration::ZERO, |start| until(start.0, self.now))
    }

    fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        match self.trigger {
            Ok(Trigger::Schedule(schedule)) => schedule.next(time, self.local),
            _ => None,
        }
    }

    /// Whether the last sync ended so long ago that the schedule has fired twice since.
    fn missed_deadline(&self) -> bool {
        let last = self.status.last_sync_time.as_ref().map(|last| last.0);
        let deadline = last.and_then(|last| self.next_after(last)).and_then(|next| self.next_after(next));
        deadline.is_some_and(|deadline| deadline < self.now)
    }

    fn manual_tag(&self) -> Option<&str> {
        match self.trigger {
            Ok(Trigger::Manual(tag)) => Some(tag),
            _ => None,
        }
    }
}

fn until(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from).max(SignedDuration::ZERO)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
