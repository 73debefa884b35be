//! Bodies on the way, changed, cut, slowed or counted.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use s3s::{Body, StdError};
use tokio::time::Sleep;

use crate::record::Entry;
use crate::wire::Ending;

/// A request body that tells its record how much has arrived.
pub(crate) struct Counted<B> {
    pub(crate) inner: B,
    pub(crate) entry: Arc<Entry>,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.entry.received(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// How a shaped body ends before its time.
pub(crate) enum Cutting {
    /// It does not.
    Never,
    /// After this many bytes, in the manner of the [`Ending`].
    After(u64, Option<Ending>),
}

/// How a body is slowed: pieces of at most `bytes`, `every` so often.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) bytes: usize,
    pub(crate) every: Duration,
}

impl Pace {
    /// Pieces of a hundredth of a second.
    pub(crate) fn rate(bytes_per_second: u64) -> Self {
        let bytes = usize::try_from(bytes_per_second / 100).unwrap_or(usize::MAX).max(1);
        Self { bytes, every: Duration::from_millis(10) }
    }
}

/// A body with all that a fault may do to it.
pub(crate) struct Shaped {
    inner: Body,
    pending: Bytes,
    offset: u64,
    cutting: Cutting,
    flushed: bool,
    corrupt_at: Option<u64>,
    pace: Option<Pace>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Shaped {
    pub(crate) fn new(inner: Body) -> Self {
        Self {
            inner,
            pending: Bytes::new(),
            offset: 0,
            cutting: Cutting::Never,
            flushed: false,
            corrupt_at: None,
            pace: None,
            sleep: None,
        }
    }

    pub(crate) fn cut(self, cutting: Cutting) -> Self {
        Self { cutting, ..self }
    }

    pub(crate) fn corrupt(self, at: u64) -> Self {
        Self { corrupt_at: Some(at), ..self }
    }

    pub(crate) fn pace(self, pace: Pace) -> Self {
        Self { pace: Some(pace), ..self }
    }

    /// The most that may go out now.
    fn allowed(&self) -> usize {
        let until_cut = match self.cutting {
            Cutting::Never => u64::MAX,
            Cutting::After(at, _) => at.saturating_sub(self.offset),
        };
        let piece = self.pace.map_or(usize::MAX, |pace| pace.bytes);
        usize::try_from(until_cut).unwrap_or(usize::MAX).min(piece)
    }

    fn is_cut(&self) -> bool {
        matches!(self.cutting, Cutting::After(at, _) if self.offset >= at)
    }

    /// Ends the connection, after one turn in which hyper flushes what it holds.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        if !self.flushed {
            self.flushed = true;
            self.sleep = None;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Cutting::After(_, Some(ending)) = &self.cutting {
            ending.reset();
        }
        Poll::Ready(Some(Err("the body is cut here on purpose".into())))
    }

    fn next_piece(&mut self) -> Bytes {
        let take = self.allowed().min(self.pending.len());
        let piece = self.pending.split_to(take);
        let start = self.offset;
        self.offset += piece.len() as u64;
        self.sleep = self.pace.map(|pace| Box::pin(tokio::time::sleep(pace.every)));
        match self.corrupt_at.and_then(|at| usize::try_from(at.checked_sub(start)?).ok()) {
            Some(at) if at < piece.len() => flipped(&piece, at),
            _ => piece,
        }
    }
}

/// The piece with one bit different.
fn flipped(piece: &Bytes, at: usize) -> Bytes {
    let mut bytes = piece.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    bytes.into()
}

impl HttpBody for Shaped {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        if this.is_cut() {
            return this.poll_cut(cx);
        }
        if let Some(sleep) = &mut this.sleep {
            ready!(sleep.as_mut().poll(cx));
            this.sleep = None;
        }
        while this.pending.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.pending = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(this.next_piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.pending.is_empty() && !matches!(self.cutting, Cutting::After(..)) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Exact only at the start, which is when it becomes the Content-Length.
        if self.offset == 0 { self.inner.size_hint() } else { SizeHint::default() }
    }
}

/// Boxes a shaped body for `s3s`.
pub(crate) fn boxed(shaped: Shaped) -> Body {
    Body::http_body_unsync(shaped)
}
