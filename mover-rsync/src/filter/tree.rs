//! Rules in a tree whose directories have files of rules.
//!
//! The rules in a directory are those of the directory above, with what its own files say in front of what they said
//! there. Directories are looked at when something in them is judged, and remembered.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use volsync_common::dest::{Dest, DestOptions, Directory};
use volsync_common::path::Shown;

use super::merge::{FILE_MAX, Merge, Parser};
use super::{Filter, From, Item, Reading, Rule, Seen, excludes};
use crate::args::ArgsError;
use crate::directories::{Directories, join, split};

/// Where rules are applied.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The directory that is walked.
    pub(crate) root: Option<Dest>,
    /// Its path.
    pub(crate) path: Vec<u8>,
    /// The first directory in it that takes part, `.` for itself.
    pub(crate) first: Vec<u8>,
    /// What paths of the file list begin with, that those in the directory do not; with a slash at the end.
    pub(crate) prefix: Vec<u8>,
    /// The directory itself takes part, not only what is in it.
    pub(crate) with_root: bool,
    /// Files above it are looked for, too.
    pub(crate) above: bool,
}

/// Rules, together with the tree whose files they are held against.
#[derive(Debug)]
pub(crate) struct InTree {
    filter: Filter,
    site: Site,
    /// What leads to paths of the file list from the root of the machine, with a slash at the end.
    leads: Vec<u8>,
    /// `None`: nothing depends on the tree.
    levels: Option<Mutex<Levels>>,
}

/// More directories than this are not remembered.
const LEVELS_MAX: usize = 10_000;

#[derive(Debug)]
struct Levels {
    dirs: Directories,
    known: HashMap<Vec<u8>, Arc<[Item]>>,
    base: Option<Arc<[Item]>>,
    failure: Option<ArgsError>,
}

impl InTree {
    pub(crate) fn new(filter: &Filter, site: Site) -> Self {
        let levels = filter.needs_tree().then(|| {
            let dirs = Directories::new(site.root.clone());
            Mutex::new(Levels { dirs, known: HashMap::new(), base: None, failure: None })
        });
        let mut leads = Vec::new();
        if levels.is_some() {
            leads = absolute(&site.path);
            // A directory with its name is in the list, not what is in it.
            let named = site.prefix.split(|b| *b == b'/').filter(|element| !element.is_empty()).count();
            for _ in 0..named {
                leads.truncate(leads[..leads.len() - 1].iter().rposition(|b| *b == b'/').map_or(1, |at| at + 1));
            }
        }
        Self { filter: filter.clone(), site, leads, levels }
    }

    /// Whether the sender leaves this out. `path` is that from the root.
    pub(crate) fn hides(&self, path: &[u8], is_dir: bool) -> bool {
        self.excludes(path, is_dir, &Rule::hides)
    }

    /// Whether this must not be deleted at the receiving side.
    pub(crate) fn protects(&self, path: &[u8], is_dir: bool) -> bool {
        self.excludes(path, is_dir, &Rule::protects)
    }

    /// Whether this must not be deleted together with the directory that it is in.
    pub(crate) fn protects_in_deleted(&self, path: &[u8], is_dir: bool) -> bool {
        self.excludes(path, is_dir, &Rule::protects_in_deleted)
    }

    /// What is in the files may have changed.
    pub(crate) fn forget(&self) {
        if let Some(levels) = &self.levels {
            let mut levels = levels.lock().unwrap_or_else(PoisonError::into_inner);
            levels.known.clear();
            levels.base = None;
        }
    }

    /// A file of rules that cannot be understood: nothing was to be concluded since.
    pub(crate) fn check(&self) -> Result<(), ArgsError> {
        let failure = self.levels.as_ref().and_then(|levels| {
            let levels = levels.lock().unwrap_or_else(PoisonError::into_inner);
            levels.failure.clone()
        });
        failure.map_or(Ok(()), Err)
    }

    fn excludes(&self, path: &[u8], is_dir: bool, counts: &dyn Fn(&Rule) -> bool) -> bool {
        if self.filter.is_empty() {
            return false;
        }
        let listed;
        let seen = if self.site.prefix.is_empty() {
            path
        } else {
            listed = [&self.site.prefix[..], path].concat();
            &listed
        };
        let seen = Seen { path: seen, is_dir, above: self.leads.strip_prefix(b"/").unwrap_or_default() };
        let Some(levels) = &self.levels else { return excludes(&self.filter.items, seen, counts) };
        let mut levels = levels.lock().unwrap_or_else(PoisonError::into_inner);
        match self.level(&mut levels, split(path).0) {
            Ok(level) => {
                drop(levels);
                excludes(&level, seen, counts)
            }
            // Nothing is sent, and nothing is deleted.
            Err(error) => {
                levels.failure.get_or_insert(error);
                true
            }
        }
    }

    /// The rules in a directory.
    fn level(&self, levels: &mut Levels, dir: &[u8]) -> Result<Arc<[Item]>, ArgsError> {
        if let Some(known) = levels.known.get(dir) {
            return Ok(known.clone());
        }
        // From the outermost one that is not known; not by recursion: a tree may be deeper than our stack.
        let mut way = vec![dir];
        let mut rules = loop {
            let Some(dir) = way.last().copied() else { return self.base(levels) };
            if !self.takes_part(dir) || (dir == b"." && !self.site.with_root) {
                way.pop();
                break self.base(levels)?;
            }
            if let Some(known) = levels.known.get(dir) {
                way.pop();
                break known.clone();
            }
            if dir == self.site.first || dir == b"." {
                break self.base(levels)?;
            }
            way.push(split(dir).0);
        };
        for dir in way.into_iter().rev() {
            rules = self.enter(levels, &rules, dir)?;
            if levels.known.len() >= LEVELS_MAX {
                levels.known.clear();
            }
            levels.known.insert(dir.to_vec(), rules.clone());
        }
        Ok(rules)
    }

    /// Whether the tree begins at a directory or above it.
    fn takes_part(&self, dir: &[u8]) -> bool {
        let first = &self.site.first[..];
        first == b"." || dir.strip_prefix(first).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// The rules in `dir`, from those in the directory above.
    fn enter(&self, levels: &mut Levels, above: &Arc<[Item]>, dir: &[u8]) -> Result<Arc<[Item]>, ArgsError> {
        let Levels { dirs, .. } = levels;
        let mut read = |name: &[u8]| -> Result<Option<Vec<u8>>, ArgsError> {
            let (below, name) = split(name);
            match dirs.open(&if below == b"." { dir.to_vec() } else { join(dir, below) }) {
                Ok(dir) => self.text(&dir, name),
                // It will be told where it is listed.
                Err(_) => Ok(None),
            }
        };
        let skip = if dir == b"." { 0 } else { dir.len() + 1 } + self.site.prefix.len();
        let from = if skip == 0 { From::Root } else { From::Below(skip) };
        descend(above, self.filter.reading, &from, &mut read)
    }

    /// The rules above the tree.
    fn base(&self, levels: &mut Levels) -> Result<Arc<[Item]>, ArgsError> {
        if let Some(base) = &levels.base {
            return Ok(base.clone());
        }
        let mut base = self.filter.items.clone();
        if self.site.above {
            // The root of the transfer is above the tree unless it takes part itself.
            let Site { prefix, with_root, first, .. } = &self.site;
            let rooted = prefix.is_empty() && *with_root && first == b".";
            let top = &self.leads[..];
            let ends = top.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
            for end in ends.filter(|end| !rooted || end + 1 < top.len()) {
                base = self.enter_above(&base, end)?;
            }
        }
        levels.base = Some(base.clone());
        Ok(base)
    }

    /// The rules in the directory above the tree that ends at a slash of the way to it.
    fn enter_above(&self, rules: &Arc<[Item]>, end: usize) -> Result<Arc<[Item]>, ArgsError> {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = &self.leads[..=end];
        let way = self.leads.strip_prefix(dir).unwrap_or_default();
        let from = From::Above(way.into());
        let mut read = |name: &[u8]| {
            let (below, name) = split(name);
            let path = [dir, below].concat();
            let opened = Dest::open(Path::new(std::ffi::OsStr::from_bytes(&path)), DestOptions::default());
            match opened.and_then(|opened| opened.directory(None)) {
                Ok(dir) => self.text(&dir, name),
                Err(_) => Ok(None),
            }
        };
        let mut stepping = Stepping::new(rules, self.filter.reading, &from, &mut read);
        let mut items = Vec::new();
        for item in &**rules {
            items.push(match item {
                Item::Merge(merge, _) if looks_in(merge, dir, &self.leads) => stepping.step(item)?,
                item => item.clone(),
            });
        }
        Ok(items.into())
    }

    /// The text of a file of rules, if it is there. A link is followed, as rsync does, unless nothing leads out of the tree.
    fn text(&self, dir: &Directory, name: &[u8]) -> Result<Option<Vec<u8>>, ArgsError> {
        let opened = match dir.open(name) {
            Err(error) if self.site.above && Errno::from_io_error(&error) == Some(Errno::LOOP) => follow(dir, name),
            opened => opened.map(|(file, _)| file),
        };
        match opened {
            Ok(file) => text(file, name).map(Some),
            Err(error) => missing(name, &error),
        }
    }
}

/// Whether a file of rules is looked for in a directory above the tree.
fn looks_in(merge: &Merge, dir: &[u8], top: &[u8]) -> bool {
    let above = &merge.text[..merge.text.len() - merge.name().len()];
    let start = if above.starts_with(b"/") {
        absolute(above)
    } else {
        let ups = above.split(|b| *b == b'/').filter(|element| *element == b"..").count();
        let mut start = top;
        for _ in 0..ups {
            let cut = start.strip_suffix(b"/").unwrap_or(start).iter().rposition(|b| *b == b'/').map_or(1, |at| at + 1);
            start = &start[..cut.min(start.len())];
        }
        start.to_vec()
    };
    !above.is_empty() && top.starts_with(&start) && dir.starts_with(&start)
}

/// Gives the text of a file in the directory in question, if it is there.
type Here<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>, ArgsError>;

/// Opens the regular file that a link leads to.
fn follow(dir: &Directory, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// The rules below a directory with `rules`.
fn descend(rules: &Arc<[Item]>, reading: Reading, from: &From, read: Here<'_>) -> Result<Arc<[Item]>, ArgsError> {
    let mut stepping = Stepping::new(rules, reading, from, read);
    let items = rules.iter().map(|item| stepping.step(item)).collect::<Result<Vec<_>, _>>()?;
    // Most directories have nothing to say.
    if items[..] == rules[..] { Ok(rules.clone()) } else { Ok(items.into()) }
}

/// Files of rules name further ones at most so deep.
const NESTED_MAX: usize = 16;

/// The step into a directory.
struct Stepping<'a> {
    reading: Reading,
    from: &'a From,
    read: Here<'a>,
    /// Names of all files of rules: one that is named again is passed over, as in rsync.
    known: HashSet<Vec<u8>>,
    depth: usize,
}

impl<'a> Stepping<'a> {
    fn new(rules: &[Item], reading: Reading, from: &'a From, read: Here<'a>) -> Self {
        let mut known = HashSet::new();
        names(rules, &mut known);
        Self { reading, from, read, known, depth: 0 }
    }

    /// What becomes of an item.
    fn step(&mut self, item: &Item) -> Result<Item, ArgsError> {
        let Item::Merge(merge, inherited) = item else { return Ok(item.clone()) };
        if self.depth == NESTED_MAX {
            return Err(ArgsError::Usage(format!("{}: too many files of rules name each other", Shown(merge.name()))));
        }
        let (own, cleared) = self.own(merge)?;
        let mut items = Vec::new();
        self.depth += 1;
        for item in &own {
            let again = matches!(item, Item::Merge(merge, _) if !self.known.insert(merge.name().to_vec()));
            if !again {
                items.push(self.step(item)?);
            }
        }
        if merge.inherits && !cleared {
            for item in &**inherited {
                items.push(self.step(item)?);
            }
        }
        self.depth -= 1;
        Ok(Item::Merge(merge.clone(), items.into()))
    }

    /// What a file says here, and whether it takes back what was said above.
    fn own(&mut self, merge: &Merge) -> Result<(Vec<Item>, bool), ArgsError> {
        let Some(text) = (self.read)(merge.name())? else { return Ok((Vec::new(), false)) };
        let read = &mut self.read;
        let mut named = |name: &[u8]| -> Result<Vec<u8>, ArgsError> {
            if name.starts_with(b"/") || name.split(|b| *b == b'/').any(|element| element == b"..") {
                return Err(ArgsError::Unsupported(format!("merge {} in a file of rules", Shown(name))));
            }
            read(name)?.ok_or_else(|| ArgsError::Usage(format!("there is no file of rules {}", Shown(name))))
        };
        let (reading, from, items) = (self.reading, self.from.clone(), Vec::new());
        let mut parser = Parser { reading, read: &mut named, from, depth: 0, items, cleared: false };
        parser.file(&text, merge.defaults).map_err(|error| in_file(merge.name(), error))?;
        Ok((parser.items, parser.cleared))
    }
}

fn names(rules: &[Item], known: &mut HashSet<Vec<u8>>) {
    for item in rules {
        if let Item::Merge(merge, items) = item {
            known.insert(merge.name().to_vec());
            names(items, known);
        }
    }
}

fn in_file(name: &[u8], error: ArgsError) -> ArgsError {
    match error {
        ArgsError::Usage(text) => ArgsError::Usage(format!("{}: {text}", Shown(name))),
        other @ ArgsError::Unsupported(_) => other,
    }
}

fn text(file: File, name: &[u8]) -> Result<Vec<u8>, ArgsError> {
    let mut text = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut text).map_err(|error| unreadable(name, &error))?;
    Ok(text)
}

/// What is there but no file has no rules.
fn missing(name: &[u8], error: &io::Error) -> Result<Option<Vec<u8>>, ArgsError> {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Ok(None),
        _ => Err(unreadable(name, error)),
    }
}

fn unreadable(name: &[u8], error: &io::Error) -> ArgsError {
    ArgsError::Usage(format!("cannot read the file of rules {}: {error}", Shown(name)))
}

/// The path of a directory from the root of the machine, with a slash at the end.
fn absolute(path: &[u8]) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    let found = std::fs::canonicalize(std::ffi::OsStr::from_bytes(path)).unwrap_or_else(|_| "/".into());
    let mut path = found.as_os_str().as_bytes().to_vec();
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path
}
