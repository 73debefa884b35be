//! The thread that reads what the receiving side wants.

use std::io::Read;
use std::sync::mpsc::SyncSender;

use crate::batch::Batches;
use crate::delta::matcher::BlockTable;
use crate::exit::Fatal;
use crate::session::{Agreed, Terms};
use crate::stream::Demux;
use crate::wire::frame::{Message, Tag};
use crate::wire::handshake::{Compat, Side};
use crate::wire::item::{Item, ItemFlags};
use crate::wire::ndx::{Ndx, NdxState};
use crate::wire::stats::Deleted;
use crate::wire::sums::SumHead;
use crate::wire::{WireError, xattr};

/// More attributes than a file can have.
const XATTRS_MAX: usize = 65_536;

/// Something of the list that changes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) ndx: u32,
    pub(super) item: Item,
    /// Numbers of attributes whose values are wanted, when attributes belong to the item.
    pub(super) xattrs: Option<Vec<usize>>,
    /// The basis, when content is wanted.
    pub(super) basis: Option<(SumHead, Option<BlockTable>)>,
}

/// What the receiving side says.
#[derive(Debug)]
pub(super) enum Heard {
    /// See [`Request`].
    Item(Box<Request>),
    /// The end of a phase.
    Done,
    /// What was deleted, in numbers.
    DeleteStats(Deleted),
    /// A path that was deleted.
    Deleted(Vec<u8>),
    /// It told of a failure that makes the transfer partial.
    Failed,
    /// Error bits.
    IoError(u32),
    /// Nothing more will come.
    Ended(Fatal),
}

/// Where it is told.
pub(super) type Told = Batches<Heard, SyncSender<Vec<Heard>>>;

/// What is done with messages, in this thread.
pub(super) fn heard(message: Message, side: Side, to: &Told) -> Result<(), WireError> {
    let heard = match message {
        Message::Deleted(path) => Heard::Deleted(path),
        Message::IoError(bits) => Heard::IoError(bits),
        Message::ErrorExit(code) => return Err(WireError::PeerExit(code.unwrap_or(0))),
        Message::Text { tag, text } => {
            crate::report::relay(side, tag, &text);
            if tag != Tag::ErrorXfer {
                return Ok(());
            }
            Heard::Failed
        }
        Message::NoSend(_) => return Err(WireError::bad("a refusal to send from the receiving side")),
        Message::Noop | Message::IoTimeout(_) | Message::Success(_) => return Ok(()),
    };
    if to.push(heard, false) { Ok(()) } else { Err(WireError::Ended) }
}

pub(super) struct Requests<R> {
    input: Demux<R>,
    to: Told,
    ndx: NdxState,
    agreed: Agreed,
    xattrs: bool,
    /// Nothing is transferred, so nothing but items is asked for.
    dry_run: bool,
}

impl<R: Read> Requests<R> {
    pub(super) fn new(terms: &Terms, mut input: Demux<R>, to: Told) -> Self {
        let told = to.clone();
        input.before_waiting(Box::new(move || told.hand_over()));
        let Terms { options, agreed, .. } = terms;
        let (xattrs, dry_run) = (options.xattrs, options.dry_run);
        Self { input, to, ndx: NdxState::default(), agreed: *agreed, xattrs, dry_run }
    }

    /// Reads until the last "done".
    pub(super) fn run(mut self) {
        // One segment, second tries, delayed updates, late deletions (since 31), goodbye.
        let mut left = if self.agreed.protocol >= 31 { 5 } else { 4 };
        while left > 0 {
            let heard = self.next().unwrap_or_else(|error| Heard::Ended(error.into()));
            let ended = matches!(heard, Heard::Ended(_));
            left -= u32::from(matches!(heard, Heard::Done));
            // Block sums are large: few of them are read ahead.
            let large = matches!(&heard, Heard::Item(request) if matches!(request.basis, Some((_, Some(_)))));
            // Whoever does not listen any more has ended by itself.
            if !self.to.push(heard, large || ended || left == 0) || ended {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Heard, WireError> {
        match self.ndx.read(&mut self.input)? {
            Ndx::Done => Ok(Heard::Done),
            Ndx::DeleteStats => Ok(Heard::DeleteStats(Deleted::read(&mut self.input)?)),
            Ndx::File(ndx) => Ok(Heard::Item(Box::new(self.request(ndx)?))),
            Ndx::ListEnd | Ndx::Segment(_) => Err(WireError::bad("a file list from the receiving side")),
        }
    }

    fn request(&mut self, ndx: u32) -> Result<Request, WireError> {
        let item = Item::read(&mut self.input)?;
        if self.dry_run {
            return Ok(Request { ndx, item, xattrs: None, basis: None });
        }
        let short = !self.agreed.compat.has(Compat::AVOID_XATTR_OPTIM);
        let left_out = short && item.flags.has(ItemFlags::NAME_FOLLOWS | ItemFlags::LOCAL);
        let with_xattrs = self.xattrs && item.flags.any(ItemFlags::XATTR) && !left_out;
        let xattrs = if with_xattrs { Some(xattr::read_request(XATTRS_MAX, &mut self.input)?) } else { None };
        let basis = if item.flags.any(ItemFlags::TRANSFER) {
            let head = SumHead::read(self.agreed.sum.len(), self.agreed.largest_block(), &mut self.input)?;
            let table = if head.is_empty() { None } else { Some(BlockTable::read(head, &mut self.input)?) };
            Some((head, table))
        } else {
            None
        };
        Ok(Request { ndx, item, xattrs, basis })
    }
}
