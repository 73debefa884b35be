//! A local file into a store.

use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use volsync_common::path::RelPath;
use volsync_common::report::Transfer;
use volsync_common::root::Root;
use volsync_common::source::SourceFile;
use volsync_common::walk::Stat;

use super::feed;
use super::item::{Item, ItemKind};
use super::metadata;
use super::problems::Problem;
use super::run::Run;
use super::side::Local;
use super::small::Content;
use super::transfer::{Cure, Ended, Failed, Read, SHOWN};
use crate::store::{Md5, PutRequest, Source, Store, StoreError, StoreErrorKind};

/// Uploads `item`.
pub(super) async fn upload(
    run: &Arc<Run>,
    local: &Local,
    store: &Arc<dyn Store>,
    item: &Item,
    read: Read,
) -> Result<Ended, Failed> {
    let transfer = Arc::new(run.context.counters.transfer(&item.path, item.size, SHOWN));
    let (source, mtime): (Arc<dyn Source>, _) = if item.kind == ItemKind::Link {
        link(&local.root, item)?
    } else {
        let stat = current(local, item, read.again)?;
        let (root, path, transfer) = (local.root.clone(), item.path.clone(), transfer.clone());
        let lazy = || LazyFile { root, path, stat, file: OnceLock::new(), transfer };
        let source: Arc<dyn Source> = match read.content {
            Some(content) => Arc::new(Loaded(content)),
            None => Arc::new(lazy()),
        };
        (source, stat.mtime)
    };
    let md5 = match read.md5 {
        None if item.kind == ItemKind::File && store.wants_md5(source.len()) => Some(hash(run, local, item).await?),
        known => known,
    };
    let metadata =
        metadata::of_file(run, local, item).map_err(|error| Failed::io(item, "failed to read its metadata", &error))?;
    let size = source.len();
    let request = PutRequest { path: &item.path, source, mtime, md5, metadata: &metadata };
    match store.put(request).await {
        Ok(_) => {
            transfer.finish(size);
            Ok(Ended::Stored)
        }
        Err(error) => Err(match unreadable(&error) {
            Some(io) if io.kind() == io::ErrorKind::NotFound => Failed::new(Problem::from(error), Cure::Gone),
            Some(io) => Failed::io(item, "failed to read the file", io),
            None => Failed::store(item, error),
        }),
    }
}

/// Hashes a file beside the others that are being hashed.
async fn hash(run: &Arc<Run>, local: &Local, item: &Item) -> Result<Md5, Failed> {
    let fail = |error: io::Error| {
        let gone = error.kind() == io::ErrorKind::NotFound;
        let failed = Failed::io(item, "failed to read the file", &error);
        if gone { Failed::new(failed.problem, Cure::Gone) } else { failed }
    };
    let file = SourceFile::open(&local.root, &item.path).map_err(fail)?;
    let size = file.stat().size;
    let digest = run.context.hasher.hash_file(file.file().clone(), size).await.map_err(fail)?;
    if digest.bytes == size && file.unchanged().map_err(fail)? {
        return Ok(digest.md5);
    }
    Err(Failed::new(Problem::new(&item.path, "the file changed while it was read"), Cure::Retry))
}

/// The attributes the content must have: those of the walk, after a change those of now.
fn current(local: &Local, item: &Item, again: bool) -> Result<Stat, Failed> {
    if let (Some(stat), false) = (&item.stat, again) {
        return Ok(**stat);
    }
    match SourceFile::open(&local.root, &item.path) {
        Ok(file) => Ok(*file.stat()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failed::new(Problem::io(&item.path, "failed to open the file", &error), Cure::Gone))
        }
        Err(error) => Err(Failed::io(item, "failed to open the file", &error)),
    }
}

/// What the system said, if reading the source is what failed.
fn unreadable(error: &StoreError) -> Option<&io::Error> {
    let io = error.source.as_ref().and_then(|source| source.downcast_ref::<io::Error>());
    io.filter(|_| error.kind == StoreErrorKind::SourceRead)
}

type Target = (Arc<dyn Source>, volsync_common::time::Timestamp);

fn link(root: &Root, item: &Item) -> Result<Target, Failed> {
    let path = feed::link_path(&item.path).unwrap_or_else(|| item.path.clone());
    let read = feed::link_target(root, &path).and_then(|target| Ok((target, feed::link_time(root, &path)?)));
    let (target, time) = read.map_err(|error| Failed::io(item, "failed to read the link", &error))?;
    Ok((Arc::new(Text(target)), time))
}

/// Content in memory.
pub(super) struct Text(pub(super) Vec<u8>);

impl Source for Text {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn unchanged(&self) -> io::Result<bool> {
        Ok(true)
    }
}

/// A small file that was read whole.
struct Loaded(Content);

impl Source for Loaded {
    fn len(&self) -> u64 {
        self.0.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.bytes.get(at..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn in_memory(&self) -> Option<Bytes> {
        Some(self.0.bytes.clone())
    }

    fn unchanged(&self) -> io::Result<bool> {
        // It was, after it was read; what is sent is what was read.
        Ok(true)
    }
}

/// A file that is opened when it is first read: on a thread that may block, and not before its turn.
struct LazyFile {
    root: Root,
    path: RelPath,
    /// What it was when this began; anything else is a change.
    stat: Stat,
    file: OnceLock<SourceFile>,
    transfer: Arc<Transfer>,
}

impl LazyFile {
    fn open(&self) -> io::Result<&SourceFile> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = SourceFile::open(&self.root, &self.path)?;
        Ok(self.file.get_or_init(|| file))
    }
}

impl Source for LazyFile {
    fn len(&self) -> u64 {
        self.stat.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.open()?.read_at(offset, buf)
    }

    fn is_cached(&self) -> bool {
        true
    }

    fn sent(&self, bytes: u64) {
        self.transfer.add(bytes);
    }

    fn unchanged(&self) -> io::Result<bool> {
        let file = self.open()?;
        let opened = file.stat();
        let same = (opened.size, opened.mtime, opened.ctime) == (self.stat.size, self.stat.mtime, self.stat.ctime);
        Ok(same && file.unchanged()?)
    }
}
