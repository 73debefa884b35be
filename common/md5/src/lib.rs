//! MD5 at the speed of the machine.
//!
//! MD5 is latency bound: each of its 64 steps waits for the one before, so one message leaves most of a core idle
//! and independent messages can share it. Three shapes of work follow, all built on the same 64 steps, which are
//! written once over a [`Word`](rounds::Word):
//!
//! * one message: [`Md5`], [`md5`];
//! * one message and its parts of equal length: [`Parts`];
//! * independent messages side by side in SIMD lanes: [`md5_many`] for slices in memory, [`update_many`] for streams of
//!   which the next pieces are there, [`Lane`] and [`Kernel::advance`] for callers that read their messages.
//!
//! [`Kernel`] picks the instructions at run time; every kernel gives the same digests, which the tests hold against
//! the `md-5` crate. MD5 serves here as the checksum that S3 and rclone agreed on, not as a defence against forgery.
#![allow(unsafe_code, reason = "vector instructions; each use says why it is sound")]
#![deny(clippy::undocumented_unsafe_blocks)]
#![allow(clippy::inline_always, reason = "a step that is not inlined loses the target features of its caller")]
#![allow(clippy::many_single_char_names, reason = "a, b, c, d, m, k as RFC 1321 names them")]

mod kernel;
mod many;
mod parts;
mod portable;
mod rounds;
mod stream;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kernel::{Kernel, Lane, MAX_LANES};
pub use many::{md5_many, md5_many_with, update_many, update_many_with};
pub use parts::Parts;
pub use stream::{Md5, Padding, md5, padding};

/// The 16 bytes of an MD5 sum, in the order in which they are printed.
pub type Digest = [u8; 16];

/// What MD5 consumes at a time: 64 bytes.
pub type Block = [u8; 64];

/// The chaining value between two blocks of one message (RFC 1321 3.3: A, B, C, D).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub(crate) [u32; 4]);

impl State {
    /// The value every message starts from (RFC 1321 3.3).
    pub const START: State = State([0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]);

    /// The digest, once the [`padding`] of the message went through as well.
    pub fn digest(self) -> Digest {
        let mut out = [0; 16];
        for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            *bytes = word.to_le_bytes();
        }
        out
    }
}

impl Default for State {
    fn default() -> Self {
        State::START
    }
}
