//! Started by a user: brings a source to or from another machine.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use volsync_common::path::Shown;
use volsync_common::report::Title;

use crate::accounts::Accounts;
use crate::args::ArgsError;
use crate::args::ask::server_args;
use crate::args::client::{Cli, Direction, Summary, read};
use crate::daemon::client::{self as daemon, Guest};
use crate::daemon::password::Password;
use crate::directories::named;
use crate::exit::Fatal;
use crate::filter::Filter;
use crate::native;
use crate::options::{Names, Options};
use crate::outcome::Outcome;
use crate::receiver::{self, Requested, Target, Wanted};
use crate::report::{self, Progress, Screen, Telling, Traffic};
use crate::sender::{self, Name, Sources};
use crate::server::{heard_names, ids};
use crate::session::{MadeLinks, Start, Terms, begin};
use crate::shell;
use crate::stream::{Demux, Mux, Timed};
use crate::streams::{Gather, Opener, Role, Spread, Strain, Token};
use crate::wire::frame::{Message, io_error};
use crate::wire::handshake::{Side, capabilities};
use crate::wire::{WireError, filter, names};

/// Runs the command line; the exit code.
pub fn run(cli: &Cli) -> u8 {
    let code = match Job::new(cli).and_then(Job::told).and_then(Job::run) {
        Ok(code) => code,
        Err(fatal) => failed(&fatal),
    };
    if let Some(progress) = Progress::current() {
        progress.finish();
    }
    code
}

/// How a command line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: u8,
    /// Something of the source could not be read, more than that it vanished.
    pub(crate) unread: bool,
}

impl From<u8> for Ended {
    fn from(code: u8) -> Self {
        Self { code, unread: false }
    }
}

/// Runs a command line whose daemon was reached already, by these two ends of one stream. Links that the daemon makes are
/// noted in `made`.
pub(crate) fn run_over<R, W>(cli: &Cli, from: R, to: W, made: &MadeLinks) -> Ended
where
    R: Read + AsFd + Send + 'static,
    W: Write,
{
    let job = Job::new(cli).map(|job| Job { made_links: Some(made.clone()), ..job });
    match job.and_then(|job| job.transfer(from, to, None)) {
        Ok(outcome) => Ended { code: outcome.code() as u8, unread: outcome.io_error & io_error::GENERAL != 0 },
        Err(fatal) => failed(&fatal).into(),
    }
}

fn failed(fatal: &Fatal) -> u8 {
    report::ended(fatal, fatal.code());
    fatal.code()
}

/// A command line, understood.
struct Job<'a> {
    cli: &'a Cli,
    options: Options,
    filter: Filter,
    /// The rules that the other side hears.
    told: Filter,
    remote: Remote,
    /// What is named there.
    paths: Vec<Vec<u8>>,
    local: Local,
    made_links: Option<MadeLinks>,
}

/// Where the other side is.
enum Remote {
    /// Behind a remote shell.
    Shell(shell::Remote),
    /// At a daemon.
    Daemon(daemon::Remote),
    /// Here: a path.
    Here(Vec<u8>),
}

impl Remote {
    fn parse(text: &[u8]) -> Option<Self> {
        let daemon = daemon::Remote::parse(text).map(Self::Daemon);
        daemon.or_else(|| shell::Remote::parse(text).map(Self::Shell))
    }

    /// What is named there, without what leads to it.
    fn path(&self) -> &[u8] {
        match self {
            Self::Shell(remote) => remote.path(),
            Self::Daemon(remote) => remote.path(),
            Self::Here(path) => path,
        }
    }

    /// A further path at the same place.
    fn further(&self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Shell(remote) => remote.further(text),
            Self::Daemon(remote) => remote.further(text),
            Self::Here(_) => None,
        }
    }

    /// The names of `--files-from`, or where they are.
    fn listed(&self, cli: &Cli) -> Result<Option<Listed>, ArgsError> {
        let Some(file) = cli.files_from.as_deref() else { return Ok(None) };
        let bytes = file.as_bytes();
        let Some(there) = bytes.strip_prefix(b":").map(<[u8]>::to_vec).or_else(|| self.further(bytes)) else {
            if Self::parse(bytes).is_some() {
                return Err(ArgsError::Usage("--files-from names another machine than the transfer".into()));
            }
            let text = read(file)?;
            return Ok(Some(Listed::Here(names::split(&text, cli.from0).map(<[u8]>::to_vec).collect())));
        };
        let there = String::from_utf8(there).map_err(|_| ArgsError::Usage("--files-from is not UTF-8".into()))?;
        Ok(Some(Listed::There(there)))
    }
}

/// What of it is on this machine.
enum Local {
    Source(Sources),
    /// Of which the other machine has the names.
    Named(PathBuf),
    Destination(Target, Wanted),
}

/// The names of `--files-from`.
enum Listed {
    /// From a file here.
    Here(Vec<Vec<u8>>),
    /// From this file at the other machine.
    There(String),
}

impl<'a> Job<'a> {
    fn new(cli: &'a Cli) -> Result<Self, Fatal> {
        let mut options = cli.options()?;
        let told = Filter::of_user(&cli.rules_for(false)?, options.delete_excluded, options.from0)?;
        let (sources, destination) = cli.places();
        let sources: Vec<_> = sources.iter().map(|source| cli.whole(source.as_bytes())).collect();
        let Some(first) = sources.first() else { return Err(nowhere()) };
        if cli.files_from.is_some() && sources.len() > 1 {
            return Err(ArgsError::Usage("--files-from takes one source".into()).into());
        }
        let there = destination.map(OsStrExt::as_bytes);
        let here = |path: &[u8]| Remote::Here(path.to_vec());
        let from = Remote::parse(first).or_else(|| there.is_none().then(|| here(first)));
        let to = there.and_then(|there| Remote::parse(there).or_else(|| from.is_none().then(|| here(there))));
        if matches!((&from, &to), (Some(Remote::Here(_)), _) | (_, Some(Remote::Here(_)))) {
            options.whole_file |= !cli.no_whole_file;
        }
        let (remote, paths, local) = match (from, to) {
            (None, Some(remote)) => {
                let listed = remote.listed(cli)?;
                options.names = listed.as_ref().map(|listed| match listed {
                    Listed::Here(_) => Names::Here,
                    Listed::There(file) => Names::There(file.clone()),
                });
                let path = remote.path().to_vec();
                (remote, vec![path], source(cli, &options, &sources, listed)?)
            }
            (Some(remote), None) => {
                let mut paths = vec![remote.path().to_vec()];
                for source in &sources[1..] {
                    paths.push(remote.further(source).ok_or_else(|| elsewhere(source))?);
                }
                let listed = remote.listed(cli)?;
                options.names = listed.as_ref().map(|listed| match listed {
                    Listed::Here(_) => Names::Client,
                    Listed::There(file) => Names::There(file.clone()),
                });
                let wanted = wanted(&options, &paths, listed)?;
                (remote, paths, Local::Destination(Target::new(there.unwrap_or_default()), wanted))
            }
            (None, None) => return Err(nowhere()),
            (Some(_), Some(_)) => return Err(ArgsError::Usage("one of the two places must be here".into()).into()),
        };
        let receives = matches!(local, Local::Destination(..));
        let filter = if options.cvs_exclude { told.clone().with_cvs(receives)? } else { told.clone() };
        // A server that sends adds what its own CVS ignores.
        let told = if receives { told } else { filter.clone() };
        let job = Self { cli, options, filter, told, remote, paths, local, made_links: None };
        match cli.volume {
            Some(wanted) if wanted != job.direction() => {
                Err(ArgsError::Usage("push goes to HOST:PATH, pull comes from there".into()).into())
            }
            _ => Ok(job),
        }
    }

    fn direction(&self) -> Direction {
        match self.local {
            Local::Source(_) | Local::Named(_) => Direction::Push,
            Local::Destination(..) => Direction::Pull,
        }
    }

    /// Machine events begin at once, to tell of a place that cannot be reached.
    fn told(self) -> Result<Self, Fatal> {
        match (self.cli.telling(), self.cli.lists()) {
            (_, true) if self.cli.json => {
                Err(ArgsError::Usage("--json tells of transfers, and this only lists".into()).into())
            }
            (Some(Telling::Events), _) => self.tell(Telling::Events).map(|()| self),
            _ => Ok(self),
        }
    }

    fn tell(&self, telling: Telling) -> Result<(), Fatal> {
        let (sources, destination) = self.cli.places();
        let shown = |place: &OsStr| Shown(place.as_bytes()).to_string();
        let sources: Vec<_> = sources.iter().map(|source| shown(source)).collect();
        let operation = match (&self.remote, self.direction()) {
            (Remote::Here(_), _) => "copy",
            (_, Direction::Push) => "push",
            (_, Direction::Pull) => "pull",
        };
        let destination = destination.map(shown).unwrap_or_default();
        let title = Title { operation: operation.into(), source: sources.join(" "), destination };
        Progress::start(telling, title, self.options.dry_run)
    }

    fn run(self) -> Result<u8, Fatal> {
        match &self.remote {
            Remote::Shell(remote) => {
                let args = self.server_args();
                let ((to, from), running) = remote.start(&self.cli.shell()?, self.cli.program(), &args, &self.paths)?;
                let ends = Ends::of(&from, &to).ok();
                running.conclude(self.transfer(from, to, ends).map(|outcome| outcome.code() as u8))
            }
            Remote::Here(_) => {
                let ((to, from), running) = shell::start_here(&self.server_args(), &self.paths)?;
                running.conclude(self.transfer(from, to, None).map(|outcome| outcome.code() as u8))
            }
            Remote::Daemon(remote) => {
                let stream = remote.connect(self.cli.port)?;
                let from = stream.try_clone().map_err(WireError::from)?;
                if remote.is_bare() {
                    let mut input = Demux::new(Timed::new(from, self.options.timeout));
                    return daemon::modules(&self.guest()?, &mut input, &mut Mux::new(stream)).map(|()| 0);
                }
                Ok(self.transfer(from, stream, None)?.code() as u8)
            }
        }
    }

    /// Opens further connections when this one holds the transfer up.
    fn watch<R: Read, W: Write>(
        &self,
        ends: Ends,
        meeting: Option<Token>,
        input: &mut Demux<R>,
        out: &mut Mux<W>,
    ) -> Result<(), ArgsError> {
        let all = self.cli.streams;
        let wanted = all > 1 && self.options.bwlimit == 0;
        let (Remote::Shell(remote), Some(token)) = (&self.remote, meeting.filter(|_| wanted)) else { return Ok(()) };
        let Some(opener) = Opener::new(remote, &self.cli.shell()?, self.cli.program(), token) else { return Ok(()) };
        if self.direction() == Direction::Push {
            let streams = Spread::new(ends.to);
            let spreading = streams.spreading();
            out.spread(streams);
            out.watch(Strain::new(move || opener.start(all, &Role::Sends(spreading))));
        } else {
            let streams = Gather::default();
            let gathering = streams.gathering();
            input.gather(streams, ends.from, self.options.timeout);
            input.watch(Strain::new(move || opener.start(all, &Role::Receives(gathering))));
        }
        Ok(())
    }

    fn guest(&self) -> Result<Guest, ArgsError> {
        let password = Password::find(self.cli.password_file.as_deref())?;
        Ok(Guest { password, deaf: self.cli.no_motd })
    }

    fn server_args(&self) -> Vec<String> {
        // With segments a directory may be read, and fail, after something was deleted in another one. We send no
        // segments, and take them only where nothing is deleted.
        let segments = self.direction() == Direction::Pull && self.options.recursive && !self.options.deletes();
        let letters = capabilities(segments, !self.options.list_only);
        let letters = native::with_beyond(letters, self.cli.beyond);
        server_args(&self.options, self.direction(), &letters, &self.cli.info())
    }

    /// Over a line that is long, further connections are opened where copies of its `ends` are given.
    fn transfer<R, W>(self, from: R, to: W, ends: Option<Ends>) -> Result<Outcome, Fatal>
    where
        R: Read + AsFd + Send + 'static,
        W: Write,
    {
        let started = Instant::now();
        let mut input = Demux::new(Timed::new(from, self.options.timeout));
        let received = input.received();
        let mut out = Mux::new(to);
        out.limit(self.options.bwlimit);
        let start = match &self.remote {
            Remote::Shell(_) | Remote::Here(_) => Start::Exchange,
            Remote::Daemon(remote) => {
                let (guest, args) = (self.guest()?, self.server_args());
                Start::Known(remote.enter(&guest, &args, &self.paths, &mut input, &mut out)?)
            }
        };
        let agreed = begin(&self.options, start, &mut input, &mut out)?;
        if let Some(ends) = ends {
            self.watch(ends, agreed.meeting, &mut input, &mut out)?;
        }
        let show = self.cli.show();
        let sends = self.direction() == Direction::Push;
        // Nobody is asked for a password any more, which bars would be in the way of.
        if let Some(telling) = self.cli.telling().filter(|telling| *telling != Telling::Events) {
            self.tell(telling)?;
        }
        if show.list {
            report::line(if sends { "sending incremental file list" } else { "receiving incremental file list" });
        }
        let (mut options, mut filter, mut told) = (self.options, self.filter, self.told);
        if agreed.native() && (self.cli.beyond.volume || self.cli.spares_lost_and_found) {
            filter = Filter::of_user(&self.cli.rules_for(true)?, options.delete_excluded, options.from0)?;
            told = filter.clone();
            options = options.going(self.cli.beyond);
        }
        // Who sends must know the rules, and who deletes.
        if !sends || options.deletes() {
            filter::write(told.to_wire(!sends).iter().map(Vec::as_slice), out.data());
        }
        options.attribute_rules = filter.attributes(sends);
        // Between two places of one machine everything comes.
        let shown_as_sent = sends && !matches!(self.remote, Remote::Here(_));
        let progress = Progress::current();
        let side = report::Side { sends, away: shown_as_sent, times: options.times, digest: Some(agreed.sum) };
        let format = self.cli.format().map(Arc::new);
        let screen = Screen { show, progress, format, telling: side };
        let numeric = options.numeric_ids;
        let terms = Terms { options, agreed, filter, screen: Some(screen), made_links: self.made_links };
        let accounts = || if numeric { Accounts::default() } else { Accounts::read() };
        let outcome = match self.local {
            Local::Source(sources) => sender::run(&sources, &terms, &accounts(), input, &mut out)?,
            Local::Named(from) => {
                out.flush()?;
                input.framed(Box::new(before));
                let names = heard_names(agreed, &mut input)?;
                let sources = Sources::listed(&from, &names, terms.options.relative)?;
                sender::run(&sources, &terms, &accounts(), input, &mut out)?
            }
            Local::Destination(target, wanted) => receiver::run(&target, terms, wanted, ids(numeric), input, &mut out)?,
        };
        if let Some(progress) = progress {
            progress.outcome(&outcome);
            // The last event comes when the other side has ended too.
            if !progress.sends_events() {
                progress.finish();
            }
        }
        if show.summary > Summary::None {
            let (sent, received) = (out.written(), received.load(Ordering::Relaxed));
            report::summary(&outcome, Traffic { sent, received, seconds: started.elapsed().as_secs() }, show);
        }
        Ok(outcome)
    }
}

/// Copies of the two ends of a connection.
struct Ends {
    from: OwnedFd,
    to: OwnedFd,
}

impl Ends {
    fn of(from: &impl AsFd, to: &impl AsFd) -> io::Result<Self> {
        Ok(Self { from: from.as_fd().try_clone_to_owned()?, to: to.as_fd().try_clone_to_owned()? })
    }
}

/// What is sent.
fn source(cli: &Cli, options: &Options, sources: &[Vec<u8>], listed: Option<Listed>) -> Result<Local, Fatal> {
    let paths = || sources.iter().map(|source| Path::new(OsStr::from_bytes(source)));
    let from = paths().next().unwrap_or(Path::new("."));
    Ok(Local::Source(match listed {
        Some(Listed::There(_)) => {
            // What cannot be read is better known before there is a connection.
            Sources::listed(from, &[], true)?;
            return Ok(Local::Named(from.into()));
        }
        Some(Listed::Here(mut names)) => {
            names.retain(|name| !names::is_remark(name));
            Sources::listed(from, &names, options.relative)?
        }
        None if cli.without_root => Sources::open(paths())?.without_roots(),
        None if options.relative => Sources::relative(sources.iter().map(Vec::as_slice))?,
        None => Sources::open(paths())?,
    }))
}

/// What may come.
fn wanted(options: &Options, paths: &[Vec<u8>], listed: Option<Listed>) -> Result<Wanted, Fatal> {
    let recursive = options.recursive;
    Ok(match listed {
        // Nobody here knows what it names.
        Some(Listed::There(_)) => Wanted::default(),
        Some(Listed::Here(names)) if !options.relative => {
            let requested = names.iter().map(|name| Name::listed(name).alone()).collect::<Option<Vec<_>>>();
            Wanted { requested: requested.map(Requested::whole), names: Some(names) }
        }
        Some(Listed::Here(names)) => {
            let requested = Requested::named(names.iter().map(|name| Name::listed(name)), recursive);
            Wanted { requested: Some(requested), names: Some(names) }
        }
        None if options.relative => {
            let names = paths.iter().map(|path| Name::argument(path)).collect::<Result<Vec<_>, _>>()?;
            Wanted { requested: Some(Requested::named(names, recursive)), names: None }
        }
        None => {
            let names: Option<Vec<_>> = paths.iter().map(|path| named(path).map(<[u8]>::to_vec)).collect();
            Wanted { requested: names.map(Requested::whole), names: None }
        }
    })
}

/// A message that comes before a sender listens to them.
fn before(message: Message) -> Result<(), WireError> {
    match message {
        Message::Text { tag, text } => report::relay(Side::Client, tag, &text),
        Message::ErrorExit(code) => return Err(WireError::PeerExit(code.unwrap_or(0))),
        _ => {}
    }
    Ok(())
}

fn elsewhere(given: &[u8]) -> Fatal {
    ArgsError::Usage(format!("{} is not at the place of the first source", Shown(given))).into()
}

fn nowhere() -> Fatal {
    ArgsError::Usage("no place is named".into()).into()
}
