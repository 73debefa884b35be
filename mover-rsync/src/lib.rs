//! Brings a volume to another machine over SSH by differences, interchangeable with rsync at either end.

pub mod accounts;
pub mod args;
mod batch;
pub mod block;
pub mod client;
pub mod contract;
mod daemon;
pub mod delta;
mod directories;
pub mod exit;
pub mod filter;
pub mod native;
pub mod options;
pub mod outcome;
pub mod psk;
pub mod receiver;
pub mod report;
pub mod sender;
pub mod serve;
pub mod server;
pub mod session;
mod shell;
mod sshd;
pub mod stream;
pub mod streams;
mod tls;
pub mod wire;
