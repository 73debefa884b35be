//! The two kinds of side as streams of items in the order of a walk.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::{io, mem};

use rustix::fs::{AtFlags, OFlags};
use volsync_common::path::{RelPath, Shown};
use volsync_common::report::{Reporter, Skip};
use volsync_common::root::{Root, Strategy};
use volsync_common::walk::{self, Entry, Event, Kind, Walk, WalkOptions};

use super::item::{Item, ItemKind, LINK_SUFFIX, Seen};
use super::problems::reason;
use super::select::{Select, is_temporary};
use crate::flags::GlobalOptions;
use crate::store::{Listed, Listing};

/// Listed entries are counted in steps of this many: a counter that all threads share is no place for each.
const COUNT_EVERY: u64 = 256;

/// How a local side is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalRules {
    one_file_system: bool,
    copy_links: bool,
    links: bool,
    skip_links: bool,
    skip_specials: bool,
    threads: usize,
    /// What is here is to be replaced: links and special files are no news, our own leftovers are told.
    destination: bool,
}

impl LocalRules {
    pub(super) fn new(options: &GlobalOptions, volume: bool, destination: bool) -> Self {
        Self {
            one_file_system: options.one_file_system || volume,
            copy_links: options.copy_links && !destination,
            links: options.links,
            skip_links: options.skip_links || destination,
            skip_specials: options.skip_specials || destination,
            threads: std::thread::available_parallelism().map_or(2, usize::from).min(4),
            destination,
        }
    }

    /// How paths below the side are resolved.
    pub(super) fn strategy(self) -> Strategy {
        if self.copy_links { Strategy::FollowLinks } else { Strategy::Kernel }
    }
}

/// Walks a directory. Items of links get another name, so they are held back until their new place in the order.
pub(super) struct LocalFeed {
    walk: Walk,
    rules: LocalRules,
    reporter: Reporter,
    uncounted: u64,
    /// Links on their way to their place, in order.
    renamed: BTreeSet<LinkAt>,
    held: Option<Seen>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LinkAt(RelPath, u64);

impl LocalFeed {
    pub(super) fn open(path: &Path, rules: LocalRules, select: Select, reporter: Reporter) -> io::Result<Self> {
        let options = WalkOptions {
            one_file_system: rules.one_file_system,
            follow_links: rules.copy_links,
            threads: rules.threads,
        };
        let root = Root::open(path, rules.strategy())?;
        let keep = move |path: &RelPath, kind: Kind, stat: &walk::Stat| match kind {
            Kind::Directory => select.directory(path) && !is_marked(&root, path, &select),
            Kind::File => is_temporary(path) || select.file(path, stat.size, stat.mtime),
            Kind::Symlink | Kind::Other => select.file(path, stat.size, stat.mtime),
        };
        let walk = walk::walk(path, options, keep)?;
        Ok(Self { walk, rules, reporter, uncounted: 0, renamed: BTreeSet::new(), held: None })
    }

    /// What the next entry of the walk means.
    fn next_seen(&mut self) -> Option<Seen> {
        loop {
            let entry = match self.walk.next()? {
                Event::Entry(entry) => entry,
                Event::Failed { path, error } => return Some(Seen::Failed { path, reason: reason(&error) }),
            };
            self.uncounted += 1;
            if self.uncounted == COUNT_EVERY {
                self.reporter.counters().listed(mem::take(&mut self.uncounted));
            }
            if let Some(item) = self.item(entry) {
                return Some(Seen::Item(item));
            }
        }
    }

    fn item(&mut self, entry: Entry) -> Option<Item> {
        let kind = match entry.kind {
            Kind::Directory => ItemKind::Directory,
            Kind::File if !is_temporary(&entry.path) => ItemKind::File,
            Kind::File if self.rules.destination => ItemKind::Leftover,
            Kind::File => return None,
            Kind::Symlink if self.rules.links => {
                self.rename(&entry);
                return None;
            }
            Kind::Symlink => {
                if !self.rules.skip_links {
                    self.reporter.skipped(Skip::Symlink, &entry.path);
                }
                return None;
            }
            Kind::Other => {
                if !self.rules.skip_specials {
                    self.reporter.skipped(Skip::Special, &entry.path);
                }
                return None;
            }
        };
        let stat = entry.stat;
        Some(Item {
            path: entry.path,
            kind,
            size: stat.size,
            mtime: Some(stat.mtime),
            md5: None,
            stat: Some(Box::new(stat)),
        })
    }

    fn rename(&mut self, entry: &Entry) {
        // A longer name than the original is always legal as a path.
        if let Ok(path) = RelPath::new([entry.path.as_bytes(), LINK_SUFFIX].concat()) {
            self.renamed.insert(LinkAt(path, entry.stat.size));
        }
    }

    /// A held link whose place is before `next`.
    fn due(&mut self, next: Option<&Seen>) -> Option<Item> {
        let first = self.renamed.first()?;
        let item =
            Item { path: first.0.clone(), kind: ItemKind::Link, size: first.1, mtime: None, md5: None, stat: None };
        let due = match next {
            None => true,
            Some(Seen::Failed { .. }) => false,
            Some(Seen::Item(next)) => item.order(next).is_lt(),
        };
        if due {
            self.renamed.pop_first();
        }
        due.then_some(item)
    }
}

impl Iterator for LocalFeed {
    type Item = Seen;

    fn next(&mut self) -> Option<Seen> {
        if self.held.is_none() {
            self.held = self.next_seen();
        }
        let held = self.held.take();
        if let Some(link) = self.due(held.as_ref()) {
            self.held = held;
            return Some(Seen::Item(link));
        }
        held
    }
}

impl Drop for LocalFeed {
    fn drop(&mut self) {
        self.reporter.counters().listed(self.uncounted);
    }
}

/// Whether the directory holds a file that leaves it out.
fn is_marked(root: &Root, directory: &RelPath, select: &Select) -> bool {
    select.markers().iter().any(|marker| {
        let path = RelPath::new([directory.as_bytes(), b"/", &marker[..]].concat());
        path.is_ok_and(|path| {
            root.open_at(Some(&path), OFlags::PATH | OFlags::NOFOLLOW, rustix::fs::Mode::empty()).is_ok()
        })
    })
}

/// The target of the link at `path` (without [`LINK_SUFFIX`]).
pub(super) fn link_target(root: &Root, path: &RelPath) -> io::Result<Vec<u8>> {
    let directory = root.parent(path)?;
    Ok(rustix::fs::readlinkat(directory, path.name(), Vec::new())?.into_bytes())
}

/// The modification time of the link itself.
pub(super) fn link_time(root: &Root, path: &RelPath) -> io::Result<volsync_common::time::Timestamp> {
    let stat = rustix::fs::statat(root.parent(path)?, path.name(), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(walk::Stat::from(stat).mtime)
}

/// The path of the link that an item stands for.
pub(super) fn link_path(item: &RelPath) -> Option<RelPath> {
    item.as_bytes().strip_suffix(LINK_SUFFIX).and_then(|path| RelPath::new(path).ok())
}

/// Goes through a listing. Directories of it are told apart: [`directories`].
pub(super) struct ListingFeed {
    listing: Arc<Listing>,
    next: usize,
    by_path: super::select::ByPath,
    links: bool,
}

impl ListingFeed {
    pub(super) fn new(listing: Arc<Listing>, select: Select, links: bool) -> Self {
        let marked = marked_directories(&listing, select.markers());
        Self { listing, next: 0, by_path: select.by_path(marked), links }
    }

    fn item(&self, listed: Listed<'_>) -> Option<Item> {
        let path = listed.rel_path()?;
        let link = self.links && path.ends_with(LINK_SUFFIX);
        Some(Item {
            path,
            kind: if link { ItemKind::Link } else { ItemKind::File },
            size: listed.size,
            mtime: listed.mtime,
            md5: listed.md5,
            stat: None,
        })
    }
}

impl Iterator for ListingFeed {
    type Item = Seen;

    fn next(&mut self) -> Option<Seen> {
        let listing = self.listing.clone();
        loop {
            let listed = listing.at(self.next)?;
            self.next += 1;
            if !listed.directory && self.by_path.file(listed.path, listed.size, listed.mtime.unwrap_or_default()) {
                return self.item(listed).map(Seen::Item);
            }
        }
    }
}

/// Directories that a listing tells by themselves: markers, or those of a local store.
pub(super) fn directories(listing: &Listing, select: Select) -> Vec<RelPath> {
    let marked = marked_directories(listing, select.markers());
    let mut by_path = select.by_path(marked);
    let told = listing.iter().filter(|listed| listed.directory && by_path.directory(listed.path));
    told.filter_map(|listed| listed.rel_path()).collect()
}

fn marked_directories(listing: &Listing, markers: &[Vec<u8>]) -> BTreeSet<Vec<u8>> {
    if markers.is_empty() {
        return BTreeSet::new();
    }
    let split = |path: &[u8]| path.iter().rposition(|b| *b == b'/').unwrap_or(usize::MAX);
    let holds = listing.iter().filter(|listed| !listed.directory).filter_map(|listed| {
        let (parent, name) = match split(listed.path) {
            usize::MAX => (&listed.path[..0], listed.path),
            at => (&listed.path[..at], &listed.path[at + 1..]),
        };
        markers.iter().any(|marker| marker == name).then(|| parent.to_vec())
    });
    holds.collect()
}

/// The name of a directory of this machine in messages.
pub(super) fn shown(path: &Path) -> String {
    Shown(path.as_os_str().as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::store::ListingBuilder;
    use crate::sync::Goal;
    use std::fs;
    use std::os::unix::fs::symlink;
    use volsync_common::report::Counters;
    use volsync_common::time::Timestamp;

    fn select(goal: Goal) -> Select {
        Select::new(Arc::new(Filter::default()), &options(), goal, Timestamp::default())
    }

    fn options() -> GlobalOptions {
        GlobalOptions::new(&crate::flags::Flags::default(), Timestamp::default()).unwrap()
    }

    fn told(feed: impl Iterator<Item = Seen>) -> Vec<String> {
        feed.map(|seen| match seen {
            Seen::Item(item) => format!("{:?} {}", item.kind, item.path),
            Seen::Failed { path, reason } => format!("failed {} {reason}", Shown(&path)),
        })
        .collect()
    }

    #[test]
    fn links_stand_where_their_new_names_sort() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a-b", "b", "a.z", "lost+found"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        symlink("b", dir.path().join("a")).unwrap();
        fs::write(dir.path().join(".volsync-0123456789abcdef.partial"), "x").unwrap();
        let rules = LocalRules { links: true, ..LocalRules::new(&options(), true, false) };
        let feed = LocalFeed::open(dir.path(), rules, select(Goal::Volume), Reporter::silent(Counters::new())).unwrap();
        assert_eq!(told(feed), ["File a-b", "Link a.rclonelink", "File a.z", "File b", "File lost+found"]);
        let rules = LocalRules::new(&options(), true, true);
        let feed = LocalFeed::open(dir.path(), rules, select(Goal::Volume), Reporter::silent(Counters::new())).unwrap();
        assert!(told(feed).contains(&"Leftover .volsync-0123456789abcdef.partial".to_owned()));
    }

    #[test]
    fn a_listing_tells_files_and_directories_apart() {
        let mut builder = ListingBuilder::default();
        for (path, directory) in [("a", true), ("a/x", false), ("b", false), ("permissions.facl", false)] {
            builder.push(Listed { path: path.as_bytes(), size: 0, md5: None, mtime: None, directory });
        }
        let listing = Arc::new(builder.finish(true));
        assert_eq!(directories(&listing, select(Goal::Volume)), [RelPath::new(*b"a").unwrap()]);
        let feed = ListingFeed::new(listing, select(Goal::Volume), false);
        assert_eq!(told(feed), ["File a/x", "File b"]);
    }
}
