//! What a transfer is asked to do: rsync's options as both ends understand them.

use crate::delta::digest::SumKind;
use crate::filter::Attributes;
use crate::wire::flist::ListOptions;
use crate::wire::handshake::{Compat, Compression};

/// When extraneous files are deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delete {
    /// Never.
    #[default]
    Never,
    /// Before anything is transferred.
    Before,
    /// In each directory before its files.
    During,
    /// Found like [`Delete::During`], removed at the end.
    Delay,
    /// After everything was transferred.
    After,
}

/// Which item lines are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Items {
    /// None: only what needs data is told to the sender.
    #[default]
    None,
    /// The same, but names of all that changes are shown.
    Names,
    /// And deletions are told one by one.
    Operations,
    /// Of everything that changes.
    Changes,
    /// Of everything.
    All,
}

/// What goes beyond rsync where both ends are ours and the whole volume of one of VolSync's movers is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beyond {
    /// The root's `lost+found` is left alone at both ends, attributes of users (`user.*`) travel without `-X`, and what
    /// cannot be set for want of privilege is summed up instead of failing.
    pub volume: bool,
    /// With it, also `security.capability`, which makes programs privileged.
    pub capabilities: bool,
    /// Directories in which something is deleted keep their times, in a session that copies none.
    pub directory_times: bool,
}

/// The filter rule that leaves `lost+found` alone.
pub const LEAVE_LOST_AND_FOUND: &[u8] = b"- /lost+found/";

/// Where the names of what is sent come from (`--files-from`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// From a file of the client that it reads itself: it sends.
    Here,
    /// From the client, to a server that sends.
    Client,
    /// From this file of the server, to whoever sends.
    There(String),
}

/// The options of a transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-r`
    pub recursive: bool,
    /// `-d`: directories without what they hold, but for that of those whose contents are named.
    pub dirs: bool,
    /// `--list-only`: the receiving side says what comes, and does nothing.
    pub list_only: bool,
    /// `-l`
    pub links: bool,
    /// `-p`
    pub perms: bool,
    /// `-t`
    pub times: bool,
    /// `-o`
    pub owner: bool,
    /// `-g`
    pub group: bool,
    /// `--devices`
    pub devices: bool,
    /// `--specials`
    pub specials: bool,
    /// `-A`
    pub acls: bool,
    /// `-X`
    pub xattrs: bool,
    /// `-H`
    pub hard_links: bool,
    /// `-S`
    pub sparse: bool,
    /// `-R`: paths are kept as they are named.
    pub relative: bool,
    /// `--no-implied-dirs`: the directories that lead to what is named are told, as to any receiver, but not touched.
    pub no_implied_dirs: bool,
    /// `--files-from`
    pub names: Option<Names>,
    /// `-C`: what CVS ignores takes no part.
    pub cvs_exclude: bool,
    /// `--from0`: in files, names and rules end with NUL.
    pub from0: bool,
    /// `-x`
    pub one_file_system: bool,
    /// `-c`
    pub checksum: bool,
    /// `-W`
    pub whole_file: bool,
    /// `--inplace`: files are written where they stand.
    pub inplace: bool,
    /// `-u`
    pub update: bool,
    /// `-I`
    pub ignore_times: bool,
    /// `--size-only`
    pub size_only: bool,
    /// `-O`
    pub omit_dir_times: bool,
    /// `-J`
    pub omit_link_times: bool,
    /// `--numeric-ids`
    pub numeric_ids: bool,
    /// `--delete` and its kin.
    pub delete: Delete,
    /// `--force`: directories with content make room for files.
    pub force: bool,
    /// `--delete-excluded`: what filter rules exclude is deleted too.
    pub delete_excluded: bool,
    /// `-n`: nothing is changed, only told.
    pub dry_run: bool,
    /// `--ignore-errors`: delete even after an error of the sender.
    pub ignore_errors: bool,
    /// `--max-delete`
    pub max_delete: Option<u64>,
    /// `--existing`
    pub existing: bool,
    /// `--ignore-existing`
    pub ignore_existing: bool,
    /// `--fsync`
    pub fsync: bool,
    /// `-z` or a choice of compression.
    pub compress: bool,
    /// `--compress-choice`, which is then not negotiated.
    pub compress_choice: Option<Compression>,
    /// `--compress-level`
    pub compress_level: Option<i32>,
    /// `--checksum-choice`, which is then not negotiated: for transfers and for `-c`.
    pub checksum_choice: Option<(SumKind, SumKind)>,
    /// `--checksum-seed`
    pub seed: Option<i32>,
    /// `-B`
    pub block_size: Option<u32>,
    /// `--partial`: a peer may keep half a file. We never do.
    pub partial: bool,
    /// `--timeout` in seconds, 0 for none.
    pub timeout: u64,
    /// `--bwlimit` in KiB a second, 0 for none. A receiving side does not keep to it, as in rsync.
    pub bwlimit: u64,
    /// Item lines.
    pub items: Items,
    /// `-v`, as often as given.
    pub verbose: u8,
    /// What filter rules say of extended attributes on this side.
    pub attribute_rules: Option<Attributes>,
    /// No option of rsync's: the two ends agree on it by themselves.
    pub beyond: Beyond,
}

impl Options {
    /// With what goes beyond them.
    #[must_use]
    pub fn going(self, beyond: Beyond) -> Self {
        Self { beyond, xattrs: self.xattrs || beyond.volume, ..self }
    }

    /// Whether an extended attribute is one that travels, to or from a `root`: access lists go their own way, and only
    /// root may set more than those of users. Of a volume the labels and signatures that the source's kernel keeps there
    /// (SELinux, IMA, EVM, `trusted.*`) mean nothing elsewhere.
    pub fn takes_xattr(&self, name: &[u8], root: bool) -> bool {
        let users = name.starts_with(b"user.") && !name.starts_with(b"user.rsync.%");
        match self.beyond {
            Beyond { volume: true, capabilities, .. } => {
                users || (capabilities && root && name == b"security.capability")
            }
            // Rules take the place of what is the rule.
            _ if let Some(rules) = &self.attribute_rules => {
                !(name.starts_with(b"system.") || name.starts_with(b"user.rsync.%") || rules.excludes(name))
            }
            _ if root => users || !(name.starts_with(b"user.") || name.starts_with(b"system.")),
            _ => users,
        }
    }

    /// Whether incremental recursion goes together with the options, on the receiving side or at a client.
    pub fn may_segment(&self) -> bool {
        self.recursive && !matches!(self.delete, Delete::Before | Delete::After)
    }

    /// What both sides know about the form of the file list. `digest` is the length of a digest of `--checksum`.
    pub fn list(&self, protocol: i32, compat: Compat, digest: usize) -> ListOptions {
        ListOptions {
            protocol,
            compat,
            owner: self.owner,
            group: self.group,
            devices: self.devices,
            specials: self.specials,
            links: self.links,
            hard_links: self.hard_links,
            acls: self.acls,
            xattrs: self.xattrs,
            numeric_ids: self.numeric_ids,
            checksum: self.checksum.then_some(digest),
        }
    }

    /// Whether a file is left alone because something `stands` there, or because nothing does; as in rsync it does not matter
    /// what stands there.
    pub fn passes_over(&self, stands: bool) -> bool {
        if stands { self.ignore_existing } else { self.existing }
    }

    /// Whether the receiving side tells numbers of deletions and hears filter rules.
    pub fn deletes(&self) -> bool {
        self.delete != Delete::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_travel_by_their_names() {
        let all = [
            "user.a",
            "user.rsync.%stat",
            "system.posix_acl_access",
            "security.capability",
            "security.selinux",
            "security.ima",
            "trusted.overlay.opaque",
        ];
        let taken = |volume, capabilities, root| {
            let options = Options::default().going(Beyond { volume, capabilities, ..Beyond::default() });
            all.into_iter().filter(|name| options.takes_xattr(name.as_bytes(), root)).collect::<Vec<_>>()
        };
        let stock = ["user.a", "security.capability", "security.selinux", "security.ima", "trusted.overlay.opaque"];
        assert_eq!((taken(false, false, true), taken(false, false, false)), (stock.to_vec(), vec!["user.a"]));
        for root in [true, false] {
            assert_eq!(taken(true, false, root), ["user.a"]);
        }
        assert_eq!(
            (taken(true, true, true), taken(true, true, false)),
            (vec!["user.a", "security.capability"], vec!["user.a"])
        );
    }
}
