//! The generator: goes through the list, asks, and leads both sides through the phases to the end.
//!
//! S is the number of segments, 1 without incremental recursion. The receiving side says "done" S times as segments
//! are finished (without segments: once after the last request), once after second tries, once for delayed updates,
//! since protocol 31 once for late deletions, and once at the very end; the sender answers each but the last.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use volsync_common::path::Shown;

use super::Context;
use super::delete::Surplus;
use super::links::Groups;
use crate::batch::Things;
use crate::directories::Directories;
use crate::exit::Fatal;
use crate::options::Delete;
use crate::outcome::Outcome;
use crate::report::Progress;
use crate::session::{FAREWELL, give_up};
use crate::stream::Mux;
use crate::wire::WireError;
use crate::wire::flist::{Entry, FileList};
use crate::wire::frame::{Message, Tag, io_error};
use crate::wire::ndx::{Ndx, NdxState};
use crate::wire::stats::Deleted;

/// What the receiver's thread tells.
#[derive(Debug)]
pub(super) enum Event {
    /// A part of the list, and the number of the directory whose contents it is.
    Segment(Arc<FileList>, Option<usize>),
    /// No further part follows.
    ListEnd,
    /// The answer for this index ended; whether all of it is at the destination.
    Done(u32, bool),
    /// The content did not have the right digest: ask once more.
    Again(u32),
    /// The sender could not open it.
    NoSend(u32),
    /// The sender answered a "done".
    Answer,
    /// The sender said all it has to say; what was counted until then.
    Finished(Box<Outcome>),
    /// Nothing more will come.
    Failed(Fatal),
}

/// A part of the list that is not finished.
pub(super) struct Segment {
    pub(super) list: Arc<FileList>,
    pub(super) dir: Option<usize>,
    /// What was asked for or waits.
    pub(super) pending: u32,
    generated: bool,
}

/// A directory of the list.
pub(super) struct Dir {
    pub(super) path: Vec<u8>,
    pub(super) entry: Entry,
    /// Its segment came, or it was made otherwise.
    pub(super) handled: bool,
    pub(super) there: bool,
}

pub(super) struct Generator<'a, W: Write> {
    pub(super) context: Arc<Context>,
    events: Things<Event>,
    pub(super) out: &'a mut Mux<W>,
    /// How much was written when last looked at, and when that was.
    said: (u64, Instant),
    pub(super) ndx: NdxState,
    pub(super) dirs: Directories,
    /// The directory that was made last. Files of a directory stand before the directories in it: what it gets comes right
    /// behind it.
    pub(super) newest: Option<Vec<u8>>,
    pub(super) segments: VecDeque<Segment>,
    /// How many segments are finished and gone from the queue.
    gone: usize,
    /// The number of the next segment to go through.
    next: usize,
    pub(super) tree: Vec<Dir>,
    list_ended: bool,
    answers: usize,
    finished: Option<Box<Outcome>>,
    /// To be asked for once more.
    again: Vec<u32>,
    pub(super) groups: Groups,
    pub(super) deleted: Deleted,
    /// To be deleted at the end.
    pub(super) later: Vec<Surplus>,
    /// Sets of attributes that a stock sender was told of, by their addresses: the decoder of the list keeps them.
    pub(super) told_sets: HashSet<usize>,
    /// Directories that were made and will be less accessible than while they are filled: their modes.
    pub(super) made: HashMap<Vec<u8>, u32>,
    /// Something was changed, so that directories' times must be set at the end.
    pub(super) changed: bool,
    pub(super) stopped: bool,
}

impl<'a, W: Write> Generator<'a, W> {
    pub(super) fn new(context: Arc<Context>, events: Things<Event>, out: &'a mut Mux<W>) -> Self {
        let dirs = Directories::new(context.dest.clone());
        Self {
            context,
            events,
            said: (out.written(), Instant::now()),
            out,
            ndx: NdxState::default(),
            dirs,
            newest: None,
            segments: VecDeque::new(),
            gone: 0,
            next: 0,
            tree: Vec::new(),
            list_ended: false,
            answers: 0,
            finished: None,
            again: Vec::new(),
            groups: Groups::default(),
            deleted: Deleted::default(),
            later: Vec::new(),
            told_sets: HashSet::new(),
            made: HashMap::new(),
            changed: false,
            stopped: false,
        }
    }

    /// Works to the end. A sender that is still there is told of a failure.
    pub(super) fn run(mut self) -> Result<Outcome, Fatal> {
        let outcome = self.phases();
        if let Err(fatal) = &outcome {
            if fatal.is_told() {
                give_up(self.context.terms.agreed, fatal, self.out);
            }
            // The sender has some time to read that and close: the thread drains the connection, and its end closes
            // the channel. The file that it was writing is gone by then.
            let deadline = Instant::now() + FAREWELL;
            while self.events.next(Some(deadline.saturating_duration_since(Instant::now()))).is_ok() {}
        }
        outcome
    }

    fn phases(&mut self) -> Result<Outcome, Fatal> {
        if let Some(made) = &self.context.made
            && self.context.terms.shows_names()
        {
            self.say(&format!("created directory {}", Shown(made)));
        }
        self.all_segments()?;
        self.second_tries()?;
        // Second tries, then delayed updates, of which there are none.
        self.done();
        self.done();
        self.late_deletions()?;
        if self.context.terms.agreed.protocol >= 31 {
            if self.context.terms.options.deletes() || self.context.terms.options.force {
                self.ndx.write(Ndx::DeleteStats, self.out.data());
                self.deleted.write(self.out.data());
            }
            self.done();
        }
        // A stock sender has its own idea of when the last word may come; one of ours takes it whenever it comes, and a
        // round trip is saved.
        let early = self.context.terms.agreed.native();
        if early {
            self.conclude();
            self.out.flush()?;
        }
        let counted = loop {
            match self.finished.take() {
                Some(counted) => break *counted,
                None => self.wait()?,
            }
        };
        if !early {
            self.conclude();
            self.out.flush()?;
        }
        let limit = if self.stopped { io_error::DELETE_LIMIT } else { 0 };
        let failed = self.context.troubles.failed.load(std::sync::atomic::Ordering::Relaxed);
        Ok(Outcome { failed, io_error: self.context.io_error() | limit, deleted: self.deleted, ..counted })
    }

    /// The last things, when nothing is on the way any more.
    fn conclude(&mut self) {
        self.finish_directories();
        if let Some(left) = self.context.troubles.summed_up() {
            let left = format!("rsync: {left}");
            crate::report::note(&left);
            if self.out.carries_errors() {
                self.out.message(&Message::Text { tag: Tag::Warning, text: format!("{left}\n").into_bytes() });
            }
        }
        self.done();
    }

    pub(super) fn segmented(&self) -> bool {
        self.context.terms.list().segments()
    }

    /// Goes through the list as it comes, to the "done" that ends the first phase.
    fn all_segments(&mut self) -> Result<(), Fatal> {
        loop {
            self.poll()?;
            if self.next < self.gone + self.segments.len() {
                let at = self.next;
                if at == 0 && !self.segmented() && self.context.terms.options.delete == Delete::Before {
                    self.delete_everywhere()?;
                }
                self.generate(at)?;
                if let Some(segment) = self.segments.get_mut(at - self.gone) {
                    segment.generated = true;
                }
                self.next += 1;
                self.acknowledge();
            } else if self.list_ended {
                break;
            } else {
                self.wait()?;
            }
        }
        if !self.segmented() {
            self.done();
            return Ok(());
        }
        self.unvisited_directories()?;
        while !self.segments.is_empty() {
            self.wait()?;
        }
        Ok(())
    }

    /// Says "done" for segments that are finished. The last one known only goes when no other can follow: otherwise
    /// the sender would take it for the end of the phase.
    fn acknowledge(&mut self) {
        if !self.segmented() {
            return;
        }
        while let Some(front) = self.segments.front() {
            let last = self.segments.len() == 1 && !self.list_ended;
            if !front.generated || front.pending > 0 || last {
                return;
            }
            self.segments.pop_front();
            self.gone += 1;
            self.done();
        }
    }

    /// Asks again for what came wrong; ends when nothing is on the way any more.
    fn second_tries(&mut self) -> Result<(), Fatal> {
        // A sender of ours need not confirm that it heard of the end: what it was asked for is counted.
        let confirmed = self.segmented() || !self.context.terms.agreed.native();
        let segments = if self.segmented() { self.gone } else { 1 };
        while confirmed && self.answers < segments {
            self.wait()?;
        }
        loop {
            for ndx in std::mem::take(&mut self.again) {
                self.ask_again(ndx)?;
            }
            if self.again.is_empty() && self.segments.iter().all(|segment| segment.pending == 0) {
                return Ok(());
            }
            self.wait()?;
        }
    }

    /// Says that a phase is over, after what went wrong in it.
    pub(super) fn done(&mut self) {
        for text in self.context.untold() {
            if self.out.carries_errors() {
                self.out.message(&Message::Text { tag: Tag::ErrorXfer, text: format!("{text}\n").into_bytes() });
            }
        }
        self.ndx.write(Ndx::Done, self.out.data());
    }

    /// Handles what has happened, without waiting.
    pub(super) fn poll(&mut self) -> Result<(), Fatal> {
        loop {
            match self.events.try_next() {
                Ok(event) => self.handle(event)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(WireError::Ended.into()),
            }
        }
    }

    /// Sends what was gathered and waits for something to happen.
    fn wait(&mut self) -> Result<(), Fatal> {
        self.out.flush()?;
        // Without a limit the receiver's thread still ends with an event, and its connection has keep-alives of its own.
        let limit = self.silence_left()?;
        match self.events.next(limit) {
            Ok(event) => self.handle(event),
            Err(RecvTimeoutError::Timeout) => Ok(self.out.keep_alive()?),
            Err(RecvTimeoutError::Disconnected) => Err(WireError::Ended.into()),
        }
    }

    /// How long nothing needs to be said. Files may come for longer than the sender waits for a word.
    fn silence_left(&mut self) -> Result<Option<Duration>, Fatal> {
        let half = Duration::from_secs(self.context.terms.options.timeout.div_ceil(2));
        if half.is_zero() {
            return Ok(None);
        }
        if self.said.0 == self.out.written() && self.said.1.elapsed() >= half {
            self.out.keep_alive()?;
        }
        if self.said.0 != self.out.written() {
            self.said = (self.out.written(), Instant::now());
        }
        Ok(Some(half.saturating_sub(self.said.1.elapsed())))
    }

    fn handle(&mut self, event: Event) -> Result<(), Fatal> {
        match event {
            Event::Segment(list, dir) => self.add(list, dir),
            Event::ListEnd => {
                self.list_ended = true;
                self.acknowledge();
            }
            Event::Answer => self.answers += 1,
            Event::Finished(counted) => self.finished = Some(counted),
            Event::Failed(fatal) => return Err(fatal),
            Event::Again(ndx) if self.segmented() => self.ask_again(ndx)?,
            Event::Again(ndx) => self.again.push(ndx),
            Event::Done(ndx, there) => self.ended(ndx, there)?,
            Event::NoSend(ndx) => {
                self.not_sent(ndx);
                if self.context.asked.take(ndx).is_none() {
                    return Err(WireError::bad("a file is refused that was not asked for").into());
                }
                self.ended(ndx, false)?;
            }
        }
        Ok(())
    }

    /// The user need not wait for it any more.
    fn not_sent(&mut self, ndx: u32) {
        if let (Some(progress), Some((_, entry))) = (self.progress(), self.find(ndx)) {
            progress.not_sent(entry.size);
        }
    }

    /// Where the user sees how far it is.
    pub(super) fn progress(&self) -> Option<&'static Progress> {
        self.context.terms.screen.as_ref().and_then(|screen| screen.progress)
    }

    fn add(&mut self, list: Arc<FileList>, dir: Option<usize>) {
        let dirs = list.entries().iter().filter(|entry| entry.is_dir());
        self.tree.extend(dirs.map(|entry| Dir {
            path: list.path(entry).to_vec(),
            entry: entry.clone(),
            handled: false,
            there: false,
        }));
        self.segments.push_back(Segment { list, dir, pending: 0, generated: false });
    }

    /// The segment that an index belongs to; the index before its first one is its directory's.
    pub(super) fn segment_of(&mut self, ndx: u32) -> Option<&mut Segment> {
        let at = self.segments.partition_point(|segment| segment.list.start <= ndx.saturating_add(1));
        self.segments.get_mut(at.checked_sub(1)?)
    }

    /// One more thing of this index' segment is on the way.
    pub(super) fn pend(&mut self, ndx: u32) {
        if let Some(segment) = self.segment_of(ndx) {
            segment.pending += 1;
        }
    }

    fn unpend(&mut self, ndx: u32) {
        if let Some(segment) = self.segment_of(ndx) {
            segment.pending = segment.pending.saturating_sub(1);
        }
    }

    /// What was asked for came, or will not come.
    pub(super) fn ended(&mut self, ndx: u32, there: bool) -> Result<(), Fatal> {
        self.changed |= there;
        let path = self.find(ndx).map(|(list, entry)| self.context.path(list.path(&entry)).to_vec());
        if let Some((_, waiting)) = self.groups.ended(ndx, path.as_deref().filter(|_| there)) {
            for member in waiting {
                if let Some((list, entry)) = self.find(member) {
                    self.entry(&list, member, &entry)?;
                }
                self.unpend(member);
            }
        }
        self.unpend(ndx);
        self.acknowledge();
        Ok(())
    }

    /// An entry by its index.
    pub(super) fn find(&mut self, ndx: u32) -> Option<(Arc<FileList>, Entry)> {
        let list = self.segment_of(ndx)?.list.clone();
        let entry = list.get(ndx)?.clone();
        Some((list, entry))
    }

    pub(super) fn segment(&self, number: usize) -> Option<&Segment> {
        self.segments.get(number.checked_sub(self.gone)?)
    }
}
