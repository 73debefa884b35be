//! Runs VolSync's replication resources: schedules them, makes point-in-time copies and starts movers.
//!
//! What is compatible with upstream, and where this differs, is in `docs/compat-volsync.md`.

pub mod api;
pub mod crd;
pub mod labels;
