//! common/md5.
