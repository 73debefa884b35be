//! Building and sending the file list.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use volsync_common::dest::Directory;
use volsync_common::meta::{Acl, Acls, Inode};
use volsync_common::path::{RelPath, Shown};
use volsync_common::walk::{Event, Kind, Stat, Walk, WalkOptions, walk_pruned};

use super::names::Name;
use super::source::{Source, Sources};
use crate::accounts::Accounts;
use crate::delta::digest::SumKind;
use crate::directories::{Directories, join};
use crate::exit::{ExitCode, Fatal};
use crate::filter::{Filter, InTree, Site};
use crate::native::{Comparison, Plan};
use crate::options::Options;
use crate::outcome::Counts;
use crate::session::Terms;
use crate::stream::Mux;
use crate::wire::acl::WireAcl;
use crate::wire::flist::{Encoder, FileList, NewEntry};
use crate::wire::frame::{Message, Tag, io_error};
use crate::wire::handshake::Side;
use crate::wire::xattr::{Value, Xattr, Xattrs};

/// Threads that read directories ahead.
const WALKERS: usize = 2;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// The list as it was sent, sorted.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) list: FileList,
    pub(super) io_error: u32,
    pub(super) files: Counts,
    pub(super) total_size: u64,
    /// Bytes on the wire.
    pub(super) size: u64,
    /// Milliseconds.
    pub(super) time: u64,
}

/// Walks the sources and sends the list, but for what `known` leaves out.
pub(super) fn send<W: Write>(
    sources: &Sources,
    terms: &Terms,
    accounts: &Accounts,
    known: Comparison,
    out: &mut Mux<W>,
) -> Result<Listing, Fatal> {
    let Terms { options, agreed, filter, .. } = terms;
    let started = Instant::now();
    let before = out.written();
    let mut encoder = Encoder::new(agreed.list(options));
    let (mut links, mut sent) = (HashMap::new(), Sent::of(sources));
    let plan = Arc::new(known.plan);
    let io_error = known.io_error | if sources.incomplete { io_error::GENERAL } else { 0 };
    let mut listing = Listing { list: FileList::new(0), io_error, ..Listing::default() };
    for (number, source) in sources.iter() {
        let lister = Lister {
            side: terms.side(),
            number,
            source,
            options,
            filter,
            rules: Arc::new(rules(filter, source, b".")),
            accounts,
            encoder: &mut encoder,
            list_sum: agreed.list_sum,
            dirs: Directories::new(Some(source.root.clone())),
            device: 0,
            links: &mut links,
            sent: &mut sent,
            plan: plan.clone(),
            failed: &known.failed,
            listing: &mut listing,
        };
        lister.all(out)?;
    }
    if let Some(whole) = known.whole {
        (listing.files, listing.total_size) = (whole.files, whole.size);
    }
    encoder.end(listing.io_error, accounts, out.data());
    out.flush()?;
    listing.list.sort();
    listing.size = out.written() - before;
    listing.time = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(listing)
}

struct Lister<'a> {
    side: Side,
    number: u16,
    source: &'a Source,
    options: &'a Options,
    filter: &'a Filter,
    rules: Arc<InTree>,
    accounts: &'a Accounts,
    encoder: &'a mut Encoder,
    list_sum: SumKind,
    dirs: Directories,
    /// The file system of what was named.
    device: u64,
    /// Groups of hard links by file system and inode, with the attributes that were sent of the first member.
    links: &'a mut HashMap<(u64, u64), (u32, Stat)>,
    sent: &'a mut Sent,
    plan: Arc<Plan>,
    /// What could not be read before either.
    failed: &'a HashSet<Vec<u8>>,
    listing: &'a mut Listing,
}

impl Lister<'_> {
    fn all<W: Write>(mut self, out: &mut Mux<W>) -> Result<(), Fatal> {
        if let Some(names) = self.source.names.clone() {
            for name in &*names {
                self.name(name, out)?;
                out.flush_if_full()?;
            }
            return Ok(());
        }
        if let Some(file) = &self.source.file {
            let file = file.clone();
            match Stat::at(&self.source.root, &file) {
                Ok(stat) => self.add(&file, &stat, Part::Found, out.data()),
                Err(error) => self.failed(&file, &error),
            }
            return Ok(());
        }
        let walk = self
            .walk(b".")
            .map_err(|error| Fatal::Other(ExitCode::FileSelect, format!("cannot read the source: {error}")))?;
        if !self.options.recursive && !self.options.dirs && !self.source.without_root {
            self.skipped(&self.source.listed(b"."), out);
            return Ok(());
        }
        let root = *walk.root();
        self.device = root.dev;
        if !self.source.without_root {
            let contents = self.options.recursive || self.source.prefix.is_none();
            self.add(b".", &root, Part::Named { contents }, out.data());
        }
        if !self.options.recursive {
            if self.source.prefix.is_none() {
                self.children(b".", out.data())?;
            }
            return Ok(());
        }
        if self.plan.enters(b".") {
            self.walked(b".", walk, out)?;
        }
        Ok(())
    }

    /// Begins to walk a directory of the source.
    fn walk(&self, dir: &[u8]) -> io::Result<Walk> {
        let options =
            WalkOptions { one_file_system: self.options.one_file_system, follow_links: false, threads: WALKERS };
        let (rules, plan) = (self.rules.clone(), self.plan.clone());
        let (above, entered, enters) = (dir.to_vec(), dir.to_vec(), self.plan.clone());
        let keep = move |path: &RelPath, kind: Kind, _: &Stat| {
            let (path, is_dir) = (within(&above, path), kind == Kind::Directory);
            plan.lists(&path, is_dir) && !rules.hides(&path, is_dir)
        };
        let enter = move |path: &RelPath| enters.enters(&within(&entered, path));
        let opened;
        let path = if dir == b"." {
            &self.source.path
        } else {
            // By its descriptor: a path could lead through links.
            opened = self.source.root.directory(Some(&RelPath::new(dir).map_err(io::Error::other)?))?;
            &PathBuf::from(format!("/proc/self/fd/{}", opened.as_fd().as_raw_fd()))
        };
        walk_pruned(path, options, keep, enter)
    }

    /// What a walk below `dir` finds.
    fn walked<W: Write>(&mut self, dir: &[u8], walk: Walk, out: &mut Mux<W>) -> Result<(), Fatal> {
        for event in walk {
            match event {
                Event::Entry(entry) => self.add(&within(dir, &entry.path), &entry.stat, Part::Found, out.data()),
                Event::Failed { path, error } => self.failed(&within(dir, &path), &error),
            }
            out.flush_if_full()?;
        }
        Ok(self.rules.check()?)
    }

    /// What is directly in a directory whose contents were named, without `-r`.
    fn children(&mut self, dir: &[u8], out: &mut Vec<u8>) -> Result<(), Fatal> {
        match self.dirs.open(dir).and_then(|dir| dir.children()) {
            Ok(children) => {
                for child in children {
                    let path = join(dir, &child.name);
                    if !self.rules.hides(&path, child.stat.kind() == Kind::Directory) {
                        self.add(&path, &child.stat, Part::Found, out);
                    }
                }
            }
            Err(error) => self.failed(dir, &error),
        }
        Ok(self.rules.check()?)
    }

    /// What a name leads to, after the directories that lead there.
    fn name<W: Write>(&mut self, name: &Name, out: &mut Mux<W>) -> Result<(), Fatal> {
        let path = &name.path[..];
        let found = self.dirs.parent(path).and_then(|(dir, name)| dir.stat(name)?.ok_or(Errno::NOENT.into()));
        let stat = match found {
            Ok(stat) => stat,
            Err(error) => {
                crate::report::problem(&format!("rsync: cannot look at {}: {error}", Shown(path)));
                self.listing.io_error |= io_error::GENERAL;
                return Ok(());
            }
        };
        let is_dir = stat.kind() == Kind::Directory;
        if self.filter.needs_tree() {
            self.rules = Arc::new(rules(self.filter, self.source, path));
        }
        if name.rooted {
            self.way(b".", out.data());
        }
        if self.hidden(path, is_dir) {
            return Ok(self.rules.check()?);
        }
        if is_dir && !self.options.recursive && !self.options.dirs {
            self.skipped(path, out);
            return Ok(());
        }
        for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            self.way(&path[..at], out.data());
        }
        let contents = self.options.recursive || name.contents;
        self.device = stat.dev;
        self.add(path, &stat, Part::Named { contents }, out.data());
        match is_dir && contents {
            true if self.options.recursive => match self.walk(path) {
                Ok(walk) => self.walked(path, walk, out)?,
                Err(error) => self.failed(path, &error),
            },
            true => self.children(path, out.data())?,
            false => {}
        }
        Ok(())
    }

    /// Neither `-r` nor `-d` says that directories are wanted.
    fn skipped<W: Write>(&self, path: &[u8], out: &mut Mux<W>) {
        let text = format!("skipping directory {}", Shown(path));
        match self.side {
            Side::Client => crate::report::line(&text),
            Side::Server => out.message(&Message::Text { tag: Tag::Info, text: format!("{text}\n").into_bytes() }),
        }
    }

    /// A directory that leads to something named.
    fn way(&mut self, path: &[u8], out: &mut Vec<u8>) {
        if self.sent.has(path) {
            return;
        }
        let found = self.dirs.parent(path).and_then(|(dir, name)| dir.stat(name)?.ok_or(Errno::NOENT.into()));
        match found {
            Ok(stat) => self.add(path, &stat, Part::Way, out),
            Err(error) => self.failed(path, &error),
        }
    }

    /// Whether a rule hides something named; a source itself is never hidden.
    fn hidden(&self, path: &[u8], is_dir: bool) -> bool {
        path != b"." && self.rules.hides(path, is_dir)
    }

    /// Something could not be read; the list goes on.
    fn failed(&mut self, path: &[u8], error: &io::Error) {
        if !self.failed.contains(path) {
            self.listing.io_error |= failed(path, error);
        }
    }

    /// Adds a file to the list and to what is sent. One whose attributes cannot be read is left out and told.
    fn add(&mut self, path: &[u8], stat: &Stat, part: Part, out: &mut Vec<u8>) {
        if !self.sent.insert(path) {
            return;
        }
        let part = match self.sent.named(path) {
            Some(contents) if !self.hidden(path, stat.kind() == Kind::Directory) => {
                Part::Named { contents: self.options.recursive || contents }
            }
            _ => part,
        };
        match self.extended(path, stat) {
            Ok(extended) => self.write(path, stat, &extended, part, out),
            Err(error) => self.failed(path, &error),
        }
    }

    fn write(&mut self, path: &[u8], stat: &Stat, extended: &Extended, part: Part, out: &mut Vec<u8>) {
        let (group, stat) = self.group(stat);
        let listed = self.source.listed(path);
        let kind = stat.kind();
        // Directories' sizes are sent as they are; those of devices and the like mean nothing.
        let size = if kind == Kind::Other { 0 } else { stat.size };
        let device = matches!(stat.mode & 0o170_000, 0o060_000 | 0o020_000);
        let rdev = (rustix::fs::major(stat.rdev), rustix::fs::minor(stat.rdev));
        let with_contents = match part {
            Part::Way => false,
            Part::Named { contents } => contents,
            Part::Found => self.options.recursive && !self.is_mount_point(&stat),
        };
        let entry = NewEntry {
            path: &listed,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            size,
            mtime: stat.mtime,
            rdev: if device { rdev } else { (0, 0) },
            source: self.number,
            // Together they mean a directory that nobody named.
            top: matches!(part, Part::Way | Part::Named { contents: true }),
            no_content: kind == Kind::Directory && (!with_contents || self.plan.leaves_out(path)),
            target: &extended.target,
            digest: &extended.digest,
            group,
            acl: extended.acl.clone(),
            default_acl: extended.default_acl.clone(),
            xattrs: extended.xattrs.clone(),
        };
        self.encoder.write(&entry, self.accounts, &mut self.listing.list, out);
        self.listing.files.add(stat.mode);
        if matches!(kind, Kind::File | Kind::Symlink) {
            self.listing.total_size += size;
        }
    }

    /// Its contents are left out; the receiving side must not take that for their absence.
    fn is_mount_point(&self, stat: &Stat) -> bool {
        self.options.one_file_system && stat.dev != self.device
    }

    /// The group of hard links, with the attributes that count: a later member repeats those of the first.
    fn group(&mut self, stat: &Stat) -> (Option<u32>, Stat) {
        if !self.options.hard_links || stat.nlink < 2 || stat.kind() == Kind::Directory {
            return (None, *stat);
        }
        let number = self.listing.list.end();
        let (group, first) = self.links.entry((stat.dev, stat.ino)).or_insert((number, *stat));
        (Some(*group), *first)
    }

    fn extended(&mut self, path: &[u8], stat: &Stat) -> io::Result<Extended> {
        let mut extended = Extended::default();
        let symlink = stat.kind() == Kind::Symlink;
        let digest = self.options.checksum && stat.kind() == Kind::File;
        if !(symlink || digest || self.options.acls || self.options.xattrs) {
            return Ok(extended);
        }
        let (dir, name) = self.dirs.parent(path)?;
        if digest {
            extended.digest = self.digest(&dir, name);
        }
        if symlink {
            extended.target = dir.read_link(name)?;
        } else {
            self.attributes(&dir, name, &mut extended, stat)?;
        }
        Ok(extended)
    }

    /// The digest of `--checksum`; zeros for what cannot be read, which will be told when it is asked for.
    fn digest(&self, dir: &Directory, name: &[u8]) -> Vec<u8> {
        let read = dir.open(name).and_then(|(mut file, _)| {
            let mut whole = self.list_sum.whole();
            let mut buffer = vec![0; 128 * 1024];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(whole.finish().as_bytes().to_vec()),
                    len => whole.update(&buffer[..len]),
                }
            }
        });
        read.unwrap_or_else(|_| vec![0; self.list_sum.len()])
    }

    fn attributes(&self, dir: &Directory, name: &[u8], extended: &mut Extended, stat: &Stat) -> io::Result<()> {
        if !self.options.acls && !self.options.xattrs {
            return Ok(());
        }
        // Most files have none: one call tells.
        let names = dir.xattr_names(name)?;
        if names.is_empty() {
            return Ok(());
        }
        let inode = Inode::at(dir, name)?;
        if self.options.acls && names.iter().any(|name| name == ACCESS || name == DEFAULT) {
            let Acls { access, default } = inode.acls()?;
            extended.acl = stripped(&access, stat.mode);
            extended.default_acl = WireAcl::default_list(default.as_ref());
        }
        if self.options.xattrs {
            extended.xattrs = Xattrs(read_xattrs(&inode, names, self.options)?);
        }
        Ok(())
    }
}

/// A path of a walk below `dir`, from the source.
fn within<'a>(dir: &[u8], path: &'a [u8]) -> Cow<'a, [u8]> {
    if dir == b"." { Cow::Borrowed(path) } else { Cow::Owned(join(dir, path)) }
}

/// The rules in a source, from the directory `first` on.
fn rules(filter: &Filter, source: &Source, first: &[u8]) -> InTree {
    let site = Site {
        root: Some(source.root.clone()),
        path: source.confined.as_ref().map_or(&source.path, |confined| &confined.place).as_os_str().as_bytes().to_vec(),
        first: first.to_vec(),
        prefix: source.prefix.as_ref().map(|prefix| [prefix, &b"/"[..]].concat()).unwrap_or_default(),
        with_root: true,
        above: source.confined.is_none(),
    };
    InTree::new(filter, site)
}

/// What the filter does not hide. The directory or file that the user named is always sent.
pub(crate) fn kept(filter: &Filter, source: &Source) -> impl Fn(&RelPath, Kind, &Stat) -> bool + Send + Sync + 'static {
    let (filter, source) = (filter.clone(), source.clone());
    move |path, kind, _| filter.is_empty() || !filter.hides(&source.listed(path), kind == Kind::Directory)
}

/// Tells of something that could not be read; its error bits.
pub(super) fn failed(path: &[u8], error: &io::Error) -> u32 {
    if error.kind() == io::ErrorKind::NotFound {
        crate::report::problem(&format!("rsync: file has vanished: {}", Shown(path)));
        io_error::VANISHED
    } else {
        crate::report::problem(&format!("rsync: cannot read {}: {error}", Shown(path)));
        io_error::GENERAL
    }
}

fn stripped(access: &Acl, mode: u32) -> WireAcl {
    if access.is_minimal() { WireAcl::default() } else { WireAcl::access(access, mode) }
}

/// The attributes that travel, by name: their numbers must be the same each time. To or from anybody but `root` those of
/// users alone.
pub(crate) fn travelling(mut names: Vec<Vec<u8>>, options: &Options, root: bool) -> Vec<Vec<u8>> {
    let root = root && rustix::process::geteuid().is_root();
    names.retain(|name| options.takes_xattr(name, root));
    names.sort();
    names
}

fn read_xattrs(inode: &Inode, names: Vec<Vec<u8>>, options: &Options) -> io::Result<Vec<Xattr>> {
    let mut xattrs = Vec::new();
    for name in travelling(names, options, true) {
        if let Some(value) = inode.xattr(&name)? {
            xattrs.push(Xattr { name, value: Value::of(value) });
        }
    }
    Ok(xattrs)
}

/// Why something is in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It leads to something named.
    Way,
    /// It was named, with what it holds or without.
    Named { contents: bool },
    /// It is in a directory that was named.
    Found,
}

/// What was sent, where files are named one by one: a name may come twice, or lie in a directory that was named too.
#[derive(Debug, Default)]
struct Sent {
    /// Names, and whether their contents were meant.
    named: HashMap<Vec<u8>, bool>,
    paths: Option<HashSet<Vec<u8>>>,
}

impl Sent {
    fn of(sources: &Sources) -> Self {
        let mut sent = Self::default();
        for name in sources.iter().filter_map(|(_, source)| source.names.as_deref()).flatten() {
            *sent.named.entry(name.path.clone()).or_default() |= name.contents;
            sent.paths.get_or_insert_default();
        }
        sent
    }

    fn has(&self, path: &[u8]) -> bool {
        self.paths.as_ref().is_some_and(|paths| paths.contains(path))
    }

    /// Whether it is new.
    fn insert(&mut self, path: &[u8]) -> bool {
        self.paths.as_mut().is_none_or(|paths| paths.insert(path.to_vec()))
    }

    fn named(&self, path: &[u8]) -> Option<bool> {
        self.named.get(path).copied()
    }
}

/// What takes more than a stat.
#[derive(Clone, Debug, Default)]
struct Extended {
    target: Vec<u8>,
    digest: Vec<u8>,
    acl: WireAcl,
    default_acl: WireAcl,
    xattrs: Xattrs,
}
