//! rclone's statistics (`fs/accounting/stats.go`), byte for byte: VolSync's controller picks lines out of them, and
//! people's scripts do.

use std::fmt::Write as _;
use std::time::Duration;

use super::units::{self, percent};
use super::{Snapshot, UnderWay};
use crate::path::Shown;

/// Characters of a name, rclone's default of `--stats-file-name-length`.
const NAME: usize = 45;

/// The block, without a header: a line end, a line per kind of count that is not zero, an empty line.
///
/// ```text
///
/// Transferred:       12 MiB / 12 MiB, 100%, 4.014 MiB/s, ETA 0s
/// Errors:                 2 (retrying may help)
/// Checks:                 1 / 1, 100%, Listed 2
/// Deleted:                1 (files), 0 (dirs), 0 B (freed)
/// Transferred:            1 / 1, 100%
/// Elapsed time:         0.0s
/// Transferring:
///  *                                           big: 35% / 2.861 MiB, 1.027 MiB/s, 0s
///
/// ```
pub fn block(counts: &Snapshot, elapsed: Duration) -> String {
    let mut text = format!("\nTransferred:   \t{}\n", totals(counts));
    counted(&mut text, counts);
    line(&mut text, format_args!("Elapsed time:  {:>11}", units::elapsed(elapsed)));
    if !counts.under_way.is_empty() {
        text.push_str("Transferring:\n");
        counts.under_way.iter().for_each(|file| line(&mut text, format_args!(" * {}", under_way(file))));
    }
    text.push('\n');
    text
}

/// The line of `--stats-one-line`; `date` is put before it for `--stats-one-line-date`.
pub fn one_line(counts: &Snapshot, date: Option<&str>) -> String {
    let date = date.map(|date| format!("{date} - ")).unwrap_or_default();
    format!("{date}{}{}\n", totals(counts), queues(counts))
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _infallible = writeln!(text, "{arguments}");
}

fn totals(counts: &Snapshot) -> String {
    let (done, total) = (counts.bytes, counts.bytes_planned);
    format!(
        "{:>13} / {}, {}, {}, ETA {}",
        units::bytes(done),
        units::bytes(total),
        percent(done, total),
        units::speed(counts.speed),
        units::eta(done, total, counts.speed),
    )
}

/// What waits: a kind is shown only while its queue is not empty.
fn queues(counts: &Snapshot) -> String {
    let mut queues = Vec::new();
    if counts.transfers_planned > counts.transfers.saturating_add(counts.transferring) {
        queues.push(format!("xfr#{}/{}", counts.transfers, counts.transfers_planned));
    }
    if counts.checks_planned > counts.checks {
        queues.push(format!("chk#{}/{}", counts.checks, counts.checks_planned));
    }
    if queues.is_empty() { String::new() } else { format!(" ({})", queues.join(", ")) }
}

fn counted(text: &mut String, counts: &Snapshot) {
    if counts.errors > 0 {
        line(text, format_args!("Errors:        {:>10}{}", counts.errors, advice(counts)));
    }
    if counts.checks_planned.max(counts.checks).max(counts.listed) > 0 {
        let (done, total) = (counts.checks, counts.checks_planned);
        let part = percent(done, total);
        line(text, format_args!("Checks:        {done:>10} / {total}, {part}, Listed {}", counts.listed));
    }
    if counts.deleted_files.max(counts.deleted_directories) > 0 {
        let (files, directories) = (counts.deleted_files, counts.deleted_directories);
        let freed = units::bytes(counts.deleted_bytes);
        line(text, format_args!("Deleted:       {files:>10} (files), {directories} (dirs), {freed} (freed)"));
    }
    if counts.transfers_planned.max(counts.transfers) > 0 {
        let (done, total) = (counts.transfers, counts.transfers_planned);
        line(text, format_args!("Transferred:   {done:>10} / {total}, {}", percent(done, total)));
    }
}

fn advice(counts: &Snapshot) -> &'static str {
    match (counts.fatal, counts.retryable) {
        (true, _) => " (fatal error encountered)",
        (false, true) => " (retrying may help)",
        (false, false) => " (no need to retry)",
    }
}

fn under_way(file: &UnderWay) -> String {
    let done = u128::from(file.done) * 100 / u128::from(file.size.max(1));
    format!(
        "{:>NAME$}:{done:>3}% / {}, {}, {}",
        shorten(&Shown(&file.path).to_string(), NAME),
        units::bytes(file.size),
        units::speed(file.speed),
        units::eta_of_file(file.done, file.size, file.speed),
    )
}

/// `text` in at most `most` characters, its middle left out if need be.
pub(super) fn shorten(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let end = most.saturating_sub(1) / 2;
    let begin = most.saturating_sub(1) - end;
    let head = text.chars().take(begin);
    head.chain(['…']).chain(text.chars().skip(length - end)).collect()
}

#[cfg(test)]
mod tests;
