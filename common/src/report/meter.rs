//! Speed as rclone shows it.

use std::time::Instant;

/// Measurements that the average forgets in, rclone's `averagePeriod` (`fs/accounting/accounting.go`).
const PERIOD: u8 = 16;

/// An exponentially weighted average of bytes a second. Until the 16th measurement it is the plain average.
#[derive(Debug)]
pub(super) struct Meter {
    speed: f64,
    measured: u8,
    bytes: u64,
    at: Instant,
}

impl Meter {
    /// Nothing measured; counts from now.
    pub(super) fn new() -> Self {
        Self { speed: 0.0, measured: 0, bytes: 0, at: Instant::now() }
    }

    /// Takes the total of bytes at `now`; time in which nothing was `busy` does not count.
    pub(super) fn measure(&mut self, now: Instant, bytes: u64, busy: bool) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        // Bytes are taken back when a transfer breaks.
        let moved = bytes.saturating_sub(self.bytes);
        if (busy || moved > 0) && seconds > 0.0 {
            self.measured = (self.measured + 1).min(PERIOD);
            #[expect(clippy::cast_precision_loss, reason = "a display needs no 53 bits")]
            let current = moved as f64 / seconds;
            let weight = f64::from(self.measured);
            self.speed = (current + self.speed * (weight - 1.0)) / weight;
        }
        (self.bytes, self.at) = (bytes, now);
    }

    /// Bytes a second; 0 until it was measured.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "speeds are finite and not negative")]
    pub(super) fn speed(&self) -> u64 {
        self.speed as u64
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn speed_is_an_average_that_forgets() {
        let mut meter = Meter::new();
        let second = |n: u64| meter_start() + Duration::from_secs(n);
        meter.at = second(0);
        assert_eq!(meter.speed(), 0);
        meter.measure(second(1), 100, true);
        assert_eq!(meter.speed(), 100);
        meter.measure(second(2), 400, true);
        assert_eq!(meter.speed(), 200, "two measurements: their mean");
        meter.measure(second(50), 400, false);
        assert_eq!(meter.speed(), 200, "idle time does not count");
        (51..=100).for_each(|n| meter.measure(second(n), 400 + (n - 50) * 1_000, true));
        assert!((960..1_000).contains(&meter.speed()), "{}", meter.speed());
        meter.measure(second(101), 0, true);
        assert!(meter.speed() < 1_000, "bytes taken back are no negative speed");
    }

    fn meter_start() -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now)
    }
}
