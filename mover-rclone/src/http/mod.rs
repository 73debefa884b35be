//! HTTP/1.1 over TCP or TLS, through a proxy or not: connections and nothing else.
//!
//! [`Client::send`] puts one request on a connection from the pool (or a new one from [`dial`]) and gives back the head of
//! the response with a [`BodyReader`]. Retries, redirects and signatures belong to the caller; one exception: a pooled
//! connection that turns out to be closed is replaced once, unseen.
//!
//! Two choices carry the speed. hyper's connection state machine is polled *inside* the request's own future, not in a
//! task of its own: a small request costs no wake-up across threads, and dropping a request closes its socket at once.
//! And HTTP/2 is not spoken: S3 servers serve bulk data over 1.1, one TCP connection per object in flight is what fills
//! a fat pipe, and a stalled object does not hold up its neighbours.

mod body;
mod client;
mod connection;
mod dial;
mod error;
mod extra;
mod pace;
mod payload;
mod pool;
mod socks;
mod tunnel;
mod wire;

pub use body::BodyReader;
pub use client::{Client, HttpSettings};
pub use error::{ConnectFailure, HttpError, HttpErrorKind, Waiting};
pub use extra::{ExtraHeaders, NoHeader};
pub use payload::{Payload, ReadPiece, Reading};

#[cfg(test)]
mod tests;
