//! Delta transfer: which parts of a new file the other side has already.

pub mod digest;
pub mod matcher;
pub mod rolling;
