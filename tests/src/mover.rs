//! Our own binary: the one that `cargo build --release --workspace --bins` put beside the running test.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use tempfile::TempDir;
use walkdir::WalkDir;

use crate::process::{self, Outcome};

/// What every binary is made of, relative to the repository.
const SOURCES: [&str; 3] = ["common/src", "common/md5/src", "Cargo.lock"];

/// Path of `mover-rclone`; panics when it is missing or older than its sources.
pub fn binary() -> PathBuf {
    program("mover-rclone", &["mover-rclone/src"])
}

/// Path of a program of ours; panics when it is missing or older than its sources.
pub fn program(name: &str, sources: &[&str]) -> PathBuf {
    let file = release_dir().join(name);
    let Ok(built) = fs::metadata(&file).and_then(|meta| meta.modified()) else {
        panic!("{} does not exist: cargo build --release --workspace --bins", file.display())
    };
    let newest = newest(&repository(), sources);
    assert!(built >= newest, "{} is older than its sources: cargo build --release --workspace --bins", file.display());
    file
}

/// Runs our command line as the calling user, with an empty home and no inherited variables but `env`.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(args: &[S], env: &[(&str, &str)]) -> Outcome {
    let home = TempDir::with_prefix("mover-home-").unwrap();
    process::run(&mut command(home.path(), args, env))
}

/// Runs our mover by the name that the operator starts it by, with no variables but `env`.
#[track_caller]
pub fn run_job(env: &[(&str, &str)]) -> Outcome {
    let home = TempDir::with_prefix("mover-home-").unwrap();
    let name = home.path().join("active.sh");
    std::os::unix::fs::symlink(binary(), &name).unwrap();
    process::run(Command::new(&name).env_clear().env("HOME", home.path()).envs(env.iter().copied()))
}

/// The command of [`run`], with `home` as its home.
pub fn command<S: AsRef<OsStr>>(home: &Path, args: &[S], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary());
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin");
    command.envs(env.iter().copied()).args(args);
    command
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The directory of the finished programs: test executables lie in `deps` below it.
pub fn release_dir() -> PathBuf {
    env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().to_owned()
}

fn newest(repository: &Path, sources: &[&str]) -> SystemTime {
    let files = SOURCES.iter().chain(sources).flat_map(|source| WalkDir::new(repository.join(source)));
    let metas = files.map(|entry| entry.unwrap().metadata().unwrap());
    metas.filter(fs::Metadata::is_file).map(|meta| meta.modified().unwrap()).max().unwrap()
}
