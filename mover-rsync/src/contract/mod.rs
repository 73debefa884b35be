//! The movers of VolSync's rsync replication: what its operator expects of the containers that it starts.
//!
//! The operator runs `/bin/bash -c /mover-rsync/source.sh` or `.../destination.sh`, for rsync-TLS
//! `/mover-rsync-tls/client.sh` or `.../server.sh`; the lines printed and the exit codes are those of the scripts of that
//! name (`docs/compat-rsync.md`, "VolSync's movers").

pub mod destination;
pub mod forced;
pub mod source;
mod tls_block;
pub mod tls_destination;
pub mod tls_source;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use volsync_common::dest::{Dest, DestOptions};

use crate::options::Beyond;
use crate::psk::Keys;
use crate::report::line;

/// The scripts of upstream's image that this program stands for.
const SOURCE: &str = "/mover-rsync/source.sh";
const DESTINATION: &str = "/mover-rsync/destination.sh";
const TLS_SOURCE: &str = "/mover-rsync-tls/client.sh";
const TLS_DESTINATION: &str = "/mover-rsync-tls/server.sh";

/// Where things are. The defaults are where the operator mounts them.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Layout {
    /// The volume
    #[arg(long, default_value = "/data")]
    pub data: PathBuf,
    /// The volume, if it is a block device
    #[arg(long, default_value = "/dev/block")]
    pub block: PathBuf,
    /// The keys of both sides
    #[arg(long, default_value = "/keys")]
    pub keys: PathBuf,
    /// Where files can be made
    #[arg(long, default_value = "/tmp")]
    pub tmp: PathBuf,
}

/// What a source may be told beyond what upstream's can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Wishes {
    /// An empty volume empties the destination instead of being refused
    #[arg(long, env = "VOLSYNC_ALLOW_EMPTY_SOURCE", value_parser = FalseyValueParser::new())]
    pub allow_empty_source: bool,
    /// Programs keep their file capabilities (`security.capability`) at a destination that is ours
    #[arg(long, env = "VOLSYNC_FILE_CAPABILITIES", value_parser = FalseyValueParser::new())]
    pub file_capabilities: bool,
}

impl Wishes {
    /// Whether there is something in the volume, or it may be empty. A volume that is not mounted, say, looks empty: its
    /// destination must not be emptied for that.
    fn permit(self, data: &Path) -> bool {
        let empty = Dest::open(data, DestOptions::default())
            .and_then(|dest| dest.directory(None)?.holds_only(crate::native::LOST_AND_FOUND));
        // What cannot be read is told by the transfer.
        let empty = empty.unwrap_or(false);
        if empty && !self.allow_empty_source {
            line("ERROR: the source volume is empty; nothing is transferred (VOLSYNC_ALLOW_EMPTY_SOURCE=1 allows it)");
        }
        !empty || self.allow_empty_source
    }

    /// What is asked of a destination that is ours.
    fn beyond(self) -> Beyond {
        Beyond { volume: true, capabilities: self.file_capabilities, ..Beyond::default() }
    }
}

/// What the volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// A directory.
    Filesystem,
    /// A block device.
    Block,
}

impl Layout {
    /// What there is. A device counts more than a directory: images may have an empty one to mount over.
    pub fn volume(&self) -> Option<Volume> {
        use std::os::unix::fs::FileTypeExt as _;
        if std::fs::metadata(&self.block).is_ok_and(|meta| meta.file_type().is_block_device()) {
            return Some(Volume::Block);
        }
        self.data.is_dir().then_some(Volume::Filesystem)
    }
}

impl Volume {
    fn name(self) -> &'static str {
        match self {
            Self::Filesystem => "filesystem",
            Self::Block => "block",
        }
    }
}

/// What the program is this time, when it is not the command line of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `source`, or the script of that name.
    Source(Vec<OsString>),
    /// `destination`, or the script of that name.
    Destination(Vec<OsString>),
    /// What sshd runs for every connection.
    Forced(Vec<OsString>),
    /// `diskrsync`, or its first word.
    Diskrsync(Vec<OsString>),
    /// `tls-source`, or the script `client.sh`.
    TlsSource(Vec<OsString>),
    /// `tls-destination`, or the script `server.sh`.
    TlsDestination(Vec<OsString>),
    /// What that one runs for every connection.
    TlsSession(Vec<OsString>),
    /// `serve`: for people, without Kubernetes.
    Serve(Vec<OsString>),
    /// The shell of the image, asked for something else.
    Shell,
    /// `/bin/rm` of the image.
    Remove(Vec<OsString>),
}

impl Entry {
    /// From the whole command line: by the program's name, then by its first word. As a shell (`bash -c COMMAND`)
    /// exactly our own commands are known.
    pub fn find(args: &[OsString]) -> Option<Self> {
        let (program, args) = args.split_first()?;
        let name = Path::new(program).file_name().and_then(OsStr::to_str);
        let words: Vec<_> = args.iter().map(|arg| arg.to_str()).collect();
        let rest = || args.iter().skip(1).cloned().collect();
        match (name?, &words[..]) {
            ("source.sh", _) => Some(Self::Source(Vec::new())),
            ("destination.sh", _) => Some(Self::Destination(Vec::new())),
            ("client.sh", _) => Some(Self::TlsSource(Vec::new())),
            ("server.sh", _) => Some(Self::TlsDestination(Vec::new())),
            ("bash" | "sh", [Some("-c"), Some(command)]) => Some(Self::command(command).unwrap_or(Self::Shell)),
            ("bash" | "sh", _) => Some(Self::Shell),
            ("rm", _) => Some(Self::Remove(args.to_vec())),
            ("diskrsync", _) => Some(Self::Diskrsync(args.to_vec())),
            (_, [Some("source"), ..]) => Some(Self::Source(rest())),
            (_, [Some("destination"), ..]) => Some(Self::Destination(rest())),
            (_, [Some("serve"), ..]) => Some(Self::Serve(rest())),
            (_, [Some("forced-command"), ..]) => Some(Self::Forced(rest())),
            (_, [Some("diskrsync"), ..]) => Some(Self::Diskrsync(rest())),
            (_, [Some("tls-source"), ..]) => Some(Self::TlsSource(rest())),
            (_, [Some("tls-destination"), ..]) => Some(Self::TlsDestination(rest())),
            (_, [Some("tls-session"), ..]) => Some(Self::TlsSession(rest())),
            _ => None,
        }
    }

    /// The command of the operator, or what our own sshd hands to the shell of root.
    fn command(command: &str) -> Option<Self> {
        match command.trim_ascii() {
            SOURCE => return Some(Self::Source(Vec::new())),
            DESTINATION => return Some(Self::Destination(Vec::new())),
            TLS_SOURCE => return Some(Self::TlsSource(Vec::new())),
            TLS_DESTINATION => return Some(Self::TlsDestination(Vec::new())),
            _ => {}
        }
        let mut words = command.split(' ').map(OsString::from);
        let own = words.next().is_some_and(|program| Path::new(&program).ends_with("mover-rsync"));
        let forced = words.next().is_some_and(|word| word == "forced-command");
        (own && forced).then(|| Self::Forced(words.collect()))
    }
}

/// What the image says to somebody who wants a shell; the exit code.
pub fn shell() -> u8 {
    eprintln!(
        "There is no shell in this image; bash understands only -c {SOURCE}, {DESTINATION}, {TLS_SOURCE} and \
         {TLS_DESTINATION}.\n\
         To look around run mover-rsync itself: mover-rsync --help"
    );
    NOT_FOUND
}

/// The exit code of a shell for a command that does not exist.
const NOT_FOUND: u8 = 127;

/// Does what `rm` of the image is there for; the exit code.
pub fn remove(args: &[OsString]) -> u8 {
    match volsync_common::debug::remove(args) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

/// The keys of rsync-TLS; without them says why.
fn psk(layout: &Layout) -> Option<Keys> {
    let file = layout.keys.join("psk.txt");
    let Ok(text) = std::fs::read(&file) else {
        line(&format!("ERROR: Pre-shared key not found - {}", file.display()));
        return None;
    };
    match Keys::parse(&text) {
        Ok(keys) => Some(keys),
        Err(error) => {
            line(&format!("ERROR: Pre-shared key cannot be used - {}: {error}", file.display()));
            None
        }
    }
}

/// With `DEBUG_MOVER=1` nothing is transferred: a person looks around in the container until the marker is removed.
/// Whether that was so. While it exists, a mover that the person starts does its work.
fn debugged(layout: &Layout) -> std::io::Result<bool> {
    if std::env::var_os("DEBUG_MOVER").is_none_or(|value| value != "1") {
        return Ok(false);
    }
    let flag = layout.tmp.join(volsync_common::debug::MARKER_NAME);
    if flag.exists() {
        return Ok(false);
    }
    std::fs::write(&flag, b"")?;
    line("##################################################################");
    line("DEBUG_MOVER is enabled: nothing is transferred.");
    line(&format!("This mover ends with success when {} is removed.", flag.display()));
    line("##################################################################");
    while flag.exists() {
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

/// From now on the first signal ends the process: the first one of a container dies of none by itself.
fn end_on_signals() -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let wait = move || {
        if signals.forever().next().is_some() {
            std::process::exit(TERMINATED.into());
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

/// The exit code after SIGTERM.
const TERMINATED: u8 = 143;

/// Between two looks whether a person is done; upstream takes ten seconds.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// The first line of every mover; the image says which version it is in the variable `version`.
fn greet() {
    let version = std::env::var("version").unwrap_or_else(|_| "unknown".into());
    line(&format!("VolSync rsync container version: {version}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_commands_and_ours_are_found() {
        let find = |line: &str| Entry::find(&line.split('|').map(OsString::from).collect::<Vec<_>>());
        for source in ["/bin/bash|-c|/mover-rsync/source.sh", "/mover-rsync/source.sh"] {
            assert_eq!(find(source), Some(Entry::Source(Vec::new())));
        }
        for destination in ["/bin/bash|-c|/mover-rsync/destination.sh", "/mover-rsync/destination.sh"] {
            assert_eq!(find(destination), Some(Entry::Destination(Vec::new())));
        }
        for source in
            ["/bin/bash|-c|/mover-rsync-tls/client.sh", "/mover-rsync-tls/client.sh", "mover-rsync|tls-source"]
        {
            assert_eq!(find(source), Some(Entry::TlsSource(Vec::new())));
        }
        for destination in ["/bin/bash|-c|/mover-rsync-tls/server.sh", "/mover-rsync-tls/server.sh"] {
            assert_eq!(find(destination), Some(Entry::TlsDestination(Vec::new())));
        }
        assert_eq!(find("mover-rsync|tls-session|--tmp|x"), Some(Entry::TlsSession(vec!["--tmp".into(), "x".into()])));
        let forced = find("sh|-c|/usr/bin/mover-rsync forced-command --data /d");
        assert_eq!(forced, Some(Entry::Forced(vec!["--data".into(), "/d".into()])));
        assert_eq!(find("mover-rsync|source|--data|x"), Some(Entry::Source(vec!["--data".into(), "x".into()])));
        for diskrsync in ["/usr/bin/diskrsync|--target|x", "mover-rsync|diskrsync|--target|x"] {
            assert_eq!(find(diskrsync), Some(Entry::Diskrsync(vec!["--target".into(), "x".into()])));
        }
        assert_eq!(find("/bin/rm|-f|x"), Some(Entry::Remove(vec!["-f".into(), "x".into()])));
        for shell in ["bash|-c|id", "sh|-c|/bin/sh forced-command", "bash", "sh|-i"] {
            assert_eq!(find(shell), Some(Entry::Shell), "{shell}");
        }
        for other in ["mover-rsync|-a|x|h:y", "mover-rsync", "mover-rsync|-c|/mover-rsync/source.sh"] {
            assert_eq!(find(other), None, "{other}");
        }
    }
}
