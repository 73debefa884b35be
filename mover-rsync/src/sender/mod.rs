//! The sending side: lists a tree, and answers requests for its files.
//!
//! A thread reads requests and prepares block sums for searching, while this one reads files and writes answers. The
//! channel between them is bounded: when it is full requests wait in the connection, which is safe because the
//! receiving side reads answers whatever happens to its requests.
//!
//! The list is sent whole, not in segments. It costs memory, but then every directory has been read before a stock
//! receiver deletes anything: an error of reading reaches it in time, and it deletes nothing.

mod answer;
mod list;
mod requests;
mod source;

use std::io::{Read, Write};
use std::sync::mpsc;

pub use list::Counts;
pub use source::Source;

use crate::accounts::Accounts;
use crate::exit::{ExitCode, Fatal};
use crate::options::Options;
use crate::session::Agreed;
use crate::stream::{Demux, Mux};
use crate::wire::frame::{Message, io_error};
use crate::wire::item::Item;
use crate::wire::ndx::{Ndx, NdxState};
use crate::wire::stats::Deleted;
use answer::Answers;
use list::Listing;
use requests::{Heard, Requests};

/// Requests that are read ahead. Each may have block sums of a few MiB.
const AHEAD: usize = 64;

/// What happens, for whoever shows it to people.
pub trait Observer {
    /// An item: something of the list that changes. `target` is that of a link.
    fn item(&mut self, item: &Item, mode: u32, path: &[u8], target: &[u8]);
    /// The receiving side deleted a path; that of a directory ends with NUL.
    fn deleted(&mut self, path: &[u8]);
}

/// How a transfer went that came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Error bits of ours.
    pub io_error: u32,
    /// The receiving side told of a failure.
    pub failed: bool,
    /// Files of the list, by kind.
    pub files: Counts,
    /// Files that the receiving side did not have, by kind.
    pub created: Counts,
    /// What the receiving side deleted.
    pub deleted: Deleted,
    /// Regular files that were sent.
    pub transferred: u64,
    /// Bytes of all files.
    pub total_size: u64,
    /// Bytes of the files that were sent.
    pub transferred_size: u64,
    /// Bytes of those that were sent as they are.
    pub literal: u64,
    /// Bytes of those that the receiving side had.
    pub matched: u64,
    /// Bytes of the file list.
    pub list_size: u64,
    /// Milliseconds of building and sending the list.
    pub list_time: u64,
}

impl Outcome {
    /// The exit code.
    pub fn code(&self) -> ExitCode {
        if self.failed || self.io_error & io_error::GENERAL != 0 {
            ExitCode::Partial
        } else if self.io_error & io_error::VANISHED != 0 {
            ExitCode::Vanished
        } else if self.io_error & io_error::DELETE_LIMIT != 0 {
            ExitCode::DeleteLimit
        } else {
            ExitCode::Success
        }
    }
}

/// Sends `source` after the handshake and the filter rules.
pub fn run<R: Read + Send + 'static, W: Write>(
    source: &Source,
    options: &Options,
    agreed: Agreed,
    accounts: &Accounts,
    mut input: Demux<R>,
    out: &mut Mux<W>,
    observer: &mut dyn Observer,
) -> Result<Outcome, Fatal> {
    let (sender, heard) = mpsc::sync_channel(AHEAD);
    let messages = sender.clone();
    input.framed(Box::new(move |message| requests::heard(message, &messages)));
    let requests = Requests::new(options, agreed, input, sender);
    let thread = std::thread::Builder::new().name("requests".into()).spawn(move || requests.run());
    thread.map_err(|error| Fatal::Other(ExitCode::StartClient, format!("cannot start a thread: {error}")))?;
    let listing = list::send(source, options, agreed, accounts, out)?;
    Session { options, agreed, heard, ndx: NdxState::default(), outcome: Outcome::default(), observer }
        .run(source, listing, out)
}

struct Session<'a> {
    options: &'a Options,
    agreed: Agreed,
    heard: mpsc::Receiver<Heard>,
    ndx: NdxState,
    outcome: Outcome,
    observer: &'a mut dyn Observer,
}

/// How often the receiving side says "done" before the goodbyes: after its requests, after second tries, and after
/// delayed updates. The list is one segment.
const PHASES: u32 = 3;

impl Session<'_> {
    fn run<W: Write>(mut self, source: &Source, listing: Listing, out: &mut Mux<W>) -> Result<Outcome, Fatal> {
        self.outcome.files = listing.files;
        self.outcome.total_size = listing.total_size;
        self.outcome.list_size = listing.size;
        self.outcome.list_time = listing.time;
        self.outcome.io_error = listing.io_error;
        let listed = listing.io_error;
        let mut answers = Answers::new(source, self.options, self.agreed, listing.list)?;
        let mut done = 0;
        while done < PHASES {
            match self.next(out)? {
                Heard::Item(request) => answers.answer(*request, &mut self, out)?,
                Heard::Done => {
                    done += 1;
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
        self.goodbye(out)?;
        Ok(self.outcome)
    }

    /// Late deletions, then the end.
    fn goodbye<W: Write>(&mut self, out: &mut Mux<W>) -> Result<(), Fatal> {
        let mut left = if self.agreed.protocol >= 31 { 2 } else { 1 };
        while left > 0 {
            match self.next(out)? {
                Heard::Done => {
                    left -= 1;
                    if left > 0 {
                        self.ndx.write(Ndx::Done, out.data());
                    }
                }
                Heard::Item(_) => {
                    return Err(crate::wire::WireError::bad("a request after the last phase").into());
                }
                other => self.aside(other)?,
            }
        }
        Ok(out.flush()?)
    }

    /// What is neither a request nor the end of a phase.
    fn aside(&mut self, heard: Heard) -> Result<(), Fatal> {
        match heard {
            Heard::DeleteStats(deleted) => self.outcome.deleted = deleted,
            Heard::Deleted(path) => self.observer.deleted(&path),
            Heard::Failed => self.outcome.failed = true,
            Heard::IoError(bits) => self.outcome.io_error |= bits,
            Heard::Ended(fatal) => return Err(fatal),
            Heard::Item(_) | Heard::Done => {}
        }
        Ok(())
    }

    /// What comes next; everything gathered is sent before waiting for it.
    fn next<W: Write>(&mut self, out: &mut Mux<W>) -> Result<Heard, Fatal> {
        if let Ok(heard) = self.heard.try_recv() {
            return Ok(heard);
        }
        out.flush()?;
        let ended = || Fatal::from(crate::wire::WireError::Ended);
        let half = self.options.timeout.div_ceil(2);
        if half == 0 {
            // The reading thread always ends with a word, and the connection has keep-alives of its own.
            return self.heard.recv().map_err(|_| ended());
        }
        loop {
            match self.heard.recv_timeout(std::time::Duration::from_secs(half)) {
                Ok(heard) => return Ok(heard),
                Err(mpsc::RecvTimeoutError::Timeout) => out.keep_alive()?,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(ended()),
            }
        }
    }
}
