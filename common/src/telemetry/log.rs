//! Where lines go.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::{Format, Level, Settings, zone};
use crate::path::OneLine;

/// A handle to the log of this process. Clones write to the same place.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    level: Level,
    format: Format,
    zone: TimeZone,
    /// Lines go elsewhere than to standard error.
    redirected: bool,
    /// Held for one write only.
    sink: Mutex<Sink>,
}

struct Sink {
    out: Box<dyn Write + Send>,
    bars: Option<Bars>,
}

/// Lines at the bottom of the terminal that step aside while another is printed.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    /// All of them.
    pub(crate) lines: MultiProgress,
    /// One of them: its tick draws them all again.
    pub(crate) first: ProgressBar,
}

/// One thing to log.
#[derive(Default)]
pub(super) struct Record<'a> {
    pub(super) level: &'a str,
    pub(super) message: &'a str,
    pub(super) object: Option<&'a str>,
    /// Members of the JSON form.
    pub(super) fields: Map<String, Value>,
    /// `file.rs:line`.
    pub(super) source: &'a str,
}

impl Log {
    /// A log that writes to standard error.
    pub fn to_stderr(settings: &Settings) -> Self {
        Self::new(settings, Box::new(io::stderr()), false)
    }

    /// A log that writes elsewhere.
    pub fn redirected(settings: &Settings, out: Box<dyn Write + Send>) -> Self {
        Self::new(settings, out, true)
    }

    pub(crate) fn new(settings: &Settings, out: Box<dyn Write + Send>, redirected: bool) -> Self {
        let sink = Mutex::new(Sink { out, bars: None });
        Self(Arc::new(Inner { level: settings.level, format: settings.format, zone: zone::local(), redirected, sink }))
    }

    /// What is printed.
    pub fn level(&self) -> Level {
        self.0.level
    }

    /// Whether things of this level are printed.
    pub fn enabled(&self, level: Level) -> bool {
        level <= self.0.level
    }

    /// Whether lines go elsewhere than to standard error.
    pub fn is_redirected(&self) -> bool {
        self.0.redirected
    }

    /// From now on `bars` step aside while a line is printed; `None` ends that.
    pub(crate) fn set_bars(&self, bars: Option<Bars>) {
        if !self.0.redirected {
            self.lock().bars = bars;
        }
    }

    /// The time of day of the log's zone, for `--stats-one-line-date`.
    pub(crate) fn date(&self) -> String {
        self.0.zone.to_datetime(Timestamp::now()).strftime("%Y/%m/%d %H:%M:%S").to_string()
    }

    /// Prints text of several lines, of which only the first gets a header, as rclone prints statistics; `fields` are for
    /// JSON. The caller vouches for the text.
    pub(crate) fn print(&self, level: Level, text: &str, fields: Map<String, Value>) {
        if self.enabled(level) {
            let source = concat!("telemetry/log.rs:", line!());
            let record = Record { level: name(level), message: text, fields, source, ..Record::default() };
            self.write(&self.text_or_json(&record, str::to_owned));
        }
    }

    pub(super) fn record(&self, record: &Record<'_>) {
        self.write(&self.text_or_json(record, |text| OneLine(text).to_string()));
    }

    fn text_or_json(&self, record: &Record<'_>, shown: impl Fn(&str) -> String) -> String {
        let now = Timestamp::now();
        if self.0.format.is_json() { self.json(record, now) } else { self.text(record, now, shown) }
    }

    fn text(&self, record: &Record<'_>, now: Timestamp, shown: impl Fn(&str) -> String) -> String {
        let mut line = self.0.format.header(now, &self.0.zone, record.level, record.source);
        if let Some(object) = record.object {
            line.push_str(&OneLine(object).to_string());
            line.push_str(": ");
        }
        line.push_str(&shown(record.message));
        if !line.ends_with('\n') {
            line.push('\n');
        }
        line
    }

    /// Members in the order of rclone's JSON log.
    fn json(&self, record: &Record<'_>, now: Timestamp) -> String {
        let mut line = String::from("{");
        member(&mut line, "time", &Value::from(self.stamp(now)));
        member(&mut line, "level", &Value::from(record.level.to_ascii_lowercase()));
        member(&mut line, "msg", &Value::from(record.message));
        record.fields.iter().for_each(|(name, value)| member(&mut line, name, value));
        if let Some(object) = record.object {
            member(&mut line, "object", &Value::from(object));
            member(&mut line, "objectType", &Value::from("string"));
        }
        member(&mut line, "source", &Value::from(record.source));
        if self.0.format.has_pid() {
            member(&mut line, "pid", &Value::from(std::process::id()));
        }
        line.push_str("}\n");
        line
    }

    /// RFC 3339 in local time; as in Go UTC is `Z`.
    fn stamp(&self, now: Timestamp) -> String {
        let offset = self.0.zone.to_offset(now);
        if offset.is_zero() { now.to_string() } else { now.display_with_offset(offset).to_string() }
    }

    /// Writes `line` whole. A log that nobody takes any more must not end the run: errors are dropped.
    fn write(&self, line: &str) {
        self.with_out(|out| out.write_all(line.as_bytes()).and_then(|()| out.flush()));
    }

    /// Has something else printed that may share a terminal with the bars.
    pub fn aside(&self, print: impl FnOnce() -> io::Result<()>) {
        self.with_out(|_| print());
    }

    fn with_out(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        let sink = &mut *self.lock();
        // Not `MultiProgress::suspend`, which panics when the terminal is gone; and a tick draws only as often as a
        // terminal can follow.
        sink.bars.take_if(|bars| bars.lines.clear().is_err());
        let _nobody_reads = write(&mut sink.out);
        if let Some(bars) = &sink.bars {
            bars.first.tick();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sink> {
        self.0.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("level", &self.0.level).field("format", &self.0.format).finish_non_exhaustive()
    }
}

pub(super) fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Notice => "NOTICE",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
    }
}

fn member(line: &mut String, name: &str, value: &Value) {
    let comma = if line.len() > 1 { "," } else { "" };
    let _infallible = write!(line, "{comma}{}:{value}", Value::from(name));
}
