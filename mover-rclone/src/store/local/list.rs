//! Listing a directory: everything in it, or an error that names what could not be read.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use volsync_common::dest::is_temp_name;
use volsync_common::path::{RelPath, Shown};
use volsync_common::walk::{Entry, Event, Kind, Walk, WalkOptions, walk};

use super::{Directory, LINK_SUFFIX, failed, shown};
use crate::store::{Listed, Listing, ListingBuilder, StoreError, StoreErrorKind};

/// Threads that read ahead: more bring nothing (`docs/performance.md`, "Walk").
const THREADS: usize = 4;

/// Entries after which whoever waits is told.
const TELL_EVERY: u64 = 1000;

/// All objects and directories. The walk ends soon after the future is dropped.
pub(super) async fn list(
    directory: &Arc<Directory>,
    listed: &(dyn Fn(u64) + Send + Sync),
) -> Result<Listing, StoreError> {
    let (tell, mut told) = mpsc::channel(1);
    let directory = Arc::clone(directory);
    let walking = tokio::task::spawn_blocking(move || Lister::new(&directory, tell).run());
    while let Some(entries) = told.recv().await {
        listed(entries);
    }
    let ended = walking.await;
    ended.unwrap_or_else(|error| Err(StoreError::new(StoreErrorKind::Io, "list", "", error.to_string())))
}

struct Lister<'a> {
    directory: &'a Directory,
    tell: mpsc::Sender<u64>,
    untold: u64,
    builder: ListingBuilder,
}

impl<'a> Lister<'a> {
    fn new(directory: &'a Directory, tell: mpsc::Sender<u64>) -> Self {
        Self { directory, tell, untold: 0, builder: ListingBuilder::default() }
    }

    fn run(mut self) -> Result<Listing, StoreError> {
        let entries = match self.walk() {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self.builder.finish(false)),
            Err(error) => return Err(broken(&shown(&self.directory.settings.root), error)),
        };
        for event in entries {
            match event {
                Event::Entry(entry) => self.entry(&entry),
                Event::Failed { path, .. } if self.is_left_out(&path) => {}
                Event::Failed { path, error } if path.is_empty() => {
                    return Err(broken(&shown(&self.directory.settings.root), error));
                }
                Event::Failed { path, error } => return Err(broken(&Shown(&path), error)),
            }
            if !self.count() {
                return Err(StoreError::new(StoreErrorKind::Cancelled, "list", "", "nobody waits for the listing"));
            }
        }
        // Nobody waiting any more is found out by whoever waited.
        let _gone = self.tell.blocking_send(self.untold);
        Ok(self.builder.finish(true))
    }

    fn walk(&self) -> io::Result<Walk> {
        let settings = &self.directory.settings;
        let options = WalkOptions {
            one_file_system: settings.one_file_system,
            follow_links: settings.copy_links,
            threads: THREADS,
        };
        let filter = settings.filter.clone();
        walk(&settings.root, options, move |path, kind, _| match &filter {
            Some(filter) if kind == Kind::Directory => filter.include_directory(path),
            Some(filter) => filter.include_name(path),
            None => true,
        })
    }

    /// Whether a failure concerns something that takes no part, whatever it is.
    fn is_left_out(&self, path: &[u8]) -> bool {
        let filter = self.directory.settings.filter.as_ref();
        filter.is_some_and(|filter| !filter.include_directory(path) && !filter.include_name(path))
    }

    fn entry(&mut self, entry: &Entry) {
        let settings = &self.directory.settings;
        match entry.kind {
            Kind::File | Kind::Symlink if is_temp_name(entry.path.name()) => {}
            Kind::File if self.is_hidden_by_link(&entry.path) => {
                let why = "a link of that name counts, as NAME.rclonelink; rename one of the two";
                self.builder.refuse(&entry.path, why);
            }
            Kind::File => self.push(&entry.path, entry, false),
            Kind::Directory => self.push(&entry.path, entry, true),
            Kind::Symlink if settings.links => self.push(&[&entry.path[..], LINK_SUFFIX].concat(), entry, false),
            Kind::Symlink if settings.skip_links => {}
            Kind::Symlink => {
                tracing::warn!(object = %entry.path, "Can't follow symlink without -L/--copy-links");
            }
            Kind::Other if settings.skip_specials => {}
            Kind::Other => tracing::warn!(object = %entry.path, "Can't transfer non file/directory"),
        }
    }

    fn is_hidden_by_link(&self, path: &RelPath) -> bool {
        self.directory.link_behind(path).is_some() && self.directory.find(path).is_ok_and(|found| found.link)
    }

    fn push(&mut self, path: &[u8], entry: &Entry, directory: bool) {
        let size = if directory { 0 } else { entry.stat.size };
        let mtime = Some(self.directory.settings.time.of(&entry.stat));
        self.builder.push(Listed { path, size, md5: None, mtime, directory });
    }

    /// Counts one entry; `false` once nobody waits.
    fn count(&mut self) -> bool {
        self.untold += 1;
        if self.untold >= TELL_EVERY && self.tell.try_send(self.untold).is_ok() {
            self.untold = 0;
        }
        !self.tell.is_closed()
    }
}

fn broken(subject: &impl ToString, error: io::Error) -> StoreError {
    let error = failed("list", subject, error);
    // Not found would be about an object; this is about a listing that is not whole.
    let kind = if error.kind == StoreErrorKind::NotFound { StoreErrorKind::Io } else { error.kind };
    StoreError { kind, ..error }
}

/// The listing, made on this thread.
#[cfg(test)]
pub(super) fn walk_here(directory: &Directory) -> Result<Listing, StoreError> {
    let (tell, _told) = mpsc::channel(1);
    Lister::new(directory, tell).run()
}
