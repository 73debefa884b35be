//! `--metadata`: mode, owner, times and user attributes of a file as metadata of its object (rclone `backend/local`,
//! "Metadata"; `docs/compat-rclone.md`, "Metadata").

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use jiff::Timestamp as Instant;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, StatxFlags, Uid, XattrFlags};
use rustix::io::Errno;
use volsync_common::path::RelPath;
use volsync_common::root::Root;
use volsync_common::time::Timestamp;
use volsync_common::walk::Stat;

use super::feed::link_path;
use super::item::{Item, ItemKind};
use super::run::Run;
use super::side::Local;

/// User metadata: names in lower case without `x-amz-meta-`.
pub(super) type Metadata = Vec<(String, Vec<u8>)>;

/// Attributes of a user's own, and the largest list of their names (Linux XATTR_LIST_MAX).
const USER: &[u8] = b"user.";
const LIST_MAX: usize = 64 * 1024;

/// Names that the store or rclone give a meaning of their own; never written back as attributes.
const SYSTEM: &[&str] = &[
    "mode",
    "uid",
    "gid",
    "rdev",
    "atime",
    "btime",
    "mtime",
    "md5chksum",
    "tier",
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
];

/// The metadata of a local file, empty without the flag.
pub(super) fn of_file(run: &Run, local: &Local, item: &Item) -> io::Result<Metadata> {
    if !run.context.options.metadata {
        return Ok(Vec::new());
    }
    if let Some(link) = link_path(&item.path).filter(|_| item.kind == ItemKind::Link) {
        return of_link(&local.root, &link);
    }
    let mut all = item.stat.as_deref().map(from_stat).unwrap_or_default();
    if item.kind == ItemKind::File {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = local.root.open_at(Some(&item.path), flags, Mode::empty())?;
        all.extend(birth(&file));
        all.extend(attributes(&file)?);
    }
    Ok(all)
}

/// Of the link itself, not of what it leads to.
fn of_link(root: &Root, path: &RelPath) -> io::Result<Metadata> {
    let mut all = from_stat(&root.stat(path)?);
    all.extend(birth(root.open_at(Some(path), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?));
    Ok(all)
}

fn birth(file: impl AsFd) -> Option<(String, Vec<u8>)> {
    born(file).map(|time| ("btime".to_owned(), time.into_bytes()))
}

/// When the file was made, where the file system knows.
fn born(file: impl AsFd) -> Option<String> {
    let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let time = Timestamp { secs: stat.stx_btime.tv_sec, nanos: stat.stx_btime.tv_nsec };
    rfc3339(time).filter(|_| stat.stx_mask & StatxFlags::BTIME.bits() != 0)
}

fn from_stat(stat: &Stat) -> Metadata {
    let text = |name: &str, value: String| (name.to_owned(), value.into_bytes());
    let mut all = vec![
        text("mode", format!("{:o}", stat.mode)),
        text("uid", stat.uid.to_string()),
        text("gid", stat.gid.to_string()),
    ];
    all.extend(rfc3339(stat.atime).map(|time| text("atime", time)));
    all
}

fn rfc3339(time: Timestamp) -> Option<String> {
    let nanos = i32::try_from(time.nanos).ok()?;
    Instant::new(time.secs, nanos).ok().map(|instant| instant.to_string())
}

/// The user's own attributes. Names are compared in lower case by stores, as rclone writes them.
fn attributes(file: impl AsFd + Copy) -> io::Result<Metadata> {
    let mut names = vec![0; LIST_MAX];
    let len = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let names = names.get(..len).unwrap_or_default().split(|b| *b == 0).filter(|name| name.starts_with(USER));
    let mut all = Vec::new();
    for name in names {
        let mut value = vec![0; LIST_MAX];
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Ok(len) => value.truncate(len),
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error.into()),
        }
        let name = String::from_utf8_lossy(&name[USER.len()..]).to_lowercase();
        all.push((name, value));
    }
    Ok(all)
}

/// Gives a file that has no name yet what its object's metadata says; the mode for its commit comes back. Ids that may not
/// be set fail, as in rclone; attributes that the file system does not keep are left out.
pub(super) fn apply(file: &File, metadata: &Metadata, special_bits: bool) -> io::Result<Option<u32>> {
    let number = |name: &str, radix| {
        let value = metadata.iter().find(|(n, _)| n == name)?.1.as_slice();
        u32::from_str_radix(std::str::from_utf8(value).ok()?, radix).ok()
    };
    if let (Some(uid), Some(gid)) = (number("uid", 10), number("gid", 10)) {
        rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    for (name, value) in metadata.iter().filter(|(name, _)| !SYSTEM.contains(&name.as_str())) {
        let mut full = [USER, name.as_bytes()].concat();
        full.push(0);
        let Ok(full) = CStr::from_bytes_with_nul(&full) else { continue };
        match rustix::fs::fsetxattr(file, full, value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mask = if special_bits { 0o7777 } else { 0o777 };
    Ok(number("mode", 8).map(|mode| mode & mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn a_link_has_its_own_owner_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let own = std::fs::symlink_metadata(dir.path().join("link")).unwrap();
        let root = Root::open(dir.path(), volsync_common::root::Strategy::Kernel).unwrap();
        let metadata = of_link(&root, &RelPath::new(*b"link").unwrap()).unwrap();
        for (name, value) in [("mode", "120777"), ("uid", &own.uid().to_string()), ("gid", &own.gid().to_string())] {
            assert!(metadata.contains(&(name.to_owned(), value.as_bytes().to_vec())), "{name}: {metadata:?}");
        }
    }

    #[test]
    fn what_is_read_is_applied() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, "x").unwrap();
        std::fs::set_permissions(&from, std::fs::Permissions::from_mode(0o4751)).unwrap();
        let root = Root::open(dir.path(), volsync_common::root::Strategy::Kernel).unwrap();
        let path = RelPath::new(*b"from").unwrap();
        let set = rustix::fs::setxattr(&from, c"user.Note", b"value", XattrFlags::empty());
        let stat = Stat::at(root.parent(&path).unwrap(), b"from").unwrap();
        let mut metadata = from_stat(&stat);
        metadata.extend(attributes(&File::open(&from).unwrap()).unwrap());
        assert!(metadata.contains(&("mode".to_owned(), b"104751".to_vec())));
        assert_eq!(metadata.iter().any(|(n, v)| n == "note" && v == b"value"), set.is_ok());
        let file = File::create(&to).unwrap();
        assert_eq!(apply(&file, &metadata, false).unwrap(), Some(0o751));
        assert_eq!(apply(&file, &metadata, true).unwrap(), Some(0o4751));
        assert_eq!(std::fs::metadata(&to).unwrap().uid(), stat.uid);
    }
}
