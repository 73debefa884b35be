//! One page of a listing, cut out of the sorted index.
//!
//! Cost is that of the page: a group of keys that rolls up into a common prefix is stepped over with one seek.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

/// What to list. Keys compare as UTF-8 bytes, which is also the order of `str`.
#[derive(Clone, Debug, Default)]
pub struct PageRequest<'a> {
    /// Only keys that start with this.
    pub prefix: &'a str,
    /// Keys that contain this after the prefix roll up to the first occurrence; empty: none do.
    pub delimiter: &'a str,
    /// Where to go on.
    pub after: After<'a>,
    /// Keys and common prefixes together, at most.
    pub max: usize,
}

/// Where a page starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum After<'a> {
    /// At the first key.
    #[default]
    Start,
    /// Behind this key.
    Key(&'a str),
    /// Behind all keys that start with this.
    Prefix(&'a str),
}

/// One line of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a, V> {
    /// A key and its value.
    Key(&'a str, &'a V),
    /// A common prefix.
    Prefix(&'a str),
}

impl<'a, V> Entry<'a, V> {
    /// The key or prefix.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Key(name, _) | Self::Prefix(name) => name,
        }
    }

    /// Where the next page starts when this is the last line.
    pub fn position(&self) -> After<'a> {
        match self {
            Self::Key(name, _) => After::Key(name),
            Self::Prefix(name) => After::Prefix(name),
        }
    }
}

/// A page.
#[derive(Debug)]
pub struct Page<'a, V> {
    /// Sorted by name.
    pub entries: Vec<Entry<'a, V>>,
    /// More follows.
    pub truncated: bool,
}

/// Cuts the page `request` asks for out of `index`.
pub fn page<'a, V>(index: &'a BTreeMap<String, V>, request: &PageRequest<'_>) -> Page<'a, V> {
    let mut cursor = Cursor::new(index, request);
    let mut entries = Vec::new();
    // AWS answers max-keys=0 with an empty page that is not truncated.
    if request.max == 0 {
        return Page { entries, truncated: false };
    }
    while let Some(entry) = cursor.next_entry() {
        if entries.len() == request.max {
            return Page { entries, truncated: true };
        }
        entries.push(entry);
    }
    Page { entries, truncated: false }
}

struct Cursor<'a, 'r, V> {
    index: &'a BTreeMap<String, V>,
    keys: btree_map::Range<'a, String, V>,
    prefix: &'r str,
    delimiter: &'r str,
}

impl<'a, 'r, V> Cursor<'a, 'r, V> {
    fn new(index: &'a BTreeMap<String, V>, request: &PageRequest<'r>) -> Self {
        let keys = match start(request) {
            Some(bound) => index.range::<str, _>((bound.as_ref().map(String::as_str), Bound::Unbounded)),
            None => btree_map::Range::default(),
        };
        Self { index, keys, prefix: request.prefix, delimiter: request.delimiter }
    }

    fn next_entry(&mut self) -> Option<Entry<'a, V>> {
        let (key, value) = self.keys.next()?;
        let tail = key.strip_prefix(self.prefix)?;
        let Some(end) = rolls_up(tail, self.delimiter) else { return Some(Entry::Key(key, value)) };
        let common = &key[..self.prefix.len() + end];
        self.keys = match past(common) {
            Some(next) => self.index.range::<str, _>((Bound::Included(next.as_str()), Bound::Unbounded)),
            None => btree_map::Range::default(),
        };
        Some(Entry::Prefix(common))
    }
}

/// Length of the part of `tail` that becomes a common prefix.
fn rolls_up(tail: &str, delimiter: &str) -> Option<usize> {
    if delimiter.is_empty() {
        return None;
    }
    tail.find(delimiter).map(|at| at + delimiter.len())
}

/// The first position of interest, or nothing when no key can follow.
fn start(request: &PageRequest<'_>) -> Option<Bound<String>> {
    let after = match request.after {
        After::Start => Bound::Included(String::new()),
        After::Key(key) => Bound::Excluded(key.to_owned()),
        After::Prefix(prefix) => Bound::Included(past(prefix)?),
    };
    Some(match after {
        Bound::Included(key) | Bound::Excluded(key) if key.as_str() < request.prefix => {
            Bound::Included(request.prefix.to_owned())
        }
        later => later,
    })
}

/// The smallest string greater than all strings that start with `prefix`; `None` when there is none.
fn past(prefix: &str) -> Option<String> {
    let mut out = prefix.to_owned();
    while let Some(last) = out.pop() {
        if let Some(next) = successor(last) {
            out.push(next);
            return Some(out);
        }
    }
    None
}

/// The next scalar value; the surrogates between U+D7FF and U+E000 are none.
fn successor(c: char) -> Option<char> {
    match c {
        '\u{d7ff}' => Some('\u{e000}'),
        c => char::from_u32(u32::from(c) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Names = Vec<(bool, String)>;

    /// The definition, without an index: every key, rolled up, each name once, sorted.
    fn model(keys: &BTreeSet<String>, prefix: &str, delimiter: &str) -> Names {
        let mut names = BTreeSet::new();
        for key in keys.iter().filter(|key| key.starts_with(prefix)) {
            let tail = &key[prefix.len()..];
            match tail.find(delimiter).filter(|_| !delimiter.is_empty()) {
                Some(at) => names.insert((key[..prefix.len() + at + delimiter.len()].to_owned(), true)),
                None => names.insert((key.clone(), false)),
            };
        }
        names.into_iter().map(|(name, rolled)| (rolled, name)).collect()
    }

    fn all_pages(index: &BTreeMap<String, u8>, prefix: &str, delimiter: &str, max: usize) -> Names {
        let mut names: Names = Vec::new();
        loop {
            let last = names.last().cloned();
            let after = match &last {
                None => After::Start,
                Some((true, name)) => After::Prefix(name),
                Some((false, name)) => After::Key(name),
            };
            let found = page(index, &PageRequest { prefix, delimiter, after, max });
            assert!(found.entries.len() <= max);
            names.extend(found.entries.iter().map(|e| (matches!(e, Entry::Prefix(_)), e.name().to_owned())));
            if !found.truncated {
                return names;
            }
            assert!(!found.entries.is_empty(), "a truncated page without entries would never end");
        }
    }

    proptest! {
        #[test]
        fn pages_of_any_size_make_the_whole_listing(
            keys in prop::collection::btree_set("[ab/\u{d7ff}\u{e000}\u{10ffff}]{1,6}", 0..40),
            prefix in "[ab/\u{10ffff}]{0,2}",
            delimiter in prop::sample::select(vec!["", "/", "b", "//", "\u{10ffff}"]),
            max in 1..9_usize,
        ) {
            let index = keys.iter().map(|key| (key.clone(), 0)).collect();
            prop_assert_eq!(all_pages(&index, &prefix, delimiter, max), model(&keys, &prefix, delimiter));
        }
    }

    #[test]
    fn an_empty_page_is_not_truncated() {
        let index = BTreeMap::from([("a".to_owned(), 0)]);
        let found = page(&index, &PageRequest { max: 0, ..PageRequest::default() });
        assert!(found.entries.is_empty() && !found.truncated);
    }
}
