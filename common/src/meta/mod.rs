//! Mode, owner and access control lists.

pub mod acl;
mod apply;
pub mod facl;
mod inode;
mod list_at;

pub use acl::Acl;
pub use apply::{ApplyOptions, ApplyOutcome, apply};
pub use inode::{Acls, Inode};
pub(crate) use list_at::list_at;

use std::io;

use crate::path::RelPath;
use crate::root::Root;
use crate::walk::Stat;

/// Attributes and access lists of the regular file or directory at `path` (`None`: the root itself). `None` for
/// anything else, and for what is gone: such things have no record in permissions.facl.
pub fn read(root: &Root, path: Option<&RelPath>) -> io::Result<Option<(Stat, Acls)>> {
    match Inode::open(root, path) {
        Ok(Some(inode)) => Ok(Some((*inode.stat(), inode.acls()?))),
        Ok(None) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
