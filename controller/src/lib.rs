//! Runs VolSync's replication resources: schedules them, makes point-in-time copies and starts movers.
//!
//! What decides is pure and takes the time as an argument: [`machine`], and [`objects`] for what is made. [`cluster`] reads,
//! asks them, and writes. What is compatible with upstream, and where this
//! differs, is in `docs/compat-volsync.md`.

pub mod api;
pub mod cluster;
pub mod crd;
pub mod flags;
pub mod labels;
pub mod local;
pub mod machine;
pub mod metrics;
pub mod objects;
pub mod settings;
mod synced;
