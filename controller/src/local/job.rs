//! A mover as a child process.

use super::{disk::Disk, documents::Documents};
use crate::{
    api::{MoverResult, MoverStatus},
    machine::{
        Method,
        logs::{self, LIMIT, Outcome},
    },
    objects::{
        names::Direction,
        rclone::{CONFIG_KEY, Remote},
        volumes::CaSource,
    },
};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// How much of the end of a log is read.
const TAIL: u64 = 1 << 20;

/// Starts movers.
#[derive(Debug)]
pub(super) struct Movers {
    program: PathBuf,
    disk: Disk,
}

/// One end of a transfer.
pub(super) struct Transfer<'a> {
    /// Of the log.
    pub(super) name: String,
    pub(super) direction: Direction,
    pub(super) volume: &'a Path,
    pub(super) remote: Remote<'a>,
}

impl Movers {
    pub(super) fn new(program: &Path, disk: &Disk) -> Self {
        Self { program: program.to_owned(), disk: disk.clone() }
    }

    /// Moves data, and says what is kept of that. Errors are about what keeps a mover from being started.
    pub(super) async fn run(&self, transfer: &Transfer<'_>, documents: &Documents) -> Result<MoverStatus, String> {
        let secret = documents.secret(transfer.remote.secret)?;
        let config = secret.get(CONFIG_KEY).ok_or_else(|| format!("secret should have fields: [{CONFIG_KEY}]"))?;
        let log = self.disk.log(&format!("{}.log", transfer.name));
        let (said, heard) = begin(&log)?;
        let config = Hidden::write(self.disk.log(&format!("{}.conf", transfer.name)), config)?;
        let authority = match authority(&transfer.remote, documents)? {
            Some(content) => Some(Hidden::write(self.disk.log(&format!("{}.ca", transfer.name)), &content)?),
            None => None,
        };
        let mut command = Command::new(&self.program);
        // What a Job has: keys of the secret win over what VolSync sets, and nothing comes from elsewhere.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RCLONE_")) {
            command.env_remove(name);
        }
        command.env("RCLONE_CHECKSUM", "1").env("RCLONE_CONFIG", &config.0);
        for (name, value) in secret.iter().filter(|(name, _)| name.starts_with("RCLONE_")) {
            command.env(name, String::from_utf8_lossy(value).trim_end_matches(['\r', '\n']));
        }
        if let Some(file) = &authority {
            command.env("RCLONE_CA_CERT", &file.0);
        }
        command.args(arguments(transfer)).stdin(Stdio::null()).stdout(said).stderr(heard);
        let status = command.kill_on_drop(true).status().await;
        let status = status.map_err(|error| format!("{} cannot be started: {error}", self.program.display()))?;
        let (result, outcome) = if status.success() {
            (MoverResult::Successful, Outcome::Success)
        } else {
            (MoverResult::Failed, Outcome::Failure)
        };
        let kept = logs::excerpt(&tail(&log), logs::lines(Method::Rclone, outcome, false), LIMIT);
        Ok(MoverStatus { result: Some(result), logs: kept, ..MoverStatus::default() })
    }
}

/// Empties a log, and gives it twice. It is locked for as long as anybody writes to it: of a controller that was killed the
/// mover goes on, and another must not work beside it.
fn begin(log: &Path) -> Result<(File, File), String> {
    let text = |error: std::io::Error| format!("{}: {error}", log.display());
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(log).map_err(text)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(format!("a mover that was started before still writes {}", log.display()));
        }
        Err(TryLockError::Error(error)) => return Err(text(error)),
    }
    file.set_len(0).map_err(text)?;
    let second = file.try_clone().map_err(text)?;
    Ok((file, second))
}

fn arguments(transfer: &Transfer<'_>) -> Vec<OsString> {
    let Transfer { direction, volume, remote, .. } = transfer;
    let remote = OsString::from(format!("{}:{}", remote.section, remote.path));
    let (command, from, to) = match direction {
        Direction::Source => ("push", volume.as_os_str().to_owned(), remote),
        Direction::Destination => ("pull", remote, volume.as_os_str().to_owned()),
    };
    // The statistics are what a status is about: whatever level is set, they are told.
    vec![command.into(), "--stats-log-level=ERROR".into(), "--".into(), from, to]
}

fn authority(remote: &Remote<'_>, documents: &Documents) -> Result<Option<Vec<u8>>, String> {
    match remote.custom_ca {
        None => Ok(None),
        Some((CaSource::ConfigMap(name), key)) => documents.config_map(name, key).map(Some),
        Some((CaSource::Secret(name), key)) => {
            let value = documents.secret(name)?.remove(key);
            value.map(Some).ok_or_else(|| format!("secret {name} has no {key}"))
        }
    }
}

/// A file that nobody else may read, and that goes with its value.
struct Hidden(PathBuf);

impl Hidden {
    fn write(path: PathBuf, content: &[u8]) -> Result<Self, String> {
        let told = path.display().to_string();
        let _left_behind = fs::remove_file(&path);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = Self(path);
        opened.and_then(|mut file| file.write_all(content)).map_err(|error| format!("{told}: {error}"))?;
        Ok(file)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

/// The end of a log. What cannot be read is nothing.
fn tail(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        std::io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}
