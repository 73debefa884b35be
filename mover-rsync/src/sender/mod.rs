//! The sending side: lists a tree, and answers requests for its files.
//!
//! A thread reads requests and prepares block sums for searching, while this one reads files and writes answers. The
//! channel between them is bounded: when it is full requests wait in the connection, which is safe because the
//! receiving side reads answers whatever happens to its requests.
//!
//! The list is sent whole, not in segments. It costs memory, but then every directory has been read before a stock
//! receiver deletes anything: an error of reading reaches it in time, and it deletes nothing.

mod answer;
mod extents;
mod list;
mod names;
mod requests;
mod source;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

pub(crate) use list::{kept, travelling};
pub(crate) use names::Name;
pub(crate) use source::Source;
pub use source::Sources;

use crate::accounts::Accounts;
use crate::batch::{Batches, Things};
use crate::exit::{ExitCode, Fatal};
use crate::native;
use crate::outcome::Outcome;
use crate::session::Terms;
use crate::stream::{Demux, Mux};
use crate::wire::WireError;
use crate::wire::frame::Message;
use crate::wire::handshake::Side;
use crate::wire::ndx::{Ndx, NdxState};
use crate::wire::stats::{Deleted, Totals};
use answer::Answers;
use list::Listing;
use requests::{Heard, Requests};

/// Batches of requests that are read ahead. Of each only the last request may have block sums, of a few MiB.
const AHEAD: usize = 8;

/// Sends `sources` after the handshake and the filter rules.
pub fn run<R: Read + Send + 'static, W: Write>(
    sources: &Sources,
    terms: &Terms,
    accounts: &Accounts,
    input: Demux<R>,
    out: &mut Mux<W>,
) -> Result<Outcome, Fatal> {
    let outcome = send(sources, terms, accounts, input, out)?;
    out.finish()?;
    Ok(outcome)
}

fn send<R: Read + Send + 'static, W: Write>(
    sources: &Sources,
    terms: &Terms,
    accounts: &Accounts,
    mut input: Demux<R>,
    out: &mut Mux<W>,
) -> Result<Outcome, Fatal> {
    let (sender, heard) = mpsc::sync_channel(AHEAD);
    let (sender, heard) = (Batches::new(sender), Things::new(heard));
    let (messages, side) = (sender.clone(), terms.side());
    input.framed(Box::new(move |message| requests::heard(message, side, &messages)));
    let received = input.received();
    let known = if terms.agreed.native() {
        native::send(sources.single(), terms, accounts, list::failed, &mut input, out)?
    } else {
        native::Comparison::default()
    };
    let requests = Requests::new(terms, input, sender);
    let thread = std::thread::Builder::new().name("requests".into()).spawn(move || requests.run());
    thread.map_err(|error| Fatal::Other(ExitCode::StartClient, format!("cannot start a thread: {error}")))?;
    let listing = list::send(sources, terms, accounts, known, out)?;
    // A stock client ends as soon as it hears of nothing, without another word.
    if terms.side() == Side::Server && listing.list.entries().is_empty() {
        return Ok(Outcome { io_error: listing.io_error, ..Outcome::default() });
    }
    let (ndx, outcome) = (NdxState::default(), Outcome::default());
    Session { terms, heard, received, ndx, outcome, deleted: None }.run(sources, listing, out)
}

struct Session<'a> {
    terms: &'a Terms,
    heard: Things<Heard>,
    /// Bytes that came.
    received: Arc<AtomicU64>,
    ndx: NdxState,
    outcome: Outcome,
    /// What the receiving side says to have deleted.
    deleted: Option<Deleted>,
}

/// How often the receiving side says "done" before the goodbyes: after its requests, after second tries, and after
/// delayed updates. The list is one segment.
const PHASES: u32 = 3;

impl Session<'_> {
    fn run<W: Write>(mut self, sources: &Sources, listing: Listing, out: &mut Mux<W>) -> Result<Outcome, Fatal> {
        self.outcome.files = listing.files;
        self.outcome.total_size = listing.total_size;
        self.outcome.list_size = listing.size;
        self.outcome.list_time = listing.time;
        self.outcome.io_error = listing.io_error;
        let listed = listing.io_error;
        let mut answers = Answers::new(sources, self.terms, listing.list)?;
        let mut done = 0;
        while done < PHASES {
            match self.next(out)? {
                Heard::Item(request) => answers.answer(*request, &mut self, out)?,
                Heard::Done => {
                    done += 1;
                    answers.all_asked();
                    if done < PHASES {
                        self.ndx.write(Ndx::Done, out.data());
                    }
                }
                other => self.aside(other)?,
            }
        }
        if self.outcome.io_error != listed {
            out.message(&Message::IoError(self.outcome.io_error));
        }
        self.ndx.write(Ndx::Done, out.data());
        if self.terms.side() == Side::Server {
            self.totals(out).write(out.data());
        }
        self.goodbye(out)?;
        self.outcome.deleted = self.deleted.unwrap_or_default();
        Ok(self.outcome)
    }

    /// What a client is told at the end.
    fn totals<W: Write>(&self, out: &Mux<W>) -> Totals {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Totals {
            read: number(self.received.load(Ordering::Relaxed)),
            written: number(out.written()),
            size: number(self.outcome.total_size),
            built: number(self.outcome.list_time),
            sent: 0,
        }
    }

    /// Late deletions, then the end.
    fn goodbye<W: Write>(&mut self, out: &mut Mux<W>) -> Result<(), Fatal> {
        let mut left = if self.terms.agreed.protocol >= 31 { 2 } else { 1 };
        while left > 0 {
            match self.next(out)? {
                Heard::Done => {
                    left -= 1;
                    if left > 0 {
                        self.repeat_deletions(out.data());
                        self.ndx.write(Ndx::Done, out.data());
                    }
                }
                Heard::Item(_) => return Err(WireError::bad("a request after the last phase").into()),
                other => self.aside(other)?,
            }
        }
        Ok(out.flush()?)
    }

    /// A server tells its client what the client told; stock clients count on it.
    fn repeat_deletions(&mut self, out: &mut Vec<u8>) {
        if let (Side::Server, Some(deleted)) = (self.terms.side(), &self.deleted) {
            self.ndx.write(Ndx::DeleteStats, out);
            deleted.write(out);
        }
    }

    /// What is neither a request nor the end of a phase.
    fn aside(&mut self, heard: Heard) -> Result<(), Fatal> {
        match heard {
            Heard::DeleteStats(deleted) => self.deleted = Some(deleted),
            Heard::Deleted(path) => {
                if let Some(screen) = &self.terms.screen {
                    screen.deleted(&path);
                }
            }
            Heard::Failed => self.outcome.failed = true,
            Heard::IoError(bits) => self.outcome.io_error |= bits,
            Heard::Ended(fatal) => return Err(fatal),
            Heard::Item(_) | Heard::Done => {}
        }
        Ok(())
    }

    /// What comes next; everything gathered is sent before waiting for it.
    fn next<W: Write>(&mut self, out: &mut Mux<W>) -> Result<Heard, Fatal> {
        if let Ok(heard) = self.heard.try_next() {
            return Ok(heard);
        }
        out.flush()?;
        let ended = || Fatal::from(WireError::Ended);
        let half = self.terms.options.timeout.div_ceil(2);
        // Without a limit the reading thread still ends with a word, and the connection has keep-alives of its own.
        let limit = (half > 0).then(|| Duration::from_secs(half));
        loop {
            match self.heard.next(limit) {
                Ok(heard) => return Ok(heard),
                Err(mpsc::RecvTimeoutError::Timeout) => out.keep_alive()?,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(ended()),
            }
        }
    }
}
