//! A longer way to a server on loopback: bytes arrive half a round trip later in each direction, as many as there are.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that are read at once.
const PIECE: usize = 128 << 10;

/// Pieces under way in one direction: 128 MiB, more than any window.
const UNDER_WAY: usize = 1024;

/// The port of the longer way to `port` of this machine. It is there as long as the process.
pub(crate) fn to(port: u16, round_trip: Duration) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let own = listener.local_addr()?.port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // One that cannot be passed on is closed.
            let _closed = pass_on(&client, port, round_trip / 2);
        }
    });
    Ok(own)
}

fn pass_on(client: &TcpStream, port: u16, delay: Duration) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port))?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    for (from, to) in [(client, &server), (&server, client)] {
        let (mut from, to) = (from.try_clone()?, to.try_clone()?);
        let (send, pieces) = sync_channel(UNDER_WAY);
        thread::spawn(move || deliver(pieces, to));
        thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                // The end travels too.
                let len = from.read(&mut piece).unwrap_or(0);
                piece.truncate(len);
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
        let port = to(listener.local_addr().unwrap().port(), Duration::from_millis(60)).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
        });
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let started = Instant::now();
        stream.write_all(b"there and back").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        server.join().unwrap();
        assert_eq!(back, "there and back");
        assert!(started.elapsed() >= Duration::from_millis(60));
    }
}
