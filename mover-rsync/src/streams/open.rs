//! How a client opens further connections.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::meet::{ECHO, MET, byte};
use super::{Gathering, Held, Spreading, Stream, Token};
use crate::shell::Remote;

/// Connections of a session, with the first one: 16 MiB under way, 320 MB a second at a round trip of 50 ms.
pub(crate) const DEFAULT: u8 = 8;

/// Further connections of a session at most.
pub(crate) const MOST: u8 = 15;

/// Connections that are opened at the same time.
const AT_ONCE: u8 = 3;

/// Where a round trip is shorter, a single connection carries 400 MB a second.
const FAR: Duration = Duration::from_millis(5);

/// How long a further connection may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Options for a further connection of `ssh`: one of its own, which asks nobody for anything and says nothing.
const ALONE: [&str; 7] = ["-q", "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none"];

/// What is needed to open them.
#[derive(Clone, Debug)]
pub(crate) struct Opener {
    remote: Remote,
    shell: Vec<String>,
    program: String,
    token: Token,
}

impl Opener {
    /// `None` for a shell that is not known to have such options.
    pub(crate) fn new(remote: &Remote, shell: &[String], program: &str, token: Token) -> Option<Self> {
        let (name, rest) = shell.split_first()?;
        if Path::new(name).file_name()? != "ssh" {
            return None;
        }
        let words = [name.as_str()].into_iter().chain(ALONE).chain(rest.iter().map(String::as_str));
        let shell = words.map(ToOwned::to_owned).collect();
        Some(Self { remote: remote.clone(), shell, program: program.into(), token })
    }

    /// Opens connections, [`AT_ONCE`] at a time in threads of their own, until there are `all` with the first one and at most
    /// [`MOST`] more; none beyond the first few where the other side is near. They become streams to `role`.
    pub(crate) fn start(&self, all: u8, role: &Role) {
        for first in 1..=AT_ONCE {
            let (opener, role) = (self.clone(), role.clone());
            let far = move |(stream, round_trip): (Stream, Duration)| round_trip >= FAR && role.join(stream);
            // Fewer will do.
            let mut numbers = (first..all.min(MOST + 1)).step_by(AT_ONCE.into());
            let open = move || numbers.all(|number| opener.open(number).is_some_and(&far));
            let _started = std::thread::Builder::new().name("opener".into()).spawn(open);
        }
    }

    /// A connection that has met the session, and how long a round trip takes.
    fn open(&self, number: u8) -> Option<(Stream, Duration)> {
        let args = ["--server".to_owned(), "--join".to_owned(), self.token.text()];
        let ((to, from), running) = self.remote.start_quietly(&self.shell, &self.program, &args).ok()?;
        let (from, to) = (OwnedFd::from(from), OwnedFd::from(to));
        let stream = Stream { number, from, to, held: Held::Shell(Some(running)) };
        let met = hear(&stream, MET);
        let asked = Instant::now();
        let echoed = met && say(&stream.to, ECHO) && hear(&stream, ECHO);
        echoed.then(|| (stream, asked.elapsed()))
    }
}

/// What a client does with further streams.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// Sends over them.
    Sends(Spreading),
    /// Reads from them.
    Receives(Gathering),
}

impl Role {
    /// Makes the stream a part of the session.
    fn join(&self, stream: Stream) -> bool {
        match self {
            Self::Sends(spreading) => {
                let joined = say(&stream.to, stream.number) && hear(&stream, stream.number);
                if joined {
                    spreading.add(stream);
                }
                joined
            }
            Self::Receives(gathering) => {
                let (to, number) = (stream.to.try_clone(), stream.number);
                to.is_ok_and(|to| gathering.add(stream).is_ok() && say(&to, number))
            }
        }
    }
}

fn say(to: &OwnedFd, byte: u8) -> bool {
    rustix::io::write(to, &[byte]).is_ok_and(|written| written == 1)
}

fn hear(stream: &Stream, wanted: u8) -> bool {
    byte(stream.from.as_fd(), PATIENCE).is_ok_and(|heard| heard == wanted)
}
