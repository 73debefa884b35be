//! TLS 1.3 with a pre-shared key, as stunnel speaks it in VolSync's rsync-TLS movers, and the only user of OpenSSL.
//!
//! What stunnel 5.68 and we agree on: `TLS_AES_128_GCM_SHA256` (a key without a hash of its own belongs to SHA-256,
//! RFC 8446, 4.2.11), an exchange of keys by X25519 beside the shared one, the identity of the key file in the open, no
//! certificate. No tickets are given out: every connection proves the key.
//!
//! A session reads and writes in different threads, which one TLS connection cannot: a thread stands between them, with a
//! pair of sockets to the session, and moves bytes both ways.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::ssl::{
    ErrorCode, HandshakeError, MidHandshakeSslStream, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode,
    SslStream, SslVerifyMode, SslVersion,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::psk::Keys;

/// Ciphers whose hash is that of the key.
const CIPHERS: &str = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// How long a peer that was told of the end may take to end as well.
const FAREWELL: Duration = Duration::from_secs(5);

/// Silence after which the kernel asks whether the peer is still there (upstream's setting of stunnel).
const KEEP_ALIVE: Duration = Duration::from_mins(3);

/// Between further questions, of which the kernel asks nine.
const KEEP_ALIVE_AGAIN: Duration = Duration::from_secs(15);

/// Moved at once, in each direction.
const PIECE: usize = 64 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The peer went away before its first word was whole, as a probe does.
    #[error("the peer closed the connection at once")]
    Silent,
    /// No agreement, most likely on the key.
    #[error("the TLS handshake failed ({0}); both sides need the same key")]
    Handshake(String),
    /// Nothing came for too long.
    #[error("the TLS handshake took more than {} s", HANDSHAKE.as_secs())]
    Slow,
    /// The system refused something.
    #[error("the connection cannot be used: {0}")]
    Io(#[from] io::Error),
    /// OpenSSL refused something.
    #[error("OpenSSL cannot be used: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// A session's end of an encrypted connection.
#[derive(Debug)]
pub(crate) struct Tunnel {
    plain: UnixStream,
    /// Whether the peer said goodbye.
    ended: mpsc::Receiver<bool>,
    abandoned: Arc<AtomicBool>,
}

impl Tunnel {
    /// Encrypts a connection that we opened, with the first key.
    pub(crate) fn client(keys: &Keys, tcp: TcpStream) -> Result<Self, TlsError> {
        let mut context = context(SslMethod::tls_client())?;
        // A server that proves itself by a certificate and not by the key is none of ours.
        context.set_verify(SslVerifyMode::PEER);
        let key = keys.first().clone();
        context.set_psk_client_callback(move |_, _, identity, secret| {
            let name = [key.identity(), b"\0"].concat();
            Ok(if put(&name, identity) == 0 { 0 } else { put(key.secret(), secret) })
        });
        Self::over(&context.build(), tcp, Ssl::connect)
    }

    /// Encrypts a connection that was made to us, with the key that the client names.
    pub(crate) fn server(keys: &Keys, tcp: TcpStream) -> Result<Self, TlsError> {
        let mut context = context(SslMethod::tls_server())?;
        context.set_num_tickets(0)?;
        let keys = keys.clone();
        context.set_psk_server_callback(move |_, identity, secret| {
            let key = identity.and_then(|identity| keys.find(identity));
            Ok(key.map_or(0, |key| put(key.secret(), secret)))
        });
        Self::over(&context.build(), tcp, Ssl::accept)
    }

    fn over(context: &SslContext, tcp: TcpStream, begin: Begin) -> Result<Self, TlsError> {
        tcp.set_nonblocking(true)?;
        // Only speed depends on the first, and how early a lost peer is noticed on the others.
        let _slower = tcp.set_nodelay(true);
        let _later = sockopt::set_socket_keepalive(&tcp, true);
        let _later = sockopt::set_tcp_keepidle(&tcp, KEEP_ALIVE);
        let _later = sockopt::set_tcp_keepintvl(&tcp, KEEP_ALIVE_AGAIN);
        let tls = shake_hands(begin(Ssl::new(context)?, tcp))?;
        let (plain, inner) = UnixStream::pair()?;
        inner.set_nonblocking(true)?;
        let (end, ended) = mpsc::channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let (out, back) = (Flow::default(), Flow::default());
        let pump = Pump { tls, plain: inner, out, back, told: None, parted: false, abandoned: abandoned.clone() };
        std::thread::Builder::new().name("tls".into()).spawn(move || {
            let parted = pump.run().unwrap_or_else(|error| {
                eprintln!("mover-rsync: the connection broke: {error}");
                false
            });
            // Nobody may wait for that any more.
            let _forgotten = end.send(parted);
        })?;
        Ok(Self { plain, ended, abandoned })
    }

    /// For a session: one to read from, or one to write to.
    pub(crate) fn stream(&self) -> io::Result<UnixStream> {
        self.plain.try_clone()
    }

    /// Ends the connection after what was written, and waits for that. Whether the peer said goodbye, too.
    pub(crate) fn close(self) -> bool {
        // Not connected any more when the peer was faster.
        let _ended = self.plain.shutdown(Shutdown::Both);
        self.ended.recv_timeout(2 * FAREWELL).unwrap_or(false)
    }

    /// Breaks the connection off without a goodbye: a peer of ours knows then that something went wrong here.
    pub(crate) fn abandon(self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.close();
    }
}

type Begin = fn(Ssl, TcpStream) -> Result<SslStream<TcpStream>, HandshakeError<TcpStream>>;

fn context(method: SslMethod) -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContextBuilder::new(method)?;
    context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    context.set_ciphersuites(CIPHERS)?;
    context.set_mode(SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER);
    Ok(context)
}

/// Writes all of `bytes` to the beginning of `room`; how many, 0 if they do not fit.
fn put(bytes: &[u8], room: &mut [u8]) -> usize {
    match room.get_mut(..bytes.len()) {
        Some(place) => {
            place.copy_from_slice(bytes);
            bytes.len()
        }
        None => 0,
    }
}

fn shake_hands(
    mut step: Result<SslStream<TcpStream>, HandshakeError<TcpStream>>,
) -> Result<SslStream<TcpStream>, TlsError> {
    let deadline = Instant::now() + HANDSHAKE;
    loop {
        step = match step {
            Ok(tls) => return Ok(tls),
            Err(HandshakeError::WouldBlock(unfinished)) => {
                let writes = unfinished.error().code() == ErrorCode::WANT_WRITE;
                let events = if writes { PollFlags::OUT } else { PollFlags::IN };
                wait(&mut [PollFd::new(unfinished.get_ref(), events)], Some(deadline))?;
                if Instant::now() >= deadline {
                    return Err(TlsError::Slow);
                }
                unfinished.handshake()
            }
            Err(HandshakeError::Failure(failed)) => return Err(why(&failed)),
            Err(HandshakeError::SetupFailure(error)) => return Err(error.into()),
        };
    }
}

fn why(failed: &MidHandshakeSslStream<TcpStream>) -> TlsError {
    let error = failed.error();
    let reason = error.ssl_error().and_then(|stack| stack.errors().first()?.reason());
    match (reason, error.io_error()) {
        // The first record never came.
        (Some("unexpected eof while reading"), _) | (None, None)
            if failed.ssl().state_string_long().contains("before") =>
        {
            TlsError::Silent
        }
        (Some(reason), _) => TlsError::Handshake(reason.to_owned()),
        (None, Some(error)) => TlsError::Handshake(error.to_string()),
        (None, None) => TlsError::Handshake("the peer closed the connection".to_owned()),
    }
}

/// Waits for one of the events, or for the deadline.
fn wait(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    match poll(fds, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Bytes on their way in one direction.
struct Flow {
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    /// Nothing follows.
    ended: bool,
}

impl Default for Flow {
    fn default() -> Self {
        Self { buffer: vec![0; PIECE].into_boxed_slice(), at: 0, end: 0, ended: false }
    }
}

impl Flow {
    fn is_empty(&self) -> bool {
        self.at == self.end
    }

    fn waiting(&self) -> &[u8] {
        &self.buffer[self.at..self.end]
    }

    /// What was read: nothing is the end.
    fn filled(&mut self, len: usize) {
        (self.at, self.end, self.ended) = (0, len, len == 0);
    }

    /// Nobody takes what is on its way.
    fn cut(&mut self) {
        (self.at, self.end, self.ended) = (0, 0, true);
    }
}

/// What a step of the pump came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Something moved.
    Moved,
    /// There is nothing to do in this direction.
    Idle,
    /// These events of the network must come first.
    Network(PollFlags),
    /// These events of the session must come first.
    Session(PollFlags),
}

struct Pump {
    tls: SslStream<TcpStream>,
    plain: UnixStream,
    /// From the session to the network.
    out: Flow,
    /// From the network to the session.
    back: Flow,
    /// When the peer was told that nothing follows.
    told: Option<Instant>,
    /// The peer told us so.
    parted: bool,
    /// No goodbye is said.
    abandoned: Arc<AtomicBool>,
}

impl Pump {
    /// Works to the end; whether the peer said goodbye.
    fn run(mut self) -> io::Result<bool> {
        loop {
            let (out, back) = (self.outwards()?, self.inwards()?);
            if self.told.is_some() && self.back.ended && self.back.is_empty() {
                return Ok(self.parted);
            }
            if out == Step::Moved || back == Step::Moved {
                continue;
            }
            let deadline = self.told.map(|told| told + FAREWELL);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(self.parted);
            }
            let (mut network, mut session) = (PollFlags::empty(), PollFlags::empty());
            for step in [out, back] {
                match step {
                    Step::Network(events) => network |= events,
                    Step::Session(events) => session |= events,
                    Step::Moved | Step::Idle => {}
                }
            }
            let mut fds = Vec::with_capacity(2);
            // A descriptor of which nothing is wanted would still tell of its end, again and again.
            if !network.is_empty() {
                fds.push(PollFd::new(self.tls.get_ref(), network));
            }
            if !session.is_empty() {
                fds.push(PollFd::new(&self.plain, session));
            }
            wait(&mut fds, deadline)?;
        }
    }

    fn outwards(&mut self) -> io::Result<Step> {
        if self.out.is_empty() && !self.out.ended {
            match self.plain.read(&mut self.out.buffer) {
                Ok(len) => self.out.filled(len),
                Err(error) => return later(&error, Step::Session(PollFlags::IN)).ok_or(error),
            }
        }
        if self.out.is_empty() {
            return self.say_goodbye();
        }
        match self.tls.ssl_write(self.out.waiting()) {
            Ok(len) => {
                self.out.at += len;
                Ok(Step::Moved)
            }
            Err(error) => self.blocked(error),
        }
    }

    /// Tells the peer once that nothing follows.
    fn say_goodbye(&mut self) -> io::Result<Step> {
        if self.told.is_some() {
            return Ok(Step::Idle);
        }
        if self.abandoned.load(Ordering::Relaxed) {
            self.back.cut();
            self.told = Some(Instant::now());
            return Ok(Step::Moved);
        }
        match self.tls.shutdown() {
            Ok(_) => {
                self.told = Some(Instant::now());
                Ok(Step::Moved)
            }
            Err(error) => self.blocked(error),
        }
    }

    fn inwards(&mut self) -> io::Result<Step> {
        if self.back.is_empty() && !self.back.ended {
            match self.tls.ssl_read(&mut self.back.buffer) {
                Ok(len) => self.back.filled(len),
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => {
                    self.parted = true;
                    self.back.filled(0);
                }
                Err(error) => return self.blocked(error),
            }
            if self.back.ended {
                // The session may be gone already.
                let _gone = self.plain.shutdown(Shutdown::Write);
            }
        }
        if self.back.is_empty() {
            return Ok(Step::Idle);
        }
        match self.plain.write(self.back.waiting()) {
            Ok(len) => {
                self.back.at += len;
                Ok(Step::Moved)
            }
            Err(error) => match later(&error, Step::Session(PollFlags::OUT)) {
                Some(step) => Ok(step),
                // The session has ended and reads no more.
                None if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.back.cut();
                    Ok(Step::Moved)
                }
                None => Err(error),
            },
        }
    }

    /// What the network must do before TLS can go on. A connection that is gone ends both directions.
    fn blocked(&mut self, error: openssl::ssl::Error) -> io::Result<Step> {
        match error.code() {
            ErrorCode::WANT_READ => Ok(Step::Network(PollFlags::IN)),
            ErrorCode::WANT_WRITE => Ok(Step::Network(PollFlags::OUT)),
            _ => {
                self.out.cut();
                self.back.cut();
                let over = self.told.replace(Instant::now()).is_some();
                let _gone = self.plain.shutdown(Shutdown::Both);
                // After the goodbyes it does not matter how the peer goes.
                if over { Ok(Step::Moved) } else { Err(error.into_io_error().unwrap_or_else(io::Error::other)) }
            }
        }
    }
}

/// `step` if the error only says that it is too early, or that there was a signal.
fn later(error: &io::Error, step: Step) -> Option<Step> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Some(step),
        io::ErrorKind::Interrupted => Some(Step::Moved),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn keys(text: &str) -> Keys {
        Keys::parse(text.as_bytes()).unwrap()
    }

    const KEY: &str = "volsync:0123456789abcdef0123456789abcdef";

    /// Both ends of a connection on which each side has these keys.
    fn ends(client: &str, server: &str) -> (Result<Tunnel, TlsError>, Result<Tunnel, TlsError>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let server = keys(server);
        let server = std::thread::spawn(move || Tunnel::server(&server, accepted));
        (Tunnel::client(&keys(client), tcp), server.join().unwrap())
    }

    #[test]
    fn bytes_go_both_ways_at_once_and_end() {
        let (client, server) = ends(KEY, &format!("other:ffffffffffffffffffffffffffffffff\n{KEY}"));
        let (client, server) = (client.unwrap(), server.unwrap());
        let data: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        let sent = data.clone();
        let (mut to, mut from) = (client.stream().unwrap(), client.stream().unwrap());
        let writer = std::thread::spawn(move || {
            to.write_all(&sent).unwrap();
            to.shutdown(Shutdown::Write).unwrap();
        });
        let (mut echo_to, mut echo_from) = (server.stream().unwrap(), server.stream().unwrap());
        let echo = std::thread::spawn(move || {
            io::copy(&mut echo_from, &mut echo_to).unwrap();
            server.close();
        });
        let mut heard = Vec::new();
        from.read_to_end(&mut heard).unwrap();
        writer.join().unwrap();
        echo.join().unwrap();
        assert!(heard == data, "{} bytes of {}", heard.len(), data.len());
        assert!(client.close());
    }

    #[test]
    fn a_peer_that_gives_up_says_no_goodbye() {
        let (client, server) = ends(KEY, KEY);
        server.unwrap().abandon();
        let client = client.unwrap();
        assert_eq!(client.stream().unwrap().read(&mut [0]).unwrap(), 0);
        assert!(!client.close());
    }

    #[test]
    fn another_key_or_name_makes_no_connection() {
        for other in ["volsync:0123456789abcdef0123456789abcdee", "someone:0123456789abcdef0123456789abcdef"] {
            let (client, server) = ends(other, KEY);
            let error = client.and_then(|client| {
                // The server's verdict may come after the client's last word.
                match client.stream()?.read(&mut [0]) {
                    Ok(0) => Err::<(), _>(TlsError::Silent),
                    other => panic!("{other:?}"),
                }
            });
            assert!(error.is_err() && matches!(server, Err(TlsError::Handshake(_))), "{other}");
        }
    }

    #[test]
    fn a_certificate_is_no_substitute_for_the_key() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let server = std::thread::spawn(move || {
            let key = openssl::pkey::PKey::from_ec_key(
                openssl::ec::EcKey::generate(
                    &openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap(),
                )
                .unwrap(),
            )
            .unwrap();
            let mut certificate = openssl::x509::X509::builder().unwrap();
            certificate.set_pubkey(&key).unwrap();
            certificate.set_not_before(&openssl::asn1::Asn1Time::days_from_now(0).unwrap()).unwrap();
            certificate.set_not_after(&openssl::asn1::Asn1Time::days_from_now(9).unwrap()).unwrap();
            certificate.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
            let mut context = super::context(SslMethod::tls_server()).unwrap();
            context.set_certificate(&certificate.build()).unwrap();
            context.set_private_key(&key).unwrap();
            Ssl::new(&context.build()).unwrap().accept(accepted).is_ok()
        });
        let client = Tunnel::client(&keys(KEY), tcp);
        assert!(matches!(client, Err(TlsError::Handshake(_))), "{client:?}");
        assert!(!server.join().unwrap());
    }

    #[test]
    fn probes_and_garbage_are_told_apart() {
        for (says, silent) in [(&b""[..], true), (b"GET / HTTP/1.1\r\n\r\n", false), (b"\x16\x03", true)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            tcp.write_all(says).unwrap();
            drop(tcp);
            let error = Tunnel::server(&keys(KEY), listener.accept().unwrap().0).unwrap_err();
            assert_eq!(matches!(error, TlsError::Silent), silent, "{says:?}: {error}");
        }
    }
}
