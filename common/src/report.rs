//! Counters of a run and the lines that people and other programs read.
