//! Which entries of a side take part.

use std::collections::BTreeSet;
use std::sync::Arc;

use volsync_common::dest::is_temp_name;
use volsync_common::time::Timestamp;

use super::Goal;
use crate::filter::Filter;
use crate::flags::GlobalOptions;

/// The object that keeps owners, modes and access lists of a volume, at its root.
pub const PERMISSIONS: &[u8] = b"permissions.facl";

/// `fsck`'s directory at the root of a file system; no part of anybody's data, and often unreadable.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// The rules of one side.
#[derive(Clone)]
pub(super) struct Select {
    filter: Arc<Filter>,
    /// `/lost+found` and `/permissions.facl` take no part.
    volume: bool,
    max_depth: Option<u32>,
    now: Timestamp,
}

impl Select {
    /// For the source, or for a destination whose excluded entries are kept.
    pub(super) fn new(filter: Arc<Filter>, options: &GlobalOptions, goal: Goal, now: Timestamp) -> Self {
        Self { filter, volume: goal == Goal::Volume, max_depth: options.max_depth, now }
    }

    /// The same without the user's filters: for a destination whose excluded entries are deleted.
    pub(super) fn without_filter(&self) -> Self {
        Self { filter: Arc::default(), ..self.clone() }
    }

    /// Whether a file takes part, its directories apart.
    pub(super) fn file(&self, path: &[u8], size: u64, mtime: Timestamp) -> bool {
        !(self.volume && path == PERMISSIONS)
            && self.depth_fits(path)
            && (self.filter.is_empty() || self.filter.include_file(path, size, mtime, self.now))
    }

    /// Whether a directory is entered, those above it apart.
    pub(super) fn directory(&self, path: &[u8]) -> bool {
        !(self.volume && path == LOST_AND_FOUND)
            && self.depth_fits(path)
            && (self.filter.is_empty() || self.filter.include_directory(path))
    }

    fn depth_fits(&self, path: &[u8]) -> bool {
        let depth = || path.split(|b| *b == b'/').count() as u64;
        self.max_depth.is_none_or(|most| depth() <= u64::from(most))
    }

    /// Names of files whose presence leaves out their directory.
    pub(super) fn markers(&self) -> &[Vec<u8>] {
        self.filter.markers()
    }

    /// Whether it cannot be known without a file's own time.
    pub(super) fn looks_at_times(&self) -> bool {
        self.filter.looks_at_times()
    }

    /// For a side that comes as whole paths in sorted order.
    pub(super) fn by_path(self, marked: BTreeSet<Vec<u8>>) -> ByPath {
        ByPath { select: self, marked, last: Vec::new(), included: true }
    }
}

/// Whether a name is one of our own temporary ones, whatever its directory.
pub(super) fn is_temporary(path: &[u8]) -> bool {
    is_temp_name(path.rsplit(|b| *b == b'/').next().unwrap_or(path))
}

/// Decides about whole paths: a file takes part if all directories above it do.
pub(super) struct ByPath {
    select: Select,
    /// Directories that hold a marker file.
    marked: BTreeSet<Vec<u8>>,
    /// The directory that was looked at last, and what was found.
    last: Vec<u8>,
    included: bool,
}

impl ByPath {
    pub(super) fn file(&mut self, path: &[u8], size: u64, mtime: Timestamp) -> bool {
        let parent = path.iter().rposition(|b| *b == b'/').map_or(&path[..0], |at| &path[..at]);
        self.directory(parent) && self.select.file(path, size, mtime)
    }

    /// Whether a directory and all above it take part; empty is the root.
    pub(super) fn directory(&mut self, path: &[u8]) -> bool {
        if path != self.last {
            self.included = self.all_above(path);
            self.last = path.to_vec();
        }
        self.included && !self.marked.contains(path)
    }

    fn all_above(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        let mut above = ends.chain((!path.is_empty()).then_some(path.len())).map(|end| &path[..end]);
        !self.marked.contains(&b""[..])
            && above.all(|directory| self.select.directory(directory) && !self.marked.contains(directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::FilterOptions;

    fn select(exclude: &[&str], volume: bool, max_depth: Option<u32>) -> ByPath {
        let exclude = exclude.iter().map(|rule| rule.as_bytes().to_vec()).collect();
        let filter = Filter::new(&FilterOptions { exclude, ..FilterOptions::default() }).unwrap();
        let select = Select { filter: Arc::new(filter), volume, max_depth, now: Timestamp::default() };
        select.by_path(BTreeSet::from([b"marked".to_vec()]))
    }

    #[test]
    fn a_file_takes_part_if_its_directories_do() {
        let check = |exclude: &[&str], volume, depth, path: &str, expect| {
            let mut by_path = select(exclude, volume, depth);
            assert_eq!(by_path.file(path.as_bytes(), 1, Timestamp::default()), expect, "{exclude:?} {path}");
        };
        check(&[], true, None, "lost+found/x", false);
        check(&[], true, None, "a/lost+found/x", true);
        check(&[], true, None, "permissions.facl", false);
        check(&[], true, None, "a/permissions.facl", true);
        check(&[], false, None, "lost+found/x", true);
        check(&["/a/**"], true, None, "a/b/c", false);
        check(&["/a/**"], true, None, "b/a/c", true);
        check(&["*.log"], true, None, "b/x.log", false);
        check(&[], false, Some(1), "a", true);
        check(&[], false, Some(1), "a/b", false);
        check(&[], false, None, "marked/x", false);
        check(&[], false, None, "marked/y/z", false);
    }

    #[test]
    fn the_last_directory_is_remembered_and_not_confused() {
        let mut by_path = select(&["/a/**"], false, None);
        let paths = [("a/x", false), ("a/y", false), ("b/x", true), ("b", true), ("a/b/c", false), ("ab/c", true)];
        for (path, expect) in paths {
            assert_eq!(by_path.file(path.as_bytes(), 1, Timestamp::default()), expect, "{path}");
        }
    }
}
