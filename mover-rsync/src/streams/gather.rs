//! The receiver's side: pieces are put in order again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Held, Stream, piece};
use crate::wire::WireError;

/// Pieces that are kept until those before them are there. A stream that is further ahead waits, with one piece in its hand;
/// the one with the next piece never does.
const AHEAD: u64 = 16;

/// Several streams from one sender. Dropped, it reads them no further.
#[derive(Debug, Default)]
pub(crate) struct Gather(Gathering);

/// Where further streams are brought to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathering(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Locked for a change of a few words.
    state: Mutex<State>,
    arrived: Condvar,
    taken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the piece that is wanted.
    next: u64,
    early: BTreeMap<u64, Vec<u8>>,
    /// The numbers of those in the hands of streams that wait.
    ahead: Vec<u64>,
    /// Buffers that were read.
    spare: Vec<Vec<u8>>,
    /// Streams that did not end.
    open: usize,
    /// Numbers of those that the sender uses.
    named: u32,
    /// Numbers of those that broke before that.
    silent: u32,
    /// What is wrong with one of them.
    broken: Option<Broken>,
}

#[derive(Clone, Copy, Debug)]
enum Broken {
    Cut,
    Bad(&'static str),
}

impl State {
    /// Whether the piece that is wanted can come no more: all streams wait for it.
    fn is_stuck(&self) -> bool {
        self.ahead.len() == self.open && self.ahead.iter().all(|number| is_ahead(*number, self.next))
    }
}

/// Whether a piece is too far ahead to be kept.
fn is_ahead(number: u64, next: u64) -> bool {
    number.saturating_sub(next) >= AHEAD
}

impl From<Broken> for WireError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Cut => Self::Ended,
            Broken::Bad(what) => Self::bad(what),
        }
    }
}

impl Gathering {
    /// Reads one more stream. One that comes too late is closed.
    pub(crate) fn add(&self, stream: Stream) -> io::Result<()> {
        self.read(Vec::new(), stream)
    }

    fn read(&self, read: Vec<u8>, stream: Stream) -> io::Result<()> {
        let shared = self.0.clone();
        shared.lock().open += 1;
        let reader = std::thread::Builder::new().name("stream".into()).spawn(move || {
            let Stream { number, from, to, held } = stream;
            shared.take_all(number, io::Cursor::new(read).chain(File::from(from)));
            drop((to, held));
        });
        reader.map(drop)
    }
}

impl Gather {
    /// Where further streams are brought to.
    pub(crate) fn gathering(&self) -> Gathering {
        self.0.clone()
    }

    /// Reads the first stream, of which this was read already.
    pub(crate) fn begin(&self, read: Vec<u8>, first: OwnedFd) -> io::Result<()> {
        self.0.read(read, Stream { number: 0, to: first.try_clone()?, from: first, held: Held::Nothing })
    }

    /// The sender uses these streams from here on. Each of them was read before.
    pub(crate) fn name(&self, numbers: &[u8]) -> Result<(), WireError> {
        let mut state = self.0.0.lock();
        // The first one is in use with the others.
        for bit in numbers.iter().map(|number| bit(*number)).chain([bit(0)]) {
            state.named |= bit;
            if state.silent & bit != 0 {
                return Err(state.broken.get_or_insert(Broken::Cut).to_owned().into());
            }
        }
        Ok(())
    }

    /// The bytes of the next piece. Gives `read`, the buffer of an earlier one, back. Waits at most `limit` seconds; 0 is for
    /// ever.
    pub(crate) fn next(&self, mut read: Vec<u8>, limit: u64) -> Result<Vec<u8>, WireError> {
        read.clear();
        let shared = &self.0.0;
        let mut state = shared.lock();
        if (state.spare.len() as u64) < AHEAD && read.capacity() <= piece::MAX {
            state.spare.push(read);
        }
        let missing =
            |state: &mut State| state.broken.is_none() && !state.is_stuck() && !state.early.contains_key(&state.next);
        state = if limit == 0 {
            shared.arrived.wait_while(state, missing).unwrap_or_else(PoisonError::into_inner)
        } else {
            let limited = Duration::from_secs(limit);
            let waited = shared.arrived.wait_timeout_while(state, limited, missing);
            let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                return Err(WireError::Timeout(limit));
            }
            state
        };
        let next = state.next;
        // What came in order counts, whatever broke behind it.
        let Some(bytes) = state.early.remove(&next) else {
            let why = if state.open == 0 { Broken::Cut } else { Broken::Bad("a piece is missing in all streams") };
            return Err(state.broken.unwrap_or(why).into());
        };
        state.next += 1;
        drop(state);
        shared.taken.notify_all();
        Ok(bytes)
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.lock().broken.get_or_insert(Broken::Cut);
        shared.taken.notify_all();
    }
}

/// A number among others.
fn bit(number: u8) -> u32 {
    1 << (number & 31)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one stream to its end.
    fn take_all(&self, number: u8, mut from: impl Read) {
        let mut used = false;
        let result = loop {
            match self.take_one(&mut from) {
                Ok(true) => used = true,
                Ok(false) => break Ok(()),
                Err(broken) => break Err(broken),
            }
        };
        let mut state = self.lock();
        state.open -= 1;
        match result {
            Err(Broken::Cut) if !used && state.named & bit(number) == 0 => state.silent |= bit(number),
            Err(broken) => drop(state.broken.get_or_insert(broken)),
            Ok(()) => {}
        }
        drop(state);
        self.arrived.notify_all();
        self.taken.notify_all();
    }

    /// Waits until a piece may be kept, or something is broken.
    fn turn(&self, number: u64) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if !is_ahead(number, state.next) {
            return state;
        }
        state.ahead.push(number);
        self.arrived.notify_all();
        let ahead = |state: &mut State| state.broken.is_none() && is_ahead(number, state.next);
        state = self.taken.wait_while(state, ahead).unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = state.ahead.iter().position(|other| *other == number) {
            state.ahead.swap_remove(at);
        }
        state
    }

    /// Reads one piece, and keeps it when its time has come; `false` at the end.
    fn take_one(&self, from: &mut impl Read) -> Result<bool, Broken> {
        let mut head = [0; piece::HEAD];
        from.read_exact(&mut head).map_err(|_| Broken::Cut)?;
        let (number, len) = piece::parse(head).map_err(|_| Broken::Bad("a piece of a stream is too long"))?;
        if len == 0 {
            return Ok(false);
        }
        let mut bytes = self.lock().spare.pop().unwrap_or_default();
        bytes.resize(len, 0);
        from.read_exact(&mut bytes).map_err(|_| Broken::Cut)?;
        let mut state = self.turn(number);
        if let Some(broken) = state.broken {
            return Err(broken);
        }
        if number < state.next || state.early.insert(number, bytes).is_some() {
            return Err(Broken::Bad("a piece of a stream came twice"));
        }
        let wanted = number == state.next;
        drop(state);
        if wanted {
            self.arrived.notify_all();
        }
        Ok(true)
    }
}

/// Reads any bytes as two streams, to their end or to what is wrong with them.
pub fn fuzz(data: &[u8]) {
    let (first, second) = data.split_at(data.len() / 2);
    let gather = Gather::default();
    gather.0.0.lock().open = 2;
    std::thread::scope(|scope| {
        let shared = &gather.0.0;
        for (number, stream) in [(0, first), (1, second)] {
            scope.spawn(move || shared.take_all(number, stream));
        }
        let mut read = Vec::new();
        while let Ok(piece) = gather.next(read, 0) {
            read = piece;
        }
        // Whoever is ahead waits no more.
        shared.lock().broken.get_or_insert(Broken::Cut);
        shared.taken.notify_all();
    });
}

#[cfg(test)]
mod tests {
    use super::super::Spread;
    use super::*;
    use crate::wire::frame::HEADER;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn pipe() -> (Stream, Stream) {
        let (from, to) = std::io::pipe().unwrap();
        let (spare, _) = std::io::pipe().unwrap();
        let stream = |from: OwnedFd, to: OwnedFd| Stream { number: 1, from, to, held: Held::Nothing };
        let unused = || OwnedFd::from(spare.try_clone().unwrap());
        (stream(unused(), to.into()), stream(from.into(), unused()))
    }

    /// Everything that comes, or what is wrong.
    fn all(gather: &Gather) -> (Vec<u8>, WireError) {
        let mut bytes = Vec::new();
        loop {
            match gather.next(Vec::new(), 10) {
                Ok(piece) => bytes.extend(piece),
                Err(error) => return (bytes, error),
            }
        }
    }

    fn framed(pieces: &[(u64, &[u8])]) -> Vec<u8> {
        pieces.iter().flat_map(|(number, bytes)| [&piece::head(*number, bytes.len()), *bytes].concat()).collect()
    }

    /// What two streams of these bytes come to.
    fn gathered(streams: [&[u8]; 2]) -> (Vec<u8>, WireError) {
        let gather = Gather::default();
        gather.name(&[1]).unwrap();
        let mut writers = Vec::new();
        for bytes in streams {
            let (to, from) = pipe();
            gather.0.add(from).unwrap();
            writers.push(to);
            File::from(writers.last().unwrap().to.try_clone().unwrap()).write_all(bytes).unwrap();
        }
        drop(writers);
        all(&gather)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn what_is_spread_comes_in_order(
            sizes in prop::collection::vec(1usize..200_000, 1..60),
            late in prop::collection::vec(0usize..60, 0..4),
        ) {
            let ((first, gathered), mut more) = (pipe(), Vec::new());
            let gather = Gather::default();
            let mut spread = Spread::new(first.to.try_clone().unwrap());
            for at in &late {
                let (to, from) = pipe();
                gather.0.add(from).unwrap();
                more.push((*at, to));
            }
            gather.begin(Vec::new(), gathered.from.try_clone().unwrap()).unwrap();
            let whole: Vec<Vec<u8>> = sizes.iter().zip(0u8..).map(|(len, byte)| vec![byte; *len]).collect();
            let expect = whole.concat();
            let sender = std::thread::spawn(move || {
                spread.begin(Vec::new()).unwrap();
                for (at, bytes) in whole.iter().enumerate() {
                    for (_, stream) in more.extract_if(.., |(when, _)| *when == at) {
                        spread.spreading().add(stream);
                        let (due, message) = spread.due().unwrap();
                        assert_eq!((due.len(), message[HEADER..].len()), (1, 1));
                        spread.begin(due).unwrap();
                    }
                    spread.send(bytes).unwrap();
                }
                // Those for which it is too late are ended all the same.
                for (_, stream) in more {
                    spread.spreading().add(stream);
                }
                spread.finish().unwrap();
            });
            let (bytes, end) = all(&gather);
            sender.join().unwrap();
            prop_assert!(bytes == expect);
            prop_assert!(matches!(end, WireError::Ended), "{}", end);
        }

        #[test]
        fn no_bytes_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz(&data);
        }
    }

    #[test]
    fn a_stream_that_breaks_is_no_end() {
        let whole = framed(&[(0, b"a"), (2, b"c"), (3, b"")]);
        for cut in [0, 5, 12, whole.len() - 12] {
            let (_, error) = gathered([&whole[..cut], &framed(&[(1, b"b"), (0, b"")])]);
            assert!(matches!(error, WireError::Ended), "{cut}: {error}");
        }
        let (bytes, error) = gathered([&whole, &framed(&[(1, b"b"), (0, b"")])]);
        assert_eq!((&bytes[..], error.to_string()), (&b"abc"[..], WireError::Ended.to_string()));
    }

    /// It may come to be when the session ends; what goes over it afterwards would be missed.
    #[test]
    fn a_stream_that_breaks_before_it_is_used_breaks_nothing() {
        let (gather, (first, from)) = (Gather::default(), pipe());
        gather.begin(Vec::new(), from.from).unwrap();
        let (unused, from) = pipe();
        gather.0.add(from).unwrap();
        drop(unused);
        let mut first = File::from(first.to);
        // Whoever waits for this piece waits until the thread has seen the other stream end, too.
        while gather.0.0.lock().open > 1 {
            std::thread::yield_now();
        }
        first.write_all(&framed(&[(0, b"a")])).unwrap();
        assert_eq!(gather.next(Vec::new(), 10).unwrap(), b"a");
        assert!(matches!(gather.name(&[1]), Err(WireError::Ended)));
        assert!(matches!(gather.next(Vec::new(), 10), Err(WireError::Ended)));
    }

    #[test]
    fn pieces_that_come_twice_or_are_too_long_are_refused() {
        for bad in [framed(&[(0, b"a"), (0, b"b")]), piece::head(1, piece::MAX + 1).to_vec()] {
            let (_, error) = gathered([&bad, &framed(&[(2, b"c"), (0, b"")])]);
            assert!(matches!(error, WireError::Bad(_)), "{error}");
        }
    }

    #[test]
    fn streams_that_all_wait_for_a_piece_that_none_has_are_refused() {
        for other in
            [framed(&[(98, b"b")]), framed(&[(0, b"a"), (7, b"")]), framed(&[(0, b"a"), (16, b"c"), (17, b"d")])]
        {
            let (_, error) = gathered([&framed(&[(99, b"a")]), &other]);
            assert!(matches!(error, WireError::Bad(_)), "{error}");
        }
    }

    #[test]
    fn a_piece_that_does_not_come_is_waited_for_as_long_as_wanted() {
        let gather = Gather::default();
        let (_open, from) = pipe();
        gather.0.add(from).unwrap();
        assert!(matches!(gather.next(Vec::new(), 1), Err(WireError::Timeout(1))));
    }
}
