//! The receiver's thread: reads everything that the sender says, and writes files.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use rustix::io::Errno;
use volsync_common::dest::{Directory, Staged};
use volsync_common::meta::Inode;
use volsync_common::path::Shown;

use super::Context;
use super::asked::Request;
use super::attributes::{NewXattrs, Times, apply, give_xattrs};
use super::basis::Blocks;
use super::content::Content;
use super::generator::Event;
use crate::delta::digest::{Sum, Whole};
use crate::directories::Directories;
use crate::exit::{ExitCode, Fatal};
use crate::stream::Demux;
use crate::wire::flist::{Decoder, Entry, FileList, ListOptions};
use crate::wire::handshake::{Compat, Side};
use crate::wire::item::{Item, ItemFlags};
use crate::wire::ndx::{Ndx, NdxState};
use crate::wire::stats::{Deleted, Totals};
use crate::wire::sums::SumHead;
use crate::wire::token::{Token, TokenReader};
use crate::wire::xattr::{self, Xattrs};
use crate::wire::{Input, WireError};

pub(super) struct Receiver<R> {
    context: Arc<Context>,
    input: Demux<R>,
    events: Sender<Event>,
    form: ListOptions,
    ndx: NdxState,
    tokens: TokenReader,
    whole: Whole,
    dirs: Directories,
    /// Segments that are not finished, and the directory that each one is the contents of.
    lists: VecDeque<(Arc<FileList>, Option<usize>)>,
    /// How many segments there were.
    segments: usize,
    /// Path and attributes of directories of the list, and whether their segment came.
    tree: Vec<Dir>,
    buffers: Buffers,
}

struct Dir {
    path: Vec<u8>,
    xattrs: Option<Arc<Xattrs>>,
    came: bool,
}

/// Kept from file to file.
#[derive(Default)]
struct Buffers {
    data: Vec<u8>,
    gathered: Vec<u8>,
    basis: Vec<u8>,
}

/// How the content of a file came.
enum Came {
    /// Whole.
    Right,
    /// With another digest than the sender's.
    Wrong,
}

impl<R: Read> Receiver<R> {
    pub(super) fn new(context: Arc<Context>, input: Demux<R>, events: Sender<Event>) -> Result<Self, Fatal> {
        let agreed = context.agreed;
        Ok(Self {
            form: agreed.list(&context.options),
            input,
            events,
            ndx: NdxState::default(),
            tokens: TokenReader::new(agreed.compression, agreed.protocol)?,
            whole: agreed.sum.whole(),
            dirs: Directories::new(context.dest.clone()),
            lists: VecDeque::new(),
            segments: 0,
            tree: Vec::new(),
            buffers: Buffers::default(),
            context,
        })
    }

    /// Reads to the end of the session and tells the generator how that went.
    pub(super) fn run(mut self) {
        let event = match self.session() {
            Ok(totals) => Event::Finished(totals),
            Err(fatal) => Event::Failed(fatal),
        };
        self.tell(event);
        // A generator that gave up may still have to read why.
        let _ended = self.input.drain();
    }

    /// The generator may have ended already, after an error of its own.
    fn tell(&self, event: Event) {
        let _gone = self.events.send(event);
    }

    fn session(&mut self) -> Result<Totals, Fatal> {
        let mut lists = Decoder::new(self.form);
        self.first_list(&mut lists)?;
        let mut list_ended = !self.form.segments();
        let (mut done, mut totals) = (0, Totals::default());
        if list_ended {
            self.tell(Event::ListEnd);
        }
        loop {
            match self.ndx.read(&mut self.input)? {
                Ndx::Segment(dir) if !list_ended => self.segment(&mut lists, dir)?,
                Ndx::ListEnd if !list_ended => {
                    list_ended = true;
                    self.tell(Event::ListEnd);
                }
                Ndx::Segment(_) | Ndx::ListEnd => return Err(WireError::bad("a file list after its end").into()),
                Ndx::DeleteStats => drop(Deleted::read(&mut self.input)?),
                Ndx::File(ndx) => self.record(ndx)?,
                Ndx::Done => {
                    done += 1;
                    self.forget_first();
                    self.tell(Event::Answer);
                    let last_but_goodbye = self.segments + 2;
                    if list_ended && done == last_but_goodbye && self.context.side == Side::Client {
                        totals = Totals::read(&mut self.input)?;
                    }
                    let all = last_but_goodbye + usize::from(self.form.protocol >= 31);
                    if list_ended && done == all {
                        return Ok(totals);
                    }
                }
            }
        }
    }

    fn first_list(&mut self, lists: &mut Decoder) -> Result<(), Fatal> {
        let start = u32::from(self.form.segments());
        let (list, end) = lists.read_first(start, &mut self.input)?;
        self.check_rename(&list)?;
        // The root of the transfer is a directory whose contents come with it.
        let root = list.entries().first().is_some_and(|entry| list.path(entry) == b".");
        self.add(list, end.io_error, (self.form.segments() && root).then_some(0), lists);
        Ok(())
    }

    /// A destination that is a file's new name takes one file.
    fn check_rename(&self, list: &FileList) -> Result<(), Fatal> {
        let one = list.entries().len() == 1 && list.entries().iter().all(|entry| !entry.is_dir());
        if self.context.rename.is_some() && !one {
            return Err(Fatal::Other(ExitCode::FileSelect, "the destination must be a directory".into()));
        }
        Ok(())
    }

    fn segment(&mut self, lists: &mut Decoder, dir: u32) -> Result<(), Fatal> {
        let number = dir as usize;
        let Some(dir) = self.tree.get_mut(number).filter(|dir| !dir.came) else {
            return Err(WireError::bad("the contents of a directory that is not known or came already").into());
        };
        dir.came = true;
        let path = dir.path.clone();
        let start = self.lists.back().map_or(1, |(list, _)| list.end().saturating_add(1));
        let (list, end) = lists.read_segment(start, &path, &mut self.input)?;
        self.add(list, end.io_error, Some(number), lists);
        Ok(())
    }

    fn add(&mut self, mut list: FileList, io_error: u32, dir: Option<usize>, lists: &Decoder) {
        self.context.io_error.fetch_or(io_error, std::sync::atomic::Ordering::Relaxed);
        self.map_ids(&mut list, lists);
        if let Some(dir) = dir.and_then(|dir| self.tree.get_mut(dir)) {
            dir.came = true;
        }
        let root_comes = self.segments == 0 && dir == Some(0);
        self.tree.extend(list.entries().iter().filter(|entry| entry.is_dir()).map(|entry| Dir {
            path: list.path(entry).to_vec(),
            xattrs: entry.xattrs.clone(),
            // The later of two equal names has no contents.
            came: !entry.active || (root_comes && list.path(entry) == b"."),
        }));
        let list = Arc::new(list);
        self.lists.push_back((list.clone(), dir));
        self.segments += 1;
        self.tell(Event::Segment(list, dir));
    }

    /// From the sender's ids to ours.
    fn map_ids(&self, list: &mut FileList, lists: &Decoder) {
        let (ids, told) = (&self.context.ids, &lists.told);
        if ids.is_numeric() {
            return;
        }
        for entry in list.entries_mut() {
            entry.uid = ids.user(entry.uid, told);
            entry.gid = ids.group(entry.gid, told);
            for acl in [&mut entry.acl, &mut entry.default_acl].into_iter().flatten() {
                let mut mapped = (**acl).clone();
                for named in &mut mapped.named {
                    named.id = if named.user { ids.user(named.id, told) } else { ids.group(named.id, told) };
                }
                if mapped != **acl {
                    *acl = Arc::new(mapped);
                }
            }
        }
    }

    /// The sender is done with the first segment; the last one stays to the end.
    fn forget_first(&mut self) {
        if self.form.segments() && self.lists.len() > 1 {
            self.lists.pop_front();
        }
    }

    fn find(&self, ndx: u32) -> Option<(Arc<FileList>, Entry)> {
        let at = self.lists.partition_point(|(list, _)| list.start <= ndx);
        let (list, _) = self.lists.get(at.checked_sub(1)?)?;
        Some((list.clone(), list.get(ndx)?.clone()))
    }

    /// The sender's answer to a request, or the echo of what it was told.
    fn record(&mut self, ndx: u32) -> Result<(), Fatal> {
        let item = Item::read(&mut self.input)?;
        let request = self.context.asked.take(ndx);
        let found = self.find(ndx);
        let xattrs = self.attributes(ndx, &item, found.as_ref().map(|(_, entry)| entry))?;
        let transfer = item.flags.any(ItemFlags::TRANSFER);
        match (request, found) {
            (Some(Request::Content { head, again }), Some((list, entry))) if transfer => {
                self.content(ndx, &list, &entry, head, again, xattrs)
            }
            (Some(Request::Attributes), found) if !transfer => {
                self.set_attributes(ndx, found.as_ref(), xattrs.as_ref());
                Ok(())
            }
            (None, _) if !transfer => Ok(()),
            _ => Err(WireError::bad("an answer to something else than what was asked").into()),
        }
    }

    /// The values of attributes that come with an item: the whole set of the file with them, if it has any.
    fn attributes(&mut self, ndx: u32, item: &Item, entry: Option<&Entry>) -> Result<Option<Xattrs>, Fatal> {
        let short = !self.form.compat.has(Compat::AVOID_XATTR_OPTIM);
        let left_out = short && item.flags.has(ItemFlags::NAME_FOLLOWS | ItemFlags::LOCAL);
        if !self.form.xattrs || !item.flags.any(ItemFlags::XATTR) || left_out {
            return Ok(None);
        }
        let set = match entry {
            Some(entry) => entry.xattrs.clone(),
            None => self.directory_of(ndx).and_then(|dir| dir.xattrs.clone()),
        };
        let set = set.unwrap_or_default();
        Ok(Some(xattr::read_answer(&set, &mut self.input)?))
    }

    /// The directory that the index before a segment stands for.
    fn directory_of(&self, ndx: u32) -> Option<&Dir> {
        let (_, dir) = self.lists.iter().find(|(list, _)| list.start == ndx.saturating_add(1))?;
        self.tree.get((*dir)?)
    }

    fn set_attributes(&mut self, ndx: u32, found: Option<&(Arc<FileList>, Entry)>, xattrs: Option<&Xattrs>) {
        let path = match found {
            Some((list, entry)) => Some(self.context.path(list.path(entry)).to_vec()),
            None => self.directory_of(ndx).map(|dir| dir.path.clone()),
        };
        if let (Some(path), Some(xattrs)) = (&path, xattrs) {
            let set = self.dirs.parent(path).and_then(|(dir, name)| {
                let inode = Inode::at(&dir, name)?;
                give_xattrs(&self.context, &inode, NewXattrs { xattrs, old: None })
            });
            if let Err(error) = set {
                self.context.problem(format_args!("cannot set extended attributes of {}: {error}", Shown(path)));
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
        head: SumHead,
        again: bool,
        xattrs: Option<Xattrs>,
    ) -> Result<(), Fatal> {
        if SumHead::read(self.context.agreed.sum.len(), &mut self.input)? != head {
            return Err(WireError::bad("an answer against another basis than the one that was sent").into());
        }
        let context = self.context.clone();
        let path = context.path(list.path(entry));
        let opened = self.dirs.parent(path).and_then(|(dir, name)| {
            let basis = if head.is_empty() { None } else { Some(dir.open(name)?.0) };
            Ok((dir.create(name)?, dir, name, basis))
        });
        let (staged, place, basis) = match opened {
            Ok((staged, dir, name, basis)) => (Some(staged), Some((dir, name)), basis),
            Err(error) if is_full(&error) => return Err(full(path, &error)),
            Err(error) => {
                context.problem(format_args!("cannot create {}: {error}", Shown(path)));
                (None, None, None)
            }
        };
        let came = self.tokens(path, &head, staged.as_ref(), basis)?;
        let (Some(staged), Some((dir, name))) = (staged, place) else {
            self.tell(Event::Done(ndx, false));
            return Ok(());
        };
        let event = match came {
            Came::Right => Event::Done(ndx, self.publish(staged, (&dir, name), entry, path, xattrs)?),
            Came::Wrong if again => {
                context.problem(format_args!("{} failed verification; it was left as it was", Shown(path)));
                Event::Done(ndx, false)
            }
            Came::Wrong => {
                eprintln!("rsync: {} failed verification; trying again", Shown(path));
                Event::Again(ndx)
            }
        };
        self.tell(event);
        Ok(())
    }

    /// Reads the content of a file and writes it where there is something to write to.
    fn tokens(
        &mut self,
        path: &[u8],
        head: &SumHead,
        staged: Option<&Staged>,
        basis: Option<std::fs::File>,
    ) -> Result<Came, Fatal> {
        let sparse = self.context.options.sparse;
        let Buffers { data, gathered, basis: old } = &mut self.buffers;
        let mut blocks = basis.map(|file| Blocks::new(file, std::mem::take(old)));
        let mut content = Content::new(staged.and_then(Staged::file), sparse, gathered);
        let mut readable = true;
        loop {
            let piece = match self.tokens.next(&mut self.input, data)? {
                Token::End => break,
                Token::Data => &data[..],
                Token::Match(block) if block < head.count => {
                    let len = head.block_len(block) as usize;
                    let found = blocks.as_mut().map(|blocks| blocks.get(head.offset(block), len));
                    let Some(Ok(found)) = found else {
                        // The digest will not be right either; zlib's history must go on all the same.
                        readable = false;
                        self.tokens.matched(&vec![0; len])?;
                        continue;
                    };
                    self.tokens.matched(found)?;
                    found
                }
                Token::Match(_) => return Err(WireError::bad("a block that the basis does not have").into()),
            };
            self.whole.update(piece);
            content.write(piece).map_err(|error| broken(path, &error))?;
        }
        content.finish().map_err(|error| broken(path, &error))?;
        if let Some(blocks) = blocks {
            *old = blocks.into_buffer();
        }
        let mut theirs = [0; crate::delta::digest::DIGEST_MAX];
        let theirs = &mut theirs[..self.context.agreed.sum.len()];
        self.input.exact(theirs)?;
        let ours: Sum = self.whole.finish();
        Ok(if readable && ours.as_bytes() == theirs { Came::Right } else { Came::Wrong })
    }

    /// Gives a complete file its attributes and its name; whether that went well.
    fn publish(
        &mut self,
        staged: Staged,
        (dir, name): (&Directory, &[u8]),
        entry: &Entry,
        path: &[u8],
        xattrs: Option<Xattrs>,
    ) -> Result<bool, Fatal> {
        let xattrs = xattrs.or_else(|| entry.xattrs.as_deref().cloned()).unwrap_or_default();
        let prepared = staged.file().map_or(Ok(()), |file| {
            let mut inode = Inode::of(file.try_clone()?.into())?;
            let old = if xattrs.0.is_empty() { None } else { Inode::at(dir, name).ok() };
            let new = NewXattrs { xattrs: &xattrs, old: old.as_ref() };
            apply(&self.context, &mut inode, entry, path, Some(new), Times::Always);
            if self.context.options.fsync { Ok(rustix::fs::fsync(file)?) } else { Ok(()) }
        });
        match prepared.and_then(|()| staged.publish()) {
            Ok(()) => Ok(true),
            Err(error) if is_full(&error) => Err(full(path, &error)),
            Err(error) => {
                self.context.problem(format_args!("cannot finish {}: {error}", Shown(path)));
                Ok(false)
            }
        }
    }
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
