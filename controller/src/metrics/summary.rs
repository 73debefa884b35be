//! Durations of the last day, and their quantiles.

use jiff::{SignedDuration, Timestamp};
use std::{collections::VecDeque, time::Duration};

/// The quantiles that upstream tells.
const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")];

/// How long a duration counts. Upstream's value.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

/// How many are kept: syncs of one replication in a day, but for those that follow each other without pause.
const KEPT: usize = 128;

/// The last durations, in the order in which they were seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    recent: VecDeque<(Timestamp, f64)>,
    sum: f64,
    count: u64,
}

impl Summary {
    pub(super) fn observe(&mut self, took: Duration, now: Timestamp) {
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back((now, took.as_secs_f64()));
        self.sum += took.as_secs_f64();
        self.count = self.count.saturating_add(1);
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Each quantile with the smallest duration that is not exceeded by that share. `None` without durations.
    pub(super) fn quantiles(&self, now: Timestamp) -> impl Iterator<Item = (&'static str, Option<f64>)> {
        let recent = self.recent.iter().filter(|(seen, _)| now.duration_since(*seen) <= MAX_AGE);
        let mut sorted: Vec<f64> = recent.map(|(_, took)| *took).collect();
        sorted.sort_by(f64::total_cmp);
        QUANTILES.into_iter().map(move |(quantile, name)| (name, at(&sorted, quantile)))
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most KEPT values"
)]
fn at(sorted: &[f64], quantile: f64) -> Option<f64> {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_last_day_and_sums_of_all() {
        let mut summary = Summary::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let told = |summary: &Summary, now| summary.quantiles(at(now)).map(|(_, value)| value).collect::<Vec<_>>();
        assert_eq!(told(&summary, 0), [None; 3]);
        for second in 1..=100 {
            summary.observe(Duration::from_secs(second), at(i64::try_from(second).unwrap()));
        }
        assert_eq!(told(&summary, 100), [Some(50.0), Some(90.0), Some(99.0)]);
        assert_eq!(told(&summary, 86_400 + 99), [Some(99.0), Some(100.0), Some(100.0)]);
        assert_eq!(told(&summary, 200_000), [None; 3]);
        assert_eq!((summary.sum(), summary.count()), (5050.0, 100));
        for _ in 0..1000 {
            summary.observe(Duration::from_secs(1), at(100));
        }
        assert_eq!((summary.recent.len(), summary.count()), (KEPT, 1100));
    }
}
