//! The receiver's thread: reads everything that the sender says, and writes files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use rustix::io::Errno;
use volsync_common::dest::{Directory, Staged};
use volsync_common::meta::Inode;
use volsync_common::path::Shown;
use volsync_common::walk::{Kind, Stat};

use super::Context;
use super::asked::Request;
use super::attributes::{NewXattrs, Times, apply, born_mode, give_xattrs};
use super::basis::Blocks;
use super::content::Content;
use super::generator::Event;
use super::lists::{Lists, Part};
use crate::batch::Batches;
use crate::delta::digest::{Sum, Whole};
use crate::directories::Directories;
use crate::exit::{ExitCode, Fatal};
use crate::options::Options;
use crate::outcome::Outcome;
use crate::report::{self, Moved, Moving, Progress, Screen, Told};
use crate::stream::Demux;
use crate::wire::flist::{Entry, FileList};
use crate::wire::handshake::{Compat, Side};
use crate::wire::item::{Item, ItemFlags};
use crate::wire::ndx::{Ndx, NdxState};
use crate::wire::stats::{Deleted, Totals};
use crate::wire::sums::SumHead;
use crate::wire::token::{Token, TokenReader};
use crate::wire::xattr::{self, Value, Xattrs};
use crate::wire::{Input, WireError};

/// Where the generator hears what happened.
pub(super) type Events = Batches<Event, Sender<Vec<Event>>>;

pub(super) struct Receiver<R> {
    context: Arc<Context>,
    input: Demux<R>,
    events: Events,
    ndx: NdxState,
    tokens: TokenReader,
    whole: Whole,
    dirs: Directories,
    lists: Lists,
    /// What is counted on the way.
    outcome: Outcome,
    /// Values of attributes that came.
    known: Known,
    /// Where the user sees how far it is.
    progress: Option<&'static Progress>,
    buffers: Buffers,
}

/// Long values of sets that several files may share: a stock sender sends them once. By the addresses of the sets, which the
/// decoder of the list keeps.
#[derive(Default)]
struct Known {
    sets: HashMap<usize, Xattrs>,
    bytes: usize,
}

/// Bytes of values that are kept although no other file is known to have them. Others are needed if one comes later.
const UNSHARED_MAX: usize = 64 << 20;

/// So many hold a set that one file has: the decoder, the list, and who looks at it.
const ALONE: usize = 4;

impl Known {
    /// What came for a set, with what came for it before.
    fn complete(&mut self, set: &Arc<Xattrs>, mut answered: Xattrs) -> Xattrs {
        let key = Arc::as_ptr(set).addr();
        if let Some(known) = self.sets.get(&key) {
            for (xattr, known) in answered.0.iter_mut().zip(&known.0) {
                if matches!(xattr.value, Value::Digest(..)) {
                    xattr.value = known.value.clone();
                }
            }
            return answered;
        }
        let came = answered.0.iter().zip(&set.0).filter(|(xattr, told)| xattr.value != told.value);
        let bytes =
            came.map(|(xattr, _)| if let Value::Full(value) = &xattr.value { value.len() } else { 0 }).sum::<usize>();
        if bytes > 0 && (Arc::strong_count(set) > ALONE || self.bytes + bytes <= UNSHARED_MAX) {
            self.bytes += bytes;
            self.sets.insert(key, answered.clone());
        }
        answered
    }
}

/// Kept from file to file.
#[derive(Default)]
struct Buffers {
    data: Vec<u8>,
    gathered: Vec<u8>,
    basis: Vec<u8>,
}

/// Where the content of a file goes.
enum Writing {
    /// Under a temporary name until it is complete.
    Staged(Staged),
    /// Into the file itself.
    InPlace(File),
}

impl Writing {
    /// `None` is in place; otherwise the permission bits that it is made with.
    fn begin(dir: &Directory, name: &[u8], mode: Option<u32>) -> io::Result<Self> {
        match mode {
            None => dir.open_in_place(name).map(Self::InPlace),
            Some(mode) => dir.create_with(name, mode).map(Self::Staged),
        }
    }

    fn file(&self) -> Option<&File> {
        match self {
            Self::Staged(staged) => staged.file(),
            Self::InPlace(file) => Some(file),
        }
    }

    fn publish(self) -> io::Result<()> {
        match self {
            Self::Staged(staged) => staged.publish(),
            Self::InPlace(_) => Ok(()),
        }
    }
}

/// How the content of a file came.
enum Came {
    /// Whole.
    Right,
    /// With another digest than the sender's.
    Wrong,
}

impl<R: Read> Receiver<R> {
    pub(super) fn new(context: Arc<Context>, mut input: Demux<R>, events: Events, lists: Lists) -> Result<Self, Fatal> {
        let agreed = context.terms.agreed;
        let told = events.clone();
        input.before_waiting(Box::new(move || told.hand_over()));
        Ok(Self {
            input,
            events,
            ndx: NdxState::default(),
            tokens: TokenReader::new(agreed.compression, agreed.protocol)?
                .with_holes(context.terms.tells_holes())
                .with_stored(agreed.stores),
            whole: agreed.sum.whole(),
            dirs: Directories::new(context.dest.clone()),
            lists,
            outcome: Outcome::default(),
            known: Known::default(),
            progress: context.terms.screen.as_ref().and_then(|screen| screen.progress),
            buffers: Buffers::default(),
            context,
        })
    }

    /// Reads to the end of the session, `first` being read already, and tells the generator how that went.
    pub(super) fn run(mut self, first: Part) {
        let event = match self.session(first) {
            Ok(()) => Event::Finished(Box::new(self.outcome)),
            Err(fatal) => Event::Failed(fatal),
        };
        self.tell(event);
        // A generator that gave up may still have to read why.
        let _ended = self.input.drain();
    }

    /// The generator may have ended already, after an error of its own.
    fn tell(&self, event: Event) {
        let urgent = !matches!(event, Event::Done(..));
        let _gone = self.events.push(event, urgent);
    }

    fn session(&mut self, first: Part) -> Result<(), Fatal> {
        self.add(first);
        let (segments, protocol) = (self.lists.form.segments(), self.lists.form.protocol);
        let mut list_ended = !segments;
        let mut done = 0;
        if list_ended {
            self.tell(Event::ListEnd);
        }
        loop {
            match self.ndx.read(&mut self.input)? {
                Ndx::Segment(dir) if !list_ended => {
                    let part = self.lists.segment(dir, &mut self.input)?;
                    self.add(part);
                }
                Ndx::ListEnd if !list_ended => {
                    list_ended = true;
                    self.tell(Event::ListEnd);
                }
                Ndx::Segment(_) | Ndx::ListEnd => return Err(WireError::bad("a file list after its end").into()),
                Ndx::DeleteStats => drop(Deleted::read(&mut self.input)?),
                Ndx::File(ndx) => self.record(ndx)?,
                Ndx::Done => {
                    done += 1;
                    self.lists.forget_first();
                    self.tell(Event::Answer);
                    let last_but_goodbye = self.lists.count() + 2;
                    if list_ended && done == last_but_goodbye && self.context.terms.side() == Side::Client {
                        self.totals()?;
                    }
                    let all = last_but_goodbye + usize::from(protocol >= 31);
                    if list_ended && done == all {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What a server counted.
    fn totals(&mut self) -> Result<(), WireError> {
        let totals = Totals::read(&mut self.input)?;
        self.outcome.list_time = u64::try_from(totals.built).unwrap_or(0);
        Ok(())
    }

    fn add(&mut self, part: Part) {
        self.context.troubles.io_error.fetch_or(part.io_error, std::sync::atomic::Ordering::Relaxed);
        self.outcome.list_size += part.size;
        let (list, dir) = self.lists.add(part, &self.context.ids);
        if let Some(progress) = self.progress {
            progress.listed(&list);
        }
        for entry in list.entries() {
            self.outcome.files.add(entry.mode);
            if matches!(entry.kind(), Kind::File | Kind::Symlink) {
                self.outcome.total_size = self.outcome.total_size.saturating_add(entry.size);
            }
        }
        self.tell(Event::Segment(list, dir));
    }

    /// The sender's answer to a request, or the echo of what it was told.
    fn record(&mut self, ndx: u32) -> Result<(), Fatal> {
        let item = Item::read(&mut self.input)?;
        let found = self.lists.find(ndx);
        let transfer = item.flags.any(ItemFlags::TRANSFER);
        let found_it = found.as_ref();
        self.count(ndx, &item, found_it);
        let dry_run = self.context.terms.options.dry_run;
        let late = transfer && !dry_run && self.context.terms.screen.as_ref().is_some_and(Screen::is_late);
        if !late {
            self.show(ndx, &item, found_it, Moved::default());
        }
        if dry_run {
            return Ok(());
        }
        let before = self.input.taken();
        let request = self.context.asked.take(ndx);
        let xattrs = self.attributes(ndx, &item, found.as_ref().map(|(_, entry)| entry))?;
        match (request, found) {
            (Some(Request::Content { head, again }), Some((list, entry))) if transfer => {
                let moving = self.progress.and_then(|progress| progress.begin(ndx, &item, &entry, list.path(&entry)));
                let digest = self.content(ndx, &list, &entry, (head, again), moving, xattrs)?;
                if late {
                    let moved = Moved { bytes: self.input.taken() - before, sums: 0, digest: digest.as_bytes() };
                    self.show(ndx, &item, Some(&(list, entry)), moved);
                }
                Ok(())
            }
            (Some(Request::Attributes), found) if !transfer => {
                self.set_attributes(ndx, found.as_ref(), xattrs.as_ref());
                Ok(())
            }
            (None, _) if !transfer => Ok(()),
            _ => Err(WireError::bad("an answer to something else than what was asked").into()),
        }
    }

    /// Counts an item.
    fn count(&mut self, ndx: u32, item: &Item, found: Option<&(Arc<FileList>, Entry)>) {
        let mode = match found {
            Some((_, entry)) => Some(entry.mode),
            None => self.lists.directory_of(ndx).map(|dir| dir.entry.mode),
        };
        if let (true, Some(mode)) = (item.flags.any(ItemFlags::NEW), mode) {
            self.outcome.created.add(mode);
        }
        if let (true, Some((_, entry))) = (item.flags.any(ItemFlags::TRANSFER), found) {
            self.outcome.transferred += 1;
            self.outcome.transferred_size = self.outcome.transferred_size.saturating_add(entry.size);
        }
    }

    /// Shows an item to the user.
    fn show(&self, ndx: u32, item: &Item, found: Option<&(Arc<FileList>, Entry)>, moved: Moved<'_>) {
        let Some(screen) = &self.context.terms.screen else { return };
        let (entry, path, target) = match found {
            Some((list, entry)) => (entry, list.path(entry), list.target(entry)),
            None => match self.lists.directory_of(ndx) {
                Some(dir) => (&dir.entry, &dir.path[..], &b""[..]),
                None => return,
            },
        };
        screen.item(&Told { item, entry, path, target, long: None, moved });
    }

    /// The values of attributes that come with an item: the whole set of the file with them, if it has any.
    fn attributes(&mut self, ndx: u32, item: &Item, entry: Option<&Entry>) -> Result<Option<Xattrs>, Fatal> {
        let short = !self.lists.form.compat.has(Compat::AVOID_XATTR_OPTIM);
        let left_out = short && item.flags.has(ItemFlags::NAME_FOLLOWS | ItemFlags::LOCAL);
        if !self.lists.form.xattrs || !item.flags.any(ItemFlags::XATTR) || left_out {
            return Ok(None);
        }
        let set = match entry {
            Some(entry) => entry.xattrs.clone(),
            None => self.lists.directory_of(ndx).and_then(|dir| dir.entry.xattrs.clone()),
        };
        let set = set.unwrap_or_default();
        let answered = xattr::read_answer(&set, &mut self.input)?;
        Ok(Some(if self.context.terms.agreed.native() { answered } else { self.known.complete(&set, answered) }))
    }

    fn set_attributes(&mut self, ndx: u32, found: Option<&(Arc<FileList>, Entry)>, xattrs: Option<&Xattrs>) {
        let path = match found {
            Some((list, entry)) => Some(self.context.path(list.path(entry)).to_vec()),
            None => self.lists.directory_of(ndx).map(|dir| dir.path.clone()),
        };
        if let (Some(path), Some(xattrs)) = (&path, xattrs) {
            let set = self.dirs.parent(path).and_then(|(dir, name)| {
                let inode = Inode::at(&dir, name)?;
                give_xattrs(&self.context, &inode, NewXattrs { xattrs, old: None })
            });
            if let Err(error) = set {
                self.context.unset("extended attributes", path, &error);
            }
        }
        self.tell(Event::Done(ndx, true));
    }

    /// A file comes.
    fn content(
        &mut self,
        ndx: u32,
        list: &FileList,
        entry: &Entry,
        (head, again): (SumHead, bool),
        moving: Option<Moving>,
        xattrs: Option<Xattrs>,
    ) -> Result<Sum, Fatal> {
        let agreed = self.context.terms.agreed;
        if SumHead::read(agreed.sum.len(), agreed.largest_block(), &mut self.input)? != head {
            return Err(WireError::bad("an answer against another basis than the one that was sent").into());
        }
        let context = self.context.clone();
        let path = context.path(list.path(entry));
        let in_place = context.terms.options.inplace;
        let mode = (!in_place).then(|| born_mode(&context, entry));
        let opened = self.dirs.parent(path).and_then(|(dir, name)| {
            let basis = if head.is_empty() { None } else { Some(dir.open(name)?) };
            let standing = standing(&context, &dir, name)?;
            Ok((Writing::begin(&dir, name, mode)?, (dir, name, standing), basis))
        });
        let mut before = None;
        let (writing, place, basis) = match opened {
            Ok((writing, place, basis)) => {
                before = basis.as_ref().map(|(_, stat)| *stat).filter(|_| !in_place);
                (Some(writing), Some(place), basis.map(|(file, _)| Arc::new(file)))
            }
            Err(error) if is_full(&error) => return Err(full(path, &error)),
            Err(error) => {
                context.problem(format_args!("cannot create {}: {error}", Shown(path)));
                (None, None, None)
            }
        };
        let (came, digest) = self.tokens(path, &head, writing.as_ref(), basis, moving.as_ref())?;
        let (Some(writing), Some((dir, name, standing))) = (writing, place) else {
            if let Some(moving) = moving {
                moving.failed();
            }
            self.tell(Event::Done(ndx, false));
            return Ok(digest);
        };
        // Somebody else wrote to the old file meanwhile: that must not be lost in silence.
        let written = before.is_some_and(|before| has_changed(&before, dir.stat(name).ok().flatten().as_ref()));
        let event = match if written { Came::Wrong } else { came } {
            Came::Right => Event::Done(ndx, self.publish(writing, (&dir, name, standing), entry, path, xattrs)?),
            Came::Wrong if again => {
                let left = if in_place { "it is not what the source has" } else { "it was left as it was" };
                context.problem(format_args!("{} failed verification; {left}", Shown(path)));
                Event::Done(ndx, false)
            }
            Came::Wrong => {
                report::note(&format!("rsync: {} failed verification; trying again", Shown(path)));
                Event::Again(ndx)
            }
        };
        match (&event, moving) {
            (Event::Done(_, true), Some(moving)) => moving.finish(),
            (Event::Done(_, false), Some(moving)) => moving.failed(),
            // It comes again.
            (_, moving) => drop(moving),
        }
        self.tell(event);
        Ok(digest)
    }

    /// Reads the content of a file and writes it where there is something to write to.
    fn tokens(
        &mut self,
        path: &[u8],
        head: &SumHead,
        writing: Option<&Writing>,
        basis: Option<Arc<File>>,
        moving: Option<&Moving>,
    ) -> Result<(Came, Sum), Fatal> {
        let moved = |bytes: u64| {
            if let Some(moving) = moving {
                moving.add(bytes);
            }
        };
        let Options { sparse, inplace, .. } = self.context.terms.options;
        let Buffers { data, gathered, basis: old } = &mut self.buffers;
        // What stays where it is need not be written where the file system shares blocks.
        let old_file = basis.clone();
        let shared = old_file.as_deref().filter(|basis| !inplace && shares(writing, basis, head));
        let mut blocks = basis.map(|file| Blocks::new(file, std::mem::take(old)));
        let mut content = Content::new(writing.and_then(Writing::file), sparse, inplace, gathered);
        if let Some(basis) = shared {
            content = content.shared(basis);
        }
        let mut readable = true;
        loop {
            let (piece, from) = match self.tokens.next(&mut self.input, data)? {
                Token::End => break,
                Token::Data => {
                    self.outcome.literal = self.outcome.literal.saturating_add(data.len() as u64);
                    moved(data.len() as u64);
                    (&data[..], None)
                }
                Token::Match(block) if block < head.count => {
                    let len = head.block_len(block) as usize;
                    self.outcome.matched = self.outcome.matched.saturating_add(len as u64);
                    moved(len as u64);
                    let found = blocks.as_mut().map(|blocks| blocks.get(head.offset(block), len));
                    let Some(Ok(found)) = found else {
                        // The digest will not be right either; zlib's history must go on all the same.
                        readable = false;
                        self.tokens.matched(&vec![0; len])?;
                        continue;
                    };
                    self.tokens.matched(found)?;
                    (found, Some(head.offset(block)))
                }
                Token::Hole(len) => {
                    moved(len);
                    self.whole.hole(len);
                    content.hole(len).map_err(|error| broken(path, &error))?;
                    continue;
                }
                Token::Match(_) => return Err(WireError::bad("a block that the basis does not have").into()),
            };
            self.whole.update(piece);
            let written = match from {
                Some(from) => content.copy(piece, from),
                None => content.write(piece),
            };
            written.map_err(|error| broken(path, &error))?;
        }
        content.finish().map_err(|error| broken(path, &error))?;
        if let Some(blocks) = blocks {
            *old = blocks.into_buffer();
        }
        let mut theirs = [0; crate::delta::digest::DIGEST_MAX];
        let theirs = &mut theirs[..self.context.terms.agreed.sum.len()];
        self.input.exact(theirs)?;
        let ours: Sum = self.whole.finish();
        Ok((if readable && ours.as_bytes() == theirs { Came::Right } else { Came::Wrong }, ours))
    }

    /// Gives a complete file its attributes and its name; whether that went well.
    fn publish(
        &mut self,
        writing: Writing,
        (dir, name, standing): (&Directory, &[u8], Option<u32>),
        entry: &Entry,
        path: &[u8],
        xattrs: Option<Xattrs>,
    ) -> Result<bool, Fatal> {
        let xattrs = xattrs.or_else(|| entry.xattrs.as_deref().cloned()).unwrap_or_default();
        let prepared = writing.file().map_or(Ok(()), |file| {
            let mut inode = Inode::of(file)?;
            let old = if xattrs.0.is_empty() { None } else { Inode::at(dir, name).ok() };
            let new = NewXattrs { xattrs: &xattrs, old: old.as_ref() };
            apply(&self.context, &mut inode, entry, path, Some(new), Times::Always, standing);
            if self.context.terms.options.fsync { Ok(rustix::fs::fsync(file)?) } else { Ok(()) }
        });
        match prepared.and_then(|()| writing.publish()) {
            Ok(()) => Ok(true),
            Err(error) if is_full(&error) => Err(full(path, &error)),
            Err(error) => {
                self.context.problem(format_args!("cannot finish {}: {error}", Shown(path)));
                Ok(false)
            }
        }
    }
}

/// The permission bits of the file that stands there, where they are to stay.
fn standing(context: &Context, dir: &Directory, name: &[u8]) -> io::Result<Option<u32>> {
    if context.terms.options.perms {
        return Ok(None);
    }
    Ok(dir.stat(name)?.filter(|stat| stat.kind() == Kind::File).map(|stat| stat.mode & 0o7777))
}

/// From this size on a new file begins with the blocks of the old one.
const SHARE_FROM: u64 = 1 << 20;

/// Makes a new file share all blocks of the old one (`FICLONE`); whether it does. It has its length then.
fn shares(writing: Option<&Writing>, basis: &File, head: &SumHead) -> bool {
    let file = writing.and_then(Writing::file);
    head.len() >= SHARE_FROM && file.is_some_and(|file| rustix::fs::ioctl_ficlone(file, basis).is_ok())
}

/// Whether what stood there is something else by now, or was written to.
fn has_changed(before: &Stat, now: Option<&Stat>) -> bool {
    let told = |stat: &Stat| (stat.dev, stat.ino, stat.size, stat.mtime, stat.ctime);
    now.map(told) != Some(told(before))
}

fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

fn full(path: &[u8], error: &io::Error) -> Fatal {
    broken(path, error)
}

/// What can write no more ends the transfer.
fn broken(path: &[u8], error: &io::Error) -> Fatal {
    Fatal::Other(ExitCode::FileIo, format!("cannot write {}: {error}", Shown(path)))
}
