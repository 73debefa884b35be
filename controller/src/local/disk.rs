//! Volumes, snapshots and statuses as files.

use super::{Failure, documents::is_name, kinds::Local};
use crate::api::{GROUP, VERSION};
use serde_json::{Value, json};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// A directory with everything in it.
#[derive(Clone, Debug)]
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn new(directory: &Path) -> Result<Self, Failure> {
        for part in ["volumes", "snapshots", "status", "logs"] {
            let path = directory.join(part);
            fs::create_dir_all(&path).map_err(Failure::io(&path))?;
        }
        let whole = fs::canonicalize(directory).map_err(Failure::io(directory))?;
        Ok(Self(whole))
    }

    /// The volume of a claim, which must be there.
    pub(super) fn volume(&self, claim: &str) -> Result<PathBuf, String> {
        let path = self.path("volumes", claim)?;
        if path.is_dir() { Ok(path) } else { Err(format!("there is no directory {}", path.display())) }
    }

    /// The volume of a claim, made if it is missing.
    pub(super) fn made_volume(&self, claim: &str) -> Result<PathBuf, String> {
        let path = self.path("volumes", claim)?;
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// A copy of a volume: shares what it can where the file system knows how to, and has blocks of its own otherwise. One
    /// that is there already is complete, and taken.
    pub(super) async fn snapshot(&self, volume: &Path, name: &str) -> Result<PathBuf, String> {
        let (path, part) = (self.path("snapshots", name)?, self.0.join("snapshots").join(format!(".{name}")));
        if path.exists() {
            return Ok(path);
        }
        remove(&part)?;
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--no-target-directory", "--reflink=auto", "--"]).arg(volume.join(".")).arg(&part);
        let output = copy.kill_on_drop(true).stdin(Stdio::null()).output().await;
        let output = output.map_err(|error| format!("cp cannot be started: {error}"))?;
        if !output.status.success() {
            return Err(format!("no snapshot: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        fs::rename(&part, &path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    pub(super) fn remove_snapshot(&self, name: &str) -> Result<(), String> {
        remove(&self.path("snapshots", name)?)
    }

    pub(super) fn remove_volume(&self, claim: &str) -> Result<(), String> {
        remove(&self.path("volumes", claim)?)
    }

    /// Names of all snapshots.
    pub(super) fn snapshots(&self) -> Result<Vec<String>, String> {
        let path = self.0.join("snapshots");
        let names = fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }

    /// A file of this name, for what a mover says or needs.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(name)
    }

    /// The status that was written last.
    pub(super) fn status<K: Local>(&self, name: &str) -> Result<Option<K::Status>, Failure> {
        let path = self.status_path::<K>(name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Failure::io(&path))?,
        };
        let unreadable = |error: String| Failure::Io(path.display().to_string(), std::io::Error::other(error));
        let mut document: Value = serde_saphyr::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_value(document["status"].take()).map(Some).map_err(|error| unreadable(error.to_string()))
    }

    /// Writes a status, whole or not at all.
    pub(super) fn write<K: Local>(&self, name: &str, status: &K::Status) -> Result<(), Failure> {
        let path = self.status_path::<K>(name);
        let document = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": K::KIND, "metadata": { "name": name }, "status": status,
        });
        let other = |error: String| Failure::Io(path.display().to_string(), std::io::Error::other(error));
        let text = serde_saphyr::to_string(&document).map_err(|error| other(error.to_string()))?;
        let part = path.with_extension("part");
        fs::write(&part, text).and_then(|()| fs::rename(&part, &path)).map_err(Failure::io(&path))
    }

    fn status_path<K: Local>(&self, name: &str) -> PathBuf {
        self.0.join("status").join(format!("{}-{name}.yaml", K::KIND))
    }

    /// Names come from files of users: none of them leads out of its directory.
    fn path(&self, part: &str, name: &str) -> Result<PathBuf, String> {
        if is_name(name) { Ok(self.0.join(part).join(name)) } else { Err(format!("{name:?} is no name")) }
    }
}

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    }
}
