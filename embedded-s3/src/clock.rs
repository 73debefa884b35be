//! The server's clock and what it says about a request's signature.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use s3s::dto::{Timestamp, TimestampFormat};

/// How far client and server may be apart: fifteen minutes, as Amazon S3 documents for RequestTimeTooSkewed.
const MAX_SKEW_S: u64 = 15 * 60;

/// The clock of one server, some seconds ahead of the real one or behind it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    /// Seconds ahead; negative: behind.
    pub(crate) fn offset_s(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set_offset(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> SystemTime {
        server_time(self.offset_s())
    }

    /// Now, in whole seconds: S3 keeps no more, and headers and listings must agree.
    pub(crate) fn seconds(&self) -> SystemTime {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UNIX_EPOCH + Duration::from_secs(since.as_secs())
    }
}

/// Now, `offset_s` seconds ahead.
pub(crate) fn server_time(offset_s: i64) -> SystemTime {
    let offset = Duration::from_secs(offset_s.unsigned_abs());
    let now = SystemTime::now();
    if offset_s < 0 { now - offset } else { now + offset }
}

/// The `Date` header of an answer.
pub(crate) fn http_date(time: SystemTime) -> Option<http::HeaderValue> {
    let mut text = Vec::new();
    Timestamp::from(time).format(TimestampFormat::HttpDate, &mut text).ok()?;
    http::HeaderValue::from_bytes(&text).ok()
}

/// The request was signed too long before or after `now`.
pub(crate) fn is_skewed(headers: &HeaderMap, now: SystemTime) -> bool {
    let signed = headers.get("x-amz-date").and_then(|date| date.to_str().ok()).and_then(parse_amz_date);
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    signed.is_some_and(|signed| now.abs_diff(signed) > MAX_SKEW_S)
}

/// Seconds since 1970 of `YYYYMMDDTHHMMSSZ`.
fn parse_amz_date(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || time.len() != 6 {
        return None;
    }
    let dashed = format!("{}-{}-{}T", date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    let full = format!("{dashed}{}:{}:{}Z", time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    let mut seconds = Vec::new();
    let parsed = Timestamp::parse(TimestampFormat::DateTime, &full).ok()?;
    parsed.format(TimestampFormat::EpochSeconds, &mut seconds).ok()?;
    String::from_utf8(seconds).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(date: &str, now: u64, expect: bool) {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static("x-amz-date"), date.parse().unwrap())]);
        assert_eq!(is_skewed(&headers, UNIX_EPOCH + Duration::from_secs(now)), expect, "{date} {now}");
    }

    #[test]
    fn a_quarter_of_an_hour_is_too_much() {
        check("20130524T000000Z", 1_369_353_600, false);
        check("20130524T000000Z", 1_369_353_600 + 900, false);
        check("20130524T000000Z", 1_369_353_600 + 901, true);
        check("20130524T000000Z", 1_369_353_600 - 901, true);
        check("not a date", 0, false);
    }
}
