//! The three spellings of a point in time that S3 uses: in signatures, in headers and in listings.

use volsync_common::time::Timestamp;

/// Date and time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    year: i64,
    month: i64,
    day: i64,
    second_of_day: i64,
}

impl Civil {
    /// Of seconds since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms").
    pub(super) fn from_unix(secs: i64) -> Self {
        let days = secs.div_euclid(86_400).saturating_add(719_468);
        let era = days.div_euclid(146_097);
        let doe = days.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        Self { year, month, day: doy - (153 * mp + 2) / 5 + 1, second_of_day: secs.rem_euclid(86_400) }
    }

    fn to_unix(self) -> i64 {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let yoe = year.rem_euclid(400);
        let doy = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        (era * 146_097 + doe - 719_468) * 86_400 + self.second_of_day
    }

    fn checked(self) -> Option<Self> {
        let fits = (0..=9999).contains(&self.year) && (1..=12).contains(&self.month) && (1..=31).contains(&self.day);
        fits.then_some(self)
    }
}

/// `20261121T042334Z`, as signatures want it.
pub(super) fn amz_date(secs: i64) -> String {
    let c = Civil::from_unix(secs);
    let s = c.second_of_day;
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", c.year, c.month, c.day, s / 3600, s / 60 % 60, s % 60)
}

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// `Sat, 21 Nov 2026 04:23:34 GMT` (RFC 9110, 5.6.7, the one form that is not obsolete).
pub(super) fn parse_http(text: &[u8]) -> Option<Timestamp> {
    let rest = text.get(text.iter().position(|b| *b == b',')? + 1..)?.trim_ascii();
    let mut words = rest.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let day = number(words.next()?)?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|m| *m == name)?;
    let year = number(words.next()?)?;
    let second_of_day = time_of_day(words.next()?)?;
    let civil = Civil { year, month: i64::try_from(month).ok()? + 1, day, second_of_day }.checked()?;
    Some(Timestamp { secs: civil.to_unix(), nanos: 0 })
}

/// `2026-11-21T04:23:34.123Z`, as listings have it; a fraction of any length.
pub(super) fn parse_iso(text: &[u8]) -> Option<Timestamp> {
    let text = text.trim_ascii().strip_suffix(b"Z")?;
    let (date, time) = text.split_at_checked(10)?;
    let time = time.strip_prefix(b"T")?;
    let mut fields = date.split(|b| *b == b'-');
    let (year, month, day) = (number(fields.next()?)?, number(fields.next()?)?, number(fields.next()?)?);
    let (clock, fraction) = time.split_at_checked(8)?;
    let civil = Civil { year, month, day, second_of_day: time_of_day(clock)? }.checked()?;
    Some(Timestamp { secs: civil.to_unix(), nanos: nanos(fraction)? })
}

fn nanos(fraction: &[u8]) -> Option<u32> {
    let Some(digits) = fraction.strip_prefix(b".") else { return fraction.is_empty().then_some(0) };
    digits.iter().all(u8::is_ascii_digit).then_some(())?;
    let padded = digits.iter().chain(std::iter::repeat(&b'0')).take(9);
    Some(padded.fold(0, |sum, d| sum * 10 + u32::from(d - b'0')))
}

fn time_of_day(text: &[u8]) -> Option<i64> {
    let mut fields = text.split(|b| *b == b':');
    let (h, m, s) = (number(fields.next()?)?, number(fields.next()?)?, number(fields.next()?)?);
    (h < 24 && m < 60 && s <= 60).then_some(h * 3600 + m * 60 + s)
}

fn number(digits: &[u8]) -> Option<i64> {
    let fits = (1..=4).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| digits.iter().fold(0, |sum, d| sum * 10 + i64::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_spellings_mean_the_same_second() {
        let expect = Timestamp { secs: 1_795_235_014, nanos: 0 };
        assert_eq!(amz_date(expect.secs), "20261121T042334Z");
        assert_eq!(parse_http(b"Sat, 21 Nov 2026 04:23:34 GMT"), Some(expect));
        assert_eq!(parse_iso(b"2026-11-21T04:23:34Z"), Some(expect));
        assert_eq!(parse_iso(b"2026-11-21T04:23:34.12Z"), Some(Timestamp { nanos: 120_000_000, ..expect }));
    }

    #[test]
    fn what_is_not_a_date_is_none() {
        for bad in [&b""[..], b"2026-11-21", b"2026-13-21T04:23:34Z", b"2026-11-21T04:23:34.xZ", b"-", b"T Z"] {
            assert_eq!(parse_iso(bad), None);
            assert_eq!(parse_http(bad), None);
        }
    }

    proptest! {
        #[test]
        fn days_go_there_and_back(secs in -60_000_000_000i64..200_000_000_000) {
            prop_assert_eq!(Civil::from_unix(secs).to_unix(), secs);
        }

        #[test]
        fn any_bytes_are_a_date_or_none(data: Vec<u8>) {
            let _ = (parse_http(&data), parse_iso(&data));
        }
    }
}
