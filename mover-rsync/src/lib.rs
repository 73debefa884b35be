//! Brings a volume to another machine over SSH by differences, interchangeable with rsync at either end.

pub mod args;
pub mod delta;
pub mod options;
pub mod wire;
