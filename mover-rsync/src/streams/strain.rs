//! Whether a connection holds a transfer up.

use std::time::{Duration, Instant};

/// How long is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Whoever gets less through, in bytes a second, may be held up by the length of the line: 2 MiB each 14 ms.
const SLOW: u64 = 150 << 20;

/// Waits for a connection, and does something once if most of the time goes there.
pub(crate) struct Strain {
    since: Instant,
    waited: Duration,
    bytes: u64,
    then: Option<Box<dyn FnOnce() + Send>>,
}

impl Strain {
    /// `then` must not wait.
    pub(crate) fn new(then: impl FnOnce() + Send + 'static) -> Self {
        Self { since: Instant::now(), waited: Duration::ZERO, bytes: 0, then: Some(Box::new(then)) }
    }

    /// So many bytes went through after a wait since `begun`.
    pub(crate) fn note(&mut self, begun: Instant, bytes: usize) {
        let now = Instant::now();
        self.waited += now.duration_since(begun);
        self.bytes += bytes as u64;
        let passed = now.duration_since(self.since);
        if passed < LOOK {
            return;
        }
        if is_strained(passed, self.waited, self.bytes)
            && let Some(then) = self.then.take()
        {
            then();
        }
        (self.since, self.waited, self.bytes) = (now, Duration::ZERO, 0);
    }
}

/// Whether most of the time went into waiting, for something that is a transfer and not talk, and not a fast one.
fn is_strained(passed: Duration, waited: Duration, bytes: u64) -> bool {
    let rate = u128::from(bytes) * 1000 / passed.as_millis().max(1);
    waited * 2 > passed && bytes > LEAST && rate < u128::from(SLOW)
}

/// Less is talk, in bytes.
const LEAST: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slow_transfer_that_waits_is_strained() {
        let look =
            |waited: u64, mib: u64| is_strained(Duration::from_millis(250), Duration::from_millis(waited), mib << 20);
        assert!(look(200, 10), "2 MiB every 50 ms");
        assert!(!look(100, 10), "the disk is slower");
        assert!(!look(200, 100), "as fast as a short line");
        assert!(!look(250, 0), "the other side thinks");
    }
}
