//! What the receiving side judges when it decides whether something must change, as bytes that are equal at both ends
//! exactly when nothing must.
//!
//! Where equality cannot be said in bytes (a group that the receiving side may not give), the bytes differ rather than
//! agree: the entry is then listed and judged one by one.

use std::collections::BTreeSet;

use volsync_common::meta::acl::Entry as AclEntry;
use volsync_common::meta::{Acl, Acls};
use volsync_common::walk::{Kind, Stat};

use crate::accounts::Accounts;
use crate::options::Options;
use crate::wire::flist::Names as _;

/// What is judged at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judge {
    /// [`flag`]s.
    pub(super) flags: u16,
    /// The groups that may be given without being root.
    pub(super) groups: BTreeSet<Vec<u8>>,
    /// The one that new files have.
    pub(super) own_group: Vec<u8>,
}

/// Bits of what is judged.
pub(super) mod flag {
    pub(in super::super) const PERMS: u16 = 1;
    pub(in super::super) const TIMES: u16 = 1 << 1;
    pub(in super::super) const DIR_TIMES: u16 = 1 << 2;
    pub(in super::super) const LINK_TIMES: u16 = 1 << 3;
    pub(in super::super) const OWNER: u16 = 1 << 4;
    pub(in super::super) const GROUP: u16 = 1 << 5;
    pub(in super::super) const HARD_LINKS: u16 = 1 << 6;
    pub(in super::super) const ACLS: u16 = 1 << 7;
    pub(in super::super) const XATTRS: u16 = 1 << 8;
    pub(in super::super) const CONTENT: u16 = 1 << 9;
    /// The receiving side is root: any group may be given, and any attribute.
    pub(in super::super) const ROOT: u16 = 1 << 10;
    /// Owners and groups are mapped by their names.
    pub(in super::super) const NAMES: u16 = 1 << 11;
    /// There is nothing at the receiving side: the list tells everything.
    pub(in super::super) const NOTHING: u16 = 1 << 12;
}

/// What is known of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) name: &'a [u8],
    pub(super) stat: &'a Stat,
    /// The number of the entry that it is a further name of.
    pub(super) leader: Option<u64>,
    pub(super) target: &'a [u8],
    pub(super) acls: Option<&'a Acls>,
    pub(super) xattrs: &'a [(Vec<u8>, Vec<u8>)],
    pub(super) content: Option<[u8; 32]>,
}

impl Judge {
    /// Of a receiving side with these rights; `groups` are those that it may give, `own_group` first.
    pub(super) fn new(options: &Options, root: bool, by_name: bool, groups: &[u32], accounts: &Accounts) -> Self {
        let flags = [
            (options.perms, flag::PERMS),
            (options.times, flag::TIMES),
            (options.times && !options.omit_dir_times, flag::DIR_TIMES),
            (options.times && !options.omit_link_times, flag::LINK_TIMES),
            (options.owner && root, flag::OWNER),
            (options.group, flag::GROUP),
            (options.hard_links, flag::HARD_LINKS),
            (options.acls, flag::ACLS),
            (options.xattrs, flag::XATTRS),
            (options.checksum, flag::CONTENT),
            (root, flag::ROOT),
            (by_name, flag::NAMES),
        ];
        let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
        let judge = Self { flags, ..Self::default() };
        let ids = Ids { judge: &judge, accounts, here: true };
        let own_group = groups.first().map(|gid| ids.group(*gid)).unwrap_or_default();
        let groups = if root { BTreeSet::new() } else { groups.iter().map(|gid| ids.group(*gid)).collect() };
        Self { groups, own_group, ..judge }
    }

    /// Of a receiving side that has nothing yet.
    pub(super) fn of_nothing(self) -> Self {
        Self { flags: self.flags | flag::NOTHING, ..self }
    }

    pub(super) fn has(&self, flags: u16) -> bool {
        self.flags & flags == flags
    }

    /// Whether extended attributes of such things are looked at.
    pub(super) fn looks_further(&self, kind: Kind) -> bool {
        self.flags & (flag::ACLS | flag::XATTRS) != 0 && kind != Kind::Symlink
    }

    fn keeps_time(&self, kind: Kind) -> bool {
        self.has(match kind {
            Kind::Directory => flag::DIR_TIMES,
            Kind::Symlink => flag::LINK_TIMES,
            _ => flag::TIMES,
        })
    }

    /// A group as it is judged: one that cannot be given is as good as the one that files get by themselves.
    fn judged_group(&self, group: Vec<u8>, here: bool) -> Vec<u8> {
        if here || self.has(flag::ROOT) || self.groups.contains(&group) { group } else { self.own_group.clone() }
    }
}

/// Ids as both ends call them.
#[derive(Clone, Copy)]
struct Ids<'a> {
    judge: &'a Judge,
    accounts: &'a Accounts,
    /// This is the receiving side.
    here: bool,
}

impl Ids<'_> {
    fn user(self, id: u32) -> Vec<u8> {
        // Only root maps users.
        let name = self.judge.has(flag::NAMES | flag::ROOT).then(|| self.accounts.user(id)).flatten();
        let back = |name: &[u8]| self.accounts.user_id(name);
        self.called(id, name, back)
    }

    fn group(self, id: u32) -> Vec<u8> {
        let name = self.judge.has(flag::NAMES).then(|| self.accounts.group(id)).flatten();
        let back = |name: &[u8]| self.accounts.group_id(name);
        self.called(id, name, back)
    }

    /// A name, or the number of what has none. At the receiving side a name only counts that leads back to the number.
    fn called(self, id: u32, name: Option<&[u8]>, back: impl Fn(&[u8]) -> Option<u32>) -> Vec<u8> {
        match name {
            Some(name) if id != 0 && (!self.here || back(name) == Some(id)) => [b"n", name].concat(),
            _ => [&b"#"[..], &id.to_le_bytes()].concat(),
        }
    }
}

/// Writes entries down as `judge` sees them, from one of the two ends.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    pub(super) judge: Judge,
    pub(super) accounts: Accounts,
    /// This is the receiving side.
    pub(super) here: bool,
}

impl Recorder {
    /// Appends the bytes of an entry.
    pub(super) fn record(&self, seen: &Seen<'_>, out: &mut Vec<u8>) {
        let (judge, stat, kind) = (&self.judge, seen.stat, seen.stat.kind());
        let ids = Ids { judge, accounts: &self.accounts, here: self.here };
        text(seen.name, out);
        let perms = if judge.has(flag::PERMS) && kind != Kind::Symlink { 0o7777 } else { 0 };
        number(u64::from(stat.mode & (0o170_000 | perms)), out);
        if judge.keeps_time(kind) {
            number(stat.mtime.secs.cast_unsigned(), out);
        }
        if judge.has(flag::OWNER) {
            text(&ids.user(stat.uid), out);
        }
        if judge.has(flag::GROUP) {
            text(&judge.judged_group(ids.group(stat.gid), self.here), out);
        }
        match kind {
            Kind::File => number(stat.size, out),
            Kind::Symlink => text(seen.target, out),
            Kind::Other => number(stat.rdev, out),
            Kind::Directory => {}
        }
        number(seen.leader.map_or(0, |leader| leader + 1), out);
        if let Some(content) = seen.content {
            out.extend_from_slice(&content);
        }
        if let Some(acls) = seen.acls {
            // What the mode says is judged with the mode.
            list((!acls.access.is_minimal()).then_some(&acls.access), ids, out);
            list(acls.default.as_ref(), ids, out);
        }
        number(seen.xattrs.len() as u64, out);
        for (name, value) in seen.xattrs {
            text(name, out);
            text(blake3::hash(value).as_bytes(), out);
        }
    }
}

fn list(acl: Option<&Acl>, ids: Ids<'_>, out: &mut Vec<u8>) {
    let Some(acl) = acl else { return number(0, out) };
    number(acl.entries().count() as u64, out);
    for (entry, perm) in acl.entries() {
        let (tag, id) = match entry {
            AclEntry::Owner => (1, Vec::new()),
            AclEntry::User(id) => (2, ids.user(id)),
            AclEntry::Group => (3, Vec::new()),
            AclEntry::NamedGroup(id) => (4, ids.group(id)),
            AclEntry::Mask => (5, Vec::new()),
            AclEntry::Other => (6, Vec::new()),
        };
        out.extend_from_slice(&[tag, perm]);
        text(&id, out);
    }
}

fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use volsync_common::time::Timestamp;

    const PASSWD: &[u8] = b"root:x:0:0::/:/bin/sh\nweb:x:33:33:\nalias:x:34:34:\nweb:x:35:35:\n";

    fn stat(mode: u32, uid: u32, gid: u32) -> Stat {
        let time = Timestamp { secs: 7, nanos: 5 };
        let (mtime, ctime, atime) = (time, time, time);
        Stat { dev: 1, ino: 2, mode, nlink: 1, uid, gid, size: 3, mtime, ctime, atime, rdev: 0 }
    }

    fn seen(stat: &Stat) -> Seen<'_> {
        Seen { name: b"x", stat, leader: None, target: b"", acls: None, xattrs: &[], content: None }
    }

    fn options() -> Options {
        Options { perms: true, times: true, owner: true, group: true, ..Options::default() }
    }

    /// Whether an entry of the source is as wanted at the destination, for a receiving side that is root or not.
    fn equal(root: bool, by_name: bool, source: &Stat, here: &Stat) -> bool {
        let accounts = [Accounts::parse(PASSWD, PASSWD), Accounts::parse(b"web:x:1033:1033:\n", b"web:x:1033:\n")];
        let judge = Judge::new(&options(), root, by_name, &[1000, 50], &accounts[1]);
        let [there, here_accounts] = accounts;
        let write = |accounts: Accounts, here: bool, stat: &Stat| {
            let mut out = Vec::new();
            Recorder { judge: judge.clone(), accounts, here }.record(&seen(stat), &mut out);
            out
        };
        write(there, false, source) == write(here_accounts, true, here)
    }

    #[test]
    fn owners_agree_only_where_nothing_would_be_set() {
        let file = |uid, gid| stat(0o100_644, uid, gid);
        for (root, by_name, source, here, expect) in [
            (true, false, (33, 33), (33, 33), true),
            (true, false, (33, 33), (1033, 33), false),
            // By name: 33 is called web there, and web is 1033 here.
            (true, true, (33, 0), (1033, 0), true),
            (true, true, (33, 0), (33, 0), false),
            (true, true, (7, 7), (7, 7), true),
            (true, true, (0, 0), (0, 0), true),
            // Not root: no owner is set, and of groups only the own ones.
            (false, false, (33, 50), (1000, 50), true),
            (false, false, (33, 50), (1000, 1000), false),
            (false, false, (33, 7), (1000, 1000), true),
            (false, false, (33, 7), (1000, 50), false),
        ] {
            let (source, here) = (file(source.0, source.1), file(here.0, here.1));
            assert_eq!(equal(root, by_name, &source, &here), expect, "{root} {by_name} {source:?} {here:?}");
        }
    }

    #[test]
    fn everything_that_is_judged_makes_a_difference_and_nothing_else() {
        let one = stat(0o100_644, 0, 0);
        let nanos = Stat { mtime: Timestamp { secs: 7, nanos: 6 }, ino: 9, nlink: 2, atime: one.ctime, ..one };
        assert!(equal(true, false, &one, &nanos));
        for other in [
            Stat { mode: 0o100_640, ..one },
            Stat { mode: 0o020_644, ..one },
            Stat { size: 4, ..one },
            Stat { mtime: Timestamp { secs: 8, nanos: 5 }, ..one },
            Stat { uid: 1, ..one },
            Stat { gid: 1, ..one },
        ] {
            assert!(!equal(true, false, &one, &other), "{other:?}");
        }
    }
}
