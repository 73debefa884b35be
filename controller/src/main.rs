//! The program `volsync-controller`.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::{fs, path::PathBuf};

/// Runs VolSync's replication resources.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the manifests of the custom resources into a directory.
    Crds {
        /// The directory, which is made if it is missing.
        directory: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Crds { directory } => write_crds(&directory),
    }
}

fn write_crds(directory: &std::path::Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("make the directory {}", directory.display()))?;
    for (name, content) in volsync_controller::crd::manifests()? {
        let path = directory.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
