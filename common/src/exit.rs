//! Exit codes: rclone's own (its `docs/content/docs.md`, "List of exit codes"), so that scripts and Jobs that look at
//! them keep working, and one of ours for signals.

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// All that was asked is done.
    Success = 0,
    /// A failure without a code of its own: bad configuration, files that could not be copied, refused for safety.
    Failure = 1,
    /// The command line is wrong; nothing was started.
    Usage = 2,
    /// The source directory or bucket does not exist.
    DirectoryNotFound = 3,
    /// The source file does not exist.
    FileNotFound = 4,
    /// Retries are used up; another run may succeed.
    Temporary = 5,
    /// Only errors that a retry cannot mend.
    NoRetry = 6,
    /// A limit that ends the run at once: `--max-delete`, source and destination overlap.
    Fatal = 7,
    /// `--max-transfer` was reached.
    TransferLimit = 8,
    /// Nothing was transferred and `--error-on-no-transfer` was given.
    NothingTransferred = 9,
    /// `--max-duration` was reached.
    DurationLimit = 10,
    /// There is no such program (a shell's code).
    NotFound = 127,
    /// Ended by SIGTERM or SIGINT (128 + 15); a rerun continues.
    Terminated = 143,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
