//! What a run does to one entry, and the words for it: rclone's in the log, short ones in machine events.

/// Something that is done at the destination, or with `--dry-run` would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A file that was not there is written.
    Copy,
    /// A file that was there is written anew.
    Replace,
    /// Only the modification time of a file is set.
    UpdateModTime,
    /// A file is deleted.
    Delete,
    /// A directory is made.
    MakeDirectory,
    /// A directory is removed.
    RemoveDirectory,
    /// The modification time of a directory is set.
    SetDirectoryModTime,
}

/// Why an entry of the source takes no part or stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Skip {
    /// Both sides are equal.
    Unchanged,
    /// `--ignore-existing`.
    Exists,
    /// `--update`.
    DestinationNewer,
    /// A symbolic link, without `--links` or `--copy-links`.
    Symlink,
    /// A socket, pipe or device.
    Special,
}

/// Words for one action.
pub(super) struct Words {
    /// rclone's message at INFO.
    pub(super) done: &'static str,
    /// What `--dry-run` skips, in rclone's words.
    pub(super) skipped: &'static str,
    /// The `action` of a machine event.
    pub(super) event: &'static str,
    /// Whether it has a size.
    pub(super) sized: bool,
}

impl Action {
    pub(super) fn words(self) -> Words {
        let (done, skipped, event, sized) = match self {
            Self::Copy => ("Copied (new)", "copy", "copied", true),
            Self::Replace => ("Copied (replaced existing)", "copy", "replaced", true),
            Self::UpdateModTime => {
                ("Updated modification time in destination", "update modification time", "updated", true)
            }
            Self::Delete => ("Deleted", "delete", "deleted", true),
            Self::MakeDirectory => ("Making directory", "make directory", "directory-made", false),
            Self::RemoveDirectory => ("Removing directory", "remove directory", "directory-removed", false),
            Self::SetDirectoryModTime => (
                "Set directory modification time (using DirSetModTime)",
                "set directory modification time",
                "directory-updated",
                false,
            ),
        };
        Words { done, skipped, event, sized }
    }
}

impl Skip {
    /// rclone's message.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Unchanged => "Unchanged skipping",
            Self::Exists => "Destination exists, skipping",
            Self::DestinationNewer => "Destination is newer than source, skipping",
            Self::Symlink => "Can't follow symlink without -L/--copy-links",
            Self::Special => "Can't transfer non file/directory",
        }
    }

    /// The `reason` of a machine event.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Exists => "exists",
            Self::DestinationNewer => "destination-newer",
            Self::Symlink => "symlink",
            Self::Special => "special",
        }
    }

    /// Whether something of the source is missing at the destination: that is a NOTICE and a machine event. What is up to
    /// date is only counted.
    pub(super) fn leaves_out(self) -> bool {
        matches!(self, Self::Symlink | Self::Special)
    }
}
