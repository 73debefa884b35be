//! The last line for people on a terminal.

use std::time::Duration;

use super::Snapshot;
use super::units::{self, counted, grouped};

/// `5 files transferred (2.861 MiB), 6 checked, 1 deleted in 2.8s`.
pub(super) fn summary(counts: &Snapshot, elapsed: Duration, dry_run: bool) -> String {
    let mut parts = Vec::new();
    if counts.errors > 0 {
        parts.push(counted(counts.errors, "error"));
    }
    parts.push(match counts.transfers {
        0 => "nothing transferred".to_owned(),
        files => format!("{} transferred ({})", counted(files, "file"), units::bytes(counts.bytes)),
    });
    if counts.checks > 0 {
        parts.push(format!("{} checked", grouped(counts.checks)));
    }
    let deleted = counts.deleted_files + counts.deleted_directories;
    if deleted > 0 {
        parts.push(format!("{} deleted", grouped(deleted)));
    }
    let prefix = if dry_run { "Dry run, nothing was changed: " } else { "" };
    format!("{prefix}{} in {}", parts.join(", "), units::elapsed(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_left_out() {
        let elapsed = Duration::from_millis(2_860);
        let none = Snapshot::default();
        assert_eq!(summary(&none, elapsed, false), "nothing transferred in 2.8s");
        let much = Snapshot {
            transfers: 1,
            bytes: 3_000_000,
            checks: 120_400,
            deleted_files: 1,
            deleted_directories: 1,
            errors: 2,
            ..none
        };
        let expect = "2 errors, 1 file transferred (2.861 MiB), 120,400 checked, 2 deleted in 2.8s";
        assert_eq!(summary(&much, elapsed, false), expect);
        assert_eq!(summary(&much, elapsed, true), format!("Dry run, nothing was changed: {expect}"));
    }
}
