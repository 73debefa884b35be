//! Several connections for one session between two ends of ours.
//!
//! An SSH channel has at most 2 MiB under way (OpenSSH `channels.h`, `CHAN_SES_WINDOW_DEFAULT`): at a round trip of 50 ms
//! that is 40 MB a second, however fast the line is. What comes from the sender then goes in numbered [`piece`]s over
//! several connections, whichever is free, and is put in order again at the other side. Everything above sees one stream
//! of bytes, as before.
//!
//! 1. A server of version 4 or newer says behind the version of the session under which name it can be met ([`meet`]).
//! 2. A client that mostly waits for the connection ([`strain`]) starts a few further shells, whose program hands its standard
//!    streams to the server of the session, and measures a round trip ([`open`]). Where that is long, they are used, and more
//!    are started.
//! 3. Whoever will read from it is ready first. Then the sender names it in [`Tag::Streams`](crate::wire::frame::Tag::Streams)
//!    and uses it; after the first such message the first connection carries pieces like the others ([`spread`], [`gather`]).
//!
//! A connection that breaks breaks the session, as the only one would; but not before the sender has named it, for it may
//! come to be when the session ends.

mod gather;
mod meet;
mod open;
mod piece;
mod spread;
mod strain;

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

pub use gather::fuzz;
pub(crate) use gather::{Gather, Gathering};
pub use meet::Token;
pub(crate) use meet::{Meeting, join};
pub(crate) use open::{DEFAULT, Opener, Role};
pub(crate) use spread::{Spread, Spreading};
pub(crate) use strain::Strain;

use crate::shell::Running;

/// One more connection of a session.
#[derive(Debug)]
pub(crate) struct Stream {
    /// From 1 to [`MOST`](open::MOST); the first connection is 0.
    number: u8,
    from: OwnedFd,
    to: OwnedFd,
    /// Whoever brought it stays until it is closed.
    held: Held,
}

impl Stream {
    /// Where its reader can answer.
    pub(crate) fn answers(&self) -> std::io::Result<OwnedFd> {
        self.to.try_clone()
    }
}

/// What ends with a stream.
#[derive(Debug)]
enum Held {
    /// It was there already.
    Nothing,
    /// The process that waits at the other end of this socket.
    Socket(UnixStream),
    /// A shell of ours.
    Shell(Option<Running>),
}

impl Drop for Held {
    fn drop(&mut self) {
        match self {
            Self::Nothing => {}
            // It may have ended by itself.
            Self::Socket(socket) => drop(socket.shutdown(Shutdown::Both)),
            Self::Shell(shell) => {
                if let Some(shell) = shell.take() {
                    shell.give_up();
                }
            }
        }
    }
}
