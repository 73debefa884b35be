//! Writing a list.

use volsync_common::time::Timestamp;

use super::super::Output;
use super::super::acl::{self, Sent, WireAcl};
use super::super::xattr::{self, Xattrs};
use super::ids::{Names, Used, sendable, write_name};
use super::{Entry, FileList, ListOptions, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, Span, bits};

/// What a sender knows of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEntry<'a> {
    /// Below the root of the transfer, `.` for the root itself.
    pub path: &'a [u8],
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length; 0 for devices and specials.
    pub size: u64,
    /// Modification time.
    pub mtime: Timestamp,
    /// Major and minor device number.
    pub rdev: (u32, u32),
    /// Which of several sources it is in, which does not travel.
    pub source: u16,
    /// Named by the user.
    pub top: bool,
    /// A directory whose contents do not belong to the transfer.
    pub no_content: bool,
    /// Target of a symbolic link.
    pub target: &'a [u8],
    /// Digest, with `--checksum`.
    pub digest: &'a [u8],
    /// The group of hard links: its first member's number in the order of sending.
    pub group: Option<u32>,
    /// Access list beyond the mode.
    pub acl: WireAcl,
    /// Default list of a directory.
    pub default_acl: WireAcl,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// Writes the lists of a session.
#[derive(Debug)]
pub struct Encoder {
    options: ListOptions,
    previous: Option<Previous>,
    access: Sent<WireAcl>,
    default: Sent<WireAcl>,
    xattrs: Sent<Xattrs>,
    used: Used,
}

#[derive(Clone, Debug)]
struct Previous {
    name: Vec<u8>,
    mode: u32,
    mtime: i64,
    uid: u32,
    gid: u32,
    major: u32,
}

impl Encoder {
    /// Nothing written yet.
    pub fn new(options: ListOptions) -> Self {
        Self {
            options,
            previous: None,
            access: Sent::default(),
            default: Sent::default(),
            xattrs: Sent::default(),
            used: Used::default(),
        }
    }

    /// Appends an entry to `list` and what travels of it to `out`. A member of a group whose first one is in the same
    /// list must have that one's attributes.
    pub fn write(&mut self, new: &NewEntry<'_>, names: &impl Names, list: &mut FileList, out: &mut Vec<u8>) {
        let number = list.end();
        let abbreviated = new.group.is_some_and(|group| (list.start..number).contains(&group));
        let mut flags = self.flags(new, number);
        flags |= self.name_flags(new, flags, names);
        let shared = self.shared(new.path);
        let suffix = &new.path[shared..];
        flags |= if shared > 0 { bits::SAME_NAME } else { 0 } | if suffix.len() > 255 { bits::LONG_NAME } else { 0 };
        self.write_flags(flags, new.mode, out);
        if shared > 0 {
            out.byte(shared.to_le_bytes()[0]);
        }
        if suffix.len() > 255 {
            out.count(suffix.len());
        } else {
            out.byte(suffix.len().to_le_bytes()[0]);
        }
        out.raw(suffix);
        if let Some(group) = new.group.filter(|group| *group != number) {
            out.varint(group.cast_signed());
        }
        if !abbreviated {
            self.write_fields(new, flags, names, out);
        }
        self.write_attributes(new, names, out);
        self.remember(new);
        list.push(new);
    }

    /// Appends the end of a list or segment, with error bits, and the lists of names where they belong.
    pub fn end(&mut self, io_error: u32, names: &impl Names, out: &mut Vec<u8>) {
        if self.options.varint_flags() {
            out.varint(0);
            out.varint(io_error.cast_signed());
        } else if io_error != 0 && self.options.safe_end() {
            out.raw(&[4, 0x10]);
            out.varint(io_error.cast_signed());
        } else {
            out.byte(0);
        }
        if !self.options.segments() {
            self.used.write_lists(&self.options, names, out);
        }
    }

    fn flags(&self, new: &NewEntry<'_>, number: u32) -> u32 {
        let options = &self.options;
        let set = |condition: bool, flag: u32| if condition { flag } else { 0 };
        let dir = new.mode & S_IFMT == S_IFDIR;
        let same = |equal: fn(&Previous, &NewEntry<'_>) -> bool| self.previous.as_ref().is_some_and(|p| equal(p, new));
        set(new.top && dir, bits::TOP_DIR)
            | set(new.no_content && dir, bits::NO_CONTENT)
            | set(same(|p, n| p.mode == n.mode), bits::SAME_MODE)
            | set(same(|p, n| p.mtime == n.mtime.secs), bits::SAME_TIME)
            | set(!options.owner || same(|p, n| p.uid == n.uid), bits::SAME_UID)
            | set(!options.group || same(|p, n| p.gid == n.gid), bits::SAME_GID)
            | set(options.has_rdev(new.mode) && same(|p, n| p.major == n.rdev.0), bits::SAME_MAJOR)
            | set(new.group.is_some(), bits::HARD_LINK)
            | set(new.group == Some(number), bits::FIRST_LINK)
            | set(options.protocol >= 31 && new.mtime.nanos != 0, bits::NANOSECONDS)
    }

    /// Flags for names that travel with the entry: with segments, each once.
    fn name_flags(&mut self, new: &NewEntry<'_>, flags: u32, names: &impl Names) -> u32 {
        let options = &self.options;
        let mut more = 0;
        let inline = options.segments() && !options.numeric_ids;
        if flags & bits::SAME_UID == 0 && self.used.users.insert(new.uid) && inline {
            more |= names.user(new.uid).and_then(sendable).map_or(0, |_| bits::USER_NAME);
        }
        if flags & bits::SAME_GID == 0 && self.used.groups.insert(new.gid) && inline {
            more |= names.group(new.gid).and_then(sendable).map_or(0, |_| bits::GROUP_NAME);
        }
        more
    }

    fn shared(&self, path: &[u8]) -> usize {
        let previous = self.previous.as_ref().map_or(&[][..], |p| &p.name);
        previous.iter().zip(path).take_while(|(a, b)| a == b).count().min(255)
    }

    fn write_flags(&self, flags: u32, mode: u32, out: &mut Vec<u8>) {
        if self.options.varint_flags() {
            return out.varint(if flags == 0 { bits::EXTENDED } else { flags }.cast_signed());
        }
        // Zero would end the list: files get a bit that means nothing to them, directories the long form.
        let flags = if flags == 0 && mode & S_IFMT != S_IFDIR { bits::TOP_DIR } else { flags };
        let [low, high, ..] = flags.to_le_bytes();
        if high != 0 || low == 0 { out.raw(&[low | 4, high]) } else { out.byte(low) }
    }

    fn write_fields(&self, new: &NewEntry<'_>, flags: u32, names: &impl Names, out: &mut Vec<u8>) {
        let options = &self.options;
        let kind = new.mode & S_IFMT;
        out.varlong(i64::try_from(new.size).unwrap_or(i64::MAX), 3);
        if flags & bits::SAME_TIME == 0 {
            out.varlong(new.mtime.secs, 4);
        }
        if flags & bits::NANOSECONDS != 0 {
            out.varint(new.mtime.nanos.cast_signed());
        }
        if flags & bits::SAME_MODE == 0 {
            out.int(new.mode.cast_signed());
        }
        if options.owner && flags & bits::SAME_UID == 0 {
            out.varint(new.uid.cast_signed());
            if flags & bits::USER_NAME != 0 {
                write_name(names.user(new.uid).unwrap_or_default(), out);
            }
        }
        if options.group && flags & bits::SAME_GID == 0 {
            out.varint(new.gid.cast_signed());
            if flags & bits::GROUP_NAME != 0 {
                write_name(names.group(new.gid).unwrap_or_default(), out);
            }
        }
        if options.has_rdev(new.mode) {
            if flags & bits::SAME_MAJOR == 0 {
                out.varint(new.rdev.0.cast_signed());
            }
            out.varint(new.rdev.1.cast_signed());
        }
        if options.links && kind == S_IFLNK {
            out.count(new.target.len());
            out.raw(new.target);
        }
        if options.checksum.is_some() && kind == S_IFREG {
            out.raw(new.digest);
        }
    }

    fn write_attributes(&mut self, new: &NewEntry<'_>, names: &impl Names, out: &mut Vec<u8>) {
        if self.options.acls && new.mode & S_IFMT != S_IFLNK {
            let (options, used) = (self.options, &mut self.used);
            acl::write(&mut self.access, &new.acl, |acl| name_entries(acl, &options, used, names), out);
            if new.mode & S_IFMT == S_IFDIR {
                acl::write(&mut self.default, &new.default_acl, |acl| name_entries(acl, &options, used, names), out);
            }
        }
        if self.options.xattrs {
            xattr::write(&mut self.xattrs, &new.xattrs, out);
        }
    }

    fn remember(&mut self, new: &NewEntry<'_>) {
        let old = self.previous.take();
        let major = if self.options.has_rdev(new.mode) { new.rdev.0 } else { old.as_ref().map_or(0, |p| p.major) };
        let mut name = old.map(|p| p.name).unwrap_or_default();
        name.clear();
        name.extend_from_slice(new.path);
        let mtime = new.mtime.secs;
        self.previous = Some(Previous { name, mode: new.mode, mtime, uid: new.uid, gid: new.gid, major });
    }
}

/// Adds the names of ids that were not told yet.
fn name_entries(acl: &mut WireAcl, options: &ListOptions, used: &mut Used, names: &impl Names) {
    for named in &mut acl.named {
        let new = if named.user { used.users.insert(named.id) } else { used.groups.insert(named.id) };
        if new && options.segments() && !options.numeric_ids {
            let name = if named.user { names.user(named.id) } else { names.group(named.id) };
            named.name = name.and_then(sendable).map(<[u8]>::to_vec);
        }
    }
}

impl FileList {
    /// Keeps what a sender needs of an entry. Text beyond 4 GiB is not kept; a list that long is refused before.
    fn push(&mut self, new: &NewEntry<'_>) {
        let path = self.add(new.path);
        let target = self.add(new.target);
        self.entries.push(Entry {
            path,
            target,
            digest: Span::default(),
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
            size: new.size,
            mtime: new.mtime,
            rdev: new.rdev,
            top: new.top,
            source: new.source,
            no_content: new.no_content,
            active: true,
            group: new.group,
            acl: None,
            default_acl: None,
            xattrs: None,
        });
    }

    fn add(&mut self, bytes: &[u8]) -> Span {
        let (Ok(start), Ok(len)) = (u32::try_from(self.text.len()), u32::try_from(bytes.len())) else {
            return Span::default();
        };
        self.text.extend_from_slice(bytes);
        Span { start, len }
    }
}
