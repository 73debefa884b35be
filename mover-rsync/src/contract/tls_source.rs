//! The source of rsync-TLS: brings the volume to the daemon of the destination, then tells it that all is done.
//!
//! Upstream copies in two passes, so that the root of the destination keeps its own attributes: first everything in the
//! root by its name, then, with names alone, what is to be deleted.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use clap::Parser;

use super::source::{SSH_FAILED as UNREACHABLE, bracketed, tries, wait_until_reachable};
use super::{Layout, Volume, Wishes, debugged, end_on_signals, psk, tls_block};
use crate::args::client::Cli;
use crate::client::{Ended, run_over};
use crate::daemon::client::Remote;
use crate::exit::ExitCode;
use crate::options::Beyond;
use crate::psk::Keys;
use crate::report::line;
use crate::session::MadeLinks;
use crate::tls::Tunnel;

/// The first pass: everything but the root itself. Without its `--exclude=lost+found`, which [`Cli`] adds for an end that
/// is stock.
const COPIES: [&str; 4] = ["-aAhHSxz", "-r", "--itemize-changes", "--info=stats2,misc2"];

/// The second pass, which changes and makes nothing.
const DELETES: [&str; 6] =
    ["-rx", "--ignore-existing", "--ignore-non-existing", "--delete", "--itemize-changes", "--info=stats2,misc2"];

#[derive(Debug, Parser)]
#[command(name = "mover-rsync tls-source")]
struct SourceCli {
    #[command(flatten)]
    layout: Layout,
    #[command(flatten)]
    wishes: Wishes,
    /// Where the destination is
    #[arg(long, env = "DESTINATION_ADDRESS", default_value = "", hide_default_value = true)]
    address: String,
    /// Its port
    #[arg(long, env = "DESTINATION_PORT", default_value = "8000")]
    port: String,
}

/// Runs the source; the exit code.
pub fn run(args: &[OsString]) -> u8 {
    match SourceCli::try_parse_from(std::iter::once("tls-source".into()).chain(args.iter().cloned())) {
        Ok(cli) => source(&cli),
        Err(error) => {
            let _printed = error.print();
            ExitCode::Usage as u8
        }
    }
}

fn source(cli: &SourceCli) -> u8 {
    if cli.address.is_empty() {
        line("Remote host address must be provided in DESTINATION_ADDRESS");
        return 1;
    }
    match end_on_signals().and_then(|()| debugged(&cli.layout)) {
        Ok(false) => {}
        Ok(true) => return 0,
        Err(error) => {
            eprintln!("mover-rsync: cannot wait for a person or a signal: {error}");
            return 1;
        }
    }
    let port = if cli.port.is_empty() { "8000" } else { &cli.port };
    let Ok(port) = port.parse::<u16>() else {
        line(&format!("DESTINATION_PORT={port} is no port"));
        return 1;
    };
    let Some(keys) = psk(&cli.layout) else { return 1 };
    let Some(volume) = cli.layout.volume() else {
        line("ERROR: source location not found");
        return 1;
    };
    line(&format!("Source PVC volumeMode is {}", volume.name()));
    if volume == Volume::Filesystem && !cli.wishes.permit(&cli.layout.data) {
        return ExitCode::FileSelect as u8;
    }
    line(&format!("Syncing data to {}:{port} ...", cli.address));
    let (layout, address, beyond) = (&cli.layout, &cli.address[..], cli.wishes.beyond());
    let source = Source { layout, keys, address, port, beyond, made: MadeLinks::default() };
    match volume {
        Volume::Filesystem => source.synchronize(),
        Volume::Block => source.synchronize_block(),
    }
}

struct Source<'a> {
    layout: &'a Layout,
    keys: Keys,
    address: &'a str,
    port: u16,
    beyond: Beyond,
    /// In all attempts: the daemon undoes what it did to links when all is done.
    made: MadeLinks,
}

impl Source<'_> {
    fn synchronize(&self) -> u8 {
        let started = Instant::now();
        let mut links = Vec::new();
        let code = self.tries(|| self.attempt(&mut links));
        line(&format!("rsync completed in {}s", started.elapsed().as_secs()));
        if code != 0 {
            line(&format!("Synchronization failed. rsync returned: {code}"));
            return code;
        }
        line("Sending shutdown to remote...");
        let code = self.send(b"complete\n", "complete");
        if code == 0 {
            line("...done");
        }
        code
    }

    fn synchronize_block(&self) -> u8 {
        let started = Instant::now();
        let code = self.tries(|| self.push_block());
        line(&format!("diskrsync completed in {}s", started.elapsed().as_secs()));
        code
    }

    fn tries(&self, attempt: impl FnMut() -> u8) -> u8 {
        let reachable = || wait_until_reachable(self.address.trim_matches(['[', ']']), self.port);
        tries(attempt, reachable, std::thread::sleep)
    }

    fn push_block(&self) -> u8 {
        let started = Instant::now();
        let Some(tunnel) = self.connected("data") else { return UNREACHABLE };
        match tls_block::send(&self.layout.block, tunnel) {
            Ok(copied) => {
                copied.report(started);
                0
            }
            Err(fatal) => {
                eprintln!("diskrsync error: {fatal} (code {})", fatal.code());
                fatal.code()
            }
        }
    }

    /// Both passes; the exit code. `links` are paths that the destination was to hear of in an attempt that failed.
    fn attempt(&self, links: &mut Vec<Vec<u8>>) -> u8 {
        // A slash at the end: the contents.
        let data = format!("{}/", self.layout.data.display());
        let copied = match is_empty(&self.layout.data) {
            Ok(true) => {
                line("Skipping sync of empty source directory");
                0.into()
            }
            Ok(false) => self.copy(&data, links),
            Err(error) => {
                eprintln!("mover-rsync: cannot read the source: {error}");
                Ended { code: ExitCode::Partial as u8, unread: true }
            }
        };
        match copied {
            Ended { code: UNREACHABLE, .. } => UNREACHABLE,
            Ended { code, unread: true } => {
                line("Not everything could be read in the source: nothing is deleted at the destination");
                code
            }
            Ended { code, .. } => combined(code, self.delete(&data)),
        }
    }

    fn copy(&self, data: &str, links: &mut Vec<Vec<u8>>) -> Ended {
        let ended = match cli(&COPIES, data, &self.place("data")) {
            Ok(mut cli) => {
                (cli.beyond, cli.spares_lost_and_found, cli.without_root) = (self.beyond, true, true);
                self.session(&cli, "data")
            }
            Err(code) => code.into(),
        };
        links.append(&mut self.made.take());
        if ended.code != 0 || links.is_empty() {
            return ended;
        }
        line("Symlinks were created or modified, sending symlink munging file to destination...");
        self.send(&munging_file(links), "symlink-munging-file").into()
    }

    fn delete(&self, data: &str) -> u8 {
        match cli(&DELETES, data, &self.place("data")) {
            Ok(mut cli) => {
                // The first pass has set the times; this one is told of none.
                cli.beyond = Beyond { directory_times: true, ..Beyond::default() };
                cli.spares_lost_and_found = true;
                self.session(&cli, "data").code
            }
            Err(code) => code,
        }
    }

    /// Sends a file of control.
    fn send(&self, content: &[u8], name: &str) -> u8 {
        let file = self.layout.tmp.join(name);
        if let Err(error) = fs::write(&file, content) {
            eprintln!("mover-rsync: cannot write {}: {error}", file.display());
            return ExitCode::FileIo as u8;
        }
        let module = format!("control/{name}");
        match cli(&[], &file.display().to_string(), &self.place(&module)) {
            Ok(cli) => self.session(&cli, &module).code,
            Err(code) => code,
        }
    }

    /// A session of its own on a connection of its own; [`UNREACHABLE`] if there is none.
    fn session(&self, cli: &Cli, module: &str) -> Ended {
        let Some(tunnel) = self.connected(module) else { return UNREACHABLE.into() };
        let ends = tunnel.stream().and_then(|from| Ok((from, tunnel.stream()?)));
        let ended = match ends {
            Ok((from, to)) => run_over(cli, from, to, &self.made),
            Err(error) => {
                eprintln!("mover-rsync: {error}");
                (ExitCode::SocketIo as u8).into()
            }
        };
        tunnel.close();
        ended
    }

    fn place(&self, module: &str) -> String {
        format!("rsync://{}:{}/{module}", bracketed(self.address), self.port)
    }

    /// An encrypted connection; without one says why.
    fn connected(&self, module: &str) -> Option<Tunnel> {
        let remote = Remote::parse(self.place(module).as_bytes());
        let remote = remote.ok_or_else(|| format!("DESTINATION_ADDRESS={} is no address", self.address));
        let tcp = remote.and_then(|remote| remote.connect(None).map_err(|error| error.to_string()));
        let tunnel = tcp.and_then(|tcp| Tunnel::client(&self.keys, tcp).map_err(|error| error.to_string()));
        tunnel.inspect_err(|error| eprintln!("mover-rsync: {error}")).ok()
    }
}

/// A command line of rsync; the exit code if it is none.
fn cli(options: &[&str], source: &str, destination: &str) -> Result<Cli, u8> {
    let words = ["mover-rsync"].iter().chain(options).chain([&source, &destination]);
    Cli::from_words(words.map(OsString::from)).map_err(|error| {
        eprintln!("mover-rsync: {error}");
        ExitCode::Usage as u8
    })
}

/// The code of an attempt: a hundred times the first pass's and the second's, as upstream counts, of which the system
/// keeps the low eight bits. A failure never looks like success.
fn combined(copied: u8, deleted: u8) -> u8 {
    let code = u32::from(copied) * 100 + u32::from(deleted);
    let [low, ..] = code.to_le_bytes();
    if code != 0 && low == 0 { 1 } else { low }
}

fn is_empty(dir: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(dir)?.next().transpose()?.is_none())
}

/// The paths of links, one a line. One with a line feed cannot be named, but the directory that it is in: upstream's
/// destination then looks through all of it.
fn munging_file(links: &[Vec<u8>]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = links.iter().map(|path| nameable(path)).collect();
    lines.sort_unstable();
    lines.dedup();
    let mut text = lines.join(&b'\n');
    text.push(b'\n');
    text
}

/// The path, or the nearest directory above it whose path has no line feed.
fn nameable(path: &[u8]) -> &[u8] {
    let Some(feed) = path.iter().position(|b| *b == b'\n') else { return path };
    let slash = path[..feed].iter().rposition(|b| *b == b'/');
    slash.map_or(b".", |slash| &path[..slash])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_combined_as_upstream_does() {
        for (copied, deleted, code) in [(0, 0, 0), (0, 23, 23), (23, 0, 252), (12, 12, 188), (64, 0, 1), (0, 24, 24)] {
            assert_eq!(combined(copied, deleted), code);
        }
    }

    #[test]
    fn every_link_is_named_or_a_directory_around_it() {
        let links = ["b", "a/x", "d/li\nne", "d\n/x/y", "a/x", "e/f\n/g"].map(|path| path.as_bytes().to_vec());
        assert_eq!(munging_file(&links), b".\na/x\nb\nd\ne\n");
    }

    #[test]
    fn only_a_directory_with_nothing_in_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_empty(dir.path()).unwrap());
        fs::write(dir.path().join(".hidden"), b"").unwrap();
        assert!(!is_empty(dir.path()).unwrap() && is_empty(Path::new("/does/not/exist")).is_err());
    }
}
