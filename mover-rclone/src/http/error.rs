//! What can go wrong between two programs, classified by what the caller may do next.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use volsync_common::proxy::ProxyError;

/// A request that got no (complete) response.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {kind}")]
pub struct HttpError {
    /// Whom the request was for, `host:port`.
    pub host: String,
    /// What happened.
    #[source]
    pub kind: HttpErrorKind,
    /// Not one byte of the request reached the server: whatever it asks for may be asked again.
    pub before_sent: bool,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum HttpErrorKind {
    /// The name has no address.
    #[error("the name {name} cannot be resolved: {source}")]
    Dns {
        /// The name.
        name: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// No TCP connection.
    #[error("no connection: {why}: {detail}")]
    Connect {
        /// The class of the failure.
        why: ConnectFailure,
        /// Addresses and system errors.
        detail: String,
    },
    /// The proxy setting is unusable, or the proxy refused.
    #[error("{0}")]
    Proxy(String),
    /// The TLS handshake failed.
    #[error("{0}")]
    Tls(String),
    /// Nothing moved for too long.
    #[error("timeout: {what} took longer than {after:?}")]
    Timeout {
        /// What was waited for.
        what: Waiting,
        /// How long.
        after: Duration,
    },
    /// The connection ended in the middle.
    #[error("the connection was interrupted: {0}")]
    Interrupted(String),
    /// The server's bytes are not HTTP, or not what was agreed.
    #[error("not valid HTTP: {0}")]
    Protocol(String),
    /// The response is longer than the caller takes.
    #[error("the response is longer than {limit} bytes")]
    TooLong {
        /// The caller's limit.
        limit: usize,
    },
    /// The request itself cannot be sent.
    #[error("the request cannot be sent: {0}")]
    Request(String),
}

/// Why there is no TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nobody listens.
    Refused,
    /// No route.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// Anything else.
    Other,
}

/// What was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// TCP, proxy and TLS together.
    Connect,
    /// The server taking the next bytes of the request.
    Upload,
    /// The head of the response.
    Response,
    /// The next bytes of the response.
    Download,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Upload => "sending the next bytes",
            Self::Response => "waiting for the response",
            Self::Download => "waiting for the next bytes",
        })
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused, nothing listens there",
            Self::Unreachable => "unreachable",
            Self::Timeout => "no answer in time",
            Self::Other => "failed",
        })
    }
}

impl HttpError {
    /// Whether the same request may succeed later. Names and certificates do not mend themselves within a run; a resolver
    /// or a proxy that is overloaded does.
    pub fn is_transient(&self) -> bool {
        match &self.kind {
            HttpErrorKind::Tls(_) | HttpErrorKind::Request(_) | HttpErrorKind::TooLong { .. } => false,
            HttpErrorKind::Dns { .. }
            | HttpErrorKind::Connect { .. }
            | HttpErrorKind::Proxy(_)
            | HttpErrorKind::Timeout { .. }
            | HttpErrorKind::Interrupted(_)
            | HttpErrorKind::Protocol(_) => true,
        }
    }
}

impl HttpErrorKind {
    /// Nothing was sent when this happened.
    pub(super) fn before(self, host: &str) -> HttpError {
        HttpError { host: host.to_owned(), kind: self, before_sent: true }
    }

    /// The request may have reached the server.
    pub(super) fn after(self, host: &str) -> HttpError {
        HttpError { host: host.to_owned(), kind: self, before_sent: false }
    }

    /// Classifies what a connection attempt ended with.
    pub(super) fn connect(error: &io::Error, detail: String) -> Self {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectFailure::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ConnectFailure::Unreachable,
            io::ErrorKind::TimedOut => ConnectFailure::Timeout,
            _ => ConnectFailure::Other,
        };
        Self::Connect { why, detail }
    }

    /// Classifies what a handshake ended with.
    pub(super) fn handshake(error: &io::Error) -> Self {
        match volsync_common::tls::explain(error) {
            Some(words) => Self::Tls(words),
            None => Self::Interrupted(format!("in the TLS handshake: {error}")),
        }
    }

    /// Classifies what hyper says about a connection.
    pub(super) fn from_hyper(error: &hyper::Error) -> Self {
        if let Some(io) = io_cause(error) {
            return match volsync_common::tls::explain(io) {
                Some(words) => Self::Tls(words),
                None => Self::Interrupted(io.to_string()),
            };
        }
        if error.is_incomplete_message() {
            return Self::Interrupted("the server closed it before the response was complete".into());
        }
        if error.is_canceled() || error.is_closed() {
            return Self::Interrupted("the server closed it".into());
        }
        if error.is_user() {
            return Self::Request(error.to_string());
        }
        Self::Protocol(error.to_string())
    }
}

impl From<ProxyError> for HttpErrorKind {
    fn from(error: ProxyError) -> Self {
        Self::Proxy(error.to_string())
    }
}

fn io_cause(error: &hyper::Error) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        cause = error.source();
    }
    None
}
