//! The S3 store: requests, signatures, retries, listings, multipart uploads.
//!
//! [`client`] turns the parts of a request into an answer; everything above it is one file per question. What other
//! programs can see in a bucket is written down in `docs/compat-rclone.md`, section "S3".

mod client;
mod content_type;
pub mod credentials;
mod dates;
mod endpoint;
mod keys;
mod limiter;
mod list;
mod meta;
mod mtime;
mod multipart;
mod objects;
mod put;
mod quirks;
mod retry;
mod settings;
mod sigv4;
pub mod xml;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use volsync_common::path::{RelPath, Shown};
use volsync_common::time::Timestamp;

pub use client::Identity;
pub use keys::{Keys, NoKey};
pub use mtime::{format_mtime, parse_mtime};
pub use quirks::Quirks;
pub use retry::RetryLimits;
pub use settings::{DEFAULT_ENCODING, S3Settings};
pub use sigv4::AccessKey;

use crate::http::Client;
use crate::store::{
    BoxFuture, Features, GetRequest, Got, Listing, ListingBuilder, ObjectMeta, Put, PutRequest, Store, StoreError,
    StoreErrorKind,
};

/// What a store needs of the process.
pub struct S3Deps {
    /// Connections.
    pub http: Client,
    /// Credentials.
    pub identity: Arc<dyn Identity>,
    /// Bounds of retries.
    pub retry: RetryLimits,
    /// Most requests in flight.
    pub max_requests: usize,
    /// Bytes of upload buffers at a time.
    pub upload_memory: u64,
}

/// One bucket, or a part of it below a path.
pub struct S3Store {
    settings: S3Settings,
    quirks: Quirks,
    keys: Keys,
    client: client::S3Client,
    memory: Memory,
    /// A listing found no bucket.
    missing: AtomicBool,
    /// Done when this process has created the bucket.
    bucket_made: OnceCell<()>,
}

/// Upload buffers in KiB permits.
struct Memory {
    permits: Semaphore,
    total: u32,
}

impl Memory {
    fn new(bytes: u64) -> Self {
        let total = u32::try_from((bytes >> 10).max(1)).unwrap_or(u32::MAX);
        Self { permits: Semaphore::new(total as usize), total }
    }

    fn total(&self) -> u64 {
        u64::from(self.total) << 10
    }

    /// Waits for room; what is larger than all there is waits for all of it.
    async fn reserve(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, self.total);
        self.permits.acquire_many(wanted).await.ok()
    }
}

impl S3Store {
    /// Checks the settings; sends nothing.
    pub fn open(settings: S3Settings, deps: S3Deps) -> Result<Self, StoreError> {
        let refuse = |why: &str| StoreError::new(StoreErrorKind::Unsupported, "open", &settings.bucket, why);
        if settings.bucket.is_empty() || settings.bucket.contains(['/', '?', '#', '%', ' ']) {
            return Err(refuse("this is not the name of a bucket"));
        }
        if Quirks::of(&settings.provider).is_none() {
            tracing::warn!("s3 provider \"{}\" not known - please set correctly", settings.provider);
        }
        let keys = Keys::new(&settings.path, settings.encoding)
            .ok_or_else(|| refuse("this encoding of names is not supported; remove the option \"encoding\""))?;
        let quirks = settings.quirks();
        let client = client::S3Client::new(deps.http, deps.identity, deps.retry, deps.max_requests, &settings)?;
        let memory = Memory::new(deps.upload_memory);
        let (missing, bucket_made) = (AtomicBool::new(false), OnceCell::new());
        Ok(Self { settings, quirks, keys, client, memory, missing, bucket_made })
    }

    fn key(&self, path: &[u8]) -> Result<Vec<u8>, StoreError> {
        let no_key =
            |e: NoKey| StoreError::new(StoreErrorKind::Refused, "name", Shown(path).to_string(), e.to_string());
        self.keys.key(path).map_err(no_key)
    }

    async fn list_all(&self, listed: &(dyn Fn(u64) + Send + Sync)) -> Result<Listing, StoreError> {
        let pages = list::BucketPages::new(&self.client, &self.settings, self.keys.prefix());
        match list::list(&pages, &self.keys, self.quirks.etag_is_md5, listed).await {
            Ok(all) => Ok(all.finish(true)),
            Err(error) if error.kind == StoreErrorKind::NoSuchBucket => {
                self.missing.store(true, Ordering::Relaxed);
                Ok(ListingBuilder::default().finish(false))
            }
            Err(error) => Err(error),
        }
    }
}

impl Store for S3Store {
    fn describe(&self) -> String {
        let path = self.keys.prefix();
        format!("S3 bucket {} path {}", self.settings.bucket, Shown(path.strip_suffix(b"/").unwrap_or(path)))
    }

    fn features(&self) -> Features {
        Features { md5: true, listed_mtime: false, directories: self.settings.directory_markers }
    }

    fn list<'a>(&'a self, listed: &'a (dyn Fn(u64) + Send + Sync)) -> BoxFuture<'a, Result<Listing, StoreError>> {
        Box::pin(self.list_all(listed))
    }

    fn stat<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<ObjectMeta, StoreError>> {
        Box::pin(self.head(path))
    }

    fn part_len<'a>(&'a self, path: &'a [u8], number: u32) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(self.head_part(path, number))
    }

    fn get<'a>(&'a self, request: GetRequest<'a>) -> BoxFuture<'a, Result<Got, StoreError>> {
        Box::pin(self.read(request))
    }

    fn wants_md5(&self, size: u64) -> bool {
        let in_parts = self.quirks.multipart && self.settings.upload_cutoff.is_none_or(|cutoff| size >= cutoff);
        size > put::BUFFERED && !in_parts && self.client.may_stream()
    }

    fn put<'a>(&'a self, request: PutRequest<'a>) -> BoxFuture<'a, Result<Put, StoreError>> {
        Box::pin(self.write(request))
    }

    fn set_mtime<'a>(&'a self, path: &'a RelPath, mtime: Timestamp) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.touch(path, mtime))
    }

    fn delete<'a>(&'a self, paths: &'a [RelPath]) -> BoxFuture<'a, Vec<Result<(), StoreError>>> {
        Box::pin(self.remove(paths))
    }

    fn make_directory<'a>(&'a self, path: &'a RelPath) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { if self.settings.directory_markers { self.put_marker(path).await } else { Ok(()) } })
    }

    fn remove_directory<'a>(&'a self, path: &'a RelPath) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { if self.settings.directory_markers { self.remove_marker(path).await } else { Ok(()) } })
    }

    fn clean_up(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.sweep())
    }
}
