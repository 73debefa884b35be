//! The program `volsync-controller`.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::{
    fs,
    path::{Path, PathBuf},
};
use volsync_controller::{
    cluster, crd,
    flags::Flags,
    local,
    settings::{Settings, zone},
};

/// Runs VolSync's replication resources.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the controller, with the cluster of `KUBECONFIG` or of the pod.
    #[command(args_override_self = true)]
    Run(Box<Flags>),
    /// Run the replications of a file on this machine, without a cluster.
    Local(Box<local::LocalFlags>),
    /// Write the manifests of the custom resources into a directory.
    Crds {
        /// The directory, which is made if it is missing.
        directory: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Crds { directory } => write_crds(&directory),
        Command::Local(flags) => {
            let zone = zone(|name| std::env::var(name).ok()).context("read the settings")?;
            block_on(async { local::run(&flags, zone).await.context("run the replications") })
        }
        Command::Run(flags) => {
            let variable = |name: &str| std::env::var(name).ok();
            let settings = Settings::of(&flags, variable).context("read the settings")?;
            block_on(async { cluster::run(&flags, settings).await.context("run the controller") })
        }
    }
}

/// One thread does it all, but for making keys: what is waited for are networks, and a second thread would have the allocator
/// keep memory of its own for it.
fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start threads")?;
    runtime.block_on(work)
}

fn write_crds(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("make the directory {}", directory.display()))?;
    for (name, content) in crd::manifests()? {
        let path = directory.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
