//! File systems of a test's own: XFS and ext4 on a loop device, and tmpfs. Needs root.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::peers;
use crate::process::run;

/// A mounted file system, empty at first; unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    dir: TempDir,
}

impl Mounted {
    /// XFS with reflinks. `mkfs.xfs` refuses less than 300 MiB; the image is sparse.
    pub fn xfs() -> Self {
        Self::on_loop("xfs", 320 << 20)
    }

    /// ext4 of `bytes`, for example small enough to fill.
    pub fn ext4(bytes: u64) -> Self {
        Self::on_loop("ext4", bytes)
    }

    /// tmpfs of `bytes`.
    pub fn tmpfs(bytes: u64) -> Self {
        let this = Self { dir: TempDir::with_prefix("tmpfs-").unwrap() };
        let options = format!("mode=755,size={bytes}");
        run(Command::new(peers::tool("mount")).args(["-t", "tmpfs", "-o", &options, "volsync"]).arg(this.path()))
            .success();
        this
    }

    /// What the file `image` holds, for example a copy of a device taken in the middle of a restore.
    pub fn image(image: &Path) -> Self {
        let this = Self { dir: TempDir::with_prefix("mounted-").unwrap() };
        mount_image(image, this.path());
        this
    }

    /// Takes away the right to write to it.
    pub fn make_read_only(&self) {
        run(Command::new(peers::tool("mount")).args(["-o", "remount,ro"]).arg(self.path())).success();
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn on_loop(kind: &str, bytes: u64) -> Self {
        // The mount keeps the unlinked image alive.
        let images = TempDir::with_prefix("image-").unwrap();
        let image = images.path().join(kind);
        File::create(&image).unwrap().set_len(bytes).unwrap();
        format(kind, &image);
        Self::image(&image)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a process that a failed test left behind must not keep the mount for ever.
        let _ended = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
    }
}

/// Makes a file system in the file `image`.
pub fn format(kind: &str, image: &Path) {
    run(Command::new(peers::tool(&format!("mkfs.{kind}"))).arg("-q").arg(image)).success();
}

fn mount_image(image: &Path, dir: &Path) {
    run(Command::new(peers::tool("mount")).args(["-o", "loop"]).arg(image).arg(dir)).success();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_what_it_says() {
        for (mounted, kind) in
            [(Mounted::xfs(), "xfs"), (Mounted::ext4(16 << 20), "ext2/ext3"), (Mounted::tmpfs(1 << 20), "tmpfs")]
        {
            let said = run(Command::new("stat").args(["-f", "-c", "%T"]).arg(mounted.path())).success().text();
            assert_eq!(said.trim_end(), kind);
        }
    }

    #[test]
    fn a_dropped_one_is_unmounted() {
        let mounted = Mounted::tmpfs(1 << 20);
        let path = mounted.path().to_owned();
        drop(mounted);
        assert!(!path.exists());
    }
}
