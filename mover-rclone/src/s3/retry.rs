//! What to do after a failed attempt, and what to tell the reader when there is nothing left to do.

use std::time::Duration;

use crate::http::{HttpError, HttpErrorKind};
use crate::store::{StoreError, StoreErrorKind};

/// Bounds of the one retry loop.
#[derive(Clone, Copy, Debug)]
pub struct RetryLimits {
    /// Attempts of one request (`--low-level-retries`).
    pub tries: u32,
    /// From the first attempt to the last.
    pub total: Duration,
}

impl Default for RetryLimits {
    fn default() -> Self {
        Self { tries: 10, total: Duration::from_mins(5) }
    }
}

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(20);

/// One attempt that failed.
#[derive(Debug, Default)]
pub(super) struct Failure {
    /// HTTP status, if there was an answer.
    pub(super) status: Option<u16>,
    /// S3's code; empty without a body.
    pub(super) code: String,
    /// S3's message, or the cause of a failed connection.
    pub(super) message: String,
    /// Region that the server named.
    pub(super) region: Option<String>,
    /// The server's wish, seconds.
    pub(super) retry_after: Option<u64>,
    /// The server's clock in the `Date` header.
    pub(super) server_time: Option<i64>,
    /// Without an answer: what became of the connection.
    pub(super) http: Option<HttpError>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The same again, later.
    Wait(Duration),
    /// With fresh credentials.
    Refresh,
    /// With the clock of the server.
    Clock(i64),
    /// In the region that the server named.
    Region(String),
    /// Nothing: report.
    GiveUp,
}

/// What has been done about this request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    pub(super) attempts: u32,
    pub(super) refreshed: bool,
    pub(super) clock_set: bool,
    pub(super) moved: bool,
}

impl Failure {
    /// Whether the server asks for less.
    pub(super) fn is_throttle(&self) -> bool {
        matches!(self.status, Some(429 | 503))
            || matches!(self.code.as_str(), "SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded")
    }

    fn is_transient(&self) -> bool {
        if let Some(http) = &self.http {
            return http.is_transient();
        }
        self.is_throttle()
            || matches!(self.status, Some(408 | 500 | 502 | 504 | 509))
            || matches!(self.code.as_str(), "RequestTimeout" | "InternalError" | "ServiceUnavailable" | "BadDigest")
    }

    /// The decision; `random` is in 0..1 and spreads the clients of one overload.
    pub(super) fn next(&self, history: History, limits: RetryLimits, random: f64) -> Next {
        match self.code.as_str() {
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" if !history.refreshed => {
                return Next::Refresh;
            }
            "RequestTimeTooSkewed" if !history.clock_set => {
                return self.server_time.map_or(Next::GiveUp, Next::Clock);
            }
            _ => {}
        }
        if let Some(region) = self.region.as_ref().filter(|r| !r.is_empty() && !history.moved && self.is_elsewhere()) {
            return Next::Region(region.clone());
        }
        if self.is_transient() && history.attempts < limits.tries {
            return Next::Wait(delay(history.attempts, self.retry_after, random));
        }
        Next::GiveUp
    }

    /// The bucket answers in another region.
    fn is_elsewhere(&self) -> bool {
        matches!(self.status, Some(301 | 307 | 400)) && !matches!(self.code.as_str(), "RequestTimeout")
    }

    /// The error for the reader.
    pub(super) fn into_error(self, operation: &'static str, subject: String, attempts: u32) -> StoreError {
        let kind = self.kind(operation);
        let reason = match (self.code.is_empty(), self.message.is_empty()) {
            (false, false) => format!("{}: {}", self.code, self.message),
            (false, true) => self.code.clone(),
            (true, false) => self.message.clone(),
            (true, true) => "the server refused without a reason".to_owned(),
        };
        let reason = volsync_common::path::Shown(reason.as_bytes()).to_string();
        let advice = self.advice(kind, operation);
        let status = self.status.filter(|s| *s >= 300);
        let source = self.http.map(|e| Box::new(e) as Box<dyn std::error::Error + Send + Sync>);
        StoreError { advice, status, attempts, source, ..StoreError::new(kind, operation, subject, reason) }
    }

    fn kind(&self, operation: &str) -> StoreErrorKind {
        use StoreErrorKind as K;
        if let Some(http) = &self.http {
            return match &http.kind {
                HttpErrorKind::Tls(_) => K::Tls,
                HttpErrorKind::Interrupted(_) => K::Interrupted,
                HttpErrorKind::Protocol(_) | HttpErrorKind::TooLong { .. } => K::Protocol,
                _ => K::Unreachable,
            };
        }
        match self.code.as_str() {
            "NoSuchBucket" => return K::NoSuchBucket,
            "NoSuchKey" | "NoSuchUpload" => return K::NotFound,
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken" => return K::Credentials,
            "RequestTimeTooSkewed" => return K::ClockSkew,
            "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" => return K::Corrupt,
            "PreconditionFailed" => return K::Changed,
            "NotImplemented" | "MethodNotAllowed" => return K::Unsupported,
            _ => {}
        }
        match self.status {
            _ if self.is_throttle() => K::Throttled,
            Some(401 | 403) if self.code == "InvalidObjectState" => K::Refused,
            Some(401 | 403) => K::Forbidden,
            Some(404) if operation == "ListObjects" || operation == "CreateBucket" => K::NoSuchBucket,
            Some(404) => K::NotFound,
            Some(412) => K::Changed,
            Some(405 | 501) => K::Unsupported,
            Some(200..300) if self.code.is_empty() => K::Protocol,
            Some(200..300 | 500..) => K::Server,
            _ => K::Refused,
        }
    }

    fn advice(&self, kind: StoreErrorKind, operation: &str) -> Option<String> {
        use StoreErrorKind as K;
        let text = match kind {
            K::Credentials => "check access_key_id, secret_access_key and session_token",
            K::NoSuchBucket => "check the bucket's name, or create the bucket",
            K::Forbidden => return action(operation).map(|a| format!("the credentials need the permission {a}")),
            K::ClockSkew => "set this machine's clock",
            K::Tls => "a server with a certificate of a private authority needs customCA",
            K::Unreachable => "check the endpoint, name resolution, network policies and proxy variables",
            K::Refused if self.code == "InvalidObjectState" => "the object is archived: restore it in S3 first",
            K::Refused if self.is_elsewhere() && self.region.is_some() => {
                return self.region.as_ref().map(|r| format!("the bucket is in region {r}: set region = {r}"));
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

fn action(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => "s3:PutObject",
        "GetObject" | "HeadObject" => "s3:GetObject",
        "ListObjects" => "s3:ListBucket",
        "DeleteObject" | "DeleteObjects" => "s3:DeleteObject",
        "CopyObject" => "s3:GetObject and s3:PutObject",
        "CreateBucket" => "s3:CreateBucket (or no_check_bucket = true if the bucket exists)",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        _ => return None,
    })
}

/// Exponential with full jitter; the server's wish counts within the same bounds.
fn delay(attempts: u32, retry_after: Option<u64>, random: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1u32 << attempts.saturating_sub(1).min(16)).min(LONGEST);
    let jittered = doubled.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
    jittered.max(Duration::from_secs(retry_after.unwrap_or(0))).clamp(FIRST / 2, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failure(status: u16, code: &str) -> Failure {
        Failure { status: Some(status), code: code.into(), ..Failure::default() }
    }

    fn next(failure: &Failure, attempts: u32) -> Next {
        failure.next(History { attempts, ..History::default() }, RetryLimits::default(), 1.0)
    }

    #[test]
    fn each_failure_has_its_answer() {
        let wait = |ms| Next::Wait(Duration::from_millis(ms));
        assert_eq!(next(&failure(503, ""), 1), wait(50));
        assert_eq!(next(&failure(500, "InternalError"), 3), wait(200));
        assert_eq!(next(&failure(200, "SlowDown"), 1), wait(50));
        assert_eq!(next(&failure(429, ""), 10), Next::GiveUp);
        assert_eq!(next(&failure(403, "AccessDenied"), 1), Next::GiveUp);
        assert_eq!(next(&failure(400, "ExpiredToken"), 1), Next::Refresh);
        assert_eq!(next(&failure(400, "RequestTimeout"), 1), wait(50));
        let skewed = Failure { server_time: Some(7), ..failure(403, "RequestTimeTooSkewed") };
        assert_eq!(next(&skewed, 1), Next::Clock(7));
        let moved = Failure { region: Some("eu-west-1".into()), ..failure(301, "PermanentRedirect") };
        assert_eq!(next(&moved, 1), Next::Region("eu-west-1".into()));
        let patient = Failure { retry_after: Some(3600), ..failure(503, "") };
        assert_eq!(next(&patient, 1), wait(20_000));
    }

    #[test]
    fn the_reader_learns_what_to_do() {
        let shown = |f: Failure, op| f.into_error(op, "k".into(), 1).to_string();
        assert_eq!(
            shown(failure(403, "AccessDenied"), "PutObject"),
            "PutObject k: AccessDenied (HTTP 403); the credentials need the permission s3:PutObject"
        );
        assert!(shown(failure(403, "SignatureDoesNotMatch"), "GetObject").contains("secret_access_key"));
        assert_eq!(failure(404, "").into_error("HeadObject", String::new(), 1).kind, StoreErrorKind::NotFound);
        assert_eq!(failure(404, "").into_error("ListObjects", String::new(), 1).kind, StoreErrorKind::NoSuchBucket);
    }

    proptest! {
        #[test]
        fn delays_stay_in_their_bounds(attempts in 0u32..1000, after: Option<u64>, random in -1.0f64..2.0) {
            let d = delay(attempts, after, random);
            prop_assert!(d >= FIRST / 2 && d <= LONGEST);
        }
    }
}
