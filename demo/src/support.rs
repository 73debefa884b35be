//! What this user may do and this file system keeps: a restore can only bring back that much.

use std::path::Path;

use anyhow::Context as _;
use rustix::fs::XattrFlags;
use volsync_common::meta::Acl;
use volsync_common::meta::acl::{AclBuilder, Entry};

/// The kernel's names of access lists.
pub(crate) const ACCESS: &str = "system.posix_acl_access";
pub(crate) const DEFAULT: &str = "system.posix_acl_default";

/// Found out by trying.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Support {
    /// Files can be given to other users.
    pub(crate) owners: bool,
    /// Access lists are kept.
    pub(crate) access_lists: bool,
    /// Attributes of a user's own are kept.
    pub(crate) attributes: bool,
}

impl Support {
    /// Of the file system that `dir` is on.
    pub(crate) fn of(dir: &Path) -> anyhow::Result<Self> {
        let probe = tempfile::NamedTempFile::new_in(dir).context("writing to the directory of the demonstration")?;
        let path = probe.path();
        Ok(Self {
            access_lists: set(path, ACCESS, &list(&[]).to_xattr()).is_ok(),
            attributes: set(path, "user.volsync-demo", b"").is_ok(),
            owners: std::os::unix::fs::chown(path, Some(1), Some(1)).is_ok(),
        })
    }
}

/// An access list with these entries beside `rw-r-----`.
pub(crate) fn list(entries: &[(Entry, u8)]) -> Acl {
    let mut list = AclBuilder::default();
    for (entry, permissions) in entries.iter().chain(&[(Entry::User(1234), 4)]) {
        list.set(*entry, *permissions);
    }
    let base = Acl::from_mode(0o640);
    list.complete(Some(&base)).unwrap_or(base)
}

/// Sets an extended attribute.
pub(crate) fn set(path: &Path, name: &str, value: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty())
}
