//! embedded-s3.
