//! Whole replications on a cluster of one node: our images in containerd, real claims, snapshots, Jobs and buckets.
//!
//! `tests/cluster/up` starts the cluster, and what is tested is in it since then or since `tests/cluster/load`. One test
//! has the cluster at a time, and a namespace of its own; Pod Security is at "restricted" unless a test says otherwise.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

mod cluster;
mod minio;
mod operator;
mod replication;

mod guide;
mod kills;
mod limit;
mod metrics;
mod plugin;
mod populator;
mod rclone;
mod rsync;
mod upstream;
mod wishes;
