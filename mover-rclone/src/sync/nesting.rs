//! Objects whose keys are also directories of others. A store can keep both, a file system cannot: one of them would be
//! missing from a restore.

use volsync_common::path::RelPath;

use super::item::Item;
use super::merge::is_below;

/// Looks for them in a side that comes in the order of its keys.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    /// Files that later paths can lie below: each path begins with the one before it.
    open: Vec<RelPath>,
}

impl Nesting {
    /// The file that `item` lies below, the first time that something does.
    pub(super) fn conflict(&mut self, item: &Item) -> Option<RelPath> {
        // Between a file and what lies below it stand only paths that begin with its name.
        while self.open.last().is_some_and(|file| !item.path.starts_with(file)) {
            self.open.pop();
        }
        let above = self.open.iter().position(|file| is_below(&item.path, file)).map(|at| self.open.remove(at));
        if item.is_content() {
            self.open.push(item.path.clone());
        }
        above
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::item::ItemKind;

    #[test]
    fn a_file_with_something_below_it_is_found_once() {
        let found = |paths: &[&str]| {
            let mut nesting = Nesting::default();
            let items = paths.iter().map(|path| {
                let (path, kind) = match path.strip_suffix('/') {
                    Some(path) => (path, ItemKind::Directory),
                    None => (*path, ItemKind::File),
                };
                let path = RelPath::new(path.as_bytes()).unwrap();
                Item { path, kind, size: 0, mtime: None, md5: None, stat: None }
            });
            items.filter_map(|item| nesting.conflict(&item)).map(|path| path.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found(&["a", "a-", "a-b", "a.c", "a/x", "a/y", "b"]), ["a"]);
        assert_eq!(found(&["a", "a!", "a!/x", "a/b", "a/b/c"]), ["a!", "a", "a/b"]);
        assert_eq!(found(&["a", "a0", "aa/x", "b/", "b/c", "d/", "d/e/", "d/e/f"]), [""; 0]);
    }
}
