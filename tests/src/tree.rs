//! What a directory holds, every entry and attribute, and how two of them differ.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileType};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use md5::{Digest, Md5};
use rustix::fs::{lgetxattr, llistxattr};
use volsync_common::path::Shown;
use walkdir::WalkDir;

/// Attributes beginning with this hold POSIX ACLs.
const ACL: &[u8] = b"system.posix_acl_";

/// All entries below a directory by their path as bytes; the directory itself is `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<Vec<u8>, Entry>);

/// One file, directory, symlink or special file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is, with its content.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// All extended attributes, POSIX ACLs among them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// MD5 of the content.
        md5: [u8; 16],
    },
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A fifo, socket or device.
    Special,
}

/// What a comparison leaves out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ignore {
    /// Owner and group.
    pub owners: bool,
    /// Permission bits and ACLs: a restore without `permissions.facl`.
    pub permissions: bool,
    /// Extended attributes other than ACLs.
    pub xattrs: bool,
    /// Modification times of directories.
    pub directory_times: bool,
    /// Modification times of files.
    pub file_times: bool,
    /// Symlinks, altogether.
    pub symlinks: bool,
    /// Fifos, sockets and devices, altogether.
    pub specials: bool,
    /// Directories below which no file lies, altogether.
    pub empty_directories: bool,
}

impl Ignore {
    /// What the format of the bucket cannot hold, so that neither rclone nor we can bring it back.
    pub const LOST_IN_BUCKET: Self = Self {
        owners: false,
        permissions: false,
        xattrs: true,
        directory_times: true,
        file_times: false,
        symlinks: true,
        specials: true,
        empty_directories: false,
    };

    /// Only names and bytes of files.
    pub const ALL_BUT_CONTENT: Self =
        Self { owners: true, permissions: true, file_times: true, empty_directories: true, ..Self::LOST_IN_BUCKET };
}

impl Tree {
    /// Reads everything below `dir`, without following links.
    pub fn of(dir: &Path) -> Self {
        let entries = WalkDir::new(dir).into_iter().map(|found| {
            let found = found.unwrap_or_else(|error| panic!("walking {}: {error}", dir.display()));
            let relative = found.path().strip_prefix(dir).unwrap().as_os_str().as_bytes();
            let name = if relative.is_empty() { b"." } else { relative };
            (name.to_vec(), entry(found.path()))
        });
        Self(entries.collect())
    }

    /// The paths for which `keep` is true.
    #[must_use]
    pub fn filter(mut self, keep: impl Fn(&[u8], &Entry) -> bool) -> Self {
        self.0.retain(|path, entry| keep(path, entry));
        self
    }

    /// Every difference as one line, `self` being what is wanted; empty when there is none.
    pub fn diff(&self, other: &Self, ignore: Ignore) -> Vec<String> {
        let (wanted, found) = (self.considered(ignore), other.considered(ignore));
        let missing = wanted.keys().filter(|path| !found.contains_key(*path));
        let surplus = found.keys().filter(|path| !wanted.contains_key(*path));
        let mut lines: Vec<_> = missing.map(|path| format!("missing: {}", Shown(path))).collect();
        lines.extend(surplus.map(|path| format!("surplus: {}", Shown(path))));
        for (path, entry) in &wanted {
            let Some(other) = found.get(path) else { continue };
            lines.extend(differences(entry, other, ignore).map(|line| format!("{}: {line}", Shown(path))));
        }
        lines
    }

    /// Panics with the differences, if there are any.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, ignore: Ignore) {
        let lines = self.diff(other, ignore);
        assert!(lines.is_empty(), "{} differences:\n{}", lines.len(), lines.join("\n"));
    }

    fn considered(&self, ignore: Ignore) -> BTreeMap<&[u8], &Entry> {
        let kept = self.0.iter().filter(|(path, entry)| match entry.kind {
            Kind::File { .. } => true,
            Kind::Directory => !ignore.empty_directories || self.holds_file(path),
            Kind::Symlink(_) => !ignore.symlinks,
            Kind::Special => !ignore.specials,
        });
        kept.map(|(path, entry)| (path.as_slice(), entry)).collect()
    }

    fn holds_file(&self, directory: &[u8]) -> bool {
        let prefix = [directory, b"/"].concat();
        directory == b"."
            || self
                .0
                .range(prefix.clone()..)
                .take_while(|(path, _)| path.starts_with(&prefix))
                .any(|(_, entry)| matches!(entry.kind, Kind::File { .. }))
    }
}

/// The regular files below `dir`.
pub fn files(dir: &Path) -> BTreeMap<Vec<u8>, Entry> {
    Tree::of(dir).filter(|_, entry| matches!(entry.kind, Kind::File { .. })).0
}

fn differences(wanted: &Entry, found: &Entry, ignore: Ignore) -> impl Iterator<Item = String> {
    let times = if wanted.kind == Kind::Directory { ignore.directory_times } else { ignore.file_times };
    // The mode of a link means nothing, and the format keeps its owner nowhere.
    let link = matches!(wanted.kind, Kind::Symlink(_));
    let fact = |ignored: bool, name: &str, wanted: String, found: String| {
        (!ignored && wanted != found).then(|| format!("{name} is {found}, not {wanted}"))
    };
    let octal = |mode: u32| format!("{mode:04o}");
    [
        fact(false, "content", format!("{:?}", wanted.kind), format!("{:?}", found.kind)),
        fact(ignore.permissions || link, "mode", octal(wanted.mode), octal(found.mode)),
        fact(ignore.owners || link, "owner", format!("{:?}", wanted.owner), format!("{:?}", found.owner)),
        fact(times, "mtime", format!("{:?}", wanted.mtime), format!("{:?}", found.mtime)),
        fact(ignore.permissions, "ACL", attributes(wanted, true), attributes(found, true)),
        fact(ignore.xattrs, "xattrs", attributes(wanted, false), attributes(found, false)),
    ]
    .into_iter()
    .flatten()
}

fn attributes(entry: &Entry, acl: bool) -> String {
    let wanted = entry.xattrs.iter().filter(|(name, _)| name.starts_with(ACL) == acl);
    let shown: Vec<_> = wanted.map(|(name, value)| format!("{}={}", Shown(name), Shown(value))).collect();
    shown.join(" ")
}

fn entry(path: &Path) -> Entry {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Entry {
        kind: kind(path, meta.file_type()),
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        xattrs: xattrs(path),
    }
}

fn kind(path: &Path, kind: FileType) -> Kind {
    if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(path).unwrap().into_os_string().into_vec())
    } else if kind.is_file() {
        content(path)
    } else {
        assert!(kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device());
        Kind::Special
    }
}

fn content(path: &Path) -> Kind {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut hash, mut size, mut buffer) = (Md5::new(), 0, vec![0; 1 << 16]);
    loop {
        let length = file.read(&mut buffer).unwrap();
        if length == 0 {
            return Kind::File { size, md5: hash.finalize().into() };
        }
        hash.update(&buffer[..length]);
        size += length as u64;
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let length = match llistxattr(path, &mut list[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        answer => answer.unwrap_or_else(|error| panic!("attributes of {}: {error}", path.display())),
    };
    let names = list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names.map(|name| (name.to_vec(), xattr(path, name))).collect()
}

fn xattr(path: &Path, name: &[u8]) -> Vec<u8> {
    let mut value = vec![0; 1 << 16];
    let length = lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
    value.truncate(length);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume;
    use tempfile::TempDir;

    #[test]
    fn every_change_is_one_line() {
        let changes: &[(&str, &str)] = &[
            ("chmod 600 $f", "a/f: mode is 0600, not 0644"),
            ("touch -d @1.000000001 $f", "a/f: mtime is (1, 1), not"),
            ("printf x >> $f; touch -d @5 $f", "a/f: content is File { size: 2"),
            ("setfacl -m u:77:r $f", "a/f: ACL is system.posix_acl_access="),
            ("setfattr -n user.k -v v $f", "a/f: xattrs is user.k=v"),
            ("rm $f", "missing: a/f"),
            ("mkdir $f'\n'", "surplus: a/f\\n"),
            ("rm $f; ln -s t $f; touch -h -d @5 $f", "a/f: content is Symlink"),
        ];
        for (change, expected) in changes {
            let dir = TempDir::new().unwrap();
            volume::shell(dir.path(), "umask 022; mkdir a; printf y > a/f; touch -d @5 a/f; touch -d @5 a .");
            let before = Tree::of(dir.path());
            assert_eq!(before.diff(&Tree::of(dir.path()), Ignore::default()), Vec::<String>::new());
            volume::shell(dir.path(), &format!("f=a/f; {change}; touch -d @5 a ."));
            let lines = before.diff(&Tree::of(dir.path()), Ignore::default());
            assert!(lines.iter().any(|line| line.starts_with(expected)), "{change}: {lines:?}");
        }
    }

    #[test]
    fn ignored_kinds_are_left_out() {
        let (full, bare) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        volume::shell(full.path(), "mkdir -p d/empty; ln -s x d/link; mkfifo d/pipe; chown 5:6 .");
        let ignore = Ignore { specials: true, symlinks: true, ..Ignore::ALL_BUT_CONTENT };
        Tree::of(full.path()).assert_same(&Tree::of(bare.path()), ignore);
    }
}
