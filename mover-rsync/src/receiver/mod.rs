//! The receiving side: a volume that is to become like the sender's.
//!
//! Two threads work on it. The *generator* goes through the file list, does what needs no data, asks the sender for the
//! rest and is the only one that writes to it; the *receiver* is the only one that reads from it: segments of the list,
//! files, acknowledgements, which it tells the generator as [`Event`]s. The receiver never waits for the generator, so
//! that the sender is always read and nothing can lock up. The channel between them has no bound of its own: it holds
//! one event for a request that is in flight, whose number the connection bounds.
//!
//! Whatever the sender says, nothing outside of the destination is touched: paths are checked when they are read
//! ([`crate::wire::flist`]), and every operation goes by a descriptor of a directory below the destination that follows
//! no link ([`volsync_common::dest`]).

mod asked;
mod attributes;
mod basis;
mod content;
mod delete;
mod entries;
mod generator;
mod links;
mod place;
mod receive;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;

use volsync_common::dest::Dest;

use crate::accounts::IdMap;
use crate::exit::{ExitCode, Fatal};
use crate::options::Options;
use crate::session::Agreed;
use crate::stream::{Demux, Mux};
use crate::wire::WireError;
use crate::wire::frame::{Message, Tag, io_error};
use crate::wire::handshake::Side;
use crate::wire::stats::{Deleted, Totals};
use asked::Asked;
use generator::{Event, Generator};
pub use place::{Place, open_beneath, open_destination};
use receive::Receiver;

/// What both threads know.
struct Context {
    options: Options,
    agreed: Agreed,
    side: Side,
    dest: Dest,
    /// The only file's new name.
    rename: Option<Vec<u8>>,
    ids: IdMap,
    /// We are root.
    root: bool,
    /// What is taken away from the mode of new files where modes are not preserved.
    umask: u32,
    /// Groups that files may be given to without being root.
    groups: Vec<u32>,
    asked: Asked,
    /// Error bits of the sender.
    io_error: AtomicU32,
    /// Something could not be done; the rest goes on.
    failed: AtomicBool,
}

impl Context {
    /// Tells of something that could not be done, and goes on.
    fn problem(&self, text: impl std::fmt::Display) {
        self.failed.store(true, Ordering::Relaxed);
        eprintln!("rsync: {text}");
    }

    fn io_error(&self) -> u32 {
        self.io_error.load(Ordering::Relaxed)
    }
}

/// How a transfer went that came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Something could not be done.
    pub failed: bool,
    /// Error bits of the sender and of deletions.
    pub io_error: u32,
    /// What was deleted.
    pub deleted: Deleted,
    /// What the sender counted, when it was the server.
    pub totals: Totals,
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

/// Receives into `place` after the handshake; filter rules were read or sent already.
pub fn run<R: Read + Send + 'static, W: Write>(
    place: Place,
    options: Options,
    agreed: Agreed,
    side: Side,
    ids: IdMap,
    mut input: Demux<R>,
    out: &mut Mux<W>,
) -> Result<Outcome, Fatal> {
    let context = Arc::new(Context {
        options,
        agreed,
        side,
        dest: place.dest,
        rename: place.rename,
        ids,
        root: rustix::process::geteuid().is_root(),
        umask: rustix::process::umask(rustix::fs::Mode::empty()).as_raw_mode(),
        groups: own_groups(),
        asked: Asked::default(),
        io_error: AtomicU32::new(0),
        failed: AtomicBool::new(false),
    });
    let (sender, events) = mpsc::channel();
    input.framed(handler(context.clone(), sender.clone()));
    let receiver = Receiver::new(context.clone(), input, sender)?;
    // It ends with the connection, or with the process after a failure.
    let thread = std::thread::Builder::new().name("receiver".into()).spawn(move || receiver.run());
    thread.map_err(|error| Fatal::Other(ExitCode::StartClient, format!("cannot start a thread: {error}")))?;
    Generator::new(context, events, out).run()
}

fn own_groups() -> Vec<u32> {
    let mut groups: Vec<_> = rustix::process::getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()).collect();
    groups.push(rustix::process::getegid().as_raw());
    groups
}

/// What is done with messages, in the receiver's thread.
fn handler(context: Arc<Context>, events: mpsc::Sender<Event>) -> crate::stream::Handler {
    Box::new(move |message| {
        match message {
            Message::IoError(bits) => drop(context.io_error.fetch_or(bits, Ordering::Relaxed)),
            // The generator may be gone already; then nobody waits for the file.
            Message::NoSend(ndx) => drop(events.send(Event::NoSend(ndx))),
            Message::Text { tag, text } => {
                if tag == Tag::ErrorXfer {
                    context.failed.store(true, Ordering::Relaxed);
                }
                match context.side {
                    Side::Client => crate::report::relay(tag, &text),
                    Side::Server => crate::report::relay(Tag::Error, &text),
                }
            }
            Message::ErrorExit(code) => return Err(WireError::PeerExit(code.unwrap_or(0))),
            Message::Noop | Message::IoTimeout(_) | Message::Success(_) | Message::Deleted(_) => {}
        }
        Ok(())
    })
}
