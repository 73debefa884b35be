//! How much a mover has moved, and how far it is, as its log tells.
//!
//! Source: rclone's statistics (`docs/output.md`) and rsync's `--info=stats2`, which the movers of upstream print too.

use super::Method;
use crate::objects::names::Direction;

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes: of files for rclone, to 1 in 2,000; over the connection for rsync.
    pub bytes: u64,
    /// Files. Movers of rsync that receive do not tell.
    pub files: u64,
}

/// How far a transfer is, as far as its mover tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were moved, and those that are known to be there to move, more and more while listings are read.
    pub bytes: Option<(u64, u64)>,
    /// Files that were moved.
    pub files: Option<u64>,
    /// Files that are known to be there to move.
    pub total_files: Option<u64>,
}

/// Reads off a log, line by line, how far its transfer is.
#[derive(Clone, Debug)]
pub struct Meter {
    method: Method,
    progress: Progress,
}

impl Meter {
    /// One that has read nothing.
    pub fn new(method: Method) -> Self {
        Self { method, progress: Progress::default() }
    }

    /// Reads the next line. Says whether that told something.
    pub fn read(&mut self, line: &str) -> bool {
        let before = self.progress;
        match self.method {
            Method::Rclone => self.read_rclone(line),
            Method::Rsync | Method::RsyncTls if is_file_sent(line) => {
                self.progress.files = Some(self.progress.files.unwrap_or(0).saturating_add(1));
            }
            Method::Rsync | Method::RsyncTls => {}
        }
        self.progress != before
    }

    /// What was told so far.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    fn read_rclone(&mut self, line: &str) {
        match transferred(line).or_else(|| one_line(line)) {
            Some(Count::Bytes(done, planned)) => self.progress.bytes = Some((done, planned)),
            Some(Count::Files(done, planned)) => self.tell_files(done, planned),
            None => return,
        }
        if let Some((done, planned)) = files_of_one_line(line) {
            self.tell_files(done, planned);
        }
    }

    fn tell_files(&mut self, done: u64, planned: u64) {
        (self.progress.files, self.progress.total_files) = (Some(done), Some(planned));
    }
}

/// Whether rsync itemizes a file whose content it sends: `<f.st...... path`.
fn is_file_sent(line: &str) -> bool {
    line.as_bytes().get(11) == Some(&b' ') && line.starts_with("<f")
}

/// What a whole log says was moved.
pub fn traffic(method: Method, direction: Direction, log: &str) -> Traffic {
    match method {
        Method::Rclone => of_rclone(log),
        Method::Rsync | Method::RsyncTls => of_rsync(direction, log),
    }
}

/// A number that rises during a run and starts again with the next one.
#[derive(Default)]
struct Rising {
    ended: u64,
    last: u64,
}

impl Rising {
    fn tell(&mut self, value: u64) {
        if value < self.last {
            self.ended = self.total();
        }
        self.last = value;
    }

    fn total(&self) -> u64 {
        self.ended.saturating_add(self.last)
    }
}

/// A mover's Job runs rclone more than once.
fn of_rclone(log: &str) -> Traffic {
    let (mut bytes, mut files) = (Rising::default(), Rising::default());
    for count in log.lines().filter_map(transferred) {
        match count {
            Count::Bytes(done, _) => bytes.tell(done),
            Count::Files(done, _) => files.tell(done),
        }
    }
    Traffic { bytes: bytes.total(), files: files.total() }
}

/// What is done, and what is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Bytes(u64, u64),
    Files(u64, u64),
}

/// Reads `Transferred: 2.027 MiB / 2.861 MiB, 71%, …` or `Transferred: 5 / 6, 83%`, with any blanks.
fn transferred(line: &str) -> Option<Count> {
    let numbers = line.trim_start().strip_prefix("Transferred:")?.split(',').next()?;
    let (done, planned) = numbers.split_once(" / ")?;
    let (done, planned) = (done.trim(), planned.trim());
    match (size(done), size(planned)) {
        (Some(done), Some(planned)) => Some(Count::Bytes(done, planned)),
        _ => Some(Count::Files(done.parse().ok()?, planned.parse().ok()?)),
    }
}

/// Reads `… INFO  : 2026/11/29 11:08:35 -    9 MiB / 20 MiB, 45%, 506.250 KiB/s, ETA 22s`, which movers of VolSync log on
/// their way.
fn one_line(line: &str) -> Option<Count> {
    let (numbers, rest) = line.split_once(',')?;
    let (done, planned) = numbers.rsplit_once(" / ")?;
    let (before, unit) = done.rsplit_once(' ')?;
    let number = before.rsplit(' ').next()?;
    rest.contains(", ETA ").then_some(Count::Bytes(size(&format!("{number} {unit}"))?, size(planned)?))
}

/// Reads `… (xfr#5/6, chk#3/4)`, which is there while something waits.
fn files_of_one_line(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.rsplit_once("(xfr#")?;
    let (done, planned) = counts.split([',', ')']).next()?.split_once('/')?;
    Some((done.parse().ok()?, planned.parse().ok()?))
}

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes as rclone writes them: `2.027 MiB`.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ')?;
    let power = UNITS.iter().position(|name| *name == unit)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let (whole, digits): (u64, u64) = (whole.parse().ok()?, part.parse().ok()?);
    let parts = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let scaled = u128::from(whole).checked_mul(parts)?.checked_add(u128::from(digits))?;
    u64::try_from(scaled.checked_mul(1_u128 << (10 * power))? / parts).ok()
}

/// Each session and each try has a line of its own.
fn of_rsync(direction: Direction, log: &str) -> Traffic {
    let mut traffic = Traffic::default();
    for line in log.lines() {
        if let Some((sent, received)) = sent_and_received(line) {
            let bytes = if direction == Direction::Source { sent } else { received };
            traffic.bytes = traffic.bytes.saturating_add(bytes);
        }
        let files = line.trim_start().strip_prefix("Number of regular files transferred:").and_then(number);
        traffic.files = traffic.files.saturating_add(files.unwrap_or(0));
    }
    traffic
}

/// Reads `sent 1,234 bytes  received 35 bytes`, wherever it stands.
fn sent_and_received(line: &str) -> Option<(u64, u64)> {
    let (_, rest) = line.split_once("sent ")?;
    let (sent, rest) = rest.split_once(" bytes")?;
    let (_, rest) = rest.split_once("received ")?;
    let (received, _) = rest.split_once(" bytes")?;
    Some((number(sent)?, number(received)?))
}

/// A number with commas between its thousands.
fn number(text: &str) -> Option<u64> {
    text.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PUSH: &str = "VolSync rclone container version: 1\n2026 INFO  : \nTransferred:   \t    2.027 MiB / 2.861 MiB, 71%, 1.027 \
                        MiB/s, ETA 0s\nChecks:  4 / 4, 100%\nTransferred:            5 / 6, 83%\nElapsed time:  2.0s\n\n";
    const END: &str =
        "Transferred:   \t    2.861 MiB / 2.861 MiB, 100%, 1 MiB/s, ETA 0s\nTransferred:            6 / 6, 100%\n";
    const PERMISSIONS: &str =
        "Transferred:   \t          114 B / 114 B, 100%, 0 B/s, ETA -\nTransferred:            1 / 1, 100%\n";

    #[test]
    fn runs_of_rclone_are_added_up_and_their_statistics_are_not() {
        let told = |log: &str| traffic(Method::Rclone, Direction::Source, log);
        assert_eq!(told(PUSH), Traffic { bytes: 2_125_463, files: 5 });
        let whole = [PUSH, END, PERMISSIONS].concat();
        assert_eq!(told(&whole), Traffic { bytes: 2_999_975 + 114, files: 7 });
        assert_eq!(told("Transferred: nothing\nTransferred: 1 / x\nTransferred: 1.1.1 B / 2 B\n"), Traffic::default());
    }

    fn progress(method: Method, log: &str) -> Progress {
        let mut meter = Meter::new(method);
        for line in log.lines() {
            meter.read(line);
        }
        meter.progress()
    }

    #[test]
    fn progress_is_that_of_the_last_statistics() {
        let told = |bytes, files, total_files| Progress { bytes: Some(bytes), files, total_files };
        assert_eq!(progress(Method::Rclone, PUSH), told((2_125_463, 2_999_975), Some(5), Some(6)));
        let whole = [PUSH, PERMISSIONS].concat();
        assert_eq!(progress(Method::Rclone, &whole), told((114, 114), Some(1), Some(1)));
        for date in ["", "2026/11/29 11:08:35 - "] {
            let line = format!("2026/11/29 11:08:35 INFO  : {date}        9 MiB / 20 MiB, 45%, 506.250 KiB/s, ETA 22s");
            assert_eq!(progress(Method::Rclone, &line), told((9 << 20, 20 << 20), None, None), "{line}");
            let line = format!("{line} (xfr#9/20, chk#3/4)");
            assert_eq!(progress(Method::Rclone, &line), told((9 << 20, 20 << 20), Some(9), Some(20)), "{line}");
        }
        for line in ["2026/11/29 DEBUG : 1 B / 2 B, x: unchanged", "INFO  : a (xfr#1/2)"] {
            assert_eq!(progress(Method::Rclone, line), Progress::default(), "{line}");
        }
    }

    #[test]
    fn files_are_counted_that_rsync_sends() {
        let log = "Syncing data\n<f+++++++++ a b\ncd+++++++++ d/\n.f..t...... c\n<f.st...... d/e\n<fine\nhf+++++++++ f => a b\n";
        for method in [Method::Rsync, Method::RsyncTls] {
            assert_eq!(progress(method, log), Progress { files: Some(2), ..Progress::default() }, "{method}");
        }
        let mut meter = Meter::new(Method::Rsync);
        assert_eq!(["cd+++++++++ d/", "<f+++++++++ a"].map(|line| meter.read(line)), [false, true]);
    }

    #[test]
    fn sessions_of_rsync_are_added_up() {
        let log = "Number of regular files transferred: 1,009\nsent 1,234,567 bytes  received 35 bytes  2,538.00 bytes/sec\n\
                   total size is 5\n2026 [1] sent 10 bytes  received 5 bytes  total size 7\nsent x bytes  received 5 bytes\n";
        for (direction, bytes) in [(Direction::Source, 1_234_577), (Direction::Destination, 40)] {
            let expect = Traffic { bytes, files: 1009 };
            assert_eq!(traffic(Method::RsyncTls, direction, log), expect, "{direction}");
        }
    }

    proptest! {
        #[test]
        fn any_log_is_read(log in "(Transferred:|[0-9]{1,30}|\\.|,| / | [KE]?i?B|sent | bytes|received |\n|\\PC){0,40}") {
            for method in [Method::Rclone, Method::Rsync, Method::RsyncTls] {
                let _ = (traffic(method, Direction::Source, &log), progress(method, &log));
            }
        }

        #[test]
        fn sizes_are_read_as_they_are_written(whole in 0u64..1024, part in 0u64..1000, power in 0usize..6) {
            let text = format!("{whole}.{part:03} {}", UNITS[power]);
            let exact = (u128::from(whole) * 1000 + u128::from(part)) * (1_u128 << (10 * power)) / 1000;
            prop_assert_eq!(size(&text).map(u128::from), Some(exact));
        }
    }
}
