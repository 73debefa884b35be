//! diskrsync's command line: a push or a pull over a remote shell, and what that shell starts at the other end.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout};
use std::time::Instant;

use clap::Parser;
use volsync_common::path::Shown;

use super::{Copied, Device, source, target};
use crate::exit::{ExitCode, Fatal};
use crate::shell::Remote;

/// Brings a block device or an image to another machine or from there, with diskrsync or itself at the other end.
#[derive(Debug, Parser)]
#[command(name = "diskrsync")]
struct DiskrsyncCli {
    /// Speak for the source on standard input and output
    #[arg(long, hide = true, conflicts_with = "target")]
    source: bool,
    /// Speak for the target on standard input and output
    #[arg(long, hide = true)]
    target: bool,
    /// Have stock store a file as it is, as this program always does
    #[arg(long)]
    no_compress: bool,
    /// Print bytes and speed
    #[arg(long)]
    verbose: bool,
    /// Options of ssh
    #[arg(long, value_name = "FLAGS", default_value = "", hide_default_value = true)]
    ssh_flags: String,
    /// The program at the other end
    #[arg(long, value_name = "PATH", default_value = "diskrsync")]
    cmd_path: String,
    /// For stock's progress bars, which are not shown
    #[arg(long, hide = true)]
    calc_progress: bool,
    /// For stock's progress bars, which are not shown
    #[arg(long, hide = true)]
    sync_progress: bool,
    /// From where to where, `[[USER@]HOST:]PATH`: one of them is on this machine
    #[arg(value_name = "PLACE", required = true, num_args = 1..=2)]
    places: Vec<OsString>,
}

/// Runs the command line; the exit code.
pub fn run(args: &[OsString]) -> u8 {
    match DiskrsyncCli::try_parse_from(std::iter::once("diskrsync".into()).chain(args.iter().cloned())) {
        Ok(cli) => cli.run(),
        Err(error) => {
            let _printed = error.print();
            if error.use_stderr() { ExitCode::Usage as u8 } else { 0 }
        }
    }
}

/// Speaks for the target on standard input and output, whose place must exist; the exit code.
pub fn serve(block: &Path) -> u8 {
    code(open_target(block, false).and_then(|device| served(|input, output| target(&device, input, output))))
}

/// Brings `block` to the device `destination`, `[USER@]HOST:PATH`, by the remote shell `shell`; the exit code.
pub fn push(block: &Path, destination: &[u8], shell: &[String]) -> u8 {
    let end = Elsewhere { place: destination, shell, program: "diskrsync", told: true };
    // Neither device can grow.
    code(
        open_source(block)
            .and_then(|device| end.meet(&["--target"], |input, output| source(&device, true, input, output))),
    )
}

impl DiskrsyncCli {
    fn run(&self) -> u8 {
        let shell = format!("ssh {}", self.ssh_flags);
        let shell: Vec<_> = shell.split_whitespace().map(ToOwned::to_owned).collect();
        let local = |place: &OsString| Remote::parse(place.as_bytes()).is_none();
        match (&self.places[..], self.source, self.target) {
            ([place], true, false) => {
                let device = open_source(Path::new(place));
                code(device.and_then(|device| served(|input, output| source(&device, false, input, output))))
            }
            ([place], false, true) => {
                let device = open_target(Path::new(place), true);
                code(device.and_then(|device| served(|input, output| target(&device, input, output))))
            }
            ([from, to], false, false) if local(from) && !local(to) => {
                let device = open_source(Path::new(from));
                code(device.and_then(|device| {
                    self.elsewhere(to, &shell)
                        .meet(&self.target_words(), |input, output| source(&device, false, input, output))
                }))
            }
            ([from, to], false, false) if !local(from) && local(to) => {
                let device = open_target(Path::new(to), true);
                code(device.and_then(|device| {
                    self.elsewhere(from, &shell).meet(&["--source"], |input, output| target(&device, input, output))
                }))
            }
            _ => code(Err(Fatal::Other(ExitCode::Usage, "one of two places must be here".into()))),
        }
    }

    fn target_words(&self) -> Vec<&'static str> {
        let raw = self.no_compress.then_some("--no-compress");
        ["--target"].into_iter().chain(raw).collect()
    }

    fn elsewhere<'a>(&'a self, place: &'a OsString, shell: &'a [String]) -> Elsewhere<'a> {
        Elsewhere { place: place.as_bytes(), shell, program: &self.cmd_path, told: self.verbose }
    }
}

/// The end that is not on this machine.
struct Elsewhere<'a> {
    /// `[USER@]HOST:PATH`
    place: &'a [u8],
    shell: &'a [String],
    /// What the shell starts there.
    program: &'a str,
    /// Print bytes and speed.
    told: bool,
}

impl Elsewhere<'_> {
    /// Starts it with these words and speaks with it; the exit code of both ends.
    fn meet(
        &self,
        words: &[&str],
        speak: impl FnOnce(ChildStdout, ChildStdin) -> Result<Copied, Fatal>,
    ) -> Result<u8, Fatal> {
        let started = Instant::now();
        let nowhere = || Fatal::Other(ExitCode::Usage, format!("{} names no host", Shown(self.place)));
        let remote = Remote::parse(self.place).ok_or_else(nowhere)?;
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        let ((to, from), running) = remote.start(self.shell, self.program, &words, &[remote.path().to_vec()])?;
        let mut done = None;
        let here = speak(from, to).map(|copied| {
            done = Some(copied);
            0
        });
        let code = running.conclude(here)?;
        if let Some(copied) = done.filter(|_| self.told && code == 0) {
            copied.report(started);
        }
        Ok(code)
    }
}

/// Speaks on standard input and output.
fn served(speak: impl FnOnce(File, File) -> Result<Copied, Fatal>) -> Result<u8, Fatal> {
    let own = |fd: io::Result<std::os::fd::OwnedFd>| fd.map(File::from).map_err(|error| unusable(&error));
    let input = own(io::stdin().as_fd().try_clone_to_owned())?;
    let output = own(io::stdout().as_fd().try_clone_to_owned())?;
    speak(input, output).map(|_| 0)
}

fn unusable(error: &io::Error) -> Fatal {
    Fatal::Other(ExitCode::StartClient, format!("standard input and output cannot be used: {error}"))
}

pub(crate) fn open_source(path: &Path) -> Result<Device, Fatal> {
    Device::source(path).map_err(|error| cannot_open(path, &error))
}

pub(crate) fn open_target(path: &Path, create: bool) -> Result<Device, Fatal> {
    Device::target(path, create).map_err(|error| cannot_open(path, &error))
}

fn cannot_open(path: &Path, error: &io::Error) -> Fatal {
    Fatal::Other(ExitCode::FileSelect, format!("cannot open {}: {error}", path.display()))
}

pub(crate) fn code(result: Result<u8, Fatal>) -> u8 {
    result.unwrap_or_else(|fatal| {
        eprintln!("diskrsync error: {fatal} (code {})", fatal.code());
        fatal.code()
    })
}
