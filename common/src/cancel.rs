//! From a signal to an orderly end.
