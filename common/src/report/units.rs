//! Sizes, speeds and times as rclone writes them (`fs/sizesuffix.go`, `fs/parseduration.go`).

use std::fmt::Write as _;
use std::time::Duration;

const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Seconds of the units that a long time is made of, the largest first. Years have 365 days.
const UNITS: [(u64, &str); 6] = [(31_536_000, "y"), (604_800, "w"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];

/// `12 MiB`, `2.861 MiB`, `0 B`.
pub fn bytes(bytes: u64) -> String {
    let (number, suffix) = scaled(bytes);
    format!("{number} {suffix}B")
}

/// `12 MiB/s`.
pub fn speed(bytes: u64) -> String {
    let (number, suffix) = scaled(bytes);
    format!("{number} {suffix}B/s")
}

/// `12Mi`, as within messages.
pub fn short_bytes(bytes: u64) -> String {
    let (number, suffix) = scaled(bytes);
    format!("{number}{suffix}")
}

/// Three digits after the point, or none.
#[expect(clippy::cast_precision_loss, reason = "rclone counts in float64 too, and 2^53 bytes are a display")]
fn scaled(bytes: u64) -> (String, &'static str) {
    let power = (bytes.max(1).ilog2() / 10) as usize;
    let number = bytes as f64 / (1_u64 << (10 * power)) as f64;
    let suffix = SUFFIXES.get(power).copied().unwrap_or_default();
    let number = if number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.3}") };
    (number, suffix)
}

/// `120,400`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// `1 file`, `1,200 files`.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// `36%`, rounded; `-` of nothing.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "as rclone: a percentage needs no 53 bits")]
    let ratio = part as f64 * 100.0 / whole as f64;
    format!("{:.0}", (ratio + 0.5).floor()) + "%"
}

/// Time left: `5s`, `1h2m3s`, `3w2d1h`; `-` while it cannot be told.
pub fn eta(done: u64, total: u64, speed: u64) -> String {
    seconds_left(done, total, speed).map_or_else(|| "-".to_owned(), |seconds| readable(seconds, 3))
}

/// Whole seconds left; `None` while that cannot be told.
pub fn seconds_left(done: u64, total: u64, speed: u64) -> Option<u64> {
    (total > 0).then(|| total.checked_sub(done)?.checked_div(speed)).flatten()
}

/// Time left of one file in the form of Go's `time.Duration`: `1h0m5s`; `-` while it cannot be told.
pub(super) fn eta_of_file(done: u64, size: u64, speed: u64) -> String {
    let Some(left) = seconds_left(done, size, speed) else { return "-".to_owned() };
    let (hours, minutes, seconds) = (left / 3_600, left / 60 % 60, left % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `0.0s`, `1m2.5s`, `1d2h0.0s`: cut to tenths.
pub fn elapsed(time: Duration) -> String {
    let minutes = time.as_secs() / 60 * 60;
    let tenths = (time.as_secs() - minutes) * 10 + u64::from(time.subsec_millis() / 100);
    let minutes = if minutes == 0 { String::new() } else { readable(minutes, UNITS.len()) };
    format!("{minutes}{}.{}s", tenths / 10, tenths % 10)
}

/// The `most` largest units that are not zero.
fn readable(seconds: u64, most: usize) -> String {
    let mut left = seconds;
    let mut text = String::new();
    let mut shown = 0;
    for (unit, name) in UNITS {
        let count = left / unit;
        left %= unit;
        if count > 0 && shown < most {
            shown += 1;
            let _infallible = write!(text, "{count}{name}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by rclone's own types.
    #[test]
    fn sizes() {
        let cases = [
            (0, "0 B"),
            (1, "1 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (1_088, "1.062 KiB"),
            (1_048_575, "1023.999 KiB"),
            (3_000_000, "2.861 MiB"),
            (12 << 20, "12 MiB"),
            (1 << 40, "1 TiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (size, expect) in cases {
            assert_eq!(bytes(size), expect);
        }
        assert_eq!(short_bytes(3_000_000), "2.861Mi");
        assert_eq!(speed(1_077_099), "1.027 MiB/s");
    }

    #[test]
    fn thousands() {
        for (number, expect) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expect);
        }
    }

    #[test]
    fn percentages() {
        let cases = [(0, 0, "-"), (0, 3, "0%"), (1, 3, "33%"), (1, 200, "1%"), (5, 6, "83%"), (3, 2, "150%")];
        for (part, whole, expect) in cases {
            assert_eq!(percent(part, whole), expect);
        }
    }

    #[test]
    fn time_left() {
        let cases = [
            (0, 0, 10, "-"),
            (0, 10, 0, "-"),
            (11, 10, 1, "-"),
            (10, 10, 1, "0s"),
            (0, 59, 1, "59s"),
            (0, 3_723, 1, "1h2m3s"),
            (0, 90_061, 1, "1d1h1m"),
            (0, 86_400 * 371 + 5, 1, "1y6d5s"),
        ];
        for (done, total, speed, expect) in cases {
            assert_eq!(eta(done, total, speed), expect);
        }
        assert_eq!(eta_of_file(0, 3_605, 1), "1h0m5s");
        assert_eq!(eta_of_file(0, 65, 1), "1m5s");
        assert_eq!(eta_of_file(0, 65, 0), "-");
    }

    #[test]
    fn elapsed_times() {
        let cases = [
            (0, "0.0s"),
            (99, "0.0s"),
            (2_860, "2.8s"),
            (59_999, "59.9s"),
            (60_000, "1m0.0s"),
            (600_500, "10m0.5s"),
            (93_600_000, "1d2h0.0s"),
        ];
        for (millis, expect) in cases {
            assert_eq!(elapsed(Duration::from_millis(millis)), expect);
        }
    }
}
