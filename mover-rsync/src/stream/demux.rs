//! The incoming direction.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::streams::{Gather, Gathering, Strain};
use crate::wire::frame::{HEADER, Message, Tag, parse_header};
use crate::wire::{Input, WireError, bad};

/// Read at once.
const BUFFER: usize = 128 * 1024;

/// What is to be done with messages as they come.
pub type Handler = Box<dyn FnMut(Message) -> Result<(), WireError> + Send>;

/// What is to be done before more is waited for.
pub(crate) type Waiting = Box<dyn FnMut() + Send>;

/// A stream whose frames are taken off. Messages go to the handler at once, even in the middle of a value.
pub struct Demux<R> {
    source: R,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    /// Bytes of data until the next header; before there are frames, no header ever comes.
    frame: usize,
    framed: bool,
    handler: Handler,
    waiting: Option<Waiting>,
    received: Arc<AtomicU64>,
    strain: Option<Strain>,
    streams: Option<Streams>,
}

/// Further streams that may be used.
struct Streams {
    gather: Gather,
    /// The first one, until it is one of several.
    first: Option<OwnedFd>,
    /// Seconds that are waited for a piece; 0 is for ever.
    limit: u64,
}

impl<R: Read> Demux<R> {
    /// A stream that has no frames yet.
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER],
            at: 0,
            end: 0,
            frame: usize::MAX,
            framed: false,
            handler: Box::new(|_| Ok(())),
            waiting: None,
            received: Arc::default(),
            strain: None,
            streams: None,
        }
    }

    /// From here on there are frames, if there were none already, and messages go to `handler`.
    pub fn framed(&mut self, handler: Handler) {
        if !std::mem::replace(&mut self.framed, true) {
            self.frame = 0;
        }
        self.handler = handler;
    }

    /// From here on does something each time before it waits for bytes.
    pub(crate) fn before_waiting(&mut self, waiting: Waiting) {
        self.waiting = Some(waiting);
    }

    /// From here on it is watched whether the connection holds the transfer up.
    pub(crate) fn watch(&mut self, strain: Strain) {
        self.strain = Some(strain);
    }

    /// The peer may use further streams. `first` is where this one comes from; each piece is waited for at most `limit`
    /// seconds, 0 is for ever.
    pub(crate) fn gather(&mut self, gather: Gather, first: OwnedFd, limit: u64) {
        self.streams = Some(Streams { gather, first: Some(first), limit });
    }

    /// Where further streams are brought to.
    pub(crate) fn gathering(&self) -> Option<Gathering> {
        self.streams.as_ref().map(|streams| streams.gather.gathering())
    }

    /// Further streams are in use, and from here on everything comes in pieces.
    fn name_streams(&mut self, numbers: &[u8]) -> Result<(), WireError> {
        let Some(Streams { gather, first, .. }) = &mut self.streams else {
            return bad("several streams, which were not agreed on");
        };
        gather.name(numbers)?;
        let Some(first) = first.take() else { return Ok(()) };
        gather.begin(self.buffer[self.at..self.end].to_vec(), first)?;
        self.received.fetch_sub((self.end - self.at) as u64, Ordering::Relaxed);
        self.at = self.end;
        Ok(())
    }

    /// Where bytes come from.
    pub fn source(&mut self) -> &mut R {
        &mut self.source
    }

    /// Bytes that came so far, frames included.
    pub fn received(&self) -> Arc<AtomicU64> {
        self.received.clone()
    }

    /// Bytes that were read of what came, frames included.
    pub fn taken(&self) -> u64 {
        self.received.load(Ordering::Relaxed) - (self.end - self.at) as u64
    }

    /// Takes bytes as they come, without looking at frames.
    fn raw(&mut self, mut buf: &mut [u8]) -> Result<(), WireError> {
        while !buf.is_empty() {
            if self.at == self.end {
                self.fill()?;
            }
            let len = buf.len().min(self.end - self.at);
            let (head, rest) = buf.split_at_mut(len);
            head.copy_from_slice(&self.buffer[self.at..self.at + len]);
            self.at += len;
            buf = rest;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), WireError> {
        if let Some(waiting) = &mut self.waiting {
            waiting();
        }
        let begun = self.strain.is_some().then(Instant::now);
        let filled = match &self.streams {
            Some(Streams { first: None, gather, limit }) => {
                self.buffer = gather.next(std::mem::take(&mut self.buffer), *limit)?;
                self.buffer.len()
            }
            _ => self.read_some()?,
        };
        (self.at, self.end) = (0, filled);
        self.received.fetch_add(filled as u64, Ordering::Relaxed);
        if let (Some(strain), Some(begun)) = (&mut self.strain, begun) {
            strain.note(begun, filled);
        }
        Ok(())
    }

    fn read_some(&mut self) -> Result<usize, WireError> {
        loop {
            match self.source.read(&mut self.buffer) {
                Ok(0) => return Err(WireError::Ended),
                Ok(filled) => return Ok(filled),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                    return Err(error
                        .get_ref()
                        .and_then(|e| e.downcast_ref::<Silence>())
                        .map_or(WireError::Ended, |silence| WireError::Timeout(silence.0)));
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Err(WireError::Ended),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads headers and messages up to the next data.
    fn next_frame(&mut self) -> Result<(), WireError> {
        while self.frame == 0 {
            let mut header = [0; HEADER];
            self.raw(&mut header)?;
            let (tag, len) = parse_header(header)?;
            if tag == Tag::Data {
                self.frame = len;
                continue;
            }
            let mut payload = vec![0; len];
            self.raw(&mut payload)?;
            if tag == Tag::Streams {
                self.name_streams(&payload)?;
                continue;
            }
            if let Some(message) = Message::parse(tag, &payload)? {
                (self.handler)(message)?;
            }
        }
        Ok(())
    }

    fn slow(&mut self, mut buf: &mut [u8]) -> Result<(), WireError> {
        while !buf.is_empty() {
            self.next_frame()?;
            let len = buf.len().min(self.frame);
            let (head, rest) = buf.split_at_mut(len);
            self.raw(head)?;
            if self.framed {
                self.frame -= len;
            }
            buf = rest;
        }
        Ok(())
    }

    /// Reads to the end of the stream, for its messages; what else comes is not looked at.
    pub fn drain(&mut self) -> Result<(), WireError> {
        let mut rest = [0; 4096];
        loop {
            self.next_frame()?;
            let len = rest.len().min(self.frame);
            self.exact(&mut rest[..len])?;
        }
    }
}

impl<R: Read> Input for Demux<R> {
    #[inline]
    fn exact(&mut self, buf: &mut [u8]) -> Result<(), WireError> {
        let len = buf.len();
        if len > self.frame || len > self.end - self.at {
            return self.slow(buf);
        }
        buf.copy_from_slice(&self.buffer[self.at..self.at + len]);
        self.at += len;
        if self.framed {
            self.frame -= len;
        }
        Ok(())
    }
}

/// Nothing came for so many seconds.
#[derive(Debug, thiserror::Error)]
#[error("silence of {0} s")]
struct Silence(u64);

/// A descriptor that is read with a time limit.
#[derive(Debug)]
pub struct Timed<R> {
    inner: R,
    /// Seconds; 0 is for ever.
    limit: u64,
}

impl<R: Read + AsFd> Timed<R> {
    /// Reads `inner`, waiting at most `limit` seconds each time; 0 is for ever.
    pub fn new(inner: R, limit: u64) -> Self {
        Self { inner, limit }
    }

    /// From here on waits at most `limit` seconds.
    pub fn limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    fn wait(&self) -> std::io::Result<()> {
        let limit = Timespec { tv_sec: i64::try_from(self.limit).unwrap_or(i64::MAX), tv_nsec: 0 };
        loop {
            match poll(&mut [PollFd::new(&self.inner, PollFlags::IN)], Some(&limit)) {
                Ok(0) => return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, Silence(self.limit))),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<R: Read + AsFd> Read for Timed<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.limit > 0 {
            self.wait()?;
        }
        self.inner.read(buf)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mux;
    use super::*;
    use crate::wire::Output as _;
    use std::sync::mpsc;

    #[test]
    fn values_span_frames_and_messages_go_to_the_handler() {
        let mut bytes = b"\x20\0\0\0".to_vec();
        for (tag, payload) in [(7, &b"\x01\x02"[..]), (9, b"hi\n"), (7, b""), (7, b"\x03\x04\x05")] {
            bytes.extend_from_slice(&[payload.len().to_le_bytes()[0], 0, 0, tag]);
            bytes.extend_from_slice(payload);
        }
        let (heard, messages) = mpsc::channel();
        let mut demux = Demux::new(&bytes[..]);
        assert_eq!(demux.int().unwrap(), 32);
        demux.framed(Box::new(move |message| {
            heard.send(message).unwrap();
            Ok(())
        }));
        assert_eq!(demux.int().unwrap(), 0x0403_0201);
        assert_eq!(messages.try_recv().unwrap(), Message::Text { tag: Tag::Info, text: b"hi\n".to_vec() });
        assert_eq!(demux.byte().unwrap(), 5);
        assert!(matches!(demux.byte(), Err(WireError::Ended)));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut mux = Mux::new(Vec::new());
        mux.data().int(31);
        mux.flush().unwrap();
        mux.framed();
        for n in 0..40_000 {
            mux.data().int(n);
            mux.flush_if_full().unwrap();
        }
        mux.message(&Message::Noop);
        let bytes = mux.into_inner().unwrap();
        let mut demux = Demux::new(&bytes[..]);
        assert_eq!(demux.int().unwrap(), 31);
        demux.framed(Box::new(|_| Ok(())));
        assert!((0..40_000).all(|n| demux.int().unwrap() == n));
        assert!(matches!(demux.drain(), Err(WireError::Ended)));
    }

    #[test]
    fn silence_is_an_error() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let mut demux = Demux::new(Timed::new(reader, 1));
        assert!(matches!(demux.byte(), Err(WireError::Timeout(1))));
    }
}
