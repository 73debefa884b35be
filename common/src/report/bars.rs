//! What people see on a terminal while a run is under way; cleared at its end.
//!
//! ```text
//! sync /data → remote:bucket/volume
//!  ━━━━━━━━━━╸─────────────────  36% 1.027 GiB / 2.861 GiB  112.4 MiB/s  16s left
//!  5,120 / 9,000 files  209,000 listed  120,400 / 200,000 checked  12 deleted
//!  ━━━━━───────  35% backups/db.dump  98 MiB/s
//! ```

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::block::shorten;
use super::{Snapshot, Title, UnderWay, units};
use crate::path::{OneLine, Shown};
use crate::telemetry;

/// Files shown by name: the oldest under way.
const FILES: usize = 4;

/// Characters of a file's name.
const NAME: usize = 48;

/// Columns of the bars of all and of one file.
const WIDTHS: (usize, usize) = (28, 12);

/// The lines at the bottom of the terminal.
pub(super) struct Bars {
    lines: MultiProgress,
    heading: ProgressBar,
    total: ProgressBar,
    counts: ProgressBar,
    files: [ProgressBar; FILES],
    /// So many of them are in `lines`.
    shown: usize,
}

impl Bars {
    /// Lines on `target`, nothing drawn yet.
    pub(super) fn new(target: ProgressDrawTarget, title: &Title) -> Self {
        let lines = MultiProgress::with_draw_target(target);
        let hidden = |style| ProgressBar::hidden().with_style(style);
        let heading = lines.add(hidden(text()));
        heading.set_message(self::heading(title));
        let (total, counts) = (lines.add(hidden(bar(WIDTHS.0))), lines.add(hidden(text())));
        Self { heading, total, counts, files: std::array::from_fn(|_| hidden(bar(WIDTHS.1))), shown: 0, lines }
    }

    /// What must step aside while a line is printed.
    pub(super) fn handle(&self) -> telemetry::Bars {
        telemetry::Bars { lines: self.lines.clone(), first: self.heading.clone() }
    }

    /// Shows `counts`.
    pub(super) fn draw(&mut self, counts: &Snapshot) {
        self.show_files(counts.under_way.len().min(FILES));
        let (done, planned) = work(counts);
        show(&self.total, done, planned, &totals(counts));
        say(&self.counts, self::counts(counts));
        for (line, file) in self.files.iter().zip(&counts.under_way) {
            show(line, file.done, file.size, &under_way(file));
        }
    }

    /// Has `wanted` lines of files. What leaves is wiped when another line is drawn.
    fn show_files(&mut self, wanted: usize) {
        self.files.iter().take(self.shown).skip(wanted).for_each(|line| self.lines.remove(line));
        if wanted < self.shown {
            self.heading.tick();
        }
        // A line that is added twice would leave a dead one behind.
        self.files.iter().take(wanted).skip(self.shown).for_each(|line| drop(self.lines.add(line.clone())));
        self.shown = wanted;
    }

    /// Leaves the terminal as if nothing had been drawn.
    pub(super) fn clear(&self) {
        let _nobody_looks = self.lines.clear();
        [&self.heading, &self.total, &self.counts]
            .into_iter()
            .chain(&self.files)
            .for_each(|line| self.lines.remove(line));
    }
}

/// Every change draws all lines, so what is the same is left alone.
fn say(bar: &ProgressBar, message: String) {
    if bar.message() != message {
        bar.set_message(message);
    }
}

fn show(bar: &ProgressBar, done: u64, planned: u64, message: &str) {
    if (bar.position(), bar.length()) != (done, Some(planned)) {
        bar.update(|state| {
            state.set_len(planned);
            state.set_pos(done);
        });
    }
    say(bar, format!("{} {message}", percent(done, planned)));
}

/// As long as no bytes are to be moved, the comparisons are the work.
fn work(counts: &Snapshot) -> (u64, u64) {
    if counts.bytes_planned > 0 { (counts.bytes, counts.bytes_planned) } else { (counts.checks, counts.checks_planned) }
}

fn percent(done: u64, planned: u64) -> String {
    let percent = u128::from(done.min(planned)) * 100 / u128::from(planned.max(1));
    format!("{percent:>3}%")
}

fn heading(title: &Title) -> String {
    OneLine(&format!("{} {} → {}", title.operation, title.source, title.destination)).to_string()
}

fn totals(counts: &Snapshot) -> String {
    if counts.bytes_planned == 0 {
        return "comparing".to_owned();
    }
    let (done, total) = (counts.bytes, counts.bytes_planned);
    let bytes = format!("{} / {}", units::bytes(done), units::bytes(total));
    match counts.speed {
        0 => bytes,
        speed => format!("{bytes}  {}  {} left", units::speed(speed), units::eta(done, total, speed)),
    }
}

fn counts(counts: &Snapshot) -> String {
    let n = units::grouped;
    let mut parts = vec![format!("{} listed", n(counts.listed))];
    if counts.transfers_planned > 0 {
        parts.insert(0, format!("{} / {} files", n(counts.transfers), n(counts.transfers_planned)));
    }
    if counts.checks_planned > 0 {
        parts.push(format!("{} / {} checked", n(counts.checks), n(counts.checks_planned)));
    }
    if counts.deleted_files + counts.deleted_directories > 0 {
        parts.push(format!("{} deleted", n(counts.deleted_files + counts.deleted_directories)));
    }
    if counts.errors > 0 {
        parts.push(units::counted(counts.errors, "error"));
    }
    format!(" {}", parts.join("  "))
}

fn under_way(file: &UnderWay) -> String {
    format!("{}  {}", shorten(&Shown(&file.path).to_string(), NAME), units::speed(file.speed))
}

fn text() -> ProgressStyle {
    ProgressStyle::with_template("{wide_msg:.dim}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn bar(width: usize) -> ProgressStyle {
    let template = format!(" {{bar:{width}.cyan/dim}} {{wide_msg}}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━╸─")
}

#[cfg(test)]
mod tests;
