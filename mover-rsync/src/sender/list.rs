//! Building and sending the file list.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read as _, Write};
use std::sync::Arc;
use std::time::Instant;

use volsync_common::dest::Directory;
use volsync_common::meta::{Acl, Acls, Inode};
use volsync_common::path::{RelPath, Shown};
use volsync_common::walk::{Event, Kind, Stat, WalkOptions, walk_pruned};

use super::source::{Source, Sources};
use crate::accounts::Accounts;
use crate::delta::digest::SumKind;
use crate::directories::Directories;
use crate::exit::{ExitCode, Fatal};
use crate::filter::Filter;
use crate::native::{Comparison, Plan};
use crate::options::Options;
use crate::outcome::Counts;
use crate::session::Terms;
use crate::stream::Mux;
use crate::wire::acl::WireAcl;
use crate::wire::flist::{Encoder, FileList, NewEntry};
use crate::wire::frame::io_error;
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
    let mut links = HashMap::new();
    let plan = Arc::new(known.plan);
    let io_error = known.io_error | if sources.incomplete { io_error::GENERAL } else { 0 };
    let mut listing = Listing { list: FileList::new(0), io_error, ..Listing::default() };
    for (number, source) in sources.iter() {
        let lister = Lister {
            number,
            source,
            options,
            filter,
            accounts,
            encoder: &mut encoder,
            list_sum: agreed.list_sum,
            dirs: Directories::new(Some(source.root.clone())),
            links: &mut links,
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
    number: u16,
    source: &'a Source,
    options: &'a Options,
    filter: &'a Filter,
    accounts: &'a Accounts,
    encoder: &'a mut Encoder,
    list_sum: SumKind,
    dirs: Directories,
    /// Groups of hard links by file system and inode, with the attributes that were sent of the first member.
    links: &'a mut HashMap<(u64, u64), (u32, Stat)>,
    plan: Arc<Plan>,
    /// What could not be read before either.
    failed: &'a HashSet<Vec<u8>>,
    listing: &'a mut Listing,
}

impl Lister<'_> {
    fn all<W: Write>(mut self, out: &mut Mux<W>) -> Result<(), Fatal> {
        if let Some(file) = &self.source.file {
            let file = file.clone();
            match Stat::at(&self.source.root, &file) {
                Ok(stat) => self.add(&file, &stat, out.data()),
                Err(error) => self.failed(&file, &error),
            }
            return Ok(());
        }
        let options =
            WalkOptions { one_file_system: self.options.one_file_system, follow_links: false, threads: WALKERS };
        let (keep, plan) = (kept(self.filter, self.source), self.plan.clone());
        let keep = move |path: &RelPath, kind: Kind, stat: &Stat| {
            plan.lists(path, kind == Kind::Directory) && keep(path, kind, stat)
        };
        let plan = self.plan.clone();
        let enter = move |path: &RelPath| plan.enters(path);
        let walk = walk_pruned(&self.source.path, options, keep, enter)
            .map_err(|error| Fatal::Other(ExitCode::FileSelect, format!("cannot read the source: {error}")))?;
        let root = *walk.root();
        if !self.source.without_root {
            self.add(b".", &root, out.data());
        }
        if !self.options.recursive {
            self.children(out.data());
            return Ok(());
        }
        if !self.plan.enters(b".") {
            return Ok(());
        }
        for event in walk {
            match event {
                Event::Entry(entry) => self.add(&entry.path, &entry.stat, out.data()),
                Event::Failed { path, error } => self.failed(&path, &error),
            }
            out.flush_if_full()?;
        }
        Ok(())
    }

    /// What is directly in a directory whose contents were named, with `-d`.
    fn children(&mut self, out: &mut Vec<u8>) {
        if !self.options.dirs || self.source.prefix.is_some() {
            return;
        }
        match self.dirs.open(b".").and_then(|dir| dir.children()) {
            Ok(children) => {
                for child in children {
                    let hidden = self.filter.hides(&child.name, child.stat.kind() == Kind::Directory);
                    if !hidden {
                        self.add(&child.name, &child.stat, out);
                    }
                }
            }
            Err(error) => self.failed(b".", &error),
        }
    }

    /// Something could not be read; the list goes on.
    fn failed(&mut self, path: &[u8], error: &io::Error) {
        if !self.failed.contains(path) {
            self.listing.io_error |= failed(path, error);
        }
    }

    /// Adds a file to the list and to what is sent. One whose attributes cannot be read is left out and told.
    fn add(&mut self, path: &[u8], stat: &Stat, out: &mut Vec<u8>) {
        match self.extended(path, stat) {
            Ok(extended) => self.write(path, stat, &extended, out),
            Err(error) => self.failed(path, &error),
        }
    }

    fn write(&mut self, path: &[u8], stat: &Stat, extended: &Extended, out: &mut Vec<u8>) {
        let (group, stat) = self.group(stat);
        let listed = self.source.listed(path);
        let kind = stat.kind();
        // Directories' sizes are sent as they are; those of devices and the like mean nothing.
        let size = if kind == Kind::Other { 0 } else { stat.size };
        let device = matches!(stat.mode & 0o170_000, 0o060_000 | 0o020_000);
        let rdev = (rustix::fs::major(stat.rdev), rustix::fs::minor(stat.rdev));
        let bare = self.is_bare(path);
        let entry = NewEntry {
            path: &listed,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            size,
            mtime: stat.mtime,
            rdev: if device { rdev } else { (0, 0) },
            source: self.number,
            // Together with the other it would mean a parent that nobody named.
            top: path == b"." && !bare,
            no_content: kind == Kind::Directory && (bare || self.is_mount_point(&stat) || self.plan.leaves_out(path)),
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

    /// It comes without its contents for want of `-r`.
    fn is_bare(&self, path: &[u8]) -> bool {
        !self.options.recursive && (path != b"." || self.source.prefix.is_some())
    }

    /// Its contents are left out; the receiving side must not take that for their absence.
    fn is_mount_point(&self, stat: &Stat) -> bool {
        self.options.one_file_system && !self.source.root.same_file_system(stat)
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

/// What the filter does not hide. The directory or file that the user named is always sent.
pub(crate) fn kept(filter: &Filter, source: &Source) -> impl Fn(&RelPath, Kind, &Stat) -> bool + Send + Sync + 'static {
    let (filter, source) = (filter.clone(), source.clone());
    move |path, kind, _| filter.is_empty() || !filter.hides(&source.listed(path), kind == Kind::Directory)
}

/// Tells of something that could not be read; its error bits.
pub(super) fn failed(path: &[u8], error: &io::Error) -> u32 {
    if error.kind() == io::ErrorKind::NotFound {
        eprintln!("rsync: file has vanished: {}", Shown(path));
        io_error::VANISHED
    } else {
        eprintln!("rsync: cannot read {}: {error}", Shown(path));
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

/// What takes more than a stat.
#[derive(Clone, Debug, Default)]
struct Extended {
    target: Vec<u8>,
    digest: Vec<u8>,
    acl: WireAcl,
    default_acl: WireAcl,
    xattrs: Xattrs,
}
