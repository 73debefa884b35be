//! Text recorded from rclone 1.75.2.

use proptest::prelude::*;

use super::*;
use crate::path::RelPath;

fn file(name: &[u8], size: u64, done: u64, speed: u64) -> UnderWay {
    UnderWay { path: RelPath::new(name).unwrap(), size, done, speed }
}

#[test]
fn a_sync_that_did_a_bit_of_everything() {
    let counts = Snapshot {
        listed: 13,
        checks: 4,
        checks_planned: 4,
        transfers: 4,
        transfers_planned: 4,
        bytes: 3_000_015,
        bytes_planned: 3_000_015,
        deleted_files: 1,
        deleted_directories: 1,
        deleted_bytes: 4,
        ..Snapshot::default()
    };
    let expect = "
Transferred:   \t    2.861 MiB / 2.861 MiB, 100%, 0 B/s, ETA -
Checks:                 4 / 4, 100%, Listed 13
Deleted:                1 (files), 1 (dirs), 4 B (freed)
Transferred:            4 / 4, 100%
Elapsed time:         0.0s

";
    assert_eq!(block(&counts, Duration::from_millis(12)), expect);
}

#[test]
fn nothing_to_do() {
    let counts = Snapshot { listed: 16, checks: 6, checks_planned: 6, ..Snapshot::default() };
    let expect = "
Transferred:   \t          0 B / 0 B, -, 0 B/s, ETA -
Checks:                 6 / 6, 100%, Listed 16
Elapsed time:         0.0s

";
    assert_eq!(block(&counts, Duration::ZERO), expect);
    assert_eq!(one_line(&counts, None), "          0 B / 0 B, -, 0 B/s, ETA -\n");
    let dated = "2026/11/25 16:20:17 -           0 B / 0 B, -, 0 B/s, ETA -\n";
    assert_eq!(one_line(&counts, Some("2026/11/25 16:20:17")), dated);
}

#[test]
fn a_file_under_way() {
    let counts = Snapshot {
        listed: 8,
        transfers: 5,
        transfers_planned: 6,
        transferring: 1,
        bytes: 2_125_848,
        bytes_planned: 3_000_024,
        speed: 1_076_990,
        under_way: vec![file(b"big", 3_000_000, 2_125_824, 1_076_913)],
        ..Snapshot::default()
    };
    let expect = "
Transferred:   \t    2.027 MiB / 2.861 MiB, 71%, 1.027 MiB/s, ETA 0s
Checks:                 0 / 0, -, Listed 8
Transferred:            5 / 6, 83%
Elapsed time:         2.0s
Transferring:
 *                                           big: 70% / 2.861 MiB, 1.027 MiB/s, 0s

";
    assert_eq!(block(&counts, Duration::from_secs(2)), expect);
    assert_eq!(one_line(&counts, None), "    2.027 MiB / 2.861 MiB, 71%, 1.027 MiB/s, ETA 0s\n");
}

#[test]
fn queues_are_shown_while_they_are_not_empty() {
    let counts = Snapshot {
        transfers: 6,
        transfers_planned: 40,
        transferring: 2,
        bytes: 798_304,
        bytes_planned: 4_000_000,
        speed: 562_947,
        ..Snapshot::default()
    };
    let expect = "  779.594 KiB / 3.815 MiB, 20%, 549.753 KiB/s, ETA 5s (xfr#6/40)\n";
    assert_eq!(one_line(&counts, None), expect);
    let counts = Snapshot { checks: 3, checks_planned: 4, ..counts };
    assert!(one_line(&counts, None).ends_with(" (xfr#6/40, chk#3/4)\n"));
}

#[test]
fn errors_come_with_advice() {
    let errors = |errors, fatal, retryable| {
        let text = block(&Snapshot { errors, fatal, retryable, ..Snapshot::default() }, Duration::ZERO);
        text.lines().nth(2).unwrap().to_owned()
    };
    assert_eq!(errors(8, false, true), "Errors:                 8 (retrying may help)");
    assert_eq!(errors(1, true, true), "Errors:                 1 (fatal error encountered)");
    assert_eq!(errors(1, false, false), "Errors:                 1 (no need to retry)");
}

#[test]
fn long_names_lose_their_middle() {
    assert_eq!(shorten("abcdefgh", 5), "ab…gh");
    assert_eq!(shorten("äöüßäöüß", 6), "äöü…üß");
    assert_eq!(shorten("abc", 3), "abc");
}

proptest! {
    /// Whatever a file is called, it cannot add a line to the block, nor begin one that the controller picks.
    #[test]
    fn a_name_stays_within_its_line(name in proptest::collection::vec(any::<u8>(), 1..80), done: u64, size: u64) {
        let Ok(path) = RelPath::new(name) else { return Ok(()) };
        let plain = Snapshot::default();
        let counts = Snapshot { under_way: vec![UnderWay { path, size, done, speed: done }], ..Snapshot::default() };
        let (plain, named) = (block(&plain, Duration::ZERO), block(&counts, Duration::ZERO));
        prop_assert_eq!(named.lines().count(), plain.lines().count() + 2);
        prop_assert!(named.lines().rev().nth(1).unwrap().starts_with(" * "));
        prop_assert!(!named.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
    }
}
