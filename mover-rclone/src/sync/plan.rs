//! From two sides to work: the loop that every run of a sync, copy or check goes through, on a thread of its own.
//!
//! It holds back what has to wait: deletions until all transfers are done, and files that stand where directories must be
//! (or the other way round) until those are gone.

use std::collections::BTreeSet;

use tokio::sync::mpsc::Sender;
use volsync_common::dest::MakeDirError;
use volsync_common::path::RelPath;
use volsync_common::report::Skip;

use super::compare::Step;
use super::item::{Item, ItemKind, Seen};
use super::merge::{Merge, Pair};
use super::nesting::Nesting;
use super::paths::Paths;
use super::problems::Problem;
use super::run::Run;
use super::side::Side;
use super::small;
use crate::permissions::FaclWriter;

/// One thing for the executor.
#[derive(Debug)]
pub(super) enum Work {
    /// Small files whose hashes are known on the side of the store: source and destination of each.
    CheckSmall(Vec<(Item, Item)>),
    /// Any other pair.
    Check(Item, Item),
    /// Small files of a local source that only have to be read and stored.
    Load(Vec<Item>),
    /// Transfer. `replacing`: the destination has such a file.
    Transfer {
        /// What.
        item: Item,
        /// Whether the destination has such a file.
        replacing: bool,
        /// The content's hash if it is known from a comparison.
        md5: Option<crate::store::Md5>,
        /// The content if it was read already; its hash is known then.
        content: Option<small::Content>,
    },
}

/// What the plan left for later.
#[derive(Default)]
pub(super) struct Planned {
    /// Files of the source that take part.
    pub(super) source_files: u64,
    /// Files of the destination that take part.
    pub(super) dest_files: u64,
    /// Files only the destination has, with their sizes.
    pub(super) extra_files: Paths,
    /// Directories only the destination has, in the order of a walk.
    pub(super) extra_directories: Paths,
    /// Temporary files of killed runs.
    pub(super) leftovers: Paths,
    /// Directories of the source, for `--create-empty-src-dirs`.
    pub(super) source_directories: Paths,
    /// Files to transfer once what is in their way is gone.
    pub(super) blocked: Vec<Item>,
    /// Both sides were read completely.
    pub(super) complete: bool,
}

/// Reads both sides to their ends.
pub(super) struct Planner<'a> {
    run: &'a Run,
    work: Sender<Work>,
    facl: Option<&'a mut FaclWriter>,
    /// Directories the destination keeps though they are empty.
    keep: &'a BTreeSet<Vec<u8>>,
    small: Vec<(Item, Item)>,
    small_bytes: u64,
    new: Vec<Item>,
    new_bytes: u64,
    /// The directory that was made last on a local destination.
    made: Vec<u8>,
    nesting: Nesting,
    planned: Planned,
}

/// The executor is gone: nothing more can be planned.
struct Gone;

impl<'a> Planner<'a> {
    pub(super) fn new(
        run: &'a Run,
        work: Sender<Work>,
        facl: Option<&'a mut FaclWriter>,
        keep: &'a BTreeSet<Vec<u8>>,
    ) -> Self {
        let planned = Planned { complete: true, ..Planned::default() };
        Self {
            run,
            work,
            facl,
            keep,
            small: Vec::new(),
            small_bytes: 0,
            new: Vec::new(),
            new_bytes: 0,
            made: Vec::new(),
            nesting: Nesting::default(),
            planned,
        }
    }

    /// Plans until both sides end, the run is cancelled, or the executor gives up.
    pub(super) fn plan(mut self, source: impl Iterator<Item = Seen>, dest: impl Iterator<Item = Seen>) -> Planned {
        for pair in Merge::new(source, dest) {
            if self.run.cancelled() || self.pair(pair).is_err() {
                self.planned.complete = false;
                break;
            }
        }
        if self.flush_small().is_err() || self.flush_new().is_err() {
            self.planned.complete = false;
        }
        if let Some(facl) = self.facl.as_mut() {
            facl.end();
        }
        self.planned
    }

    fn pair(&mut self, pair: Pair) -> Result<(), Gone> {
        match pair {
            Pair::SourceFailed(path, reason) => self.failed(&self.run.source, &path, &reason),
            Pair::DestFailed(path, reason) => self.failed(&self.run.dest, &path, &reason),
            Pair::Source(item) => {
                self.note_source(&item);
                if item.is_content() {
                    return self.transfer(item);
                }
            }
            Pair::Both(source, dest) => {
                self.note_source(&source);
                if dest.is_content() {
                    self.planned.dest_files += 1;
                }
                if source.is_content() && dest.is_content() {
                    return self.check(source, dest);
                }
            }
            Pair::Dest { item, needed } => self.note_extra(&item, needed),
        }
        Ok(())
    }

    fn failed(&mut self, side: &Side, path: &[u8], reason: &str) {
        self.planned.complete = false;
        let shown = volsync_common::path::Shown(path).to_string();
        let subject = if path.is_empty() { side.describe() } else { shown };
        let problem = Problem::new(&subject, format!("failed to read the directory: {reason}"));
        self.run.problems.report(problem.exiting(self.run.goal.unread()));
    }

    fn note_source(&mut self, item: &Item) {
        self.planned.source_files += u64::from(item.is_content());
        if item.kind == ItemKind::Directory {
            self.planned.source_directories.push(&item.path, 0);
        }
        if matches!(self.run.dest, Side::Local(_))
            && let Some(above) = self.nesting.conflict(item)
        {
            let text = "it is an object, and there are objects below it: a directory cannot hold both; remove one from the store";
            self.run.problems.report(Problem::refusal(&above, text));
        }
        let Some(facl) = self.facl.as_mut() else { return };
        if item.kind == ItemKind::Link {
            facl.other(&item.path);
        } else if let Err(error) = facl.entry(&item.path) {
            self.run.problems.report(Problem::io(&item.path, "failed to read owner, mode and access lists", &error));
        }
    }

    fn note_extra(&mut self, item: &Item, needed: bool) {
        match item.kind {
            ItemKind::Leftover => self.planned.leftovers.push(&item.path, item.size),
            ItemKind::Directory if needed || self.is_kept(&item.path) => {}
            ItemKind::Directory => self.planned.extra_directories.push(&item.path, 0),
            ItemKind::File | ItemKind::Link => {
                self.planned.dest_files += 1;
                self.planned.extra_files.push(&item.path, item.size);
            }
        }
    }

    /// Whether it or something below it is to stay.
    fn is_kept(&self, path: &RelPath) -> bool {
        let below = [path.as_bytes(), b"/"].concat();
        self.keep.contains(path.as_bytes())
            || self.keep.range(below.clone()..).next().is_some_and(|kept| kept.starts_with(&below))
    }

    fn check(&mut self, source: Item, dest: Item) -> Result<(), Gone> {
        let run = self.run;
        run.context.counters.check_planned();
        if run.reads_both() {
            return self.send(Work::Check(source, dest));
        }
        let facts = (run.source.facts(&source, &run.context), run.dest.facts(&dest, &run.context));
        match run.rules.step(&facts.0, &facts.1) {
            Step::Keep => {
                run.context.counters.checked();
                run.context.reporter.skipped(Skip::Unchanged, &source.path);
                Ok(())
            }
            Step::Transfer if run.goal != super::Goal::Check => {
                run.context.counters.checked();
                self.send_transfer(source, true)
            }
            Step::NeedHashes if is_small(run, &source, &dest) => self.add_small(source, dest),
            _ => self.send(Work::Check(source, dest)),
        }
    }

    fn add_small(&mut self, source: Item, dest: Item) -> Result<(), Gone> {
        self.small_bytes += source.size;
        self.small.push((source, dest));
        if self.small.len() >= small::FILES || self.small_bytes >= small::BYTES { self.flush_small() } else { Ok(()) }
    }

    fn flush_small(&mut self) -> Result<(), Gone> {
        self.small_bytes = 0;
        if self.small.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.small, Vec::with_capacity(small::FILES));
        self.send(Work::CheckSmall(batch))
    }

    fn transfer(&mut self, item: Item) -> Result<(), Gone> {
        if self.run.goal == super::Goal::Check {
            self.run.problems.report(Problem::refusal(&item.path, format!("file not in {}", self.run.dest.describe())));
            return Ok(());
        }
        if is_loadable(self.run, &item) {
            self.new_bytes += item.size;
            self.new.push(item);
            return if self.new.len() >= small::FILES || self.new_bytes >= small::BYTES {
                self.flush_new()
            } else {
                Ok(())
            };
        }
        self.send_transfer(item, false)
    }

    fn flush_new(&mut self) -> Result<(), Gone> {
        self.new_bytes = 0;
        if self.new.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.new, Vec::with_capacity(small::FILES));
        self.send(Work::Load(batch))
    }

    fn send_transfer(&mut self, item: Item, replacing: bool) -> Result<(), Gone> {
        let run = self.run;
        if let Side::Local(local) = &run.dest
            && !run.context.options.dry_run
            && let Some(dest) = &local.dest
        {
            match self.make_parent(dest, &item.path) {
                Ok(()) => {}
                Err(MakeDirError::InTheWay(_)) => {
                    self.planned.blocked.push(item);
                    return Ok(());
                }
                Err(MakeDirError::Io(error)) => {
                    run.problems.report(Problem::io(&item.path, "failed to make its directory", &error));
                    return Ok(());
                }
            }
        }
        self.send(Work::Transfer { item, replacing, md5: None, content: None })
    }

    fn make_parent(&mut self, dest: &volsync_common::dest::Dest, path: &RelPath) -> Result<(), MakeDirError> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if self.made == parent {
            return Ok(());
        }
        let parent = RelPath::new(parent).map_err(|error| MakeDirError::Io(std::io::Error::other(error)))?;
        dest.make_dir_all(&parent)?;
        self.made = parent.to_vec();
        Ok(())
    }

    fn send(&self, work: Work) -> Result<(), Gone> {
        self.work.blocking_send(work).map_err(|_| Gone)
    }
}

/// Whether the item can be read in a batch.
fn is_loadable(run: &Run, item: &Item) -> bool {
    let local = matches!((&run.source, &run.dest), (Side::Local(_), Side::Store(_)));
    local && item.kind == ItemKind::File && item.size <= small::SMALL && !run.context.options.dry_run
}

/// Whether the pair can be compared in a batch: content of a local file against a hash that is known.
fn is_small(run: &Run, source: &Item, dest: &Item) -> bool {
    let (local, other) = match (&run.source, &run.dest) {
        (Side::Local(_), Side::Store(_)) => (source, dest),
        (Side::Store(_), Side::Local(_)) => (dest, source),
        _ => return false,
    };
    local.kind == ItemKind::File && local.size <= small::SMALL && other.md5.is_some()
}
