//! The programs that the tests run beside ours, where `tests/peers/install` put them.
//!
//! A missing program is a panic that names it and the command that brings it: a test never skips itself.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What `tests/peers/install` reads too: one `NAME VERSION` a line.
const PINS: &str = include_str!("../peers/pins");

/// Directories that a user's `PATH` may lack and that hold `sshd`, `mkfs.xfs` and `losetup`.
const SYSTEM_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The real rclone of the pinned version.
pub fn rclone() -> PathBuf {
    pinned("rclone")
}

/// rsync 3.2.7, older than the one of the system.
pub fn old_rsync() -> PathBuf {
    pinned("rsync")
}

/// The MinIO server built from `tests/peers/minio`.
pub fn minio() -> PathBuf {
    pinned("minio")
}

/// The real diskrsync, built from `tests/peers/diskrsync`.
pub fn diskrsync() -> PathBuf {
    pinned("diskrsync")
}

/// Helm, built from `tests/peers/helm`.
pub fn helm() -> PathBuf {
    pinned("helm")
}

/// Upstream's operator, built from `tests/peers/volsync`.
pub fn upstream() -> PathBuf {
    pinned("volsync")
}

/// Upstream's plug-in for kubectl, built from `tests/peers/volsync`.
pub fn kubectl_plugin() -> PathBuf {
    pinned("kubectl-volsync")
}

/// Upstream's chart.
pub fn upstream_chart() -> PathBuf {
    home(&cache(), "volsync").join("chart")
}

/// kubectl of the cluster that `tests/cluster/build` has built.
pub fn kubectl() -> PathBuf {
    let file = cache().join("cluster/current/kubectl");
    assert!(file.is_file(), "{} does not exist: run tests/run", file.display());
    file
}

/// A program of the system, for example `getfacl`, searched in `PATH` and in the system directories.
pub fn tool(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = SYSTEM_DIRS.iter().map(PathBuf::from);
    let found = env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: run tests/run"))
}

fn pinned(name: &str) -> PathBuf {
    let file = home(&cache(), name).join("bin").join(name);
    assert!(file.is_file(), "{} does not exist: run tests/run", file.display());
    file
}

fn home(cache: &Path, name: &str) -> PathBuf {
    cache.join("peers").join(format!("{name}-{}", version(PINS, name)))
}

/// `$VOLSYNC_RS_CACHE`, else `~/.cache/volsync-rs`.
fn cache() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| value != OsStr::new("")).map(PathBuf::from);
    set("VOLSYNC_RS_CACHE")
        .or_else(|| set("HOME").map(|home| home.join(".cache/volsync-rs")))
        .unwrap_or_else(|| panic!("neither VOLSYNC_RS_CACHE nor HOME is set"))
}

fn version<'a>(pins: &'a str, name: &str) -> &'a str {
    pins.lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(pinned, version)| (pinned == name).then_some(version))
        .unwrap_or_else(|| panic!("tests/peers/pins does not pin {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_names_its_directory() {
        assert_eq!(version("# a comment\ngo 1.2\nrclone 3.4\n", "rclone"), "3.4");
        assert!(home(Path::new("/c"), "rclone").starts_with("/c/peers"));
    }

    #[test]
    fn the_real_rclone_is_the_pinned_one() {
        let out = std::process::Command::new(rclone()).arg("version").output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert_eq!(text.lines().next(), Some(format!("rclone v{}", version(PINS, "rclone")).as_str()));
    }

    #[test]
    fn tools_outside_of_path_are_found() {
        assert!(tool("sshd").is_file());
    }
}
