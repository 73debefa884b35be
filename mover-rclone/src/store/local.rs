//! A directory of this machine as a store, seen as rclone's local backend sees it (`docs/compat-rclone.md`, "Local
//! directories").
//!
//! Objects are regular files; links and special files are none, but see [`LocalSettings::links`] and
//! [`LocalSettings::copy_links`]. What an interrupted write left ([`is_temp_name`]) is no object either.
//!
//! Paths are resolved below the root by descriptors, so that no link leads out of it; only `copy_links` follows links,
//! and only to read. All work is done on blocking threads. A write and a body under way hold one buffer of
//! [`BUFFER`] bytes each: how many there are is for the caller to say.

mod list;
mod read;
mod settings;
mod write;

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;
use volsync_common::budget::BufferPool;
use volsync_common::dest::{Dest, DestOptions, is_temp_name};
use volsync_common::hash::FileHasher;
use volsync_common::path::{RelPath, Shown};
use volsync_common::root::{Root, Strategy, is_in_the_way};
use volsync_common::time::Timestamp;
use volsync_common::walk::{Kind, Stat};

use super::{
    BoxFuture, Features, GetRequest, Got, Listing, Md5, ObjectMeta, Put, PutRequest, Store, StoreError, StoreErrorKind,
};
pub use settings::{FileTime, LocalSettings, SettingsError};

/// Large enough that handing over to another thread costs nothing beside it, small enough to stay in the cache.
const BUFFER: usize = 256 << 10;

/// Buffers kept for the next one.
const SPARE: usize = 8;

/// What the name of a link ends with when it is kept as an object (rclone `fs.LinkSuffix`).
const LINK_SUFFIX: &[u8] = b".rclonelink";

/// A directory as a store.
#[derive(Clone)]
pub struct LocalStore(Arc<Directory>);

/// What work on blocking threads is done on.
struct Directory {
    settings: LocalSettings,
    hasher: Arc<FileHasher>,
    buffers: BufferPool,
    opened: OnceLock<Dest>,
}

/// A file that is an object.
struct Found {
    at: RelPath,
    stat: Stat,
    /// It is a link, kept as an object.
    link: bool,
}

impl LocalStore {
    /// Checks the settings and touches nothing: the directory need not exist.
    pub fn open(mut settings: LocalSettings, hasher: Arc<FileHasher>) -> Result<Self, StoreError> {
        if settings.links && settings.copy_links {
            let reason = "can't use -l/--links with -L/--copy-links";
            return Err(StoreError::new(StoreErrorKind::Unsupported, "open", shown(&settings.root), reason));
        }
        settings.root = settings::clean(&settings.root);
        let buffers = BufferPool::new(BUFFER, SPARE);
        Ok(Self(Arc::new(Directory { settings, hasher, buffers, opened: OnceLock::new() })))
    }
}

impl Directory {
    /// The directory for writing, and for reading without following links.
    fn dest(&self) -> io::Result<&Dest> {
        if let Some(dest) = self.opened.get() {
            return Ok(dest);
        }
        let dest = Dest::open(&self.settings.root, DestOptions::default())?;
        Ok(self.opened.get_or_init(|| dest))
    }

    /// The directory for reading, through links if the user asked for that.
    fn reader(&self) -> io::Result<Root> {
        if self.settings.copy_links {
            Root::open(&self.settings.root, Strategy::FollowLinks)
        } else {
            self.dest().map(|dest| dest.root().clone())
        }
    }

    /// The file that is the object `path`.
    fn find(&self, path: &RelPath) -> io::Result<Found> {
        if is_temp_name(path.name()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let root = self.reader()?;
        if let Some(at) = self.link_behind(path)
            && let Ok(stat) = root.stat(&at)
            && stat.kind() == Kind::Symlink
        {
            return Ok(Found { at, stat, link: true });
        }
        let stat = root.stat(path)?;
        if stat.kind() == Kind::File {
            Ok(Found { at: path.clone(), stat, link: false })
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// The link that an object of this name would be.
    fn link_behind(&self, path: &RelPath) -> Option<RelPath> {
        let name = path.strip_suffix(LINK_SUFFIX).filter(|_| self.settings.links)?;
        RelPath::new(name).ok()
    }

    fn meta(&self, stat: &Stat) -> ObjectMeta {
        let mtime = Some(self.settings.time.of(stat));
        ObjectMeta { size: stat.size, mtime, etag: Some(version(stat)), ..ObjectMeta::default() }
    }
}

/// What changes when a file or its content does; names of the same inode share it.
fn version(stat: &Stat) -> String {
    let (mtime, ctime) = (stat.mtime.as_nanos(), stat.ctime.as_nanos());
    format!("{:x}-{:x}-{:x}-{mtime:x}-{ctime:x}", stat.dev, stat.ino, stat.size)
}

fn shown(path: &Path) -> String {
    Shown(path.as_os_str().as_encoded_bytes()).to_string()
}

fn rel(operation: &'static str, path: &[u8]) -> Result<RelPath, StoreError> {
    let refuse = |why: volsync_common::path::BadPath| {
        StoreError::new(StoreErrorKind::Refused, operation, Shown(path).to_string(), why.to_string())
    };
    RelPath::new(path).map_err(refuse)
}

/// The error of a file operation on an object. Not found covers what stands there but is no object.
fn failed(operation: &'static str, subject: &impl ToString, error: io::Error) -> StoreError {
    use rustix::io::Errno;
    let (kind, advice) = match Errno::from_io_error(&error) {
        _ if error.kind() == io::ErrorKind::NotFound || is_in_the_way(&error) => (StoreErrorKind::NotFound, None),
        Some(Errno::ACCESS | Errno::PERM) => (StoreErrorKind::Forbidden, None),
        Some(Errno::NAMETOOLONG | Errno::FBIG | Errno::ILSEQ) => (StoreErrorKind::Refused, None),
        Some(Errno::NOSPC | Errno::DQUOT) => (StoreErrorKind::Io, Some("free space or make the volume larger")),
        _ => (StoreErrorKind::Io, None),
    };
    let base = StoreError::new(kind, operation, subject.to_string(), error.to_string());
    StoreError { advice: advice.map(str::to_owned), source: Some(Box::new(error)), ..base }
}

/// Runs file work on a blocking thread; it is told when nobody waits for it any more.
async fn blocking<T: Send + 'static>(
    directory: &Arc<Directory>,
    work: impl FnOnce(&Arc<Directory>, &CancellationToken) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let stop = CancellationToken::new();
    let _stopped_when_dropped = stop.clone().drop_guard();
    let directory = Arc::clone(directory);
    let done = tokio::task::spawn_blocking(move || work(&directory, &stop)).await;
    done.unwrap_or_else(|error| Err(StoreError::new(StoreErrorKind::Io, "work", "", error.to_string())))
}

impl Store for LocalStore {
    fn describe(&self) -> String {
        format!("Local file system at {}", shown(&self.0.settings.root))
    }

    fn features(&self) -> Features {
        Features { md5: self.0.settings.md5, listed_mtime: true, directories: true }
    }

    fn list<'a>(&'a self, listed: &'a (dyn Fn(u64) + Send + Sync)) -> BoxFuture<'a, Result<Listing, StoreError>> {
        Box::pin(list::list(&self.0, listed))
    }

    fn stat<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<ObjectMeta, StoreError>> {
        Box::pin(async move {
            let path = rel("stat", path)?;
            blocking(&self.0, move |directory, _| {
                let found = directory.find(&path).map_err(|error| failed("stat", &path, error))?;
                Ok(directory.meta(&found.stat))
            })
            .await
        })
    }

    fn md5<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Option<Md5>, StoreError>> {
        Box::pin(read::md5(&self.0, path))
    }

    fn get<'a>(&'a self, request: GetRequest<'a>) -> BoxFuture<'a, Result<Got, StoreError>> {
        Box::pin(read::get(&self.0, request))
    }

    fn put<'a>(&'a self, request: PutRequest<'a>) -> BoxFuture<'a, Result<Put, StoreError>> {
        let write = write::Write::new(&request);
        Box::pin(async move { blocking(&self.0, move |directory, stop| write.run(directory, stop)).await })
    }

    fn set_mtime<'a>(&'a self, path: &'a RelPath, mtime: Timestamp) -> BoxFuture<'a, Result<(), StoreError>> {
        let path = path.clone();
        Box::pin(async move {
            blocking(&self.0, move |directory, _| {
                let found = directory.find(&path).map_err(|error| failed("set mtime", &path, error))?;
                write::set_mtime(directory, &found, mtime).map_err(|error| failed("set mtime", &path, error))
            })
            .await
        })
    }

    fn delete<'a>(&'a self, paths: &'a [RelPath]) -> BoxFuture<'a, Vec<Result<(), StoreError>>> {
        Box::pin(write::delete(&self.0, paths))
    }

    fn make_directory<'a>(&'a self, path: &'a RelPath) -> BoxFuture<'a, Result<(), StoreError>> {
        let path = path.clone();
        Box::pin(async move { blocking(&self.0, move |directory, _| write::make_directory(directory, &path)).await })
    }

    fn remove_directory<'a>(&'a self, path: &'a RelPath) -> BoxFuture<'a, Result<(), StoreError>> {
        let path = path.clone();
        Box::pin(async move { blocking(&self.0, move |directory, _| write::remove_directory(directory, &path)).await })
    }

    fn clean_up(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            blocking(&self.0, |directory, stop| write::clean_up(directory, Timestamp::now(), stop)).await
        })
    }
}

#[cfg(test)]
mod tests;
