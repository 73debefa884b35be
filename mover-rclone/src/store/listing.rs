//! A complete listing in little memory: one arena of paths and 56 bytes a record, sorted once.

use volsync_common::path::{self, RelPath, Shown};
use volsync_common::time::Timestamp;

use super::Md5;

/// One listed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Path below the root.
    pub path: &'a [u8],
    /// Length of the content in bytes.
    pub size: u64,
    /// MD5 of the content where the listing tells it (an ETag that is one).
    pub md5: Option<Md5>,
    /// The stored modification time where listings tell it, else the store's own time.
    pub mtime: Option<Timestamp>,
    /// A directory marker or directory, not an object with content.
    pub directory: bool,
}

#[derive(Clone, Copy)]
struct Record {
    start: u64,
    len: u16,
    flags: u8,
    nanos: u32,
    size: u64,
    secs: i64,
    md5: Md5,
}

const HAS_MD5: u8 = 1;
const HAS_MTIME: u8 = 2;
const DIRECTORY: u8 = 4;

/// Collects a listing in any order.
#[derive(Default)]
pub struct ListingBuilder {
    arena: Vec<u8>,
    records: Vec<Record>,
    refused: Vec<String>,
}

impl ListingBuilder {
    /// Adds one object. A path that no volume can hold is kept as refused, with its reason, and is never acted upon.
    pub fn push(&mut self, object: Listed<'_>) {
        let Ok(len) = u16::try_from(object.path.len()) else {
            return self.refuse(object.path, "its name is too long");
        };
        if let Err(why) = path::check(object.path) {
            return self.refuse(object.path, &why.to_string());
        }
        let mut flags = 0;
        flags |= if object.md5.is_some() { HAS_MD5 } else { 0 };
        flags |= if object.mtime.is_some() { HAS_MTIME } else { 0 };
        flags |= if object.directory { DIRECTORY } else { 0 };
        let mtime = object.mtime.unwrap_or_default();
        self.records.push(Record {
            start: self.arena.len() as u64,
            len,
            flags,
            nanos: mtime.nanos,
            size: object.size,
            secs: mtime.secs,
            md5: object.md5.unwrap_or_default(),
        });
        self.arena.extend_from_slice(object.path);
    }

    /// Notes a key that cannot be a path of the volume.
    pub fn refuse(&mut self, key: &[u8], why: &str) {
        self.refused.push(format!("{}: {why}", Shown(key)));
    }

    /// Appends another part of the same listing.
    pub fn append(&mut self, other: Self) {
        let shift = self.arena.len() as u64;
        self.arena.extend_from_slice(&other.arena);
        self.records.extend(other.records.into_iter().map(|r| Record { start: r.start + shift, ..r }));
        self.refused.extend(other.refused);
    }

    /// Objects so far.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Sorts. Of records with one path the last pushed stays; an object stays before a directory marker.
    pub fn finish(self, exists: bool) -> Listing {
        let Self { arena, mut records, refused } = self;
        let path_of = |r: &Record| slice(&arena, r);
        records.sort_by(|a, b| path_of(a).cmp(path_of(b)).then((a.flags & DIRECTORY).cmp(&(b.flags & DIRECTORY))));
        records.dedup_by(|later, kept| {
            let same =
                slice(&arena, later) == slice(&arena, kept) && (later.flags & DIRECTORY) == (kept.flags & DIRECTORY);
            if same {
                *kept = *later;
            }
            same
        });
        Listing { arena, records, refused, exists }
    }
}

/// A complete, sorted listing.
pub struct Listing {
    arena: Vec<u8>,
    records: Vec<Record>,
    refused: Vec<String>,
    exists: bool,
}

impl Listing {
    /// Whether the root exists; an empty prefix of an existing bucket does.
    pub fn exists(&self) -> bool {
        self.exists
    }

    /// Number of objects and directory markers.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Keys that no volume can hold, each with its reason, safe to print.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// The `index`-th object in the order of path bytes.
    pub fn at(&self, index: usize) -> Option<Listed<'_>> {
        self.records.get(index).map(|r| self.listed(r))
    }

    /// All objects in the order of path bytes.
    pub fn iter(&self) -> impl Iterator<Item = Listed<'_>> {
        self.records.iter().map(|r| self.listed(r))
    }

    /// The object at `path`, not a directory marker.
    pub fn find(&self, path: &[u8]) -> Option<Listed<'_>> {
        let at = self.records.partition_point(|r| slice(&self.arena, r) < path);
        self.at(at).filter(|o| o.path == path && !o.directory)
    }

    fn listed(&self, r: &Record) -> Listed<'_> {
        Listed {
            path: slice(&self.arena, r),
            size: r.size,
            md5: (r.flags & HAS_MD5 != 0).then_some(r.md5),
            mtime: (r.flags & HAS_MTIME != 0).then_some(Timestamp { secs: r.secs, nanos: r.nanos }),
            directory: r.flags & DIRECTORY != 0,
        }
    }
}

impl Listed<'_> {
    /// The path as an owned value. Listings hold only valid paths.
    pub fn rel_path(&self) -> Option<RelPath> {
        RelPath::new(self.path).ok()
    }
}

fn slice<'a>(arena: &'a [u8], r: &Record) -> &'a [u8] {
    let start = usize::try_from(r.start).unwrap_or(usize::MAX);
    arena.get(start..start + usize::from(r.len)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(path: &[u8], size: u64) -> Listed<'_> {
        Listed { path, size, md5: None, mtime: None, directory: false }
    }

    #[test]
    fn parts_in_any_order_make_one_sorted_listing() {
        let mut a = ListingBuilder::default();
        a.push(object(b"b", 1));
        a.push(object(b"a/b", 2));
        let mut b = ListingBuilder::default();
        b.push(object(b"a-b", 3));
        b.push(Listed { directory: true, ..object(b"a", 0) });
        b.push(object(b"b", 9));
        a.append(b);
        let listing = a.finish(true);
        let paths: Vec<_> = listing.iter().map(|o| (o.path.to_vec(), o.size)).collect();
        assert_eq!(paths, [(b"a".to_vec(), 0), (b"a-b".to_vec(), 3), (b"a/b".to_vec(), 2), (b"b".to_vec(), 9)]);
        assert_eq!(listing.find(b"b").map(|o| o.size), Some(9));
        assert_eq!(listing.find(b"a"), None);
    }

    #[test]
    fn hostile_keys_are_refused_and_kept_with_their_reason() {
        let mut b = ListingBuilder::default();
        for key in [&b"../x"[..], b"/abs", b"a//b", b"a\n/."] {
            b.push(object(key, 1));
        }
        let listing = b.finish(true);
        assert!(listing.is_empty());
        assert_eq!(listing.refused().len(), 4);
        assert!(listing.refused()[3].starts_with("a\\n/."));
    }
}
