//! Which directories the file list leaves out, from the digests of both ends.

use std::collections::HashMap;

use super::tree::{Digest, Tree, UNKNOWN};
use crate::directories::{join, split};

/// What the list says of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Nothing about what is in it: all of it is equal.
    Equal,
    /// Only about directories in it that are not equal.
    Passed,
    /// Every name in it; what is not listed there is to be deleted.
    Listed,
    /// So is everything below: the other end does not have it.
    #[default]
    New,
}

/// Which directories are left out. What is not in it is [`Verdict::New`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan(HashMap<Vec<u8>, Verdict>);

impl Plan {
    /// Whether the list tells of something that the walk found. Its path is that below the root.
    pub(crate) fn lists(&self, path: &[u8], is_dir: bool) -> bool {
        self.0.is_empty() || self.verdict(split(path).0) > Verdict::Passed || (is_dir && self.enters(path))
    }

    /// Whether the list tells of anything in a directory.
    pub(crate) fn enters(&self, dir: &[u8]) -> bool {
        self.verdict(dir) != Verdict::Equal
    }

    /// Whether nothing is to be deleted in a directory: not all names in it are listed.
    pub(crate) fn leaves_out(&self, dir: &[u8]) -> bool {
        self.verdict(dir) <= Verdict::Passed
    }

    fn verdict(&self, dir: &[u8]) -> Verdict {
        self.0.get(dir).copied().unwrap_or_default()
    }
}

/// What the sender has found out so far.
pub(super) struct Search<'a> {
    tree: &'a Tree,
    verdicts: Vec<Verdict>,
    /// Nodes by the numbers of the other end, as far as they differ and were not looked into.
    open: HashMap<u32, usize>,
    /// How many directories the other end has told of.
    told: u32,
}

impl<'a> Search<'a> {
    /// The other end has told the digests of its root.
    pub(super) fn new(tree: &'a Tree, root: (Digest, Digest)) -> Self {
        let mut search = Self { tree, verdicts: vec![Verdict::New; tree.len()], open: HashMap::new(), told: 0 };
        search.tell(Some(0), root);
        search
    }

    /// Whether everything is equal.
    pub(super) fn is_equal(&self) -> bool {
        self.verdicts.first() == Some(&Verdict::Equal)
    }

    /// A directory of the other end, which may have a counterpart here.
    fn tell(&mut self, node: Option<usize>, (own, total): (Digest, Digest)) {
        let number = self.told;
        self.told = self.told.saturating_add(1);
        let Some(node) = node else { return };
        let (ours, ours_below) = self.tree.digests(node);
        let equal = |a: Digest, b: Digest| a == b && a != UNKNOWN;
        self.verdicts[node] = if equal(ours_below, total) {
            Verdict::Equal
        } else if equal(ours, own) {
            Verdict::Passed
        } else {
            Verdict::Listed
        };
        if self.verdicts[node] != Verdict::Equal {
            self.open.insert(number, node);
        }
    }

    /// The other end looks into the directory with this number: the directories in it follow.
    pub(super) fn inside(&mut self, number: u32) -> Inside<'a> {
        let tree = self.tree;
        let node = self.open.remove(&number);
        Inside(node.into_iter().flat_map(|node| tree.children(node)).map(|child| (tree.name(child), child)).collect())
    }

    /// A directory in that one.
    pub(super) fn child(&mut self, inside: &mut Inside<'a>, name: &[u8], digests: (Digest, Digest)) {
        self.tell(inside.0.remove(name), digests);
    }

    /// The numbers of directories that differ and hold directories, so that those must be told.
    pub(super) fn wanted(&mut self) -> Vec<u32> {
        let tree = self.tree;
        self.open.retain(|_, node| tree.children(*node).next().is_some());
        let mut wanted: Vec<_> = self.open.keys().copied().collect();
        wanted.sort_unstable();
        wanted
    }

    /// The verdicts. Names of files that have further names are listed unless everything is equal: which of them belong
    /// together is only known where all are.
    pub(super) fn plan(mut self) -> Plan {
        let mut plan = Plan::default();
        if !self.is_equal() {
            self.list_linked();
        }
        let mut todo = vec![(0, b".".to_vec())];
        while let Some((node, path)) = todo.pop() {
            let verdict = self.verdicts.get(node).copied().unwrap_or_default();
            if !matches!(verdict, Verdict::New | Verdict::Equal) {
                todo.extend(self.tree.children(node).map(|child| (child, join(&path, self.tree.name(child)))));
            }
            plan.0.insert(path, verdict);
        }
        plan
    }

    fn list_linked(&mut self) {
        let parents = self.parents();
        for (node, parent) in parents.iter().enumerate().skip(1) {
            if self.verdicts[*parent] == Verdict::Equal {
                self.verdicts[node] = Verdict::Equal;
            }
        }
        for node in (0..self.tree.len()).filter(|node| self.tree.linked(*node)) {
            self.verdicts[node] = self.verdicts[node].max(Verdict::Listed);
            let mut above = parents[node];
            while self.verdicts[above] == Verdict::Equal {
                self.verdicts[above] = Verdict::Passed;
                above = parents[above];
            }
        }
    }

    /// The directory that each one is in; the root is in itself.
    fn parents(&self) -> Vec<usize> {
        let mut parents = vec![0; self.tree.len()];
        for node in 0..self.tree.len() {
            for child in self.tree.children(node) {
                parents[child] = node;
            }
        }
        parents
    }
}

/// The directories in one that the other end looks into, and that were not told yet.
#[derive(Debug)]
pub(super) struct Inside<'a>(HashMap<&'a [u8], usize>);

#[cfg(test)]
mod tests {
    use super::super::tree::tests::tree;
    use super::*;

    /// What the list says of `path` when `theirs` is compared with `ours`, and how often was asked.
    fn compared(ours: &Tree, theirs: &Tree) -> (Plan, usize) {
        let mut search = Search::new(ours, theirs.digests(0));
        let (mut numbers, mut asked) = (vec![0], 0);
        loop {
            let wanted = search.wanted();
            if wanted.is_empty() {
                return (search.plan(), asked);
            }
            asked += 1;
            for number in wanted {
                let mut inside = search.inside(number);
                for child in theirs.children(numbers[number as usize]) {
                    numbers.push(child);
                    search.child(&mut inside, theirs.name(child), theirs.digests(child));
                }
            }
        }
    }

    fn listed<'a>(plan: &Plan, paths: &[&'a str]) -> Vec<&'a str> {
        let listed = |path: &&&str| {
            let dir = path.ends_with('/');
            let path = path.trim_end_matches('/').as_bytes();
            let mut above = split(path).0;
            while above != b"." && plan.enters(above) {
                above = split(above).0;
            }
            plan.enters(above) && plan.lists(path, dir)
        };
        paths.iter().filter(listed).copied().collect()
    }

    const OURS: [&str; 11] = ["a/", "a/b/", "a/b/c", "a/b/d/", "a/b/d/e", "a/f", "g/", "g/h", "i/", "i/j", "k"];

    #[test]
    fn equal_trees_are_not_listed_at_all() {
        let ours = tree(&OURS, &[]);
        let (plan, asked) = compared(&ours, &ours);
        assert_eq!((listed(&plan, &OURS), asked), (vec![], 0));
        assert!(plan.leaves_out(b"."));
    }

    #[test]
    fn only_what_differs_is_listed_with_the_way_to_it() {
        let mut theirs = OURS.to_vec();
        theirs[4] = "a/b/d/x";
        let (plan, asked) = compared(&tree(&OURS, &[]), &tree(&theirs, &[]));
        assert_eq!((listed(&plan, &OURS), asked), (vec!["a/", "a/b/", "a/b/d/", "a/b/d/e"], 3));
        assert!(
            plan.leaves_out(b".") && plan.leaves_out(b"a/b") && plan.leaves_out(b"g") && !plan.leaves_out(b"a/b/d")
        );
        let theirs: Vec<_> = OURS.iter().copied().filter(|path| !path.starts_with("a/b/d")).collect();
        let (plan, _) = compared(&tree(&OURS, &[]), &tree(&theirs, &[]));
        assert_eq!(listed(&plan, &OURS), vec!["a/", "a/b/", "a/b/c", "a/b/d/", "a/b/d/e"]);
    }

    #[test]
    fn what_could_not_be_read_is_listed() {
        let ours = tree(&OURS, &["g"]);
        let (plan, _) = compared(&ours, &ours);
        assert_eq!(listed(&plan, &OURS), vec!["g/", "g/h"]);
    }

    #[test]
    fn without_a_plan_everything_is_listed() {
        assert_eq!(listed(&Plan::default(), &OURS), OURS.to_vec());
        assert!(!Plan::default().leaves_out(b".") && !Plan::default().leaves_out(b"a"));
    }
}
