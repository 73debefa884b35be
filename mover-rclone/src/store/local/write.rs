//! Writing objects and directories, and removing them.

use std::io;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use volsync_common::dest::{CommitMeta, Dest, DestOptions, Temp, is_temp_name};
use volsync_common::path::RelPath;
use volsync_common::root::is_in_the_way;
use volsync_common::time::Timestamp;
use volsync_common::walk::{Event, Kind, WalkOptions, walk};

use super::{Directory, Found, blocking, failed, shown};
use crate::store::{Md5, Put, PutRequest, Source, StoreError, StoreErrorKind};

/// The longest target that Linux takes (PATH_MAX without its final NUL).
const LINK_MAX: u64 = 4095;

/// What is younger may belong to a run that goes on.
const DAY: i64 = 86_400;

/// One object to write.
pub(super) struct Write {
    path: RelPath,
    source: Arc<dyn Source>,
    mtime: Timestamp,
    md5: Option<Md5>,
}

impl Write {
    pub(super) fn new(request: &PutRequest<'_>) -> Self {
        let (path, source) = (request.path.clone(), Arc::clone(&request.source));
        Self { path, source, mtime: request.mtime, md5: request.md5 }
    }

    pub(super) fn run(&self, directory: &Directory, stop: &CancellationToken) -> Result<Put, StoreError> {
        if is_temp_name(self.path.name()) {
            return Err(self.refuse("this name is kept for files that are being written"));
        }
        let dest = created(directory)?;
        if let Some(parent) = self.path.parent() {
            make_dir_all(dest, parent).map_err(|error| self.broken(error))?;
        }
        match directory.link_behind(&self.path) {
            Some(link) => self.link(dest, &link),
            None => self.file(directory, dest, stop),
        }
    }

    fn file(&self, directory: &Directory, dest: &Dest, stop: &CancellationToken) -> Result<Put, StoreError> {
        let temp = dest.create(&self.path, self.source.len()).map_err(|error| self.broken(error))?;
        let sum = self.copy(directory, &temp, stop)?;
        self.verify(sum)?;
        let meta = CommitMeta { mtime: self.mtime, mode: None };
        temp.commit(meta, true).map_err(|error| self.broken(error))?;
        Ok(Put { bytes: self.source.len(), md5: Some(sum) })
    }

    fn copy(&self, directory: &Directory, temp: &Temp, stop: &CancellationToken) -> Result<Md5, StoreError> {
        let mut buffer = directory.buffers.take();
        let mut sum = volsync_md5::Md5::new();
        let (mut at, len) = (0, self.source.len());
        while at < len {
            if stop.is_cancelled() {
                return Err(self.error(StoreErrorKind::Cancelled, "nobody waits for it any more"));
            }
            let want = usize::try_from(len - at).unwrap_or(usize::MAX).min(directory.buffers.size());
            let piece = buffer.as_mut_slice().get_mut(..want).unwrap_or_default();
            self.read(at, piece)?;
            sum.update(piece);
            temp.write_at(at, piece).map_err(|error| self.broken(error))?;
            at += want as u64;
        }
        Ok(sum.finalize())
    }

    /// A link whose target is the content.
    fn link(&self, dest: &Dest, link: &RelPath) -> Result<Put, StoreError> {
        let len = self.source.len();
        if len == 0 || len > LINK_MAX {
            return Err(self.refuse("the target of a link has 1 to 4095 bytes"));
        }
        let mut target = vec![0; usize::try_from(len).unwrap_or_default()];
        self.read(0, &mut target)?;
        let sum = volsync_md5::md5(&target);
        self.verify(sum)?;
        dest.replace_with_link(link, &target, self.mtime).map_err(|error| self.broken(error))?;
        Ok(Put { bytes: len, md5: Some(sum) })
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let read = self.source.read_full(offset, buf).map_err(|error| self.unreadable(error))?;
        if read < buf.len() { Err(self.changed()) } else { Ok(()) }
    }

    /// Whether what was read is what was to be written, and still stands at the source.
    fn verify(&self, sum: Md5) -> Result<(), StoreError> {
        let same = self.source.unchanged().map_err(|error| self.unreadable(error))?;
        if same && self.md5.is_none_or(|known| known == sum) { Ok(()) } else { Err(self.changed()) }
    }

    fn error(&self, kind: StoreErrorKind, reason: impl Into<String>) -> StoreError {
        StoreError::new(kind, "write", self.path.to_string(), reason)
    }

    fn refuse(&self, why: &str) -> StoreError {
        self.error(StoreErrorKind::Refused, why)
    }

    fn changed(&self) -> StoreError {
        self.error(StoreErrorKind::SourceChanged, "the file changed while it was read")
    }

    fn unreadable(&self, error: io::Error) -> StoreError {
        let base = self.error(StoreErrorKind::SourceRead, format!("reading the file: {error}"));
        StoreError { source: Some(Box::new(error)), ..base }
    }

    fn broken(&self, error: io::Error) -> StoreError {
        written(failed("write", &self.path, error))
    }
}

/// Something that was to be written cannot fail for not being there.
fn written(error: StoreError) -> StoreError {
    let kind = if error.kind == StoreErrorKind::NotFound { StoreErrorKind::Io } else { error.kind };
    StoreError { kind, ..error }
}

/// The directory, made first if it is missing.
fn created(directory: &Directory) -> Result<&Dest, StoreError> {
    let root = &directory.settings.root;
    let fail = |error| written(failed("make directory", &shown(root), error));
    match directory.dest() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Dest::open_or_make(root, DestOptions::default()).map_err(fail)?;
            directory.dest().map_err(fail)
        }
        other => other.map_err(fail),
    }
}

fn make_dir_all(dest: &Dest, path: &[u8]) -> io::Result<()> {
    let path = RelPath::new(path).map_err(io::Error::other)?;
    Ok(dest.make_dir_all(&path)?)
}

pub(super) fn make_directory(directory: &Directory, path: &RelPath) -> Result<(), StoreError> {
    let dest = created(directory)?;
    make_dir_all(dest, path).map_err(|error| written(failed("make directory", path, error)))
}

pub(super) fn remove_directory(directory: &Directory, path: &RelPath) -> Result<(), StoreError> {
    match directory.dest().and_then(|dest| dest.remove_dir(path)) {
        Err(error) if !is_nothing(&error) => Err(failed("remove directory", path, error)),
        _ => Ok(()),
    }
}

fn is_nothing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || is_in_the_way(error)
}

/// Sets the time of the file itself: what a link leads to is not ours to change.
pub(super) fn set_mtime(directory: &Directory, found: &Found, mtime: Timestamp) -> io::Result<()> {
    let dest = directory.dest()?;
    let stands = dest.stat(&found.at)?.map(|(kind, _)| kind);
    if stands == Some(Kind::Symlink) && !found.link {
        return Err(io::Error::other("it is a link, which is only followed to read"));
    }
    dest.set_mtime(&found.at, mtime)
}

/// Removes the files that are these objects.
pub(super) async fn delete(directory: &Arc<Directory>, paths: &[RelPath]) -> Vec<Result<(), StoreError>> {
    let all = paths.to_vec();
    let results = blocking(directory, move |directory, stop| {
        let remove = |path| if stop.is_cancelled() { Err(cancelled(path)) } else { remove_file(directory, path) };
        Ok(all.iter().map(remove).collect::<Vec<_>>())
    });
    results.await.unwrap_or_else(|error| {
        let same = |_| Err(StoreError::new(error.kind, "delete", "", error.reason.clone()));
        paths.iter().map(same).collect()
    })
}

fn cancelled(path: &RelPath) -> StoreError {
    StoreError::new(StoreErrorKind::Cancelled, "delete", path.to_string(), "the run is being ended")
}

fn remove_file(directory: &Directory, path: &RelPath) -> Result<(), StoreError> {
    let fail = |error| failed("delete", path, error);
    let found = match directory.find(path) {
        Err(error) if is_nothing(&error) => return Ok(()),
        other => other.map_err(fail)?,
    };
    // What was found through a link is not below the root: that it stays is an error.
    directory.dest().and_then(|dest| dest.remove_file(&found.at)).map(drop).map_err(fail)
}

/// Removes temporary files that were last touched more than a day before `now`. Their modification time may be that of
/// a source already, so the change time counts.
pub(super) fn clean_up(directory: &Directory, now: Timestamp, stop: &CancellationToken) -> Result<u64, StoreError> {
    let options = WalkOptions { one_file_system: directory.settings.one_file_system, ..WalkOptions::default() };
    let root = &directory.settings.root;
    let entries = match walk(root, options, |path, kind, _| kind == Kind::Directory || is_temp_name(path.name())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(|error| failed("clean up", &shown(root), error))?,
    };
    let mut removed = 0;
    for event in entries {
        if stop.is_cancelled() {
            break;
        }
        let Event::Entry(entry) = event else { continue };
        let ours = matches!(entry.kind, Kind::File | Kind::Symlink);
        if ours && entry.stat.ctime.as_nanos() < now.as_nanos() - i128::from(DAY) * 1_000_000_000 {
            let gone = directory.dest().and_then(|dest| dest.remove_file(&entry.path));
            removed += u64::from(gone.map_err(|error| failed("clean up", &entry.path, error))?);
        }
    }
    Ok(removed)
}
