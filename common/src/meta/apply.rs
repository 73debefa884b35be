//! Giving a file what its record in permissions.facl says, in the order of `setfacl --restore`: lists, owner, special
//! bits. Nothing is written that is right already, so that a second restore touches no ctime.

use std::io;

use rustix::io::Errno;

use super::facl::Record;
use super::inode::Inode;
use crate::dest::Dest;
use crate::path::RelPath;
use crate::walk::Kind;

/// What to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Set owners and groups. Without privilege each that differs fails and is counted.
    pub owners: bool,
    /// Set lists; otherwise every list is reduced to a mode, as on a file system that has none.
    pub lists: bool,
    /// Leave directories alone ([`ApplyOutcome::left`]): a directory that takes away the right to enter it must come after
    /// everything below it.
    pub leave_directories: bool,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self { owners: true, lists: true, leave_directories: false }
    }
}

/// What happened to one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyOutcome {
    /// Nothing is at the path.
    pub missing: bool,
    /// A link or special file is at the path or a link on the way to it: nothing was done.
    pub refused: bool,
    /// It is a directory and was left for later.
    pub left: bool,
    /// Something was changed.
    pub changed: bool,
    /// Owner or group differ and may not be changed.
    pub owner_denied: bool,
    /// The mode or a list may not be changed.
    pub mode_denied: bool,
    /// The file system has no lists, or cannot keep this one: it was reduced to a mode that grants no more.
    pub reduced: bool,
    /// The record has a default list but the path is no directory: that list was left out.
    pub misplaced_default: bool,
}

/// Applies `record` to `path` (`None`: the volume itself). Only a failure that is none of the outcomes is an error.
pub fn apply(dest: &Dest, path: Option<&RelPath>, record: &Record, options: ApplyOptions) -> io::Result<ApplyOutcome> {
    let mut outcome = ApplyOutcome::default();
    match Inode::open(dest.root(), path) {
        Ok(Some(inode)) if options.leave_directories && inode.stat().kind() == Kind::Directory => outcome.left = true,
        Ok(Some(inode)) => Applying { inode, record, outcome: &mut outcome }.run(options)?,
        Ok(None) => outcome.refused = true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => outcome.missing = true,
        Err(error) => return Err(error),
    }
    Ok(outcome)
}

struct Applying<'a> {
    inode: Inode,
    record: &'a Record,
    outcome: &'a mut ApplyOutcome,
}

impl Applying<'_> {
    fn run(mut self, options: ApplyOptions) -> io::Result<()> {
        self.lists(options.lists)?;
        if options.owners {
            self.owner()?;
        }
        self.special()
    }

    fn lists(&mut self, possible: bool) -> io::Result<()> {
        let now = self.inode.acls()?;
        if now.access != self.record.access {
            let set = |own: &Self| own.inode.set_access(&own.record.access);
            let done = if possible { set(self) } else { Err(Errno::OPNOTSUPP) };
            self.list_set(done, |own| own.inode.chmod(own.reduced_mode()))?;
        }
        if self.inode.stat().kind() != Kind::Directory {
            self.outcome.misplaced_default = self.record.default.is_some();
        } else if now.default != self.record.default {
            let set = |own: &Self| own.inode.set_default(own.record.default.as_ref());
            let done = if possible { set(self) } else { Err(Errno::OPNOTSUPP) };
            self.list_set(done, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Counts how setting a list went; where lists do not exist `instead` is done.
    fn list_set(
        &mut self,
        done: rustix::io::Result<()>,
        instead: impl Fn(&Self) -> rustix::io::Result<()>,
    ) -> io::Result<()> {
        // EINVAL: an id in the list is not mapped into this user namespace.
        if matches!(done, Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)) {
            self.outcome.reduced |= !self.record.access.is_minimal() || self.record.default.is_some();
            let same = self.inode.stat().mode & 0o777 == self.reduced_mode() & 0o777;
            return if same { Ok(()) } else { self.mode_set(instead(self)) };
        }
        self.mode_set(done)
    }

    fn mode_set(&mut self, done: rustix::io::Result<()>) -> io::Result<()> {
        match done {
            Ok(()) => self.outcome.changed = true,
            // Anything but EPERM: file systems whose modes are those of the mount (CIFS, some FUSE).
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => self.outcome.mode_denied = true,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn reduced_mode(&self) -> u32 {
        self.inode.stat().mode & 0o7000 | self.record.access.reduced_mode()
    }

    fn owner(&mut self) -> io::Result<()> {
        let stat = self.inode.stat();
        let wanted = (self.record.owner.unwrap_or(stat.uid), self.record.group.unwrap_or(stat.gid));
        if wanted == (stat.uid, stat.gid) {
            return Ok(());
        }
        match self.inode.chown(wanted.0, wanted.1) {
            Ok(()) => self.outcome.changed = true,
            // EINVAL: the id is not mapped into this user namespace.
            Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => self.outcome.owner_denied = true,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Last, because both steps before may clear these bits.
    fn special(&mut self) -> io::Result<()> {
        self.inode.refresh()?;
        let mode = self.inode.stat().mode & 0o7777;
        let root = self.turns_into_root();
        self.outcome.mode_denied |= root != 0;
        let wanted = mode & 0o777 | self.record.special & !root;
        if mode == wanted {
            return Ok(());
        }
        let done = self.inode.chmod(wanted);
        self.mode_set(done)
    }

    /// The special bits with which a program of somebody else would run as root, because it could not be given to them.
    fn turns_into_root(&self) -> u32 {
        let stat = self.inode.stat();
        let is_root = |now: u32, wanted: Option<u32>| now == 0 && wanted.is_some_and(|id| id != 0);
        let file = stat.kind() == Kind::File;
        let user = if file && is_root(stat.uid, self.record.owner) { 0o4000 } else { 0 };
        let group = if file && is_root(stat.gid, self.record.group) { 0o2000 } else { 0 };
        self.record.special & (user | group)
    }
}
