//! Rows, ratios, and the file that remembers them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::measure::Sample;

/// One kind of work: every run of each contestant.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(flatten)]
    runs: BTreeMap<String, Runs>,
}

/// One entry per run. Seconds, KiB, requests.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Runs {
    wall: Vec<f64>,
    cpu: Vec<f64>,
    peak_kib: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    requests: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    wire_kib: Vec<u64>,
}

/// What a run took of the other machine or the way there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extra {
    /// Requests to a server.
    Requests(u64),
    /// KiB over the connection.
    Wire(u64),
}

/// The originals, which the others are compared with.
const ORIGINALS: [&str; 2] = ["rclone", "stock"];

/// A fall by more than this part of the recorded ratio is one too many.
const TOLERANCE: f64 = 0.2;

pub(crate) fn add(rows: &mut Vec<Row>, name: &str, who: &str, sample: Sample, extra: Extra) {
    if !rows.iter().any(|row| row.name == name) {
        rows.push(Row { name: name.to_owned(), ..Row::default() });
    }
    for row in rows.iter_mut().filter(|row| row.name == name) {
        let runs = row.runs.entry(who.to_owned()).or_default();
        runs.wall.push(sample.wall);
        runs.cpu.push(sample.cpu);
        runs.peak_kib.push(sample.peak_kib);
        match extra {
            Extra::Requests(requests) => runs.requests.push(requests),
            Extra::Wire(kib) => runs.wire_kib.push(kib),
        }
    }
}

impl Row {
    fn original(&self) -> Option<&Runs> {
        ORIGINALS.iter().find_map(|name| self.runs.get(*name))
    }

    /// How many times more the original takes than `who`: wall, CPU. Nothing where one of them did not run.
    fn ratios(&self, who: &str) -> [(&'static str, Option<f64>); 2] {
        let ratio = |of: fn(&Runs) -> &Vec<f64>| Some(median(of(self.original()?))? / median(of(self.runs.get(who)?))?);
        [("wall", ratio(|runs| &runs.wall)), ("CPU", ratio(|runs| &runs.cpu))]
    }

    /// The original first.
    fn contestants(&self) -> impl Iterator<Item = (&String, &Runs)> {
        let is_original = |name: &String| ORIGINALS.contains(&name.as_str());
        let (first, others): (Vec<_>, Vec<_>) = self.runs.iter().partition(|(name, _)| is_original(name));
        first.into_iter().chain(others)
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn most(values: &[u64]) -> u64 {
    values.iter().copied().max().unwrap_or(0)
}

/// A line for each ratio that fell too far below the recorded one.
pub(crate) fn fallen(rows: &[Row], recorded: &[Row]) -> Vec<String> {
    let mut lines = Vec::new();
    for (row, before) in rows.iter().filter_map(|row| Some((row, recorded.iter().find(|r| r.name == row.name)?))) {
        for (who, _) in row.contestants() {
            for ((what, now), (_, before)) in row.ratios(who).into_iter().zip(before.ratios(who)) {
                if let (Some(now), Some(before)) = (now, before)
                    && now < before * (1.0 - TOLERANCE)
                {
                    lines.push(format!("{}, {who}: {what} ratio fell from {before:.2} to {now:.2}", row.name));
                }
            }
        }
    }
    lines
}

pub(crate) fn print(rows: &[Row], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    println!(
        "{:36} {:>9} {:>9} {:>9} {:>9} {:>9}  ratio wall, CPU",
        "", "wall s", "CPU s", "peak MiB", "requests", "wire MiB"
    );
    for row in rows {
        for (who, runs) in row.contestants() {
            let Some((wall, cpu)) = median(&runs.wall).zip(median(&runs.cpu)) else { continue };
            let (peak, requests) = (most(&runs.peak_kib) >> 10, most(&runs.requests));
            let ([whole, tenth], ratios) = (mib(most(&runs.wire_kib)), ratios(row, who));
            println!("{:22} {who:13} {wall:9.2} {cpu:9.2} {peak:9} {requests:9} {whole:7}.{tenth}{ratios}", row.name);
        }
    }
    Ok(())
}

/// Whole MiB, and tenths.
fn mib(kib: u64) -> [u64; 2] {
    [kib >> 10, ((kib & 1023) * 10) >> 10]
}

fn ratios(row: &Row, who: &str) -> String {
    match row.ratios(who) {
        [(_, Some(wall)), (_, Some(cpu))] if !ORIGINALS.contains(&who) => format!("  {wall:.2}, {cpu:.2}"),
        _ => String::new(),
    }
}

/// No file: nothing was recorded yet.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Row>> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Rows of other work stay as they were recorded.
pub(crate) fn merge(path: &Path, rows: Vec<Row>) -> anyhow::Result<()> {
    let mut all = read(path)?;
    all.retain(|old| !rows.iter().any(|row| row.name == old.name));
    all.extend(rows);
    write(path, &all)
}

fn write(path: &Path, rows: &[Row]) -> anyhow::Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(rows)? + "\n").with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rclone: f64, ours: f64) -> Row {
        let mut rows = Vec::new();
        for (who, time) in [("rclone", rclone), ("ours", ours)] {
            add(&mut rows, "work", who, Sample { wall: time, cpu: time, peak_kib: 1 }, Extra::Requests(1));
        }
        rows.remove(0)
    }

    #[test]
    fn recording_replaces_rows_of_the_same_work_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recorded.json");
        let named = |name: &str, time| Row { name: name.to_owned(), ..row(time, 1.0) };
        merge(&path, vec![named("a", 1.0), named("b", 2.0)]).unwrap();
        merge(&path, vec![named("b", 3.0), named("c", 4.0)]).unwrap();
        let rows = read(&path).unwrap();
        let found: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.runs["rclone"].wall[0])).collect();
        assert_eq!(found, [("a", 1.0), ("b", 3.0), ("c", 4.0)]);
    }

    #[test]
    fn what_was_recorded_is_read() {
        for file in ["recorded.json", "recorded-quick.json"] {
            let rows = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
            let compared = rows.iter().filter(|row| row.ratios("ours").iter().all(|(_, ratio)| ratio.is_some()));
            assert!(compared.count() > 5, "{file}");
        }
    }

    #[test]
    fn a_fall_by_more_than_a_fifth_counts() {
        let check = |now: (f64, f64), before: (f64, f64), expect: usize| {
            assert_eq!(fallen(&[row(now.0, now.1)], &[row(before.0, before.1)]).len(), expect, "{now:?} {before:?}");
        };
        check((10.0, 1.0), (10.0, 1.0), 0);
        check((8.1, 1.0), (10.0, 1.0), 0);
        check((7.9, 1.0), (10.0, 1.0), 2);
        check((20.0, 1.0), (10.0, 1.0), 0);
    }
}
