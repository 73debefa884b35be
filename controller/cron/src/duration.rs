//! Durations as Go writes them (`1m50.209297869s`), the form of `status.lastSyncDuration` and of `@every`.
//!
//! Source: documentation of Go's `time.ParseDuration` and `time.Duration.String`; vectors of the original are in
//! `tests/durations.jsonl`.

use std::time::Duration;

/// Nanoseconds in each unit, in the order that Go's documentation lists them. The micro sign has two code points.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", MICROSECOND),
    ("\u{b5}s", MICROSECOND),
    ("\u{3bc}s", MICROSECOND),
    ("ms", MILLISECOND),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];
const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// The largest magnitude before the sign is known: Go's durations are signed 64-bit nanoseconds.
const LIMIT: u64 = 1 << 63;

/// Why a text is no duration, in the words of Go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not of the form, or out of range.
    #[error("time: invalid duration {}", quote(.0))]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {}", quote(.0))]
    MissingUnit(String),
    /// A unit that is none of ns, us, ms, s, m, h.
    #[error("time: unknown unit {} in duration {}", quote(.unit), quote(.text))]
    UnknownUnit {
        /// What stands in the unit's place.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Reads a duration such as `1h30m` or `-1.5s`, in nanoseconds.
pub fn parse(text: &str) -> Result<i64, ParseError> {
    let invalid = || ParseError::Invalid(text.to_owned());
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    match digits {
        "0" => return Ok(0),
        "" => return Err(invalid()),
        _ => {}
    }
    let mut sum: u64 = 0;
    let mut rest = digits;
    while !rest.is_empty() {
        let term;
        (term, rest) = parse_term(rest, text)?;
        sum = sum.checked_add(term).filter(|&sum| sum <= LIMIT).ok_or_else(invalid)?;
    }
    if negative { 0_i64.checked_sub_unsigned(sum) } else { i64::try_from(sum).ok() }.ok_or_else(invalid)
}

/// One number with its unit, in nanoseconds, and what follows it. `text` is the whole, for errors.
fn parse_term<'a>(from: &'a str, text: &str) -> Result<(u64, &'a str), ParseError> {
    let invalid = || ParseError::Invalid(text.to_owned());
    let (whole, rest) = split_digits(from);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let whole = whole.bytes().try_fold(0_u64, append_digit).ok_or_else(invalid)?;
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    if unit.is_empty() {
        return Err(ParseError::MissingUnit(text.to_owned()));
    }
    let (_, nanoseconds) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| ParseError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() })?;
    whole
        .checked_mul(*nanoseconds)
        .and_then(|whole| whole.checked_add(part_of_unit(fraction, *nanoseconds)))
        .filter(|&term| term <= LIMIT)
        .map(|term| (term, rest))
        .ok_or_else(invalid)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn append_digit(value: u64, digit: u8) -> Option<u64> {
    value.checked_mul(10)?.checked_add(u64::from(digit - b'0')).filter(|&value| value <= LIMIT)
}

/// Nanoseconds of `0.<digits>` units, rounded down. Go computes with a 64-bit float, and so does this: the result must
/// not differ by a nanosecond.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as in Go")]
fn part_of_unit(digits: &str, unit: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale = 1.0_f64;
    for digit in digits.bytes() {
        if value > (LIMIT - 1) / 10 {
            break;
        }
        let Some(next) = append_digit(value, digit) else { break };
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// The text of Go's `Duration.String`: `0s`, `1.5ms`, `30.038338887s`, `3h0m5s`.
pub fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds < u128::from(SECOND) {
        return format_small(nanoseconds);
    }
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = with_fraction(u128::from(seconds % 60), u128::from(duration.subsec_nanos()), 9);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// Below one second Go chooses the unit in which the number has a digit before the point.
fn format_small(nanoseconds: u128) -> String {
    let (micro, milli) = (u128::from(MICROSECOND), u128::from(MILLISECOND));
    match nanoseconds {
        0 => "0s".to_owned(),
        n if n < micro => format!("{n}ns"),
        n if n < milli => format!("{}\u{b5}s", with_fraction(n / micro, n % micro, 3)),
        n => format!("{}ms", with_fraction(n / milli, n % milli, 6)),
    }
}

/// `whole.part` with `part` of `width` digits, trailing zeros removed.
fn with_fraction(whole: u128, part: u128, width: usize) -> String {
    let text = format!("{whole}.{part:0width$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Go's quoted form for messages, with what is neither ASCII nor above the control characters escaped by byte as package `time` does.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='\x7f' => quoted.push(c),
            _ => quoted.extend(c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\x{byte:02x}"))),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn formats_as_go_does() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (999, "999ns"),
            (1_100, "1.1\u{b5}s"),
            (1_500_000, "1.5ms"),
            (999_000_000, "999ms"),
            (SECOND, "1s"),
            (30_038_338_887, "30.038338887s"),
            (60 * SECOND, "1m0s"),
            (110_209_297_869, "1m50.209297869s"),
            (3 * 3600 * SECOND + 5 * SECOND, "3h0m5s"),
            (48 * 3600 * SECOND, "48h0m0s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanoseconds)), text);
        }
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("1h30m", 5_400_000_000_000),
            ("-1.5s", -1_500_000_000),
            ("+.5m", 30_000_000_000),
            ("1\u{b5}s1\u{3bc}s", 2_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
        }
    }

    #[test]
    fn refuses_in_the_words_of_go() {
        for (text, error) in [
            ("", "time: invalid duration \"\""),
            ("1", "time: missing unit in duration \"1\""),
            (".s", "time: invalid duration \".s\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""),
            ("1h\u{e9}", "time: unknown unit \"h\\xc3\\xa9\" in duration \"1h\\xc3\\xa9\""),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), error);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(nanoseconds in 0..i64::MAX) {
            let text = format(Duration::from_nanos(nanoseconds.unsigned_abs()));
            // A float of 64 bits cannot hold every nanosecond of a fraction; Go has the same error.
            prop_assert!((parse(&text).unwrap() - nanoseconds).abs() <= 1);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
