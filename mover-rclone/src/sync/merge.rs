//! Two sorted sides made into one stream of pairs.

use std::cmp::Ordering;
use std::iter::Peekable;

use super::item::{Item, ItemKind, Seen};

/// What the sides say about one path.
#[derive(Debug)]
pub(super) enum Pair {
    /// Only the source has it.
    Source(Item),
    /// Both have it, the source's first.
    Both(Item, Item),
    /// Only the destination has it. `needed`: it is a directory below which the source has something.
    Dest {
        /// What it has.
        item: Item,
        /// Whether the source has something below it.
        needed: bool,
    },
    /// The source does not know what is at or below this path.
    SourceFailed(Vec<u8>, String),
    /// The destination does not.
    DestFailed(Vec<u8>, String),
}

/// Merges two streams that are in the order of a walk.
pub(super) struct Merge<S: Iterator<Item = Seen>, D: Iterator<Item = Seen>> {
    source: Peekable<S>,
    dest: Peekable<D>,
}

impl<S: Iterator<Item = Seen>, D: Iterator<Item = Seen>> Merge<S, D> {
    pub(super) fn new(source: S, dest: D) -> Self {
        Self { source: source.peekable(), dest: dest.peekable() }
    }

    /// Which side comes first; `None` at the end. Failures come at once.
    fn first(&mut self) -> Option<Ordering> {
        match (self.source.peek(), self.dest.peek()) {
            (None, None) => None,
            (Some(Seen::Failed { .. }), _) | (Some(_), None) => Some(Ordering::Less),
            (_, Some(Seen::Failed { .. })) | (None, Some(_)) => Some(Ordering::Greater),
            (Some(Seen::Item(source)), Some(Seen::Item(dest))) => Some(source.order(dest)),
        }
    }

    fn only_dest(&mut self, seen: Seen) -> Pair {
        let item = match seen {
            Seen::Failed { path, reason } => return Pair::DestFailed(path, reason),
            Seen::Item(item) => item,
        };
        // All that the source has below this directory comes after it, so its next item tells.
        let below = matches!(self.source.peek(), Some(Seen::Item(next)) if is_below(&next.path, &item.path));
        let needed = item.kind == ItemKind::Directory && below;
        Pair::Dest { item, needed }
    }
}

impl<S: Iterator<Item = Seen>, D: Iterator<Item = Seen>> Iterator for Merge<S, D> {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        match self.first()? {
            Ordering::Less => match self.source.next()? {
                Seen::Failed { path, reason } => Some(Pair::SourceFailed(path, reason)),
                Seen::Item(item) => Some(Pair::Source(item)),
            },
            Ordering::Greater => {
                let seen = self.dest.next()?;
                Some(self.only_dest(seen))
            }
            Ordering::Equal => match (self.source.next()?, self.dest.next()?) {
                (Seen::Item(source), Seen::Item(dest)) => Some(Pair::Both(source, dest)),
                (Seen::Failed { path, reason }, _) => Some(Pair::SourceFailed(path, reason)),
                (_, Seen::Failed { path, reason }) => Some(Pair::DestFailed(path, reason)),
            },
        }
    }
}

/// Whether `path` lies below the directory `directory`.
pub(super) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use volsync_common::path::RelPath;

    fn item(path: &str) -> Item {
        let (path, kind) = match path.strip_suffix('/') {
            Some(path) => (path, ItemKind::Directory),
            None => (path, ItemKind::File),
        };
        let path = RelPath::new(path.as_bytes()).unwrap();
        Item { path, kind, size: 0, mtime: None, md5: None, stat: None }
    }

    fn merge(source: &[&str], dest: &[&str]) -> Vec<String> {
        let feed = |paths: &[&str]| paths.iter().map(|p| Seen::Item(item(p))).collect::<Vec<_>>().into_iter();
        Merge::new(feed(source), feed(dest))
            .map(|pair| match pair {
                Pair::Source(item) => format!("+{}", item.path),
                Pair::Both(item, _) => format!("={}", item.path),
                Pair::Dest { item, needed } => format!("-{}{}", item.path, if needed { " needed" } else { "" }),
                Pair::SourceFailed(..) | Pair::DestFailed(..) => unreachable!(),
            })
            .collect()
    }

    #[test]
    fn a_directory_of_the_destination_is_needed_if_the_source_has_something_below() {
        assert_eq!(
            merge(&["a-b", "a/x", "c"], &["a-b", "a/", "a/y", "b/", "b/z", "c/"]),
            ["=a-b", "-a needed", "+a/x", "-a/y", "-b", "-b/z", "+c", "-c"]
        );
        assert_eq!(merge(&["a/"], &["a/", "a/b/"]), ["=a", "-a/b"]);
        assert_eq!(merge(&[], &[]), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn every_entry_comes_once_and_in_order(
            source in prop::collection::btree_set("[ab/-]{1,4}", 0..20),
            dest in prop::collection::btree_set("[ab/-]{1,4}", 0..20),
        ) {
            let good = |set: BTreeSet<String>| -> Vec<String> {
                let mut all: Vec<String> =
                    set.into_iter().filter(|p| volsync_common::path::check(p.as_bytes()).is_ok()).collect();
                all.sort();
                all
            };
            let (source, dest) = (good(source), good(dest));
            let slices = |all: &[String]| all.iter().map(String::as_str).collect::<Vec<_>>().join("\0");
            let (s, d) = (slices(&source), slices(&dest));
            let split = |text: &str| -> Vec<String> {
                text.split('\0').filter(|p| !p.is_empty()).map(str::to_owned).collect()
            };
            let (s, d) = (split(&s), split(&d));
            let merged = merge(
                &s.iter().map(String::as_str).collect::<Vec<_>>(),
                &d.iter().map(String::as_str).collect::<Vec<_>>(),
            );
            let mut expect: BTreeMap<&String, char> = source.iter().map(|p| (p, '+')).collect();
            for path in &dest {
                expect.entry(path).and_modify(|c| *c = '=').or_insert('-');
            }
            let expect: Vec<String> = expect.into_iter().map(|(path, c)| format!("{c}{path}")).collect();
            prop_assert_eq!(merged, expect);
        }
    }
}
