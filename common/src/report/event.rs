//! Machine events: one JSON object a line on standard output.
//!
//! Every event has `event` and `time` (RFC 3339, UTC):
//!
//! | `event` | members |
//! | --- | --- |
//! | `start` | `operation`, `source`, `destination`, `dryRun` |
//! | `progress` | the counts below; one per `--stats` interval |
//! | `action` | `action`, `object`, `size` (files), `dryRun` (only if `true`), `reason` (only of `skipped`) |
//! | `error` | `object` (if one entry failed), `message`, `severity`: `retryable`, `final` or `fatal` |
//! | `summary` | the counts below; the last line |
//!
//! `action` is `copied`, `replaced`, `updated`, `deleted`, `directory-made`, `directory-removed`, `directory-updated` or
//! `skipped`. Counts have the names of rclone's `core/stats`: `bytes`, `totalBytes`, `checks`, `totalChecks`, `transfers`,
//! `totalTransfers`, `deletes`, `deletedDirs`, `listed`, `errors`, `speed` (bytes a second), `eta` (seconds or null),
//! `elapsedTime` (seconds), `fatalError`, `retryError`, and of ours `deletedBytes` and `hashedBytes`. Programs must ignore
//! members they do not know; names and meanings stay.

use std::io::{self, BufWriter, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{Snapshot, UnderWay, units};
use crate::path::Shown;

/// Buffered bytes; the reporter flushes at every beat.
const BUFFER: usize = 64 << 10;

/// One event.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(super) enum Event<'a> {
    Start {
        operation: &'a str,
        source: &'a str,
        destination: &'a str,
        dry_run: bool,
    },
    Progress(&'a Statistics),
    Action(ActionEvent<'a>),
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        object: Option<&'a str>,
        message: &'a str,
        severity: &'static str,
    },
    Summary(&'a Statistics),
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActionEvent<'a> {
    pub(super) action: &'static str,
    pub(super) object: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
}

/// Counts under the names of rclone's `core/stats`, in its alphabetical order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Statistics {
    bytes: u64,
    checks: u64,
    deleted_bytes: u64,
    deleted_dirs: u64,
    deletes: u64,
    elapsed_time: f64,
    errors: u64,
    eta: Option<u64>,
    fatal_error: bool,
    hashed_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    listed: u64,
    renames: u64,
    retry_error: bool,
    server_side_copies: u64,
    server_side_copy_bytes: u64,
    server_side_move_bytes: u64,
    server_side_moves: u64,
    speed: u64,
    total_bytes: u64,
    total_checks: u64,
    total_transfers: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    transferring: Vec<Transferring>,
    transfers: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Transferring {
    bytes: u64,
    eta: Option<u64>,
    name: String,
    percentage: u64,
    size: u64,
    speed_avg: u64,
}

impl Statistics {
    pub(super) fn new(counts: &Snapshot, elapsed: Duration, last_error: Option<String>) -> Self {
        Self {
            bytes: counts.bytes,
            checks: counts.checks,
            deleted_bytes: counts.deleted_bytes,
            deleted_dirs: counts.deleted_directories,
            deletes: counts.deleted_files,
            elapsed_time: elapsed.as_secs_f64(),
            errors: counts.errors,
            eta: units::seconds_left(counts.bytes, counts.bytes_planned, counts.speed),
            fatal_error: counts.fatal,
            hashed_bytes: counts.bytes_hashed,
            last_error,
            listed: counts.listed,
            renames: 0,
            retry_error: counts.retryable,
            server_side_copies: 0,
            server_side_copy_bytes: 0,
            server_side_move_bytes: 0,
            server_side_moves: 0,
            speed: counts.speed,
            total_bytes: counts.bytes_planned,
            total_checks: counts.checks_planned,
            total_transfers: counts.transfers_planned,
            transferring: counts.under_way.iter().map(Transferring::new).collect(),
            transfers: counts.transfers,
        }
    }
}

impl Transferring {
    fn new(file: &UnderWay) -> Self {
        Self {
            bytes: file.done,
            eta: units::seconds_left(file.done, file.size, file.speed),
            name: Shown(&file.path).to_string(),
            percentage: file.done.saturating_mul(100) / file.size.max(1),
            size: file.size,
            speed_avg: file.speed,
        }
    }
}

/// Where events go. Once nobody reads them they are dropped: the run goes on.
pub(super) struct Events(Mutex<Option<BufWriter<Box<dyn Write + Send>>>>);

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event<'a>,
    time: String,
}

impl Events {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self(Mutex::new(Some(BufWriter::with_capacity(BUFFER, out))))
    }

    pub(super) fn send(&self, event: &Event<'_>) {
        let line = Line { event, time: Timestamp::now().to_string() };
        let Ok(mut line) = serde_json::to_vec(&line) else { return };
        line.push(b'\n');
        self.with(|out| out.write_all(&line));
    }

    pub(super) fn flush(&self) {
        self.with(BufWriter::flush);
    }

    /// Sends the last event: what comes later is dropped.
    pub(super) fn end(&self, event: &Event<'_>) {
        self.send(event);
        self.flush();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn with(&self, write: impl FnOnce(&mut BufWriter<Box<dyn Write + Send>>) -> io::Result<()>) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if out.as_mut().is_some_and(|out| write(out).is_err()) {
            *out = None;
        }
    }
}
