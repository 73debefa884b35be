//! `permissions.facl`: written from the walk of a push, applied at the end of a pull.
//!
//! Records are written while the walk passes, parents before children as `find` lists them. Whether a directory is empty
//! is known only when the next entry comes, so one directory is always held back.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

use volsync_common::dest::{Dest, MakeDirError};
use volsync_common::meta::facl::{FaclError, Reader, Record, Subject, write_record};
use volsync_common::meta::{self, Acls, ApplyOptions, ApplyOutcome};
use volsync_common::path::{RelPath, Shown};
use volsync_common::root::Root;
use volsync_common::walk::{Kind, Stat};

use crate::spool::{Spool, SpoolWriter};

/// Records on their way to a thread that applies them.
const BATCH: usize = 64;

/// Broken records that are named one by one.
const NAMED: u64 = 5;

/// Writes records.
pub struct FaclWriter {
    root: Root,
    mount: Vec<u8>,
    out: SpoolWriter,
    held: Option<(RelPath, Stat, Acls)>,
    failed: Option<io::Error>,
}

impl FaclWriter {
    /// Begins with the record of the volume itself. Paths begin with `mount`, `data` for a volume at `/data`.
    ///
    /// # Errors
    /// The attributes of the root cannot be read.
    pub fn new(root: Root, mount: &[u8]) -> io::Result<Self> {
        let mut this = Self { root, mount: mount.to_vec(), out: SpoolWriter::default(), held: None, failed: None };
        if let Some((stat, acls)) = meta::read(&this.root, None)? {
            this.write(b"", &stat, &acls, false)?;
        }
        Ok(this)
    }

    /// The next regular file or directory of the walk; something that is gone meanwhile has no record.
    ///
    /// # Errors
    /// Its attributes cannot be read.
    pub fn entry(&mut self, path: &RelPath) -> io::Result<()> {
        self.settle(Some(path));
        let Some((stat, acls)) = meta::read(&self.root, Some(path))? else { return Ok(()) };
        if stat.kind() == Kind::Directory {
            self.held = Some((path.clone(), stat, acls));
        } else if let Err(error) = self.write(path, &stat, &acls, false) {
            self.failed.get_or_insert(error);
        }
        Ok(())
    }

    /// Something that is kept but has no record (a link kept as an object).
    pub fn other(&mut self, path: &RelPath) {
        self.settle(Some(path));
    }

    /// The walk is over.
    pub fn end(&mut self) {
        self.settle(None);
    }

    /// The text.
    ///
    /// # Errors
    /// It could not be kept.
    pub fn finish(mut self) -> io::Result<Spool> {
        self.end();
        match self.failed {
            Some(error) => Err(error),
            None => self.out.finish(),
        }
    }

    fn settle(&mut self, next: Option<&RelPath>) {
        let Some((path, stat, acls)) = self.held.take() else { return };
        let below = |next: &RelPath| next.strip_prefix(path.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
        let empty = !next.is_some_and(below);
        if let Err(error) = self.write(&path, &stat, &acls, empty) {
            self.failed.get_or_insert(error);
        }
    }

    fn write(&mut self, path: &[u8], stat: &Stat, acls: &Acls, empty_directory: bool) -> io::Result<()> {
        let subject = Subject { path, uid: stat.uid, gid: stat.gid, mode: stat.mode, empty_directory };
        write_record(&mut self.out, &self.mount, subject, &acls.access, acls.default.as_ref())
    }
}

/// What a restore of permissions came to; numbers of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// All records.
    pub records: u64,
    /// Records whose file was changed.
    pub changed: u64,
    /// Owner or group could not be set for want of privilege.
    pub owner_denied: u64,
    /// Mode or list could not be set for want of privilege.
    pub mode_denied: u64,
    /// Lists were reduced to modes: the volume cannot keep them.
    pub reduced: u64,
    /// Nothing is at the path (a link, fifo or excluded file of the source).
    pub missing: u64,
    /// A link is at the path or on the way to it.
    pub refused: u64,
    /// Records that are none, or whose paths lie outside of the volume.
    pub broken: u64,
}

impl Restored {
    fn count(&mut self, outcome: ApplyOutcome) {
        self.changed += u64::from(outcome.changed);
        self.owner_denied += u64::from(outcome.owner_denied);
        self.mode_denied += u64::from(outcome.mode_denied);
        self.reduced += u64::from(outcome.reduced);
        self.missing += u64::from(outcome.missing);
        self.refused += u64::from(outcome.refused);
    }

    /// One line about what could not be kept; `None` if all could.
    pub fn shortfall(&self) -> Option<String> {
        let parts = [
            (self.owner_denied, "owners or groups could not be set (the mover may not change owners)"),
            (self.mode_denied, "modes or access lists could not be set (the mover may not change them)"),
            (self.reduced, "access lists were reduced to modes (the volume cannot keep them)"),
            (self.refused, "records were left out (a link is in their place)"),
            (self.broken, "records were left out (broken, or outside of the volume)"),
        ];
        let said: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

/// The records of a text with paths below the volume (`None`: the volume itself). The first record is the volume's and
/// says what all paths begin with, so that a volume can be restored under another name than it was saved under.
struct Records<'a> {
    reader: Reader<crate::spool::SpoolReader<'a>>,
    mount: Option<Vec<u8>>,
}

type At = (Option<RelPath>, Record);

impl Iterator for Records<'_> {
    type Item = Result<At, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match self.reader.next()? {
            Ok(record) => record,
            Err(FaclError::Io(error)) => return Some(Err(format!("reading it: {error}"))),
            Err(error) => return Some(Err(error.to_string())),
        };
        let mount = self.mount.get_or_insert_with(|| record.path.clone());
        if record.path == *mount {
            return Some(Ok((None, record)));
        }
        let rest = if mount == b"." { Some(&record.path[..]) } else { record.path.strip_prefix(&mount[..]) };
        let rest = rest.and_then(|rest| if mount == b"." { Some(rest) } else { rest.strip_prefix(b"/") });
        let path = rest.map(RelPath::new);
        Some(match path {
            Some(Ok(path)) => Ok((Some(path), record)),
            _ => Err(format!("{} is no path below {}", Shown(&record.path), Shown(mount))),
        })
    }
}

fn records(text: &Spool) -> Records<'_> {
    Records { reader: Reader::new(text.reader()), mount: None }
}

/// The directories that are kept though they are empty.
pub fn empty_directories(text: &Spool) -> BTreeSet<Vec<u8>> {
    let marked = records(text).filter_map(Result::ok).filter(|(_, record)| record.empty_directory);
    marked.filter_map(|(path, _)| path.map(|path| path.as_bytes().to_vec())).collect()
}

/// Creates the empty directories and applies all records, on `threads` threads. Directories come last, the deepest first.
///
/// # Errors
/// A file could not be changed for a reason that is none of [`Restored`]'s.
pub fn restore(text: &Spool, dest: &Dest, threads: usize) -> Result<Restored, (String, io::Error)> {
    let total = Mutex::new(Restored::default());
    let failed = Mutex::new(None);
    let directories = Mutex::new(Vec::new());
    let (send, receive) = sync_channel::<Vec<At>>(2 * threads.max(1));
    let receive = Mutex::new(receive);
    std::thread::scope(|scope| {
        let send = send;
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let (counts, left, error) = apply_all(&receive, dest);
                add(&total, &counts);
                directories.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
                if let Some(error) = error {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            });
        }
        let counts = read_all(text, dest, &send, &failed);
        add(&total, &counts);
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut directories = directories.into_inner().unwrap_or_else(PoisonError::into_inner);
    directories.sort_by(|(a, _), (b, _)| b.cmp(a));
    for (path, record) in &directories {
        match meta::apply(dest, path.as_ref(), record, ApplyOptions::default()) {
            Ok(outcome) => total.count(outcome),
            Err(error) => drop(failed.get_or_insert((shown(path.as_ref()), error))),
        }
    }
    failed.map_or(Ok(total), Err)
}

type Failure = (String, io::Error);

fn add(total: &Mutex<Restored>, part: &Restored) {
    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
    let Restored { records, changed, owner_denied, mode_denied, reduced, missing, refused, broken } = *part;
    total.records += records;
    total.changed += changed;
    total.owner_denied += owner_denied;
    total.mode_denied += mode_denied;
    total.reduced += reduced;
    total.missing += missing;
    total.refused += refused;
    total.broken += broken;
}

fn shown(path: Option<&RelPath>) -> String {
    path.map_or_else(|| "the volume's root".to_owned(), ToString::to_string)
}

/// Reads the text and hands records out in batches.
fn read_all(
    text: &Spool,
    dest: &Dest,
    send: &std::sync::mpsc::SyncSender<Vec<At>>,
    failed: &Mutex<Option<Failure>>,
) -> Restored {
    let mut counts = Restored::default();
    let mut batch = Vec::with_capacity(BATCH);
    for record in records(text) {
        counts.records += 1;
        match record {
            Ok((path, record)) => {
                if let (true, Some(path)) = (record.empty_directory, &path)
                    && let Err(error) = make_directory(dest, path)
                {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((path.to_string(), error));
                }
                batch.push((path, record));
            }
            Err(why) => {
                counts.broken += 1;
                if counts.broken <= NAMED {
                    tracing::warn!("permissions.facl: {why}");
                }
            }
        }
        if batch.len() == BATCH && send.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))).is_err() {
            return counts;
        }
    }
    // Only fails when every thread is gone, which the caller hears of from them.
    drop(send.send(batch));
    counts
}

fn make_directory(dest: &Dest, path: &RelPath) -> io::Result<()> {
    match dest.make_dir_all(path) {
        Ok(()) => Ok(()),
        Err(MakeDirError::Io(error)) => Err(error),
        // What stands there is not the directory that the record is about: applying it says so.
        Err(MakeDirError::InTheWay(at)) => {
            tracing::debug!("{at} is in the way of the empty directory {path}");
            Ok(())
        }
    }
}

fn apply_all(receive: &Mutex<Receiver<Vec<At>>>, dest: &Dest) -> (Restored, Vec<At>, Option<Failure>) {
    let (mut counts, mut left, mut failed) = (Restored::default(), Vec::new(), None);
    let options = ApplyOptions { leave_directories: true, ..ApplyOptions::default() };
    loop {
        let batch = receive.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = batch else { return (counts, left, failed) };
        for (path, record) in batch {
            match meta::apply(dest, path.as_ref(), &record, options) {
                Ok(outcome) if outcome.left => left.push((path, record)),
                Ok(outcome) => counts.count(outcome),
                Err(error) => drop(failed.get_or_insert((shown(path.as_ref()), error))),
            }
        }
    }
}

/// Takes a text as it comes.
#[derive(Default)]
pub struct FaclText(SpoolWriter);

impl FaclText {
    /// More of it.
    ///
    /// # Errors
    /// Only what compressing says.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// All of it.
    ///
    /// # Errors
    /// Only what compressing says.
    pub fn finish(self) -> io::Result<Spool> {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    use volsync_common::dest::DestOptions;
    use volsync_common::root::Strategy;

    fn rel(path: &str) -> RelPath {
        RelPath::new(path.as_bytes()).unwrap()
    }

    fn written(dir: &std::path::Path, entries: &[&str]) -> Spool {
        let root = Root::open(dir, Strategy::Kernel).unwrap();
        let mut writer = FaclWriter::new(root, b"data").unwrap();
        for entry in entries {
            writer.entry(&rel(entry)).unwrap();
        }
        writer.finish().unwrap()
    }

    fn text(spool: &Spool) -> String {
        let mut text = String::new();
        spool.reader().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn only_directories_that_hold_nothing_are_marked() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/b", "a/c", "d"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("a/c/f"), "x").unwrap();
        let spool = written(dir.path(), &["a", "a/b", "a/c", "a/c/f", "d"]);
        let marked: Vec<_> = empty_directories(&spool).into_iter().map(|p| String::from_utf8(p).unwrap()).collect();
        assert_eq!(marked, ["a/b", "d"]);
        assert!(text(&spool).starts_with("# file: data\n"));
    }

    #[test]
    fn a_restore_makes_empty_directories_and_closes_directories_last() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mode = |mode| fs::Permissions::from_mode(mode);
        fs::create_dir_all(from.path().join("shut/empty")).unwrap();
        fs::write(from.path().join("shut/f"), "x").unwrap();
        fs::set_permissions(from.path().join("shut/f"), mode(0o640)).unwrap();
        fs::set_permissions(from.path().join("shut/empty"), mode(0o1777)).unwrap();
        fs::set_permissions(from.path().join("shut"), mode(0o500)).unwrap();
        let spool = written(from.path(), &["shut", "shut/empty", "shut/f"]);
        fs::create_dir(to.path().join("shut")).unwrap();
        fs::write(to.path().join("shut/f"), "x").unwrap();
        let dest = Dest::open(to.path(), DestOptions::default()).unwrap();
        let restored = restore(&spool, &dest, 2).unwrap();
        assert_eq!((restored.records, restored.missing, restored.broken), (4, 0, 0));
        for (path, expect) in [("shut", 0o500), ("shut/f", 0o640), ("shut/empty", 0o1777)] {
            let mode = fs::metadata(to.path().join(path)).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, expect, "{path}");
        }
        assert_eq!(restore(&spool, &dest, 1).unwrap().changed, 0);
    }

    #[test]
    fn records_outside_of_the_volume_are_left_out() {
        let to = tempfile::tempdir().unwrap();
        let mut facl = FaclText::default();
        for path in ["data", "data/../x", "etc/passwd", "data/ok"] {
            facl.push(format!("# file: {path}\nuser::rwx\ngroup::---\nother::---\n\n").as_bytes()).unwrap();
        }
        fs::write(to.path().join("ok"), "x").unwrap();
        let dest = Dest::open(to.path(), DestOptions::default()).unwrap();
        let restored = restore(&facl.finish().unwrap(), &dest, 1).unwrap();
        assert_eq!((restored.records, restored.broken), (4, 2));
        let mode = fs::metadata(to.path().join("ok")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
        assert!(restored.shortfall().unwrap().starts_with("2 records were left out (broken"));
    }
}
