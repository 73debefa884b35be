//! An S3 server inside the process: the default store of the demo, of the tests and of the benchmarks.
//!
//! It exists because no other server counts requests, adds latency or injects faults, and a data mover is judged by
//! exactly these: how many requests it makes, and what it does when one fails. The protocol (parsing, signatures, XML)
//! is the [`s3s`] crate's; the store, the recorder and the faults are ours. MinIO remains the independent judge.
//!
//! A request passes `front` (recorded, delayed, perhaps broken on purpose), then `s3s`, then `api`
//! (translation), then [`store`] (the meaning). The index is a sorted map in memory; bytes are in memory or in files.
//!
//! Not here, on purpose: versions, ACLs, encryption, anything that survives a restart.

mod admin;
mod answers;
mod api;
mod behind;
mod breakage;
mod classify;
mod clock;
pub mod fault;
mod front;
mod options;
mod record;
mod server;
mod shape;
pub mod store;
mod tls;
mod wire;

pub use fault::{Action, Faults, Gate, Rule, When};
pub use options::{Identity, Quirks, ServerOptions};
pub use record::{Recorder, RequestRecord};
pub use server::Server;
