//! Started by a client through its remote shell, speaking on standard input and output.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::accounts::{Accounts, IdMap};
use crate::args::ArgsError;
use crate::args::client::read;
use crate::args::server::{ServerArgs, parse};
use crate::exit::{ExitCode, Fatal};
use crate::filter::Filter;
use crate::native;
use crate::options::{LEAVE_LOST_AND_FOUND, Names};
use crate::outcome::Outcome;
use crate::receiver::{self, Target, Wanted};
use crate::sender::{self, Sources};
use crate::session::{Agreed, Start, Terms, farewell, give_up, serve};
use crate::shell::widen_pipe;
use crate::stream::{Demux, Mux, Timed};
use crate::streams::{Gather, Meeting, Spread, join};
use crate::wire::{WireError, filter, names};

/// Runs the server with these arguments; the exit code.
pub fn run(args: &[Vec<u8>]) -> u8 {
    run_in(args, None)
}

/// Runs it for paths below `root` alone, whatever the arguments say.
pub fn run_confined(args: &[Vec<u8>], root: &Path, access: Access) -> u8 {
    run_in(args, Some(Confined { root, access }))
}

/// What clients may do in a directory that a server is confined to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Access {
    /// Bring files, as to VolSync's destinations.
    Receive,
    /// Fetch files.
    Read,
    /// Both.
    All,
}

/// The directory that a server is confined to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confined<'a> {
    /// Nothing outside of it is reached.
    pub(crate) root: &'a Path,
    pub(crate) access: Access,
}

fn run_in(args: &[Vec<u8>], confined: Option<Confined<'_>>) -> u8 {
    if let [server, join_as, token] = args
        && (&server[..], &join_as[..]) == (b"--server", b"--join")
    {
        return join(token);
    }
    match parse(args).map_err(Fatal::from).and_then(|args| on_standard_streams(&args, confined)) {
        Ok(outcome) => outcome.code() as u8,
        Err(fatal) => {
            eprintln!("rsync error: {fatal} (code {})", fatal.code());
            fatal.code()
        }
    }
}

fn on_standard_streams(args: &ServerArgs, confined: Option<Confined<'_>>) -> Result<Outcome, Fatal> {
    let own = |fd: io::Result<std::os::fd::OwnedFd>| fd.map(File::from).map_err(|error| no_stream(&error));
    let input = own(io::stdin().as_fd().try_clone_to_owned())?;
    let output = own(io::stdout().as_fd().try_clone_to_owned())?;
    widen_pipe(&input);
    widen_pipe(&output);
    let setting = Setting { confined, start: Start::Exchange, numeric: args.options.numeric_ids };
    setting.permit(args)?;
    let (from, to) = (input.try_clone(), output.try_clone());
    let mut input = Demux::new(Timed::new(input, args.options.timeout));
    let mut out = Mux::new(output);
    let meets = native::marked(&args.capabilities) >= Some(native::STREAMS);
    let meeting = if meets { Meeting::open() } else { None };
    if let (Some(_), Ok(from), Ok(to)) = (&meeting, from, to) {
        if args.sender {
            out.spread(Spread::new(to.into()));
        } else {
            input.gather(Gather::default(), from.into(), args.options.timeout);
        }
    }
    setting.session(args, meeting, input, &mut out)
}

/// What a server is allowed, and how it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    /// Nothing else is reached.
    pub(crate) confined: Option<Confined<'a>>,
    pub(crate) start: Start,
    /// Owners are taken by number, whatever the client says.
    pub(crate) numeric: bool,
}

impl Setting<'_> {
    /// Refuses what must not be.
    pub(crate) fn permit(&self, args: &ServerArgs) -> Result<(), ArgsError> {
        let Some(Confined { access, .. }) = self.confined else { return Ok(()) };
        if args.options.names.is_some() {
            return Err(ArgsError::Unsupported("--files-from".into()));
        }
        match (access, args.sender) {
            (Access::Receive, true) => Err(ArgsError::Unsupported("--sender".into())),
            (Access::Read, false) => Err(ArgsError::Usage("files can only be fetched here".into())),
            _ => Ok(()),
        }
    }

    /// Talks to a client from the handshake to the end. Further streams may come to `meeting`, if `input` or `out` can use
    /// them.
    pub(crate) fn session<R, W>(
        &self,
        args: &ServerArgs,
        meeting: Option<Meeting>,
        mut input: Demux<R>,
        out: &mut Mux<W>,
    ) -> Result<Outcome, Fatal>
    where
        R: Read + Send + 'static,
        W: Write,
    {
        let segments = !args.sender && args.options.may_segment();
        let token = meeting.as_ref().map(|meeting| meeting.token);
        let agreed = serve(args, self.start, segments, seed(), token, &mut input, out)?;
        match (meeting, out.spreading(), input.gathering()) {
            (Some(meeting), Some(spreading), _) => meeting.attend(move |stream| {
                spreading.add(stream);
                None
            }),
            (Some(meeting), None, Some(gathering)) => meeting.attend(move |stream| {
                let to = stream.answers().ok()?;
                gathering.add(stream).is_ok().then_some(to)
            }),
            _ => {}
        }
        input.framed(Box::new(|_| Ok(())));
        let (terms, local) = match prepare(args, self.confined.map(|confined| confined.root), agreed, &mut input) {
            Ok(prepared) => prepared,
            Err(fatal) => {
                give_up(agreed, &fatal, out);
                farewell(input);
                return Err(fatal);
            }
        };
        match local {
            Local::Source(sources) => {
                out.limit(terms.options.bwlimit);
                let accounts = if self.numeric { Accounts::default() } else { Accounts::read() };
                sender::run(&sources, &terms, &accounts, input, out)
            }
            Local::Destination(target, wanted) => receiver::run(&target, terms, wanted, ids(self.numeric), input, out),
        }
    }
}

/// What of a transfer is on this machine.
enum Local {
    Source(Sources),
    Destination(Target, Wanted),
}

/// Reads the filter rules, which come whenever they matter here, and finds the place.
fn prepare(
    args: &ServerArgs,
    root: Option<&Path>,
    agreed: Agreed,
    input: &mut Demux<impl Read>,
) -> Result<(Terms, Local), Fatal> {
    let mut options = args.options.clone();
    let mut rules = if args.sender || options.deletes() { filter::read(input)? } else { Vec::new() };
    let beyond = native::beyond(&args.capabilities);
    if agreed.native() {
        if beyond.volume {
            rules.push(LEAVE_LOST_AND_FOUND.to_vec());
        }
        options = options.going(beyond);
    }
    let mut filter = Filter::new(&rules, options.delete_excluded)?;
    // A client that sends tells what its user's CVS ignores.
    if args.sender && options.cvs_exclude {
        filter = filter.with_cvs(false)?;
    }
    options.attribute_rules = filter.attributes(args.sender);
    let path = match &args.paths[..] {
        [path, ..] if !path.is_empty() => &path[..],
        _ => b".",
    };
    if args.sender {
        let sources = match root {
            Some(root) => Sources::beneath(root, &args.paths, args.options.relative)?,
            None => sources(args, agreed, path, input)?,
        };
        return Ok((Terms { options, agreed, filter, screen: None, made_links: None }, Local::Source(sources)));
    }
    if args.paths.len() > 1 {
        return Err(ArgsError::Usage("more than one destination".into()).into());
    }
    let names = match &options.names {
        Some(Names::There(file)) => Some(names_in(file, options.from0)?),
        _ => None,
    };
    let target = match root {
        Some(root) => Target::beneath(root, path)?,
        None => Target::new(path),
    };
    let local = Local::Destination(target, Wanted { names, requested: None });
    Ok((Terms { options, agreed, filter, screen: None, made_links: None }, local))
}

/// What the client asked for; it may still have to name it.
fn sources(args: &ServerArgs, agreed: Agreed, path: &[u8], input: &mut Demux<impl Read>) -> Result<Sources, Fatal> {
    let from = Path::new(OsStr::from_bytes(path));
    match &args.options.names {
        Some(_) if args.paths.len() > 1 => Err(ArgsError::Usage("--files-from takes one source".into()).into()),
        Some(Names::There(file)) => {
            let mut names = names_in(file, args.options.from0)?;
            names.retain(|name| !names::is_remark(name));
            Sources::listed(from, &names, args.options.relative)
        }
        Some(_) => Sources::listed(from, &heard_names(agreed, input)?, args.options.relative),
        None if args.options.relative && args.paths.len() < 2 => Sources::relative([path]),
        None if args.options.relative => Sources::relative(args.paths.iter().map(Vec::as_slice)),
        None if args.paths.len() < 2 => Sources::open([from]),
        None => Sources::open(args.paths.iter().map(|path| Path::new(OsStr::from_bytes(path)))),
    }
}

fn names_in(file: &str, nul: bool) -> Result<Vec<Vec<u8>>, ArgsError> {
    let text = read(OsStr::new(file))?;
    Ok(names::split(&text, nul).map(<[u8]>::to_vec).collect())
}

/// The names that the peer has.
pub(crate) fn heard_names(agreed: Agreed, input: &mut Demux<impl Read>) -> Result<Vec<Vec<u8>>, WireError> {
    if agreed.protocol < names::OLDEST {
        return Err(WireError::Incompatible("--files-from needs a peer of protocol 31 (rsync 3.1) or newer".into()));
    }
    names::read(input)
}

fn no_stream(error: &io::Error) -> Fatal {
    Fatal::Other(ExitCode::StartClient, format!("standard input and output cannot be used: {error}"))
}

/// Differs from session to session, as the reference's does.
fn seed() -> i32 {
    use std::hash::{BuildHasher as _, RandomState};
    let [a, b, c, d, ..] = RandomState::new().hash_one(std::process::id()).to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// How the sender's ids become ours.
pub(crate) fn ids(numeric: bool) -> IdMap {
    if numeric {
        return IdMap::numeric();
    }
    IdMap::by_name(Accounts::read(), rustix::process::geteuid().is_root())
}
