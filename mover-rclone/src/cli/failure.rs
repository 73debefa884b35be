//! Why a command ended before it began, as it is told.

use std::io;

use thiserror::Error;
use volsync_common::exit::ExitCode;
use volsync_common::path::Shown;
use volsync_common::telemetry::InitError;

use super::command::COMMANDS;
use crate::config::ConfigError;
use crate::filter::FilterError;
use crate::flags::FlagError;
use crate::open::OpenError;
use crate::store::StoreError;

/// A command that could not be carried out.
#[derive(Debug, Error)]
pub enum Failure {
    /// No such sub-command.
    #[error("unknown command \"{}\" for \"mover-rclone\"{}", Shown(.0.as_bytes()), meant(.0))]
    NoCommand(String),
    /// Too few or too many arguments, or arguments that make no sense.
    #[error("{0}")]
    Usage(String),
    /// A flag.
    #[error(transparent)]
    Flag(#[from] FlagError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A remote.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log.
    #[error(transparent)]
    Log(#[from] InitError),
    /// The filters.
    #[error("Failed to initialise global options: failed to reload \"filter\" options: {0}")]
    Filter(#[from] FilterError),
    /// A store.
    #[error("Failed to {command}: {error}")]
    Store {
        /// The sub-command.
        command: &'static str,
        /// What happened.
        error: Box<StoreError>,
    },
    /// The source, or what was to be listed, does not exist.
    #[error("Failed to {command}: directory not found: {place}")]
    NoDirectory {
        /// The sub-command.
        command: &'static str,
        /// What does not exist.
        place: String,
    },
    /// One file was named, and filters beside it.
    #[error("can't limit to single files when using filters: {0}")]
    OneFile(String),
    /// Source and destination lie in one another.
    #[error(
        "Failed to {0}: can't sync or move files on overlapping remotes (try excluding the destination with a filter rule)"
    )]
    Overlapping(&'static str),
    /// The system refuses something that every run needs.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The answer.
        error: io::Error,
    },
    /// A signal came.
    #[error("ended by a signal")]
    Interrupted,
    /// All has been said.
    #[error("")]
    Said(ExitCode),
}

impl Failure {
    /// The exit code, as rclone's.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoCommand(_) | Self::Usage(_) => ExitCode::Usage,
            Self::Flag(error) => error.exit_code(),
            Self::NoDirectory { .. } => ExitCode::DirectoryNotFound,
            Self::Overlapping(_) => ExitCode::Fatal,
            Self::Store { error, .. } if error.kind.is_transient() => ExitCode::Temporary,
            Self::Interrupted => ExitCode::Terminated,
            Self::Said(code) => *code,
            Self::Config(_)
            | Self::Log(_)
            | Self::Open(_)
            | Self::Filter(_)
            | Self::OneFile(_)
            | Self::Store { .. }
            | Self::System { .. } => ExitCode::Failure,
        }
    }
}

fn meant(name: &str) -> String {
    let near =
        COMMANDS.iter().map(|command| (crate::spelling::distance(name.as_bytes(), command.name.as_bytes()), command));
    match near.min_by_key(|(distance, _)| *distance) {
        Some((distance, command)) if distance <= 2 => format!("; did you mean {}?", command.name),
        _ => String::new(),
    }
}
