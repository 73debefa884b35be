//! Started by a user: brings a source to or from another machine.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::Ordering;
use std::time::Instant;

use volsync_common::path::Shown;

use crate::accounts::Accounts;
use crate::args::ArgsError;
use crate::args::client::{Cli, Direction, Summary, server_args};
use crate::directories::named;
use crate::exit::Fatal;
use crate::filter::Filter;
use crate::options::Options;
use crate::outcome::Outcome;
use crate::receiver::{self, Target};
use crate::report::{self, Screen, Traffic};
use crate::sender::{self, Source};
use crate::server::ids;
use crate::session::{Terms, begin};
use crate::shell::Remote;
use crate::stream::{Demux, Mux, Timed};
use crate::wire::filter;
use crate::wire::handshake::capabilities;

/// Runs the command line; the exit code.
pub fn run(cli: &Cli) -> u8 {
    match Job::new(cli).and_then(Job::run) {
        Ok(code) => code,
        Err(fatal) => {
            eprintln!("rsync error: {fatal} (code {})", fatal.code());
            fatal.code()
        }
    }
}

/// A command line, understood.
struct Job<'a> {
    cli: &'a Cli,
    options: Options,
    filter: Filter,
    remote: Remote,
    local: Local,
}

/// What of it is on this machine.
enum Local {
    Source(Source),
    /// And the only name under which something may come.
    Destination(Target, Option<Vec<u8>>),
}

impl<'a> Job<'a> {
    fn new(cli: &'a Cli) -> Result<Self, Fatal> {
        let options = cli.options()?;
        let filter = Filter::new(&cli.rules()?, options.delete_excluded)?;
        let (source, destination) = (cli.source.as_bytes(), cli.destination.as_bytes());
        let (mut source, places) = (source.to_vec(), (Remote::parse(source), Remote::parse(destination)));
        if cli.volume.is_some() && !source.ends_with(b"/") {
            source.push(b'/');
        }
        let (remote, local) = match places {
            (None, Some(remote)) => (remote, Local::Source(Source::open(Path::new(OsStr::from_bytes(&source)))?)),
            (Some(_), None) => {
                let remote = Remote::parse(&source).ok_or_else(|| nowhere(&source))?;
                let requested = named(remote.path()).map(<[u8]>::to_vec);
                (remote, Local::Destination(Target::new(destination), requested))
            }
            (None, None) => return Err(nowhere(destination)),
            (Some(_), Some(_)) => return Err(ArgsError::Usage("one of the two places must be here".into()).into()),
        };
        let job = Self { cli, options, filter, remote, local };
        match cli.volume {
            Some(wanted) if wanted != job.direction() => {
                Err(ArgsError::Usage("push goes to HOST:PATH, pull comes from there".into()).into())
            }
            _ => Ok(job),
        }
    }

    fn direction(&self) -> Direction {
        match self.local {
            Local::Source(_) => Direction::Push,
            Local::Destination(..) => Direction::Pull,
        }
    }

    fn run(self) -> Result<u8, Fatal> {
        // With segments a directory may be read, and fail, after something was deleted in another one. We send no
        // segments, and take them only where nothing is deleted.
        let segments = self.direction() == Direction::Pull && self.options.recursive && !self.options.deletes();
        let args = server_args(&self.options, self.direction(), capabilities(segments), &self.cli.info());
        let (streams, running) = self.remote.start(&self.cli.shell()?, self.cli.program(), &args)?;
        running.conclude(self.transfer(streams).map(|outcome| outcome.code() as u8))
    }

    fn transfer(self, (to, from): (ChildStdin, ChildStdout)) -> Result<Outcome, Fatal> {
        let started = Instant::now();
        let mut input = Demux::new(Timed::new(from, self.options.timeout));
        let received = input.received();
        let mut out = Mux::new(to);
        out.limit(self.options.bwlimit);
        let agreed = begin(&self.options, &mut input, &mut out)?;
        let show = self.cli.show();
        let sends = self.direction() == Direction::Push;
        // Who sends must know the rules, and who deletes.
        if !sends || self.options.deletes() {
            filter::write(self.filter.to_wire(!sends).iter().map(Vec::as_slice), out.data());
        }
        let screen = Screen { show, times: self.options.times, sends };
        let numeric = self.options.numeric_ids;
        let terms = Terms { options: self.options, agreed, filter: self.filter, screen: Some(screen) };
        let outcome = match self.local {
            Local::Source(source) => {
                let accounts = if numeric { Accounts::default() } else { Accounts::read() };
                sender::run(&source, &terms, &accounts, input, &mut out)?
            }
            Local::Destination(target, requested) => {
                receiver::run(&target, terms, requested, ids(numeric), input, &mut out)?
            }
        };
        if show.summary > Summary::None {
            let (sent, received) = (out.written(), received.load(Ordering::Relaxed));
            report::summary(&outcome, Traffic { sent, received, seconds: started.elapsed().as_secs() }, show);
        }
        Ok(outcome)
    }
}

fn nowhere(given: &[u8]) -> Fatal {
    ArgsError::Usage(format!("{} is not of the form [USER@]HOST:PATH", Shown(given))).into()
}
