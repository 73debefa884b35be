//! The real rclone, or our binary in its place, with nothing of the developer's own configuration.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::{TempDir, TempPath};

use crate::process::{self, Outcome};
use crate::servers::{self, S3Endpoint};
use crate::{mover, peers};

/// rclone with one `rclone.conf` and an empty home.
#[derive(Debug)]
pub struct Rclone {
    program: PathBuf,
    home: TempDir,
    conf: TempPath,
    env: Vec<(String, String)>,
    /// Commands that start the program.
    prefix: Vec<String>,
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

/// A run that was counted.
#[derive(Debug)]
pub struct Counted {
    /// Its end.
    pub outcome: Outcome,
    /// What it counted; none if it ended before it began.
    pub counts: Option<Counts>,
    /// The objects that it called wrong, in order.
    pub failed: Vec<String>,
}

impl Rclone {
    /// With `endpoint` as remote [`servers::SECTION`].
    pub fn new(endpoint: &dyn S3Endpoint, provider: &str) -> Self {
        Self::with_options(endpoint, provider, "")
    }

    /// [`Rclone::new`] with further lines in the section.
    pub fn with_options(endpoint: &dyn S3Endpoint, provider: &str, options: &str) -> Self {
        let this = Self::with_conf(servers::rclone_conf_with(endpoint, provider, options));
        match endpoint.ca() {
            Some(ca) => this.env("RCLONE_CA_CERT", &ca.to_string_lossy()),
            None => this,
        }
    }

    /// With any `rclone.conf`.
    pub fn with_conf(conf: TempPath) -> Self {
        let home = TempDir::with_prefix("rclone-home-").unwrap();
        Self { program: peers::rclone(), home, conf, env: Vec::new(), prefix: Vec::new() }
    }

    /// Our binary in its place.
    #[must_use]
    pub fn ours(self) -> Self {
        Self { program: mover::binary(), ..self }
    }

    /// Sets a variable, for example `RCLONE_S3_UPLOAD_CUTOFF`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without root's capabilities: its owner's rights on a file count for root too.
    #[must_use]
    pub fn without_capabilities(mut self) -> Self {
        let words = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"];
        self.prefix = words.map(str::to_owned).to_vec();
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
        let Counted { outcome, counts, .. } = self.counted(args);
        let outcome = outcome.success();
        counts.unwrap_or_else(|| panic!("no statistics: {outcome}"))
    }

    /// Runs `rclone ARGS`, however it ends, and says what it did.
    #[track_caller]
    pub fn counted<S: AsRef<OsStr>>(&self, args: &[S]) -> Counted {
        let mut command = self.command(args);
        command.args(["--use-json-log", "-v", "--stats", "1h", "--stats-log-level", "NOTICE"]);
        let outcome = process::run(&mut command);
        Counted { failed: failed(&outcome.stderr), counts: last_counts(&outcome.stderr), outcome }
    }

    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let program = self.program.as_os_str();
        let mut words = self.prefix.iter().map(OsStr::new).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words);
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

/// Objects of lines of level error.
fn failed(log: &[u8]) -> Vec<String> {
    let lines = log.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let errors = lines.filter(|line| line["level"] == "error");
    let mut objects: Vec<_> = errors.filter_map(|line| Some(line.get("object")?.as_str()?.to_owned())).collect();
    objects.sort();
    objects
}
