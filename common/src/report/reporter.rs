//! The reporter: what the engine tells, and when it is printed.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use indicatif::ProgressDrawTarget;
use serde_json::Map;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval_at};
use tracing::{debug, error, info, warn};

use super::bars::Bars;
use super::event::{ActionEvent, Event, Events, Statistics};
use super::summary::summary;
use super::{Action, Counters, Skip, Snapshot, block, one_line, units};
use crate::path::{OneLine, RelPath};
use crate::telemetry::{self, Level, Log};

/// Between two measurements of speed, as in rclone; buffered machine events wait no longer either.
const BEAT: Duration = Duration::from_secs(1);

/// Between two drawings of bars: quick enough to look alive, slow enough to read.
const FRAME: Duration = Duration::from_millis(200);

/// Drawings a second that the terminal is given at most: one frame moves every line by itself.
const REFRESH: u8 = 100;

/// `--stats` below this is taken for this: printing must not become the work.
const SHORTEST: Duration = Duration::from_millis(100);

/// The interval of statistics that are off.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// How to report.
pub struct Settings {
    /// Where log lines and statistics go.
    pub log: Log,
    /// `--stats`: between two statistics; zero prints none, not even at the end unless there were errors.
    pub stats: Duration,
    /// `--stats-log-level`; a dry run raises it to NOTICE.
    pub stats_level: Level,
    /// `--stats-one-line`, `--stats-one-line-date`, or [`Style::LineThenBlock`].
    pub style: Style,
    /// `--dry-run`: actions are told as skipped.
    pub dry_run: bool,
    /// Standard error is a terminal ([`on_terminal`]): show bars, unless events are sent or only errors are logged, and
    /// print no statistics between.
    pub terminal: bool,
    /// Machine events go here, standard output as a rule; `None` sends none.
    pub events: Option<Box<dyn Write + Send>>,
    /// What the run is, for people and machines.
    pub title: Title,
}

/// The form of statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// The block.
    #[default]
    Block,
    /// `--stats-one-line`.
    OneLine,
    /// `--stats-one-line-date`.
    DatedLine,
    /// In between one line, at the end the block: for a log that somebody reads later.
    LineThenBlock,
}

/// What a run is; every part is safe to print and has no secret.
#[derive(Clone, Debug, Default)]
pub struct Title {
    /// `sync`, `copy`, ...
    pub operation: String,
    /// Where from.
    pub source: String,
    /// Where to.
    pub destination: String,
}

/// How bad an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Another attempt may do better.
    Retryable,
    /// Another attempt will fail the same way.
    Final,
    /// The run ends.
    Fatal,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::Final => "final",
            Self::Fatal => "fatal",
        }
    }
}

/// Tells people and machines what a run does. Clones report to the same place; see the module for who prints what.
#[derive(Clone)]
pub struct Reporter(Arc<Inner>);

struct Inner {
    log: Log,
    counters: Arc<Counters>,
    started: Instant,
    stats: Duration,
    stats_level: Level,
    style: Style,
    dry_run: bool,
    events: Option<Events>,
    /// Held while statistics are printed, so that none come after the end.
    state: Mutex<State>,
    finished: AtomicBool,
}

#[derive(Default)]
struct State {
    last_error: Option<String>,
    beats: Option<AbortHandle>,
    bars: Option<Bars>,
}

impl Reporter {
    /// Starts reporting. Must be called within a tokio runtime; ends with [`Reporter::finish`] or the last clone.
    pub fn start(settings: Settings, counters: Arc<Counters>) -> Self {
        let events = settings.events.map(Events::new);
        let Title { operation, source, destination } = &settings.title;
        if let Some(events) = &events {
            events.send(&Event::Start { operation, source, destination, dry_run: settings.dry_run });
        }
        let bars = (settings.terminal && events.is_none() && settings.log.enabled(Level::Notice))
            .then(|| Bars::new(ProgressDrawTarget::stderr_with_hz(REFRESH), &settings.title));
        settings.log.set_bars(bars.as_ref().map(Bars::handle));
        let draws = bars.is_some();
        let noticed = if settings.dry_run { settings.stats_level.min(Level::Notice) } else { settings.stats_level };
        let inner = Arc::new(Inner {
            log: settings.log,
            counters,
            started: Instant::now(),
            stats: settings.stats,
            stats_level: noticed,
            style: settings.style,
            dry_run: settings.dry_run,
            events,
            state: Mutex::new(State { bars, ..State::default() }),
            finished: AtomicBool::new(false),
        });
        let beats = tokio::spawn(beat(Arc::downgrade(&inner), settings.stats, draws));
        inner.state().beats = Some(beats.abort_handle());
        Self(inner)
    }

    /// Prints nothing by itself: for callers that look at the counters. Needs no runtime.
    pub fn silent(counters: Arc<Counters>) -> Self {
        let settings = telemetry::Settings { level: Level::Error, format: telemetry::Format::default(), file: None };
        Self(Arc::new(Inner {
            log: Log::redirected(&settings, Box::new(std::io::sink())),
            counters,
            started: Instant::now(),
            stats: NEVER,
            stats_level: Level::Debug,
            style: Style::Block,
            dry_run: false,
            events: None,
            state: Mutex::default(),
            finished: AtomicBool::new(true),
        }))
    }

    /// Something was done, or would be in a dry run, to `path` with `size` bytes of content (0 for directories; `None` if
    /// that is not known).
    ///
    /// Counts nothing: that is for [`Counters`]. Costs next to nothing while INFO is off.
    pub fn action(&self, action: Action, path: &RelPath, size: impl Into<Option<u64>>) {
        let (words, known) = (action.words(), size.into());
        let size = known.unwrap_or(0);
        match (self.0.dry_run, words.sized) {
            (false, true) => info!(object = %path, size, "{}", words.done),
            (false, false) => info!(object = %path, "{}", words.done),
            (true, true) => {
                let (skipped, short) = (words.skipped, units::short_bytes(size));
                warn!(object = %path, skipped, size, "Skipped {skipped} as --dry-run is set (size {short})");
            }
            (true, false) => {
                warn!(object = %path, skipped = words.skipped, "Skipped {} as --dry-run is set", words.skipped);
            }
        }
        self.event(words.event, path, known.filter(|_| words.sized), None);
    }

    /// An entry of the source takes no part or stays as it is.
    pub fn skipped(&self, why: Skip, path: &RelPath) {
        if why.leaves_out() {
            warn!(object = %path, "{}", why.message());
            self.event("skipped", path, None, Some(why.reason()));
        } else {
            debug!(object = %path, "{}", why.message());
        }
    }

    /// Something failed, with `subject` (a path as a rule; safe to print) or in general. Counts it.
    pub fn error(&self, severity: Severity, subject: Option<&dyn Display>, error: &dyn Display) {
        let message = OneLine(error.to_string().trim_end()).to_string();
        if let Some(subject) = subject {
            error!(object = %subject, "{message}");
        } else {
            error!("{message}");
        }
        self.0.count(severity);
        let severity = severity.name();
        if let Some(events) = &self.0.events {
            let object = subject.map(ToString::to_string);
            events.send(&Event::Error { object: object.as_deref(), message: &message, severity });
        }
        self.0.state().last_error = Some(message);
    }

    /// Attempt `number` of `of` ended; if with errors, the next one begins with none.
    pub fn attempt(&self, number: u32, of: u32) {
        let errors = self.0.counters.snapshot().errors;
        if errors == 0 {
            if number > 1 {
                error!("Attempt {number}/{of} succeeded");
            }
            return;
        }
        let last = self.last_error().map(|last| format!(" and: {last}")).unwrap_or_default();
        error!("Attempt {number}/{of} failed with {errors} errors{last}");
        if number < of {
            self.0.counters.forget_errors();
            self.0.state().last_error = None;
        }
    }

    /// The last error of this attempt, safe to print.
    pub fn last_error(&self) -> Option<String> {
        self.0.state().last_error.clone()
    }

    /// The counters of the run.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    /// Prints the last statistics and stops; nothing is printed after. Only the first call counts.
    pub fn finish(&self) {
        let inner = &self.0;
        let mut state = inner.state();
        let state = &mut *state;
        if inner.finished.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(beats) = &state.beats {
            beats.abort();
        }
        let bars = state.bars.take();
        inner.put_away(bars.as_ref());
        let counts = inner.last_counts();
        if inner.stats > Duration::ZERO || counts.errors > 0 {
            inner.print(&counts, inner.style, state.last_error.clone());
        }
        if let Some(events) = &inner.events {
            let last_error = state.last_error.clone();
            events.end(&Event::Summary(&Statistics::new(&counts, inner.started.elapsed(), last_error)));
        }
        if bars.is_some() {
            let line = summary(&counts, inner.started.elapsed(), inner.dry_run) + "\n";
            let _nobody_looks = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn event(&self, action: &'static str, path: &RelPath, size: Option<u64>, reason: Option<&'static str>) {
        if let Some(events) = &self.0.events {
            let dry_run = self.0.dry_run && reason.is_none();
            let object = &path.to_string();
            events.send(&Event::Action(ActionEvent { action, object, size, dry_run, reason }));
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, severity: Severity) {
        match severity {
            Severity::Fatal => self.counters.fatal(),
            other => self.counters.error(other == Severity::Retryable),
        }
    }

    /// Measures speeds and hands out what is buffered.
    fn beat(&self) {
        self.counters.measure(Instant::now());
        if let Some(events) = &self.events {
            events.flush();
        }
    }

    fn draw(&self) {
        if let Some(bars) = &mut self.state().bars {
            bars.draw(&self.counters.snapshot());
        }
    }

    fn put_away(&self, bars: Option<&Bars>) {
        if let Some(bars) = bars {
            self.log.set_bars(None);
            bars.clear();
        }
    }

    /// A run that was too short to be measured shows its mean speed, where rclone shows none.
    fn last_counts(&self) -> Snapshot {
        let mut counts = self.counters.snapshot();
        if counts.speed == 0 {
            let millis = self.started.elapsed().as_millis().max(1);
            let speed = u128::from(counts.bytes) * 1_000 / millis;
            counts.speed = u64::try_from(speed).unwrap_or(u64::MAX);
        }
        counts
    }

    /// Statistics in between.
    fn interval(&self) {
        let state = self.state();
        if self.finished.load(Ordering::Relaxed) {
            return;
        }
        let counts = self.counters.snapshot();
        if state.bars.is_none() || self.log.is_redirected() {
            let style = if self.style == Style::LineThenBlock { Style::OneLine } else { self.style };
            self.print(&counts, style, state.last_error.clone());
        }
        if let Some(events) = &self.events {
            let last_error = state.last_error.clone();
            events.send(&Event::Progress(&Statistics::new(&counts, self.started.elapsed(), last_error)));
        }
    }

    fn print(&self, counts: &Snapshot, style: Style, last_error: Option<String>) {
        if !self.log.enabled(self.stats_level) {
            return;
        }
        let elapsed = self.started.elapsed();
        let text = match style {
            Style::Block | Style::LineThenBlock => block(counts, elapsed),
            Style::OneLine => one_line(counts, None),
            Style::DatedLine => one_line(counts, Some(&self.log.date())),
        };
        let statistics = serde_json::to_value(Statistics::new(counts, elapsed, last_error)).unwrap_or_default();
        let fields = Map::from_iter([("stats".to_owned(), statistics)]);
        self.log.print(self.stats_level, &text, fields);
    }
}

/// Runs until the reporter is finished or gone.
async fn beat(reporter: Weak<Inner>, stats: Duration, draws: bool) {
    let every = |period: Duration| {
        let mut interval = interval_at(tokio::time::Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    };
    let mut beats = every(BEAT);
    let mut statistics = every(if stats.is_zero() { NEVER } else { stats.max(SHORTEST) });
    let mut frames = every(if draws { FRAME } else { NEVER });
    loop {
        let due: fn(&Inner) = tokio::select! {
            _ = beats.tick() => Inner::beat,
            _ = statistics.tick() => Inner::interval,
            _ = frames.tick() => Inner::draw,
        };
        let Some(reporter) = reporter.upgrade() else { return };
        due(&reporter);
    }
}

impl Drop for Inner {
    /// A run that ended without [`Reporter::finish`] leaves no bars behind.
    fn drop(&mut self) {
        let bars = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).bars.take();
        self.put_away(bars.as_ref());
    }
}

/// Whether standard error is a terminal that can move its cursor.
pub fn on_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

#[cfg(test)]
mod tests;
