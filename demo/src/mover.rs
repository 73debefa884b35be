//! The mover's command line, run in this process as the program runs it, against the bucket alone: no variable and no
//! configuration of the user takes part.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use mover_rclone::cli::Env;
use mover_rclone::cli::command::find;
use mover_rclone::cli::transfer::{Order, execute};
use mover_rclone::config::MapEnv;
use mover_rclone::sync::Goal;
use serde::Serialize;
use volsync_common::exit::ExitCode;

use crate::bucket::{Bucket, PLACE};

/// What one run of the mover did, and what it asked of the store.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Step {
    /// What people call it.
    pub(crate) title: &'static str,
    /// The sub-command.
    pub(crate) kind: &'static str,
    pub(crate) compared: u64,
    pub(crate) transferred: u64,
    pub(crate) bytes: u64,
    pub(crate) deleted: u64,
    pub(crate) seconds: f64,
    /// By operation of the S3 API.
    pub(crate) requests: BTreeMap<String, u64>,
}

/// Runs the mover on one bucket.
pub(crate) struct Mover<'a> {
    bucket: &'a Bucket,
    env: Env,
    links: bool,
}

impl<'a> Mover<'a> {
    pub(crate) fn new(bucket: &'a Bucket, links: bool) -> Self {
        let variables = bucket.variables().map(|(name, path)| (name, path.as_os_str().as_bytes()));
        Self { bucket, env: Arc::new(MapEnv::new(variables)), links }
    }

    /// Stores `volume`.
    pub(crate) fn push(&self, title: &'static str, volume: &Path) -> anyhow::Result<Step> {
        self.run(title, "push", [volume.as_os_str(), PLACE.as_ref()])
    }

    /// Restores into `volume`.
    pub(crate) fn pull(&self, title: &'static str, volume: &Path) -> anyhow::Result<Step> {
        self.run(title, "pull", [PLACE.as_ref(), volume.as_os_str()])
    }

    fn run(&self, title: &'static str, kind: &'static str, words: [&OsStr; 2]) -> anyhow::Result<Step> {
        let command = find(kind).with_context(|| format!("there is no {kind}"))?;
        // What is left out is in the verdict: no need for a line each.
        let links = if self.links { "--links" } else { "--skip-links" };
        let flags = [links, "--skip-specials", "--"].map(OsString::from);
        let order = Order::new(command, Goal::Volume, flags.into_iter().chain(words.map(OsString::from)).collect());
        let counters = order.counters.clone();
        self.bucket.take_requests();
        let started = Instant::now();
        let outcome = execute(order, &self.env).with_context(|| title.to_owned())?;
        let seconds = started.elapsed().as_secs_f64();
        if outcome.exit != ExitCode::Success {
            bail!("{title} ended with code {}: {}", outcome.exit as u8, outcome.epitaph.join("\n"));
        }
        let counts = counters.snapshot();
        Ok(Step {
            title,
            kind,
            compared: counts.checks,
            transferred: counts.transfers,
            bytes: counts.bytes,
            deleted: counts.deleted_files,
            seconds,
            requests: self.bucket.take_requests(),
        })
    }
}
