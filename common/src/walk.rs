//! A sorted walk of a directory tree by descriptors: raw bytes, no link followed, one file system.
