//! What sshd runs at the destination, whatever the source asks for: a server confined to the volume, or the end.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use volsync_common::path::Shown;

use super::{Layout, Volume};
use crate::block::command;
use crate::exit::ExitCode;
use crate::report::line;
use crate::server::{Access, run_confined};
use crate::sshd::PID_FILE;

#[derive(Debug, Parser)]
#[command(name = "mover-rsync forced-command")]
struct ForcedCli {
    #[command(flatten)]
    layout: Layout,
    /// A directory is served to people: they may do this there, and nothing else
    #[arg(long)]
    access: Option<Access>,
}

/// What the source may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    /// `rsync --server ...`: the arguments after the program.
    Rsync(Vec<Vec<u8>>),
    /// `diskrsync ...`: whatever the arguments say, our device is its target (as upstream's).
    Diskrsync,
    /// `shutdown N`: the digits.
    Shutdown(String),
}

/// Runs what `SSH_ORIGINAL_COMMAND` asks for; the exit code.
pub fn run(args: &[OsString]) -> u8 {
    let parsed = ForcedCli::try_parse_from(std::iter::once("forced-command".into()).chain(args.iter().cloned()));
    let Ok(ForcedCli { layout, access }) = parsed else {
        eprintln!("mover-rsync: the forced command is malformed");
        return ExitCode::Usage as u8;
    };
    let asked = std::env::var_os("SSH_ORIGINAL_COMMAND").unwrap_or_default().into_vec();
    if let Some(access) = access {
        return served(&asked, &layout.data, access);
    }
    match (request(&asked), layout.volume()) {
        (Some(Request::Rsync(args)), Some(Volume::Filesystem)) => run_confined(&args, &layout.data, Access::Receive),
        (Some(Request::Diskrsync), Some(Volume::Block)) => command::serve(&layout.block),
        (Some(Request::Shutdown(code)), _) => shutdown(&layout, &code),
        (Some(Request::Rsync(_) | Request::Diskrsync), _) => {
            eprintln!("mover-rsync: this destination's volume is of another kind");
            ExitCode::FileSelect as u8
        }
        (None, _) => {
            line(&format!("Invalid command: {}", Shown(&asked)));
            1
        }
    }
}

/// What `mover-rsync serve` serves.
fn served(asked: &[u8], directory: &Path, access: Access) -> u8 {
    match request(asked) {
        Some(Request::Rsync(args)) => run_confined(&args, directory, access),
        _ if asked.is_empty() => {
            line("There is no shell here: this place is for rsync and mover-rsync.");
            1
        }
        _ => {
            line(&format!("Invalid command: {}", Shown(asked)));
            1
        }
    }
}

fn request(asked: &[u8]) -> Option<Request> {
    let mut words = words(asked)?.into_iter();
    match &words.next()?[..] {
        b"rsync" => Some(Request::Rsync(words.collect())),
        b"diskrsync" => Some(Request::Diskrsync),
        b"shutdown" => {
            let code = String::from_utf8(words.next()?).ok()?;
            let number = !code.is_empty() && code.bytes().all(|b| b.is_ascii_digit());
            (number && words.next().is_none()).then_some(Request::Shutdown(code))
        }
        _ => None,
    }
}

/// Splits a command as a shell would that knows blanks, backslashes and quotes and nothing else. `None` if a quote or a
/// backslash is left open.
fn words(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<Vec<u8>>, None);
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (None | Some(b'"'), b'\\') => word.get_or_insert_default().push(bytes.next()?),
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, b' ' | b'\t' | b'\n') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Leaves the exit code for the destination and ends its sshd.
fn shutdown(layout: &Layout, code: &str) -> u8 {
    let left = OpenOptions::new().append(true).create(true).open(layout.tmp.join("exit_code"));
    let left = left.and_then(|mut file| writeln!(file, "{code}"));
    line(&format!("Initiating shutdown. Exit code: {code}"));
    let pid = std::fs::read_to_string(layout.tmp.join(PID_FILE)).unwrap_or_default();
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
    let killed = pid.map(|pid| kill_process(pid, Signal::TERM));
    match (left, killed) {
        (Ok(()), Some(Ok(()))) => 0,
        (Err(error), _) => {
            eprintln!("mover-rsync: cannot leave the exit code: {error}");
            1
        }
        (Ok(()), _) => {
            eprintln!("mover-rsync: cannot end sshd");
            1
        }
    }
}

/// For the fuzzer: any command is understood or refused.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    if let Some(Request::Rsync(args)) = request(data) {
        let _ = crate::args::server::parse(&args);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_what_upstream_runs_is_understood() {
        let rsync = |args: &[&str]| Some(Request::Rsync(args.iter().map(|arg| arg.as_bytes().to_vec()).collect()));
        let line = b"rsync --server -lHogDtpArxSze.iLsfxCIvu --log-format=%i --delete . .";
        let args = ["--server", "-lHogDtpArxSze.iLsfxCIvu", "--log-format=%i", "--delete", ".", "."];
        assert_eq!(request(line), rsync(&args));
        assert_eq!(request(b"rsync a\\ b 'c d' \"e\\\"f\""), rsync(&["a b", "c d", "e\"f"]));
        assert_eq!(request(b"shutdown 0"), Some(Request::Shutdown("0".into())));
        assert_eq!(request(b"shutdown  17"), Some(Request::Shutdown("17".into())));
        assert_eq!(request(b"diskrsync --target /dev/block"), Some(Request::Diskrsync));
        for other in
            ["", "sh", "rsyncx --server", "shutdown", "shutdown -1", "shutdown 0 1", "shutdown 0;id", "rsync 'x"]
        {
            assert_eq!(request(other.as_bytes()), None, "{other}");
        }
    }
}
