//! One HTTP/1.1 connection, driven by whoever uses it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until};

use super::error::{HttpError, HttpErrorKind, Waiting};
use super::pace::{Pace, Paced};
use super::payload::Payload;
use super::wire::{Stream, Traffic};

type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Paced>;

/// What one connection may buffer either way: enough for a read to be worth its system call and the acknowledgement that
/// it sends. hyper grows a buffer only while reads fill it, so that of a connection with small answers stays small.
const BUFFER: usize = 512 << 10;

/// How requests must look on a connection that leads to an HTTP proxy instead of the server.
#[derive(Clone, Debug)]
pub(super) struct AbsoluteForm {
    pub(super) authorization: Option<HeaderValue>,
}

/// A connection. Dropping it closes the socket.
pub(super) struct Connection {
    sender: SendRequest<Paced>,
    /// `None` once hyper is done with the socket.
    driver: Option<Pin<Box<Driver>>>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) absolute: Option<AbsoluteForm>,
}

/// Limits on waiting for a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) response: Duration,
    pub(super) idle: Duration,
}

/// A request that got no response.
pub(super) struct NoResponse {
    pub(super) kind: HttpErrorKind,
    /// Bytes of the request left this machine.
    pub(super) sent: bool,
    /// The connection was found closed and nothing of a response had come.
    pub(super) closed_in_silence: bool,
}

impl NoResponse {
    pub(super) fn for_host(self, host: &str) -> HttpError {
        HttpError { host: host.to_owned(), kind: self.kind, before_sent: !self.sent }
    }
}

impl Connection {
    pub(super) async fn open(
        stream: Box<dyn Stream>,
        traffic: Arc<Traffic>,
        absolute: Option<AbsoluteForm>,
    ) -> Result<Self, HttpErrorKind> {
        let opened = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await;
        let (sender, driver) = opened.map_err(|error| HttpErrorKind::from_hyper(&error))?;
        Ok(Self { sender, driver: Some(Box::pin(driver)), traffic, absolute })
    }

    /// Lets hyper read and write as far as it can.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && let Poll::Ready(outcome) = driver.as_mut().poll(cx)
        {
            // The cause reaches the caller through the response or its body.
            if let Err(error) = outcome {
                tracing::trace!(%error, "connection ended");
            }
            self.driver = None;
        }
    }

    /// Whether another request may go out on it now.
    pub(super) async fn is_reusable(&mut self) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(self.driver.is_some() && self.sender.is_ready())
        })
        .await
    }

    /// Whether it looks reusable without asking the socket.
    pub(super) fn is_ready(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Payload>,
        patience: Patience,
        pace: Option<Arc<Pace>>,
    ) -> Result<Response<Incoming>, NoResponse> {
        let length = request.body().len();
        let (read, written) = (self.traffic.read(), self.traffic.written());
        let request = request.map(|payload| Paced::new(payload, pace, &self.traffic));
        let mut response = pin!(self.sender.try_send_request(request));
        let outcome = self.watch(written, length, patience, response.as_mut()).await;
        let sent = self.traffic.written() > written;
        let silent = self.traffic.read() == read;
        match outcome {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                let kind = HttpErrorKind::from_hyper(error.error());
                let closed = matches!(kind, HttpErrorKind::Interrupted(_));
                Err(NoResponse { kind, sent, closed_in_silence: closed && silent })
            }
            Err(kind) => Err(NoResponse { kind, sent, closed_in_silence: false }),
        }
    }

    /// Polls connection and response together; time counts from the last byte that moved.
    async fn watch<F: Future>(
        &mut self,
        start: u64,
        length: u64,
        patience: Patience,
        mut response: Pin<&mut F>,
    ) -> Result<F::Output, HttpErrorKind> {
        let mut last = (start, Instant::now());
        let mut timer = pin!(sleep_until(last.1 + patience.idle.min(patience.response)));
        poll_fn(|cx| {
            self.drive(cx);
            if let Poll::Ready(outcome) = response.as_mut().poll(cx) {
                return Poll::Ready(Ok(outcome));
            }
            while timer.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                let written = self.traffic.written();
                if written != last.0 || self.traffic.is_held_back() {
                    last = (written, now);
                }
                let (what, after) = if written - start > length {
                    (Waiting::Response, patience.response)
                } else {
                    (Waiting::Upload, patience.idle)
                };
                if now >= last.1 + after {
                    return Poll::Ready(Err(HttpErrorKind::Timeout { what, after }));
                }
                timer.as_mut().reset(last.1 + after);
            }
            Poll::Pending
        })
        .await
    }
}
