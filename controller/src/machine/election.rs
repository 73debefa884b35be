//! Who acts of several controllers: the one that holds the lease.
//!
//! Source: the leader election of Kubernetes' client-go 0.34 and its values in upstream's controller, so that either waits
//! for the other. Clocks of machines differ, so no time of the lease is compared with ours: a lease has run out when it was
//! seen unchanged for as long as it lasts.

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};
use std::time::Duration;

/// Name of the lease, upstream's.
pub const LEASE: &str = "b95b3104.backube";

/// How long what lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a lease lasts that nobody renews.
    pub duration: Duration,
    /// After how long without a renewal its holder stops to act. Shorter than `duration`, so that it has stopped when
    /// another begins.
    pub deadline: Duration,
    /// How often it is renewed.
    pub retry: Duration,
}

impl Terms {
    /// Terms of a lease of this length, in the proportions of upstream's.
    pub fn of(duration: Duration) -> Self {
        Self { duration, deadline: duration.mul_f64(107.0 / 137.0), retry: duration.mul_f64(26.0 / 137.0) }
    }
}

/// What a controller does that wants to act, or goes on to act.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// Write this. If that succeeds, it holds the lease.
    Write(LeaseSpec),
    /// Somebody else holds it, for this long if nothing changes.
    Wait(Duration),
}

/// The next move of `me` before a lease that was seen unchanged for `unchanged`.
pub fn next(lease: Option<&LeaseSpec>, me: &str, unchanged: Duration, now: Timestamp, terms: &Terms) -> Move {
    let mine = LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(terms.duration.as_secs().max(1)).ok(),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    };
    let holder = lease.and_then(|lease| lease.holder_identity.as_deref()).unwrap_or_default();
    if let Some(lease) = lease.filter(|_| holder == me) {
        let LeaseSpec { acquire_time, lease_transitions, .. } = lease.clone();
        return Move::Write(LeaseSpec { acquire_time, lease_transitions, ..mine });
    }
    let lasts = lease.and_then(|lease| lease.lease_duration_seconds).unwrap_or_default();
    let left = Duration::from_secs(lasts.try_into().unwrap_or_default()).saturating_sub(unchanged);
    if !holder.is_empty() && !left.is_zero() {
        return Move::Wait(left);
    }
    let before = lease.and_then(|lease| lease.lease_transitions);
    let transitions = before.map_or(0, |before| before.saturating_add(1));
    Move::Write(LeaseSpec { acquire_time: Some(MicroTime(now)), lease_transitions: Some(transitions), ..mine })
}

/// A lease that its holder gives up.
pub fn released(lease: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        lease_duration_seconds: Some(1),
        lease_transitions: lease.lease_transitions,
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        duration: Duration::from_secs(137),
        deadline: Duration::from_secs(107),
        retry: Duration::from_secs(26),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lease(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            acquire_time: Some(MicroTime(at(1))),
            renew_time: Some(MicroTime(at(2))),
            ..LeaseSpec::default()
        }
    }

    fn taken(transitions: i32, acquired: i64) -> Move {
        Move::Write(LeaseSpec {
            holder_identity: Some("me".into()),
            lease_duration_seconds: Some(137),
            lease_transitions: Some(transitions),
            acquire_time: Some(MicroTime(at(acquired))),
            renew_time: Some(MicroTime(at(9))),
            ..LeaseSpec::default()
        })
    }

    #[test]
    fn a_lease_is_taken_when_nobody_holds_it_any_more() {
        let free = LeaseSpec { holder_identity: None, ..lease("") };
        for (found, unchanged, expect) in [
            (None, 0, taken(0, 9)),
            (Some(free), 0, taken(4, 9)),
            (Some(lease("")), 0, taken(4, 9)),
            (Some(lease("other")), 0, Move::Wait(Duration::from_secs(15))),
            (Some(lease("other")), 14, Move::Wait(Duration::from_secs(1))),
            (Some(lease("other")), 15, taken(4, 9)),
            (Some(LeaseSpec { lease_duration_seconds: Some(-1), ..lease("other") }), 0, taken(4, 9)),
            (Some(lease("me")), 0, taken(3, 1)),
            (Some(lease("me")), 99, taken(3, 1)),
        ] {
            assert_eq!(next(found.as_ref(), "me", Duration::from_secs(unchanged), at(9), &TERMS), expect, "{found:?}");
        }
    }

    #[test]
    fn what_is_released_is_taken_at_once() {
        let given_up = released(&lease("other"), at(5));
        assert_eq!(next(Some(&given_up), "me", Duration::ZERO, at(9), &TERMS), taken(4, 9));
    }

    #[test]
    fn a_holder_stops_before_another_begins() {
        assert_eq!(Terms::of(TERMS.duration), TERMS);
        let short = Terms::of(Duration::from_secs(2));
        assert!(short.deadline + short.retry < short.duration && short.retry * 2 < short.deadline);
    }
}
