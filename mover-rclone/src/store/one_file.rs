//! One object of a store as a store of its own: what rclone makes of an argument that names a file.

use std::sync::Arc;

use volsync_common::path::RelPath;
use volsync_common::time::Timestamp;

use super::{
    BoxFuture, Features, GetRequest, Got, Listed, Listing, ListingBuilder, Md5, ObjectMeta, Put, PutRequest, Store,
    StoreError, StoreErrorKind,
};

/// An object, there or not, in a store.
#[derive(Clone, Debug)]
pub struct OneFile {
    /// What keeps it.
    pub store: Arc<dyn Store>,
    /// Its path there.
    pub path: RelPath,
}

impl OneFile {
    /// Whether it is there.
    ///
    /// # Errors
    /// The store does not say so. rclone takes that for "not there", and a sync may then empty its destination.
    pub async fn exists(&self) -> Result<bool, StoreError> {
        use StoreErrorKind::{NoSuchBucket, NotFound, Refused};
        match self.store.stat(&self.path).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind, NotFound | NoSuchBucket | Refused) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Another store's object of the same path.
    #[must_use]
    pub fn beside(&self, store: Arc<dyn Store>) -> Self {
        Self { store, path: self.path.clone() }
    }
}

impl Store for OneFile {
    fn describe(&self) -> String {
        self.store.describe()
    }

    fn features(&self) -> Features {
        self.store.features()
    }

    fn list<'a>(&'a self, listed: &'a (dyn Fn(u64) + Send + Sync)) -> BoxFuture<'a, Result<Listing, StoreError>> {
        Box::pin(async move {
            let mut listing = ListingBuilder::default();
            match self.store.stat(&self.path).await {
                Ok(ObjectMeta { size, md5, mtime, .. }) => {
                    listing.push(Listed { path: &self.path, size, md5, mtime, directory: false });
                    listed(1);
                }
                Err(error) if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::NoSuchBucket) => {}
                Err(error) => return Err(error),
            }
            Ok(listing.finish(true))
        })
    }

    fn stat<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<ObjectMeta, StoreError>> {
        self.store.stat(path)
    }

    fn md5<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Option<Md5>, StoreError>> {
        self.store.md5(path)
    }

    fn part_len<'a>(&'a self, path: &'a [u8], number: u32) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        self.store.part_len(path, number)
    }

    fn get<'a>(&'a self, request: GetRequest<'a>) -> BoxFuture<'a, Result<Got, StoreError>> {
        self.store.get(request)
    }

    fn wants_md5(&self, size: u64) -> bool {
        self.store.wants_md5(size)
    }

    fn put<'a>(&'a self, request: PutRequest<'a>) -> BoxFuture<'a, Result<Put, StoreError>> {
        self.store.put(request)
    }

    fn set_mtime<'a>(&'a self, path: &'a RelPath, mtime: Timestamp) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.set_mtime(path, mtime)
    }

    fn delete<'a>(&'a self, paths: &'a [RelPath]) -> BoxFuture<'a, Vec<Result<(), StoreError>>> {
        self.store.delete(paths)
    }

    fn make_directory<'a>(&'a self, path: &'a RelPath) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.make_directory(path)
    }

    fn remove_directory<'a>(&'a self, path: &'a RelPath) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.remove_directory(path)
    }

    fn clean_up(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.clean_up()
    }
}
