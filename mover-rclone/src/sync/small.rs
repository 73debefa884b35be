//! Many small files at once: a thread reads a batch of them and hashes all in SIMD lanes, to compare them or to upload
//! them.
//!
//! One task and one wake-up a batch instead of three a file: 20,000 files are 300 batches.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use volsync_common::budget::Reservation;
use volsync_common::root::Root;
use volsync_common::source::SourceFile;
use volsync_common::walk::Stat;

use super::item::Item;
use crate::store::Md5;

/// Largest file of a batch.
pub(super) const SMALL: u64 = 64 << 10;

/// Most files of a batch.
pub(super) const FILES: usize = 64;

/// Most bytes of a batch.
pub(super) const BYTES: u64 = 1 << 20;

/// Content in memory, with the memory it was promised.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    _memory: Arc<Reservation>,
}

/// The content of each file and its MD5; `None` for one that is not what the walk saw any more.
pub(super) type Loaded = Vec<io::Result<Option<(Content, Md5)>>>;

/// Reads all of `items` into the memory that was reserved for them.
pub(super) fn load(root: &Root, items: &[&Item], memory: Reservation) -> Loaded {
    let mut all = Vec::with_capacity(items.iter().map(|item| usize::try_from(item.size).unwrap_or(0)).sum());
    let read: Vec<_> = items.iter().map(|item| read(root, item, &mut all)).collect();
    let all = Bytes::from(all);
    let piece = |range: &io::Result<Option<Range<usize>>>| match range {
        Ok(Some(range)) => all.slice(range.clone()),
        _ => Bytes::new(),
    };
    let pieces: Vec<Bytes> = read.iter().map(piece).collect();
    let slices: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
    let sums = volsync_md5::md5_many(&slices);
    let memory = Arc::new(memory);
    let content = |bytes| Content { bytes, _memory: memory.clone() };
    let done = read.into_iter().zip(pieces).zip(sums);
    done.map(|((read, bytes), sum)| read.map(|range| range.map(|_| (content(bytes), sum)))).collect()
}

/// Appends the content of a file; `None` if it changed since the walk or while it was read.
fn read(root: &Root, item: &Item, all: &mut Vec<u8>) -> io::Result<Option<Range<usize>>> {
    let file = SourceFile::open(root, &item.path)?;
    let known = item.stat.as_ref().is_none_or(|stat| is_same(stat, file.stat()));
    if !known || file.stat().size != item.size {
        return Ok(None);
    }
    let start = all.len();
    let size = usize::try_from(item.size).map_err(io::Error::other)?;
    all.resize(start + size, 0);
    let whole = file.read_at(0, &mut all[start..])? == size && file.unchanged()?;
    if whole {
        return Ok(Some(start..start + size));
    }
    all.truncate(start);
    Ok(None)
}

fn is_same(a: &Stat, b: &Stat) -> bool {
    a.same_inode(b) && (a.size, a.mtime, a.ctime) == (b.size, b.mtime, b.ctime)
}
