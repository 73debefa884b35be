//! The directories of a tree with their digests, in the order of a walk.

use std::collections::HashMap;

use crate::directories::split;

/// A digest of a directory: the first half of a BLAKE3.
pub(super) type Digest = [u8; 16];

/// In place of a digest: something could not be read. It equals nothing.
pub(super) const UNKNOWN: Digest = [0; 16];

/// Records are hashed in pieces of this many bytes: enough for all lanes of BLAKE3.
const PIECE: usize = 16 * 1024;

/// A directory.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Of the name in the text of all of them.
    name: (u32, u16),
    /// The node after the last one below this.
    end: u32,
    /// Names in it are further names of files elsewhere.
    linked: bool,
    own: Digest,
    total: Digest,
}

/// A tree. Node 0 is its root; those below a node follow it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    text: Vec<u8>,
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn name(&self, node: usize) -> &[u8] {
        let Some(Node { name: (start, len), .. }) = self.nodes.get(node) else { return b"" };
        let start = *start as usize;
        self.text.get(start..start + usize::from(*len)).unwrap_or_default()
    }

    /// Of the names in it, and of everything below it.
    pub(super) fn digests(&self, node: usize) -> (Digest, Digest) {
        self.nodes.get(node).map_or((UNKNOWN, UNKNOWN), |node| (node.own, node.total))
    }

    pub(super) fn linked(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.linked)
    }

    /// The directories in a directory, in order.
    pub(super) fn children(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let end = self.end(node);
        let first = Some(node + 1).filter(|first| *first < end);
        std::iter::successors(first, move |at| Some(self.end(*at)).filter(|next| *next < end))
    }

    fn end(&self, node: usize) -> usize {
        self.nodes.get(node).map_or(node + 1, |node| node.end as usize)
    }
}

/// A directory that is not complete.
struct Open {
    node: usize,
    path: Vec<u8>,
    own: blake3::Hasher,
    records: Vec<u8>,
    /// Of everything in the directories below.
    below: blake3::Hasher,
    unknown: bool,
    unknown_below: bool,
}

/// Builds a tree from a walk: each directory right before what it holds.
pub(super) struct Builder {
    tree: Tree,
    open: Vec<Open>,
    /// Spare room for records.
    spare: Vec<Vec<u8>>,
    /// First names of files with further names, by file system and inode.
    leaders: HashMap<(u64, u64), u64>,
    entries: u64,
}

impl Builder {
    /// Begins with the root, whose own attributes are in `record`.
    pub(super) fn new(record: &[u8]) -> Self {
        let mut builder =
            Self { tree: Tree::default(), open: Vec::new(), spare: Vec::new(), leaders: HashMap::new(), entries: 0 };
        builder.enter(b".", b"");
        if let Some(root) = builder.open.last_mut() {
            root.below.update(record);
        }
        builder
    }

    /// The number of the entry that is the first name of this inode, if `path` is a further one. Any such name makes its
    /// directory and the first one's one that stands for itself no more.
    pub(super) fn leader(&mut self, inode: (u64, u64), path: &[u8]) -> Option<u64> {
        self.leave_to(split(path).0);
        if let Some(node) = self.open.last().map(|open| open.node)
            && let Some(node) = self.tree.nodes.get_mut(node)
        {
            node.linked = true;
        }
        let leader = *self.leaders.entry(inode).or_insert(self.entries);
        (leader != self.entries).then_some(leader)
    }

    /// An entry with its record; `enters`: it is a directory, and what it holds follows.
    pub(super) fn entry(&mut self, path: &[u8], record: &[u8], enters: bool) {
        let (parent, name) = split(path);
        self.leave_to(parent);
        self.entries += 1;
        if let Some(open) = self.open.last_mut() {
            open.records.extend_from_slice(record);
            if open.records.len() >= PIECE {
                open.own.update(&open.records);
                open.records.clear();
            }
        }
        if enters {
            self.enter(path, name);
        }
    }

    /// What is at or below `path` is not known.
    pub(super) fn failed(&mut self, path: &[u8]) {
        while self.open.len() > 1 && self.open.last().is_some_and(|open| open.path != path) {
            if self.open.last().is_some_and(|open| open.path == split(path).0) {
                break;
            }
            self.leave();
        }
        if let Some(open) = self.open.last_mut() {
            open.unknown = true;
        }
    }

    pub(super) fn finish(mut self) -> Tree {
        while !self.open.is_empty() {
            self.leave();
        }
        self.tree
    }

    fn enter(&mut self, path: &[u8], name: &[u8]) {
        let node = self.tree.nodes.len();
        let start = u32::try_from(self.tree.text.len()).unwrap_or(u32::MAX);
        self.tree.text.extend_from_slice(name);
        let name = (start, u16::try_from(name.len()).unwrap_or(0));
        self.tree.nodes.push(Node { name, end: 0, linked: false, own: UNKNOWN, total: UNKNOWN });
        self.open.push(Open {
            node,
            path: path.to_vec(),
            own: blake3::Hasher::new(),
            records: self.spare.pop().unwrap_or_default(),
            below: blake3::Hasher::new(),
            unknown: false,
            unknown_below: false,
        });
    }

    fn leave_to(&mut self, parent: &[u8]) {
        while self.open.len() > 1 && self.open.last().is_some_and(|open| open.path != parent) {
            self.leave();
        }
    }

    fn leave(&mut self) {
        let Some(mut left) = self.open.pop() else { return };
        left.own.update(&left.records);
        let own = if left.unknown { UNKNOWN } else { half(&left.own) };
        left.below.update(&own);
        let total = if left.unknown || left.unknown_below { UNKNOWN } else { half(&left.below) };
        let end = u32::try_from(self.tree.nodes.len()).unwrap_or(u32::MAX);
        if let Some(node) = self.tree.nodes.get_mut(left.node) {
            (node.own, node.total, node.end) = (own, total, end);
        }
        if let Some(above) = self.open.last_mut() {
            above.below.update(&total);
            above.unknown_below |= total == UNKNOWN;
        }
        left.records.clear();
        self.spare.push(left.records);
    }
}

fn half(hasher: &blake3::Hasher) -> Digest {
    let whole = hasher.finalize();
    whole.as_bytes().first_chunk().copied().unwrap_or(UNKNOWN)
}

/// A small tree for the fuzzer.
pub(super) fn sample() -> Tree {
    let mut builder = Builder::new(b"");
    for dir in [&b"a"[..], b"a/b", b"c"] {
        builder.entry(dir, dir, true);
    }
    builder.finish()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Paths in the order of a walk; those that end with a slash are directories. A path is its own record.
    pub(in super::super) fn tree(paths: &[&str], failed: &[&str]) -> Tree {
        let mut builder = Builder::new(b"root");
        for path in paths {
            let (path, dir) = (path.trim_end_matches('/').trim_end_matches('!'), path.ends_with('/'));
            builder.entry(path.as_bytes(), path.as_bytes(), dir);
            if failed.contains(&path) {
                builder.failed(path.as_bytes());
            }
        }
        builder.finish()
    }

    fn names(tree: &Tree, node: usize) -> Vec<&str> {
        tree.children(node).map(|child| std::str::from_utf8(tree.name(child)).unwrap()).collect()
    }

    #[test]
    fn directories_are_found_below_each_other() {
        let tree = tree(&["a", "b/", "b/c/", "b/c/x", "b/d/", "b/e", "f/", "g"], &[]);
        assert_eq!((tree.len(), names(&tree, 0), names(&tree, 1)), (5, vec!["b", "f"], vec!["c", "d"]));
        assert_eq!((names(&tree, 2), names(&tree, 4)), (vec![], vec![]));
    }

    #[test]
    fn a_change_reaches_the_root_through_totals_alone() {
        let before = tree(&["b/", "b/c/", "b/c/x", "b/d/", "g"], &[]);
        let after = tree(&["b/", "b/c/", "b/c/y", "b/d/", "g"], &[]);
        let differ = |node| {
            let ((own, total), (own_after, total_after)) = (before.digests(node), after.digests(node));
            (own != own_after, total != total_after)
        };
        assert_eq!([0, 1, 2, 3].map(differ), [(false, true), (false, true), (true, true), (false, false)]);
        // Moving a name into another directory is a change as well.
        let moved = tree(&["b/", "b/c/", "b/d/", "b/d/x", "g"], &[]);
        assert_ne!(before.digests(0).1, moved.digests(0).1);
    }

    #[test]
    fn what_could_not_be_read_equals_nothing() {
        let tree = tree(&["a/", "b/", "b/c/", "b/c/x", "b/d/", "g"], &["b/c"]);
        let unknown = |node| (tree.digests(node).0 == UNKNOWN, tree.digests(node).1 == UNKNOWN);
        let expect = [(false, true), (false, false), (false, true), (true, true), (false, false)];
        assert_eq!([0, 1, 2, 3, 4].map(unknown), expect);
        // An entry that could not be looked at spoils its directory.
        let mut builder = Builder::new(b"");
        builder.entry(b"b", b"", true);
        builder.failed(b"b/x");
        let tree = builder.finish();
        assert_eq!((tree.digests(1).0, tree.digests(0).1), (UNKNOWN, UNKNOWN));
    }

    #[test]
    fn further_names_are_numbered_alike() {
        let mut builder = Builder::new(b"");
        builder.entry(b"a", b"", false);
        assert_eq!(builder.leader((1, 1), b"b"), None);
        builder.entry(b"b", b"", false);
        builder.entry(b"d", b"", true);
        assert_eq!(builder.leader((1, 1), b"d/e"), Some(1));
        builder.entry(b"d/e", b"", false);
        builder.entry(b"f", b"", true);
        let tree = builder.finish();
        assert_eq!([0, 1, 2].map(|node| tree.linked(node)), [true, true, false]);
    }
}
