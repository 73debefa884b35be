//! A store that encrypts what it hands to another store.

use std::sync::Arc;

use volsync_common::path::{RelPath, Shown};
use volsync_common::time::Timestamp;

use super::body::{self, OpenBody};
use super::content::{BLOCK, BlockCipher, HEADER, NONCE, SEALED, clear_len, nonce_of};
use super::keys::Keys;
use super::names::{NameError, Names};
use super::source::SealedSource;
use crate::store::{
    BoxFuture, Features, GetRequest, Got, Listed, Listing, ListingBuilder, ObjectMeta, Put, PutRequest, Source, Store,
    StoreError, StoreErrorKind,
};

/// An encrypting store around another one.
pub struct CryptStore {
    inner: Arc<dyn Store>,
    names: Names,
    keys: Keys,
    contents: bool,
}

impl CryptStore {
    /// Encrypts names by `names`, and contents if `contents`, before they reach `inner`.
    pub fn new(inner: Arc<dyn Store>, names: Names, keys: Keys, contents: bool) -> Self {
        Self { inner, names, keys, contents }
    }

    fn stored(&self, path: &[u8], operation: &'static str) -> Result<RelPath, StoreError> {
        let name = self.names.encrypt(path).map_err(|why| refused(operation, path, &why))?;
        RelPath::new(name).map_err(|why| refused(operation, path, &why))
    }

    fn stored_directory(&self, path: &[u8], operation: &'static str) -> Result<RelPath, StoreError> {
        let name = self.names.encrypt_directory(path).map_err(|why| refused(operation, path, &why))?;
        RelPath::new(name).map_err(|why| refused(operation, path, &why))
    }

    /// A listed object in the clear.
    fn listed<'a>(&self, object: Listed<'_>, path: &'a mut Vec<u8>) -> Result<Listed<'a>, String> {
        let words = |e: NameError| e.to_string();
        *path = if object.directory {
            self.names.decrypt_directory(object.path).map_err(words)?
        } else {
            self.names.decrypt(object.path).map_err(words)?
        };
        let size = if object.directory { object.size } else { self.clear(object.size).map_err(|e| e.to_string())? };
        Ok(Listed { path, size, md5: None, mtime: object.mtime, directory: object.directory })
    }

    fn clear(&self, size: u64) -> Result<u64, super::content::ContentError> {
        if self.contents { clear_len(size) } else { Ok(size) }
    }

    fn decoded(&self, listing: &Listing) -> Listing {
        let mut builder = ListingBuilder::default();
        for why in listing.refused() {
            builder.refuse(b"(stored key)", why);
        }
        let mut path = Vec::new();
        for object in listing.iter() {
            match self.listed(object, &mut path) {
                Ok(clear) => builder.push(clear),
                Err(why) => builder.refuse(object.path, &why),
            }
        }
        builder.finish(listing.exists())
    }

    fn meta(&self, path: &[u8], meta: ObjectMeta) -> Result<ObjectMeta, StoreError> {
        let size = self.clear(meta.size).map_err(|why| body::corrupt(path, &why))?;
        // The stored digest is of the encrypted form.
        let metadata = meta.metadata.into_iter().filter(|(name, _)| name != "md5chksum").collect();
        Ok(ObjectMeta { size, md5: None, parts: None, metadata, ..meta })
    }

    fn sealed(&self, source: Arc<dyn Source>, path: &[u8]) -> Result<Arc<dyn Source>, StoreError> {
        if !self.contents {
            return Ok(source);
        }
        let mut nonce = [0; NONCE];
        let refuse = |why: &str| StoreError::new(StoreErrorKind::Refused, "encrypt", Shown(path).to_string(), why);
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| refuse("the system gave no random bytes"))?;
        let cipher = BlockCipher::new(&self.keys.data, nonce);
        let sealed = SealedSource::new(source, cipher).ok_or_else(|| refuse("it is too long to be encrypted"))?;
        Ok(Arc::new(sealed))
    }

    async fn get_whole(&self, request: &GetRequest<'_>, stored: &[u8]) -> Result<Got, StoreError> {
        let got = self.inner.get(GetRequest { path: stored, range: None, if_match: request.if_match }).await?;
        let meta = self.meta(request.path, got.meta)?;
        let body = OpenBody::whole(got.body, self.keys.data, request.path, meta.size);
        Ok(Got { meta, body: Box::new(body) })
    }

    /// A part: the header for the nonce, then the blocks that hold the part, of the same version of the object.
    async fn get_part(&self, request: &GetRequest<'_>, stored: &[u8], part: Part) -> Result<Got, StoreError> {
        let header = GetRequest { path: stored, range: Some(0..HEADER), if_match: request.if_match };
        let got = self.inner.get(header).await?;
        let etag = got.meta.etag.clone();
        let sealed_size = got.meta.size;
        let meta = self.meta(request.path, got.meta)?;
        let nonce =
            nonce_of(&body::collect(got.body, HEADER).await?).map_err(|why| body::corrupt(request.path, &why))?;
        let cipher = BlockCipher::new(&self.keys.data, nonce);
        let end = part.end.min(meta.size);
        if part.start >= end {
            return Ok(Got { meta, body: Box::new(OpenBody::nothing(cipher, request.path)) });
        }
        let first = part.start / BLOCK;
        let from = HEADER + first * SEALED;
        let to = (HEADER + end.div_ceil(BLOCK) * SEALED).min(sealed_size);
        let if_match = etag.as_deref().or(request.if_match);
        let got = self.inner.get(GetRequest { path: stored, range: Some(from..to), if_match }).await?;
        let body = OpenBody::part(got.body, cipher, request.path, first, part.start % BLOCK, end - part.start);
        Ok(Got { meta, body: Box::new(body) })
    }
}

struct Part {
    start: u64,
    end: u64,
}

fn refused(operation: &'static str, path: &[u8], why: &dyn std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Refused, operation, Shown(path).to_string(), why.to_string())
}

impl Store for CryptStore {
    fn describe(&self) -> String {
        format!("crypt over {}", self.inner.describe())
    }

    fn features(&self) -> Features {
        Features { md5: false, ..self.inner.features() }
    }

    fn list<'a>(&'a self, listed: &'a (dyn Fn(u64) + Send + Sync)) -> BoxFuture<'a, Result<Listing, StoreError>> {
        Box::pin(async move { Ok(self.decoded(&self.inner.list(listed).await?)) })
    }

    fn stat<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<ObjectMeta, StoreError>> {
        Box::pin(async move {
            let stored = self.stored(path, "stat")?;
            let meta = self.inner.stat(stored.as_bytes()).await?;
            self.meta(path, meta)
        })
    }

    fn get<'a>(&'a self, request: GetRequest<'a>) -> BoxFuture<'a, Result<Got, StoreError>> {
        Box::pin(async move {
            let stored = self.stored(request.path, "get")?;
            if !self.contents {
                let clear = GetRequest { path: stored.as_bytes(), ..request.clone() };
                let got = self.inner.get(clear).await?;
                return Ok(Got { meta: self.meta(request.path, got.meta)?, body: got.body });
            }
            match request.range.clone() {
                None => self.get_whole(&request, stored.as_bytes()).await,
                Some(range) => {
                    let part = Part { start: range.start, end: range.end };
                    self.get_part(&request, stored.as_bytes(), part).await
                }
            }
        })
    }

    fn put<'a>(&'a self, request: PutRequest<'a>) -> BoxFuture<'a, Result<Put, StoreError>> {
        Box::pin(async move {
            let stored = self.stored(request.path.as_bytes(), "put")?;
            let bytes = request.source.len();
            let source = self.sealed(request.source.clone(), request.path.as_bytes())?;
            let md5 = if self.contents { None } else { request.md5 };
            self.inner.put(PutRequest { path: &stored, source, md5, ..request }).await?;
            Ok(Put { bytes, md5: None })
        })
    }

    fn set_mtime<'a>(&'a self, path: &'a RelPath, mtime: Timestamp) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.inner.set_mtime(&self.stored(path.as_bytes(), "set mtime")?, mtime).await })
    }

    fn delete<'a>(&'a self, paths: &'a [RelPath]) -> BoxFuture<'a, Vec<Result<(), StoreError>>> {
        Box::pin(async move {
            let stored: Vec<_> = paths.iter().map(|path| self.stored(path.as_bytes(), "delete")).collect();
            let good: Vec<RelPath> = stored.iter().filter_map(|s| s.as_ref().ok().cloned()).collect();
            let mut results = self.inner.delete(&good).await.into_iter();
            let missing = || StoreError::new(StoreErrorKind::Protocol, "delete", "", "the store gave no result");
            stored.into_iter().map(|s| s.and_then(|_| results.next().unwrap_or_else(|| Err(missing())))).collect()
        })
    }

    fn make_directory<'a>(&'a self, path: &'a RelPath) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let stored = self.stored_directory(path.as_bytes(), "make directory")?;
            self.inner.make_directory(&stored).await
        })
    }

    fn remove_directory<'a>(&'a self, path: &'a RelPath) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let stored = self.stored_directory(path.as_bytes(), "remove directory")?;
            self.inner.remove_directory(&stored).await
        })
    }

    fn clean_up(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.clean_up()
    }
}
