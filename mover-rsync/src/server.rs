//! Started by a client through its remote shell, speaking on standard input and output.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::accounts::{Accounts, IdMap};
use crate::args::ArgsError;
use crate::args::server::{ServerArgs, parse};
use crate::exit::{ExitCode, Fatal};
use crate::filter::Filter;
use crate::native;
use crate::options::LEAVE_LOST_AND_FOUND;
use crate::outcome::Outcome;
use crate::receiver::{self, Target};
use crate::sender::{self, Sources};
use crate::session::{Agreed, Start, Terms, farewell, give_up, serve};
use crate::shell::widen_pipe;
use crate::stream::{Demux, Mux, Timed};
use crate::wire::filter;

/// Runs the server with these arguments; the exit code.
pub fn run(args: &[Vec<u8>]) -> u8 {
    run_in(args, None)
}

/// Runs it for paths below `root` alone, whatever the arguments say.
pub fn run_confined(args: &[Vec<u8>], root: &Path) -> u8 {
    run_in(args, Some(root))
}

fn run_in(args: &[Vec<u8>], root: Option<&Path>) -> u8 {
    match parse(args).map_err(Fatal::from).and_then(|args| on_standard_streams(&args, root)) {
        Ok(outcome) => outcome.code() as u8,
        Err(fatal) => {
            eprintln!("rsync error: {fatal} (code {})", fatal.code());
            fatal.code()
        }
    }
}

fn on_standard_streams(args: &ServerArgs, root: Option<&Path>) -> Result<Outcome, Fatal> {
    let own = |fd: io::Result<std::os::fd::OwnedFd>| fd.map(File::from).map_err(|error| no_stream(&error));
    let input = own(io::stdin().as_fd().try_clone_to_owned())?;
    let output = own(io::stdout().as_fd().try_clone_to_owned())?;
    widen_pipe(&input);
    widen_pipe(&output);
    let input = Demux::new(Timed::new(input, args.options.timeout));
    let mut out = Mux::new(output);
    let setting = Setting { root, start: Start::Exchange, numeric: args.options.numeric_ids };
    setting.permit(args)?;
    setting.session(args, input, &mut out)
}

/// What a server is allowed, and how it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    /// Nothing else is written to, and nothing is sent.
    pub(crate) root: Option<&'a Path>,
    pub(crate) start: Start,
    /// Owners are taken by number, whatever the client says.
    pub(crate) numeric: bool,
}

impl Setting<'_> {
    /// Refuses what must not be.
    pub(crate) fn permit(&self, args: &ServerArgs) -> Result<(), ArgsError> {
        if args.sender && self.root.is_some() {
            return Err(ArgsError::Unsupported("--sender".into()));
        }
        // A client of a daemon names files of one directory that way (`--files-from`).
        if args.options.relative && (args.sender || self.start == Start::Exchange) {
            return Err(ArgsError::Unsupported("-R".into()));
        }
        if args.options.dirs && !args.sender && !args.options.list_only {
            return Err(ArgsError::Unsupported("-d".into()));
        }
        Ok(())
    }

    /// Talks to a client from the handshake to the end.
    pub(crate) fn session<R, W>(
        &self,
        args: &ServerArgs,
        mut input: Demux<R>,
        out: &mut Mux<W>,
    ) -> Result<Outcome, Fatal>
    where
        R: Read + Send + 'static,
        W: Write,
    {
        let agreed = serve(args, self.start, !args.sender && args.options.may_segment(), seed(), &mut input, out)?;
        input.framed(Box::new(|_| Ok(())));
        let (terms, local) = match prepare(args, self.root, agreed, &mut input) {
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
            Local::Destination(target) => receiver::run(&target, terms, None, ids(self.numeric), input, out),
        }
    }
}

/// What of a transfer is on this machine.
enum Local {
    Source(Sources),
    Destination(Target),
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
    if agreed.native() && beyond.volume {
        rules.push(LEAVE_LOST_AND_FOUND.to_vec());
        options = options.going(beyond);
    }
    let filter = Filter::new(&rules, options.delete_excluded)?;
    let path = match &args.paths[..] {
        [path, ..] if !path.is_empty() => &path[..],
        _ => b".",
    };
    let local = match root {
        _ if args.sender && args.paths.len() < 2 => Local::Source(Sources::open([Path::new(OsStr::from_bytes(path))])?),
        _ if args.sender => {
            Local::Source(Sources::open(args.paths.iter().map(|path| Path::new(OsStr::from_bytes(path))))?)
        }
        _ if args.paths.len() > 1 => return Err(ArgsError::Usage("more than one destination".into()).into()),
        Some(root) => Local::Destination(Target::beneath(root, path)?),
        None => Local::Destination(Target::new(path)),
    };
    Ok((Terms { options, agreed, filter, screen: None, made_links: None }, local))
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
