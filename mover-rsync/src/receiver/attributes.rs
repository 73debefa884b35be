//! Attributes of what is at the destination: how they differ from the sender's, and making them equal.
//!
//! Order: owner (clears special bits), extended attributes, access lists, mode, times.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use volsync_common::dest::Directory;
use volsync_common::meta::Acl;
use volsync_common::meta::Inode;
use volsync_common::path::Shown;
use volsync_common::time::Timestamp;
use volsync_common::walk::{Kind, Stat};

use super::Context;
use crate::wire::flist::Entry;
use crate::wire::item::ItemFlags;
use crate::wire::xattr::{Value, Xattrs};

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// What differs, and which values of attributes must be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    pub(super) flags: u16,
    pub(super) request: Vec<usize>,
}

/// How `stat` and `entry` differ in what needs no further look; `times` as [`keeps_time`] says.
pub(super) fn plain_differences(context: &Context, entry: &Entry, stat: &Stat) -> u16 {
    let set = |condition: bool, flag: u16| if condition { flag } else { 0 };
    let (uid, gid) = wanted_owner(context, entry);
    let link = entry.kind() == Kind::Symlink;
    set(keeps_time(context, entry) && entry.mtime.secs != stat.mtime.secs, ItemFlags::TIME)
        | set(context.terms.options.perms && !link && (entry.mode ^ stat.mode) & 0o7777 != 0, ItemFlags::PERMS)
        | set(uid.is_some_and(|uid| uid != stat.uid), ItemFlags::OWNER)
        | set(gid.is_some_and(|gid| gid != stat.gid), ItemFlags::GROUP)
        | set(entry.kind() == Kind::File && entry.size != stat.size, ItemFlags::SIZE)
}

/// Whether times of such things are preserved.
pub(super) fn keeps_time(context: &Context, entry: &Entry) -> bool {
    let options = &context.terms.options;
    options.times
        && match entry.kind() {
            Kind::Directory => !options.omit_dir_times,
            Kind::Symlink => !options.omit_link_times,
            _ => true,
        }
}

/// Owner and group as far as we may give them.
fn wanted_owner(context: &Context, entry: &Entry) -> (Option<u32>, Option<u32>) {
    let uid = (context.terms.options.owner && context.root).then_some(entry.uid);
    let may = context.root || context.groups.contains(&entry.gid);
    (uid, (context.terms.options.group && may).then_some(entry.gid))
}

/// The permission bits that something new or old gets; `None` leaves those of something old alone.
pub(super) fn wanted_mode(context: &Context, entry: &Entry, fresh: bool) -> Option<u32> {
    if context.terms.options.perms {
        return Some(entry.mode & 0o7777);
    }
    fresh.then_some(entry.mode & 0o777 & !context.umask)
}

/// The permission bits that a new file may be made with, so that they need not be set: those that it gets in the end, if
/// nobody is let in sooner by them. Its group may be another one at first, the directory's: it must be let in as all are.
pub(super) fn born_mode(context: &Context, entry: &Entry) -> u32 {
    const ALONE: u32 = 0o600;
    let mode = wanted_mode(context, entry, true).unwrap_or(ALONE);
    let (uid, gid) = wanted_owner(context, entry);
    let own = uid.is_none_or(|uid| uid == context.user.0) && gid.is_none_or(|gid| gid == context.user.1);
    let early = context.terms.options.perms && own && entry.acl.is_none() && is_harmless(mode);
    if early { mode | ALONE } else { ALONE }
}

/// Whether it does no harm that a file has these permission bits before it is whole: nobody else may write to it or has it
/// run as somebody else, and its group may do no more than all.
fn is_harmless(mode: u32) -> bool {
    mode & 0o7022 == 0 && mode >> 3 & 7 & !mode == 0
}

impl Context {
    /// Something could not be set. For want of privilege, or where the file system has no such thing, that is summed up
    /// at the end where the whole volume is meant.
    pub(super) fn unset(&self, what: &'static str, path: &[u8], error: &io::Error) {
        if self.lets_pass(error) {
            self.troubles.left(what);
        } else {
            self.problem(format_args!("cannot set {what} of {}: {error}", Shown(path)));
        }
    }

    /// Whether a failure to set or to make something is none of the transfer.
    pub(super) fn lets_pass(&self, error: &io::Error) -> bool {
        let refused = |errno| [Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP].contains(&errno);
        let beyond = self.terms.options.beyond;
        (beyond.volume || beyond.directory_times) && Errno::from_io_error(error).is_some_and(refused)
    }

    /// An owner or group that we do not even try to give.
    fn kept_owner(&self, entry: &Entry, (uid, gid): (Option<u32>, Option<u32>), stat: &Stat) {
        let options = &self.terms.options;
        let other = (options.owner && uid.is_none() && entry.uid != stat.uid)
            || (options.group && gid.is_none() && entry.gid != stat.gid);
        if other && options.beyond.volume {
            self.troubles.left("owner and group");
        }
    }
}

/// All differences of what stands at `name`.
pub(super) fn differences(
    context: &Context,
    dir: &Directory,
    name: &[u8],
    entry: &Entry,
    stat: &Stat,
) -> io::Result<Differences> {
    let mut found = Differences { flags: plain_differences(context, entry, stat), request: Vec::new() };
    if !extended(context, entry) {
        return Ok(found);
    }
    let names = dir.xattr_names(name)?;
    // Most have nothing here, and are wanted that way.
    let wanted = entry.acl.is_some() || entry.default_acl.is_some() || entry.xattrs.is_some();
    if names.is_empty() && !wanted {
        return Ok(found);
    }
    let inode = Inode::at(dir, name)?;
    if context.terms.options.acls && acls_differ(&inode, entry)? {
        found.flags |= ItemFlags::ACL;
    }
    if context.terms.options.xattrs {
        let (differs, request) = xattrs_differ(context, &inode, entry, &names)?;
        found.flags |= if differs { ItemFlags::XATTR } else { 0 };
        found.request = request;
    }
    Ok(found)
}

/// Whether access lists or extended attributes of such things are preserved. Links have no lists, and of the
/// attributes only those that no volume needs.
fn extended(context: &Context, entry: &Entry) -> bool {
    (context.terms.options.acls || context.terms.options.xattrs) && entry.kind() != Kind::Symlink
}

/// Numbers of all long values: what must be asked for when nothing is there.
pub(super) fn all_long(context: &Context, entry: &Entry) -> Vec<usize> {
    if !context.terms.options.xattrs || entry.kind() == Kind::Symlink {
        return Vec::new();
    }
    entry.xattrs.as_ref().map_or_else(Vec::new, |xattrs| long(context, xattrs))
}

/// Numbers of the long values of a set.
pub(super) fn long(context: &Context, xattrs: &Xattrs) -> Vec<usize> {
    let long = |(at, xattr): (usize, &crate::wire::xattr::Xattr)| {
        (matches!(xattr.value, Value::Digest(..)) && ours(context, &xattr.name)).then_some(at + 1)
    };
    xattrs.0.iter().enumerate().filter_map(long).collect()
}

fn acls_differ(inode: &Inode, entry: &Entry) -> io::Result<bool> {
    let now = inode.acls()?;
    let access = match &entry.acl {
        // Without a list the mode says all, and its differences are told as such.
        None => !now.access.is_minimal(),
        Some(acl) => acl.to_access(entry.mode).map_err(io::Error::other)? != now.access,
    };
    Ok(access || (entry.is_dir() && wanted_default(entry)? != now.default))
}

fn wanted_default(entry: &Entry) -> io::Result<Option<Acl>> {
    entry.default_acl.as_ref().map_or(Ok(None), |acl| acl.to_default()).map_err(io::Error::other)
}

/// Whether an attribute is one that travels.
fn ours(context: &Context, name: &[u8]) -> bool {
    context.terms.options.takes_xattr(name, context.root)
}

/// Whether attributes differ, and the numbers of long ones that must be asked for.
fn xattrs_differ(context: &Context, inode: &Inode, entry: &Entry, names: &[Vec<u8>]) -> io::Result<(bool, Vec<usize>)> {
    let (mut differs, mut request) = (false, Vec::new());
    let wanted = entry.xattrs.as_ref().map_or(&[][..], |xattrs| &xattrs.0[..]);
    for (at, xattr) in wanted.iter().enumerate().filter(|(_, xattr)| ours(context, &xattr.name)) {
        let now = inode.xattr(&xattr.name)?;
        if now.as_deref().is_some_and(|now| is_value(now, &xattr.value)) {
            continue;
        }
        differs = true;
        if matches!(xattr.value, Value::Digest(..)) {
            request.push(at + 1);
        }
    }
    let surplus = |name: &Vec<u8>| ours(context, name) && !wanted.iter().any(|xattr| xattr.name == *name);
    Ok((differs || names.iter().any(surplus), request))
}

fn is_value(now: &[u8], wanted: &Value) -> bool {
    match wanted {
        Value::Full(value) => now == value,
        Value::Digest(len, digest) => now.len() == *len && volsync_md5::md5(now) == *digest,
    }
}

/// Which times are to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// If they differ in seconds.
    IfDifferent,
    /// In any case: it is new.
    Always,
    /// Later: something will change in the directory.
    Later,
}

/// The sender's extended attributes, and where values are that were not sent again.
#[derive(Clone, Copy)]
pub(super) struct NewXattrs<'a> {
    pub(super) xattrs: &'a Xattrs,
    pub(super) old: Option<&'a Inode>,
}

/// Makes the attributes of `inode` those of `entry`, which is known as `path`; without `xattrs` the extended ones are
/// left alone. `standing` are the permission bits of the file that a new one replaces. What cannot be set is told, the
/// rest is set.
pub(super) fn apply(
    context: &Context,
    inode: &mut Inode<impl AsFd>,
    entry: &Entry,
    path: &[u8],
    xattrs: Option<NewXattrs<'_>>,
    times: Times,
    standing: Option<u32>,
) {
    let fresh = times == Times::Always;
    let failed = |what: &'static str, error: &io::Error| context.unset(what, path, error);
    if let Err(error) = own(context, inode, entry) {
        failed("owner and group", &error);
    }
    if extended(context, entry) {
        if let Some(new) = xattrs
            && let Err(error) = give_xattrs(context, inode, new)
        {
            failed("extended attributes", &error);
        }
        if let Err(error) = give_acls(context, inode, entry) {
            failed("access lists", &error);
        }
    }
    // What is not taken from the source stays as it was, in another file too.
    let kept = standing.filter(|_| !context.terms.options.perms);
    if let Some(mode) = kept.or_else(|| wanted_mode(context, entry, fresh))
        && let Err(error) = give_mode(context, inode, entry, mode)
    {
        failed("permissions", &error);
    }
    if let Err(error) = give_times(context, inode, entry, times) {
        failed("times", &error);
    }
}

fn own(context: &Context, inode: &mut Inode<impl AsFd>, entry: &Entry) -> io::Result<()> {
    let stat = *inode.stat();
    let (uid, gid) = wanted_owner(context, entry);
    context.kept_owner(entry, (uid, gid), &stat);
    let (uid, gid) = (uid.unwrap_or(stat.uid), gid.unwrap_or(stat.gid));
    if (uid, gid) != (stat.uid, stat.gid) {
        inode.chown(uid, gid)?;
        inode.refresh()?;
    }
    Ok(())
}

pub(super) fn give_xattrs(context: &Context, inode: &Inode<impl AsFd>, new: NewXattrs<'_>) -> io::Result<()> {
    if !context.terms.options.xattrs {
        return Ok(());
    }
    let wanted = &new.xattrs.0[..];
    for name in inode.xattr_names()?.iter().filter(|name| ours(context, name)) {
        if !wanted.iter().any(|xattr| xattr.name == *name) {
            inode.remove_xattr(name)?;
        }
    }
    for xattr in wanted.iter().filter(|xattr| ours(context, &xattr.name)) {
        if inode.xattr(&xattr.name)?.is_some_and(|now| is_value(&now, &xattr.value)) {
            continue;
        }
        match &xattr.value {
            Value::Full(value) => inode.set_xattr(&xattr.name, value)?,
            Value::Digest(..) => {
                let kept = new.old.map_or(Ok(None), |old| old.xattr(&xattr.name))?;
                let kept = kept.filter(|kept| is_value(kept, &xattr.value));
                let missing = || io::Error::other("a value was neither sent nor is it there");
                inode.set_xattr(&xattr.name, &kept.ok_or_else(missing)?)?;
            }
        }
    }
    Ok(())
}

fn give_acls(context: &Context, inode: &mut Inode<impl AsFd>, entry: &Entry) -> io::Result<()> {
    if !context.terms.options.acls {
        return Ok(());
    }
    let names = inode.xattr_names()?;
    let has = |name: &[u8]| names.iter().any(|known| known == name);
    if entry.acl.is_none() && entry.default_acl.is_none() && !has(ACCESS) && !has(DEFAULT) {
        return Ok(());
    }
    let now = inode.acls()?;
    let access = match &entry.acl {
        Some(acl) => acl.to_access(entry.mode).map_err(io::Error::other)?,
        None => Acl::from_mode(entry.mode),
    };
    if access != now.access && !(access.is_minimal() && now.access.is_minimal()) {
        inode.set_access(&access)?;
    }
    if entry.is_dir() {
        let default = wanted_default(entry)?;
        if default != now.default {
            inode.set_default(default.as_ref())?;
        }
    }
    inode.refresh()
}

fn give_mode(context: &Context, inode: &mut Inode<impl AsFd>, entry: &Entry, mode: u32) -> io::Result<()> {
    // Without being root we must be able to work in our directories; the end sets what is wanted.
    let mode = if entry.is_dir() && !context.root { mode | 0o700 } else { mode };
    if inode.stat().mode & 0o7777 != mode {
        inode.chmod(mode)?;
        inode.refresh()?;
    }
    Ok(())
}

fn give_times(context: &Context, inode: &Inode<impl AsFd>, entry: &Entry, times: Times) -> io::Result<()> {
    let differ = inode.stat().mtime.secs != entry.mtime.secs;
    if !keeps_time(context, entry) || times == Times::Later || (times == Times::IfDifferent && !differ) {
        return Ok(());
    }
    Ok(inode.set_times(entry.mtime)?)
}

/// Owner and times of a link; it has nothing else.
pub(super) fn apply_to_link(
    context: &Context,
    dir: &Directory,
    name: &[u8],
    stat: &Stat,
    entry: &Entry,
    path: &[u8],
    fresh: bool,
) {
    let (uid, gid) = wanted_owner(context, entry);
    context.kept_owner(entry, (uid, gid), stat);
    let differs = uid.is_some_and(|uid| uid != stat.uid) || gid.is_some_and(|gid| gid != stat.gid);
    if differs && let Err(error) = dir.chown(name, uid, gid) {
        context.unset("owner and group", path, &error);
    }
    let late = entry.mtime.secs != stat.mtime.secs;
    if keeps_time(context, entry)
        && (fresh || late)
        && let Err(error) = dir.set_times(name, entry.mtime)
        && Errno::from_io_error(&error) != Some(Errno::OPNOTSUPP)
    {
        context.unset("times", path, &error);
    }
}

/// At the end: mode and times of a directory in which something may have changed.
pub(super) fn finish_directory(
    context: &Context,
    dir: &Directory,
    name: &[u8],
    mode: Option<u32>,
    mtime: Option<Timestamp>,
) -> io::Result<()> {
    let Some(stat) = dir.stat(name)? else { return Ok(()) };
    if stat.kind() != Kind::Directory {
        return Ok(());
    }
    // What the directory above hands down (setgid) stays where modes are not preserved.
    let handed_down = if context.terms.options.perms { 0 } else { stat.mode & 0o7000 };
    if let Some(mode) = mode.map(|mode| mode | handed_down).filter(|mode| stat.mode & 0o7777 != *mode) {
        Inode::at(dir, name)?.chmod(mode)?;
    }
    match mtime {
        Some(mtime) if stat.mtime != mtime => dir.set_times(name, mtime),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_whole_lets_in_nobody_by_its_group_alone() {
        for mode in [0, 0o400, 0o600, 0o604, 0o644, 0o755, 0o555] {
            assert!(is_harmless(mode), "{mode:o}");
        }
        for mode in [0o640, 0o654, 0o660, 0o664, 0o666, 0o602, 0o750, 0o4755, 0o2755, 0o1644] {
            assert!(!is_harmless(mode), "{mode:o}");
        }
    }
}
