//! How long a transfer that failed is left alone.
//!
//! Upstream starts the next one at once, for ever: whoever restores into a volume that is too small pays for the whole
//! bucket again and again. What is kept here is in memory alone, so a controller that starts anew tries at once.

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

impl Retries {
    /// Counts a failure. Gives the wait that follows.
    pub(super) fn failed(&self, owner: &Owner<'_>, generation: i64, now: Timestamp) -> Duration {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(owner.uid).filter(|failures| failures.generation == generation);
        let count = before.map_or(0, |failures| failures.count);
        let wait = FIRST.saturating_mul(1 << count.min(20)).min(LONGEST);
        let until = SignedDuration::try_from(wait).map_or(now, |wait| now.saturating_add(wait).unwrap_or(now));
        // Of replications that are gone, or were given up.
        all.retain(|_, failures| now.duration_since(failures.until) < FORGOTTEN);
        all.insert(owner.uid.to_owned(), Failures { generation, count: count.saturating_add(1), until });
        wait
    }

    /// How long a transfer has to wait still. `None` if it may start.
    pub(super) fn wait(&self, owner: &Owner<'_>, generation: i64, now: Timestamp) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        retries.failed(&other, 1, at(0));
        retries.failed(&OWNER, 1, at(3000));
        assert_eq!(retries.0.lock().unwrap().len(), 2);
        retries.failed(&OWNER, 1, at(4000));
        assert_eq!(retries.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn waits_double_until_the_longest_and_end_with_a_change_or_a_success() {
        let retries = Retries::default();
        assert_eq!(retries.wait(&OWNER, 1, at(0)), None);
        let waits = [0, 10, 30].map(|now| retries.failed(&OWNER, 1, at(now)).as_secs());
        assert_eq!(waits, [10, 20, 40]);
        assert_eq!(retries.wait(&OWNER, 1, at(60)), Some(Duration::from_secs(10)));
        assert_eq!(retries.wait(&OWNER, 1, at(70)), None);
        assert_eq!(retries.wait(&OWNER, 1, at(-1_000_000)), Some(LONGEST), "the clock went back");
        assert_eq!(retries.wait(&OWNER, 2, at(60)), None, "something else is asked for");
        let last = (0..60).map(|_| retries.failed(&OWNER, 1, at(0))).last();
        assert_eq!(last, Some(LONGEST));
        assert_eq!(retries.failed(&OWNER, 2, at(0)), FIRST);
        retries.forget(&OWNER);
        assert_eq!((retries.wait(&OWNER, 2, at(0)), retries.failed(&OWNER, 2, at(0))), (None, FIRST));
    }
}
