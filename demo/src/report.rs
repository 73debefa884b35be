//! The end of a demonstration: what was done, what it cost, whether it held.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use volsync_common::report::units::{self, counted, grouped};

use crate::mover::Step;
use crate::screen::{BAD, BOLD, DIM, GOOD};
use crate::verdict::Verdict;

/// Differences that are printed; all are in the document.
const SHOWN: usize = 20;

/// Kinds of requests as columns, by the operations that count as one.
const KINDS: [(&str, &[&str]); 6] = [
    ("LIST", &["ListObjectsV2", "ListObjects", "ListMultipartUploads"]),
    ("HEAD", &["HeadObject", "HeadBucket"]),
    ("GET", &["GetObject"]),
    ("PUT", &["PutObject"]),
    ("parts", &["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]),
    ("DELETE", &["DeleteObject", "DeleteObjects"]),
];

/// Everything there is to tell.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) steps: Vec<Step>,
    pub(crate) verdict: Verdict,
    /// Where the volumes were left.
    pub(crate) directory: Option<PathBuf>,
}

impl Report {
    /// One JSON document.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        let mut document = serde_json::to_value(self)?;
        document["ok"] = self.verdict.is_good().into();
        Ok(serde_json::to_string_pretty(&document)?)
    }

    /// The same for people.
    pub(crate) fn text(&self, generated: bool, links: bool) -> String {
        let mut text = String::from("\n");
        text.push_str(&table(&self.work()));
        text.push('\n');
        text.push_str(&table(&self.requests()));
        text.push('\n');
        text.push_str(&judged(&self.verdict));
        text.push_str(&self.next(generated, links));
        text
    }

    fn work(&self) -> Vec<Vec<String>> {
        let heading = ["what", "compared", "moved", "deleted", "data", "time", "rate"];
        let row = |step: &Step| {
            let rate = if step.bytes == 0 { "-".to_owned() } else { units::speed(rate(step)) };
            let data = if step.bytes == 0 { "-".to_owned() } else { units::bytes(step.bytes) };
            let numbers = [step.compared, step.transferred, step.deleted].map(number);
            let [compared, moved, deleted] = numbers;
            vec![step.title.to_owned(), compared, moved, deleted, data, format!("{:.2} s", step.seconds), rate]
        };
        std::iter::once(heading.map(str::to_owned).to_vec()).chain(self.steps.iter().map(row)).collect()
    }

    fn requests(&self) -> Vec<Vec<String>> {
        let names = ["requests"].into_iter().chain(KINDS.map(|(name, _)| name)).chain(["other", "all"]);
        let row = |step: &Step| {
            let numbers = by_kind(&step.requests).map(number);
            std::iter::once(step.title.to_owned()).chain(numbers).collect()
        };
        std::iter::once(names.map(str::to_owned).collect()).chain(self.steps.iter().map(row)).collect()
    }

    fn next(&self, generated: bool, links: bool) -> String {
        let files = match &self.directory {
            Some(directory) => format!("kept in {}", directory.display()),
            None => "removed; --keep leaves them, --serve leaves the store running".to_owned(),
        };
        let again = "cargo run --release -p volsync-demo --";
        let mut lines = vec![("files", files)];
        if generated {
            lines.push(("yours", format!("{again} DIR        your directory, which is only read")));
        }
        if !links {
            lines.push(("links", format!("{again} --links    symbolic links too")));
        }
        lines.push(("for real", "cargo build --release -p mover-rclone, and on with README.md".to_owned()));
        lines.iter().fold(String::new(), |mut text, (name, line)| {
            let _infallible = write!(text, "\n{DIM}{name:<9}{DIM:#}{line}");
            text
        })
    }
}

/// The numbers of [`KINDS`], of all others, and of all.
fn by_kind(requests: &BTreeMap<String, u64>) -> [u64; KINDS.len() + 2] {
    let mut numbers = [0; KINDS.len() + 2];
    for (operation, count) in requests {
        let kind = KINDS.iter().position(|(_, operations)| operations.contains(&operation.as_str()));
        numbers[kind.unwrap_or(KINDS.len())] += count;
        numbers[KINDS.len() + 1] += count;
    }
    numbers
}

fn number(number: u64) -> String {
    if number == 0 { "-".to_owned() } else { grouped(number) }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a display")]
fn rate(step: &Step) -> u64 {
    (step.bytes as f64 / step.seconds.max(0.001)) as u64
}

/// Columns as wide as they must be: names to the left, numbers to the right.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        let style = if at == 0 { DIM } else { anstyle::Style::new() };
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(at, (cell, width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let _infallible = writeln!(text, "{style}{}{style:#}", cells.collect::<Vec<_>>().join("   "));
    }
    text
}

fn judged(verdict: &Verdict) -> String {
    let mut text = String::new();
    if verdict.is_good() {
        let good = "✔ What came back is what was stored.";
        let _infallible = writeln!(text, "{GOOD}{good}{GOOD:#}\n  {}", compared(verdict));
    } else {
        let count = counted(verdict.differences.len() as u64, "difference");
        let _infallible = writeln!(text, "{BAD}✘ What came back is not what was stored: {count}.{BAD:#}");
        for line in verdict.differences.iter().take(SHOWN) {
            let _infallible = writeln!(text, "    {line}");
        }
    }
    if !verdict.not_kept.is_empty() {
        let _infallible = writeln!(text, "  {BOLD}Not kept:{BOLD:#}");
    }
    for lost in &verdict.not_kept {
        let [what, why] = lost.what.words();
        let _infallible = writeln!(text, "    {:>6}  {what:<24}{DIM}{why}{DIM:#}", grouped(lost.count));
    }
    text
}

/// What was looked at.
fn compared(verdict: &Verdict) -> String {
    let all = [
        (verdict.directories, "directories"),
        (verdict.links, "links"),
        (verdict.access_lists, "access lists"),
        (verdict.holes, "files with holes"),
    ];
    let all: Vec<_> = all.iter().filter(|(n, _)| *n > 0).map(|(n, noun)| format!("{} {noun}", grouped(*n))).collect();
    let files = counted(verdict.files, "file");
    let bytes = units::bytes(verdict.bytes);
    format!("{files}, {bytes} byte for byte, with names, times, modes, owners; {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Loss, NotKept};

    fn report(differences: &[&str]) -> Report {
        let requests = [("ListObjectsV2", 2), ("PutObject", 1_200), ("UploadPart", 3), ("CreateBucket", 1)];
        let requests = requests.map(|(name, count)| (name.to_owned(), count)).into();
        let steps =
            vec![Step { title: "push", bytes: 3 << 20, transferred: 1_200, seconds: 1.5, requests, ..Step::default() }];
        let verdict = Verdict {
            files: 1,
            bytes: 3 << 20,
            directories: 2,
            differences: differences.iter().map(ToString::to_string).collect(),
            not_kept: vec![NotKept { what: Loss::Links, count: 3 }],
            ..Verdict::default()
        };
        Report { steps, verdict, directory: None }
    }

    #[test]
    fn people_read_tables_and_a_verdict() {
        let text = anstream::adapter::strip_str(&report(&[]).text(true, false)).to_string();
        for line in [
            "what   compared   moved   deleted    data     time      rate",
            "push          -   1,200         -   3 MiB   1.50 s   2 MiB/s",
            "requests   LIST   HEAD   GET     PUT   parts   DELETE   other     all",
            "push          2      -     -   1,200       3        -       1   1,206",
            "✔ What came back is what was stored.",
            "  1 file, 3 MiB byte for byte, with names, times, modes, owners; 2 directories",
            "         3  symbolic links          left out, as VolSync does; --links keeps them",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        let bad = anstream::adapter::strip_str(&report(&["a: is missing"]).text(false, true)).to_string();
        assert!(bad.contains("✘ What came back is not what was stored: 1 difference.\n    a: is missing\n"), "{bad}");
    }

    #[test]
    fn machines_read_one_document() {
        let document: serde_json::Value = serde_json::from_str(&report(&[]).json().unwrap()).unwrap();
        assert_eq!(document["ok"], true);
        assert_eq!(document["steps"][0]["requests"]["PutObject"], 1_200);
        assert_eq!(document["verdict"]["not_kept"][0]["what"], "links");
    }
}
