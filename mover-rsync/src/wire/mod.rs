//! The rsync wire protocol, numbers 30, 31 and 32, as values and bytes.
//!
//! Nothing in here opens, connects or waits by itself: encoders append to a `Vec<u8>`, decoders take from an [`Input`],
//! which a byte slice is as well as a de-multiplexed stream. The peer is hostile: every length is checked before memory
//! is taken for it, arithmetic is checked, and any bytes at all end in a value or in a [`WireError`].
//!
//! Terms are those of `docs/compat-rsync.md`. Protocol 29 and below are refused ([`handshake`]).

pub mod acl;
pub mod daemon;
pub mod filter;
pub mod flist;
pub mod frame;
pub mod handshake;
pub mod input;
pub mod item;
pub mod names;
pub mod ndx;
pub mod output;
pub mod stats;
pub mod sums;
pub mod token;
pub mod xattr;

pub use input::Input;
pub use output::Output;

use std::borrow::Cow;
use std::io;

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer closed the stream in the middle of something.
    #[error("the peer closed the connection too early")]
    Ended,
    /// Nothing came for as long as `--timeout` says.
    #[error("nothing was received for {0} s")]
    Timeout(u64),
    /// Reading or writing the stream failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer broke a rule of the protocol.
    #[error("the peer broke the protocol: {0}")]
    Bad(Cow<'static, str>),
    /// Both sides are well, but have nothing in common.
    #[error("{0}")]
    Incompatible(Cow<'static, str>),
    /// The peer gave up and said with which exit code.
    #[error("the peer gave up with exit code {0}")]
    PeerExit(i32),
}

impl WireError {
    /// A broken rule.
    pub fn bad(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Bad(what.into())
    }
}

/// A broken rule, as a result.
pub(crate) fn bad<T>(what: impl Into<Cow<'static, str>>) -> Result<T, WireError> {
    Err(WireError::bad(what))
}
