//! Syncs a volume to and from an object store, interchangeable with buckets that rclone wrote.

pub mod cli;
pub mod config;
pub mod contract;
pub mod crypt;
pub mod filter;
pub mod flags;
pub mod http;
pub mod open;
pub mod permissions;
pub mod s3;
mod spelling;
pub mod spool;
mod standard;
pub mod store;
pub mod sync;
