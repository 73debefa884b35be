//! What a status keeps of a mover's log.
//!
//! Source: `docs/compat-volsync.md`, section "Logs".

/// How much of the log is kept, in bytes: the end of it.
pub const LIMIT: usize = 1024;

/// Which lines are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// All of them.
    All,
    /// Those of rclone's statistics, and how long it took.
    Rclone,
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

/// The end of the lines that are kept, at most [`LIMIT`] bytes. `None` if there are none.
pub fn excerpt(log: &str, lines: Lines) -> Option<String> {
    let kept: Vec<&str> = log.lines().filter(|line| lines.keeps(line)).collect();
    let kept = kept.join("\n");
    let mut start = kept.len().saturating_sub(LIMIT);
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
        assert_eq!(excerpt(log, Lines::Rclone).as_deref(), Some(expect));
        assert_eq!(excerpt("nothing\n", Lines::Rclone), None);
        assert_eq!(excerpt("a\r\nb", Lines::All).as_deref(), Some("a\nb"));
    }

    #[test]
    fn only_the_end_is_kept_and_no_character_is_cut() {
        let log = format!("{}\u{e9}{}", "x".repeat(2000), "y".repeat(LIMIT - 1));
        assert_eq!(excerpt(&log, Lines::All), Some("y".repeat(LIMIT - 1)));
    }

    proptest! {
        #[test]
        fn any_log_fits(log in "(\\PC{0,300}\n){0,8}") {
            prop_assert!(excerpt(&log, Lines::All).is_none_or(|text| text.len() <= LIMIT && log.contains(text.lines().last().unwrap())));
        }
    }
}
