//! Reading on one thread while another works on what was read before.
//!
//! Copying a large file out of the page cache takes a tenth of the time of its MD5 (`docs/performance.md`), and a disk
//! takes longer: whoever does one after the other waits for both.

use std::io;
use std::sync::mpsc::sync_channel;
use std::thread;

/// Buffers: one is filled while the other is worked on.
const BUFFERS: usize = 2;

/// Content that is shorter than so many pieces is read and worked on in turns: no thread is started for it.
const WORTH: u64 = 8;

/// Hands `work` all that `fill` reads, in order, and returns how many bytes those were.
///
/// `fill` puts the next bytes at the start of the buffer, which has the length `piece`, and says how many; 0 is the end.
/// `expected` bytes are no limit, they only tell whether a thread is worth its while. Takes twice `piece` of memory.
///
/// # Errors
/// What `fill` said; `work` has seen what came before. Or no thread could be started.
pub fn read_ahead(
    expected: u64,
    piece: usize,
    mut fill: impl FnMut(&mut [u8]) -> io::Result<usize> + Send,
    mut work: impl FnMut(&[u8]),
) -> io::Result<u64> {
    if expected < WORTH * piece as u64 {
        return in_turns(piece, fill, work);
    }
    let (give, filled) = sync_channel::<(Vec<u8>, usize)>(BUFFERS);
    let (give_back, spare) = sync_channel::<Vec<u8>>(BUFFERS);
    for _ in 0..BUFFERS {
        // There is room for all of them.
        let _sent = give_back.try_send(vec![0; piece]);
    }
    let reader = move || {
        while let Ok(mut buffer) = spare.recv() {
            let got = fill(&mut buffer)?;
            if got == 0 || give.send((buffer, got)).is_err() {
                break;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let reader = thread::Builder::new().name("reader".to_owned()).spawn_scoped(scope, reader)?;
        let mut total = 0;
        for (buffer, got) in filled {
            work(buffer.get(..got).unwrap_or_default());
            total += got as u64;
            // An error means that the reader is done.
            let _sent = give_back.send(buffer);
        }
        reader.join().unwrap_or_else(|_| Err(io::Error::other("the reading thread panicked")))?;
        Ok(total)
    })
}

fn in_turns(
    piece: usize,
    mut fill: impl FnMut(&mut [u8]) -> io::Result<usize>,
    mut work: impl FnMut(&[u8]),
) -> io::Result<u64> {
    let mut buffer = vec![0; piece];
    let mut total = 0;
    loop {
        let got = fill(&mut buffer)?;
        if got == 0 {
            return Ok(total);
        }
        work(buffer.get(..got).unwrap_or_default());
        total += got as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads 0, 1, 2, ... in pieces of at most `most`, failing at `fails`.
    fn counting(len: usize, most: usize, fails: usize) -> impl FnMut(&mut [u8]) -> io::Result<usize> {
        let mut at = 0;
        move |buffer| {
            if at >= fails {
                return Err(io::Error::other("read error"));
            }
            let got = buffer.len().min(most).min(len - at);
            for (n, byte) in buffer[..got].iter_mut().enumerate() {
                *byte = (at + n).to_le_bytes()[0];
            }
            at += got;
            Ok(got)
        }
    }

    #[test]
    fn everything_comes_in_order_with_a_thread_and_without() {
        for (len, most) in [(0, 9), (1, 9), (100, 9), (1000, 100), (1000, 64), (64 * 16, 64)] {
            for expected in [0, len as u64, u64::MAX] {
                let mut seen = Vec::new();
                let total =
                    read_ahead(expected, 64, counting(len, most, usize::MAX), |piece| seen.extend_from_slice(piece));
                assert_eq!(total.unwrap(), len as u64);
                let expect: Vec<u8> = (0..len).map(|n| n.to_le_bytes()[0]).collect();
                assert!(seen == expect, "{len} {most} {expected}");
            }
        }
    }

    #[test]
    fn an_error_ends_it_after_what_came_before() {
        for expected in [0, u64::MAX] {
            let mut seen = 0;
            let error = read_ahead(expected, 64, counting(1000, 64, 640), |piece| seen += piece.len()).unwrap_err();
            assert_eq!((error.to_string().as_str(), seen), ("read error", 640));
        }
    }
}
