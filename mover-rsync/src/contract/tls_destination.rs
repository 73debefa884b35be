//! The destination of rsync-TLS: takes connections, each in a process of its own, until the source says that it is done.
//!
//! The source says so by a file `complete` in the module `control`, which is a directory in `/tmp` here as with
//! upstream. Links need no undoing afterwards: they are stored as they are, since nothing here follows them.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

use super::destination::flush;
use super::{Layout, TERMINATED, Volume, debugged, psk, tls_block};
use crate::daemon::server::{Module, Served, serve};
use crate::exit::{ExitCode, Fatal};
use crate::report::{line, received};
use crate::stream::Mux;
use crate::tls::{TlsError, Tunnel};

/// Connections at once. A source has one; the rest are probes and people.
const SESSIONS: usize = 64;

/// What is left of a session has this long after the source is done, and after SIGTERM.
const GRACE: Duration = Duration::from_secs(4);

#[derive(Debug, Parser)]
#[command(name = "mover-rsync tls-destination")]
struct DestinationCli {
    #[command(flatten)]
    layout: Layout,
    /// The port for connections
    #[arg(long, default_value_t = 8000)]
    port: u16,
}

/// Where the source leaves files of control.
fn control(layout: &Layout) -> PathBuf {
    layout.tmp.join("control")
}

fn complete(layout: &Layout) -> PathBuf {
    control(layout).join("complete")
}

/// Runs the destination; the exit code.
pub fn run(args: &[OsString]) -> u8 {
    let parsed = DestinationCli::try_parse_from(std::iter::once("tls-destination".into()).chain(args.iter().cloned()));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let _printed = error.print();
            return ExitCode::Usage as u8;
        }
    };
    match debugged(&cli.layout) {
        Ok(false) => {}
        Ok(true) => return 0,
        Err(error) => {
            eprintln!("mover-rsync: cannot wait for a person: {error}");
            return 1;
        }
    }
    if psk(&cli.layout).is_none() {
        return 1;
    }
    let Some(volume) = cli.layout.volume() else {
        line("ERROR: target location not found");
        return 1;
    };
    line(&format!("Destination PVC volumeMode is {}", volume.name()));
    match Destination::open(&cli).and_then(Destination::run) {
        Ok(0) => {
            line("Sync complete, exiting.");
            0
        }
        Ok(code) => code,
        Err(error) => {
            eprintln!("mover-rsync: {error}");
            1
        }
    }
}

struct Destination<'a> {
    layout: &'a Layout,
    listener: TcpListener,
    /// Readable after a signal.
    wake: UnixStream,
    terminated: Arc<AtomicBool>,
    sessions: Vec<Pid>,
}

impl<'a> Destination<'a> {
    fn open(cli: &'a DestinationCli) -> io::Result<Self> {
        prepare(&cli.layout)?;
        let terminated = Arc::new(AtomicBool::new(false));
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        for signal in [SIGTERM, SIGINT] {
            flag::register(signal, terminated.clone())?;
        }
        for signal in [SIGTERM, SIGINT, SIGCHLD] {
            pipe::register(signal, waker.try_clone()?)?;
        }
        let listener = listen(cli.port)?;
        listener.set_nonblocking(true)?;
        Ok(Self { layout: &cli.layout, listener, wake, terminated, sessions: Vec::new() })
    }

    fn run(mut self) -> io::Result<u8> {
        let complete = complete(self.layout);
        line(&format!("Waiting for control file to be created ({})...", complete.display()));
        loop {
            self.bury()?;
            if self.terminated.load(Ordering::Relaxed) {
                self.end()?;
                return Ok(TERMINATED);
            }
            // It gets its name when it is whole, so the session that brought it may still be about to end.
            if complete.exists() {
                break;
            }
            self.wait(self.sessions.len() < SESSIONS, None)?;
            while self.sessions.len() < SESSIONS {
                match self.listener.accept() {
                    Ok((tcp, _)) => self.start(tcp)?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The client is gone again, or there are too many of something for the moment.
                    Err(error) => {
                        eprintln!("mover-rsync: cannot take a connection: {error}");
                        break;
                    }
                }
            }
        }
        line("Shutting down...");
        self.end()?;
        flush(&self.layout.data)?;
        Ok(0)
    }

    /// Lets sessions end by themselves, and ends them if they do not.
    fn end(&mut self) -> io::Result<()> {
        let terminated = self.terminated.load(Ordering::Relaxed);
        for signal in [(!terminated).then_some(None), Some(Some(Signal::TERM)), Some(Some(Signal::KILL))] {
            let Some(signal) = signal else { continue };
            for session in &self.sessions {
                let _gone = signal.map(|signal| kill_process(*session, signal));
            }
            let deadline = Instant::now() + GRACE;
            while !self.sessions.is_empty() && Instant::now() < deadline {
                self.wait(false, Some(deadline))?;
                self.bury()?;
            }
        }
        Ok(())
    }

    /// Waits for a signal, for a connection if there is room for one, or for the deadline.
    fn wait(&mut self, connections: bool, deadline: Option<Instant>) -> io::Result<()> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        if connections {
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // One byte a signal; what they were about is looked at anyway.
        while matches!(self.wake.read(&mut [0; 64]), Ok(1..)) {}
        Ok(())
    }

    /// Buries sessions, and orphans that a container's first process inherits.
    fn bury(&mut self) -> io::Result<()> {
        loop {
            match waitpid(None, WaitOptions::NOHANG) {
                Ok(Some((pid, _))) => self.sessions.retain(|session| *session != pid),
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A process of its own: whatever a client makes of it, the next one finds the destination as it was.
    fn start(&mut self, tcp: TcpStream) -> io::Result<()> {
        tcp.set_nonblocking(false)?;
        let Layout { data, block, keys, tmp } = self.layout;
        // Not by its name, under which a newer program may stand by now.
        let mut session = Command::new("/proc/self/exe");
        session.arg("tls-session").stdin(Stdio::from(OwnedFd::from(tcp)));
        for (option, path) in [("--data", data), ("--block", block), ("--keys", keys), ("--tmp", tmp)] {
            session.arg(option).arg(path);
        }
        match session.spawn() {
            Ok(child) => self.sessions.push(Pid::from_child(&child)),
            Err(error) => eprintln!("mover-rsync: cannot start a session: {error}"),
        }
        Ok(())
    }
}

/// The directory for files of control, without those of a run before.
fn prepare(layout: &Layout) -> io::Result<()> {
    let control = control(layout);
    fs::create_dir_all(&control)?;
    for name in ["complete", "symlink-munging-file"] {
        match fs::remove_file(control.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// All addresses of both kinds, or those of IPv4 where there is no other.
fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
}

#[derive(Debug, Parser)]
#[command(name = "mover-rsync tls-session")]
struct SessionCli {
    #[command(flatten)]
    layout: Layout,
}

/// Serves the connection on standard input; the exit code, which nobody looks at.
pub fn session(args: &[OsString]) -> u8 {
    let parsed = SessionCli::try_parse_from(std::iter::once("tls-session".into()).chain(args.iter().cloned()));
    let Ok(SessionCli { layout }) = parsed else {
        eprintln!("mover-rsync: the session's command is malformed");
        return ExitCode::Usage as u8;
    };
    match serve_standard_input(&layout) {
        // A probe is nothing to tell.
        Ok(()) | Err(Ended::Tls(TlsError::Silent)) => 0,
        Err(error) => {
            eprintln!("rsync error: {error}");
            1
        }
    }
}

/// Why a session ended early.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("there is no key any more")]
    Key,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0} (code {code})", code = .0.code())]
    Session(#[from] Fatal),
    #[error("the connection cannot be used: {0}")]
    Io(#[from] io::Error),
}

fn serve_standard_input(layout: &Layout) -> Result<(), Ended> {
    use std::os::fd::AsFd as _;
    let tcp = TcpStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let keys = psk(layout).ok_or(Ended::Key)?;
    let tunnel = Tunnel::server(&keys, tcp)?;
    if layout.volume() == Some(Volume::Block) {
        let copied = tls_block::receive(&layout.block, &complete(layout), tunnel)?;
        received(copied.size, copied.sent, copied.received);
        return Ok(());
    }
    let (from, mut out) = (tunnel.stream()?, Mux::new(tunnel.stream()?));
    let served = serve(&modules(layout), from, &mut out);
    let sent = out.written();
    tunnel.close();
    if let Served::Session("data", outcome, came) = served? {
        received(outcome.total_size, sent, came);
    }
    Ok(())
}

/// Upstream's modules.
fn modules(layout: &Layout) -> [Module; 2] {
    let module = |name, comment, path: &Path| Module { name, comment, path: path.to_owned() };
    [module("data", "PVC data", &layout.data), module("control", "Control files for signaling", &control(layout))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_before_left_does_not_count() {
        let tmp = tempfile::tempdir().unwrap();
        let layout = Layout {
            data: "/data".into(),
            block: "/dev/block".into(),
            keys: "/keys".into(),
            tmp: tmp.path().to_owned(),
        };
        prepare(&layout).unwrap();
        fs::write(complete(&layout), b"").unwrap();
        fs::write(control(&layout).join("kept"), b"").unwrap();
        prepare(&layout).unwrap();
        assert!(!complete(&layout).exists() && control(&layout).join("kept").exists());
    }

    #[test]
    fn connections_of_both_kinds_are_taken() {
        let listener = listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        if listener.local_addr().unwrap().is_ipv6() {
            assert!(TcpStream::connect(("::1", port)).is_ok());
        }
    }
}
