//! Large reads through TLS.
//!
//! rustls asks its socket for one record (16 KiB) at a time and hands out one record at a time: seven system calls for
//! each 64 KiB and a wake-up of the reader for each of them. Here the socket is asked for as much as it has, and the
//! reader gets as much as fits (`docs/performance.md`, "TLS").

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// Bytes asked of a socket at a time: sixteen records. Pages of it that nothing was read into take no memory.
const AT_ONCE: usize = 256 << 10;

/// What TLS reads from: `socket`, asked for up to 256 KiB at a time.
pub fn bulk_socket<S: AsyncRead>(socket: S) -> BufReader<S> {
    BufReader::with_capacity(AT_ONCE, socket)
}

/// A stream that fills the buffer of whoever reads as far as it can without waiting.
#[derive(Debug)]
pub struct BulkReader<S> {
    stream: S,
    /// What came after bytes that had to be handed out first.
    error: Option<io::Error>,
}

impl<S> BulkReader<S> {
    /// Reads from `stream`, in most cases TLS.
    pub fn new(stream: S) -> Self {
        Self { stream, error: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BulkReader<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        let start = buffer.filled().len();
        while buffer.remaining() > 0 {
            let before = buffer.filled().len();
            let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
            let brought = before > start;
            match outcome {
                Poll::Ready(Ok(())) if buffer.filled().len() > before => {}
                Poll::Ready(Err(error)) if brought => {
                    self.error = Some(error);
                    break;
                }
                // The end is told again, and who waits was noted.
                _ if brought => break,
                outcome => return outcome,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BulkReader<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use tokio::io::AsyncReadExt as _;

    /// Brings one of these with each read, at the end nothing.
    struct Script(VecDeque<Result<&'static [u8], &'static str>>);

    impl AsyncRead for Script {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(match self.0.pop_front() {
                None => Ok(()),
                Some(Err(text)) => Err(io::Error::other(text)),
                Some(Ok(bytes)) => {
                    let (now, later) = bytes.split_at(bytes.len().min(buffer.remaining()));
                    buffer.put_slice(now);
                    if !later.is_empty() {
                        self.0.push_front(Ok(later));
                    }
                    Ok(())
                }
            })
        }
    }

    /// What comes with each read into a buffer of `room` bytes, and how that ends.
    async fn read(
        script: &[Result<&'static [u8], &'static str>],
        room: usize,
    ) -> (Vec<u8>, Vec<usize>, Option<String>) {
        let mut reader = BulkReader::new(Script(script.iter().copied().collect()));
        let (mut all, mut counts) = (Vec::new(), Vec::new());
        loop {
            let mut buffer = vec![0; room];
            match reader.read(&mut buffer).await {
                Ok(0) => return (all, counts, None),
                Ok(count) => {
                    all.extend_from_slice(&buffer[..count]);
                    counts.push(count);
                }
                Err(error) => return (all, counts, Some(error.to_string())),
            }
        }
    }

    #[tokio::test]
    async fn what_is_there_is_read_at_once_up_to_the_room() {
        let three: [Result<&[u8], _>; 3] = [Ok(b"abc"), Ok(b"de"), Ok(b"f")];
        for (room, counts) in [(100, vec![6]), (6, vec![6]), (4, vec![4, 2]), (1, vec![1; 6])] {
            assert_eq!(read(&three, room).await, (b"abcdef".to_vec(), counts, None), "{room}");
        }
    }

    #[tokio::test]
    async fn an_error_comes_after_what_came_before_it() {
        let broken = Some("broken".to_owned());
        assert_eq!(read(&[Ok(b"abc"), Err("broken")], 9).await, (b"abc".to_vec(), vec![3], broken.clone()));
        assert_eq!(read(&[Err("broken")], 9).await, (vec![], vec![], broken));
    }
}
