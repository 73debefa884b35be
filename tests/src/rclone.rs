//! The real rclone, with nothing of the developer's own configuration.

use std::ffi::OsStr;
use std::process::Command;

use serde_json::Value;
use tempfile::{TempDir, TempPath};

use crate::peers;
use crate::process::{self, Outcome};
use crate::servers::{self, S3Endpoint};

/// rclone with one `rclone.conf` and an empty home.
#[derive(Debug)]
pub struct Rclone {
    home: TempDir,
    conf: TempPath,
    env: Vec<(String, String)>,
}

/// What a run of rclone counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Files whose content went over the wire.
    pub transfers: u64,
    /// Files compared.
    pub checks: u64,
    /// Files deleted at the destination.
    pub deletes: u64,
    /// Errors.
    pub errors: u64,
}

impl Rclone {
    /// With `endpoint` as remote [`servers::SECTION`].
    pub fn new(endpoint: &dyn S3Endpoint, provider: &str) -> Self {
        let this = Self::with_conf(servers::rclone_conf(endpoint, provider));
        match endpoint.ca() {
            Some(ca) => this.env("RCLONE_CA_CERT", &ca.to_string_lossy()),
            None => this,
        }
    }

    /// With any `rclone.conf`.
    pub fn with_conf(conf: TempPath) -> Self {
        Self { home: TempDir::with_prefix("rclone-home-").unwrap(), conf, env: Vec::new() }
    }

    /// Sets a variable, for example `RCLONE_S3_UPLOAD_CUTOFF`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs `rclone ARGS`.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        process::run(&mut self.command(args))
    }

    /// Runs `rclone ARGS`, which must succeed, and says what it did.
    #[track_caller]
    pub fn counts<S: AsRef<OsStr>>(&self, args: &[S]) -> Counts {
        let mut command = self.command(args);
        command.args(["--use-json-log", "-v", "--stats", "1h", "--stats-log-level", "NOTICE"]);
        let outcome = process::run(&mut command).success();
        last_counts(&outcome.stderr).unwrap_or_else(|| panic!("no statistics: {outcome}"))
    }

    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(peers::rclone());
        command.env_clear().env("HOME", self.home.path()).env("RCLONE_CONFIG", &self.conf);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.env.iter().map(|(name, value)| (name, value))).args(args);
        command
    }
}

fn last_counts(log: &[u8]) -> Option<Counts> {
    let mut lines = log.split(|&byte| byte == b'\n').rev();
    let stats = lines.find_map(|line| serde_json::from_slice::<Value>(line).ok()?.get("stats").cloned())?;
    let count = |name: &str| stats.get(name).and_then(Value::as_u64).unwrap_or(0);
    Some(Counts {
        transfers: count("transfers"),
        checks: count("checks"),
        deletes: count("deletes"),
        errors: count("errors"),
    })
}
