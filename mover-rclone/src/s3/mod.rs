//! The S3 store: requests, signatures, retries, listings, multipart uploads.

pub mod credentials;
