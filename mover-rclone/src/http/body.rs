//! Response bodies: every wait bounded, every length checked.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::connection::Connection;
use super::error::{HttpError, HttpErrorKind, Waiting};
use super::pace::Pace;
use super::pool::{Key, Pool};

/// The body of a response. Read to its end it gives the connection back; dropped earlier it closes it.
pub struct BodyReader {
    incoming: Incoming,
    home: Option<Home>,
    host: String,
    left: Option<u64>,
    idle: Duration,
    pace: Option<Arc<Pace>>,
}

/// The connection and where it goes afterwards.
pub(super) struct Home {
    pub(super) connection: Connection,
    pub(super) pool: Arc<Pool>,
    pub(super) key: Key,
    /// The right to be in flight, where that is limited.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader").field("host", &self.host).field("left", &self.left).finish_non_exhaustive()
    }
}

impl BodyReader {
    pub(super) fn new(incoming: Incoming, home: Home, idle: Duration, pace: Option<Arc<Pace>>) -> Self {
        let host = home.key.authority.as_str().to_owned();
        let left = incoming.size_hint().exact();
        let mut reader = Self { incoming, home: Some(home), host, left, idle, pace };
        reader.release_if_done();
        reader
    }

    /// The bytes still to come, if the server said how many there are.
    pub fn remaining(&self) -> Option<u64> {
        self.left
    }

    /// The next bytes; `None` at the end, and only if all announced bytes have come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            let frame = timeout(self.idle, poll_fn(|cx| self.poll_frame(cx))).await;
            let frame =
                frame.map_err(|_| self.fail(HttpErrorKind::Timeout { what: Waiting::Download, after: self.idle }))?;
            let Some(frame) = frame else {
                self.check_complete()?;
                self.release_if_done();
                return Ok(None);
            };
            let frame = frame.map_err(|error| self.fail(HttpErrorKind::from_hyper(&error)))?;
            if let Ok(bytes) = frame.into_data() {
                self.count(bytes.len() as u64)?;
                self.release_if_done();
                if let Some(pace) = &self.pace {
                    pace.wait_bytes(bytes.len()).await;
                }
                return Ok(Some(bytes));
            }
        }
    }

    /// The whole body, if it has at most `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, HttpError> {
        let too_long = |left: Option<u64>| left.is_some_and(|left| left > limit as u64);
        if too_long(self.left) {
            return Err(self.fail(HttpErrorKind::TooLong { limit }));
        }
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        if self.left == Some(0) && first.len() <= limit {
            return Ok(first);
        }
        let mut whole = BytesMut::from(first.as_ref());
        while let Some(bytes) = self.next().await? {
            if whole.len() + bytes.len() > limit {
                return Err(self.fail(HttpErrorKind::TooLong { limit }));
            }
            whole.extend_from_slice(&bytes);
        }
        if whole.len() > limit { Err(self.fail(HttpErrorKind::TooLong { limit })) } else { Ok(whole.freeze()) }
    }

    /// Asking hyper for bytes wakes its reader, so the connection is driven between two looks.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return ready;
        }
        let Some(home) = &mut self.home else { return Poll::Pending };
        home.connection.drive(cx);
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn count(&mut self, bytes: u64) -> Result<(), HttpError> {
        let Some(left) = self.left else { return Ok(()) };
        match left.checked_sub(bytes) {
            Some(left) => self.left = Some(left),
            None => return Err(self.fail(HttpErrorKind::Protocol("more bytes than announced".into()))),
        }
        Ok(())
    }

    fn check_complete(&self) -> Result<(), HttpError> {
        match self.left {
            None | Some(0) => Ok(()),
            Some(left) => {
                Err(self.fail(HttpErrorKind::Interrupted(format!("{left} bytes of the response are missing"))))
            }
        }
    }

    fn release_if_done(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(home) = self.home.take()
        {
            home.pool.put(home.key, home.connection);
        }
    }

    fn fail(&self, kind: HttpErrorKind) -> HttpError {
        kind.after(&self.host)
    }
}
