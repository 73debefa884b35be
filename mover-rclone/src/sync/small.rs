//! Comparing many small files at once: a thread reads a batch of them and hashes all in SIMD lanes.
//!
//! One task and one wake-up a batch instead of three a file: 20,000 unchanged files are 300 batches.

use std::io;

use volsync_common::root::Root;
use volsync_common::source::SourceFile;

use super::item::Item;
use super::problems::Problem;
use crate::store::Md5;

/// Largest file that is compared in a batch.
pub(super) const SMALL: u64 = 64 << 10;

/// Most files of a batch.
pub(super) const FILES: usize = 64;

/// Most bytes of a batch.
pub(super) const BYTES: u64 = 1 << 20;

/// The MD5 of each file, `None` for one that is not what the walk saw any more; and the bytes that were read.
pub(super) fn hash(root: &Root, items: &[&Item]) -> (Vec<Result<Option<Md5>, Problem>>, u64) {
    let mut contents = Vec::with_capacity(items.iter().map(|item| usize::try_from(item.size).unwrap_or(0)).sum());
    let read: Vec<_> = items.iter().map(|item| read(root, item, &mut contents)).collect();
    let slices: Vec<&[u8]> =
        read.iter().map(|r| r.as_ref().ok().and_then(|r| contents.get(r.clone()?)).unwrap_or(&[])).collect();
    let sums = volsync_md5::md5_many(&slices);
    let results = read.into_iter().zip(sums).zip(items).map(|((read, sum), item)| match read {
        Ok(range) => Ok(range.map(|_| sum)),
        Err(error) => Err(Problem::io(&item.path, "failed to read the file to compare it", &error)),
    });
    (results.collect(), contents.len() as u64)
}

/// Appends the content of a file; `None` if it changed since the walk or while it was read.
fn read(root: &Root, item: &Item, contents: &mut Vec<u8>) -> io::Result<Option<std::ops::Range<usize>>> {
    let file = SourceFile::open(root, &item.path)?;
    if file.stat().size != item.size {
        return Ok(None);
    }
    let start = contents.len();
    let size = usize::try_from(item.size).map_err(io::Error::other)?;
    contents.resize(start + size, 0);
    let whole = file.read_at(0, &mut contents[start..])? == size && file.unchanged()?;
    if whole {
        return Ok(Some(start..start + size));
    }
    contents.truncate(start);
    Ok(None)
}
