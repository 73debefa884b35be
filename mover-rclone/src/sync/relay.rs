//! An object of one store into another: read in the pieces in which it is written.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::item::Item;
use super::run::Run;
use super::transfer::{Ended, Failed, SHOWN};
use crate::store::{GetRequest, ObjectMeta, PutRequest, Source, Store};

/// Objects under way at a time. Each holds a thread while a piece of it is read, and what reads it may need another one:
/// fewer than there are threads for file work.
const AT_ONCE: usize = 16;

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// Copies `item`.
pub(super) async fn relay(
    run: &Arc<Run>,
    source: &Arc<dyn Store>,
    dest: &Arc<dyn Store>,
    item: &Item,
) -> Result<Ended, Failed> {
    let _place = PLACES.acquire().await;
    let transfer = run.context.counters.transfer(&item.path, item.size, SHOWN);
    let fail = |error| Failed::store(item, error);
    let meta = source.stat(&item.path).await.map_err(fail)?;
    let (size, mtime, md5) = (meta.size, meta.mtime.or(item.mtime).unwrap_or_default(), meta.md5);
    let own = |name: &str| matches!(name, "mtime" | "md5chksum");
    let metadata: Vec<_> = meta.metadata.iter().filter(|(name, _)| !own(name)).cloned().collect();
    let object = Object { store: source.clone(), path: item.path.to_vec(), meta, runtime: Handle::current() };
    let md5 = md5.filter(|_| source.features().md5);
    let request = PutRequest { path: &item.path, source: Arc::new(object), mtime, md5, metadata: &metadata };
    dest.put(request).await.map_err(fail)?;
    transfer.finish(size);
    Ok(Ended::Stored)
}

/// An object as content. Reads block: stores make them on threads that may.
struct Object {
    store: Arc<dyn Store>,
    path: Vec<u8>,
    meta: ObjectMeta,
    runtime: Handle,
}

impl Object {
    async fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let end = self.meta.size.min(offset + buf.len() as u64);
        if offset >= end {
            return Ok(0);
        }
        let request = GetRequest { path: &self.path, range: Some(offset..end), if_match: self.meta.etag.as_deref() };
        let mut got = self.store.get(request).await.map_err(io::Error::other)?;
        let mut filled = 0;
        while let Some(bytes) = got.body.next().await.map_err(io::Error::other)? {
            let room = buf.get_mut(filled..filled + bytes.len());
            room.ok_or_else(|| io::Error::other("more content than announced"))?.copy_from_slice(&bytes);
            filled += bytes.len();
        }
        Ok(filled)
    }
}

impl Source for Object {
    fn len(&self) -> u64 {
        self.meta.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.read(offset, buf))
    }

    fn unchanged(&self) -> io::Result<bool> {
        // Every read asked for the same ETag; without one the digest of the whole decides.
        Ok(true)
    }
}
