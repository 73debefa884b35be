//! The outgoing direction.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::streams::{Spread, Spreading, Strain};
use crate::wire::WireError;
use crate::wire::frame::{HEADER, Message, Tag, header};

/// Sent when this much has gathered. Stock peers write frames below 64 KiB themselves.
const FULL: usize = 32 * 1024;

/// Sent when this much has gathered for an end of ours, which reads as much at once.
const FULL_WIDE: usize = 128 * 1024;

/// A stream that gathers values and messages and sends them in frames.
pub struct Mux<W> {
    sink: W,
    /// Whole frames, then room for a header and the data that will follow it.
    buffer: Vec<u8>,
    /// Where that header stands.
    open: usize,
    /// Sent when so much has gathered.
    full: usize,
    framed: bool,
    written: u64,
    pace: Option<Pace>,
    carries_errors: bool,
    strain: Option<Strain>,
    streams: Option<Spread>,
    /// They are in use.
    spread: bool,
}

/// Keeps the average rate below a limit.
#[derive(Debug)]
struct Pace {
    /// Bytes a second.
    rate: u64,
    /// Bytes that were sent ahead of the limit, at `since`.
    debt: u64,
    since: Instant,
}

/// Shorter pauses are put off.
const SHORTEST: Duration = Duration::from_millis(100);

impl Pace {
    /// How long to wait after sending so many bytes; time without output makes up for nothing that comes later.
    fn after(&mut self, sent: u64, now: Instant) -> Duration {
        let passed = u64::try_from(now.duration_since(self.since).as_micros()).unwrap_or(u64::MAX);
        let paid = passed.saturating_mul(self.rate) / 1_000_000;
        self.debt = self.debt.saturating_sub(paid).saturating_add(sent);
        self.since = now;
        let pause = Duration::from_micros(self.debt.saturating_mul(1_000_000) / self.rate);
        if pause < SHORTEST { Duration::ZERO } else { pause }
    }
}

impl<W: Write> Mux<W> {
    /// A stream that has no frames yet.
    pub fn new(sink: W) -> Self {
        let mut buffer = Vec::with_capacity(2 * FULL);
        buffer.resize(HEADER, 0);
        Self {
            sink,
            buffer,
            open: 0,
            full: FULL,
            framed: false,
            written: 0,
            pace: None,
            carries_errors: false,
            strain: None,
            streams: None,
            spread: false,
        }
    }

    /// Keeps below `rate` KiB a second on average; 0 is without limit.
    pub fn limit(&mut self, rate: u64) {
        let rate = rate.saturating_mul(1024);
        self.pace = (rate > 0).then(|| Pace { rate, debt: 0, since: Instant::now() });
    }

    /// Failures are told in this stream: the peer sees nothing else of us, no standard error and no exit code.
    pub fn carry_errors(&mut self) {
        self.carries_errors = true;
    }

    /// Whether failures are told in this stream.
    pub fn carries_errors(&self) -> bool {
        self.carries_errors
    }

    /// From here on there are frames. What was gathered must be sent before.
    pub fn framed(&mut self) {
        self.framed = true;
    }

    /// The peer is ours: fewer and longer frames.
    pub fn widen(&mut self) {
        self.full = FULL_WIDE;
    }

    /// From here on it is watched whether the connection holds the transfer up.
    pub(crate) fn watch(&mut self, strain: Strain) {
        self.strain = Some(strain);
    }

    /// Further streams are used when there are any. The first one is where this one leads to.
    pub(crate) fn spread(&mut self, streams: Spread) {
        self.streams = Some(streams);
    }

    /// Where further streams are brought to.
    pub(crate) fn spreading(&self) -> Option<Spreading> {
        self.streams.as_ref().map(Spread::spreading)
    }

    /// Where values are appended to.
    pub fn data(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Bytes sent so far, frames included.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes sent so far and those that wait.
    pub fn gathered(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Sends what was gathered if it is a lot.
    pub fn flush_if_full(&mut self) -> Result<(), WireError> {
        if self.buffer.len() < self.full { Ok(()) } else { self.flush() }
    }

    /// Sends what was gathered.
    pub fn flush(&mut self) -> Result<(), WireError> {
        let start = if self.framed { 0 } else { HEADER };
        self.close();
        let due = self.streams.as_ref().filter(|_| self.framed).and_then(Spread::due);
        let due = due.map(|(streams, message)| {
            self.buffer.extend_from_slice(&message);
            streams
        });
        let bytes = self.buffer.get(start..).unwrap_or_default();
        self.written += bytes.len() as u64;
        let begun = self.strain.is_some().then(Instant::now);
        let mut sent = match &mut self.streams {
            _ if bytes.is_empty() => Ok(()),
            Some(streams) if self.spread => streams.send(bytes),
            _ => self.sink.write_all(bytes).and_then(|()| self.sink.flush()),
        };
        if let (Some(strain), Some(begun)) = (&mut self.strain, begun) {
            strain.note(begun, bytes.len());
        }
        if let (Some(further), Some(streams)) = (due, &mut self.streams) {
            sent = sent.and_then(|()| streams.begin(further));
            self.spread = true;
        }
        if let Some(pace) = &mut self.pace {
            std::thread::sleep(pace.after(bytes.len() as u64, Instant::now()));
        }
        self.buffer.clear();
        self.reopen();
        sent.map_err(broken)
    }

    /// Sends what was gathered, and ends all streams but the first, which stays open.
    pub(crate) fn finish(&mut self) -> Result<(), WireError> {
        self.flush()?;
        self.streams.as_mut().map_or(Ok(()), Spread::finish).map_err(broken)
    }

    /// Adds a message after everything that was gathered.
    pub fn message(&mut self, message: &Message) {
        self.close();
        self.buffer.extend_from_slice(&message.encode());
        self.reopen();
    }

    /// Keeps the connection alive.
    pub fn keep_alive(&mut self) -> Result<(), WireError> {
        self.close();
        self.buffer.extend_from_slice(&header(Tag::Data, 0));
        self.reopen();
        self.flush()
    }

    /// Writes the header of the open frame, or takes its room away if there is no data.
    fn close(&mut self) {
        let len = self.buffer.len() - self.open - HEADER;
        if len == 0 {
            self.buffer.truncate(self.open);
        } else {
            self.buffer[self.open..self.open + HEADER].copy_from_slice(&header(Tag::Data, len));
        }
    }

    fn reopen(&mut self) {
        self.open = self.buffer.len();
        self.buffer.extend_from_slice(&[0; HEADER]);
    }

    /// The stream itself, after sending what was gathered.
    pub fn into_inner(mut self) -> Result<W, WireError> {
        self.flush()?;
        Ok(self.sink)
    }
}

/// A peer that is gone is found by writing as well as by reading.
fn broken(error: std::io::Error) -> WireError {
    if error.kind() == std::io::ErrorKind::BrokenPipe { WireError::Ended } else { WireError::Io(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_rate_is_kept() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut pace = Pace { rate: 1_000_000, debt: 0, since: start };
        assert_eq!(pace.after(50_000, at(0)), Duration::ZERO);
        assert_eq!(pace.after(150_000, at(0)), Duration::from_millis(200));
        assert_eq!(pace.after(100_000, at(200)), Duration::from_millis(100));
        // An hour of silence is no credit.
        assert_eq!(pace.after(500_000, at(3_600_000)), Duration::from_millis(500));
    }
}
