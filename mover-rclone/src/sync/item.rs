//! What both sides of a sync are made of.

use volsync_common::path::RelPath;
use volsync_common::time::Timestamp;
use volsync_common::walk::Stat;

use crate::store::Md5;

/// The ending of objects that keep a symbolic link (`--links`, rclone `backend/local`).
pub(super) const LINK_SUFFIX: &[u8] = b".rclonelink";

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemKind {
    /// Content under a name.
    File,
    /// A symbolic link of a local side, told as a file that holds its target, under its name and [`LINK_SUFFIX`].
    Link,
    /// A directory of a local side.
    Directory,
    /// A temporary file that a killed run left on a local destination.
    Leftover,
}

/// One entry of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) path: RelPath,
    pub(super) kind: ItemKind,
    /// Bytes of content.
    pub(super) size: u64,
    /// The modification time, where it is known without a request.
    pub(super) mtime: Option<Timestamp>,
    /// MD5 of the content, where it is known without reading it.
    pub(super) md5: Option<Md5>,
    /// Attributes on a local side.
    pub(super) stat: Option<Box<Stat>>,
}

/// The next thing that a side tells.
#[derive(Debug)]
pub(super) enum Seen {
    /// An entry.
    Item(Item),
    /// Nothing is known of what is at or below this path.
    Failed {
        /// Below the root; empty for the root itself.
        path: Vec<u8>,
        /// Why, safe to print.
        reason: String,
    },
}

impl Item {
    /// Whether it has content that a destination keeps.
    pub(super) fn is_content(&self) -> bool {
        matches!(self.kind, ItemKind::File | ItemKind::Link)
    }

    /// Compares in the order of a walk: a directory stands where its contents begin.
    pub(super) fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(other.key())
    }

    fn key(&self) -> impl Iterator<Item = u8> + '_ {
        let slash = (self.kind == ItemKind::Directory).then_some(b'/');
        self.path.iter().copied().chain(slash)
    }
}
