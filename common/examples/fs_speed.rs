//! How fast a tree is walked and how fast small files become durable: the figures in `docs/performance.md`.
//!
//! `cargo run --release -p volsync-common --example fs_speed -- DIR [FILES [EACH]]` plants FILES (100,000) in
//! DIR/tree, EACH (100) to a directory, and works in DIR/small; DIR must be empty, and is left for a look at it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use volsync_common::dest::{CommitMeta, Dest, DestOptions};
use volsync_common::path::RelPath;
use volsync_common::time::Timestamp;
use volsync_common::walk::{WalkOptions, walk};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 7;
const SMALL: usize = 1000;
const META: CommitMeta = CommitMeta { mtime: Timestamp { secs: 1, nanos: 0 }, mode: None };

fn main() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("DIR is missing")?);
    let mut number = |default| arguments.next().and_then(|n| n.to_str()?.parse().ok()).unwrap_or(default);
    let (files, each) = (number(100_000), number(100));
    let tree = dir.join("tree");
    plant(&tree, files, each)?;
    memory(&tree)?;
    walks(&tree)?;
    commits(&dir.join("small"))
}

fn plant(tree: &Path, files: usize, each: usize) -> Outcome<()> {
    for n in 0..files {
        let parent = tree.join(format!("{:02}/{:04}", n / each / 100, n / each));
        if n % each == 0 {
            std::fs::create_dir_all(&parent)?;
        }
        std::fs::write(parent.join(format!("file-{n:06}")), b"x")?;
    }
    Ok(())
}

/// What one walk adds to the peak memory of the process; first of all, because the peak never falls.
fn memory(tree: &Path) -> Outcome<()> {
    let before = peak()?;
    let entries = walk(tree, WalkOptions { threads: 4, ..WalkOptions::default() }, |_, _, _| true)?.count();
    let grown = peak()? - before;
    Ok(writeln!(std::io::stdout(), "{:<40} {grown:>9} KiB", format!("peak memory of {entries} entries"))?)
}

fn peak() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// All are measured in turns, so that none profits from warm caches.
fn walks(tree: &Path) -> Outcome<()> {
    let ours = |threads| {
        move |tree: &Path| Ok(walk(tree, WalkOptions { threads, ..WalkOptions::default() }, |_, _, _| true)?.count())
    };
    let mut times = vec![Vec::new(); 4];
    for _ in 0..=ROUNDS {
        times[0].push(timed(|| theirs(tree))?);
        for (at, threads) in [0, 2, 4].into_iter().enumerate() {
            times[at + 1].push(timed(|| ours(threads)(tree))?);
        }
    }
    for (name, times) in ["walkdir, sorted, with metadata", "walk, 0 threads", "walk, 2 threads", "walk, 4 threads"]
        .iter()
        .zip(&mut times)
    {
        say(name, median(times))?;
    }
    Ok(())
}

fn theirs(tree: &Path) -> Outcome<usize> {
    let mut count = 0;
    for entry in walkdir::WalkDir::new(tree).min_depth(1).sort_by_file_name() {
        count += usize::from(entry?.metadata()?.len() < u64::MAX);
    }
    Ok(count)
}

fn commits(small: &Path) -> Outcome<()> {
    std::fs::create_dir_all(small)?;
    let dest = Dest::open(small, DestOptions::default())?;
    let write = |kind: &str, n: usize| -> Outcome<_> {
        let temp = dest.create(&RelPath::new(format!("{kind}-{n}").into_bytes())?, 4096)?;
        temp.write_at(0, &[7; 4096])?;
        Ok(temp)
    };
    let single = |kind, flush| timed(|| (0..SMALL).try_for_each(|n| Ok(write(kind, n)?.commit(META, flush)?)));
    say("1,000 files of 4 KiB, not flushed", single("plain", false)?)?;
    dest.sync_fs()?;
    say("1,000 files of 4 KiB, each flushed", single("each", true)?)?;
    dest.sync_fs()?;
    let batch = timed(|| {
        let sealed = (0..SMALL).map(|n| Ok(write("batch", n)?.seal(META)?)).collect::<Outcome<Vec<_>>>()?;
        Ok(dest.commit_batch(sealed)?.into_iter().collect::<Result<Vec<()>, _>>()?)
    })?;
    say("1,000 files of 4 KiB, one batch", batch)
}

fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn say(what: &str, time: Duration) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{what:<40} {:>9.1} ms", time.as_secs_f64() * 1000.0)?)
}
