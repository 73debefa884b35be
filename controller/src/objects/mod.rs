//! The objects that a replication needs in the cluster, as values: what they are called, and each of their fields.
//!
//! Nothing here reads or writes a cluster. Whoever applies these objects compares them with what is there.

pub mod account;
pub mod constraint;
pub mod copies;
pub mod destination;
pub mod job;
pub mod keys;
pub mod names;
pub mod owner;
pub mod placement;
pub mod populate;
pub mod rclone;
pub mod rsync;
pub mod service;
pub mod snapshot;
pub mod volumes;
