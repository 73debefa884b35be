//! Progress as rsync prints it: `--progress` for each file, `--info=progress2` for all.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use volsync_common::report::Snapshot;

use super::{grouped, with_unit};

/// Between two looks, as in rsync.
pub(super) const BEAT: Duration = Duration::from_secs(1);

/// Which of rsync's forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// One line for all instead of one for each file.
    pub whole: bool,
    /// Numbers with units.
    pub human: bool,
}

/// What is printed on standard output.
#[derive(Debug)]
pub(super) struct Lines {
    form: Form,
    began: Instant,
    /// Held while a line is printed.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The cursor is behind a line that is not ended.
    open: bool,
    finished: bool,
}

impl Lines {
    pub(super) fn new(form: Form) -> Self {
        Self { form, began: Instant::now(), state: Mutex::default() }
    }

    /// A line of another kind: an open one ends before it.
    pub(super) fn line(&self, text: &str) {
        self.print(|state| {
            let end = if std::mem::take(&mut state.open) { "\n" } else { "" };
            format!("{end}{text}\n")
        });
    }

    /// How far things are, with so many `bytes` in the list; whether anybody still wants to know.
    pub(super) fn show(&self, counts: &Snapshot, bytes: u64) -> bool {
        let line = if self.form.whole {
            self.progress(counts.bytes, bytes, counts.speed, left(counts.bytes, bytes, counts.speed))
        } else {
            let Some(file) = counts.under_way.first() else { return !self.is_finished() };
            self.progress(file.done, file.size, file.speed, left(file.done, file.size, file.speed))
        };
        self.print(|state| {
            state.open = !state.finished;
            if state.finished { String::new() } else { format!("{line}  ") }
        });
        !self.is_finished()
    }

    /// A file of this size is complete; `left` of all entries come after it.
    pub(super) fn file(&self, size: u64, took: Duration, counts: &Snapshot, left: (u64, u64)) {
        // rsync draws the line of all anew for each file, which here is left to the beat.
        if !self.form.whole {
            let line = self.progress(size, size, rate(size, took), Some(took));
            self.print(|state| {
                state.open = false;
                format!("{line}{}\n", counted(counts, left))
            });
        }
    }

    /// The last line.
    pub(super) fn finish(&self, counts: &Snapshot, left: (u64, u64)) {
        let line = self.form.whole.then(|| {
            let took = self.began.elapsed();
            // The list may have had more than that, which needed no transfer.
            let whole = counts.bytes_planned.max(counts.bytes);
            let line = self.progress(counts.bytes, whole, rate(counts.bytes, took), Some(took));
            format!("{line}{}", counted(counts, left))
        });
        self.print(|state| {
            state.finished = true;
            let open = std::mem::take(&mut state.open) || line.is_some();
            format!("{}{}", line.unwrap_or_default(), if open { "\n" } else { "" })
        });
    }

    /// `\r      3,000,000 100%  707.44MB/s    0:00:00`.
    fn progress(&self, done: u64, size: u64, speed: u64, time: Option<Duration>) -> String {
        let number = if self.form.human { with_unit(done) } else { grouped(done) };
        let percent = if done >= size { 100 } else { u128::from(done) * 100 / u128::from(size.max(1)) };
        format!("\r{number:>15} {percent:>3}% {} {}", speed_in_units(speed), clock(time))
    }

    fn is_finished(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).finished
    }

    fn print(&self, text: impl FnOnce(&mut State) -> String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = text(&mut state);
        let mut out = io::stdout().lock();
        // A reader that went away is no reason to stop a transfer.
        let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn counted(counts: &Snapshot, (left, all): (u64, u64)) -> String {
    format!(" (xfr#{}, to-chk={left}/{all})", counts.transfers)
}

/// Bytes a second.
fn rate(bytes: u64, took: Duration) -> u64 {
    let millis = took.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

/// `  707.44MB/s`: units of 1,024, at least kB.
fn speed_in_units(speed: u64) -> String {
    let mut hundredths = u128::from(speed) * 100 / 1024;
    let mut unit = "kB/s";
    for larger in ["MB/s", "GB/s"] {
        if hundredths > 102_400 {
            hundredths /= 1024;
            unit = larger;
        }
    }
    format!("{:>4}.{:02}{unit}", hundredths / 100, hundredths % 100)
}

/// `   0:00:03`; without a time as rsync while nothing moves.
fn clock(time: Option<Duration>) -> String {
    let seconds = time.map_or(0, |time| time.as_secs());
    if seconds > 9_999 * 3_600 {
        return "  ??:??:??".into();
    }
    format!("{:>4}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn left(done: u64, size: u64, speed: u64) -> Option<Duration> {
    size.saturating_sub(done).checked_div(speed).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that rsync 3.5.0 printed.
    #[test]
    fn lines_are_rsyncs() {
        let lines = |human| Lines::new(Form { whole: false, human });
        let speed = 741_805_000;
        let whole = lines(false).progress(3_000_000, 3_000_000, speed, Some(Duration::ZERO));
        assert_eq!(whole, "\r      3,000,000 100%  707.44MB/s    0:00:00");
        let part = lines(false).progress(32_768, 30_000_000, 106_394, left(32_768, 30_000_000, 104_000));
        assert_eq!(part, "\r         32,768   0%  103.90kB/s    0:04:48");
        let human = lines(true).progress(32_768, 3_000_000, 0, None);
        assert_eq!(human, "\r         32.77K   1%    0.00kB/s    0:00:00");
        assert_eq!(speed_in_units(1_482_000_000), "   1.38GB/s");
        assert_eq!(clock(Some(Duration::from_hours(20_000))), "  ??:??:??");
        assert_eq!(lines(false).progress(0, 0, 0, None), "\r              0 100%    0.00kB/s    0:00:00");
    }
}
