//! The movers of VolSync's rsync replication: what its operator expects of the containers that it starts.
//!
//! The operator runs `/bin/bash -c /mover-rsync/source.sh` or `.../destination.sh`; the lines printed and the exit codes
//! are those of the scripts of that name (`docs/compat-rsync.md`, "VolSync's movers").

pub mod destination;
pub mod forced;
pub mod source;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::report::line;

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

/// What the volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// A directory.
    Filesystem,
    /// A block device.
    Block,
}

impl Layout {
    /// What there is.
    pub fn volume(&self) -> Option<Volume> {
        use std::os::unix::fs::FileTypeExt as _;
        if self.data.is_dir() {
            return Some(Volume::Filesystem);
        }
        let device = std::fs::metadata(&self.block).is_ok_and(|meta| meta.file_type().is_block_device());
        device.then_some(Volume::Block)
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

/// The name a mover is started by, as the command of the operator or as a word of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `source`
    Source(Vec<OsString>),
    /// `destination`
    Destination(Vec<OsString>),
    /// What sshd runs for every connection.
    Forced(Vec<OsString>),
}

impl Entry {
    /// From the whole command line. As a shell (`bash -c COMMAND`) exactly our own commands are known.
    pub fn find(args: &[OsString]) -> Option<Self> {
        let words: Vec<_> = args.iter().skip(1).map(|arg| arg.to_str()).collect();
        let rest = || args.iter().skip(2).cloned().collect();
        match &words[..] {
            [Some("source"), ..] => Some(Self::Source(rest())),
            [Some("destination"), ..] => Some(Self::Destination(rest())),
            [Some("forced-command"), ..] => Some(Self::Forced(rest())),
            [Some("-c"), Some("/mover-rsync/source.sh")] => Some(Self::Source(Vec::new())),
            [Some("-c"), Some("/mover-rsync/destination.sh")] => Some(Self::Destination(Vec::new())),
            [Some("-c"), Some(command)] => {
                // What our own sshd hands to the shell of root.
                let mut words = command.split(' ').map(OsString::from);
                let own = words.next().is_some_and(|program| PathBuf::from(program).ends_with("mover-rsync"));
                let forced = words.next().is_some_and(|word| word == "forced-command");
                (own && forced).then(|| Self::Forced(words.collect()))
            }
            _ => None,
        }
    }
}

/// With `DEBUG_MOVER=1` nothing is transferred: a person looks around in the container until this file is removed.
/// Whether that was so.
fn debugged(layout: &Layout) -> std::io::Result<bool> {
    if std::env::var_os("DEBUG_MOVER").is_none_or(|value| value != "1") {
        return Ok(false);
    }
    let flag = layout.tmp.join("exit-debug-if-removed");
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
        assert_eq!(find("/bin/bash|-c|/mover-rsync/source.sh"), Some(Entry::Source(Vec::new())));
        assert_eq!(find("/bin/bash|-c|/mover-rsync/destination.sh"), Some(Entry::Destination(Vec::new())));
        let forced = find("bash|-c|/usr/bin/mover-rsync forced-command --data /d");
        assert_eq!(forced, Some(Entry::Forced(vec!["--data".into(), "/d".into()])));
        assert_eq!(find("mover-rsync|source|--data|x"), Some(Entry::Source(vec!["--data".into(), "x".into()])));
        for other in ["bash|-c|id", "bash|-c|/bin/sh forced-command", "mover-rsync|-a|x|h:y", "mover-rsync"] {
            assert_eq!(find(other), None, "{other}");
        }
    }
}
