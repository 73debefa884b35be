//! Command lines: what a remote shell hands to a server, and what users type.

pub mod ask;
pub mod client;
pub mod server;

/// Why a command line cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// It means nothing here.
    #[error("{0}")]
    Usage(String),
    /// rsync knows it, this program does not do it.
    #[error("the option {0} is not supported by mover-rsync")]
    Unsupported(String),
}

impl ArgsError {
    /// The exit code of rsync for such a failure.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 1,
            Self::Unsupported(_) => 4,
        }
    }
}
