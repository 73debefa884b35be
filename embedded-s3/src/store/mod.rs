//! Buckets, objects and unfinished uploads: the state behind the API, free of HTTP.
//!
//! One lock around the index; bytes are written before it is taken and read after it is released, so it is only ever
//! held for a look-up, an insertion or one listing page.

pub(crate) mod content;
pub mod listing;
mod uploads;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use s3s::dto::Timestamp;

use content::Backend;
pub use content::Content;
use uploads::UploadKey;
pub use uploads::{Part, Upload, UploadInfo};
use volsync_common::hash::FileHasher;
use volsync_md5::Digest;

use crate::clock::Clock;

/// What a client may set on an object beside its bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`.
    pub expires: Option<Timestamp>,
    /// Storage class, as sent.
    pub storage_class: Option<String>,
    /// `x-amz-meta-*`, names without that prefix.
    pub metadata: BTreeMap<String, String>,
}

/// A stored object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its bytes.
    pub content: Content,
    /// ETag without quotes.
    pub etag: String,
    /// MD5 of the bytes where the server has it: not after a multipart upload.
    pub md5: Option<Digest>,
    /// Lengths of the parts that it was uploaded in; none of an object in one piece.
    pub parts: Vec<u64>,
    /// Whole seconds, as S3 reports them.
    pub modified: SystemTime,
    /// Headers and metadata.
    pub attributes: Attributes,
}

/// Why the store refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the names are S3's error codes")]
pub enum StoreError {
    #[error("the bucket does not exist")]
    NoSuchBucket,
    #[error("the key does not exist")]
    NoSuchKey,
    #[error("the upload does not exist: it was never started, or is complete, or aborted")]
    NoSuchUpload,
    #[error("the bucket exists and is yours")]
    BucketAlreadyOwnedByYou,
    #[error("the bucket holds objects")]
    BucketNotEmpty,
    #[error("a part was never uploaded, or its ETag differs")]
    InvalidPart,
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    #[error("a part other than the last is smaller than allowed")]
    EntityTooSmall,
    #[error("the list of parts is empty")]
    MalformedXML,
    #[error("a condition of the request does not hold")]
    PreconditionFailed,
}

#[derive(Default)]
struct Bucket {
    created: Option<SystemTime>,
    objects: BTreeMap<String, Arc<Object>>,
    uploads: BTreeMap<UploadKey, Upload>,
}

/// All buckets of one server.
pub struct Store {
    // A std lock: every section is short and never awaits.
    buckets: RwLock<BTreeMap<String, Bucket>>,
    backend: Backend,
    hasher: FileHasher,
    next_id: AtomicU64,
    random_etags: bool,
    min_part_size: u64,
    clock: Clock,
}

/// How a store behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// ETags that say nothing about the content, as with KMS encryption.
    pub(crate) random_etags: bool,
    /// Smallest part but the last, bytes.
    pub(crate) min_part_size: u64,
    /// Bytes of data files that are kept to be written again.
    pub(crate) spare: u64,
}

impl Store {
    pub(crate) fn new(data_dir: Option<&Path>, rules: Rules, clock: Clock) -> io::Result<Self> {
        let backend = data_dir.map_or(Ok(Backend::Memory), |dir| Backend::directory(dir, rules.spare))?;
        Ok(Self {
            buckets: RwLock::default(),
            backend,
            hasher: FileHasher::start(1)?,
            next_id: AtomicU64::new(1),
            random_etags: rules.random_etags,
            min_part_size: rules.min_part_size,
            clock,
        })
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(crate) fn hasher(&self) -> &FileHasher {
        &self.hasher
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn view<T>(&self, bucket: &str, look: impl FnOnce(&Bucket) -> Result<T, StoreError>) -> Result<T, StoreError> {
        look(self.read().get(bucket).ok_or(StoreError::NoSuchBucket)?)
    }

    fn change<T>(
        &self,
        bucket: &str,
        alter: impl FnOnce(&mut Bucket) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        alter(self.write().get_mut(bucket).ok_or(StoreError::NoSuchBucket)?)
    }

    fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The ETag of content with this MD5, without quotes.
    pub(crate) fn etag(&self, md5: &Digest) -> String {
        if self.random_etags { self.random_etag() } else { hex::encode(md5) }
    }

    fn random_etag(&self) -> String {
        hex::encode(volsync_md5::md5(format!("no digest of anything, number {}", self.new_id()).as_bytes()))
    }

    /// Creates a bucket.
    pub fn create_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        let mut buckets = self.write();
        if buckets.contains_key(bucket) {
            return Err(StoreError::BucketAlreadyOwnedByYou);
        }
        buckets.insert(bucket.to_owned(), Bucket { created: Some(self.clock.seconds()), ..Bucket::default() });
        Ok(())
    }

    /// Deletes an empty bucket.
    pub fn delete_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        let mut buckets = self.write();
        let found = buckets.get(bucket).ok_or(StoreError::NoSuchBucket)?;
        if !found.objects.is_empty() {
            return Err(StoreError::BucketNotEmpty);
        }
        buckets.remove(bucket);
        Ok(())
    }

    /// Names and creation times, sorted.
    pub fn buckets(&self) -> Vec<(String, SystemTime)> {
        let all = self.read();
        all.iter().map(|(name, bucket)| (name.clone(), bucket.created.unwrap_or(UNIX_EPOCH))).collect()
    }

    /// The bucket is there.
    pub fn check_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        self.view(bucket, |_| Ok(()))
    }

    /// All keys of a bucket, sorted; empty when there is no such bucket.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.view(bucket, |found| Ok(found.objects.keys().cloned().collect())).unwrap_or_default()
    }

    /// Number of objects in a bucket.
    pub fn object_count(&self, bucket: &str) -> usize {
        self.view(bucket, |found| Ok(found.objects.len())).unwrap_or_default()
    }

    /// An object.
    pub fn get(&self, bucket: &str, key: &str) -> Result<Arc<Object>, StoreError> {
        self.view(bucket, |found| found.objects.get(key).cloned().ok_or(StoreError::NoSuchKey))
    }

    /// Stores bytes under any key, also one that no client could send.
    pub fn put(
        &self,
        bucket: &str,
        key: &str,
        bytes: impl Into<Bytes>,
        attributes: Attributes,
    ) -> Result<(), StoreError> {
        let bytes = bytes.into();
        let md5 = volsync_md5::md5(&bytes);
        self.insert(bucket, key, self.object(bytes.into(), md5, attributes), |_| Ok(()))?;
        Ok(())
    }

    pub(crate) fn object(&self, content: Content, md5: Digest, attributes: Attributes) -> Object {
        let (etag, modified) = (self.etag(&md5), self.clock.seconds());
        Object { content, etag, md5: Some(md5), parts: Vec::new(), modified, attributes }
    }

    /// Stores an object if `allowed` agrees with what is there now.
    pub(crate) fn insert(
        &self,
        bucket: &str,
        key: &str,
        object: Object,
        allowed: impl FnOnce(Option<&Object>) -> Result<(), StoreError>,
    ) -> Result<Arc<Object>, StoreError> {
        let object = Arc::new(object);
        self.change(bucket, |found| {
            allowed(found.objects.get(key).map(AsRef::as_ref))?;
            found.objects.insert(key.to_owned(), Arc::clone(&object));
            Ok(object)
        })
    }

    /// Deletes an object; says whether there was one.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<bool, StoreError> {
        self.change(bucket, |found| Ok(found.objects.remove(key).is_some()))
    }

    /// Reads one page of the index; `render` turns it into something owned under the lock.
    pub(crate) fn list<T>(
        &self,
        bucket: &str,
        request: &listing::PageRequest<'_>,
        render: impl FnOnce(&listing::Page<'_, Arc<Object>>) -> T,
    ) -> Result<T, StoreError> {
        self.view(bucket, |found| Ok(render(&listing::page(&found.objects, request))))
    }
}
