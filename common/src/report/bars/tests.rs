use std::io;

use indicatif::{InMemoryTerm, TermLike as _};
use serde_json::Map;

use super::*;
use crate::path::RelPath;
use crate::telemetry::{Format, Level, Log, Settings};

fn screen() -> (InMemoryTerm, Bars) {
    let term = InMemoryTerm::new(12, 100);
    let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
    let title = Title { operation: "sync".into(), source: "/data".into(), destination: "remote:bucket/vol".into() };
    (term, Bars::new(target, &title))
}

fn file(name: &[u8], size: u64, done: u64) -> UnderWay {
    UnderWay { path: RelPath::new(name).unwrap(), size, done, speed: 98 << 20 }
}

fn busy() -> Snapshot {
    Snapshot {
        listed: 209_000,
        checks: 120_400,
        checks_planned: 200_000,
        transfers: 5_120,
        transfers_planned: 9_000,
        bytes: 1 << 30,
        bytes_planned: 3 << 30,
        speed: 112 << 20,
        deleted_files: 12,
        under_way: vec![file(b"backups/db.dump", 1_000, 350), file(b"a\nb", 2, 2)],
        ..Snapshot::default()
    }
}

#[test]
fn a_busy_run() {
    let (term, mut bars) = screen();
    bars.draw(&busy());
    let expect = "\
sync /data → remote:bucket/vol
 ━━━━━━━━━╸──────────────────  33% 1 GiB / 3 GiB  112 MiB/s  18s left
 5,120 / 9,000 files  209,000 listed  120,400 / 200,000 checked  12 deleted
 ━━━━╸───────  35% backups/db.dump  98 MiB/s
 ━━━━━━━━━━━━ 100% a\\nb  98 MiB/s";
    assert_eq!(term.contents(), expect);
}

#[test]
fn comparing_is_progress_too_and_files_that_ended_leave() {
    let (term, mut bars) = screen();
    bars.draw(&busy());
    bars.draw(&busy());
    bars.draw(&Snapshot { listed: 9, checks: 1, checks_planned: 4, errors: 1, ..Snapshot::default() });
    let expect = "\
sync /data → remote:bucket/vol
 ━━━━━━━╸────────────────────  25% comparing
 9 listed  1 / 4 checked  1 error";
    assert_eq!(term.contents(), expect);
}

/// Writes as a program does on a terminal, which turns LF into CR LF.
struct Writer(InMemoryTerm);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_str(&String::from_utf8_lossy(bytes).replace('\n', "\r\n"))?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn log_lines_stand_above_and_the_end_leaves_only_them() {
    let (term, mut bars) = screen();
    let settings = Settings { level: Level::Info, format: Format::parse("").unwrap(), file: None };
    let log = Log::new(&settings, Box::new(Writer(term.clone())), false);
    log.set_bars(Some(bars.handle()));
    bars.draw(&busy());
    log.print(Level::Info, "a: Copied (new)\n", Map::new());
    let shown = term.contents();
    assert!(shown.starts_with("INFO  : a: Copied (new)\nsync /data"), "{shown}");
    assert_eq!(shown.lines().count(), 6);
    bars.draw(&busy());
    assert_eq!(term.contents(), shown);
    log.set_bars(None);
    bars.clear();
    log.print(Level::Info, "b: Deleted\n", Map::new());
    assert_eq!(term.contents(), "INFO  : a: Copied (new)\nINFO  : b: Deleted");
}
