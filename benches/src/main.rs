//! `bench`: whole processes side by side, rclone under VolSync's mover flow against `mover-rclone`.
//!
//! Both do the same chain of work on the same server in the same run, taking turns at going first; the rows are
//! medians. Exit code 1: a ratio fell by more than a fifth against the recorded one.

mod contestant;
mod measure;
mod record;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use volsync_embedded_s3::{Server, ServerOptions};

use contestant::{Contestant, Work};
use record::Row;
use workload::Volumes;

const BUCKET: &str = "bench";

/// Compares mover-rclone with rclone in VolSync's flow.
#[derive(Parser)]
struct Arguments {
    /// The rclone to compare with (1.75).
    #[arg(long, default_value = "rclone")]
    rclone: PathBuf,
    /// Our binary; without it rclone runs alone and no ratio is given.
    #[arg(long)]
    ours: Option<PathBuf>,
    /// Directory for volumes, the server's objects and scratch files.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Paired runs of each row.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Milliseconds the server adds to each request.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Smaller volumes and three pairs: minutes instead of an hour.
    #[arg(long)]
    quick: bool,
    /// Print rows as JSON.
    #[arg(long)]
    json: bool,
    /// Put the rows into the recorded file, in place of those of the same work, instead of comparing with it.
    #[arg(long)]
    record: bool,
    /// The recorded rows; without it those in benches/ of the same size.
    #[arg(long)]
    recorded: Option<PathBuf>,
    /// Volumes to compare with: small, large, huge, many, million. Without it the first three.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Speak HTTPS under the server's own authority.
    #[arg(long)]
    tls: bool,
}

impl Arguments {
    fn recorded(&self) -> PathBuf {
        let default = if self.quick { "benches/recorded-quick.json" } else { "benches/recorded.json" };
        self.recorded.clone().unwrap_or_else(|| default.into())
    }

    /// What makes rows of the same work different rows.
    fn suffix(&self) -> String {
        let latency = if self.latency_ms > 0 { format!(" {} ms", self.latency_ms) } else { String::new() };
        latency + if self.tls { " https" } else { "" }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let rows = rows(&arguments)?;
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

fn rows(arguments: &Arguments) -> anyhow::Result<Vec<Row>> {
    let scratch = tempfile::tempdir_in(&arguments.dir).context("scratch directory")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(server(arguments, scratch.path().join("objects")))?;
    let contestants = contestants(arguments, &server, scratch.path())?;
    let pairs = if arguments.quick { arguments.pairs.min(3) } else { arguments.pairs };
    let mut rows = Vec::new();
    for volumes in workload::chosen(arguments.quick, &arguments.only)? {
        let made = volumes.make(scratch.path())?;
        for pair in 0..pairs {
            let order = contestants.iter().enumerate().cycle().skip(pair % contestants.len()).take(contestants.len());
            for (who, contestant) in order {
                chain(&volumes, &made, pair, (who, contestant), &server, &arguments.suffix(), &mut rows)?;
            }
        }
        std::fs::remove_dir_all(&made.dir)?;
    }
    Ok(rows)
}

async fn server(arguments: &Arguments, objects: PathBuf) -> anyhow::Result<Server> {
    std::fs::create_dir(&objects)?;
    let latency = Duration::from_millis(arguments.latency_ms);
    let options = ServerOptions {
        data_dir: Some(objects),
        latency,
        tls: arguments.tls,
        record: false,
        ..ServerOptions::with_bucket(BUCKET)
    };
    Ok(Server::start(options).await?)
}

fn contestants(arguments: &Arguments, server: &Server, dir: &std::path::Path) -> anyhow::Result<Vec<Contestant>> {
    let config = dir.join("rclone.conf");
    std::fs::write(
        &config,
        format!(
            "[bench]\ntype = s3\nprovider = Other\nendpoint = {}\naccess_key_id = {}\nsecret_access_key = {}\n",
            server.endpoint(),
            server.access_key(),
            server.secret_key()
        ),
    )?;
    let ca = server.ca_pem().map(|pem| (dir.join("ca.crt"), pem));
    if let Some((path, pem)) = &ca {
        std::fs::write(path, pem)?;
    }
    let ca = ca.map(|(path, _)| path);
    let ours = arguments.ours.iter().map(|binary| Contestant::ours(binary, &config, ca.clone()));
    Ok(std::iter::once(Contestant::rclone(&arguments.rclone, &config, ca.clone())).chain(ours).collect())
}

/// One contestant's way through one kind of volume: first push, nothing changed, a little changed, restore.
fn chain(
    volumes: &Volumes,
    made: &workload::Made,
    pair: usize,
    (who, contestant): (usize, &Contestant),
    server: &Server,
    suffix: &str,
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    let remote = format!("{BUCKET}/{}-{who}-{pair}", volumes.name);
    let scratch = tempfile::tempdir_in(&made.dir)?;
    let target = scratch.path().join("restored");
    std::fs::create_dir(&target)?;
    let steps = [
        ("first push", Some(Work::push(&made.first, &remote))),
        ("unchanged", Some(Work::push(&made.first, &remote))),
        ("changed", made.changed.as_ref().map(|changed| Work::push(changed, &remote))),
        ("restore", Some(Work::pull(&target, &remote))),
    ];
    for (step, work) in steps {
        let Some(work) = work else { continue };
        let before = server.recorder().total();
        let sample = measure::run(contestant.commands(&work, scratch.path()), &scratch.path().join("log"))
            .with_context(|| format!("{} {step} by {}", volumes.name, contestant.name()))?;
        let requests = server.recorder().total() - before;
        eprintln!("{} {step}, pair {pair}, {}: {:.2} s", volumes.name, contestant.name(), sample.wall);
        record::add(rows, &format!("{} {step}{suffix}", volumes.name), contestant.is_ours(), sample, requests);
    }
    empty_bucket(server)
}

/// The next chain finds as much room as this one: volumes and objects may lie in memory.
fn empty_bucket(server: &Server) -> anyhow::Result<()> {
    for key in server.store().keys(BUCKET) {
        server.store().delete(BUCKET, &key)?;
    }
    Ok(())
}
