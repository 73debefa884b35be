//! Walks a tree and takes its digests. The same code at both ends: what it sees must lead to the same bytes.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use volsync_common::dest::{Dest, Directory};
use volsync_common::meta::Inode;
use volsync_common::path::RelPath;
use volsync_common::walk::{Event, Kind, Stat, WalkOptions, walk_with_mount_points};

use super::judge::{Recorder, Seen, flag};
use super::tree::{Builder, Tree};
use crate::directories::Directories;
use crate::options::Options;
use crate::outcome::Counts;
use crate::sender::travelling;
use crate::wire::WireError;

/// Threads that read directories ahead.
const WALKERS: usize = 2;

/// What the whole source holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whole {
    /// By kind.
    pub(crate) files: Counts,
    /// Bytes of files and links.
    pub(crate) size: u64,
}

/// A tree that is walked.
pub(super) struct Scan<'a> {
    /// The directory, open and by a path.
    pub(super) root: Dest,
    pub(super) path: &'a Path,
    pub(super) one_file_system: bool,
    /// The root's own attributes are judged.
    pub(super) with_root: bool,
    pub(super) recorder: &'a Recorder,
    /// Which attributes travel.
    pub(super) options: &'a Options,
}

/// Keeps a connection alive while there is nothing to say.
pub(super) struct Ticks {
    /// Half of the time that the peer waits.
    every: Option<Duration>,
    last: Instant,
}

impl Ticks {
    /// For a peer that waits `timeout` seconds; 0 is for ever.
    pub(super) fn new(timeout: u64) -> Self {
        Self { every: (timeout > 0).then(|| Duration::from_secs(timeout) / 2), last: Instant::now() }
    }

    fn tick(&mut self, keep_alive: &mut dyn FnMut() -> Result<(), WireError>) -> Result<(), WireError> {
        match self.every {
            Some(every) if self.last.elapsed() > every => {
                self.last = Instant::now();
                keep_alive()
            }
            _ => Ok(()),
        }
    }
}

/// Why there is no tree.
pub(super) enum ScanError {
    /// The root could not be opened.
    Root(io::Error),
    /// The connection failed meanwhile.
    Wire(WireError),
}

impl Scan<'_> {
    /// Walks. `failed` hears of what could not be read.
    pub(super) fn run(
        &self,
        keep: impl Fn(&RelPath, Kind, &Stat) -> bool + Send + Sync + 'static,
        failed: &mut dyn FnMut(&[u8], &io::Error),
        ticks: &mut Ticks,
        keep_alive: &mut dyn FnMut() -> Result<(), WireError>,
    ) -> Result<(Tree, Whole), ScanError> {
        let options = WalkOptions { one_file_system: self.one_file_system, follow_links: false, threads: WALKERS };
        let walk = walk_with_mount_points(self.path, options, keep).map_err(ScanError::Root)?;
        let (mut dirs, mut whole) = (Directories::new(Some(self.root.clone())), Whole::default());
        let mut record = Vec::new();
        if self.with_root {
            let root = *walk.root();
            count(&mut whole, &root);
            self.record(b".", &root, None, &mut dirs, &mut record).map_err(ScanError::Root)?;
        }
        let mut builder = Builder::new(&record);
        for event in walk {
            let (path, error) = match event {
                Event::Entry(entry) => {
                    let (path, stat) = (&entry.path[..], &entry.stat);
                    count(&mut whole, stat);
                    record.clear();
                    let linked = self.recorder.judge.has(flag::HARD_LINKS) && stat.nlink > 1;
                    let leader = if linked && entry.kind != Kind::Directory {
                        builder.leader((stat.dev, stat.ino), path)
                    } else {
                        None
                    };
                    let elsewhere = self.one_file_system && !self.root.same_file_system(stat);
                    let recorded = self.record(path, stat, leader, &mut dirs, &mut record);
                    // What is mounted there does not take part.
                    record.extend_from_slice(if elsewhere { b"m" } else { b"" });
                    builder.entry(path, &record, entry.kind == Kind::Directory && !elsewhere);
                    match recorded {
                        Ok(()) => {
                            ticks.tick(keep_alive).map_err(ScanError::Wire)?;
                            continue;
                        }
                        Err(error) => (path.to_vec(), error),
                    }
                }
                Event::Failed { path, error } => (path, error),
            };
            failed(&path, &error);
            builder.failed(&path);
        }
        Ok((builder.finish(), whole))
    }

    fn record(
        &self,
        path: &[u8],
        stat: &Stat,
        leader: Option<u64>,
        dirs: &mut Directories,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let kind = stat.kind();
        let (mut target, mut acls, mut xattrs, mut content) = (Vec::new(), None, Vec::new(), None);
        let name = crate::directories::split(path).1;
        let judge = &self.recorder.judge;
        if kind == Kind::Symlink {
            target = dirs.parent(path)?.0.read_link(name)?;
        } else if judge.looks_further(kind) {
            let (dir, name) = dirs.parent(path)?;
            let names = dir.xattr_names(name)?;
            // Most have none: one call tells.
            if !names.is_empty() {
                let inode = Inode::at(&dir, name)?;
                acls = if judge.has(flag::ACLS) { Some(inode.acls()?) } else { None };
                if judge.has(flag::XATTRS) {
                    xattrs = values(&inode, travelling(names, self.options, judge.has(flag::ROOT)))?;
                }
            }
        }
        if kind == Kind::File && judge.has(flag::CONTENT) {
            let (dir, name) = dirs.parent(path)?;
            content = Some(digest(&dir, name)?);
        }
        let acls = acls.as_ref().filter(|acls| !acls.access.is_minimal() || acls.default.is_some());
        let seen = Seen { name, stat, leader, target: &target, acls, xattrs: &xattrs, content };
        self.recorder.record(&seen, out);
        Ok(())
    }
}

fn count(whole: &mut Whole, stat: &Stat) {
    whole.files.add(stat.mode);
    if matches!(stat.kind(), Kind::File | Kind::Symlink) {
        whole.size = whole.size.saturating_add(stat.size);
    }
}

fn values(inode: &Inode, names: Vec<Vec<u8>>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut values = Vec::new();
    for name in names {
        if let Some(value) = inode.xattr(&name)? {
            values.push((name, value));
        }
    }
    Ok(values)
}

fn digest(dir: &Directory, name: &[u8]) -> io::Result<[u8; 32]> {
    let (mut file, _) = dir.open(name)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            len => drop(hasher.update(&buffer[..len])),
        }
    }
}
