//! What the sync engine needs of a place that keeps objects. `s3`, `local` and `crypt` implement it; so can others.
//!
//! A store names objects by the path relative to its root (bucket and prefix are its own business), as bytes, already
//! decoded from whatever form its keys have. Every operation retries by itself what is safe to retry, is bounded in
//! time, and stops when its future is dropped.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use volsync_common::path::RelPath;
use volsync_common::time::Timestamp;

pub mod error;
pub mod listing;
pub mod local;
mod one_file;

pub use error::{StoreError, StoreErrorKind};
pub use listing::{Listed, Listing, ListingBuilder};
pub use local::{LocalSettings, LocalStore};
pub use one_file::OneFile;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An MD5 digest.
pub type Md5 = [u8; 16];

/// What a store can and cannot do; fixed when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// MD5 digests of the content can be had: listings give them, else [`Store::md5`] does.
    pub md5: bool,
    /// Listings give the modification time itself, so that comparing it costs no request per object.
    pub listed_mtime: bool,
    /// Empty directories can be kept (a file system, or directory markers).
    pub directories: bool,
}

/// The store's digest of an object that came in parts: MD5 over the MD5s of the parts (the ETag that S3 gives to a
/// multipart upload).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartsDigest {
    /// The digest of digests.
    pub md5: Md5,
    /// How many parts.
    pub count: u32,
}

/// What is known of one object from a HEAD or the headers of a GET.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Length of the content in bytes.
    pub size: u64,
    /// The modification time that the uploader stored, else the store's own time of the object.
    pub mtime: Option<Timestamp>,
    /// MD5 of the content, when the store knows it without reading it.
    pub md5: Option<Md5>,
    /// A digest over parts, where `md5` is not known.
    pub parts: Option<PartsDigest>,
    /// Opaque version of the content, for [`GetRequest::if_match`].
    pub etag: Option<String>,
    /// User metadata without the `x-amz-meta-` prefix, names in lower case, `mtime` and `md5chksum` included.
    pub metadata: Vec<(String, Vec<u8>)>,
    /// The object is stored with `Content-Encoding: gzip`.
    pub gzip: bool,
}

/// Which bytes of which object to read.
#[derive(Clone, Debug)]
pub struct GetRequest<'a> {
    /// The object.
    pub path: &'a [u8],
    /// Only these bytes; `None` is the whole object.
    pub range: Option<Range<u64>>,
    /// Fail with [`StoreErrorKind::Changed`] unless the object still has this ETag.
    pub if_match: Option<&'a str>,
}

/// The answer to a [`GetRequest`]: headers are there, the content follows.
pub struct Got {
    /// Of the whole object, also for a range.
    pub meta: ObjectMeta,
    /// The content asked for.
    pub body: Box<dyn Body>,
}

/// Content as it arrives. A body that ends early is an error, never a short success.
pub trait Body: Send {
    /// The next bytes, `None` at the end.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>>;
}

/// The content of an object to be written: random access, so that parts and retries need no copy. Calls block; stores
/// make them on blocking threads.
pub trait Source: Send + Sync {
    /// Length in bytes as of the start.
    fn len(&self) -> u64;
    /// Whether the length is zero.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads into `buf` from `offset`: at least one byte, but none at the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// The whole content, if it is in memory already and cannot change: then nothing needs a thread that may block.
    fn in_memory(&self) -> Option<Bytes> {
        None
    }
    /// Whether what was read once is read again at the price of a copy, as with a local file.
    fn is_cached(&self) -> bool {
        false
    }
    /// Fills `buf` from `offset` with as many calls as it takes; less means that the content ended there.
    fn read_full(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(offset + done as u64, rest)? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }
    /// Told by a store that so many more bytes are on their way, also when they go again.
    fn sent(&self, bytes: u64) {
        let _ = bytes;
    }
    /// Whether the content is still what it was at the start (size, mtime, ctime). Called after the last read and
    /// before the object becomes visible; `false` makes the upload fail with [`StoreErrorKind::SourceChanged`].
    fn unchanged(&self) -> io::Result<bool>;
}

/// One object to write.
#[derive(Clone)]
pub struct PutRequest<'a> {
    /// The object.
    pub path: &'a RelPath,
    /// Its content.
    pub source: Arc<dyn Source>,
    /// Stored as the object's modification time.
    pub mtime: Timestamp,
    /// The content's MD5 if it has been computed already (saves a pass over large files).
    pub md5: Option<Md5>,
    /// Further user metadata (`--metadata`), names in lower case without `x-amz-meta-`.
    pub metadata: &'a [(String, Vec<u8>)],
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// Bytes of content.
    pub bytes: u64,
    /// MD5 of exactly the bytes that the store confirmed, where it was computed.
    pub md5: Option<Md5>,
}

/// A place that keeps objects.
pub trait Store: Send + Sync {
    /// How log lines name the store, e.g. `s3 bucket b path p`; never holds a secret.
    fn describe(&self) -> String;

    /// What it can do.
    fn features(&self) -> Features;

    /// All objects below the root, or an error: never a part of them. A root that does not exist lists as empty with
    /// [`Listing::exists`] false where the store can tell. `listed` is told how many came, as they come.
    fn list<'a>(&'a self, listed: &'a (dyn Fn(u64) + Send + Sync)) -> BoxFuture<'a, Result<Listing, StoreError>>;

    /// What is known of one object. [`StoreErrorKind::NotFound`] if there is none.
    fn stat<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<ObjectMeta, StoreError>>;

    /// MD5 of one object's content; `None` where it is not known. [`Store::stat`] tells it where that costs nothing more;
    /// a store of plain files has to read the whole file.
    fn md5<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Option<Md5>, StoreError>> {
        Box::pin(async move { Ok(self.stat(path).await?.md5) })
    }

    /// Length in bytes of a part, counted from 1, of an object that has [`ObjectMeta::parts`]; `None` where the store
    /// does not tell.
    fn part_len<'a>(&'a self, path: &'a [u8], number: u32) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        let _ = (path, number);
        Box::pin(async { Ok(None) })
    }

    /// Starts reading an object. Failures before the first byte are retried in here; the caller continues a body that
    /// breaks with a range and [`GetRequest::if_match`].
    fn get<'a>(&'a self, request: GetRequest<'a>) -> BoxFuture<'a, Result<Got, StoreError>>;

    /// Whether writing that many bytes costs less if their MD5 is known: the caller may hash many files at once.
    fn wants_md5(&self, size: u64) -> bool {
        let _ = size;
        false
    }

    /// Writes an object: when this succeeds the store has confirmed the digest of what was read from the source.
    /// On failure the object is what it was before.
    fn put<'a>(&'a self, request: PutRequest<'a>) -> BoxFuture<'a, Result<Put, StoreError>>;

    /// Changes only the stored modification time (and keeps all other metadata).
    fn set_mtime<'a>(&'a self, path: &'a RelPath, mtime: Timestamp) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes objects, at most [`MAX_DELETE`] a call; one result each, in order. An object that is not there counts
    /// as removed.
    fn delete<'a>(&'a self, paths: &'a [RelPath]) -> BoxFuture<'a, Vec<Result<(), StoreError>>>;

    /// Keeps an empty directory where [`Features::directories`] says so.
    fn make_directory<'a>(&'a self, path: &'a RelPath) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes a directory that is empty; not an error if it is not.
    fn remove_directory<'a>(&'a self, path: &'a RelPath) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes what interrupted runs left below the root and is older than a day (unfinished multipart uploads,
    /// temporary files); says how much.
    fn clean_up(&self) -> BoxFuture<'_, Result<u64, StoreError>>;
}

/// Objects per [`Store::delete`] call (the limit of S3 DeleteObjects).
pub const MAX_DELETE: usize = 1000;

impl fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}
