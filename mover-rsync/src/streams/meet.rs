//! How a further connection finds its session at the server: by a socket of a name that only the client knows, which takes
//! descriptors from processes of the same user.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::num::NonZeroU128;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg, sockopt,
};

use super::open::MOST;
use super::{Held, Stream};
use crate::exit::ExitCode;
use crate::wire::{Input, WireError};

/// The name under which a session can be met. Random, but no secret: who may join is judged by user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(NonZeroU128);

impl Token {
    /// As a server says it; zero if it cannot be met.
    pub(crate) fn write(token: Option<Self>, out: &mut Vec<u8>) {
        out.extend_from_slice(&token.map_or(0, |token| token.0.get()).to_le_bytes());
    }

    /// As a client hears it.
    pub(crate) fn read(input: &mut impl Input) -> Result<Option<Self>, WireError> {
        let mut bytes = [0; 16];
        input.exact(&mut bytes)?;
        Ok(NonZeroU128::new(u128::from_le_bytes(bytes)).map(Self))
    }

    /// As an argument.
    pub(super) fn text(self) -> String {
        format!("{:032x}", self.0)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        u128::from_str_radix(text, 16).ok().and_then(NonZeroU128::new).map(Self)
    }

    fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        NonZeroU128::new(u128::from_le_bytes(bytes)).map(Self).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn address(self) -> io::Result<SocketAddr> {
        SocketAddr::from_abstract_name(format!("volsync-rsync-{}", self.text()))
    }
}

/// A server that further connections of its session can meet.
#[derive(Debug)]
pub(crate) struct Meeting {
    pub(crate) token: Token,
    listener: UnixListener,
}

/// What each side says before a connection belongs to the session: the server that it was met, the client something that comes
/// back, then the number of the stream. Whoever will read pieces from it is ready first: the client before it says the number,
/// the server before it says that back. Pieces that nobody reads would be waited for.
pub(super) const MET: u8 = b'M';
pub(super) const ECHO: u8 = b'E';

/// How long a further connection is waited for at each step.
const PATIENCE: Duration = Duration::from_mins(1);

impl Meeting {
    /// `None` where that is not possible.
    pub(crate) fn open() -> Option<Self> {
        let token = Token::random().ok()?;
        let listener = UnixListener::bind_addr(&token.address().ok()?).ok()?;
        Some(Self { token, listener })
    }

    /// Takes further connections as long as the process lives. What `deliver` gives back is told the number.
    pub(crate) fn attend(self, deliver: impl Fn(Stream) -> Option<OwnedFd> + Send + Sync + 'static) {
        let deliver = Arc::new(deliver);
        let attend = move || {
            for socket in self.listener.incoming().flatten() {
                // The threads share the closure: one that failed or ended has given it back.
                if Arc::strong_count(&deliver) > usize::from(MOST) {
                    continue;
                }
                let deliver = deliver.clone();
                let talk = move || {
                    let Ok(stream) = meet(socket) else { return };
                    let number = stream.number;
                    if let Some(to) = deliver(stream) {
                        // A client that is gone uses nothing.
                        let _gone = File::from(to).write_all(&[number]);
                    }
                };
                // Whoever finds nobody gives up.
                let _started = std::thread::Builder::new().name("meeting".into()).spawn(talk);
            }
        };
        let _started = std::thread::Builder::new().name("meetings".into()).spawn(attend);
    }
}

/// Takes the streams of a process, and talks to its client until that joins.
fn meet(mut socket: UnixStream) -> io::Result<Stream> {
    let own = rustix::process::geteuid();
    if sockopt::socket_peercred(&socket)?.uid != own {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    socket.set_read_timeout(Some(PATIENCE))?;
    let (from, to) = take(&socket)?;
    socket.write_all(&[MET])?;
    File::from(to.try_clone()?).write_all(&[MET])?;
    loop {
        match byte(from.as_fd(), PATIENCE)? {
            ECHO => File::from(to.try_clone()?).write_all(&[ECHO])?,
            number @ 1..=MOST => return Ok(Stream { number, from, to, held: Held::Socket(socket) }),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// One byte, in time.
pub(super) fn byte(from: BorrowedFd<'_>, patience: Duration) -> io::Result<u8> {
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    if poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&patience))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut byte = [0];
    match rustix::io::read(from, &mut byte)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(byte[0]),
    }
}

/// Two descriptors that a process gives away.
fn take(socket: &UnixStream) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    match (fds.next(), fds.next()) {
        (Some(from), Some(to)) => Ok((from, to)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Gives the standard streams to the session of this name, and waits until that needs them no more; the exit code.
pub(crate) fn join(token: &[u8]) -> u8 {
    match hand_over(token) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("mover-rsync: cannot join a session: {error}");
            ExitCode::StartClient as u8
        }
    }
}

fn hand_over(token: &[u8]) -> io::Result<()> {
    let token = Token::parse(token).ok_or(io::ErrorKind::InvalidInput)?;
    let mut socket = UnixStream::connect_addr(&token.address()?)?;
    give(&socket)?;
    let mut heard = Vec::new();
    socket.read_to_end(&mut heard)?;
    if heard.is_empty() { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
}

fn give(socket: &UnixStream) -> io::Result<()> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let fds = [stdin.as_fd(), stdout.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[IoSlice::new(b"F")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
