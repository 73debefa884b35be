//! What a server may send: what it was asked for. It could overwrite anything at the destination otherwise, or have
//! anything deleted (CVE-2022-29154, CVE-2026-53789).

use std::collections::{HashMap, HashSet};

use crate::sender::Name;

/// What of a name was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    /// Itself.
    Alone,
    /// What is directly in it, too.
    Contents,
    /// Everything below it, too.
    All,
}

/// The names under which something may come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    names: HashMap<Vec<u8>, Depth>,
    /// Directories that lead to them.
    ways: HashSet<Vec<u8>>,
}

impl Requested {
    /// These names, with everything below them.
    pub fn whole(names: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { names: names.into_iter().map(|name| (name, Depth::All)).collect(), ways: HashSet::new() }
    }

    /// Names of a list or under `-R`.
    pub(crate) fn named(names: impl IntoIterator<Item = Name>, recursive: bool) -> Self {
        let mut requested = Self::default();
        for name in names {
            let depth = match (recursive, name.contents) {
                (true, _) => Depth::All,
                (false, true) => Depth::Contents,
                (false, false) => Depth::Alone,
            };
            let known = requested.names.entry(name.path.clone()).or_insert(depth);
            *known = depth.max(*known);
            requested.ways.extend(above(&name.path).map(<[u8]>::to_vec));
        }
        requested
    }

    /// Whether this is all that was asked for.
    pub(crate) fn is_only(&self, name: &[u8]) -> bool {
        self.names.len() == 1 && self.names.get(name) == Some(&Depth::All)
    }

    /// Whether something may come.
    pub(super) fn allows(&self, path: &[u8]) -> bool {
        self.names.contains_key(path) || self.ways.contains(path) || self.is_below(path)
    }

    /// Whether what is in a directory may be meant.
    pub(super) fn allows_contents(&self, path: &[u8]) -> bool {
        self.names.get(path).is_some_and(|depth| *depth > Depth::Alone) || self.is_deep_below(path)
    }

    fn is_below(&self, path: &[u8]) -> bool {
        let parent = crate::directories::split(path).0;
        self.names.get(parent) == Some(&Depth::Contents) || self.is_deep_below(path)
    }

    fn is_deep_below(&self, path: &[u8]) -> bool {
        above(path).any(|above| self.names.get(above) == Some(&Depth::All))
    }
}

/// The directories that a path leads through.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/');
    std::iter::once(&b"."[..]).chain(slashes.map(|(at, _)| &path[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_that_nobody_asked_for() {
        let names = ["a/b/f", "x/", "y", "a/q"].map(|name| Name::listed(name.as_bytes()));
        let listed = Requested::named(names.clone(), false);
        for (path, allowed, contents) in [
            (".", true, false),
            ("a", true, false),
            ("a/b", true, false),
            ("a/b/f", true, false),
            ("a/b/g", false, false),
            ("a/b/f/x", false, false),
            ("x", true, true),
            ("x/1", true, false),
            ("x/1/2", false, false),
            ("y", true, false),
            ("y/1", false, false),
            ("z", false, false),
        ] {
            let found = (listed.allows(path.as_bytes()), listed.allows_contents(path.as_bytes()));
            assert_eq!(found, (allowed, contents), "{path}");
        }
        let deep = Requested::named(names, true);
        assert!(deep.allows(b"y/1/2") && deep.allows_contents(b"y/1") && !deep.allows_contents(b"a/b"));
        let whole = Requested::whole([b"d".to_vec()]);
        assert!(whole.allows(b"d/x/y") && whole.allows_contents(b"d") && !whole.allows(b"e"));
        assert!(whole.is_only(b"d") && !whole.is_only(b"e") && !listed.is_only(b"y"));
        assert!(Requested::named([Name::listed(b".")], true).allows(b"any/thing"));
    }
}
