//! Reading objects: content in pieces, and digests.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use volsync_common::budget::BufferPool;
use volsync_common::path::RelPath;
use volsync_common::source::SourceFile;
use volsync_common::walk::Stat;

use super::{Directory, blocking, failed, rel, version};
use crate::store::{Body, BoxFuture, GetRequest, Got, Md5, StoreError, StoreErrorKind};

/// An object that is open: content cannot be replaced under it unnoticed.
enum Opened {
    File(SourceFile),
    Link(Stat, Vec<u8>),
}

impl Opened {
    fn stat(&self) -> &Stat {
        match self {
            Self::File(file) => file.stat(),
            Self::Link(stat, _) => stat,
        }
    }
}

impl Directory {
    fn open(&self, path: &RelPath) -> Result<Opened, StoreError> {
        let fail = |error| failed("open", path, error);
        let found = self.find(path).map_err(fail)?;
        let root = self.reader().map_err(fail)?;
        if found.link {
            return Ok(Opened::Link(found.stat, root.read_link(&found.at).map_err(fail)?));
        }
        SourceFile::open(&root, &found.at).map(Opened::File).map_err(fail)
    }
}

/// What reading an object needs to know of the settings.
#[derive(Clone)]
struct Reading {
    file: SourceFile,
    path: RelPath,
    no_check_updated: bool,
}

impl Reading {
    /// Fails if the content may not be what it was when it was opened.
    fn check(&self) -> Result<(), StoreError> {
        if self.no_check_updated || self.file.unchanged().map_err(|error| failed("read", &self.path, error))? {
            Ok(())
        } else {
            Err(changed("read", &self.path, "the file changed while it was read"))
        }
    }

    /// Fills `buf`; a file that got shorter is an error.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let read = self.file.read_at(offset, buf).map_err(|error| failed("read", &self.path, error))?;
        if read < buf.len() {
            return Err(changed("read", &self.path, "the file got shorter while it was read"));
        }
        Ok(())
    }
}

fn changed(operation: &'static str, path: &RelPath, reason: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Changed, operation, path.to_string(), reason)
}

/// Reads the whole file on the threads that hash.
pub(super) async fn md5(directory: &Arc<Directory>, path: &[u8]) -> Result<Option<Md5>, StoreError> {
    if !directory.settings.md5 {
        return Ok(None);
    }
    let path = rel("hash", path)?;
    let no_check_updated = directory.settings.no_check_updated;
    let opened = blocking(directory, {
        let path = path.clone();
        move |directory, _| directory.open(&path)
    });
    let file = match opened.await? {
        Opened::File(file) => file,
        Opened::Link(_, target) => return Ok(Some(volsync_md5::md5(&target))),
    };
    let digest = directory.hasher.hash_file(Arc::clone(file.file()), file.stat().size).await;
    let digest = digest.map_err(|error| failed("hash", &path, error))?;
    if digest.bytes != file.stat().size {
        return Err(changed("hash", &path, "the file changed while it was read"));
    }
    let reading = Reading { file, path, no_check_updated };
    blocking(directory, move |_, _| reading.check()).await?;
    Ok(Some(digest.md5))
}

pub(super) async fn get(directory: &Arc<Directory>, request: GetRequest<'_>) -> Result<Got, StoreError> {
    let path = rel("open", request.path)?;
    let opened = blocking(directory, {
        let path = path.clone();
        move |directory, _| directory.open(&path)
    });
    let opened = opened.await?;
    let meta = directory.meta(opened.stat());
    if request.if_match.is_some_and(|wanted| version(opened.stat()) != wanted) {
        return Err(changed("open", &path, "the file is not the one that was read before"));
    }
    let range = part(request.range, meta.size);
    let body: Box<dyn Body> = match opened {
        Opened::File(file) => {
            let reading = Reading { file, path, no_check_updated: directory.settings.no_check_updated };
            let (directory, buffers) = (Arc::clone(directory), directory.buffers.clone());
            Box::new(FileBody { directory, reading: Arc::new(reading), buffers, left: range })
        }
        Opened::Link(_, target) => Box::new(LinkBody(slice(target, range))),
    };
    Ok(Got { meta, body })
}

/// The part of `0..size` that was asked for.
fn part(range: Option<Range<u64>>, size: u64) -> Range<u64> {
    let range = range.unwrap_or(0..size);
    let end = range.end.min(size);
    range.start.min(end)..end
}

fn slice(target: Vec<u8>, range: Range<u64>) -> Option<Bytes> {
    let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap_or(usize::MAX).min(target.len()));
    (start < end).then(|| Bytes::from(target).slice(start..end))
}

/// The content of a file, one buffer at a time.
struct FileBody {
    directory: Arc<Directory>,
    reading: Arc<Reading>,
    buffers: BufferPool,
    left: Range<u64>,
}

impl Body for FileBody {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            let left = self.left.end - self.left.start;
            if left == 0 {
                return Ok(None);
            }
            let (reading, mut buffer, start) = (Arc::clone(&self.reading), self.buffers.take(), self.left.start);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffers.size());
            let last = left == len as u64;
            let bytes = blocking(&self.directory, move |_, _| {
                reading.read(start, buffer.as_mut_slice().get_mut(..len).unwrap_or_default())?;
                if last {
                    reading.check()?;
                }
                Ok(buffer.freeze(len))
            });
            let bytes = bytes.await?;
            self.left.start += len as u64;
            Ok(Some(bytes))
        })
    }
}

/// The target of a link.
struct LinkBody(Option<Bytes>);

impl Body for LinkBody {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        let bytes = self.0.take();
        Box::pin(async move { Ok(bytes) })
    }
}
