//! Volumes without a file system, by the protocol of diskrsync 1.3.0 at either end (`docs/compat-rsync.md`).
//!
//! Both ends hash all of their volume into trees of the same form and talk about the nodes that differ. The form
//! ([`shape`]) and the messages ([`stream`]) are values; [`source()`] and [`target()`] speak over any two byte streams.

pub mod command;
pub mod device;
pub mod shape;
mod source;
pub mod stream;
mod target;
#[cfg(test)]
mod tests;
pub mod tree;

pub use device::Device;
pub use source::source;
pub use target::{fuzz, target};

use std::io;
use std::time::Instant;

use crate::args::client::{Show, Summary};
use crate::exit::{ExitCode, Fatal};
use crate::outcome::Outcome;
use crate::report::{self, Traffic};

/// What a copy took, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Of the source's volume.
    pub size: u64,
    /// Sent over the connection by this end.
    pub sent: u64,
    /// Received over it.
    pub received: u64,
}

impl Copied {
    /// Prints the two lines that VolSync shows in a status, which stock diskrsync does not give it.
    pub fn report(&self, started: Instant) {
        let traffic = Traffic { sent: self.sent, received: self.received, seconds: started.elapsed().as_secs() };
        let outcome = Outcome { total_size: self.size, ..Outcome::default() };
        report::summary(&outcome, traffic, Show { summary: Summary::Short, human: true, ..Show::default() });
    }
}

fn failed(what: &str, at: u64, error: &io::Error) -> Fatal {
    Fatal::Other(ExitCode::FileIo, format!("cannot {what} the volume at {at}: {error}"))
}

fn too_small(source: u64, target: u64) -> Fatal {
    let text = format!("the target has {target} bytes, fewer than the {source} of the source; nothing was written");
    Fatal::Other(ExitCode::FileSelect, text)
}
