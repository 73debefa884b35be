//! A body that goes on after its connection broke.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use volsync_common::path::RelPath;

use crate::store::{Body, GetRequest, ObjectMeta, Store, StoreError, StoreErrorKind};

/// How often a body may break before it has brought anything since the last time.
const BREAKS: u32 = 5;

/// The content of an object, or of a range of it. When the connection breaks the rest is asked for, of the same version.
pub(super) struct Steady {
    store: Arc<dyn Store>,
    path: RelPath,
    /// Of the whole object.
    pub(super) meta: ObjectMeta,
    body: Box<dyn Body>,
    at: u64,
    end: u64,
    breaks: u32,
}

impl Steady {
    /// Asks for the object or a range of it, of the version `etag` if one is given.
    pub(super) async fn open(
        store: Arc<dyn Store>,
        path: RelPath,
        range: Option<Range<u64>>,
        etag: Option<String>,
    ) -> Result<Self, StoreError> {
        let request = GetRequest { path: &path, range: range.clone(), if_match: etag.as_deref() };
        let got = store.get(request).await?;
        let range = range.unwrap_or(0..got.meta.size);
        let end = range.end.min(got.meta.size);
        Ok(Self { store, path, meta: got.meta, body: got.body, at: range.start, end, breaks: 0 })
    }

    /// The next bytes, `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            match self.body.next().await {
                Ok(Some(bytes)) => {
                    self.at += bytes.len() as u64;
                    self.breaks = 0;
                    return Ok(Some(bytes));
                }
                Ok(None) => return Ok(None),
                Err(error) => self.go_on(error).await?,
            }
        }
    }

    async fn go_on(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.breaks += 1;
        let version = self.meta.etag.clone();
        let Some(version) = version.filter(|_| error.kind == StoreErrorKind::Interrupted && self.breaks <= BREAKS)
        else {
            return Err(error);
        };
        if self.at >= self.end {
            return Err(error);
        }
        tracing::debug!(object = %self.path, "{error}; going on at byte {}", self.at);
        let request = GetRequest { path: &self.path, range: Some(self.at..self.end), if_match: Some(&version) };
        self.body = self.store.get(request).await?.body;
        Ok(())
    }
}
