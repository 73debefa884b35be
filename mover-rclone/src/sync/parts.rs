//! Whether a file is an object that came in parts, told by the store's digest over the parts' digests.
//!
//! Other programs leave objects without an MD5 of the whole: what S3 knows of them is its ETag. To compare it one must
//! know where the parts end; HEAD with a part number tells.

use std::fs::File;
use std::io;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use volsync_common::hash::FileHasher;

use crate::store::{Md5, PartsDigest, Store, StoreError};

/// Parts that are asked about, or hashed, at a time.
const AT_ONCE: usize = 32;

/// Why there is no digest.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The store said this.
    Store(StoreError),
    /// Reading the file said this.
    File(io::Error),
}

/// An object whose parts have a digest, and the file to compare with it.
pub(super) struct Compared<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) path: &'a [u8],
    pub(super) size: u64,
    pub(super) parts: PartsDigest,
    pub(super) file: &'a Arc<File>,
    pub(super) hasher: &'a FileHasher,
}

impl Compared<'_> {
    /// The file's digest over parts that end where the object's do. `None` if that cannot be found out.
    pub(super) async fn digest(&self) -> Result<Option<Md5>, Trouble> {
        let Some(first) = self.first().await? else { return Ok(None) };
        let equal = ends_of_equal(self.size, first, self.parts.count);
        if let Some(ends) = equal {
            let digest = self.over(&ends).await?;
            if digest == Some(self.parts.md5) {
                return Ok(digest);
            }
        }
        // Parts need not be of equal length.
        match self.ends().await? {
            Some(ends) => self.over(&ends).await,
            None => Ok(None),
        }
    }

    async fn first(&self) -> Result<Option<u64>, Trouble> {
        match self.parts.count {
            1 => Ok(Some(self.size)),
            _ => self.store.part_len(self.path, 1).await.map_err(Trouble::Store),
        }
    }

    /// Where each part ends, as the store tells.
    async fn ends(&self) -> Result<Option<Vec<u64>>, Trouble> {
        let lens = stream::iter(1..=self.parts.count).map(|number| self.store.part_len(self.path, number));
        let lens: Vec<Option<u64>> = lens.buffered(AT_ONCE).try_collect().await.map_err(Trouble::Store)?;
        Ok(ends_of(&lens, self.size))
    }

    async fn over(&self, ends: &[u64]) -> Result<Option<Md5>, Trouble> {
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let ranges: Vec<_> = starts.zip(ends.iter().copied()).map(|(start, end)| start..end).collect();
        let sums = stream::iter(ranges.into_iter().map(|range| async move {
            let len = range.end - range.start;
            let digest = self.hasher.hash_range(self.file.clone(), range).await.map_err(Trouble::File)?;
            Ok((digest.bytes == len).then_some(digest.md5))
        }));
        let sums: Vec<Option<Md5>> = sums.buffered(AT_ONCE).try_collect().await?;
        let all: Option<Vec<Md5>> = sums.into_iter().collect();
        Ok(all.map(|sums| volsync_md5::md5(sums.as_flattened())))
    }
}

/// The most parts that an upload may have (Amazon S3 User Guide, "Multipart upload limits").
const MOST_PARTS: u32 = 10_000;

/// Where `count` parts end that are all as long as the first, but perhaps the last; `None` if there is no such way.
fn ends_of_equal(size: u64, first: u64, count: u32) -> Option<Vec<u64>> {
    if first == 0 && size > 0 || count > MOST_PARTS {
        return None;
    }
    let fits = size.div_ceil(first.max(1)).max(1) == u64::from(count);
    fits.then(|| (1..=u64::from(count)).map(|n| (n * first).min(size)).collect())
}

/// Where parts of these lengths end; `None` unless they are exactly the object.
fn ends_of(lens: &[Option<u64>], size: u64) -> Option<Vec<u64>> {
    let mut end: u64 = 0;
    let mut ends = Vec::with_capacity(lens.len());
    for len in lens {
        end = end.checked_add((*len)?)?;
        ends.push(end);
    }
    (end == size).then_some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_equal_length() {
        let check = |size, first, count, expect: Option<&[u64]>| {
            assert_eq!(ends_of_equal(size, first, count).as_deref(), expect, "{size} {first} {count}");
        };
        check(12, 5, 3, Some(&[5, 10, 12]));
        check(10, 5, 2, Some(&[5, 10]));
        check(3, 3, 1, Some(&[3]));
        check(0, 0, 1, Some(&[0]));
        check(12, 5, 2, None);
        check(12, 0, 3, None);
        check(12, 12, 3, None);
        check(u64::MAX, 1, u32::MAX, None);
    }

    #[test]
    fn lengths_must_make_the_object() {
        assert_eq!(ends_of(&[Some(6), Some(5), Some(4)], 15), Some(vec![6, 11, 15]));
        for (lens, size) in [(vec![Some(6), None], 6), (vec![Some(6)], 7), (vec![Some(u64::MAX), Some(1)], 0)] {
            assert_eq!(ends_of(&lens, size), None, "{lens:?}");
        }
    }
}
