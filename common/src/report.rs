//! Counters of a run and the lines that people and other programs read.

mod counters;

pub use counters::{Counters, Snapshot, Transfer, UnderWay};
