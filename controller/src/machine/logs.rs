//! What a status keeps of a mover's log.
//!
//! Source: `docs/compat-volsync.md`, section "Logs".

use super::Method;

/// How much of the log is kept if nothing else is said, in bytes: the end of it.
pub const LIMIT: usize = 1024;

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was moved.
    Success,
    /// Its pods failed.
    Failure,
}

/// Which lines are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// All of them.
    All,
    /// Those of rclone's statistics, and how long it took.
    Rclone,
    /// Those of rsync's statistics, and how long it took.
    Rsync,
    /// The same, wherever they stand in a line.
    RsyncTls,
    /// And besides what programs say of errors.
    RsyncTlsFailure,
}

/// The lines that are kept of a transfer. `all` is a user's wish to see all of them.
pub fn lines(method: Method, outcome: Outcome, all: bool) -> Lines {
    match (method, outcome) {
        _ if all => Lines::All,
        (Method::Rclone | Method::Rsync, Outcome::Failure) => Lines::All,
        (Method::Rclone, Outcome::Success) => Lines::Rclone,
        (Method::Rsync, Outcome::Success) => Lines::Rsync,
        (Method::RsyncTls, Outcome::Success) => Lines::RsyncTls,
        (Method::RsyncTls, Outcome::Failure) => Lines::RsyncTlsFailure,
    }
}

/// How lines begin that are kept of rclone, after blanks, their first letter in either case but for the last.
const RCLONE: [&str; 4] = ["ransferred:", "hecks:", "eleted:", "lapsed time:"];
const RCLONE_INITIALS: [[char; 2]; 4] = [['T', 't'], ['C', 'c'], ['D', 'd'], ['E', 'e']];
const RCLONE_END: &str = "Rclone completed in";

impl Lines {
    fn keeps(self, line: &str) -> bool {
        match self {
            Self::All => true,
            Self::Rclone => is_of_rclone(line.trim_start()),
            Self::Rsync => is_of_rsync(line.trim_start()),
            Self::RsyncTls => has_of_rsync(line),
            Self::RsyncTlsFailure => has_of_rsync(line) || is_of_failure(line),
        }
    }
}

fn is_of_rclone(line: &str) -> bool {
    let statistics = RCLONE.iter().zip(RCLONE_INITIALS);
    line.starts_with(RCLONE_END)
        || statistics
            .into_iter()
            .any(|(rest, initials)| line.strip_prefix(initials).is_some_and(|tail| tail.starts_with(rest)))
}

fn is_of_rsync(line: &str) -> bool {
    let begins =
        |initials: [char; 2], rest: &str| line.strip_prefix(initials).is_some_and(|tail| tail.starts_with(rest));
    begins(['T', 't'], "otal size")
        || begins(['R', 'r'], "sync completed in")
        || (begins(['S', 's'], "ent") && has_traffic(line))
}

fn has_of_rsync(line: &str) -> bool {
    after_word(line, "total size").is_some() || after_word(line, "rsync completed in").is_some() || has_traffic(line)
}

fn is_of_failure(line: &str) -> bool {
    let start = line.trim_start();
    let start = start.strip_prefix("disk").unwrap_or(start);
    start.strip_prefix(['R', 'r']).is_some_and(|tail| tail.starts_with("sync"))
        || after_word(line, "fail").is_some()
        || after_word(line, "error").is_some()
}

/// `sent 1 bytes  received 2 bytes`, with something between its words.
fn has_traffic(line: &str) -> bool {
    ["sent", "bytes", "received", "bytes"]
        .into_iter()
        .enumerate()
        .try_fold(line, |rest, (at, word)| {
            // A blank follows each word but the last, then at least one more character before the next.
            let tail = after_word_where(rest, word, |tail| at == 3 || tail.starts_with([' ', '\t']))?;
            if at == 3 {
                return Some(tail);
            }
            let mut rest = tail.chars();
            rest.next();
            rest.next().map(|_| rest.as_str())
        })
        .is_some()
}

/// What follows the first place of a word, its first letter in either case.
fn after_word<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    after_word_where(line, word, |_| true)
}

fn after_word_where<'a>(line: &'a str, word: &str, fits: impl Fn(&str) -> bool) -> Option<&'a str> {
    let (initial, rest) = (word.chars().next()?, word.get(1..)?);
    line.match_indices([initial, initial.to_ascii_uppercase()])
        .filter_map(|(at, letter)| line[at + letter.len()..].strip_prefix(rest))
        .find(|tail| fits(tail))
}

/// The end of the lines that are kept, at most `limit` bytes. `None` if there are none.
pub fn excerpt(log: &str, lines: Lines, limit: usize) -> Option<String> {
    let kept: Vec<&str> = log.lines().filter(|line| lines.keeps(line)).collect();
    let kept = kept.join("\n");
    let mut start = kept.len().saturating_sub(limit);
    while !kept.is_char_boundary(start) {
        start += 1;
    }
    let end = &kept[start..];
    (!end.is_empty()).then(|| end.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn statistics_of_rclone_are_kept() {
        let log = "VolSync rclone container version: 1\n2026 INFO x\nTransferred:   \t 11 B / 11 B\nChecks:  1 / 1\n \
                   deleted: 1\nElapsed time: 0.1s\nxTransferred: no\nrclone completed in 2s\nRclone completed in 1s\n";
        let expect =
            "Transferred:   \t 11 B / 11 B\nChecks:  1 / 1\n deleted: 1\nElapsed time: 0.1s\nRclone completed in 1s";
        assert_eq!(excerpt(log, Lines::Rclone, LIMIT).as_deref(), Some(expect));
        assert_eq!(excerpt("nothing\n", Lines::Rclone, LIMIT), None);
        assert_eq!(excerpt("a\r\nb", Lines::All, LIMIT).as_deref(), Some("a\nb"));
    }

    #[test]
    fn lines_of_rsync_are_kept_by_upstreams_patterns() {
        use Lines::{Rsync, RsyncTls, RsyncTlsFailure};
        for (line, kept_by) in [
            ("sent 1,234 bytes  received 35 bytes  2,538.00 bytes/sec", vec![Rsync, RsyncTls, RsyncTlsFailure]),
            ("  Sent 1 Bytes  Received 2 Bytes", vec![Rsync, RsyncTls, RsyncTlsFailure]),
            ("x sent 1 bytes  received 2 bytes", vec![RsyncTls, RsyncTlsFailure]),
            ("sent bytes received bytes", vec![]),
            ("sent 1 byte received 2 bytes", vec![]),
            ("total size is 5  speedup is 1.00", vec![Rsync, RsyncTls, RsyncTlsFailure]),
            ("\tRsync completed in 3s", vec![Rsync, RsyncTls, RsyncTlsFailure]),
            ("diskrsync completed in 3s", vec![RsyncTls, RsyncTlsFailure]),
            ("rsync: connection unexpectedly closed", vec![RsyncTlsFailure]),
            (" diskRsync gave up", vec![RsyncTlsFailure]),
            ("ERROR: Pre-shared key not found", vec![]),
            ("an error", vec![RsyncTlsFailure]),
            ("Failed", vec![RsyncTlsFailure]),
            ("cd+++++++++ a/", vec![]),
            ("", vec![]),
        ] {
            let keeping: Vec<Lines> =
                [Rsync, RsyncTls, RsyncTlsFailure].into_iter().filter(|lines| lines.keeps(line)).collect();
            assert_eq!(keeping, kept_by, "{line}");
        }
    }

    #[test]
    fn each_method_has_its_own_lines_unless_all_are_wanted() {
        for method in [Method::Rclone, Method::Rsync, Method::RsyncTls] {
            for outcome in [Outcome::Success, Outcome::Failure] {
                assert_eq!(lines(method, outcome, true), Lines::All);
                let all = outcome == Outcome::Failure && method != Method::RsyncTls;
                assert_eq!(lines(method, outcome, false) == Lines::All, all, "{method} {outcome:?}");
            }
        }
    }

    #[test]
    fn only_the_end_is_kept_and_no_character_is_cut() {
        let log = format!("{}\u{e9}{}", "x".repeat(2000), "y".repeat(LIMIT - 1));
        assert_eq!(excerpt(&log, Lines::All, LIMIT), Some("y".repeat(LIMIT - 1)));
        assert_eq!(excerpt("x", Lines::All, 0), None);
    }

    proptest! {
        #[test]
        fn any_log_fits(log in "(\\PC{0,300}\n){0,8}", lines in proptest::sample::select(vec![
            Lines::All, Lines::Rclone, Lines::Rsync, Lines::RsyncTls, Lines::RsyncTlsFailure,
        ])) {
            let kept = excerpt(&log, lines, LIMIT);
            prop_assert!(kept.is_none_or(|text| text.len() <= LIMIT && log.contains(text.lines().last().unwrap())));
        }

        #[test]
        fn patterns_of_rsync_are_those_of_upstream(line in "([sS]ent|[bB]ytes|[rR]eceived|[tT]otal size|x| |\t|\u{e9}){0,12}") {
            let traffic = regex::Regex::new(r"[sS]ent\s.+[bB]ytes\s.+[rR]eceived\s.+[bB]ytes").unwrap();
            prop_assert_eq!(has_traffic(&line), traffic.is_match(&line), "{}", line);
        }
    }
}
