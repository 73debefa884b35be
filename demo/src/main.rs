//! A volume goes to an S3 bucket and comes back, and what came back is compared: `cargo run --release -p volsync-demo`.
//!
//! The mover's own command line does the work ([`mover`]). The bucket is in this process ([`bucket`]) and counts what it is
//! asked. The comparison ([`verdict`]) shares no code with either: it reads both trees and every byte by itself.

mod bucket;
mod mover;
mod report;
mod screen;
mod support;
mod tree;
mod verdict;
mod volume;
mod workplace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use bucket::Bucket;
use mover::Mover;
use report::Report;
use screen::Screen;
use support::Support;
use tree::Tree;
use verdict::{Policy, Verdict};
use workplace::Workplace;

/// Stores a volume in an S3 bucket and restores it, on this machine alone, and compares what came back.
///
/// The bucket is served by this program over TLS. Without a directory the volume is generated, with everything that is
/// awkward to keep: odd names, hard links, holes, access lists.
#[derive(Parser)]
#[command(name = "volsync-demo", bin_name = "demo", version, max_term_width = 100)]
struct Arguments {
    /// A directory to store instead of a generated volume; it is read and never changed
    dir: Option<PathBuf>,
    /// Keep symbolic links too, as rclone's --links does
    #[arg(long)]
    links: bool,
    /// Let the store take this many milliseconds more for each answer, as one that is far away does
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency_ms: u64,
    /// Leave the generated volume and the restored one in place
    #[arg(long)]
    keep: bool,
    /// Leave the store running at the end, until Ctrl-C, to look around in
    #[arg(long, conflicts_with = "json")]
    serve: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether what came back is what was stored.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let screen = Screen::new(arguments.json);
    let workplace = Workplace::new(arguments.keep)?;
    let support = Support::of(workplace.path())?;
    let generated = arguments.dir.is_none();
    screen.headline("volsync-rs: a volume to an S3 bucket and back, compared byte for byte\n");
    let bucket = Bucket::start(workplace.path(), Duration::from_millis(arguments.latency_ms))?;
    screen.tell("store", &format!("{}, an S3 server in this process, TLS under its own authority", bucket.url()));
    let volume = volume(arguments.dir.as_deref(), &workplace, support, &screen)?;
    bucket.go_on()?;

    let mover = Mover::new(&bucket, arguments.links);
    let restored = workplace.directory("restored")?;
    let mut steps = vec![screen.step("push into an empty prefix", || mover.push("push", &volume))?];
    if generated {
        screen.tell("change", volume::change(&volume)?);
        steps.push(screen.step("push what changed", || mover.push("push, changed", &volume))?);
    }
    steps.push(screen.step("push once more, unchanged", || mover.push("push, unchanged", &volume))?);
    steps.push(screen.step("pull into an empty directory", || mover.pull("pull", &restored))?);
    bucket.go_on()?;

    screen.tell("compare", "the restored volume with the stored one");
    let policy = Policy { links: arguments.links, support };
    let verdict = verify(&volume, &restored, policy, &bucket)?;
    let report = Report { steps, verdict, directory: arguments.keep.then(|| workplace.path().to_owned()) };
    if arguments.json {
        screen.document(&report.json()?);
    } else {
        screen.say(&report.text(generated, arguments.links));
    }
    if arguments.serve {
        screen.say(&bucket.invitation());
        bucket.wait();
    }
    Ok(report.verdict.is_good())
}

/// The directory to store, with room for what will be made of it.
fn volume(given: Option<&Path>, workplace: &Workplace, support: Support, screen: &Screen) -> anyhow::Result<PathBuf> {
    let path = if let Some(path) = given {
        screen.tell("volume", &format!("{}, only read", tree::shown(path)));
        path.canonicalize().with_context(|| format!("no such volume: {}", tree::shown(path)))?
    } else {
        let path = workplace.directory("volume")?;
        screen.tell("volume", &format!("{}, generated", tree::shown(&path)));
        volume::generate(&path, support).context("generating a volume")?;
        path
    };
    let tree = Tree::of(&path)?;
    // The bucket keeps one copy, the restored volume is another.
    workplace.must_have_room_for(tree.bytes().saturating_mul(2))?;
    screen.tell("", &tree.describe());
    Ok(path)
}

fn verify(volume: &Path, restored: &Path, policy: Policy, bucket: &Bucket) -> anyhow::Result<Verdict> {
    let (wanted, found) = (Tree::of(volume)?, Tree::of(restored)?);
    verdict::compare((volume, &wanted), (restored, &found), policy, &|| bucket.go_on())
}
