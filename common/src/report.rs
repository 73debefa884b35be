//! Everything a run tells: counters, rclone's statistics, what is done to each entry, machine events, bars on a terminal.
//!
//! Workers count in [`Counters`] and tell a [`Reporter`] what they did:
//!
//! ```no_run
//! # async fn run(settings: volsync_common::report::Settings) {
//! # use volsync_common::{path::RelPath, report::{Action, Counters, Reporter, Severity, Skip}};
//! # let path = RelPath::new(*b"a").unwrap();
//! let counters = Counters::new();
//! let reporter = Reporter::start(settings, counters.clone());
//! reporter.action(Action::Copy, &path, 12); // `a: Copied (new)`; with --dry-run `a: Skipped copy as ...`
//! reporter.skipped(Skip::Symlink, &path); // `a: Can't follow symlink ...`
//! reporter.error(Severity::Retryable, Some(&path), &"failed to copy: disk full"); // logs and counts
//! reporter.attempt(1, 3); // `Attempt 1/3 failed with 1 errors and: ...`
//! reporter.finish(); // the last statistics
//! # }
//! ```
//!
//! Who prints what: every `--stats` interval and at the end rclone's statistics go to the log at the level of
//! `--stats-log-level`; what is done to an entry is an event of `tracing`, so the log's level decides, and nothing is
//! formatted that nobody sees; [machine events](event) go to standard output if asked for.
//!
//! A controller that follows a running mover reads the `progress` events, or, of a mover without them, the first line of a
//! block, which is stable: `Transferred:`, blanks, a tab, then `DONE / TOTAL, PERCENT, SPEED, ETA TIME` with units of
//! 1,024 and three digits after the point, `-` for what is not known yet.

mod action;
mod bars;
mod block;
mod counters;
pub mod event;
mod meter;
mod reporter;
mod summary;
pub mod units;

pub use action::{Action, Skip};
pub use block::{block, one_line};
pub use counters::{Counters, Snapshot, Transfer, UnderWay};
pub use reporter::{Reporter, Settings, Severity, Style, Title, on_terminal};
