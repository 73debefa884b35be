//! Answering requests.

use std::io::{self, Write};

use volsync_common::dest::Directory;
use volsync_common::meta::Inode;
use volsync_common::path::{RelPath, Shown};
use volsync_common::source::SourceFile;
use volsync_common::walk::Kind;

use super::Session;
use super::extents::{Extent, Extents};
use super::list::travelling;
use super::requests::Request;
use super::source::{Source, Sources};
use crate::delta::digest::{Sum, Whole};
use crate::delta::matcher::{self, Basis, Matcher, Sink};
use crate::directories::Directories;
use crate::exit::Fatal;
use crate::options::Options;
use crate::report::{self, Moved, Moving, Progress, Screen, Told};
use crate::session::{Agreed, Terms};
use crate::stream::Mux;
use crate::wire::flist::FileList;
use crate::wire::frame::{Message, io_error};
use crate::wire::item::ItemFlags;
use crate::wire::ndx::Ndx;
use crate::wire::token::{LITERAL_MAX, STORED_MAX, TokenWriter};
use crate::wire::{WireError, xattr};

/// The level of compression between two ends of ours, unless one is asked for.
const FAST: i32 = 1;

pub(super) struct Answers<'a> {
    sources: &'a Sources,
    list: FileList,
    options: &'a Options,
    agreed: Agreed,
    /// Items are answered, contents are not sent.
    dry_run: bool,
    /// The receiver writes into its basis.
    in_place: bool,
    /// Holes are told.
    holes: bool,
    /// Literal bytes go in pieces of at most this.
    piece: usize,
    /// Of the source with this number.
    dirs: (u16, Directories),
    tokens: TokenWriter,
    whole: Whole,
    matcher: Matcher,
    /// Where the user sees how far it is.
    progress: Option<&'static Progress>,
    /// Everything in the list before this is asked for, or needs no content.
    reached: u32,
}

impl<'a> Answers<'a> {
    pub(super) fn new(sources: &'a Sources, terms: &'a Terms, list: FileList) -> Result<Self, Fatal> {
        let Terms { options, agreed, .. } = terms;
        // The receiving side takes any level; this one costs half.
        let level = options.compress_level.or(agreed.native().then_some(FAST));
        let progress = terms.screen.as_ref().and_then(|screen| screen.progress);
        if let Some(progress) = progress {
            progress.listed(&list);
        }
        let reached = list.start;
        Ok(Self {
            sources,
            list,
            options,
            agreed: *agreed,
            dry_run: options.dry_run,
            in_place: options.inplace,
            holes: terms.tells_holes(),
            piece: if agreed.stores { STORED_MAX } else { LITERAL_MAX },
            dirs: (0, Directories::new(sources.get(0).map(|source| source.root.clone()))),
            tokens: TokenWriter::new(agreed.compression, agreed.protocol, level)?.with_stored(agreed.stores),
            whole: agreed.sum.whole(),
            matcher: Matcher::default(),
            progress,
            reached,
        })
    }

    /// Nothing more is asked for, but what came wrong.
    pub(super) fn all_asked(&mut self) {
        self.reach(self.list.end());
    }

    /// The receiving side goes by the order of the list: what it did not ask for before `ndx` is as it should be.
    fn reach(&mut self, ndx: u32) {
        let Some(progress) = self.progress else { return };
        (self.reached..ndx).filter_map(|passed| self.list.get(passed)).for_each(|entry| progress.passed(entry));
        self.reached = self.reached.max(ndx);
    }

    /// The content of something in the list is wanted.
    fn wanted(&mut self, ndx: u32, size: u64) {
        let before = self.reached;
        self.reach(ndx);
        match self.progress {
            Some(progress) if ndx < before => progress.planned_again(size),
            Some(progress) => {
                progress.asked();
                self.reached = ndx + 1;
            }
            None => {}
        }
    }

    /// Answers a request, or echoes what the receiving side does by itself.
    pub(super) fn answer<W: Write>(
        &mut self,
        request: Request,
        session: &mut Session<'_>,
        out: &mut Mux<W>,
    ) -> Result<(), Fatal> {
        let Some(entry) = self.list.get(request.ndx).filter(|entry| entry.active).cloned() else {
            return Err(WireError::bad("a request for something that is not in the list").into());
        };
        let path = self.list.path(&entry).to_vec();
        let transfer = request.item.flags.any(ItemFlags::TRANSFER);
        if transfer && entry.kind() != Kind::File {
            return Err(WireError::bad("a request for the content of something that is no file").into());
        }
        let file = if transfer && !self.dry_run {
            self.wanted(request.ndx, entry.size);
            match self.open(entry.source, &path) {
                Ok(file) => Some(file),
                Err(error) => {
                    refuse(&path, &error, session);
                    out.message(&Message::NoSend(request.ndx));
                    if let Some(progress) = self.progress {
                        progress.not_sent(entry.size);
                    }
                    return Ok(());
                }
            }
        } else {
            None
        };
        let screen = session.terms.screen.as_ref();
        let late = file.is_some() && screen.is_some_and(Screen::is_late);
        let item = request.item.clone();
        let long = screen.and_then(|screen| screen.format.as_ref()).map(|_| self.long(entry.source, &path));
        let told = |list: &FileList, moved: Moved<'_>| {
            if let Some(screen) = screen {
                let (target, long) = (list.target(&entry), long.as_deref());
                screen.item(&Told { item: &item, entry: &entry, path: &path, target, long, moved });
            }
        };
        if !late {
            told(&self.list, Moved::default());
        }
        if let Some(made) = &session.terms.made_links {
            made.note(&request.item, entry.mode, &path);
        }
        if request.item.flags.any(ItemFlags::NEW) {
            session.outcome.created.add(entry.mode);
        }
        let data = out.data();
        session.ndx.write(Ndx::File(request.ndx), data);
        request.item.write(data);
        if let Some(numbers) = &request.xattrs {
            self.xattrs(entry.source, &path, numbers, session, data);
        }
        if transfer {
            session.outcome.transferred += 1;
            session.outcome.transferred_size += entry.size;
        }
        if let Some(file) = file {
            let moving = self.progress.and_then(|progress| progress.begin(request.ndx, &request.item, &entry, &path));
            let sums = request.basis.as_ref().map_or(0, |(head, _)| head.wire_len());
            let before = out.gathered();
            let digest = self.content(&path, &file, request, moving, session, out)?;
            if late {
                let moved = Moved { bytes: out.gathered() - before, sums, digest: digest.as_bytes() };
                told(&self.list, moved);
            }
        }
        Ok(out.flush_if_full()?)
    }

    fn source(&self, number: u16) -> io::Result<&'a Source> {
        self.sources.get(number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&self, number: u16, path: &[u8]) -> io::Result<SourceFile> {
        let source = self.source(number)?;
        let local = RelPath::new(source.local(path)).map_err(io::Error::other)?;
        SourceFile::open(source.root.root(), &local)
    }

    /// The directory that something of a source is in, and its name there.
    fn parent<'p>(&mut self, number: u16, path: &'p [u8]) -> io::Result<(Directory, &'p [u8])> {
        let source = self.source(number)?;
        if self.dirs.0 != number {
            self.dirs = (number, Directories::new(Some(source.root.clone())));
        }
        self.dirs.1.parent(source.local(path))
    }

    /// The values of the attributes with these numbers.
    fn xattrs(&mut self, number: u16, path: &[u8], numbers: &[usize], session: &mut Session<'_>, out: &mut Vec<u8>) {
        let mut values = Vec::new();
        if !numbers.is_empty() {
            let read = self.parent(number, path).and_then(|(dir, name)| {
                let inode = Inode::at(&dir, name)?;
                let names = travelling(inode.xattr_names()?, self.options, true);
                // One that vanished meanwhile is sent empty: the receiver waits for it.
                let value = |number: &usize| match names.get(number - 1) {
                    Some(name) => Ok((*number, inode.xattr(name)?.unwrap_or_default())),
                    None => Ok((*number, Vec::new())),
                };
                numbers.iter().map(value).collect::<io::Result<Vec<_>>>()
            });
            match read {
                Ok(read) => values = read,
                Err(error) => {
                    refuse(path, &error, session);
                    values = numbers.iter().map(|number| (*number, Vec::new())).collect();
                }
            }
        }
        xattr::write_answer(values.iter().map(|(number, value)| (*number, &value[..])), out);
    }

    fn content<W: Write>(
        &mut self,
        path: &[u8],
        file: &SourceFile,
        request: Request,
        moving: Option<Moving>,
        session: &mut Session<'_>,
        out: &mut Mux<W>,
    ) -> Result<Sum, Fatal> {
        let (head, table) = request.basis.unwrap_or_default();
        head.write(out.data());
        let (kind, seed, in_place) = (self.agreed.sum, self.agreed.seed, self.in_place);
        let basis = table.as_ref().map(|table| Basis { table, kind, seed, in_place });
        let (tokens, piece) = (&mut self.tokens, self.piece);
        let mut sink = Sending { tokens, out, piece, literal: 0, matched: 0, moving: moving.as_ref() };
        let mut sent = Ok(());
        for extent in Extents::of(file.file(), file.stat().size, self.holes) {
            match extent {
                Extent::Data(range) => {
                    let mut reading = Reading { file, offset: range.start, end: range.end };
                    sent = self.matcher.send(&mut reading, basis, &mut self.whole, &mut sink)?;
                }
                Extent::Hole(len) => {
                    self.whole.hole(len);
                    sink.hole(len)?;
                }
            }
            if sent.is_err() {
                break;
            }
        }
        session.outcome.literal += sink.literal;
        session.outcome.matched += sink.matched;
        match moving {
            Some(moving) if sent.is_ok() => moving.finish(),
            Some(moving) => moving.failed(),
            None => {}
        }
        self.tokens.end(out.data())?;
        let mut sum = self.whole.finish();
        if let Err(error) = sent {
            refuse(path, &error, session);
            // So that what was read is not taken for the whole file.
            sum = sum.spoilt();
        }
        out.data().extend_from_slice(sum.as_bytes());
        Ok(sum)
    }

    /// Where something of the list is, as the user named the source.
    fn long(&self, number: u16, path: &[u8]) -> Vec<u8> {
        self.sources.get(number).map_or_else(|| path.to_vec(), |source| source.long(path))
    }
}

/// Tells that something cannot be sent, and remembers it for the end.
fn refuse(path: &[u8], error: &io::Error, session: &mut Session<'_>) {
    if error.kind() == io::ErrorKind::NotFound {
        report::problem(&format!("rsync: file has vanished: {}", Shown(path)));
        session.outcome.io_error |= io_error::VANISHED;
    } else {
        report::problem(&format!("rsync: cannot send {}: {error}", Shown(path)));
        session.outcome.io_error |= io_error::GENERAL;
    }
}

/// A file, or a part of it, up to an end that it had when it was opened.
struct Reading<'a> {
    file: &'a SourceFile,
    offset: u64,
    end: u64,
}

impl matcher::Source for Reading<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let filled = self.file.read_at(self.offset, &mut buf[..len])?;
        self.offset += filled as u64;
        if filled < len {
            // A torn file must not be taken for a whole one; the second try opens it anew.
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it got shorter while it was read"));
        }
        Ok(filled)
    }
}

/// Tokens into the stream, in pieces that keep its frames small.
struct Sending<'a, W: Write> {
    tokens: &'a mut TokenWriter,
    out: &'a mut Mux<W>,
    /// Bytes of a piece.
    piece: usize,
    literal: u64,
    matched: u64,
    moving: Option<&'a Moving>,
}

impl<W: Write> Sending<'_, W> {
    fn moved(&self, bytes: u64) {
        if let Some(moving) = self.moving {
            moving.add(bytes);
        }
    }

    fn hole(&mut self, len: u64) -> Result<(), WireError> {
        self.moved(len);
        self.tokens.hole(len, self.out.data())?;
        self.out.flush_if_full()
    }
}

impl<W: Write> Sink for Sending<'_, W> {
    fn literal(&mut self, data: &[u8]) -> Result<(), WireError> {
        self.literal += data.len() as u64;
        self.moved(data.len() as u64);
        for piece in data.chunks(self.piece) {
            self.tokens.literal(piece, self.out.data())?;
            self.out.flush_if_full()?;
        }
        Ok(())
    }

    fn matched(&mut self, block: u32, content: &[u8]) -> Result<(), WireError> {
        self.matched += content.len() as u64;
        self.moved(content.len() as u64);
        self.tokens.matched(block, content, self.out.data())?;
        self.out.flush_if_full()
    }
}
