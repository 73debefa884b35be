//! Deleting what the sender does not have.

use std::collections::HashSet;
use std::io;

use volsync_common::dest::Directory;
use volsync_common::path::Shown;
use volsync_common::walk::{Child, Kind, Stat};

use super::Context;
use crate::directories::join;
use crate::wire::flist::compare;
use crate::wire::stats::Deleted;

/// Something that is to be deleted, below an open directory.
pub(super) struct Surplus {
    pub(super) dir: Directory,
    pub(super) child: Child,
    /// From the destination.
    pub(super) path: Vec<u8>,
}

/// What stands in the directory `path` and is not among `kept`, in reverse order.
pub(super) fn surplus(dir: &Directory, path: &[u8], kept: &HashSet<&[u8]>) -> io::Result<Vec<Surplus>> {
    let mut children = dir.children()?;
    children.retain(|child| !kept.contains(&*child.name));
    let is_dir = |child: &Child| child.stat.kind() == Kind::Directory;
    children.sort_by(|a, b| compare(&a.name, is_dir(a), &b.name, is_dir(b)));
    let found = children.into_iter().rev();
    Ok(found.map(|child| Surplus { dir: dir.clone(), path: join(path, &child.name), child }).collect())
}

/// Deletes, within limits, and counts.
pub(super) struct Deleter<'a> {
    pub(super) context: &'a Context,
    pub(super) deleted: &'a mut Deleted,
    /// Called with the path of everything that is gone, and whether it was a directory.
    pub(super) tell: &'a mut dyn FnMut(&[u8], bool),
    /// The limit stopped something.
    pub(super) stopped: bool,
}

impl Deleter<'_> {
    /// Deletes something with everything below it, deepest first. Whether it is gone.
    pub(super) fn delete(&mut self, surplus: &Surplus) -> bool {
        let name = &surplus.child.name;
        if surplus.child.stat.kind() != Kind::Directory {
            return self.unlink(surplus, |dir| dir.remove_file(name));
        }
        if self.context.options.one_file_system && !self.context.dest.same_file_system(&surplus.child.stat) {
            // A mount point.
            return false;
        }
        // Its contents, by a list instead of recursion: a tree may be deeper than our stack.
        let mut gone = true;
        let mut todo = vec![self.below(surplus)];
        let mut trail: Vec<Surplus> = Vec::new();
        while let Some(children) = todo.last_mut() {
            match children.pop() {
                Some(child) if child.child.stat.kind() == Kind::Directory && self.may_enter(&child.child.stat) => {
                    todo.push(self.below(&child));
                    trail.push(child);
                }
                Some(child) => {
                    let is_dir = child.child.stat.kind() == Kind::Directory;
                    let leaf = &child.child.name;
                    gone &= !is_dir && self.unlink(&child, |dir| dir.remove_file(leaf));
                }
                None => {
                    todo.pop();
                    if let Some(dir) = trail.pop() {
                        let leaf = &dir.child.name;
                        gone &= self.unlink(&dir, |parent| parent.remove_dir(leaf));
                    }
                }
            }
        }
        self.unlink(surplus, |dir| dir.remove_dir(name)) && gone
    }

    fn may_enter(&self, stat: &Stat) -> bool {
        !self.context.options.one_file_system || self.context.dest.same_file_system(stat)
    }

    /// What is in a directory, so that the last one is deleted first.
    fn below(&self, surplus: &Surplus) -> Vec<Surplus> {
        let found =
            surplus.dir.enter(&surplus.child.name).and_then(|dir| self::surplus(&dir, &surplus.path, &HashSet::new()));
        match found {
            Ok(mut found) => {
                found.reverse();
                found
            }
            Err(error) => {
                self.context.problem(format_args!("cannot read {} to delete it: {error}", Shown(&surplus.path)));
                Vec::new()
            }
        }
    }

    fn unlink(&mut self, surplus: &Surplus, remove: impl FnOnce(&Directory) -> io::Result<bool>) -> bool {
        if self.context.options.max_delete.is_some_and(|limit| self.deleted.total() >= limit) {
            self.stopped = true;
            return false;
        }
        match remove(&surplus.dir) {
            Ok(false) => true,
            Ok(true) => {
                let stat = &surplus.child.stat;
                count(self.deleted, stat);
                (self.tell)(&surplus.path, stat.kind() == Kind::Directory);
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
