//! Started by a user: sends a source to another machine.

use std::os::unix::ffi::OsStrExt as _;
use std::time::Instant;

use volsync_common::path::Shown;

use crate::accounts::Accounts;
use crate::args::ArgsError;
use crate::args::client::{Cli, Show, Summary, server_args};
use crate::exit::{ExitCode, Fatal};
use crate::options::Options;
use crate::report::{self, Traffic};
use crate::sender::{self, Observer, Source};
use crate::session::begin;
use crate::shell::{Connection, Remote};
use crate::stream::{Demux, Mux, Timed};
use crate::wire::filter;
use crate::wire::handshake::capabilities;
use crate::wire::item::Item;

/// Runs the command line; the exit code.
pub fn run(cli: &Cli) -> u8 {
    match push(cli) {
        Ok(code) => code,
        Err(fatal) => {
            eprintln!("rsync error: {fatal} (code {})", fatal.code());
            fatal.code()
        }
    }
}

fn push(cli: &Cli) -> Result<u8, Fatal> {
    let options = cli.options()?;
    let Some(remote) = Remote::parse(cli.destination.as_bytes()) else {
        let given = Shown(cli.destination.as_bytes()).to_string();
        return Err(ArgsError::Usage(format!("the destination {given} is not of the form [USER@]HOST:PATH")).into());
    };
    let source = Source::open(&cli.source)?;
    let args = server_args(&options, capabilities(false), &cli.info());
    let Connection { mut child, to, from } = remote.start(&cli.shell()?, cli.program(), &args)?;
    let sent = transfer(cli, &options, &source, to, from);
    let status = child.wait().map_err(|error| Fatal::Other(ExitCode::StartClient, error.to_string()))?;
    let theirs = u8::try_from(status.code().unwrap_or(255)).unwrap_or(255);
    // The shell's or the server's own code tells more than that the connection ended.
    match sent {
        Ok(code) => Ok(theirs.max(code as u8)),
        Err(fatal) if theirs > fatal.code() => {
            eprintln!("rsync error: {fatal} (code {theirs})");
            Ok(theirs)
        }
        Err(fatal) => Err(fatal),
    }
}

fn transfer(
    cli: &Cli,
    options: &Options,
    source: &Source,
    to: std::process::ChildStdin,
    from: std::process::ChildStdout,
) -> Result<ExitCode, Fatal> {
    let started = Instant::now();
    let mut input = Demux::new(Timed::new(from, options.timeout));
    let received = input.received();
    let mut out = Mux::new(to);
    let agreed = begin(options, &mut input, &mut out)?;
    if options.deletes() {
        filter::write([], out.data());
    }
    let show = cli.show();
    let mut screen = Screen { show, times: options.times };
    let accounts = if options.numeric_ids { Accounts::default() } else { Accounts::read() };
    let outcome = sender::run(source, options, agreed, &accounts, input, &mut out, &mut screen)?;
    if show.summary > Summary::None {
        let traffic = Traffic {
            sent: out.written(),
            received: received.load(std::sync::atomic::Ordering::Relaxed),
            seconds: started.elapsed().as_secs(),
        };
        report::summary(&outcome, traffic, show);
    }
    Ok(outcome.code())
}

/// Prints what happens, as the user wants it.
struct Screen {
    show: Show,
    times: bool,
}

impl Observer for Screen {
    fn item(&mut self, item: &Item, mode: u32, path: &[u8], target: &[u8]) {
        if self.show.items || self.show.names {
            let changes = self.show.items.then(|| item.describe(mode, true, self.times));
            report::item(changes.as_deref(), item, mode, path, target);
        }
    }

    fn deleted(&mut self, path: &[u8]) {
        if self.show.deletions {
            report::deleted(path);
        }
    }
}
