//! Deleting what the sender does not have, and what is in the way.

use std::collections::HashSet;
use std::io::{self, Write};

use volsync_common::dest::Directory;
use volsync_common::path::Shown;
use volsync_common::walk::{Child, Kind, Stat};

use super::Context;
use super::entries::active;
use super::generator::Generator;
use crate::directories::{Directories, join, split};
use crate::exit::Fatal;
use crate::options::{Delete, Options};
use crate::wire::flist::{Entry, FileList, compare};
use crate::wire::frame::{Message, io_error};
use crate::wire::stats::Deleted;

impl<W: Write> Generator<'_, W> {
    /// Deletes what a content directory has too much.
    pub(super) fn delete_in(&mut self, number: usize, kept: &HashSet<&[u8]>) -> Result<(), Fatal> {
        let context = self.context.clone();
        let options = &context.terms.options;
        let after_error = self.context.io_error() & io_error::GENERAL != 0 && !options.ignore_errors;
        let Some(dir) = self.tree.get(number) else { return Ok(()) };
        if !options.deletes() || options.delete == Delete::After || dir.entry.no_content || after_error {
            return Ok(());
        }
        let path = dir.path.clone();
        let found =
            surplus(&mut self.dirs, &path, |child, path| kept.contains(&*child.name) || context.spares(child, path));
        context.rules.check()?;
        match found {
            Ok(found) if options.delete == Delete::Delay => self.later.extend(found),
            Ok(found) => self.delete_from(&path, &found)?,
            // It would be new.
            Err(_) if context.terms.options.dry_run => {}
            Err(error) => {
                context.problem(format_args!("cannot read {} for deletions: {error}", Shown(&path)));
            }
        }
        Ok(())
    }

    /// Deletes what was found in a directory, which keeps its time where that is wanted.
    fn delete_from(&mut self, path: &[u8], found: &[Surplus]) -> Result<(), Fatal> {
        let Options { beyond, dry_run, .. } = self.context.terms.options;
        if !beyond.directory_times || dry_run || found.is_empty() {
            return self.delete(found);
        }
        let before = self.dirs.open(path).and_then(|dir| Ok((dir.stat(b".")?, dir)));
        self.delete(found)?;
        let kept = before.and_then(|(stat, dir)| stat.map_or(Ok(()), |stat| dir.set_times(b".", stat.mtime)));
        if let Err(error) = kept {
            self.context.unset("times", path, &error);
        }
        Ok(())
    }

    /// For deletions before and after everything else: the list is whole.
    pub(super) fn delete_everywhere(&mut self) -> Result<(), Fatal> {
        let Some(segment) = self.segment(0) else { return Ok(()) };
        let list = segment.list.clone();
        let context = self.context.clone();
        let options = &context.terms.options;
        let after_error = self.context.io_error() & io_error::GENERAL != 0 && !options.ignore_errors;
        if after_error || options.list_only {
            return Ok(());
        }
        // Files of rules may have come meanwhile.
        context.rules.forget();
        for entry in active(&list).filter(|entry| entry.is_dir() && !entry.no_content) {
            let (path, kept) = (list.path(entry), children_of(&list, entry));
            // A directory that is not there yet has nothing too much.
            let found =
                surplus(&mut self.dirs, path, |child, path| kept.contains(&*child.name) || context.spares(child, path));
            context.rules.check()?;
            if let Ok(found) = found {
                self.delete_from(path, &found)?;
            }
        }
        Ok(())
    }

    pub(super) fn late_deletions(&mut self) -> Result<(), Fatal> {
        if self.context.terms.options.delete == Delete::After {
            self.delete_everywhere()?;
        }
        let later = std::mem::take(&mut self.later);
        self.delete(&later)
    }

    fn delete(&mut self, found: &[Surplus]) -> Result<(), Fatal> {
        self.with_deleter(|deleter| {
            for surplus in found {
                deleter.delete(surplus);
            }
        });
        self.changed |= !found.is_empty();
        self.context.rules.check()?;
        Ok(self.out.flush_if_full()?)
    }

    fn with_deleter<T>(&mut self, work: impl FnOnce(&mut Deleter<'_>) -> T) -> T {
        let (out, context) = (&mut *self.out, self.context.clone());
        let mut tell = |path: &[u8], dir: bool| {
            let path = if dir { [path, b"\0"].concat() } else { path.to_vec() };
            match &context.terms.screen {
                None => out.message(&Message::Deleted(path)),
                Some(screen) => screen.deleted(&path),
            }
        };
        let (dirs, deleted) = (&mut self.dirs, &mut self.deleted);
        let mut deleter = Deleter { context: &context, dirs, deleted, tell: &mut tell, stopped: false };
        let done = work(&mut deleter);
        self.stopped |= deleter.stopped;
        done
    }

    /// Removes what is of another type than wanted; a directory with contents only where deleting is allowed. Its
    /// contents are told and counted as deleted, it itself is not, as in rsync.
    pub(super) fn make_room(&mut self, dir: &Directory, path: &[u8], stat: Stat) -> bool {
        let Options { dry_run, force, .. } = self.context.terms.options;
        let name = split(path).1;
        self.changed = true;
        let removed = if stat.kind() == Kind::Directory {
            let may_empty = force || self.context.terms.options.deletes();
            let surplus = Surplus { path: path.to_vec(), stat };
            let empty = !may_empty || self.with_deleter(|deleter| deleter.empty(&surplus));
            self.dirs.forget(path);
            match empty {
                true if dry_run && !may_empty => dir.enter(name).and_then(|room| {
                    if room.holds_only(b"")? { Ok(true) } else { Err(io::ErrorKind::DirectoryNotEmpty.into()) }
                }),
                true if dry_run => Ok(true),
                true => dir.remove_dir(name),
                false => Err(io::Error::other("it could not be emptied")),
            }
        } else if dry_run {
            Ok(true)
        } else {
            dir.remove_file(name)
        };
        match removed {
            Ok(_) => true,
            Err(error) => {
                self.context.problem(format_args!("cannot make room at {}: {error}", Shown(path)));
                false
            }
        }
    }
}

impl Context {
    /// Whether a filter rule keeps something from being deleted where the sender does not have it.
    fn spares(&self, child: &Child, path: &[u8]) -> bool {
        self.rules.protects(path, child.stat.kind() == Kind::Directory)
    }
}

/// Something that is to be deleted. By its path: there may be more of them than a process may hold directories open.
pub(super) struct Surplus {
    /// From the destination.
    path: Vec<u8>,
    stat: Stat,
}

impl Surplus {
    fn is_dir(&self) -> bool {
        self.stat.kind() == Kind::Directory
    }
}

/// What stands in the directory `path` and is not kept, in reverse order; `kept` is asked with the path from the
/// destination.
fn surplus(dirs: &mut Directories, path: &[u8], kept: impl Fn(&Child, &[u8]) -> bool) -> io::Result<Vec<Surplus>> {
    let mut children = dirs.open(path)?.children()?;
    let is_dir = |child: &Child| child.stat.kind() == Kind::Directory;
    children.sort_by(|a, b| compare(&a.name, is_dir(a), &b.name, is_dir(b)));
    let all = children.into_iter().rev().map(|child| (join(path, &child.name), child));
    let surplus = all.filter(|(path, child)| !kept(child, path));
    Ok(surplus.map(|(path, child)| Surplus { path, stat: child.stat }).collect())
}

/// Deletes, within limits, and counts.
struct Deleter<'a> {
    context: &'a Context,
    dirs: &'a mut Directories,
    deleted: &'a mut Deleted,
    /// Called with the path of everything that is gone, and whether it was a directory.
    tell: &'a mut dyn FnMut(&[u8], bool),
    /// The limit stopped something.
    stopped: bool,
}

impl Deleter<'_> {
    /// Deletes something with everything below it. Whether it is gone.
    fn delete(&mut self, surplus: &Surplus) -> bool {
        if surplus.is_dir() && !self.may_enter(&surplus.stat) {
            return false;
        }
        let empty = !surplus.is_dir() || self.empty(surplus);
        self.unlink(surplus) && empty
    }

    /// Deletes everything in a directory, deepest first. Whether all of it is gone.
    fn empty(&mut self, dir: &Surplus) -> bool {
        // By a list instead of recursion: a tree may be deeper than our stack.
        let mut gone = true;
        let mut todo = vec![self.below(dir)];
        let mut trail: Vec<Surplus> = Vec::new();
        while let Some(children) = todo.last_mut() {
            match children.pop() {
                Some(child) if child.is_dir() && self.may_enter(&child.stat) => {
                    todo.push(self.below(&child));
                    trail.push(child);
                }
                Some(child) => gone &= !child.is_dir() && self.unlink(&child),
                None => {
                    todo.pop();
                    if let Some(dir) = trail.pop() {
                        gone &= self.unlink(&dir);
                    }
                }
            }
        }
        gone
    }

    /// Whether it is no mount point, or those are entered.
    fn may_enter(&self, stat: &Stat) -> bool {
        let same = || self.context.dest.as_ref().is_some_and(|dest| dest.same_file_system(stat));
        !self.context.terms.options.one_file_system || same()
    }

    /// What is in a directory, so that the last one is deleted first.
    fn below(&mut self, dir: &Surplus) -> Vec<Surplus> {
        let rules = &self.context.rules;
        let kept = |child: &Child, path: &[u8]| rules.protects_in_deleted(path, child.stat.kind() == Kind::Directory);
        match surplus(self.dirs, &dir.path, kept) {
            Ok(mut found) => {
                found.reverse();
                found
            }
            Err(error) => {
                self.context.problem(format_args!("cannot read {} to delete it: {error}", Shown(&dir.path)));
                Vec::new()
            }
        }
    }

    fn unlink(&mut self, surplus: &Surplus) -> bool {
        if self.context.terms.options.max_delete.is_some_and(|limit| self.deleted.total() >= limit) {
            self.stopped = true;
            return false;
        }
        match self.remove(surplus) {
            Ok(false) => true,
            Ok(true) => {
                count(self.deleted, &surplus.stat);
                (self.tell)(&surplus.path, surplus.is_dir());
                true
            }
            // Told already: something in it could not be deleted, or must not.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => false,
            Err(error) => {
                self.context.problem(format_args!("cannot delete {}: {error}", Shown(&surplus.path)));
                false
            }
        }
    }

    /// Whether there was something.
    fn remove(&mut self, surplus: &Surplus) -> io::Result<bool> {
        if self.context.terms.options.dry_run {
            return Ok(true);
        }
        if surplus.is_dir() {
            self.dirs.forget(&surplus.path);
        }
        let (dir, name) = self.dirs.parent(&surplus.path)?;
        if surplus.is_dir() { dir.remove_dir(name) } else { dir.remove_file(name) }
    }
}

fn count(deleted: &mut Deleted, stat: &Stat) {
    let number = match stat.mode & 0o170_000 {
        0o100_000 => &mut deleted.files,
        0o040_000 => &mut deleted.directories,
        0o120_000 => &mut deleted.symlinks,
        0o060_000 | 0o020_000 => &mut deleted.devices,
        _ => &mut deleted.specials,
    };
    *number = number.saturating_add(1);
}

/// Names directly in a directory of a list that came whole.
pub(super) fn children_of<'a>(list: &'a FileList, dir: &Entry) -> HashSet<&'a [u8]> {
    let path = list.path(dir);
    let entries = list.entries();
    let inside = if path == b"." { Vec::new() } else { [path, b"/"].concat() };
    let mut names = HashSet::new();
    let mut at = entries.partition_point(|entry| compare(list.path(entry), entry.is_dir(), path, true).is_le());
    while let Some(entry) = entries.get(at) {
        let child = list.path(entry);
        if !child.starts_with(&inside) {
            break;
        }
        names.insert(split(child).1);
        at += 1;
        if entry.is_dir() {
            let below = [child, b"/"].concat();
            at += entries[at..].partition_point(|entry| list.path(entry).starts_with(&below));
        }
    }
    names
}
