//! Why an operation of a store failed, in words for the person who has to act.

use std::fmt;

/// What went wrong, as far as callers act differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No such object.
    NotFound,
    /// No such bucket or root directory.
    NoSuchBucket,
    /// The credentials are wrong, missing or expired (`InvalidAccessKeyId`, `SignatureDoesNotMatch`, `ExpiredToken`).
    Credentials,
    /// The credentials are good but may not do this.
    Forbidden,
    /// The clocks differ too much (`RequestTimeTooSkewed`).
    ClockSkew,
    /// The server's certificate is not trusted, expired, or for another name.
    Tls,
    /// No connection: refused, no route, name not found, time-out before an answer.
    Unreachable,
    /// The server asked to slow down until the tries were used up (503, 429).
    Throttled,
    /// The server failed until the tries were used up (other 5xx, or an error inside a 200).
    Server,
    /// The connection broke or the body was too short or too long.
    Interrupted,
    /// The content is not what its digest says.
    Corrupt,
    /// The object changed between two reads of it.
    Changed,
    /// The source file changed while it was read.
    SourceChanged,
    /// Reading the source failed.
    SourceRead,
    /// The store cannot keep this (name too long, too large, archived object, ...).
    Refused,
    /// The store cannot do this kind of operation.
    Unsupported,
    /// An answer that makes no sense.
    Protocol,
    /// A local file operation failed (stores on a file system).
    Io,
    /// The run is being ended.
    Cancelled,
}

impl StoreErrorKind {
    /// Whether the same work may succeed in another attempt a little later.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::Throttled
                | Self::Server
                | Self::Interrupted
                | Self::Corrupt
                | Self::Changed
                | Self::SourceChanged
        )
    }
}

/// A failed operation: what was tried, on what, why it failed, how often it was tried, what to do.
#[derive(Debug, thiserror::Error)]
pub struct StoreError {
    /// What callers act on.
    pub kind: StoreErrorKind,
    /// The operation in the field's words, e.g. `PutObject`.
    pub operation: &'static str,
    /// What it was done to, already safe to print; empty when it concerns the whole store.
    pub subject: String,
    /// The reason as the server or the system gave it, already safe to print.
    pub reason: String,
    /// What the reader can do about it, when we know.
    pub advice: Option<String>,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// How many attempts were made.
    pub attempts: u32,
    /// The cause below, if any.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error after one attempt, without cause or advice.
    pub fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        subject: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            operation,
            subject: subject.into(),
            reason: reason.into(),
            advice: None,
            status: None,
            attempts: 1,
            source: None,
        }
    }

    /// Adds what the reader can do.
    #[must_use]
    pub fn with_advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.operation)?;
        if !self.subject.is_empty() {
            write!(f, " {}", self.subject)?;
        }
        write!(f, ": {}", self.reason)?;
        if let Some(status) = self.status {
            write!(f, " (HTTP {status})")?;
        }
        if self.attempts > 1 {
            write!(f, " after {} attempts", self.attempts)?;
        }
        if let Some(advice) = &self.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}
