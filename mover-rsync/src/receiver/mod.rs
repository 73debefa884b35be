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
mod listing;
mod lists;
mod place;
mod receive;
mod requested;
mod specials;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use volsync_common::dest::Dest;

use crate::accounts::IdMap;
use crate::batch::{Batches, Things};
use crate::exit::{ExitCode, Fatal};
use crate::filter::{InTree, Site};
use crate::native;
use crate::outcome::Outcome;
use crate::session::{Terms, farewell, give_up};
use crate::stream::{Demux, Mux};
use crate::wire::WireError;
use crate::wire::frame::{Message, Tag};
use crate::wire::handshake::Side;
use crate::wire::names;
use asked::Asked;
use generator::{Event, Generator};
use lists::Lists;
use place::Place;
pub use place::Target;
use receive::Receiver;
pub use requested::Requested;

/// What both threads know.
struct Context {
    terms: Terms,
    /// Where it goes; `None` in a dry run when there is nothing yet.
    dest: Option<Dest>,
    /// The only file's new name.
    rename: Option<Vec<u8>>,
    /// The path of the destination when it was made for this transfer.
    made: Option<Vec<u8>>,
    ids: IdMap,
    /// We are root.
    root: bool,
    /// User and group that new files have.
    user: (u32, u32),
    /// What is taken away from the mode of new files where modes are not preserved.
    umask: u32,
    /// Groups that files may be given to without being root.
    groups: Vec<u32>,
    asked: Asked,
    troubles: Arc<Troubles>,
    /// The rules, with those of files that lie at the destination.
    rules: InTree,
}

/// What went wrong so far.
#[derive(Debug, Default)]
struct Troubles {
    /// Error bits of the sender.
    io_error: AtomicU32,
    /// Something could not be done; the rest goes on.
    failed: AtomicBool,
    /// What that was, for a peer that does not see our standard error; the lock is held for a push or a take.
    untold: Mutex<Vec<String>>,
    /// What was not set for want of privilege, and how often; the lock is held for a count.
    left: Mutex<BTreeMap<&'static str, u64>>,
}

impl Troubles {
    /// Something stays as it is.
    fn left(&self, what: &'static str) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    /// All that stays as it is, in one line.
    fn summed_up(&self) -> Option<String> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let counts: Vec<_> = left.iter().map(|(what, count)| format!("{what} ({count})")).collect();
        (!counts.is_empty()).then(|| format!("not set, for want of privilege: {}", counts.join(", ")))
    }
}

/// Failures that wait to be told to the peer; what is beyond stands in our own log only.
const UNTOLD_MAX: usize = 1000;

impl Context {
    fn new(terms: Terms, place: Place, site: Site, ids: IdMap, troubles: Arc<Troubles>) -> Self {
        Self {
            rules: InTree::new(&terms.filter, Site { root: place.dest.clone(), ..site }),
            terms,
            dest: place.dest,
            rename: place.rename,
            made: place.made,
            ids,
            root: rustix::process::geteuid().is_root(),
            user: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            umask: rustix::process::umask(rustix::fs::Mode::empty()).as_raw_mode(),
            groups: own_groups(),
            asked: Asked::default(),
            troubles,
        }
    }

    /// Tells of something that could not be done, and goes on.
    fn problem(&self, text: impl std::fmt::Display) {
        self.troubles.failed.store(true, Ordering::Relaxed);
        let text = format!("rsync: {text}");
        crate::report::problem(&text);
        let mut untold = self.troubles.untold.lock().unwrap_or_else(PoisonError::into_inner);
        if untold.len() < UNTOLD_MAX {
            untold.push(text);
        }
    }

    /// Failures since the last call.
    fn untold(&self) -> Vec<String> {
        std::mem::take(&mut self.troubles.untold.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn io_error(&self) -> u32 {
        self.troubles.io_error.load(Ordering::Relaxed)
    }
}

/// What is to come.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The only names under which a server may send anything, `None` when the contents of a directory were asked for, or
    /// when a client decides.
    pub requested: Option<Requested>,
    /// Names that the sender waits for.
    pub names: Option<Vec<Vec<u8>>>,
}

/// Receives after the handshake; filter rules were read or sent already.
pub fn run<R: Read + Send + 'static, W: Write>(
    target: &Target,
    terms: Terms,
    wanted: Wanted,
    ids: IdMap,
    mut input: Demux<R>,
    out: &mut Mux<W>,
) -> Result<Outcome, Fatal> {
    let (sender, events) = mpsc::channel();
    let (sender, events) = (Batches::new(sender), Things::new(events));
    let troubles = Arc::<Troubles>::default();
    input.framed(handler(terms.side(), troubles.clone(), sender.clone()));
    // A server lists nothing before it has the filter rules.
    out.flush()?;
    let Wanted { requested, mut names } = wanted;
    if names.is_some() && terms.agreed.protocol < names::OLDEST {
        return Err(
            WireError::Incompatible("--files-from needs a peer of protocol 31 (rsync 3.1) or newer".into()).into()
        );
    }
    let whole = if terms.agreed.native() {
        // A sender of ours reads them all before it says anything.
        if let Some(names) = names.take() {
            tell_names(&names, out)?;
        }
        native::receive(target, &terms, requested.as_ref(), &ids, &mut input, out)?
    } else {
        None
    };
    let mut lists = Lists::new(&terms, requested);
    let first = match names {
        None => lists.first(&mut input)?,
        Some(names) => std::thread::scope(|scope| {
            // A stock sender lists what it has heard of and only then reads on.
            let read = scope.spawn(|| lists.first(&mut input));
            let told = tell_names(&names, out);
            let read = read.join().unwrap_or_else(|_| Err(WireError::bad("a list that cannot be read").into()));
            told.map_err(Fatal::from).and(read)
        })?,
    };
    if terms.side() == Side::Client && first.list.entries().is_empty() {
        return Ok(Outcome { io_error: first.io_error, ..Outcome::default() });
    }
    let options = &terms.options;
    let opened = if options.list_only { Ok(Place::default()) } else { target.open(&first.list, options.dry_run) };
    let place = match opened {
        Ok(place) => place,
        Err(fatal) => {
            give_up(terms.agreed, &fatal, out);
            farewell(input);
            return Err(fatal);
        }
    };
    // What the list does not tell of has no rules.
    let with_root = first.list.entries().first().is_some_and(|entry| first.list.path(entry) == b".");
    let context = Arc::new(Context::new(terms, place, target.site(with_root), ids, troubles));
    let receiver = Receiver::new(context.clone(), input, sender, lists)?;
    // It ends with the connection, or with the process after a failure.
    let thread = std::thread::Builder::new().name("receiver".into()).spawn(move || receiver.run(first));
    thread.map_err(|error| Fatal::Other(ExitCode::StartClient, format!("cannot start a thread: {error}")))?;
    let outcome = Generator::new(context, events, out).run()?;
    // The list tells only what differs.
    Ok(whole.map_or(outcome, |whole| Outcome { files: whole.files, total_size: whole.size, ..outcome }))
}

/// Tells the sender what it is to send.
fn tell_names<W: Write>(names: &[Vec<u8>], out: &mut Mux<W>) -> Result<(), WireError> {
    for name in names {
        names::write(name, out.data());
        out.flush_if_full()?;
    }
    names::write(b"", out.data());
    out.flush()
}

/// Groups that files may be given to without being root; new files have the last one.
pub(crate) fn own_groups() -> Vec<u32> {
    let mut groups: Vec<_> = rustix::process::getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()).collect();
    groups.push(rustix::process::getegid().as_raw());
    groups
}

/// What is done with messages, in the receiver's thread.
fn handler(side: Side, troubles: Arc<Troubles>, events: receive::Events) -> crate::stream::Handler {
    Box::new(move |message| {
        match message {
            Message::IoError(bits) => drop(troubles.io_error.fetch_or(bits, Ordering::Relaxed)),
            // The generator may be gone already; then nobody waits for the file.
            Message::NoSend(ndx) => drop(events.push(Event::NoSend(ndx), false)),
            Message::Text { tag, text } => {
                if tag == Tag::ErrorXfer {
                    troubles.failed.store(true, Ordering::Relaxed);
                }
                crate::report::relay(side, tag, &text);
            }
            Message::ErrorExit(code) => return Err(WireError::PeerExit(code.unwrap_or(0))),
            Message::Noop | Message::IoTimeout(_) | Message::Success(_) | Message::Deleted(_) => {}
        }
        Ok(())
    })
}
