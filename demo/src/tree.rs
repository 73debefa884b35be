//! What a directory holds, read with the standard library and `walkdir`: not with the code that is to be judged.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, FileType, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rustix::io::Errno;
use volsync_common::path::Shown;
use volsync_common::report::units::{self, counted};
use walkdir::{DirEntry, WalkDir};

use crate::support::{ACCESS, DEFAULT};

/// Names at the root that are no part of a volume's data.
const RESERVED: [&[u8]; 2] = [b"lost+found", b"permissions.facl"];

/// Files shorter than this may have no blocks for other reasons than holes.
const SPARSE_FROM: u64 = 128 << 10;

/// A directory and everything in it, by path; the directory itself has the empty path.
pub(crate) struct Tree {
    pub(crate) entries: BTreeMap<PathBuf, Entry>,
    /// Entries that the mover leaves out: reserved names, and other file systems.
    pub(crate) left_out: u64,
}

/// One entry.
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) meta: Metadata,
    /// Access list and default list in the kernel's form.
    pub(crate) lists: [Option<Vec<u8>>; 2],
    /// How many attributes of the user's own it has.
    pub(crate) attributes: u64,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Link(PathBuf),
    /// A fifo, socket or device.
    Special,
}

impl Tree {
    /// Reads `dir`, following no links.
    pub(crate) fn of(dir: &Path) -> anyhow::Result<Self> {
        let root = fs::metadata(dir).with_context(|| shown(dir))?;
        ensure!(root.is_dir(), "{} is not a directory", shown(dir));
        let mut tree = Self { entries: BTreeMap::new(), left_out: 0 };
        let mut walk = WalkDir::new(dir).same_file_system(true).into_iter();
        while let Some(found) = walk.next() {
            let found = found.with_context(|| format!("reading {}", shown(dir)))?;
            let entry = Entry::read(&found)?;
            if is_reserved(&found) || entry.is_elsewhere(&root) {
                tree.left_out += 1;
                if entry.kind == Kind::Directory {
                    walk.skip_current_dir();
                }
                continue;
            }
            let path = found.path().strip_prefix(dir)?.to_owned();
            tree.entries.insert(path, entry);
        }
        Ok(tree)
    }

    fn of_kind(&self, kind: &Kind) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |entry| entry.kind == *kind)
    }

    /// Bytes of content.
    pub(crate) fn bytes(&self) -> u64 {
        self.of_kind(&Kind::File).map(|file| file.meta.len()).sum()
    }

    /// Names that each stand for a file that has another name too, by inode.
    pub(crate) fn names_of_inodes(&self) -> HashMap<(u64, u64), u64> {
        let mut names = HashMap::new();
        for file in self.of_kind(&Kind::File).filter(|file| file.meta.nlink() > 1) {
            *names.entry(file.inode()).or_default() += 1;
        }
        names.retain(|_, count| *count > 1);
        names
    }

    /// `2,152 files in 71 directories, 132.409 MiB`.
    pub(crate) fn describe(&self) -> String {
        let (files, directories) = (self.of_kind(&Kind::File).count(), self.of_kind(&Kind::Directory).count());
        let directories = units::grouped(directories as u64);
        format!("{} in {directories} directories, {}", counted(files as u64, "file"), units::bytes(self.bytes()))
    }
}

impl Entry {
    fn read(found: &DirEntry) -> anyhow::Result<Self> {
        let path = found.path();
        let about = || format!("reading {}", shown(path));
        let meta = fs::symlink_metadata(path).with_context(about)?;
        let kind = kind(path, meta.file_type()).with_context(about)?;
        let has_attributes = matches!(kind, Kind::File | Kind::Directory);
        let (lists, attributes) =
            if has_attributes { attributes(path).with_context(about)? } else { ([None, None], 0) };
        Ok(Self { kind, meta, lists, attributes })
    }

    /// Device and number.
    pub(crate) fn inode(&self) -> (u64, u64) {
        (self.meta.dev(), self.meta.ino())
    }

    /// Whether less space is taken than the content is long.
    pub(crate) fn has_holes(&self) -> bool {
        self.meta.len() >= SPARSE_FROM && self.meta.blocks() * 512 + SPARSE_FROM / 2 <= self.meta.len()
    }

    fn is_elsewhere(&self, root: &Metadata) -> bool {
        self.kind == Kind::Directory && self.meta.dev() != root.dev()
    }
}

fn is_reserved(found: &DirEntry) -> bool {
    found.depth() == 1 && RESERVED.contains(&found.file_name().as_bytes())
}

fn kind(path: &Path, kind: FileType) -> std::io::Result<Kind> {
    Ok(match kind {
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_file() => Kind::File,
        kind if kind.is_symlink() => Kind::Link(fs::read_link(path)?),
        _ => Kind::Special,
    })
}

type Attributes = ([Option<Vec<u8>>; 2], u64);

fn attributes(path: &Path) -> rustix::io::Result<Attributes> {
    let mut names = vec![0; 64 << 10];
    let len = match rustix::fs::llistxattr(path, &mut names[..]) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(([None, None], 0)),
        len => len?,
    };
    let names: Vec<&[u8]> = names[..len].split(|byte| *byte == 0).collect();
    let list = |name: &str| names.contains(&name.as_bytes()).then(|| attribute(path, name.as_ref())).transpose();
    let own = names.iter().filter(|name| name.starts_with(b"user.")).count();
    Ok(([list(ACCESS)?, list(DEFAULT)?], own as u64))
}

fn attribute(path: &Path, name: &OsStr) -> rustix::io::Result<Vec<u8>> {
    let mut value = vec![0; 64 << 10];
    let len = rustix::fs::lgetxattr(path, name, &mut value[..])?;
    value.truncate(len);
    Ok(value)
}

/// A path for messages.
pub(crate) fn shown(path: &Path) -> String {
    Shown(path.as_os_str().as_bytes()).to_string()
}
