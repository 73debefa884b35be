//! Request bodies: always in memory, always of known length, so that every request can be sent again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

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
}

impl Payload {
    /// Length in bytes, which becomes the `Content-Length`.
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Chunks(chunks) => chunks.iter().map(|chunk| chunk.len() as u64).sum(),
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next piece, at most `most` bytes.
    pub(super) fn take_step(&mut self, most: usize) -> Option<Bytes> {
        let chunk = match self {
            Self::Empty => return None,
            Self::Bytes(bytes) => bytes,
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
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().take_step(STEP).map(|step| Ok(Frame::data(step))))
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
}
