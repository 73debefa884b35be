//! Byte streams with frames: the only place where the protocol meets the connection.

mod demux;
mod mux;

pub use demux::{Demux, Handler, Timed};
pub use mux::Mux;
