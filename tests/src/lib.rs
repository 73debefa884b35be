//! What the interoperability and fault tests are made of: real peers, volumes, servers and our own binary.
//!
//! Helpers panic with what they were doing instead of returning errors: in a test that is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test support: a panic is the report")]
#![allow(clippy::return_self_not_must_use, reason = "assertions hand the value on only for convenience")]
#![allow(clippy::missing_panics_doc, reason = "the module text says it once for all")]

pub mod bucket;
pub mod certificates;
pub mod conformance;
pub mod container;
pub mod delay;
pub mod devices;
pub mod embedded;
pub mod mover;
pub mod peers;
pub mod pod;
pub mod process;
pub mod random;
pub mod rclone;
pub mod rsync;
pub mod scene;
pub mod servers;
pub mod ssh_movers;
pub mod stores;
pub mod tree;
pub mod volume;
