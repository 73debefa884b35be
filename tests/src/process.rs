//! Runs a program to its end or to a time limit and keeps what it said.

use std::fmt;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use volsync_common::exit::ExitCode;

/// The limit of every helper that does not name its own: far beyond any single step of a test, well below the
/// test runner's.
pub const LIMIT: Duration = Duration::from_mins(2);

/// What is kept of the output of a Job that failed, in bytes.
const LAST_WORDS: usize = 1024;

/// How a program ended.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// As the system reported it.
    pub status: ExitStatus,
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// Standard error, whole.
    pub stderr: Vec<u8>,
    /// From the start of the program to its end.
    pub took: Duration,
}

impl Outcome {
    /// The exit code as a shell would show it: 128 + N after signal N.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Both streams as text, standard output first.
    pub fn text(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(&self.stderr))
    }

    /// The last 1,024 bytes of what was said: all that is left of a Job that failed.
    pub fn last_words(&self) -> String {
        let said = [&self.stdout[..], &self.stderr].concat();
        String::from_utf8_lossy(&said[said.len().saturating_sub(LAST_WORDS)..]).into_owned()
    }

    /// Panics with everything the program said unless it exited with `code` and its last words hold each of `words`.
    #[track_caller]
    pub fn fails(self, code: ExitCode, words: &[&str]) -> Self {
        let outcome = self.exits(code as i32);
        let last = outcome.last_words();
        for word in words {
            assert!(last.contains(word), "the last 1,024 bytes do not say {word:?}:\n{last}\n--- of\n{outcome}");
        }
        outcome
    }

    /// Panics with everything the program said unless it exited 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exits(0)
    }

    /// Panics with everything the program said unless it exited with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} exited {} after {:?}:\n{}", self.command, self.code(), self.took, self.text())
    }
}

/// A started program; killed when dropped before its end.
#[derive(Debug)]
pub struct Running {
    command: String,
    pid: Pid,
    started: Instant,
    // Only so that threads can share what holds a process.
    ended: Mutex<Receiver<ExitStatus>>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    reaped: bool,
}

impl Running {
    /// Starts `command` without standard input.
    pub fn start(command: &mut Command) -> Self {
        let text = format!("{command:?}");
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("cannot start {text}: {error}"));
        let (stdout, stderr) = (child.stdout.take().map(drain), child.stderr.take().map(drain));
        let pid = Pid::from_child(&child);
        Self {
            command: text,
            pid,
            started: Instant::now(),
            ended: Mutex::new(watch(child)),
            stdout,
            stderr,
            reaped: false,
        }
    }

    /// Sends a signal; one that comes after the end is lost.
    pub fn signal(&self, signal: Signal) {
        let _gone = kill_process(self.pid, signal);
    }

    /// Whether the program is gone, without waiting.
    pub fn has_ended(&self) -> bool {
        rustix::process::test_kill_process(self.pid).is_err()
    }

    /// The process id, for `/proc`.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    fn ended(&mut self) -> &mut Receiver<ExitStatus> {
        self.ended.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end; past `limit` the program is killed and the test fails.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Outcome {
        let left = limit.saturating_sub(self.started.elapsed());
        let status = self.ended().recv_timeout(left);
        let took = self.started.elapsed();
        if let Err(RecvTimeoutError::Timeout) = status {
            self.signal(Signal::KILL);
        }
        self.reaped = true;
        let (stdout, stderr) = (join(self.stdout.take()), join(self.stderr.take()));
        let command = std::mem::take(&mut self.command);
        match status {
            Ok(status) => Outcome { command, status, stdout, stderr, took },
            Err(error) => {
                let said = [stdout, stderr].concat();
                panic!("{command} has not ended within {limit:?} ({error}):\n{}", String::from_utf8_lossy(&said))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped && self.ended().try_recv().is_err() {
            self.signal(Signal::KILL);
            let _status = self.ended().recv();
        }
    }
}

/// Runs `command` to its end within [`LIMIT`].
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    Running::start(command).wait(LIMIT)
}

fn drain(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut said = Vec::new();
        stream.read_to_end(&mut said).expect("reading a pipe");
        said
    })
}

fn join(reader: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    reader.map(|reader| reader.join().expect("a reader of output")).unwrap_or_default()
}

fn watch(mut child: Child) -> Receiver<ExitStatus> {
    let (end, ended) = channel();
    thread::spawn(move || {
        let status = child.wait().expect("waiting for a child");
        let _nobody_waits = end.send(status);
    });
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(
            run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 7"])).exits(7).text(),
            "out\nerr\n"
        );
        assert_eq!(run(Command::new("sh").args(["-c", "kill -TERM $$"])).code(), 143);
    }

    #[test]
    #[should_panic(expected = "do not say \"first\"")]
    fn only_the_end_of_what_was_said_counts_as_last_words() {
        let outcome = run(Command::new("sh").args(["-c", "echo first; yes | head -c 1020; echo why >&2; exit 1"]));
        outcome.fails(ExitCode::Failure, &["y\nwhy\n"]).fails(ExitCode::Failure, &["first"]);
    }

    #[test]
    #[should_panic(expected = "has not ended within")]
    fn a_limit_ends_it() {
        Running::start(Command::new("sleep").arg("60")).wait(Duration::from_millis(50));
    }

    #[test]
    fn dropping_kills() {
        let running = Running::start(Command::new("sleep").arg("60"));
        let pid = running.pid();
        drop(running);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
