//! The modification time as object metadata: `x-amz-meta-mtime`, a decimal number of seconds since 1970.
//!
//! The form is rclone's, to the last digit (`docs/compat-rclone.md`, "S3").

use volsync_common::time::Timestamp;

/// Decimal seconds: at most nine digits after the dot, no trailing zeros, no bare dot.
pub fn format_mtime(time: Timestamp) -> String {
    let nanos = time.as_nanos();
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:09}", magnitude / 1_000_000_000, magnitude % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The reverse: an optional sign, digits, and optionally a dot with digits, of which nine count. `None` for all else.
pub fn parse_mtime(text: &[u8]) -> Option<Timestamp> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let dot = digits.iter().position(|b| *b == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..dot], digits.get(dot + 1..).unwrap_or_default());
    let decimal = whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if !decimal || whole.is_empty() || whole.len() > 18 {
        return None;
    }
    let secs = whole.iter().fold(0i128, |sum, d| sum * 10 + i128::from(d - b'0'));
    let nine = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanos = nine.fold(secs, |sum, d| sum * 10 + i128::from(d - b'0'));
    from_nanos(if negative { -nanos } else { nanos })
}

fn from_nanos(nanos: i128) -> Option<Timestamp> {
    let secs = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    let nanos = u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?;
    Some(Timestamp { secs, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: i64, nanos: u32) -> Timestamp {
        Timestamp { secs, nanos }
    }

    #[test]
    fn written_like_rclone_writes_it() {
        let cases = [
            (at(1_704_164_645, 123_456_789), "1704164645.123456789"),
            (at(1_704_164_645, 500_000_000), "1704164645.5"),
            (at(1, 0), "1"),
            (at(0, 0), "0"),
            (at(10, 0), "10"),
            (at(0, 1), "0.000000001"),
            (at(-2, 500_000_000), "-1.5"),
            (at(-1, 999_999_999), "-0.000000001"),
            (at(15_032_385_535, 1), "15032385535.000000001"),
        ];
        for (time, expect) in cases {
            assert_eq!(format_mtime(time), expect);
            assert_eq!(parse_mtime(expect.as_bytes()), Some(time));
        }
    }

    #[test]
    fn read_as_rclone_reads_it() {
        let cases: [(&[u8], Option<Timestamp>); 11] = [
            (b"5.", Some(at(5, 0))),
            (b"+5", Some(at(5, 0))),
            (b"-0.5", Some(at(-1, 500_000_000))),
            (b"1.1234567891234", Some(at(1, 123_456_789))),
            (b"", None),
            (b"-", None),
            (b"1e9", None),
            (b"1,5", None),
            (b"1.-5", None),
            (b"2024-01-02T03:04:05Z", None),
            (b"99999999999999999999999999", None),
        ];
        for (text, expect) in cases {
            assert_eq!(parse_mtime(text), expect, "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn every_time_comes_back(secs in -9_000_000_000_000_000i64..9_000_000_000_000_000, nanos in 0u32..1_000_000_000) {
            prop_assert_eq!(parse_mtime(format_mtime(at(secs, nanos)).as_bytes()), Some(at(secs, nanos)));
        }
    }
}
