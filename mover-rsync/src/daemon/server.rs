//! A daemon for one client: greets, and serves one session in one of its modules.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use volsync_common::path::Shown;

use crate::args::ArgsError;
use crate::args::server::{ServerArgs, parse};
use crate::exit::{ExitCode, Fatal};
use crate::outcome::Outcome;
use crate::server::{Access, Confined, Setting};
use crate::session::{Start, farewell, refuse};
use crate::stream::{Demux, Mux, Timed};
use crate::wire::daemon::{Wish, greeted, greeting, line, read_args, wish};

/// How many seconds a client may take for each word before the session.
const PATIENCE: u64 = 60;

/// A directory that clients may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    /// For people who list modules.
    pub(crate) comment: &'static str,
    pub(crate) path: PathBuf,
}

/// What became of a client.
#[derive(Debug)]
pub(crate) enum Served {
    /// A session in this module, and how many bytes came.
    Session(&'static str, Outcome, u64),
    /// It only looked at the names of the modules.
    Listed,
}

/// Serves one client. Owners are taken by number, as VolSync's daemon does.
pub(crate) fn serve<R, W>(modules: &[Module], from: R, out: &mut Mux<W>) -> Result<Served, Fatal>
where
    R: Read + AsFd + Send + 'static,
    W: Write,
{
    let mut input = Demux::new(Timed::new(from, PATIENCE));
    out.data().extend_from_slice(greeting().as_bytes());
    out.flush()?;
    let protocol = match greeted(&line(&mut input)?) {
        Ok(protocol) => protocol,
        Err(error) => return Err(no(out, error.into())),
    };
    let module = match wish(&line(&mut input)?) {
        Wish::List => {
            for module in modules {
                let text = format!("{:15}\t{}\n", module.name, module.comment);
                out.data().extend_from_slice(text.as_bytes());
            }
            out.data().extend_from_slice(b"@RSYNCD: EXIT\n");
            out.flush()?;
            return Ok(Served::Listed);
        }
        Wish::Module(name) => modules.iter().find(|module| module.name.as_bytes() == name).ok_or(name),
    };
    let module = match module {
        Ok(module) => module,
        Err(name) => {
            let unknown = format!("Unknown module '{}'", Shown(&name));
            return Err(no(out, Fatal::Other(ExitCode::StartClient, unknown)));
        }
    };
    out.data().extend_from_slice(b"@RSYNCD: OK\n");
    out.flush()?;
    out.carry_errors();
    let args = read_args(&mut input)?;
    let confined = Confined { root: &module.path, access: Access::Receive };
    let setting = Setting { confined: Some(confined), start: Start::Known(protocol), numeric: true };
    let args = understood(&args, module.name).and_then(|args| setting.permit(&args).map(|()| args));
    match args {
        Ok(args) => {
            input.source().limit(args.options.timeout);
            let received = input.received();
            let outcome = setting.session(&args, None, input, out)?;
            Ok(Served::Session(module.name, outcome, received.load(Ordering::Relaxed)))
        }
        Err(error) => {
            let fatal = error.into();
            refuse(protocol, &fatal, out);
            farewell(input);
            Err(fatal)
        }
    }
}

/// Tells in a line that there will be no session.
fn no(out: &mut Mux<impl Write>, fatal: Fatal) -> Fatal {
    out.data().extend_from_slice(format!("@ERROR: {fatal}\n").as_bytes());
    // A client that is gone needs no answer.
    let _gone = out.flush();
    fatal
}

/// The arguments, with paths as they are below the module.
fn understood(args: &[Vec<u8>], module: &str) -> Result<ServerArgs, ArgsError> {
    let mut args = parse(args)?;
    for path in &mut args.paths {
        let below = path.strip_prefix(module.as_bytes()).filter(|rest| rest.is_empty() || rest.starts_with(b"/"));
        let Some(below) = below else {
            return Err(ArgsError::Usage(format!("{} is not in the module {module}", Shown(path))));
        };
        *path = below.strip_prefix(b"/").unwrap_or(below).to_vec();
    }
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client hears that says `says`, and what became of it.
    fn heard(says: &[u8]) -> (Result<Served, Fatal>, Vec<u8>) {
        let modules = [Module { name: "data", comment: "A volume", path: "/does/not/exist".into() }];
        let (from, mut to) = std::io::pipe().unwrap();
        to.write_all(says).unwrap();
        drop(to);
        let mut out = Mux::new(Vec::new());
        let served = serve(&modules, from, &mut out);
        let heard = out.into_inner().unwrap();
        let greeting = greeting();
        (served, heard.strip_prefix(greeting.as_bytes()).unwrap().to_vec())
    }

    #[test]
    fn modules_are_listed() {
        for wish in ["", "#list"] {
            let (served, text) = heard(format!("@RSYNCD: 31.0\n{wish}\n").as_bytes());
            assert!(matches!(served, Ok(Served::Listed)));
            assert_eq!(text, b"data           \tA volume\n@RSYNCD: EXIT\n");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_in_a_line() {
        for (says, words) in [
            ("@RSYNCD: 31.0\nother\n", "@ERROR: Unknown module 'other'\n"),
            ("@RSYNCD: 31.0\ndata/x\n", "@ERROR: Unknown module 'data/x'\n"),
            ("@RSYNCD: 29\n", "@ERROR: the peer speaks protocol 29"),
            ("GET / HTTP/1.1\n", "@ERROR: the peer broke the protocol"),
        ] {
            let (served, text) = heard(says.as_bytes());
            assert!(served.is_err() && String::from_utf8_lossy(&text).starts_with(words), "{says}");
        }
    }

    #[test]
    fn what_must_not_be_asked_is_refused_after_a_handshake() {
        for (args, words) in [
            ("--server\0-re.\0.\0/etc\0\0", "/etc is not in the module"),
            ("--server\0-re.\0.\0database\0\0", "database is not in the module"),
            ("--server\0--sender\0-re.\0.\0data/\0\0", "--sender"),
            ("--server\0-r\0--append\0.\0data/\0\0", "--append"),
            ("--nonsense\0\0", "--nonsense"),
        ] {
            let (served, text) = heard(format!("@RSYNCD: 31.0\ndata\n{args}").as_bytes());
            assert!(matches!(served, Err(Fatal::Args(_))));
            let rest = text.strip_prefix(b"@RSYNCD: OK\n").unwrap();
            // No compat flags, a seed, then a frame of text.
            assert_eq!((&rest[..5], rest[8]), (&[0; 5][..], 10), "{args}");
            assert!(String::from_utf8_lossy(&rest[9..]).contains(words), "{args}");
        }
    }
}
