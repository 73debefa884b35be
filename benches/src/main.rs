//! `bench`: whole processes side by side, the originals against ours.
//!
//! All contestants do the same chain of work in the same run, taking turns at going first; the rows are medians. Exit
//! code 1: a ratio fell by more than a fifth against the recorded one.

mod contestant;
mod cores;
mod measure;
mod rclone;
mod record;
mod rsync;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use workload::{Made, Volumes};

/// Compares our movers with what VolSync runs.
#[derive(Parser)]
struct Arguments {
    /// Which one
    #[arg(value_enum, default_value = "rclone")]
    suite: Suite,
    /// The rclone to compare with (1.75).
    #[arg(long, default_value = "rclone")]
    rclone: PathBuf,
    /// Our mover-rclone; without it rclone runs alone and no ratio is given.
    #[arg(long)]
    ours: Option<PathBuf>,
    /// Directory for volumes, the server's objects and scratch files.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Paired runs of each row.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Milliseconds the S3 server adds to each request.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Milliseconds of a round trip to the other end of rsync.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Smaller volumes and three pairs: minutes instead of an hour.
    #[arg(long)]
    quick: bool,
    /// Print rows as JSON.
    #[arg(long)]
    json: bool,
    /// Put the rows into the recorded file, in place of those of the same work, instead of comparing with it.
    #[arg(long)]
    record: bool,
    /// The recorded rows; without it those in benches/ of the same suite and size.
    #[arg(long)]
    recorded: Option<PathBuf>,
    /// Volumes to compare with: small, large, huge, edited, many, million. Without it three of them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Speak HTTPS under the S3 server's own authority.
    #[arg(long)]
    tls: bool,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// mover-rclone with rclone in VolSync's flow
    Rclone,
    /// mover-rsync with rsync, VolSync's options, over sshd on loopback
    Rsync,
}

impl Arguments {
    fn recorded(&self) -> PathBuf {
        let suite = if self.suite == Suite::Rsync { "-rsync" } else { "" };
        let quick = if self.quick { "-quick" } else { "" };
        self.recorded.clone().unwrap_or_else(|| format!("benches/recorded{suite}{quick}.json").into())
    }

    /// What makes rows of the same work different rows.
    fn suffix(&self) -> String {
        let ms = if self.suite == Suite::Rsync { self.delay_ms } else { self.latency_ms };
        let latency = if ms > 0 { format!(" {ms} ms") } else { String::new() };
        latency + if self.tls { " https" } else { "" }
    }

    /// Makes one volume after the other and lets the contestants, by their numbers, take turns at going first.
    fn rounds(
        &self,
        volumes: &[Volumes],
        dir: &Path,
        contestants: usize,
        mut chain: impl FnMut(&Volumes, &Made, usize, usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let pairs = if self.quick { self.pairs.min(3) } else { self.pairs };
        for volumes in volumes {
            let made = volumes.make(dir)?;
            for pair in 0..pairs {
                for turn in 0..contestants {
                    chain(volumes, &made, pair, (pair + turn) % contestants)?;
                }
            }
            std::fs::remove_dir_all(&made.dir)?;
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = rsync::far_end()? {
        return Ok(code);
    }
    let arguments = Arguments::parse();
    let rows = match arguments.suite {
        Suite::Rclone => rclone::rows(&arguments)?,
        Suite::Rsync => rsync::rows(&arguments)?,
    };
    record::print(&rows, arguments.json)?;
    if arguments.record {
        record::merge(&arguments.recorded(), rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let fallen = record::fallen(&rows, &record::read(&arguments.recorded())?);
    for line in &fallen {
        eprintln!("{line}");
    }
    Ok(if fallen.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
