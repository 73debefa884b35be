//! Effects: reads the cluster into values, asks [`crate::machine`] and [`crate::objects`], and makes the answers so.
//!
//! `hands` is the only writer of objects, `reconcile` the only writer of statuses.

mod clean_up;
mod constraint;
mod copy;
mod follow;
mod generate;
mod hands;
mod image;
mod job;
mod late;
mod lease;
mod leftovers;
mod pass;
mod peer;
mod populate;
mod pull;
mod rclone;
mod reconcile;
mod replicated;
mod retries;
mod run;
mod seats;
mod serve;
mod transfer;
mod wants;
mod watching;

pub use lease::Lost;
pub use run::{Failure, run};
pub use serve::NoCertificate;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Why a reconcile cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The API server refused something, or could not be asked.
    #[error("{}", api_text(.0))]
    Api(#[from] kube::Error),
    /// What the user asks for is not possible.
    #[error("{0}")]
    User(String),
}

/// What the API server says, without the debugging form that the client appends.
fn api_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl Trouble {
    fn user(error: &impl ToString) -> Self {
        Self::User(error.to_string())
    }

    /// Whether somebody else was faster: nothing is wrong, and the next look sees what is there now.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 409)
    }
}

/// How far a sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Pending,
    /// To be looked at again after this time at the latest.
    Waiting(Duration),
    Done,
}

/// How often each replication has failed in a row.
#[derive(Debug, Default)]
struct BackOff(Mutex<HashMap<String, u32>>);

/// The first wait after an error, doubled each time, and the longest: those of upstream's work queue.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_secs(1000);

impl BackOff {
    /// The wait after one more error.
    fn next(&self, uid: &str) -> Duration {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(uid.to_owned()).or_default();
        let wait = FIRST_WAIT.saturating_mul(1 << (*count).min(20)).min(LONGEST_WAIT);
        *count = count.saturating_add(1);
        wait
    }

    fn reset(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// The time. The only place of the controller that looks at a clock.
fn now() -> Timestamp {
    Timestamp::now()
}

/// How long an object has existed, by the clock of the API server. Nothing if that is ahead of ours.
fn age(metadata: &ObjectMeta) -> SignedDuration {
    let created = metadata.creation_timestamp.as_ref();
    created.map_or(SignedDuration::ZERO, |created| now().duration_since(created.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_until_the_longest() {
        let waits = BackOff::default();
        assert_eq!([0, 1, 2].map(|_| waits.next("a")), [5, 10, 20].map(Duration::from_millis));
        let last = (0..40).map(|_| waits.next("a")).last();
        assert_eq!((last, waits.next("b")), (Some(LONGEST_WAIT), FIRST_WAIT));
        waits.reset("a");
        assert_eq!(waits.next("a"), FIRST_WAIT);
    }
}
