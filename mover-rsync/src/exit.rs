//! Exit codes of rsync, which VolSync's scripts and users look at.

use crate::args::ArgsError;
use crate::wire::WireError;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitCode {
    /// All that was asked is done.
    Success = 0,
    /// The command line is wrong.
    Usage = 1,
    /// No common protocol.
    Protocol = 2,
    /// The source or destination cannot be used.
    FileSelect = 3,
    /// Something that this program does not do.
    Unsupported = 4,
    /// The other side could not be started.
    StartClient = 5,
    /// Reading or writing the connection failed.
    SocketIo = 10,
    /// Reading or writing files failed in a way that ends the transfer.
    FileIo = 11,
    /// The peer broke the protocol or went away.
    StreamIo = 12,
    /// Some files or attributes were not transferred.
    Partial = 23,
    /// Some files vanished before they were transferred.
    Vanished = 24,
    /// `--max-delete` stopped deletions.
    DeleteLimit = 25,
    /// Nothing came for as long as `--timeout` says.
    Timeout = 30,
}

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The connection or what came over it.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A command line that cannot be obeyed.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// Anything else, with its code.
    #[error("{1}")]
    Other(ExitCode, String),
}

impl Fatal {
    /// The exit code that rsync gives such a failure.
    pub fn code(&self) -> u8 {
        match self {
            Self::Wire(WireError::Ended | WireError::Bad(_)) => ExitCode::StreamIo as u8,
            Self::Wire(WireError::Io(_)) => ExitCode::SocketIo as u8,
            Self::Wire(WireError::Timeout(_)) => ExitCode::Timeout as u8,
            Self::Wire(WireError::Incompatible(_)) => ExitCode::Protocol as u8,
            // 0 cannot be meant: it gave up.
            Self::Wire(WireError::PeerExit(code)) => u8::try_from(*code).ok().filter(|code| *code > 0).unwrap_or(12),
            Self::Args(error) => error.code(),
            Self::Other(code, _) => *code as u8,
        }
    }

    /// Whether the peer is to be told: not when the connection itself is broken, or when the peer ended it.
    pub fn is_told(&self) -> bool {
        !matches!(self, Self::Wire(WireError::Ended | WireError::Io(_) | WireError::Bad(_) | WireError::PeerExit(_)))
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
