//! Started by a client through its remote shell, speaking on standard input and output.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::accounts::{Accounts, IdMap};
use crate::args::server::{ServerArgs, parse};
use crate::args::{ArgsError, server};
use crate::exit::{ExitCode, Fatal};
use crate::receiver::{self, open_destination};
use crate::session::{Agreed, serve};
use crate::stream::{Demux, Mux, Timed};
use crate::wire::filter;
use crate::wire::handshake::Side;

/// Runs the server with these arguments; the exit code.
pub fn run(args: &[Vec<u8>]) -> u8 {
    match parse(args).map_err(Fatal::from).and_then(|args| session(&args)) {
        Ok(code) => code as u8,
        Err(fatal) => {
            eprintln!("rsync error: {fatal} (code {})", fatal.code());
            fatal.code()
        }
    }
}

fn session(args: &server::ServerArgs) -> Result<ExitCode, Fatal> {
    if args.sender {
        return Err(ArgsError::Unsupported("--sender".into()).into());
    }
    let own = |fd: io::Result<std::os::fd::OwnedFd>| fd.map(File::from).map_err(|error| no_stream(&error));
    let input = own(io::stdin().as_fd().try_clone_to_owned())?;
    let output = own(io::stdout().as_fd().try_clone_to_owned())?;
    let mut input = Demux::new(Timed::new(input, args.options.timeout));
    let mut out = Mux::new(output);
    let agreed = serve(args, args.options.may_segment(), seed(), &mut input, &mut out)?;
    receive(args, agreed, input, &mut out)
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

fn receive(
    args: &ServerArgs,
    agreed: Agreed,
    mut input: Demux<Timed<File>>,
    out: &mut Mux<File>,
) -> Result<ExitCode, Fatal> {
    let options = &args.options;
    input.framed(Box::new(|_| Ok(())));
    if options.deletes() && !filter::read(&mut input)?.is_empty() {
        return Err(ArgsError::Unsupported("--filter (together with --delete)".into()).into());
    }
    let path = match &args.paths[..] {
        [path] if !path.is_empty() => Path::new(std::ffi::OsStr::from_bytes(path)),
        [_] | [] => Path::new("."),
        _ => return Err(ArgsError::Usage("more than one destination".into()).into()),
    };
    let place = open_destination(path)?;
    let outcome = receiver::run(place, options.clone(), agreed, Side::Server, ids(options.numeric_ids), input, out)?;
    Ok(outcome.code())
}

/// How the sender's ids become ours.
pub(crate) fn ids(numeric: bool) -> IdMap {
    if numeric {
        return IdMap::numeric();
    }
    IdMap::by_name(Accounts::read(), rustix::process::geteuid().is_root())
}
