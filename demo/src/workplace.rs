//! The directory that everything here is made in.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use volsync_common::report::units;
use walkdir::WalkDir;

/// A directory of its own below `TMPDIR`, removed at the end unless it is to be kept.
pub(crate) struct Workplace {
    dir: TempDir,
}

impl Workplace {
    pub(crate) fn new(keep: bool) -> anyhow::Result<Self> {
        let made = tempfile::Builder::new().prefix("volsync-demo-").disable_cleanup(keep).tempdir();
        Ok(Self { dir: made.context("making a directory for the demonstration (TMPDIR says where)")? })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new directory in it.
    pub(crate) fn directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path().join(name);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// Refuses what will not fit, before anything is written.
    pub(crate) fn must_have_room_for(&self, bytes: u64) -> anyhow::Result<()> {
        let stat = rustix::fs::statvfs(self.path()).context("looking for free space")?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let (need, have, place) = (units::bytes(bytes), units::bytes(free), self.path().display());
        ensure!(
            free >= bytes,
            "this takes {need} of space and {have} are free in {place}: set TMPDIR to a larger place"
        );
        Ok(())
    }
}

impl Drop for Workplace {
    /// Opens directories that a restore has closed, or they could not be removed.
    fn drop(&mut self) {
        let all = WalkDir::new(self.path()).into_iter().filter_map(Result::ok);
        for directory in all.filter(|entry| entry.file_type().is_dir()) {
            let _removal_tells = fs::set_permissions(directory.path(), Permissions::from_mode(0o700));
        }
    }
}
