//! The two ways to do the same work.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A push or a pull of one volume.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    push: bool,
    volume: PathBuf,
    remote: String,
}

impl Work {
    pub(crate) fn push(volume: &Path, remote: &str) -> Work {
        Work { push: true, volume: volume.into(), remote: remote.into() }
    }

    pub(crate) fn pull(volume: &Path, remote: &str) -> Work {
        Work { push: false, volume: volume.into(), remote: remote.into() }
    }
}

/// A program under test.
pub(crate) struct Contestant {
    binary: PathBuf,
    config: PathBuf,
    /// The authority of a server that speaks HTTPS.
    ca: Option<PathBuf>,
    ours: bool,
}

impl Contestant {
    pub(crate) fn rclone(binary: &Path, config: &Path, ca: Option<PathBuf>) -> Contestant {
        Contestant { binary: binary.into(), config: config.into(), ca, ours: false }
    }

    pub(crate) fn ours(binary: &Path, config: &Path, ca: Option<PathBuf>) -> Contestant {
        Contestant { binary: binary.into(), config: config.into(), ca, ours: true }
    }

    /// Its name in rows.
    pub(crate) fn key(&self) -> &'static str {
        if self.ours { "ours" } else { "rclone" }
    }

    pub(crate) fn name(&self) -> &'static str {
        if self.ours { "mover-rclone" } else { "rclone" }
    }

    /// What is run, one after the other. `scratch` stands for the pod's `/tmp`.
    pub(crate) fn commands(&self, work: &Work, scratch: &Path) -> Vec<Command> {
        match (self.ours, work.push) {
            (true, _) => vec![self.mover(work, scratch)],
            (false, true) => self.push(work, scratch),
            (false, false) => self.pull(work, scratch),
        }
    }

    /// The environment of a VolSync mover pod.
    fn mover(&self, work: &Work, scratch: &Path) -> Command {
        let mut command = self.command(&self.binary);
        command.env("RCLONE_CONFIG_SECTION", "bench").env("RCLONE_DEST_PATH", &work.remote);
        command.env("DIRECTION", if work.push { "source" } else { "destination" });
        command.env("MOUNT_PATH", &work.volume).env("PRIVILEGED_MOVER", "1").env("TMPDIR", scratch);
        command
    }

    fn push(&self, work: &Work, scratch: &Path) -> Vec<Command> {
        let mut sync = self.flow("sync");
        sync.args(["--exclude", "lost+found/**"]).arg(&work.volume).arg(remote(work));
        vec![
            getfacl(&work.volume, scratch),
            sync,
            self.permissions(scratch.as_os_str(), remote(work).as_ref()),
            flush(work),
        ]
    }

    fn pull(&self, work: &Work, scratch: &Path) -> Vec<Command> {
        let mut sync = self.flow("sync");
        sync.args(["--exclude", "lost+found/**", "--exclude", "permissions.facl"]).arg(remote(work)).arg(&work.volume);
        let copy = self.permissions(remote(work).as_ref(), scratch.as_os_str());
        vec![sync, copy, setfacl(scratch), flush(work)]
    }

    fn permissions(&self, from: &std::ffi::OsStr, to: &std::ffi::OsStr) -> Command {
        let mut copy = self.flow("copy");
        copy.args(["--stats-one-line-date", "--include", "permissions.facl"]).arg(from).arg(to);
        copy
    }

    /// rclone with the flags that VolSync's script gives to every call.
    fn flow(&self, verb: &str) -> Command {
        let mut command = self.command(&self.binary);
        command.args([verb, "--one-file-system", "--create-empty-src-dirs", "--log-level", "DEBUG"]);
        command.env("RCLONE_TRANSFERS", "10").env("RCLONE_CHECKSUM", "1").env("RCLONE_STATS", "20s");
        command
    }

    fn command(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        command.env("RCLONE_CONFIG", &self.config);
        if let Some(ca) = &self.ca {
            command.env(if self.ours { "CUSTOM_CA" } else { "RCLONE_CA_CERT" }, ca);
        }
        command
    }
}

fn remote(work: &Work) -> String {
    format!("bench:{}", work.remote)
}

fn shell(script: &str, arguments: &[&Path]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash"]).args(arguments).current_dir("/");
    command
}

fn getfacl(volume: &Path, scratch: &Path) -> Command {
    let script =
        r#"set -e -o pipefail; find "$1" -path "$1/lost+found" -prune -o -print | getfacl -P - >"$2/permissions.facl""#;
    shell(script, &[volume, scratch])
}

/// The pulled file names the pushed volume; its entries are applied there, which costs the same.
fn setfacl(scratch: &Path) -> Command {
    shell(r#"setfacl --restore="$1/permissions.facl" || true"#, &[scratch])
}

fn flush(work: &Work) -> Command {
    shell(r#"sync -f "$1""#, &[&work.volume])
}
