//! Request bodies: always of known length, and read from memory or from something that gives the same bytes again, so that
//! every request can be sent again.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

/// Larger pieces are handed over in steps of this size, so that an upload shows progress. None of the measurements
/// depend on it; it only has to be well below what a slow link carries in one idle timeout.
const STEP: usize = 256 * 1024;

/// What a request carries.
#[derive(Clone, Debug, Default)]
pub enum Payload {
    /// Nothing.
    #[default]
    Empty,
    /// One piece.
    Bytes(Bytes),
    /// Several pieces, sent one after the other.
    Chunks(VecDeque<Bytes>),
    /// Read while it is sent.
    Read(Reading),
}

/// Reads a piece at an offset, of at most the length that is asked for; nothing only at the end. Runs on a thread that may
/// block. An error breaks the request off before its last byte.
pub type ReadPiece = Arc<dyn Fn(u64, usize) -> io::Result<Bytes> + Send + Sync>;

/// A body that is read in pieces of [`Reading::PIECE`] bytes, one ahead of the one that is being sent. A clone begins at the
/// beginning.
pub struct Reading {
    read: ReadPiece,
    start: u64,
    /// What is still to be read.
    at: u64,
    end: u64,
    next: Option<JoinHandle<io::Result<Bytes>>>,
    piece: Bytes,
}

impl Reading {
    /// Bytes of a piece; twice as much is in memory.
    pub const PIECE: usize = 512 << 10;

    /// `len` bytes from `start`.
    pub fn new(read: ReadPiece, start: u64, len: u64) -> Self {
        Self { read, start, at: start, end: start + len, next: None, piece: Bytes::new() }
    }

    fn left(&self) -> u64 {
        self.end - self.at + self.piece.len() as u64
    }

    /// Begins to read the next piece.
    fn read_ahead(&mut self) {
        if self.next.is_none() && self.at < self.end {
            let (read, at) = (Arc::clone(&self.read), self.at);
            let len = usize::try_from(self.end - at).unwrap_or(Self::PIECE).min(Self::PIECE);
            self.next = Some(spawn_blocking(move || read(at, len)));
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.read_ahead();
        let Some(next) = &mut self.next else { return Poll::Ready(Ok(())) };
        let read = ready!(Pin::new(next).poll(cx));
        self.next = None;
        let piece = read.map_err(io::Error::other)??;
        let len = piece.len() as u64;
        if len == 0 || len > self.end - self.at {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.at += len;
        self.piece = piece;
        self.read_ahead();
        Poll::Ready(Ok(()))
    }
}

impl Clone for Reading {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.read), self.start, self.end - self.start)
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reading({}..{} at {})", self.start, self.end, self.at)
    }
}

impl Payload {
    /// Length in bytes, which becomes the `Content-Length`.
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Chunks(chunks) => chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            Self::Read(reading) => reading.left(),
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next piece, at most `most` bytes.
    pub(super) fn poll_step(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Self::Read(reading) = self
            && reading.piece.is_empty()
            && let Err(error) = ready!(reading.poll_piece(cx))
        {
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(self.take_step(most).map(Ok))
    }

    fn take_step(&mut self, most: usize) -> Option<Bytes> {
        let chunk = match self {
            Self::Empty => return None,
            Self::Bytes(bytes) => bytes,
            Self::Read(reading) => &mut reading.piece,
            Self::Chunks(chunks) => {
                while chunks.front().is_some_and(Bytes::is_empty) {
                    chunks.pop_front();
                }
                chunks.front_mut()?
            }
        };
        let step = chunk.split_to(chunk.len().min(most));
        (!step.is_empty()).then_some(step)
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<Bytes>> for Payload {
    fn from(chunks: Vec<Bytes>) -> Self {
        Self::Chunks(chunks.into())
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.get_mut().poll_step(STEP, cx).map(|step| step.map(|step| step.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_join_to_the_whole() {
        let check = |mut payload: Payload, expect: &[u8]| {
            assert_eq!(payload.len(), expect.len() as u64);
            let mut sent = Vec::new();
            while let Some(step) = payload.take_step(STEP) {
                assert!(!step.is_empty() && step.len() <= STEP);
                sent.extend_from_slice(&step);
            }
            assert!(sent == expect && payload.is_empty());
        };
        let long = vec![7u8; 2 * STEP + 1];
        check(Payload::Empty, b"");
        check(Payload::Bytes(Bytes::new()), b"");
        check(Payload::Bytes(long.clone().into()), &long);
        check(Payload::from(vec![Bytes::new(), "ab".into(), Bytes::new(), "c".into(), Bytes::new()]), b"abc");
        check(Payload::from(Vec::new()), b"");
    }

    #[tokio::test]
    async fn what_is_read_while_it_is_sent_can_be_sent_again() {
        let content: Bytes = (0..3 * Reading::PIECE + 5).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let from = content.clone();
        let read: ReadPiece = Arc::new(move |at, len| {
            let at = usize::try_from(at).unwrap();
            Ok(from.slice(at..from.len().min(at + len)))
        });
        let payload = Payload::Read(Reading::new(read, 7, content.len() as u64 - 7));
        for mut payload in [payload.clone(), payload] {
            assert_eq!(payload.len(), content.len() as u64 - 7);
            let mut sent = Vec::new();
            while let Some(step) = std::future::poll_fn(|cx| payload.poll_step(STEP, cx)).await {
                sent.extend_from_slice(&step.unwrap());
            }
            assert!(sent == content[7..] && payload.is_empty());
        }
    }

    #[tokio::test]
    async fn content_that_ends_early_is_an_error() {
        let read: ReadPiece = Arc::new(|_, _| Ok(Bytes::new()));
        let mut payload = Payload::Read(Reading::new(read, 0, 5));
        let step = std::future::poll_fn(|cx| payload.poll_step(STEP, cx)).await;
        assert_eq!(step.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
