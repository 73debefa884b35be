//! The file list: entries, their order, and how they travel.
//!
//! A list comes whole or, with incremental recursion, in segments of one directory each. Indexes are positions in the
//! sorted list; only hard links name each other by the order of arrival.

mod decode;
mod encode;
pub mod ids;
mod order;

pub use decode::{Decoder, End};
pub use encode::{Encoder, NewEntry};
pub use ids::Names;
pub use order::compare;

use std::sync::Arc;

use volsync_common::time::Timestamp;
use volsync_common::walk::Kind;

use super::acl::WireAcl;
use super::handshake::Compat;
use super::xattr::Xattrs;

/// The longest path (Linux PATH_MAX, less NUL).
pub const PATH_MAX: usize = 4095;

/// Flags of an entry as they travel.
mod bits {
    pub(super) const TOP_DIR: u32 = 0x0001;
    pub(super) const SAME_MODE: u32 = 0x0002;
    pub(super) const EXTENDED: u32 = 0x0004;
    pub(super) const SAME_UID: u32 = 0x0008;
    pub(super) const SAME_GID: u32 = 0x0010;
    pub(super) const SAME_NAME: u32 = 0x0020;
    pub(super) const LONG_NAME: u32 = 0x0040;
    pub(super) const SAME_TIME: u32 = 0x0080;
    /// Of directories.
    pub(super) const NO_CONTENT: u32 = 0x0100;
    /// Of devices.
    pub(super) const SAME_MAJOR: u32 = 0x0100;
    pub(super) const HARD_LINK: u32 = 0x0200;
    pub(super) const USER_NAME: u32 = 0x0400;
    pub(super) const GROUP_NAME: u32 = 0x0800;
    /// With `HARD_LINK`.
    pub(super) const FIRST_LINK: u32 = 0x1000;
    /// At the end of a list, in the form of bytes.
    pub(super) const END_WITH_ERROR: u32 = 0x1000;
    pub(super) const NANOSECONDS: u32 = 0x2000;
}

/// What both sides know about the form of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListOptions {
    /// 30 to 32.
    pub protocol: i32,
    /// What was agreed on.
    pub compat: Compat,
    /// Owners travel.
    pub owner: bool,
    /// Groups travel.
    pub group: bool,
    /// Device numbers travel.
    pub devices: bool,
    /// Fifos and sockets are wanted (protocol 30 sends numbers for them too).
    pub specials: bool,
    /// Targets of symbolic links travel.
    pub links: bool,
    /// Hard links are kept.
    pub hard_links: bool,
    /// Access lists travel.
    pub acls: bool,
    /// Extended attributes travel.
    pub xattrs: bool,
    /// Names of owners and groups do not travel.
    pub numeric_ids: bool,
    /// Bytes of a digest of each regular file (`--checksum`).
    pub checksum: Option<usize>,
}

impl ListOptions {
    /// Whether the list comes in segments.
    pub fn segments(&self) -> bool {
        self.compat.has(Compat::INC_RECURSE)
    }

    fn varint_flags(&self) -> bool {
        self.compat.has(Compat::VARINT_FLIST_FLAGS)
    }

    /// Whether the end of a list can carry error bits.
    fn safe_end(&self) -> bool {
        self.protocol >= 31 || self.compat.has(Compat::SAFE_FLIST)
    }

    fn has_rdev(&self, mode: u32) -> bool {
        match mode & S_IFMT {
            S_IFCHR | S_IFBLK => self.devices,
            S_IFIFO | S_IFSOCK => self.specials && self.protocol < 31,
            _ => false,
        }
    }
}

/// Mask of the type in a mode, and the types (Linux `stat.h`; they travel as these numbers).
pub const S_IFMT: u32 = 0o170_000;
/// A socket.
pub const S_IFSOCK: u32 = 0o140_000;
/// A symbolic link.
pub const S_IFLNK: u32 = 0o120_000;
/// A regular file.
pub const S_IFREG: u32 = 0o100_000;
/// A block device.
pub const S_IFBLK: u32 = 0o060_000;
/// A directory.
pub const S_IFDIR: u32 = 0o040_000;
/// A character device.
pub const S_IFCHR: u32 = 0o020_000;
/// A fifo.
pub const S_IFIFO: u32 = 0o010_000;

/// A piece of the text of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn of(self, text: &[u8]) -> &[u8] {
        let start = self.start as usize;
        text.get(start..start + self.len as usize).unwrap_or_default()
    }
}

/// One file. Its path and what else has no fixed size lies in its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    path: Span,
    /// Target of a symbolic link.
    target: Span,
    /// Digest, with `--checksum`.
    digest: Span,
    /// Type and permissions.
    pub mode: u32,
    /// Owner: the sender's number until it is mapped.
    pub uid: u32,
    /// Group: the sender's number until it is mapped.
    pub gid: u32,
    /// Length.
    pub size: u64,
    /// Modification time.
    pub mtime: Timestamp,
    /// Major and minor device number.
    pub rdev: (u32, u32),
    /// Named by the user.
    pub top: bool,
    /// A directory whose contents do not belong to the transfer.
    pub no_content: bool,
    /// Which of several sources it is in; only its sender knows.
    pub source: u16,
    /// `false` for the later of two equal names: it keeps its index and is never used.
    pub active: bool,
    /// The group of hard links it belongs to.
    pub group: Option<u32>,
    /// Access list beyond the mode.
    pub acl: Option<Arc<WireAcl>>,
    /// Default list of a directory.
    pub default_acl: Option<Arc<WireAcl>>,
    /// Extended attributes.
    pub xattrs: Option<Arc<Xattrs>>,
}

impl Entry {
    /// What it is, as far as most of the code treats it differently.
    pub fn kind(&self) -> Kind {
        match self.mode & S_IFMT {
            S_IFREG => Kind::File,
            S_IFDIR => Kind::Directory,
            S_IFLNK => Kind::Symlink,
            _ => Kind::Other,
        }
    }

    /// Whether it is a device (not a fifo or socket).
    pub fn is_device(&self) -> bool {
        matches!(self.mode & S_IFMT, S_IFBLK | S_IFCHR)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }
}

/// A whole list or one segment, in the order of its indexes once sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileList {
    text: Vec<u8>,
    entries: Vec<Entry>,
    /// The index of the first entry.
    pub start: u32,
}

impl FileList {
    /// An empty list whose first entry will have the index `start`.
    pub fn new(start: u32) -> Self {
        Self { start, ..Self::default() }
    }

    /// The entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries, to change what has a fixed size.
    pub fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// The path of an entry of this list, `.` for the root of the transfer.
    pub fn path(&self, entry: &Entry) -> &[u8] {
        entry.path.of(&self.text)
    }

    /// The target of an entry of this list that is a symbolic link.
    pub fn target(&self, entry: &Entry) -> &[u8] {
        entry.target.of(&self.text)
    }

    /// The digest of an entry of this list, empty without `--checksum`.
    pub fn digest(&self, entry: &Entry) -> &[u8] {
        entry.digest.of(&self.text)
    }

    /// The entry with an index.
    pub fn get(&self, ndx: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(ndx.checked_sub(self.start)?).ok()?)
    }

    /// The index after the last one.
    pub fn end(&self) -> u32 {
        self.start.saturating_add(u32::try_from(self.entries.len()).unwrap_or(u32::MAX))
    }

    /// Bytes of memory it takes, without what entries share.
    pub fn weight(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Brings the entries into the order of their indexes and marks those as inactive whose name was taken.
    pub fn sort(&mut self) {
        let Self { text, entries, .. } = self;
        entries.sort_by(|a, b| compare(a.path.of(text), a.is_dir(), b.path.of(text), b.is_dir()));
        for at in 1..entries.len() {
            let same = entries[at - 1].path.of(text) == entries[at].path.of(text)
                && entries[at - 1].is_dir() == entries[at].is_dir();
            entries[at].active = !same;
        }
        self.prefer_directories();
    }

    /// What is no directory loses against a directory of its name.
    fn prefer_directories(&mut self) {
        let mut losers = Vec::new();
        for dir in self.entries.iter().filter(|entry| entry.is_dir() && entry.active) {
            let path = self.path(dir);
            let found = self.entries.binary_search_by(|entry| compare(self.path(entry), entry.is_dir(), path, false));
            if let Ok(found) = found {
                losers.push(found);
            }
        }
        for at in losers {
            let (text, path) = (&self.text, self.entries[at].path.of(&self.text).to_vec());
            let equal = |entry: &Entry| !entry.is_dir() && entry.path.of(text) == path;
            let first = self.entries[..at].iter().rposition(|entry| !equal(entry)).map_or(0, |before| before + 1);
            self.entries[first..].iter_mut().take_while(|entry| equal(entry)).for_each(|entry| entry.active = false);
        }
    }
}

#[cfg(test)]
mod tests;

/// For the fuzzer: any bytes are refused or give a list that keeps the rules of paths. The first bytes choose the form.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let [shape, rest @ ..] = data else { return };
    let bit = |n: u32| shape >> n & 1 == 1;
    let options = ListOptions {
        protocol: if bit(0) { 30 } else { 32 },
        compat: Compat(if bit(1) { 0x1ff } else { 0x2f }),
        owner: bit(2),
        group: bit(2),
        devices: true,
        specials: true,
        links: true,
        hard_links: bit(3),
        acls: bit(4),
        xattrs: bit(5),
        numeric_ids: bit(6),
        checksum: bit(7).then_some(16),
    };
    let (mut decoder, mut input) = (Decoder::new(options), rest);
    if let Ok((list, _)) = decoder.read_first(1, &mut input) {
        assert!(
            list.entries().iter().all(|e| list.path(e) == b"." || volsync_common::path::check(list.path(e)).is_ok())
        );
        let _ = decoder.read_segment(list.end() + 1, b"a", &mut input);
    }
}
