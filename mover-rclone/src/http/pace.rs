//! Rates: bytes of bodies (`--bwlimit`) and requests (`--tpslimit`) per second, over all connections together.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::payload::Payload;
use super::wire::Traffic;

/// Uploads take their turns in pieces of this size: small enough that connections share a slow link evenly.
pub(super) const STEP: usize = 64 * 1024;

/// The longest that one turn keeps the next one waiting, whatever the rate; keeps the arithmetic in range.
const LONGEST: Duration = Duration::from_hours(24);

/// A rate that everybody obeys who takes turns here. The token bucket is kept as one point in time (the generic cell
/// rate algorithm of ATM): turns are given in the order of the calls and nobody has to refill anything.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    /// How far turns may lie in the past: what may go at once after a pause.
    slack: Duration,
    /// When the next turn begins. A short section, never across a wait.
    next: Mutex<Instant>,
}

impl Pace {
    /// At most `per_second` units, `burst` of them at once after a pause; `None` for a rate that limits nothing.
    pub(super) fn new(per_second: f64, burst: f64) -> Option<Self> {
        Self::from(Instant::now(), per_second, burst)
    }

    fn from(now: Instant, per_second: f64, burst: f64) -> Option<Self> {
        let limits = per_second.is_finite() && per_second > 0.0;
        let slack = seconds((burst - 1.0).max(0.0) / per_second);
        // The whole burst may go at once at the beginning, too.
        let next = Mutex::new(now.checked_sub(slack).unwrap_or(now));
        limits.then_some(Self { per_second, slack, next })
    }

    /// When `units` may go that are asked for at `now`.
    fn turn(&self, now: Instant, units: f64) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*next).max(now.checked_sub(self.slack).unwrap_or(now));
        *next = begin + seconds(units / self.per_second);
        begin.max(now)
    }

    /// Waits for the turn of `units`.
    pub(super) async fn wait(&self, units: f64) {
        let now = Instant::now();
        let turn = self.turn(now, units);
        if turn > now {
            sleep_until(turn).await;
        }
    }

    /// Waits for the turn of `bytes`.
    pub(super) async fn wait_bytes(&self, bytes: usize) {
        self.wait(bytes_as_units(bytes)).await;
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
}

#[expect(clippy::cast_precision_loss, reason = "2^53 bytes are never in memory")]
fn bytes_as_units(bytes: usize) -> f64 {
    bytes as f64
}

/// A request's body at a given pace; without one it is the body itself.
pub(super) struct Paced {
    payload: Payload,
    pace: Option<Pacing>,
}

struct Pacing {
    pace: Arc<Pace>,
    /// Told while we wait on purpose, so that nobody takes it for a server that is stuck.
    traffic: Arc<Traffic>,
    next: Option<(Bytes, Pin<Box<Sleep>>)>,
}

impl Paced {
    pub(super) fn new(payload: Payload, pace: Option<Arc<Pace>>, traffic: &Arc<Traffic>) -> Self {
        let pacing = |pace| Pacing { pace, traffic: Arc::clone(traffic), next: None };
        Self { payload, pace: pace.map(pacing) }
    }

    fn held(&self) -> u64 {
        let next = self.pace.as_ref().and_then(|pacing| pacing.next.as_ref());
        next.map_or(0, |(step, _)| step.len() as u64)
    }
}

impl Pacing {
    fn poll_step(&mut self, payload: &mut Payload, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.next.is_none() {
            let step = match ready!(payload.poll_step(STEP, cx)) {
                Some(Ok(step)) => step,
                end => return Poll::Ready(end),
            };
            let turn = self.pace.turn(Instant::now(), bytes_as_units(step.len()));
            self.next = Some((step, Box::pin(sleep_until(turn))));
        }
        if let Some((_, turn)) = &mut self.next {
            self.traffic.set_held_back(true);
            ready!(turn.as_mut().poll(cx));
            self.traffic.set_held_back(false);
        }
        Poll::Ready(self.next.take().map(|(step, _)| Ok(step)))
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        match &mut this.pace {
            None => Pin::new(&mut this.payload).poll_frame(cx),
            Some(pacing) => pacing.poll_step(&mut this.payload, cx).map(|step| step.map(|step| step.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.payload.is_end_stream() && self.held() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.payload.len() + self.held())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
    #[test]
    fn turns_come_at_their_rate_after_a_burst() {
        // When each of the requests comes and when it may go, in milliseconds.
        let check = |rate: f64, burst: f64, asked: &[u64], expect: &[u64]| {
            let start = Instant::now();
            let pace = Pace::from(start, rate, burst).expect("a limit");
            let turn = |at: &u64| pace.turn(start + Duration::from_millis(*at), 1.0) - start;
            let turns: Vec<u64> = asked.iter().map(turn).map(|at| (at.as_secs_f64() * 1e3).round() as u64).collect();
            assert_eq!(turns, expect, "{rate}/s, burst {burst}, asked at {asked:?}");
        };
        check(10.0, 1.0, &[0, 0, 0, 0], &[0, 100, 200, 300]);
        check(10.0, 1.0, &[0, 250, 260, 1000], &[0, 250, 350, 1000]);
        check(0.5, 1.0, &[0, 0, 0], &[0, 2000, 4000]);
        check(10.0, 3.0, &[0, 0, 0, 0, 0], &[0, 0, 0, 100, 200]);
        // A pause earns the burst and no more.
        check(10.0, 3.0, &[60_000, 60_000, 60_000, 60_000, 60_000], &[60_000, 60_000, 60_000, 60_100, 60_200]);
        check(10.0, 3.0, &[60_000, 60_000, 60_100, 60_100, 60_100], &[60_000, 60_000, 60_100, 60_100, 60_200]);
    }

    #[test]
    fn what_is_no_rate_limits_nothing() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Pace::new(rate, 1.0).is_none(), "{rate}");
        }
        let slowest = Pace::new(f64::MIN_POSITIVE, 1.0).expect("a limit");
        let (first, second) = (slowest.turn(Instant::now(), 1.0), slowest.turn(Instant::now(), 1.0));
        assert!(second - first == LONGEST);
    }

    #[tokio::test]
    async fn bodies_share_one_rate_and_arrive_whole() {
        let pace = Arc::new(Pace::new(50.0 * 65536.0, 1.0).expect("a limit"));
        let send = |length: usize| {
            let pace = Arc::clone(&pace);
            async move {
                let whole = vec![3u8; length];
                let traffic = Arc::new(Traffic::default());
                let mut body = Paced::new(Payload::Bytes(whole.clone().into()), Some(pace), &traffic);
                let mut sent = Vec::new();
                assert_eq!(body.size_hint().exact(), Some(length as u64));
                while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    sent.extend_from_slice(&frame.expect("no error").into_data().expect("data"));
                    assert_eq!(body.size_hint().exact(), Some((length - sent.len()) as u64));
                }
                assert!(sent == whole && body.is_end_stream() && !traffic.is_held_back());
            }
        };
        let start = Instant::now();
        tokio::join!(send(2 * STEP), send(STEP), send(0), send(1));
        // Four turns: the last waits for at least two whole steps, whoever sent them.
        assert!(start.elapsed() >= Duration::from_millis(40), "{:?}", start.elapsed());
    }
}
