//! File systems of a test's own: XFS and ext4 on a loop device, tmpfs, ramfs, overlayfs. Needs root.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::{NamedTempFile, TempDir};

use crate::peers;
use crate::process::run;

/// A mounted file system, empty at first; unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    dir: TempDir,
    /// What holds its layers; unmounted after it.
    below: Option<Box<Mounted>>,
}

impl Mounted {
    /// XFS with reflinks. `mkfs.xfs` refuses less than 300 MiB; the image is sparse.
    pub fn xfs() -> Self {
        Self::on_loop("xfs", 320 << 20, &[])
    }

    /// ext4 of `bytes`, for example small enough to fill.
    pub fn ext4(bytes: u64) -> Self {
        Self::on_loop("ext4", bytes, &[])
    }

    /// ext4 as old tools made it on small volumes: times have whole seconds and end in 2038.
    pub fn ext4_of_old(bytes: u64) -> Self {
        Self::on_loop("ext4", bytes, &["-I", "128", "-O", "^metadata_csum"])
    }

    /// tmpfs of `bytes`.
    pub fn tmpfs(bytes: u64) -> Self {
        Self::nodev("tmpfs", &format!("mode=755,size={bytes}"))
    }

    /// ramfs: no access lists, no extended attributes, no holes to punch, no limit.
    pub fn ramfs() -> Self {
        Self::nodev("ramfs", "mode=755")
    }

    /// overlayfs over a tmpfs of `bytes`, as a container's own files are.
    pub fn overlay(bytes: u64) -> Self {
        let below = Self::tmpfs(bytes);
        for layer in ["lower", "upper", "work"] {
            fs::create_dir(below.path().join(layer)).unwrap();
        }
        let layer = |name| below.path().join(name).display().to_string();
        let layers = format!("lowerdir={},upperdir={},workdir={}", layer("lower"), layer("upper"), layer("work"));
        let mut over = Self::nodev("overlay", &layers);
        over.below = Some(Box::new(below));
        over
    }

    /// What the file `image` holds, for example a copy of a device taken in the middle of a restore.
    pub fn image(image: &Path) -> Self {
        let this = Self::at("mounted");
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

    fn nodev(kind: &str, options: &str) -> Self {
        let this = Self::at(kind);
        run(Command::new(peers::tool("mount")).args(["-t", kind, "-o", options, "volsync"]).arg(this.path())).success();
        this
    }

    fn at(kind: &str) -> Self {
        Self { dir: TempDir::with_prefix(format!("{kind}-")).unwrap(), below: None }
    }

    fn on_loop(kind: &str, bytes: u64, options: &[&str]) -> Self {
        // The mount keeps the unlinked image alive.
        let images = TempDir::with_prefix("image-").unwrap();
        let image = images.path().join(kind);
        File::create(&image).unwrap().set_len(bytes).unwrap();
        format_with(kind, &image, options);
        Self::image(&image)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a process that a failed test left behind must not keep the mount for ever.
        let _ended = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
    }
}

/// A block device over a file of its own; detached when dropped.
#[derive(Debug)]
pub struct Loop {
    image: NamedTempFile,
    device: PathBuf,
}

impl Loop {
    /// One that holds `content`.
    pub fn of(content: &[u8]) -> Self {
        let image = NamedTempFile::with_prefix("image-").unwrap();
        fs::write(image.path(), content).unwrap();
        let mut losetup = Command::new(peers::tool("losetup"));
        let said = run(losetup.args(["--find", "--show"]).arg(image.path())).success();
        Self { device: String::from_utf8(said.stdout).unwrap().trim_end().into(), image }
    }

    /// Its name below `/dev`.
    pub fn path(&self) -> &Path {
        &self.device
    }

    /// What it holds now.
    pub fn content(&self) -> Vec<u8> {
        fs::read(&self.device).unwrap()
    }

    /// How many bytes its content takes on the disk.
    pub fn taken(&self) -> u64 {
        File::open(&self.device).unwrap().sync_all().unwrap();
        fs::metadata(self.image.path()).unwrap().blocks() * 512
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ended = Command::new(peers::tool("losetup")).arg("--detach").arg(&self.device).status();
    }
}

/// Makes a file system in the file `image`.
pub fn format(kind: &str, image: &Path) {
    format_with(kind, image, &[]);
}

fn format_with(kind: &str, image: &Path, options: &[&str]) {
    run(Command::new(peers::tool(&format!("mkfs.{kind}"))).arg("-q").args(options).arg(image)).success();
}

fn mount_image(image: &Path, dir: &Path) {
    run(Command::new(peers::tool("mount")).args(["-o", "loop"]).arg(image).arg(dir)).success();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_what_it_says() {
        for (mounted, kind) in [
            (Mounted::xfs(), "xfs"),
            (Mounted::ext4(16 << 20), "ext2/ext3"),
            (Mounted::ext4_of_old(16 << 20), "ext2/ext3"),
            (Mounted::tmpfs(1 << 20), "tmpfs"),
            (Mounted::ramfs(), "ramfs"),
            (Mounted::overlay(1 << 20), "overlayfs"),
        ] {
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
