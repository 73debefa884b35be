//! Rows, ratios, and the file that remembers them.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::measure::Sample;

/// One kind of work: every run of both contestants.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    rclone: Runs,
    ours: Runs,
}

/// One entry per run. Seconds, KiB, requests.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Runs {
    wall: Vec<f64>,
    cpu: Vec<f64>,
    peak_kib: Vec<u64>,
    requests: Vec<u64>,
}

/// A fall by more than this part of the recorded ratio is one too many.
const TOLERANCE: f64 = 0.2;

pub(crate) fn add(rows: &mut Vec<Row>, name: &str, ours: bool, sample: Sample, requests: u64) {
    if !rows.iter().any(|row| row.name == name) {
        rows.push(Row { name: name.to_owned(), ..Row::default() });
    }
    for row in rows.iter_mut().filter(|row| row.name == name) {
        let runs = if ours { &mut row.ours } else { &mut row.rclone };
        runs.wall.push(sample.wall);
        runs.cpu.push(sample.cpu);
        runs.peak_kib.push(sample.peak_kib);
        runs.requests.push(requests);
    }
}

impl Row {
    /// How many times more rclone takes: wall, CPU. Nothing where one of them did not run.
    fn ratios(&self) -> [(&'static str, Option<f64>); 2] {
        let ratio = |rclone: &[f64], ours: &[f64]| Some(median(rclone)? / median(ours)?);
        [("wall", ratio(&self.rclone.wall, &self.ours.wall)), ("CPU", ratio(&self.rclone.cpu, &self.ours.cpu))]
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
        for ((what, now), (_, before)) in row.ratios().into_iter().zip(before.ratios()) {
            if let (Some(now), Some(before)) = (now, before)
                && now < before * (1.0 - TOLERANCE)
            {
                lines.push(format!("{}: {what} ratio fell from {before:.2} to {now:.2}", row.name));
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
    println!("{:24} {:>9} {:>9} {:>9} {:>9}  ratio wall, CPU", "", "wall s", "CPU s", "peak MiB", "requests");
    for row in rows {
        for (who, runs) in [("rclone", &row.rclone), ("ours", &row.ours)] {
            let Some((wall, cpu)) = median(&runs.wall).zip(median(&runs.cpu)) else { continue };
            let (peak, requests) = (most(&runs.peak_kib) >> 10, most(&runs.requests));
            println!("{:17} {who:6} {wall:9.2} {cpu:9.2} {peak:9} {requests:9}{}", row.name, ratios(row, who));
        }
    }
    Ok(())
}

fn ratios(row: &Row, who: &str) -> String {
    match row.ratios() {
        [(_, Some(wall)), (_, Some(cpu))] if who == "ours" => format!("  {wall:.2}, {cpu:.2}"),
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
        for (is_ours, time) in [(false, rclone), (true, ours)] {
            add(&mut rows, "work", is_ours, Sample { wall: time, cpu: time, peak_kib: 1 }, 1);
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
        let found: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.rclone.wall[0])).collect();
        assert_eq!(found, [("a", 1.0), ("b", 3.0), ("c", 4.0)]);
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
