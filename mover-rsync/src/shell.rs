//! The connection to the other machine: a remote shell as a child process.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::exit::{ExitCode, Fatal};

/// Where the other side is: `[USER@]HOST:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    user: Option<OsString>,
    host: OsString,
    /// There, as bytes; empty is the home directory.
    path: Vec<u8>,
}

impl Remote {
    /// `None` when there is no host: a colon after a slash belongs to a path. IPv6 addresses stand in brackets.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (place, path) = split_host(text)?;
        let (user, host) = match place.iter().rposition(|b| *b == b'@') {
            Some(at) => (Some(&place[..at]), &place[at + 1..]),
            None => (None, place),
        };
        let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
        if host.is_empty() || host.starts_with(b"-") || user.is_some_and(|user| user.starts_with(b"-")) {
            return None;
        }
        let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Some(Self { user: user.filter(|user| !user.is_empty()).map(os), host: os(host), path: path.to_vec() })
    }

    /// The path there.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// A further path at the same place: `HOST:PATH`, or `:PATH`.
    pub(crate) fn further(&self, text: &[u8]) -> Option<Vec<u8>> {
        if let Some(path) = text.strip_prefix(b":") {
            return Some(path.to_vec());
        }
        let other = Self::parse(text)?;
        (other.user == self.user && other.host == self.host).then_some(other.path)
    }

    /// Starts `program` with `args` for `paths` there, by the remote shell `shell`.
    pub(crate) fn start(
        &self,
        shell: &[String],
        program: &str,
        args: &[String],
        paths: &[Vec<u8>],
    ) -> Result<(Streams, Running), Fatal> {
        let (mut command, what) = self.command(shell, program, args, paths)?;
        piped(&mut command, &what)
    }

    /// The same for no paths, without standard error.
    pub(crate) fn start_quietly(
        &self,
        shell: &[String],
        program: &str,
        args: &[String],
    ) -> Result<(Streams, Running), Fatal> {
        let (mut command, what) = self.command(shell, program, args, &[])?;
        piped(command.stderr(Stdio::null()), &what)
    }

    /// The command, and what it is to people.
    fn command(
        &self,
        shell: &[String],
        program: &str,
        args: &[String],
        paths: &[Vec<u8>],
    ) -> Result<(Command, String), Fatal> {
        let Some((name, rest)) = shell.split_first() else {
            return Err(Fatal::Other(ExitCode::Usage, "no remote shell".into()));
        };
        let mut command = Command::new(name);
        command.args(rest);
        if let Some(user) = &self.user {
            command.arg("-l").arg(user);
        }
        command.arg(&self.host).arg(program);
        command.args(args.iter().map(|arg| OsString::from_vec(escaped(arg.as_bytes()))));
        command.args(paths.iter().map(|path| OsString::from_vec(escaped(&argument(path)))));
        Ok((command, format!("the remote shell {name}")))
    }
}

/// Starts this program as the other side, for `paths` of this machine.
pub(crate) fn start_here(args: &[String], paths: &[Vec<u8>]) -> Result<(Streams, Running), Fatal> {
    let own = std::env::current_exe().map_err(|error| Fatal::Other(ExitCode::StartClient, error.to_string()))?;
    let mut command = Command::new(own);
    command.args(args).args(paths.iter().map(|path| OsString::from_vec(argument(path))));
    piped(&mut command, "the other side")
}

/// A path as an argument: one that begins with a dash is no option.
fn argument(path: &[u8]) -> Vec<u8> {
    match path {
        b"" => b".".to_vec(),
        [b'-', ..] => [b"./", path].concat(),
        path => path.to_vec(),
    }
}

/// To and from the other side.
pub(crate) type Streams = (ChildStdin, ChildStdout);

fn piped(command: &mut Command, what: &str) -> Result<(Streams, Running), Fatal> {
    let failed = |why: String| Fatal::Other(ExitCode::StartClient, format!("cannot start {what}: {why}"));
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| failed(error.to_string()))?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(to), Some(from)) => {
            widen_pipe(&to);
            widen_pipe(&from);
            Ok(((to, from), Running(child)))
        }
        _ => Err(failed("it has no streams".into())),
    }
}

/// What a pipe may hold without privileges (`/proc/sys/fs/pipe-max-size`).
const PIPE: usize = 1 << 20;

/// Makes a pipe hold more than the usual 64 KiB, so that its two ends wait less often for each other. What is no pipe, or
/// may not be larger, stays as it is.
pub(crate) fn widen_pipe(pipe: impl AsFd) {
    let _larger = rustix::pipe::fcntl_setpipe_size(pipe, PIPE);
}

/// The place before the colon and the path after it.
fn split_host(text: &[u8]) -> Option<(&[u8], &[u8])> {
    // In brackets colons belong to the address.
    let after = match text.iter().position(|b| *b == b'[') {
        Some(open) if !text[..open].contains(&b'/') => text.iter().position(|b| *b == b']')?,
        _ => 0,
    };
    let colon = after + text[after..].iter().position(|b| *b == b':')?;
    let host = &text[..colon];
    (!host.contains(&b'/')).then(|| (host, &text[colon + 1..]))
}

/// A running remote shell.
#[derive(Debug)]
pub(crate) struct Running(Child);

/// After a failure the remote shell has this long to end with the code of the server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

impl Running {
    /// Waits for the end of a session that came to this result here; the exit code of both ends. Where both failed, the
    /// shell's or the server's own code tells more than that the connection ended.
    pub(crate) fn conclude(self, here: Result<u8, Fatal>) -> Result<u8, Fatal> {
        match here {
            Ok(code) => Ok(self.end()?.max(code)),
            Err(fatal) => {
                let theirs = self.give_up();
                if theirs <= fatal.code() {
                    return Err(fatal);
                }
                eprintln!("rsync error: {fatal} (code {theirs})");
                Ok(theirs)
            }
        }
    }

    /// Waits for the end of a session that went well; the exit code.
    fn end(mut self) -> Result<u8, Fatal> {
        let status = self.0.wait().map_err(|error| Fatal::Other(ExitCode::StartClient, error.to_string()))?;
        Ok(code(status))
    }

    /// Waits for the end of a session that failed, and makes one if there is none; the exit code, 0 without one.
    pub(crate) fn give_up(mut self) -> u8 {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.0.try_wait() {
                Ok(Some(status)) => return code(status),
                Ok(None) => std::thread::sleep(LOOK),
                Err(_) => break,
            }
        }
        // Either may fail because it has ended by now.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
        0
    }
}

/// What ended by a signal counts as a failure of the shell, 255.
fn code(status: ExitStatus) -> u8 {
    u8::try_from(status.code().unwrap_or(255)).unwrap_or(255)
}

/// An argument for a POSIX shell: a backslash before every byte that could mean something to it.
fn escaped(arg: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(arg.len());
    for byte in arg {
        if b"!#$&;|<>(){}\"'` \t\r\\*?[]~".contains(byte) {
            text.push(b'\\');
        }
        // A newline cannot be escaped that way, only quoted.
        if *byte == b'\n' { text.extend_from_slice(b"'\n'") } else { text.push(*byte) }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_from_paths() {
        let parsed = |text: &str| {
            let remote = Remote::parse(text.as_bytes())?;
            let user = remote.user.map(|user| user.to_string_lossy().into_owned());
            Some((user, remote.host.to_string_lossy().into_owned(), String::from_utf8(remote.path).unwrap()))
        };
        let expect = |user: Option<&str>, host: &str, path: &str| {
            Some((user.map(ToOwned::to_owned), host.to_owned(), path.to_owned()))
        };
        assert_eq!(parsed("root@h:."), expect(Some("root"), "h", "."));
        assert_eq!(parsed("h:/a:b"), expect(None, "h", "/a:b"));
        assert_eq!(parsed("root@[fd00::1]:/d"), expect(Some("root"), "fd00::1", "/d"));
        assert_eq!(parsed("[::1]:"), expect(None, "::1", ""));
        let place = Remote::parse(b"u@h:x").unwrap();
        assert_eq!((place.further(b":y"), place.further(b"u@h:z")), (Some(b"y".to_vec()), Some(b"z".to_vec())));
        assert!(["h:y", "u@i:y", "y", "/a:b"].iter().all(|other| place.further(other.as_bytes()).is_none()));
        for local in ["/a:b", "./a:b", "a", ":x", "-oProxyCommand=x:y", "-u@h:x", "a/[b:c"] {
            assert_eq!(parsed(local), None, "{local}");
        }
    }

    #[test]
    fn a_shell_gives_arguments_back_as_they_were() {
        let hard = b"a b$HOME;`id`*?[x]{1,2}'\"\\\n#~!&|<>()\t\xff".to_vec();
        let mut script = b"printf %s ".to_vec();
        script.extend(escaped(&hard));
        let out = Command::new("sh").arg("-c").arg(OsString::from_vec(script)).output().unwrap();
        assert_eq!(out.stdout, hard);
    }
}
