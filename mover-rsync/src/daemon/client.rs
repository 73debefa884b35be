//! A client of a daemon: `rsync://[USER@]HOST[:PORT]/MODULE/PATH` or `[USER@]HOST::MODULE/PATH`.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use volsync_common::path::Shown;

use super::password::{Password, own_name};
use crate::exit::{ExitCode, Fatal};
use crate::report::line;
use crate::stream::{Demux, Mux};
use crate::wire::daemon::{Answer, answer, digest, greeted, greeting, line as read_line, write_args};

/// The port of rsync's daemon (IANA).
const PORT: u16 = 873;

/// How long one address is tried. The reference has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lines of text from a daemon before its answer; more are no welcome.
const LINES_MAX: usize = 10_000;

/// A directory or file at a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// With the module in front.
    path: Vec<u8>,
}

impl Remote {
    /// `None` if that is no place at a daemon.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        match text.split_at_checked(8) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"rsync://") => Self::url(rest),
            _ => Self::double_colon(text),
        }
    }

    fn url(text: &[u8]) -> Option<Self> {
        let (place, path) = text.split_at(text.iter().position(|b| *b == b'/').unwrap_or(text.len()));
        let (user, place) = host(place)?;
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, port.strip_prefix(':'))
            }
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None | Some("") => None,
            Some(port) => Some(port.parse().ok()?),
        };
        Self::named(user, host, port, path.strip_prefix(b"/").unwrap_or_default())
    }

    fn double_colon(text: &[u8]) -> Option<Self> {
        let at = text.windows(2).position(|two| two == b"::")?;
        let (place, path) = if text.contains(&b'[') {
            let end = text.windows(3).position(|three| three == b"]::")?;
            (&text[..=end], &text[end + 3..])
        } else {
            (&text[..at], &text[at + 2..])
        };
        // A colon after a slash belongs to a path.
        if place.contains(&b'/') {
            return None;
        }
        let (user, place) = host(place)?;
        Self::named(user, place.trim_start_matches('[').trim_end_matches(']'), None, path)
    }

    fn named(user: Option<&str>, host: &str, port: Option<u16>, path: &[u8]) -> Option<Self> {
        let user = user.filter(|user| !user.is_empty()).map(ToOwned::to_owned);
        (!host.is_empty()).then(|| Self { user, host: host.to_owned(), port, path: path.to_vec() })
    }

    /// Module and path.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// A further path of the same module: `HOST::MODULE/PATH`, or `::MODULE/PATH`.
    pub(crate) fn further(&self, text: &[u8]) -> Option<Vec<u8>> {
        let other = match text.strip_prefix(b"::") {
            Some(path) => Self { path: path.to_vec(), ..self.clone() },
            None => Self::parse(text)?,
        };
        let same = other.host == self.host && other.port == self.port && other.module() == self.module();
        same.then_some(other.path)
    }

    /// Whether no module is named: then the modules are what is asked for.
    pub(crate) fn is_bare(&self) -> bool {
        self.module().is_empty()
    }

    fn module(&self) -> &[u8] {
        self.path.split(|b| *b == b'/').next().unwrap_or_default()
    }

    /// Opens the connection; `port` is the one to take where the place names none.
    pub(crate) fn connect(&self, port: Option<u16>) -> Result<TcpStream, Fatal> {
        let port = self.port.or(port).unwrap_or(PORT);
        let failed = |error: &io::Error| {
            Fatal::Other(ExitCode::SocketIo, format!("cannot connect to {} port {port}: {error}", self.host))
        };
        let mut last = io::Error::other("no address");
        for address in (self.host.as_str(), port).to_socket_addrs().map_err(|error| failed(&error))? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    // Only speed depends on it.
                    let _slower = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(failed(&last))
    }

    /// Greets, asks for the module and hands over the server's arguments, which end before `paths`; the protocol.
    pub(crate) fn enter(
        &self,
        guest: &Guest,
        args: &[String],
        paths: &[Vec<u8>],
        input: &mut Demux<impl Read>,
        out: &mut Mux<impl Write>,
    ) -> Result<i32, Fatal> {
        if self.is_bare() {
            return Err(Fatal::Other(ExitCode::Usage, "the place at the daemon has no module".into()));
        }
        let greeting = ask(self.module(), input, out)?;
        let protocol = greeted(&greeting)?;
        for _ in 0..LINES_MAX {
            let refused = match answer(&read_line(input)?) {
                Answer::Ok => {
                    write_args(args.iter().map(String::as_bytes).chain(paths.iter().map(Vec::as_slice)), out.data());
                    return Ok(protocol);
                }
                Answer::Text(text) => {
                    guest.hears(&text);
                    continue;
                }
                Answer::Password(challenge) => {
                    let known = guest.answer(self.user.as_deref(), digest(&greeting), &challenge)?;
                    out.data().extend_from_slice(known.as_bytes());
                    out.flush()?;
                    continue;
                }
                Answer::Exit => "it has nothing more to say".to_owned(),
                Answer::Refused(why) => Shown(&why).to_string(),
            };
            return Err(refusal(&refused));
        }
        Err(only_talks())
    }
}

/// Shows the modules that the daemon has to show.
pub(crate) fn modules(guest: &Guest, input: &mut Demux<impl Read>, out: &mut Mux<impl Write>) -> Result<(), Fatal> {
    greeted(&ask(LIST, input, out)?)?;
    for _ in 0..LINES_MAX {
        match answer(&read_line(input)?) {
            Answer::Exit => return Ok(()),
            Answer::Text(text) => guest.hears(&text),
            Answer::Refused(why) => return Err(refusal(&Shown(&why).to_string())),
            Answer::Ok | Answer::Password(_) => return Err(refusal("it does not list its modules")),
        }
    }
    Err(only_talks())
}

/// Greets, and says what is wanted; the daemon's greeting.
fn ask(wish: &[u8], input: &mut Demux<impl Read>, out: &mut Mux<impl Write>) -> Result<Vec<u8>, Fatal> {
    out.data().extend_from_slice(greeting().as_bytes());
    out.flush()?;
    let theirs = read_line(input)?;
    greeted(&theirs)?;
    out.data().extend_from_slice(wish);
    out.data().push(b'\n');
    out.flush()?;
    Ok(theirs)
}

/// What a daemon is asked for instead of a module.
const LIST: &[u8] = b"#list";

fn refusal(why: &str) -> Fatal {
    Fatal::Other(ExitCode::StartClient, format!("the daemon refuses: {why}"))
}

fn only_talks() -> Fatal {
    Fatal::Other(ExitCode::StartClient, "the daemon only talks".into())
}

/// Who comes to a daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guest {
    pub(crate) password: Option<Password>,
    /// Does not want to hear the message of the day (`--no-motd`), nor the modules with it, as with rsync.
    pub(crate) deaf: bool,
}

impl Guest {
    /// A line for people. Columns stay columns.
    fn hears(&self, text: &[u8]) {
        if !self.deaf {
            let columns: Vec<_> = text.split(|b| *b == b'\t').map(|column| Shown(column).to_string()).collect();
            line(&columns.join("\t"));
        }
    }

    /// The line that answers to a challenge.
    fn answer(&self, user: Option<&str>, digest: Option<&str>, challenge: &[u8]) -> Result<String, Fatal> {
        let Some(password) = &self.password else {
            return Err(refusal("it wants a password: RSYNC_PASSWORD or --password-file has none"));
        };
        let answer = digest.and_then(|digest| password.answer(digest, challenge));
        let answer = answer.ok_or_else(|| refusal("it wants a password by a digest that is not known"))?;
        Ok(format!("{} {answer}\n", user.map_or_else(own_name, ToOwned::to_owned)))
    }
}

/// The user, if one is named, and the host; `None` for what no host name can be.
fn host(place: &[u8]) -> Option<(Option<&str>, &str)> {
    let place = std::str::from_utf8(place).ok()?;
    let (user, host) = place.rsplit_once('@').map_or((None, place), |(user, host)| (Some(user), host));
    (!host.starts_with('-')).then_some((user, host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Read};

    #[test]
    fn places_at_daemons_are_told_from_others() {
        let parsed = |text: &str| {
            Remote::parse(text.as_bytes())
                .map(|remote| (remote.host.clone(), remote.port, String::from_utf8(remote.path).unwrap()))
        };
        let expect = |host: &str, port: Option<u16>, path: &str| Some((host.to_owned(), port, path.to_owned()));
        assert_eq!(parsed("rsync://h/data"), expect("h", None, "data"));
        assert_eq!(parsed("RSYNC://u@h:8730/data/x y/"), expect("h", Some(8730), "data/x y/"));
        assert_eq!(parsed("rsync://[fd00::1]:9/m"), expect("fd00::1", Some(9), "m"));
        assert_eq!(parsed("rsync://h"), expect("h", None, ""));
        assert_eq!(parsed("h::data/a::b"), expect("h", None, "data/a::b"));
        assert_eq!(parsed("u@[fd00::1]::m/"), expect("fd00::1", None, "m/"));
        for other in
            ["h:data", "/a::b", "a/b::c", "::x", "rsync://:1/x", "rsync://h:x/m", "rsync:/h", "-o::x", "[::1]:x"]
        {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    #[test]
    fn further_paths_are_in_the_same_module() {
        let place = Remote::parse(b"rsync://h:9/data/x").unwrap();
        for (text, path) in [
            ("rsync://h:9/data/y", Some("data/y")),
            ("::data/z", Some("data/z")),
            ("h::data/y", None),
            ("rsync://h:9/other", None),
            ("/data", None),
        ] {
            assert_eq!(place.further(text.as_bytes()).as_deref(), path.map(str::as_bytes), "{text}");
        }
    }

    /// What is sent to a daemon that says `says`, and the protocol.
    fn entered(says: &str) -> (Result<i32, Fatal>, Vec<u8>) {
        let (mut input, mut out) = (Demux::new(Cursor::new(says.as_bytes().to_vec())), Mux::new(Vec::new()));
        let remote = Remote::parse(b"rsync://h/data/").unwrap();
        let (guest, args) = (Guest::default(), ["--server".into(), ".".into()]);
        let protocol = remote.enter(&guest, &args, &[b"data/".to_vec()], &mut input, &mut out);
        (protocol, out.into_inner().unwrap())
    }

    #[test]
    fn a_module_is_asked_for_as_recorded() {
        let (protocol, sent) = entered("@RSYNCD: 31.0\nwelcome\n@RSYNCD: OK\n");
        assert_eq!(protocol.unwrap(), 31);
        assert_eq!(sent, b"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\ndata\n--server\0.\0data/\0\0");
    }

    #[test]
    fn what_is_no_consent_ends_the_session() {
        for (says, code, words) in [
            ("@RSYNCD: 31.0\n@ERROR: Unknown module 'data'\n", 5, "Unknown module"),
            ("@RSYNCD: 31.0\n@RSYNCD: EXIT\n", 5, "nothing more"),
            ("@RSYNCD: 31.0\n@RSYNCD: AUTHREQD x\n", 5, "password"),
            ("@RSYNCD: 29\n", 2, "protocol 29"),
            ("SSH-2.0-OpenSSH\n", 12, "no greeting"),
            ("@RSYNCD: 31.0\n", 12, "too early"),
            ("", 12, "too early"),
        ] {
            let error = entered(says).0.unwrap_err();
            assert!(error.code() == code && error.to_string().contains(words), "{says}: {error}");
        }
        let mut endless = Demux::new(b"@RSYNCD: 31.0\n".chain(io::repeat(b'\n')));
        let (place, guest) = (Remote::parse(b"h::m").unwrap(), Guest::default());
        let talk = place.enter(&guest, &[], &[], &mut endless, &mut Mux::new(Vec::new()));
        assert!(talk.unwrap_err().to_string().contains("only talks"));
    }
}
