//! How far a transfer is, for whoever started it: through the reporter that all movers share (bars on a terminal,
//! statistics in a log, machine events), or as rsync tells it.
//!
//! Those who move content count in [`Counters`], which costs them an addition for each piece; a thread of its own looks at
//! the numbers every now and then and prints them. A process has one transfer to tell of, as it has one standard output. A
//! server and the movers of VolSync's Jobs have none: what they print is for others.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use volsync_common::path::RelPath;
use volsync_common::report::{Action, Counters, Reporter, Settings, Severity, Style, Title, Transfer, on_terminal};
use volsync_common::telemetry::{self, Format, Level, Log};

use super::lines::{self, Lines};
use crate::exit::{ExitCode, Fatal};
use crate::outcome::Outcome;
use crate::wire::flist::{Entry, FileList};
use crate::wire::item::{Item, ItemFlags};

/// Files of this size and more are named while they are under way, as in mover-rclone.
const SHOWN: u64 = 8 << 20;

/// Between two statistics in a log.
const STATISTICS: Duration = Duration::from_mins(1);

/// Between two machine events about progress.
const EVENTS: Duration = Duration::from_secs(1);

/// How progress is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// Bars, if standard error is a terminal.
    Bars,
    /// The same, else statistics every minute.
    Statistics,
    /// Machine events on standard output, and nothing else there.
    Events,
    /// As rsync.
    Lines(lines::Form),
}

/// The transfer of this process, if it is told of.
static TOLD: OnceLock<Progress> = OnceLock::new();

/// See [`Progress::current`].
pub struct Progress {
    counters: Arc<Counters>,
    log: Log,
    way: Way,
    listed: Mutex<Listed>,
}

enum Way {
    Reporter { reporter: Reporter, events: bool },
    Lines(Lines),
}

/// What the list says so far; the lock is held for a few numbers.
#[derive(Debug, Default)]
struct Listed {
    entries: u64,
    bytes: u64,
    /// The first index of each part, and how many entries came before it.
    parts: Vec<(u32, u64)>,
}

/// A file that is under way. Dropped without [`Moving::finish`] it will be tried again.
pub(crate) struct Moving {
    progress: &'static Progress,
    transfer: Transfer,
    path: RelPath,
    action: Action,
    size: u64,
    /// Entries of the list that come after it, and all.
    left: (u64, u64),
    began: Instant,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Progress {
    /// Begins to tell; from now on lines step aside for it.
    pub(crate) fn start(telling: Telling, title: Title, dry_run: bool) -> Result<(), Fatal> {
        let counters = Counters::new();
        // Beside events nothing but lines is printed.
        let level = if telling == Telling::Events { Level::Error } else { Level::Notice };
        let log = Log::to_stderr(&telemetry::Settings { level, format: Format::default(), file: None });
        let failed = |error: io::Error| Fatal::Other(ExitCode::StartClient, format!("cannot start a thread: {error}"));
        let way = match telling {
            Telling::Lines(form) => Way::Lines(Lines::new(form)),
            Telling::Bars | Telling::Statistics | Telling::Events => {
                let events = telling == Telling::Events;
                let settings = Settings {
                    log: log.clone(),
                    stats: match telling {
                        Telling::Events => EVENTS,
                        Telling::Statistics => STATISTICS,
                        Telling::Bars | Telling::Lines(_) => Duration::ZERO,
                    },
                    stats_level: Level::Notice,
                    style: Style::LineThenBlock,
                    dry_run,
                    terminal: on_terminal(),
                    events: if events { Some(Box::new(io::stdout())) } else { None },
                    title,
                };
                let runtime = Builder::new_current_thread().enable_time().build().map_err(failed)?;
                let reporter = {
                    let _within = runtime.enter();
                    Reporter::start(settings, counters.clone())
                };
                let beat = move || runtime.block_on(std::future::pending::<()>());
                std::thread::Builder::new().name("report".into()).spawn(beat).map_err(failed)?;
                Way::Reporter { reporter, events }
            }
        };
        let lines = matches!(way, Way::Lines(_));
        let _started_before = TOLD.set(Self { counters, log, way, listed: Mutex::default() });
        if let (true, Some(told)) = (lines, TOLD.get()) {
            std::thread::Builder::new().name("report".into()).spawn(|| told.beat()).map_err(failed)?;
        }
        Ok(())
    }

    /// The transfer of this process, if it is told of.
    pub(crate) fn current() -> Option<&'static Self> {
        TOLD.get()
    }

    /// Whether standard output has machine events alone.
    pub(crate) fn sends_events(&self) -> bool {
        matches!(self.way, Way::Reporter { events: true, .. })
    }

    /// Prints a line for people.
    pub(super) fn line(&self, text: &str) {
        match &self.way {
            Way::Lines(lines) => lines.line(text),
            Way::Reporter { events: true, .. } => self.note(text),
            Way::Reporter { .. } => self.log.aside(|| writeln!(io::stdout().lock(), "{text}")),
        }
    }

    /// Prints a line on standard error.
    pub(super) fn note(&self, text: &str) {
        self.log.aside(|| io::stderr().write_all(format!("{text}\n").as_bytes()));
    }

    /// Something went wrong, which was said already.
    pub(super) fn failed(&self, fatal: bool, text: &str) {
        if let Way::Reporter { reporter, .. } = &self.way {
            reporter.error(if fatal { Severity::Fatal } else { Severity::Final }, None, &text);
        }
    }

    /// A part of the list is known.
    pub(crate) fn listed(&self, list: &FileList) {
        let mut listed = self.lock();
        let before = listed.entries;
        listed.parts.push((list.start, before));
        listed.entries += list.entries().len() as u64;
        self.counters.listed(list.entries().len() as u64);
        for entry in list.entries().iter().filter(|entry| entry.active && is_file(entry)) {
            listed.bytes = listed.bytes.saturating_add(entry.size);
            self.counters.check_planned();
            self.counters.transfer_planned(entry.size);
        }
    }

    /// Something of the list needs no transfer.
    pub(crate) fn passed(&self, entry: &Entry) {
        if entry.active && is_file(entry) {
            self.counters.checked();
            self.counters.transfer_dropped(entry.size);
        }
    }

    /// A file that was passed is transferred after all.
    pub(crate) fn planned_again(&self, size: u64) {
        self.counters.transfer_planned(size);
    }

    /// A file was judged: it is to be transferred.
    pub(crate) fn asked(&self) {
        self.counters.checked();
    }

    /// A file that was to be transferred will not be.
    pub(crate) fn not_sent(&self, size: u64) {
        self.counters.transfer_dropped(size);
    }

    /// The content of a file begins.
    pub(crate) fn begin(&'static self, ndx: u32, item: &Item, entry: &Entry, path: &[u8]) -> Option<Moving> {
        let path = RelPath::new(path).ok()?;
        let shown = if matches!(self.way, Way::Lines(_)) { 0 } else { SHOWN };
        let transfer = self.counters.transfer(&path, entry.size, shown);
        let action = if item.flags.any(ItemFlags::NEW) { Action::Copy } else { Action::Replace };
        let left = self.left(ndx);
        Some(Moving { progress: self, transfer, path, action, size: entry.size, left, began: Instant::now() })
    }

    /// How many entries come after `ndx`, and how many there are.
    fn left(&self, ndx: u32) -> (u64, u64) {
        let listed = self.lock();
        let part = listed.parts.partition_point(|(start, _)| *start <= ndx);
        let (start, before) = part.checked_sub(1).and_then(|at| listed.parts.get(at)).copied().unwrap_or_default();
        let reached = before + u64::from(ndx - start.min(ndx)) + 1;
        (listed.entries.saturating_sub(reached), listed.entries)
    }

    /// Something happens that needs no content, or in a dry run would happen.
    pub(super) fn item(&self, item: &Item, mode: u32, path: &[u8], size: u64) {
        let (Way::Reporter { reporter, events: true }, Ok(path)) = (&self.way, RelPath::new(path)) else { return };
        let new = item.flags.any(ItemFlags::NEW);
        let (directory, file) = (mode & 0o170_000 == 0o040_000, mode & 0o170_000 == 0o100_000);
        let transfer = item.flags.any(ItemFlags::TRANSFER);
        let action = match (directory, new) {
            (true, true) => Action::MakeDirectory,
            (true, false) => Action::SetDirectoryModTime,
            (false, true) => Action::Copy,
            (false, false) if transfer || item.flags.any(ItemFlags::LOCAL) => Action::Replace,
            (false, false) => Action::UpdateModTime,
        };
        reporter.action(action, &path, Some(size).filter(|_| file));
    }

    /// Something was deleted; a directory's path ends with NUL.
    pub(super) fn deleted(&self, path: &[u8]) {
        let (action, path) = match path.strip_suffix(b"\0") {
            Some(dir) => (Action::RemoveDirectory, dir),
            None => (Action::Delete, path),
        };
        match action {
            Action::Delete => self.counters.deleted_file(0),
            _ => self.counters.deleted_directory(),
        }
        if let (Way::Reporter { reporter, events: true }, Ok(path)) = (&self.way, RelPath::new(path)) {
            reporter.action(action, &path, None);
        }
    }

    /// The transfer went to its end; deletions that nobody told of one by one are counted.
    pub(crate) fn outcome(&self, outcome: &Outcome) {
        let counted = self.counters.snapshot();
        let deleted = &outcome.deleted;
        let others = u64::from(deleted.files) + u64::from(deleted.symlinks);
        let others = others + u64::from(deleted.devices) + u64::from(deleted.specials);
        (counted.deleted_files..others).for_each(|_| self.counters.deleted_file(0));
        (counted.deleted_directories..deleted.directories.into()).for_each(|_| self.counters.deleted_directory());
    }

    /// Tells the last numbers.
    pub(crate) fn finish(&self) {
        match &self.way {
            Way::Reporter { reporter, .. } => reporter.finish(),
            Way::Lines(lines) => {
                let entries = self.lock().entries;
                lines.finish(&self.counters.snapshot(), (0, entries));
            }
        }
    }

    fn beat(&self) {
        let Way::Lines(lines) = &self.way else { return };
        loop {
            std::thread::sleep(lines::BEAT);
            self.counters.measure(Instant::now());
            let bytes = self.lock().bytes;
            if !lines.show(&self.counters.snapshot(), bytes) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Moving {
    /// So much more of the content went by.
    pub(crate) fn add(&self, bytes: u64) {
        self.transfer.add(bytes);
    }

    /// It is complete.
    pub(crate) fn finish(self) {
        self.transfer.finish(self.size);
        match &self.progress.way {
            Way::Reporter { reporter, events } => {
                if *events {
                    reporter.action(self.action, &self.path, self.size);
                }
            }
            Way::Lines(lines) => {
                lines.file(self.size, self.began.elapsed(), &self.progress.counters.snapshot(), self.left);
            }
        }
    }

    /// It will not come.
    pub(crate) fn failed(self) {
        self.progress.counters.transfer_dropped(self.size);
    }
}

fn is_file(entry: &Entry) -> bool {
    entry.mode & 0o170_000 == 0o100_000
}
