//! What every store has to do, as one list of checks that is run over each of them.
//!
//! A check works below a directory of its own name, so that all can share a store and any can be run alone.

mod content;
mod failures;
mod names;
mod script;

use std::ops::Range;
use std::sync::Arc;

use mover_rclone::store::{GetRequest, Listing, Md5, ObjectMeta, Put, PutRequest, Store, StoreError, StoreErrorKind};
use volsync_common::path::RelPath;
use volsync_common::time::Timestamp;

pub use content::{
    content_comes_back, old_content_is_not_taken_for_new, only_the_time_changes, parts_come_back,
    readers_get_one_version_or_the_other, times_are_kept_to_the_nanosecond,
};
pub use failures::{
    a_failed_write_leaves_what_was_there, cleaning_up_leaves_what_is_young, what_is_missing_is_not_found,
};
pub use names::{
    directories_are_kept_where_they_can_be, listings_are_complete_and_sorted, odd_names_are_kept_or_refused,
    one_name_is_an_object_and_a_directory_or_neither_breaks, removing_is_about_objects_only,
};
pub use script::{Breaks, Script};

/// When everything was last changed that a check does not say otherwise of.
pub const WHEN: Timestamp = Timestamp { secs: 1_704_164_645, nanos: 123_456_789 };

/// A store under test, and what differs between stores beyond what its features say.
#[derive(Clone)]
pub struct Subject {
    /// The store; whatever is in it stays.
    pub store: Arc<dyn Store>,
    /// Sizes at which it begins to work differently: parts, blocks, buffers.
    pub edges: Vec<u64>,
    /// It takes path elements of this many bytes.
    pub longest_name: usize,
    /// What lies below an object is listed too. MinIO keeps it but does not list it, neither to rclone nor to us.
    pub lists_below_objects: bool,
}

impl Subject {
    /// A store that takes what Linux takes and works in pieces of `edges` bytes.
    pub fn new(store: Arc<dyn Store>, edges: &[u64]) -> Self {
        Self { store, edges: edges.to_vec(), longest_name: 255, lists_below_objects: true }
    }

    /// A size that needs more than one piece.
    fn several_pieces(&self) -> u64 {
        self.edges.iter().max().map_or(100_000, |edge| 2 * edge + 1)
    }

    /// Writes an object, last changed at [`WHEN`].
    pub async fn put(&self, name: &[u8], content: Vec<u8>) -> Result<Put, StoreError> {
        self.put_at(name, content, WHEN).await
    }

    /// Writes an object, last changed at `mtime`.
    pub async fn put_at(&self, name: &[u8], content: Vec<u8>, mtime: Timestamp) -> Result<Put, StoreError> {
        self.put_as(name, Script::new(content), mtime, None).await
    }

    /// Every object: its name, its content and when it was last changed.
    pub async fn all(&self) -> Vec<(Vec<u8>, Vec<u8>, Option<Timestamp>)> {
        let mut all = Vec::new();
        for name in self.names(b"").await {
            let (meta, content) = self.read(&name, None, None).await.unwrap();
            all.push((name, content, meta.mtime));
        }
        all
    }

    async fn put_as(&self, name: &[u8], source: Script, mtime: Timestamp, md5: Option<Md5>) -> Result<Put, StoreError> {
        let request = PutRequest { path: &path(name), source: Arc::new(source), mtime, md5, metadata: &[] };
        self.store.put(request).await
    }

    /// Reads a whole object.
    pub async fn get(&self, name: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.read(name, None, None).await.map(|(_, content)| content)
    }

    async fn read(
        &self,
        name: &[u8],
        range: Option<Range<u64>>,
        if_match: Option<&str>,
    ) -> Result<(ObjectMeta, Vec<u8>), StoreError> {
        let mut got = self.store.get(GetRequest { path: name, range, if_match }).await?;
        let mut all = Vec::new();
        while let Some(bytes) = got.body.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok((got.meta, all))
    }

    /// All that is known of an object, its metadata in order.
    async fn stat(&self, name: &[u8]) -> ObjectMeta {
        let mut meta = self.store.stat(name).await.unwrap();
        meta.metadata.sort();
        meta
    }

    async fn list(&self) -> Listing {
        self.store.list(&|_| {}).await.unwrap()
    }

    /// Objects below the directory `below`, as listed.
    async fn names(&self, below: &[u8]) -> Vec<Vec<u8>> {
        let listing = self.list().await;
        let objects = listing.iter().filter(|object| !object.directory && object.path.starts_with(below));
        objects.map(|object| object.path.to_vec()).collect()
    }

    async fn delete(&self, names: &[Vec<u8>]) -> Vec<Result<(), StoreError>> {
        let paths: Vec<_> = names.iter().map(|name| path(name)).collect();
        self.store.delete(&paths).await
    }
}

/// Runs every check.
pub async fn all(subject: &Subject) {
    content_comes_back(subject).await;
    parts_come_back(subject).await;
    old_content_is_not_taken_for_new(subject).await;
    readers_get_one_version_or_the_other(subject).await;
    only_the_time_changes(subject).await;
    times_are_kept_to_the_nanosecond(subject).await;
    listings_are_complete_and_sorted(subject).await;
    one_name_is_an_object_and_a_directory_or_neither_breaks(subject).await;
    odd_names_are_kept_or_refused(subject).await;
    removing_is_about_objects_only(subject).await;
    directories_are_kept_where_they_can_be(subject).await;
    what_is_missing_is_not_found(subject).await;
    a_failed_write_leaves_what_was_there(subject).await;
    cleaning_up_leaves_what_is_young(subject).await;
}

/// A root that was never written lists as empty and missing, cleans up to nothing, and is there after the first write.
pub async fn a_missing_root_is_empty_until_something_is_written(subject: &Subject) {
    let listing = subject.list().await;
    assert!(listing.is_empty() && !listing.exists());
    let gone = subject.delete(&[b"none".to_vec(), b"none/below".to_vec()]).await;
    let is_gone = |result: &Result<(), StoreError>| match result {
        Ok(()) => true,
        Err(error) => error.kind == StoreErrorKind::NoSuchBucket,
    };
    assert!(gone.iter().all(is_gone), "{gone:?}");
    subject.put(b"first/write", b"x".to_vec()).await.unwrap();
    let listing = subject.list().await;
    assert!(listing.exists() && listing.find(b"first/write").is_some());
}

fn path(name: &[u8]) -> RelPath {
    RelPath::new(name).unwrap()
}
