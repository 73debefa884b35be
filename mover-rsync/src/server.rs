//! Started by a client through its remote shell, speaking on standard input and output.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::accounts::{Accounts, IdMap};
use crate::args::ArgsError;
use crate::args::server::{ServerArgs, parse};
use crate::exit::{ExitCode, Fatal};
use crate::receiver::{self, open_beneath, open_destination};
use crate::session::{Agreed, serve};
use crate::stream::{Demux, Mux, Timed};
use crate::wire::filter;
use crate::wire::handshake::Side;

/// Runs the server with these arguments; the exit code.
pub fn run(args: &[Vec<u8>]) -> u8 {
    run_in(args, None)
}

/// Runs it for paths below `root` alone, whatever the arguments say.
pub fn run_confined(args: &[Vec<u8>], root: &Path) -> u8 {
    run_in(args, Some(root))
}

fn run_in(args: &[Vec<u8>], root: Option<&Path>) -> u8 {
    match parse(args).map_err(Fatal::from).and_then(|args| session(&args, root)) {
        Ok(code) => code as u8,
        Err(fatal) => {
            eprintln!("rsync error: {fatal} (code {})", fatal.code());
            fatal.code()
        }
    }
}

fn session(args: &ServerArgs, root: Option<&Path>) -> Result<ExitCode, Fatal> {
    if args.sender {
        return Err(ArgsError::Unsupported("--sender".into()).into());
    }
    if args.options.relative {
        return Err(ArgsError::Unsupported("-R".into()).into());
    }
    let own = |fd: io::Result<std::os::fd::OwnedFd>| fd.map(File::from).map_err(|error| no_stream(&error));
    let input = own(io::stdin().as_fd().try_clone_to_owned())?;
    let output = own(io::stdout().as_fd().try_clone_to_owned())?;
    let mut input = Demux::new(Timed::new(input, args.options.timeout));
    let mut out = Mux::new(output);
    let agreed = serve(args, args.options.may_segment(), seed(), &mut input, &mut out)?;
    receive(args, root, agreed, input, &mut out)
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
    root: Option<&Path>,
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
        [path] if !path.is_empty() => &path[..],
        [_] | [] => b".",
        _ => return Err(ArgsError::Usage("more than one destination".into()).into()),
    };
    let place = match root {
        Some(root) => open_beneath(root, path)?,
        None => open_destination(Path::new(std::ffi::OsStr::from_bytes(path)))?,
    };
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
