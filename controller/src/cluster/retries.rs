//! How long a transfer that failed is left alone.
//!
//! Upstream starts the next one at once, for ever: whoever restores into a volume that is too small pays for the whole
//! bucket again and again. A controller that starts anew takes what the status remembers, if the installed definitions
//! have the fields for it; otherwise it tries at once.

use crate::objects::owner::Owner;
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The wait after the first failure, doubled with each one that follows, and the longest.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(10);

/// When a failure is forgotten that no other followed.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);

/// Failures of all replications, by their UIDs.
#[derive(Debug, Default)]
pub(super) struct Retries(Mutex<HashMap<String, Failures>>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    /// Of what was asked for. A change is tried at once.
    generation: i64,
    count: u32,
    until: Timestamp,
}

/// One more failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// How many there were in a row.
    pub(super) count: u32,
    pub(super) wait: Duration,
    /// When that is over, in whole seconds.
    pub(super) until: Timestamp,
}

impl Retries {
    /// Counts a failure. `known` is what the status remembers of those before.
    pub(super) fn failed(
        &self,
        owner: &Owner<'_>,
        generation: i64,
        now: Timestamp,
        known: Option<(u32, Timestamp)>,
    ) -> Failed {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match all.get(owner.uid) {
            Some(failures) => (failures.generation == generation).then_some(failures.count),
            None => known.map(|(count, _)| count),
        };
        let count = before.unwrap_or(0);
        let wait = FIRST.saturating_mul(1 << count.min(20)).min(LONGEST);
        let until = SignedDuration::try_from(wait).map_or(now, |wait| now.saturating_add(wait).unwrap_or(now));
        let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
        let count = count.saturating_add(1);
        // Of replications that are gone, or were given up.
        all.retain(|_, failures| now.duration_since(failures.until) < FORGOTTEN);
        all.insert(owner.uid.to_owned(), Failures { generation, count, until });
        Failed { count, wait, until }
    }

    /// How long a transfer has to wait still. `None` if it may start. `known` is what the status remembers, for one that this
    /// controller has not seen to fail.
    pub(super) fn wait(
        &self,
        owner: &Owner<'_>,
        generation: i64,
        now: Timestamp,
        known: Option<(u32, Timestamp)>,
    ) -> Option<Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, until)) = known.filter(|_| !all.contains_key(owner.uid)) {
            all.insert(owner.uid.to_owned(), Failures { generation, count, until });
        }
        let failures = all.get(owner.uid).filter(|failures| failures.generation == generation)?;
        // A clock that went back does not lengthen the wait.
        let left = Duration::try_from(failures.until.duration_since(now)).ok()?.min(LONGEST);
        (!left.is_zero()).then_some(left)
    }

    /// Forgets the failures of a replication.
    pub(super) fn forget(&self, owner: &Owner<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(owner.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner<'_> = Owner { kind: "ReplicationSource", namespace: "n", name: "a", uid: "u" };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_failed_long_ago_is_forgotten() {
        let retries = Retries::default();
        let other = Owner { uid: "v", ..OWNER };
        retries.failed(&other, 1, at(0), None);
        retries.failed(&OWNER, 1, at(3000), None);
        assert_eq!(retries.0.lock().unwrap().len(), 2);
        retries.failed(&OWNER, 1, at(4000), None);
        assert_eq!(retries.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn waits_double_until_the_longest_and_end_with_a_change_or_a_success() {
        let retries = Retries::default();
        let wait = |generation, now| retries.wait(&OWNER, generation, at(now), None);
        let failed = |generation, now| retries.failed(&OWNER, generation, at(now), None).wait;
        assert_eq!(wait(1, 0), None);
        assert_eq!([0, 10, 30].map(|now| failed(1, now).as_secs()), [10, 20, 40]);
        assert_eq!(wait(1, 60), Some(Duration::from_secs(10)));
        assert_eq!(wait(1, 70), None);
        assert_eq!(wait(1, -1_000_000), Some(LONGEST), "the clock went back");
        assert_eq!(wait(2, 60), None, "something else is asked for");
        let waits: Vec<_> = (0..60).map(|_| failed(1, 0)).collect();
        assert_eq!(waits.last(), Some(&LONGEST));
        assert_eq!(failed(2, 0), FIRST);
        retries.forget(&OWNER);
        assert_eq!((wait(2, 0), failed(2, 0)), (None, FIRST));
    }

    #[test]
    fn what_a_status_remembers_counts_until_this_controller_knows_better() {
        let known = Some((3, at(100)));
        let retries = Retries::default();
        assert_eq!(retries.wait(&OWNER, 7, at(90), known), Some(Duration::from_secs(10)));
        assert_eq!(retries.wait(&OWNER, 8, at(90), known), None, "something else is asked for");
        let expect = Failed { count: 4, wait: Duration::from_secs(80), until: at(180) };
        assert_eq!(retries.failed(&OWNER, 7, at(100), None), expect);
        assert_eq!(Retries::default().failed(&OWNER, 7, at(100), known), expect);
        assert_eq!(retries.failed(&OWNER, 8, at(100), known).count, 1);
    }
}
