//! The destination: an sshd that lets the source in, until it says that it is done.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Layout, TERMINATED, debugged, greet};
use crate::exit::ExitCode;
use crate::report::line;
use crate::sshd::{self, Sshd};

/// The exit code when nobody said another one.
const UNKNOWN: u8 = 255;

#[derive(Debug, Parser)]
#[command(name = "mover-rsync destination")]
struct DestinationCli {
    #[command(flatten)]
    layout: Layout,
    /// The port of sshd
    #[arg(long, default_value_t = 8022)]
    port: u16,
    /// sshd itself, which wants to be started by its whole path
    #[arg(long, default_value = "/usr/sbin/sshd")]
    sshd: PathBuf,
    /// Where the authorized key is written
    #[arg(long, default_value = "/root/.ssh")]
    ssh_directory: PathBuf,
}

/// Runs the destination; the exit code.
pub fn run(args: &[std::ffi::OsString]) -> u8 {
    greet();
    let parsed = DestinationCli::try_parse_from(std::iter::once("destination".into()).chain(args.iter().cloned()));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let _printed = error.print();
            return ExitCode::Usage as u8;
        }
    };
    match debugged(&cli.layout) {
        Ok(false) => {}
        Ok(true) => return 0,
        Err(error) => {
            eprintln!("mover-rsync: cannot wait for a person: {error}");
            return 1;
        }
    }
    let Some(volume) = cli.layout.volume() else {
        line("ERROR: target location not found");
        return 1;
    };
    line(&format!("Destination PVC volumeMode is {}", volume.name()));
    match serve(&cli) {
        Ok(code) => {
            line(&format!("Exiting... Exit code: {code}"));
            code
        }
        Err(error) => {
            eprintln!("mover-rsync: {error}");
            1
        }
    }
}

fn serve(cli: &DestinationCli) -> io::Result<u8> {
    let authorized = prepare(cli)?;
    line("Waiting for connection...");
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    sshd::adopt_sessions()?;
    let Layout { keys, tmp, .. } = &cli.layout;
    let sshd = Sshd {
        program: &cli.sshd,
        listen: &format!("Port {}", cli.port),
        host_key: &keys.join("destination"),
        authorized: Some(&authorized),
        forced: None,
        dir: tmp,
    };
    let pid = Pid::from_child(&sshd.start()?);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            sshd::end_descendants(rustix::process::getpid());
            std::process::exit(TERMINATED.into());
        }
    })?;
    sshd::wait(pid)?;
    let code = exit_code(&cli.layout.tmp.join("exit_code"));
    flush(&cli.layout.data)?;
    Ok(code)
}

/// What the source said with `shutdown`: the file holds a bare number.
fn exit_code(file: &Path) -> u8 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // The system keeps the low eight bits.
    if digits { text.parse::<u64>().map_or(UNKNOWN, |code| code.to_le_bytes()[0]) } else { UNKNOWN }
}

/// Everything that was received is on the disk before success is told.
pub(super) fn flush(data: &Path) -> io::Result<()> {
    if !data.is_dir() {
        return Ok(());
    }
    let dir = rustix::fs::openat(CWD, data, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::syncfs(dir)?)
}

/// Writes the only key that is let in, and forgets what a run before left; the file of the key.
fn prepare(cli: &DestinationCli) -> io::Result<PathBuf> {
    let Layout { data, block, keys, tmp } = &cli.layout;
    let path = |path: &Path| path.display().to_string();
    // An exit code of a run before must not count.
    let stale = fs::remove_file(tmp.join("exit_code"));
    if let Err(error) = stale
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    fs::create_dir_all(&cli.ssh_directory)?;
    let authorized = cli.ssh_directory.join("authorized_keys");
    let key = fs::read_to_string(keys.join("source.pub"))?;
    let own = std::env::current_exe()?;
    let command = format!(
        "{} forced-command --data {} --block {} --keys {} --tmp {}",
        path(&own),
        path(data),
        path(block),
        path(keys),
        path(tmp)
    );
    fs::write(&authorized, format!("restrict,command=\"{command}\" {}\n", key.trim()))?;
    fs::set_permissions(&authorized, fs::Permissions::from_mode(0o600))?;
    Ok(authorized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_number_is_an_exit_code() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, code) in [("0\n", 0), ("7", 7), ("", 255), ("0x", 255), ("-1", 255), ("1 2", 255), ("256", 0)] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(exit_code(file.path()), code, "{text:?}");
        }
        assert_eq!(exit_code(Path::new("/does/not/exist")), 255);
    }
}
