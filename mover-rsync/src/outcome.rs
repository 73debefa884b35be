//! How a transfer went, on either side.

use crate::exit::ExitCode;
use crate::wire::frame::io_error;
use crate::wire::stats::Deleted;

/// Files by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Devices.
    pub devices: u64,
    /// Fifos and sockets.
    pub specials: u64,
}

impl Counts {
    /// Counts one with this mode.
    pub fn add(&mut self, mode: u32) {
        let number = match mode & 0o170_000 {
            0o100_000 => &mut self.files,
            0o040_000 => &mut self.directories,
            0o120_000 => &mut self.symlinks,
            0o060_000 | 0o020_000 => &mut self.devices,
            _ => &mut self.specials,
        };
        *number += 1;
    }
}

/// How a transfer went that came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Error bits of the sender and of deletions.
    pub io_error: u32,
    /// Something could not be done.
    pub failed: bool,
    /// Files of the list, by kind.
    pub files: Counts,
    /// Files that the receiving side did not have, by kind; not known to a receiving server.
    pub created: Counts,
    /// What the receiving side deleted.
    pub deleted: Deleted,
    /// Regular files that were transferred.
    pub transferred: u64,
    /// Bytes of all files.
    pub total_size: u64,
    /// Bytes of those files.
    pub transferred_size: u64,
    /// Bytes of those that travelled as they are.
    pub literal: u64,
    /// Bytes of those that the receiving side had.
    pub matched: u64,
    /// Bytes of the file list.
    pub list_size: u64,
    /// Milliseconds of building and sending the list.
    pub list_time: u64,
}

impl Outcome {
    /// The exit code.
    pub fn code(&self) -> ExitCode {
        if self.failed || self.io_error & io_error::GENERAL != 0 {
            ExitCode::Partial
        } else if self.io_error & io_error::VANISHED != 0 {
            ExitCode::Vanished
        } else if self.io_error & io_error::DELETE_LIMIT != 0 {
            ExitCode::DeleteLimit
        } else {
            ExitCode::Success
        }
    }
}
