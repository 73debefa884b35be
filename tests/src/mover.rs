//! Our own binary: the one that `cargo build --release --workspace --bins` put beside the running test.
//!
//! [`run`] is any command line; a [`Mover`] pushes and pulls volumes between directories and one server.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use tempfile::{TempDir, TempPath};
use walkdir::WalkDir;

use crate::peers;
use crate::process::{self, LIMIT, Outcome, Running};
use crate::servers::{S3Endpoint, SECTION, rclone_conf_with};

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

/// Our command line with one remote.
#[derive(Debug)]
pub struct Mover {
    home: TempDir,
    conf: TempPath,
    env: Vec<(String, String)>,
    inject: Option<String>,
}

impl Mover {
    /// With `endpoint` as its remote.
    pub fn new(endpoint: &dyn S3Endpoint) -> Self {
        Self::with_options(endpoint, "")
    }

    /// [`Mover::new`] with further lines in the section of the remote.
    pub fn with_options(endpoint: &dyn S3Endpoint, options: &str) -> Self {
        let this = Self::with_conf(rclone_conf_with(endpoint, "Minio", options));
        match endpoint.ca() {
            Some(ca) => this.env("RCLONE_CA_CERT", &ca.to_string_lossy()),
            None => this,
        }
    }

    /// With any `rclone.conf`.
    pub fn with_conf(conf: TempPath) -> Self {
        Self { home: TempDir::with_prefix("mover-home-").unwrap(), conf, env: Vec::new(), inject: None }
    }

    /// Sets a variable, as a key of the Secret would; later ones win.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answers system calls with an error or a signal: `strace --inject=WHAT`, for example `renameat:signal=KILL:when=3`
    /// for the third of a thread.
    #[must_use]
    pub fn inject(mut self, what: &str) -> Self {
        self.inject = Some(what.to_owned());
        self
    }

    /// Moves the volume `dir` to `path` = `BUCKET/PREFIX`.
    #[track_caller]
    pub fn push(&self, dir: &Path, path: &str) -> Outcome {
        self.start_push(dir, path).wait(LIMIT)
    }

    /// Moves what is at `path` = `BUCKET/PREFIX` to the volume `dir`.
    #[track_caller]
    pub fn pull(&self, path: &str, dir: &Path) -> Outcome {
        self.start_pull(path, dir).wait(LIMIT)
    }

    /// [`Mover::push`], not waited for.
    pub fn start_push(&self, dir: &Path, path: &str) -> Running {
        Running::start(&mut self.push_command(dir, path))
    }

    /// [`Mover::pull`], not waited for.
    pub fn start_pull(&self, path: &str, dir: &Path) -> Running {
        Running::start(&mut self.pull_command(path, dir))
    }

    /// The command of [`Mover::push`].
    pub fn push_command(&self, dir: &Path, path: &str) -> Command {
        self.command(&["push".as_ref(), dir.as_os_str(), remote(path).as_ref()])
    }

    /// The command of [`Mover::pull`].
    pub fn pull_command(&self, path: &str, dir: &Path) -> Command {
        self.command(&["pull".as_ref(), remote(path).as_ref(), dir.as_os_str()])
    }

    /// Any other command line of ours.
    pub fn command(&self, args: &[&OsStr]) -> Command {
        let mut command = match &self.inject {
            Some(what) => injected(what),
            None => Command::new(binary()),
        };
        command.env_clear().env("HOME", self.home.path()).env("PATH", "/usr/bin:/bin").env("RCLONE_CONFIG", &self.conf);
        command.envs(self.env.iter().map(|(name, value)| (name, value))).args(args);
        command
    }
}

/// Without `--seccomp-bpf`, with which strace 6.1 delivers a signal only at the first call.
fn injected(what: &str) -> Command {
    let calls = what.split(':').next().unwrap_or_default();
    let mut command = Command::new(peers::tool("strace"));
    command.args(["-f", "-qq", "-o", "/dev/null", &format!("--trace={calls}"), &format!("--inject={what}")]);
    command.arg(binary());
    command
}

fn remote(path: &str) -> String {
    format!("{SECTION}:{path}")
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The directory of the finished programs: test executables lie in `deps` below it, the benchmarks' beside them.
pub fn release_dir() -> PathBuf {
    let own = env::current_exe().unwrap();
    let dir = own.parent().unwrap();
    if dir.ends_with("deps") { dir.parent().unwrap().to_owned() } else { dir.to_owned() }
}

fn newest(repository: &Path, sources: &[&str]) -> SystemTime {
    // A program is not built anew because of files that only tests are made of.
    let only_tests = |path: &Path| path.ends_with("tests.rs") || path.ends_with("cases.rs");
    let files = SOURCES.iter().chain(sources).flat_map(|source| WalkDir::new(repository.join(source)));
    let entries = files.map(Result::unwrap).filter(|entry| !only_tests(entry.path()));
    let metas = entries.map(|entry| entry.metadata().unwrap());
    metas.filter(fs::Metadata::is_file).map(|meta| meta.modified().unwrap()).max().unwrap()
}
