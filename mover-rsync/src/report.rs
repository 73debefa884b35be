//! What is printed for people and for VolSync's log filter: declared here and nowhere else.

mod format;
mod lines;
mod progress;

use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use jiff::tz::TimeZone;
use volsync_common::path::Shown;
use volsync_common::telemetry::local_zone;
use volsync_common::walk::Kind;

use crate::args::client::{Show, Summary};
use crate::exit::Fatal;
use crate::outcome::{Counts, Outcome};
use crate::wire::flist::Entry;
use crate::wire::frame::Tag;
use crate::wire::handshake;
use crate::wire::item::ItemFlags;

pub use format::{Format, Side};
pub(crate) use format::{Moved, Told};
pub use lines::Form;
pub(crate) use progress::Moving;
pub use progress::{Progress, Telling};

/// Prints a line on standard output; never in a server, whose standard output is the connection. A reader that went away is no reason to stop a transfer.
pub fn line(text: &str) {
    match Progress::current() {
        Some(progress) => progress.line(text),
        None => drop(writeln!(std::io::stdout().lock(), "{text}")),
    }
}

/// Prints a line on standard error about something that is no failure.
pub fn note(text: &str) {
    match Progress::current() {
        Some(progress) => progress.note(text),
        None => eprintln!("{text}"),
    }
}

/// Prints a line on standard error about something that could not be done; the rest goes on.
pub fn problem(text: &str) {
    note(text);
    if let Some(progress) = Progress::current() {
        progress.failed(false, text);
    }
}

/// Says why a transfer ended early.
pub fn ended(fatal: &Fatal, code: u8) {
    let text = format!("rsync error: {fatal} (code {code})");
    note(&text);
    if let Some(progress) = Progress::current() {
        progress.failed(true, &text);
    }
}

/// Prints text that the peer sent: information on standard output, which only a client has to itself, the rest on
/// standard error.
pub fn relay(side: handshake::Side, tag: Tag, text: &[u8]) {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    for part in text.split(|b| *b == b'\n') {
        let part = Shown(part).to_string();
        match (side, tag) {
            (handshake::Side::Client, Tag::Info) => line(&part),
            (_, Tag::Error | Tag::ErrorXfer) => problem(&part),
            _ => note(&part),
        }
    }
}

/// Shows the user of a client what happens.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    /// What the user wants to see.
    pub show: Show,
    /// How far it is.
    pub progress: Option<&'static Progress>,
    /// Of lines.
    pub format: Option<Arc<Format>>,
    /// How this side tells things.
    pub telling: Side,
}

impl Screen {
    /// Something of the list that changes.
    pub(crate) fn item(&self, told: &Told<'_>) {
        // Items without a change are echoes for statistics.
        let Told { item, entry, path, .. } = *told;
        if !item.flags.any(!(ItemFlags::BASIS_FOLLOWS | ItemFlags::NAME_FOLLOWS)) && item.name.is_none() {
            return;
        }
        if let Some(progress) = self.progress.filter(|progress| progress.sends_events()) {
            // A file whose content comes is told when it came.
            if self.show.dry_run || !item.flags.any(ItemFlags::TRANSFER) {
                progress.item(item, entry.mode, path, entry.size);
            }
        } else if let Some(format) = &self.format {
            // Names alone are not told of what only gets other attributes, but for directories.
            let much = item.flags.any(ItemFlags::TRANSFER | ItemFlags::LOCAL) || item.name.is_some();
            if !much && !format.itemizes() && entry.kind() != Kind::Directory {
                return;
            }
            line(&format.line(told, self.telling));
        }
    }

    /// Whether a line about a file waits until its content has gone by.
    pub(crate) fn is_late(&self) -> bool {
        self.format.as_ref().is_some_and(|format| format.is_late())
    }

    /// The receiving side deleted a path; that of a directory ends with NUL.
    pub fn deleted(&self, path: &[u8]) {
        if let Some(progress) = self.progress {
            progress.deleted(path);
            if progress.sends_events() {
                return;
            }
        }
        if !self.show.deletions {
            return;
        }
        let path = match path.strip_suffix(b"\0") {
            Some(dir) => format!("{}/", Shown(dir)),
            None => Shown(path).to_string(),
        };
        match self.format.as_ref().filter(|format| format.tells_deletions()) {
            Some(format) => line(&format.deletion(&path, self.telling)),
            None => line(&format!("deleting {path}")),
        }
    }
}

/// The clock of people here.
static ZONE: LazyLock<TimeZone> = LazyLock::new(local_zone);

/// A line of a listing, as rsync 3.5 prints it; `target` is that of a link whose target is known.
pub fn listed(entry: &Entry, path: &[u8], target: &[u8], human: bool) -> String {
    let size = if human { with_unit(entry.size) } else { grouped(entry.size) };
    let arrow = if target.is_empty() { String::new() } else { format!(" -> {}", Shown(target)) };
    format!("{} {size:>14} {} {}{arrow}", permissions(entry.mode), clock(entry.mtime.secs, &ZONE), Shown(path))
}

fn clock(seconds: i64, zone: &TimeZone) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default().to_zoned(zone.clone());
    time.strftime("%Y/%m/%d %H:%M:%S").to_string()
}

/// As `ls` shows a mode.
fn permissions(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o060_000 => 'b',
        0o020_000 => 'c',
        0o140_000 => 's',
        0o010_000 => 'p',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special == 0, bits & 1 == 0) {
            (true, true) => '-',
            (true, false) => 'x',
            (false, true) => letter.to_ascii_uppercase(),
            (false, false) => letter,
        });
    }
    text
}

/// Bytes over the connection, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent.
    pub sent: u64,
    /// Received.
    pub received: u64,
    /// Whole seconds.
    pub seconds: u64,
}

/// What was counted, in the words of rsync 3.5: VolSync shows the last two lines in its status.
pub fn summary(outcome: &Outcome, traffic: Traffic, show: Show) {
    for text in summary_lines(outcome, traffic, show) {
        line(&text);
    }
}

/// What a daemon logs at the end of a session: VolSync shows it in the status of the destination.
pub fn received(total: u64, sent: u64, received: u64) {
    line(&format!("sent {sent} bytes  received {received} bytes  total size {total}"));
}

fn summary_lines(outcome: &Outcome, traffic: Traffic, show: Show) -> Vec<String> {
    let number = |value: u64| if show.human { with_unit(value) } else { grouped(value) };
    let mut lines = vec![String::new()];
    if show.summary == Summary::Full {
        let deleted = &outcome.deleted;
        let deleted = Counts {
            files: deleted.files.into(),
            directories: deleted.directories.into(),
            symlinks: deleted.symlinks.into(),
            devices: deleted.devices.into(),
            specials: deleted.specials.into(),
        };
        let seconds = |millis: u64| format!("{}.{:03} seconds", millis / 1000, millis % 1000);
        lines.extend([
            format!("Number of files: {}", kinds(&outcome.files)),
            format!("Number of created files: {}", kinds(&outcome.created)),
            format!("Number of deleted files: {}", kinds(&deleted)),
            format!("Number of regular files transferred: {}", grouped(outcome.transferred)),
            format!("Total file size: {} bytes", number(outcome.total_size)),
            format!("Total transferred file size: {} bytes", number(outcome.transferred_size)),
            format!("Literal data: {} bytes", number(outcome.literal)),
            format!("Matched data: {} bytes", number(outcome.matched)),
            format!("File list size: {}", number(outcome.list_size)),
            format!("File list generation time: {}", seconds(outcome.list_time)),
            format!("File list transfer time: {}", seconds(0)),
            format!("Total bytes sent: {}", number(traffic.sent)),
            format!("Total bytes received: {}", number(traffic.received)),
            String::new(),
        ]);
    }
    let all = traffic.sent + traffic.received;
    // Bytes a second over the time and half a second, in hundredths.
    let rate = all.saturating_mul(200) / (1 + 2 * traffic.seconds);
    let rate = if show.human && rate >= 100_000 { with_unit(rate / 100) } else { hundredths(rate) };
    let speedup = outcome.total_size.saturating_mul(100) / all.max(1);
    lines.push(format!(
        "sent {} bytes  received {} bytes  {rate} bytes/sec",
        number(traffic.sent),
        number(traffic.received)
    ));
    let dry_run = if show.dry_run { " (DRY RUN)" } else { "" };
    lines.push(format!("total size is {}  speedup is {}{dry_run}", number(outcome.total_size), hundredths(speedup)));
    lines
}

fn kinds(counts: &Counts) -> String {
    let all = [
        ("reg", counts.files),
        ("dir", counts.directories),
        ("link", counts.symlinks),
        ("dev", counts.devices),
        ("special", counts.specials),
    ];
    let total: u64 = all.iter().map(|(_, count)| count).sum();
    let some = all.iter().filter(|(_, count)| *count > 0);
    let parts: Vec<_> = some.map(|(name, count)| format!("{name}: {}", grouped(*count))).collect();
    if parts.is_empty() { grouped(total) } else { format!("{} ({})", grouped(total), parts.join(", ")) }
}

/// With commas between thousands.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn hundredths(value: u64) -> String {
    format!("{}.{:02}", grouped(value / 100), value % 100)
}

/// In thousands, millions and so on, with two decimals.
fn with_unit(value: u64) -> String {
    let mut unit = 1000_u64;
    for letter in ['K', 'M', 'G', 'T', 'P'] {
        if value < unit {
            break;
        }
        if value / 1000 < unit || letter == 'P' {
            let rounded = (u128::from(value) * 100 + u128::from(unit) / 2) / u128::from(unit);
            return format!("{}.{:02}{letter}", rounded / 100, rounded % 100);
        }
        unit = unit.saturating_mul(1000);
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of a recorded session of rsync 3.5.0 with VolSync's options.
    #[test]
    fn the_summary_is_rsyncs() {
        let outcome = Outcome {
            files: Counts { files: 11, directories: 5, symlinks: 3, devices: 2, specials: 1 },
            created: Counts { files: 10, directories: 4, symlinks: 3, devices: 2, specials: 1 },
            deleted: crate::wire::stats::Deleted { files: 2, directories: 2, ..Default::default() },
            transferred: 9,
            total_size: 85_382,
            transferred_size: 85_344,
            literal: 74_144,
            matched: 11_200,
            list_time: 1,
            ..Outcome::default()
        };
        let traffic = Traffic { sent: 4611, received: 422, seconds: 1 };
        let show = Show { summary: Summary::Full, human: true, ..Show::default() };
        let expected = "
Number of files: 22 (reg: 11, dir: 5, link: 3, dev: 2, special: 1)
Number of created files: 20 (reg: 10, dir: 4, link: 3, dev: 2, special: 1)
Number of deleted files: 4 (reg: 2, dir: 2)
Number of regular files transferred: 9
Total file size: 85.38K bytes
Total transferred file size: 85.34K bytes
Literal data: 74.14K bytes
Matched data: 11.20K bytes
File list size: 0
File list generation time: 0.001 seconds
File list transfer time: 0.000 seconds
Total bytes sent: 4.61K
Total bytes received: 422

sent 4.61K bytes  received 422 bytes  3.36K bytes/sec
total size is 85.38K  speedup is 16.96";
        let found = summary_lines(&outcome, traffic, show).join("\n");
        assert_eq!(
            found.replace("speedup is 16.96", "speedup is 16.9x"),
            expected.replace("speedup is 16.96", "speedup is 16.9x")
        );
    }

    #[test]
    fn modes_and_times_look_as_in_ls() {
        for (mode, text) in [
            (0o104_755, "-rwsr-xr-x"),
            (0o042_640, "drw-r-S---"),
            (0o041_777, "drwxrwxrwt"),
            (0o120_777, "lrwxrwxrwx"),
            (0o010_000, "p---------"),
            (0o141_006, "s------rwT"),
        ] {
            assert_eq!(permissions(mode), text);
        }
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(clock(1_000_000_000, &zone), "2001/09/09 03:46:40");
        assert_eq!(clock(i64::MAX, &zone), "1970/01/01 02:00:00");
    }

    #[test]
    fn numbers_are_grouped_or_have_units() {
        for (value, plain, human) in [
            (0, "0", "0"),
            (999, "999", "999"),
            (1000, "1,000", "1.00K"),
            (85_382, "85,382", "85.38K"),
            (1_234_567, "1,234,567", "1.23M"),
            (5_000_000_000, "5,000,000,000", "5.00G"),
        ] {
            assert_eq!((&grouped(value)[..], &with_unit(value)[..]), (plain, human));
        }
        assert_eq!(hundredths(17_404_600), "174,046.00");
    }
}
