//! The mover of a VolSync Job: what the operator's environment asks for, in the words of upstream's `active.sh`.
//!
//! The operator starts `/bin/bash -c /mover-rclone/active.sh`. In our image both names are this program: the first
//! understands just that command line, the second is the mover. What it prints on standard output, and its exit codes,
//! are what the operator and people's scripts look at (`docs/contract.md`).

mod debug;
mod start;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Instant;

use volsync_common::exit::ExitCode;

use crate::cli::command::{Command, find};
use crate::cli::transfer::{Order, execute};
use crate::cli::{Env, Failure, console};
use crate::config::{Environment, WithDefaults};
use crate::sync::Goal;

pub use start::{Start, remove, shell};

/// The script of the upstream image that this program stands for.
pub const ENTRY: &str = "/mover-rclone/active.sh";

/// Where the volume is unless `MOUNT_PATH` says otherwise.
const MOUNT_PATH: &[u8] = b"/data";

/// Variables without which there is nothing to do, in the order in which upstream asks for them.
const REQUIRED: [&str; 3] = ["RCLONE_DEST_PATH", "DIRECTION", "PRIVILEGED_MOVER"];

/// Does what the Job's environment asks for.
pub fn run(env: &Env) -> ExitCode {
    let started = Instant::now();
    console::say(concat!("VolSync rclone container version: ", env!("CARGO_PKG_VERSION")));
    let env: Env = std::sync::Arc::new(JobEnv::new(env.clone()));
    if debug::is_asked_for(&*env) {
        return debug::wait();
    }
    let job = match Job::read(&*env) {
        Ok(job) => job,
        Err(text) => {
            console::say(&format!("error: {text}"));
            return ExitCode::Failure;
        }
    };
    match job.order().and_then(|order| execute(order, &env)) {
        Ok(outcome) => {
            if outcome.exit == ExitCode::Success {
                console::say(&format!("Rclone completed in {}s", started.elapsed().as_secs()));
            }
            console::epitaph(&outcome.epitaph);
            outcome.exit
        }
        Err(failure) => {
            console::failed(&failure);
            failure.exit_code()
        }
    }
}

/// What the operator wants.
#[derive(Debug, PartialEq, Eq)]
struct Job {
    command: &'static str,
    /// The volume.
    mount: Vec<u8>,
    /// `SECTION:PATH`.
    remote: Vec<u8>,
}

impl Job {
    /// Checks the variables in upstream's order; the error is upstream's message without `error: `.
    fn read(env: &dyn Environment) -> Result<Self, String> {
        for name in REQUIRED {
            if env.non_empty(name.as_bytes()).is_none() {
                return Err(format!("{name} must be defined"));
            }
        }
        if env.non_empty(b"CUSTOM_CA").is_some() {
            console::say("Using custom CA.");
        }
        let value = |name: &str| env.var(name.as_bytes()).unwrap_or_default();
        let command = match value("DIRECTION").as_slice() {
            b"source" => "push",
            b"destination" => "pull",
            other => return Err(format!("unknown value for DIRECTION: {}", volsync_common::path::Shown(other))),
        };
        Ok(Self {
            command,
            mount: env.non_empty(b"MOUNT_PATH").unwrap_or_else(|| MOUNT_PATH.to_vec()),
            remote: [&value("RCLONE_CONFIG_SECTION")[..], b":", &value("RCLONE_DEST_PATH")].concat(),
        })
    }

    fn order(self) -> Result<Order, Failure> {
        let missing = || Failure::NoCommand(self.command.to_owned());
        let command: &'static Command = find(self.command).ok_or_else(missing)?;
        let mut words = [OsString::from_vec(self.mount.clone()), OsString::from_vec(self.remote)];
        if self.command == "pull" {
            words.reverse();
        }
        let args = std::iter::once(OsString::from("--")).chain(words).collect();
        Ok(Order { mount: inside(&self.mount), in_job: true, ..Order::new(command, Goal::Volume, args) })
    }
}

/// What `getfacl` makes of an absolute path.
fn inside(mount: &[u8]) -> Vec<u8> {
    let path: Vec<&[u8]> = mount.split(|b| *b == b'/').filter(|element| !element.is_empty()).collect();
    if path.is_empty() { b".".to_vec() } else { path.join(&b'/') }
}

/// The environment of a Job: upstream's defaults, and values of Secret keys without the line end that `echo` adds.
struct JobEnv(WithDefaults<WithoutLineEnds>);

impl JobEnv {
    fn new(env: Env) -> Self {
        let mut defaults = vec![("RCLONE_STATS", "20s")];
        // Upstream forces DEBUG, a line for each file that is as it was. What is done is enough unless more is asked for.
        if env.non_empty(b"RCLONE_VERBOSE").is_none() && env.non_empty(b"RCLONE_QUIET").is_none() {
            defaults.push(("RCLONE_LOG_LEVEL", "INFO"));
        }
        Self(WithDefaults::new(WithoutLineEnds(env), defaults))
    }
}

impl Environment for JobEnv {
    fn var(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.0.var(name)
    }

    fn vars(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.vars()
    }
}

struct WithoutLineEnds(Env);

/// Not keys of the Secret, or (a password) values in which every byte counts.
const KEPT: [&[u8]; 3] = [b"RCLONE_DEST_PATH", b"RCLONE_CONFIG_SECTION", b"RCLONE_CONFIG_PASS"];

fn without_line_end(name: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    if name.starts_with(b"RCLONE_") && !KEPT.contains(&name) {
        let end = value.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |at| at + 1);
        value.truncate(end);
    }
    value
}

impl Environment for WithoutLineEnds {
    fn var(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.0.var(name).map(|value| without_line_end(name, value))
    }

    fn vars(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let clean = |(name, value): (Vec<u8>, Vec<u8>)| {
            let value = without_line_end(&name, value);
            (name, value)
        };
        self.0.vars().into_iter().map(clean).collect()
    }
}

/// The last element of a path.
fn name_of(path: &OsString) -> &[u8] {
    path.as_bytes().rsplit(|b| *b == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
