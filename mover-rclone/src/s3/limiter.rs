//! How many requests are in flight: found out, not configured. Grows while answers come about as fast as they ever did,
//! halves when the server says it is too much (additive increase, multiplicative decrease).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Where it begins: twice what browsers open to one host, below what any server refuses.
const START: f64 = 16.0;

/// How a request ended, as far as the limit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An answer after this time.
    Answered(Duration),
    /// 503, 429 or SlowDown.
    Throttled,
    /// No statement about the server's load.
    Other,
}

/// The decision, without clocks and tasks.
#[derive(Clone, Debug)]
pub(super) struct Aimd {
    limit: f64,
    most: f64,
    fastest: Duration,
    /// No refusal yet: grow by one for each answer (doubling every round trip) instead of one a round trip.
    unbraked: bool,
}

impl Aimd {
    fn new(most: usize) -> Self {
        let most = f64::from(u32::try_from(most.clamp(1, 4096)).unwrap_or(1));
        Self { limit: START.min(most), most, fastest: Duration::MAX, unbraked: true }
    }

    fn done(&mut self, outcome: Outcome, saturated: bool) {
        match outcome {
            Outcome::Throttled => {
                self.limit = (self.limit / 2.0).max(1.0);
                self.unbraked = false;
            }
            Outcome::Answered(latency) => {
                self.fastest = self.fastest.min(latency);
                let near = latency <= self.fastest.saturating_mul(3).saturating_add(Duration::from_millis(10));
                if saturated && near {
                    let step = if self.unbraked { 1.0 } else { 1.0 / self.limit };
                    self.limit = (self.limit + step).min(self.most);
                }
            }
            Outcome::Other => {}
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 4096")]
    fn allowed(&self) -> usize {
        self.limit as usize
    }
}

/// The gate that every request passes.
pub(super) struct Limiter {
    /// Short sections, never across a wait.
    state: Mutex<(Aimd, usize)>,
    freed: Notify,
}

/// One request's place; give back with its outcome, or drop.
pub(super) struct Permit {
    limiter: Arc<Limiter>,
    since: Instant,
    outcome: Outcome,
}

impl Limiter {
    /// At most `most` in flight, whatever the answers.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((Aimd::new(most), 0)), freed: Notify::new() })
    }

    pub(super) async fn enter(self: &Arc<Self>) -> Permit {
        loop {
            let freed = self.freed.notified();
            if self.try_enter() {
                return Permit { limiter: self.clone(), since: Instant::now(), outcome: Outcome::Other };
            }
            freed.await;
        }
    }

    fn try_enter(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let room = state.1 < state.0.allowed();
        state.1 += usize::from(room);
        room
    }

    fn leave(&self, outcome: Outcome) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let saturated = state.1 >= state.0.allowed();
        state.1 = state.1.saturating_sub(1);
        state.0.done(outcome, saturated);
        let room = state.0.allowed().saturating_sub(state.1);
        drop(state);
        for _ in 0..room.min(2) {
            self.freed.notify_one();
        }
    }
}

impl Permit {
    /// The head of an answer is here.
    pub(super) fn answered(&mut self, throttled: bool) {
        self.outcome = if throttled { Outcome::Throttled } else { Outcome::Answered(self.since.elapsed()) };
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.leave(self.outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Outcome = Outcome::Answered(Duration::from_millis(20));

    #[test]
    fn it_grows_only_while_full_and_fast_and_halves_when_refused() {
        let mut aimd = Aimd::new(256);
        aimd.done(FAST, false);
        assert_eq!(aimd.allowed(), 16);
        (0..48).for_each(|_| aimd.done(FAST, true));
        assert_eq!(aimd.allowed(), 64);
        aimd.done(Outcome::Answered(Duration::from_millis(200)), true);
        assert_eq!(aimd.allowed(), 64);
        aimd.done(Outcome::Throttled, true);
        assert_eq!(aimd.allowed(), 32);
        (0..32).for_each(|_| aimd.done(FAST, true));
        assert_eq!(aimd.allowed(), 32);
        aimd.done(FAST, true);
        assert_eq!(aimd.allowed(), 33);
        (0..20).for_each(|_| aimd.done(Outcome::Throttled, true));
        assert_eq!(aimd.allowed(), 1);
        let mut small = Aimd::new(4);
        (0..20).for_each(|_| small.done(FAST, true));
        assert_eq!(small.allowed(), 4);
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_that_is_freed() {
        let limiter = Limiter::new(1);
        let first = limiter.enter().await;
        let second = tokio::spawn({
            let limiter = limiter.clone();
            async move { drop(limiter.enter().await) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap();
    }
}
