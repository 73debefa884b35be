//! A longer way to a server on loopback: bytes arrive half a round trip later in each direction, as many as there are.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that are read at once.
const PIECE: usize = 128 << 10;

/// Pieces under way in one direction: 128 MiB, more than any window.
const UNDER_WAY: usize = 1024;

/// The longer way. It is there as long as the process.
#[derive(Debug)]
pub struct Delay {
    port: u16,
    carried: Carried,
}

/// Bytes that each connection carried so far, both ways. Locked for an addition.
type Carried = Arc<Mutex<Vec<u64>>>;

/// A connection that breaks, counted from 0, after so many bytes.
#[derive(Debug, Clone, Copy)]
pub struct Break {
    /// Which connection.
    pub connection: usize,
    /// After how many bytes, both ways.
    pub after: u64,
}

impl Delay {
    /// To `port` of this machine.
    ///
    /// # Errors
    /// There is no port left.
    pub fn to(port: u16, round_trip: Duration) -> io::Result<Self> {
        Self::breaking(port, round_trip, None)
    }

    /// A way on which a connection breaks.
    ///
    /// # Errors
    /// There is no port left.
    pub fn breaking(port: u16, round_trip: Duration, broken: Option<Break>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let own = listener.local_addr()?.port();
        let carried = Carried::default();
        let counts = carried.clone();
        thread::spawn(move || {
            for (nth, client) in listener.incoming().flatten().enumerate() {
                counts.lock().unwrap_or_else(PoisonError::into_inner).push(0);
                let end = broken.filter(|broken| broken.connection == nth).map_or(u64::MAX, |broken| broken.after);
                let counts = counts.clone();
                let may_go_on = move |bytes: usize| {
                    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                    counts[nth] += bytes as u64;
                    counts[nth] < end
                };
                // One that cannot be passed on is closed.
                let _closed = pass_on(&client, port, round_trip / 2, may_go_on);
            }
        });
        Ok(Self { port: own, carried })
    }

    /// Where it begins, on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bytes that each connection carried so far, both ways.
    pub fn carried(&self) -> Vec<u64> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn pass_on(
    client: &TcpStream,
    port: u16,
    delay: Duration,
    may_go_on: impl Fn(usize) -> bool + Clone + Send + 'static,
) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port))?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    for (from, to) in [(client, &server), (&server, client)] {
        let (mut from, to, may_go_on) = (from.try_clone()?, to.try_clone()?, may_go_on.clone());
        let (send, pieces) = sync_channel(UNDER_WAY);
        let ends = [client.try_clone()?, server.try_clone()?];
        thread::spawn(move || deliver(pieces, to));
        thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                // The end travels too.
                let len = from.read(&mut piece).unwrap_or(0);
                piece.truncate(len);
                if !may_go_on(len) {
                    // They may be closed already.
                    for end in &ends {
                        drop(end.shutdown(Shutdown::Both));
                    }
                    return;
                }
                if send.send((Instant::now() + delay, piece)).is_err() || len == 0 {
                    return;
                }
            }
        });
    }
    Ok(())
}

fn deliver(pieces: Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, piece) in pieces {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if piece.is_empty() || to.write_all(&piece).is_err() {
            break;
        }
    }
    // It may be closed already.
    let _closed = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_the_end_come_later_each_way() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let delay = Delay::to(listener.local_addr().unwrap().port(), Duration::from_millis(60)).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
        });
        let mut stream = TcpStream::connect(("127.0.0.1", delay.port())).unwrap();
        let started = Instant::now();
        stream.write_all(b"there and back").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        server.join().unwrap();
        assert_eq!(back, "there and back");
        assert!(started.elapsed() >= Duration::from_millis(60));
        assert_eq!(delay.carried(), [28]);
    }
}
