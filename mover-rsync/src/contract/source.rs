//! The source: pushes the volume, then tells the destination that it is done.

use std::fs;
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;

use super::{Layout, Volume, Wishes, debugged, greet};
use crate::args::client::Cli;
use crate::block::command;
use crate::exit::ExitCode;
use crate::report::line;

/// What upstream passes to rsync.
const OPTIONS: [&str; 4] = ["-aAhHSxz", "--delete", "--itemize-changes", "--info=stats2,misc2"];

/// Tries, and the pause after the first failed one; it doubles (upstream: 2, 4, 8, 16, 32 s).
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// How long an address that refuses or does not resolve is waited for without using up a try: a destination may be
/// started after its source. Upstream has no such wait; ten minutes are far below the operator's deadlines.
const PATIENCE: Duration = Duration::from_mins(10);

/// Between two looks at such an address, and for one look.
const LOOK: Duration = Duration::from_secs(2);

/// The name under which the destination's key is known, whatever its address and port.
const ALIAS: &str = "volsync-destination";

#[derive(Debug, Parser)]
#[command(name = "mover-rsync source")]
struct SourceCli {
    #[command(flatten)]
    layout: Layout,
    #[command(flatten)]
    wishes: Wishes,
    /// Where the destination is
    #[arg(long, env = "DESTINATION_ADDRESS", default_value = "", hide_default_value = true)]
    address: String,
    /// The port of its sshd
    #[arg(long, env = "DESTINATION_PORT", default_value = "22")]
    port: String,
}

/// Runs the source; the exit code.
pub fn run(args: &[std::ffi::OsString]) -> u8 {
    greet();
    match SourceCli::try_parse_from(std::iter::once("source".into()).chain(args.iter().cloned())) {
        Ok(cli) => source(&cli),
        Err(error) => {
            let _printed = error.print();
            ExitCode::Usage as u8
        }
    }
}

fn source(cli: &SourceCli) -> u8 {
    match debugged(&cli.layout) {
        Ok(false) => {}
        Ok(true) => return 0,
        Err(error) => {
            eprintln!("mover-rsync: cannot wait for a person: {error}");
            return 1;
        }
    }
    if cli.address.is_empty() {
        line("Remote host must be provided in DESTINATION_ADDRESS");
        return 1;
    }
    let port = match cli.port.as_str() {
        "" => Ok(22),
        port => port.parse::<u16>(),
    };
    let Ok(port) = port else {
        line(&format!("DESTINATION_PORT={} is no port", cli.port));
        return 1;
    };
    let Some(volume) = cli.layout.volume() else {
        line("ERROR: source location not found");
        return 1;
    };
    line(&format!("Source PVC volumeMode is {}", volume.name()));
    if volume == Volume::Filesystem && !cli.wishes.permit(&cli.layout.data) {
        return ExitCode::FileSelect as u8;
    }
    let ssh = match Ssh::new(cli, port) {
        Ok(ssh) => ssh,
        Err(error) => {
            eprintln!("mover-rsync: cannot prepare ssh: {error}");
            return 1;
        }
    };
    synchronize(cli, volume, &ssh)
}

fn synchronize(cli: &SourceCli, volume: Volume, ssh: &Ssh) -> u8 {
    let started = Instant::now();
    let push = || match volume {
        Volume::Filesystem => push(cli, ssh),
        Volume::Block => push_block(cli, ssh),
    };
    let code = tries(push, || wait_until_reachable(&ssh.address, ssh.port), std::thread::sleep);
    line(&format!("Rsync completed in {}s", started.elapsed().as_secs()));
    if code != 0 {
        line(&format!("Synchronization failed. rsync returned: {code}"));
        return code;
    }
    line("Synchronization completed successfully. Notifying destination...");
    ssh.shutdown()
}

/// Tries until a push succeeds; the last exit code. `unreachable` waits for a destination whose address refuses, and
/// says whether it waited with success: then the try does not count.
pub(super) fn tries(
    mut push: impl FnMut() -> u8,
    mut unreachable: impl FnMut() -> bool,
    pause: impl Fn(Duration),
) -> u8 {
    let mut code = push();
    let mut delay = PAUSE;
    for retry in 1..=TRIES {
        while code == SSH_FAILED && unreachable() {
            code = push();
        }
        if code == ExitCode::Vanished as u8 {
            // Files of a volume in use come and go. A second look tells whether that was all.
            code = push();
            if code == ExitCode::Vanished as u8 {
                line("Some files vanished while they were transferred; everything else is complete.");
                return 0;
            }
        }
        if code == 0 {
            return 0;
        }
        line(&format!("Syncronization failed. Retrying in {} seconds. Retry {retry}/{TRIES}.", delay.as_secs()));
        pause(delay);
        delay *= 2;
        if retry < TRIES {
            code = push();
        }
    }
    code
}

/// The exit code of ssh when it cannot connect.
pub(super) const SSH_FAILED: u8 = 255;

fn push(cli: &SourceCli, ssh: &Ssh) -> u8 {
    // A slash at the end: the contents.
    let source = format!("{}/", cli.layout.data.display());
    let destination = format!("root@{}:.", bracketed(&cli.address));
    let shell = ssh.words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let args = ["mover-rsync"].into_iter().chain(OPTIONS).chain(["-e", &shell, &source, &destination]);
    match Cli::from_words(args.map(std::ffi::OsString::from)) {
        Ok(mut words) => {
            words.beyond = cli.wishes.beyond();
            crate::client::run(&words)
        }
        Err(error) => {
            eprintln!("mover-rsync: {error}");
            ExitCode::Usage as u8
        }
    }
}

fn push_block(cli: &SourceCli, ssh: &Ssh) -> u8 {
    let (block, address) = (cli.layout.block.as_os_str().as_bytes(), bracketed(&cli.address));
    let destination = [b"root@", address.as_bytes(), b":", block].concat();
    command::push(&cli.layout.block, &destination, &ssh.words)
}

/// A bare IPv6 address needs brackets in front of a path.
pub(super) fn bracketed(address: &str) -> String {
    let bare = address.contains("::") || address.split(':').count() == 8;
    if bare && !address.starts_with('[') { format!("[{address}]") } else { address.into() }
}

/// How the destination is reached.
struct Ssh {
    /// `ssh` and its options.
    words: Vec<String>,
    address: String,
    port: u16,
}

impl Ssh {
    /// Writes the known key of the destination, and sets what upstream sets.
    fn new(cli: &SourceCli, port: u16) -> io::Result<Self> {
        let keys = &cli.layout.keys;
        let known = cli.layout.tmp.join("volsync-known-hosts");
        let key = fs::read_to_string(keys.join("destination.pub"))?;
        fs::write(&known, format!("{ALIAS} {}\n", key.trim()))?;
        let socket = cli.layout.tmp.join("volsync-ssh-%C");
        let option = |text: String| ["-o".to_owned(), text];
        let path = |path: &Path| path.display().to_string();
        let mut words: Vec<_> = ["ssh", "-F", "none"].map(ToOwned::to_owned).to_vec();
        let options = [
            format!("Port={port}"),
            "User=root".into(),
            format!("IdentityFile={}", path(&keys.join("source"))),
            "IdentitiesOnly=yes".into(),
            "BatchMode=yes".into(),
            format!("HostKeyAlias={ALIAS}"),
            format!("UserKnownHostsFile={}", path(&known)),
            "GlobalKnownHostsFile=none".into(),
            "StrictHostKeyChecking=yes".into(),
            "CheckHostIP=no".into(),
            "ConnectTimeout=30".into(),
            "ServerAliveInterval=30".into(),
            "ServerAliveCountMax=4".into(),
            "TCPKeepAlive=no".into(),
            "ControlMaster=auto".into(),
            format!("ControlPath={}", path(&socket)),
            "ControlPersist=5".into(),
            // The fastest on machines with AES instructions, and as safe as any other.
            "Ciphers=^aes128-gcm@openssh.com,aes256-gcm@openssh.com".into(),
        ];
        words.extend(options.into_iter().flat_map(option));
        let address = cli.address.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { words, address, port })
    }

    /// Tells the destination that all is done.
    fn shutdown(&self) -> u8 {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).arg(&self.address).arg("shutdown 0").stdin(Stdio::null());
        match command.status() {
            Ok(status) => u8::try_from(status.code().unwrap_or(i32::from(SSH_FAILED))).unwrap_or(SSH_FAILED),
            Err(error) => {
                eprintln!("mover-rsync: cannot start ssh: {error}");
                SSH_FAILED
            }
        }
    }
}

/// If the address refuses connections or does not resolve: waits until it takes one. `false` when something else is
/// wrong, or when it took too long.
pub(super) fn wait_until_reachable(address: &str, port: u16) -> bool {
    if look(address, port).is_ok() {
        return false;
    }
    line(&format!("Waiting for {address} to accept connections..."));
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        std::thread::sleep(LOOK);
        if look(address, port).is_ok() {
            return true;
        }
    }
    false
}

fn look(address: &str, port: u16) -> io::Result<()> {
    let mut last = io::Error::other("no address");
    for address in (address, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LOOK) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// The exit code, the number of pushes, and the pauses in seconds.
    fn tried(codes: &[u8], reachable: bool) -> (u8, usize, Vec<u64>) {
        let (mut at, pauses) = (0, RefCell::new(Vec::new()));
        let code = tries(
            || {
                at += 1;
                codes[(at - 1).min(codes.len() - 1)]
            },
            || reachable,
            |pause| pauses.borrow_mut().push(pause.as_secs()),
        );
        (code, at, pauses.into_inner())
    }

    #[test]
    fn tries_and_pauses_are_upstreams() {
        assert_eq!(tried(&[0], false), (0, 1, vec![]));
        assert_eq!(tried(&[12, 23, 0], false), (0, 3, vec![2, 4]));
        assert_eq!(tried(&[23], false), (23, 5, vec![2, 4, 8, 16, 32]));
        assert_eq!(tried(&[255], false), (255, 5, vec![2, 4, 8, 16, 32]));
    }

    #[test]
    fn vanished_files_are_looked_at_twice() {
        assert_eq!(tried(&[24, 0], false), (0, 2, vec![]));
        assert_eq!(tried(&[24, 24], false), (0, 2, vec![]));
        assert_eq!(tried(&[24, 23, 0], false), (0, 3, vec![2]));
    }

    #[test]
    fn waiting_for_the_destination_uses_up_no_try() {
        assert_eq!(tried(&[255, 255, 255, 255, 255, 255, 255, 0], true), (0, 8, vec![]));
    }

    #[test]
    fn bare_addresses_get_brackets() {
        for (address, expect) in [
            ("host", "host"),
            ("10.0.0.1", "10.0.0.1"),
            ("fd00::1", "[fd00::1]"),
            ("1:2:3:4:5:6:7:8", "[1:2:3:4:5:6:7:8]"),
            ("[fd00::1]", "[fd00::1]"),
        ] {
            assert_eq!(bracketed(address), expect);
        }
    }
}
