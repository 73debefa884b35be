//! Log output: rclone's lines, or rclone's JSON.
//!
//! A line is `2006/01/02 15:04:05 LEVEL : object: message`, written whole in one piece. Events of `tracing` become lines
//! as follows:
//!
//! | event | line |
//! | --- | --- |
//! | `ERROR`, `WARN`, `INFO`, `DEBUG` | `ERROR `, `NOTICE`, `INFO  `, `DEBUG `; `TRACE` never appears |
//! | field `object` | the object part; must be safe to print (`%RelPath`, `%Shown`) |
//! | field `error` | follows the message: `message: error` |
//! | field `critical = true` on an `ERROR` | the level is `CRITICAL` |
//! | fields `size`, `skipped` | in JSON only: the message has them where people need them |
//! | any other field | ` name=value` after the message; a member in JSON |
//! | another crate's event (`aws_*` and the like) | at `DEBUG`, message and error alone: fields hold requests, and secrets |
//!
//! Control characters in text are escaped: whatever a server or a file name says, it cannot begin a line of its own.

mod format;
mod layer;
mod log;
mod zone;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

pub use format::{BadFormat, Format};
pub(crate) use log::Bars;
pub use log::Log;
pub use zone::local as local_zone;

/// Crates whose events are ours, by the beginning of their names.
const OURS: [&str; 3] = ["volsync", "mover", "controller"];

/// Log levels, rarest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Failures.
    Error,
    /// What a user should know: the default.
    Notice,
    /// What is done.
    Info,
    /// Why it is done.
    Debug,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What to print: `--log-level`.
    pub level: Level,
    /// What lines begin with, and whether they are JSON: `--log-format`, `--use-json-log`.
    pub format: Format,
    /// `--log-file`: appended to instead of standard error.
    pub file: Option<PathBuf>,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The log file.
    #[error("failed to open log file {}: {source}", crate::path::Shown(file.as_os_str().as_encoded_bytes()))]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// [`init`] was called before.
    #[error("logging was set up before")]
    Twice,
}

/// Sends the events of this process to standard error or a file from now on.
///
/// What it returns writes to the same place: the report needs it.
pub fn init(settings: &Settings) -> Result<Log, InitError> {
    let log = match &settings.file {
        None => Log::to_stderr(settings),
        Some(file) => {
            // Mode as rclone's (`fs/log/log.go`): readable by the group.
            let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(file);
            let opened = opened.map_err(|source| InitError::File { file: file.clone(), source })?;
            Log::redirected(settings, Box::new(opened))
        }
    };
    tracing::subscriber::set_global_default(subscriber(&log)).map_err(|_| InitError::Twice)?;
    Ok(log)
}

/// What turns events into lines of `log`: for [`init`], and for tests within one thread.
pub fn subscriber(log: &Log) -> impl Subscriber + Send + Sync + use<> {
    // Below INFO other crates print headers and bodies.
    let others = if log.enabled(Level::Debug) { LevelFilter::INFO } else { LevelFilter::OFF };
    let ours = OURS.map(|prefix| (prefix, LevelFilter::from_level(log.level().into())));
    let targets = Targets::new().with_default(others).with_targets(ours);
    tracing_subscriber::registry().with(targets).with(layer::Lines(log.clone()))
}

impl From<Level> for tracing::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Notice => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Notice,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

#[cfg(test)]
mod tests;
