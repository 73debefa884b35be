//! The sender's side: pieces go over whichever stream is free.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Held, Stream, piece};
use crate::wire::frame::{Tag, header};

/// Pieces that wait for a stream.
const QUEUE: usize = 8;

/// Several streams for one direction of a session. Dropped before it is [finished](Self::finish), it breaks them.
#[derive(Debug)]
pub(crate) struct Spread {
    first: Option<OwnedFd>,
    next: u64,
    shared: Arc<Shared>,
}

/// Where further streams are brought to.
#[derive(Clone, Debug)]
pub(crate) struct Spreading(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// A stream was brought that is not used yet.
    brought: AtomicBool,
    /// Locked for a change of a few words, or for the copy of a piece.
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    brought: Vec<Stream>,
    queue: VecDeque<(u64, Vec<u8>)>,
    /// Buffers of pieces that were sent.
    spare: Vec<Vec<u8>>,
    /// Streams that are used and did not end.
    open: usize,
    /// Nothing comes any more.
    ended: bool,
    /// A stream broke.
    broken: Option<io::ErrorKind>,
}

impl Spreading {
    /// Brings one more stream; one that comes too late is ended.
    pub(crate) fn add(&self, stream: Stream) {
        let mut state = self.0.lock();
        if state.ended {
            drop(state);
            return end(stream);
        }
        state.brought.push(stream);
        self.0.brought.store(true, Ordering::Release);
    }
}

impl Spread {
    /// With `first` as the only stream.
    pub(crate) fn new(first: OwnedFd) -> Self {
        Self { first: Some(first), next: 0, shared: Arc::default() }
    }

    pub(crate) fn spreading(&self) -> Spreading {
        Spreading(self.shared.clone())
    }

    /// Streams that were brought and are not used yet, and the message that names them.
    pub(crate) fn due(&self) -> Option<(Vec<Stream>, Vec<u8>)> {
        if !self.shared.brought.swap(false, Ordering::AcqRel) {
            return None;
        }
        let brought = std::mem::take(&mut self.shared.lock().brought);
        let numbers = brought.iter().map(|stream| stream.number);
        let message = header(Tag::Streams, brought.len()).into_iter().chain(numbers).collect();
        Some((brought, message))
    }

    /// Uses streams, after the message about them was written. It must not go over one of them: if that broke, the other side
    /// would wait for it without knowing that the stream mattered.
    pub(crate) fn begin(&mut self, brought: Vec<Stream>) -> io::Result<()> {
        let waits = |state: &mut State| !state.queue.is_empty() && state.broken.is_none();
        drop(self.shared.room.wait_while(self.shared.lock(), waits).unwrap_or_else(PoisonError::into_inner));
        let first =
            self.first.take().map(|to| Ok(Stream { number: 0, from: to.try_clone()?, to, held: Held::Nothing }));
        for stream in first.into_iter().chain(brought.into_iter().map(io::Result::Ok)) {
            let (stream, shared) = (stream?, self.shared.clone());
            shared.lock().open += 1;
            std::thread::Builder::new().name("stream".into()).spawn(move || shared.write(stream))?;
        }
        Ok(())
    }

    /// Sends bytes after all that were sent before; returns when there is room for more.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for bytes in bytes.chunks(piece::MAX) {
            let full = |state: &mut State| state.queue.len() >= QUEUE && state.broken.is_none();
            let mut state = self.shared.lock();
            state = self.shared.room.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
            if let Some(kind) = state.broken {
                return Err(kind.into());
            }
            let mut piece = state.spare.pop().unwrap_or_default();
            piece.extend_from_slice(bytes);
            state.queue.push_back((self.next, piece));
            self.next += 1;
            drop(state);
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Ends all streams, after everything was written.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.ended = true;
        let unused = std::mem::take(&mut state.brought);
        drop(state);
        self.shared.work.notify_all();
        unused.into_iter().for_each(end);
        let open = |state: &mut State| state.open > 0 && state.broken.is_none();
        let state = self.shared.room.wait_while(self.shared.lock(), open).unwrap_or_else(PoisonError::into_inner);
        state.broken.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl Drop for Spread {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if !std::mem::replace(&mut state.ended, true) {
            state.broken.get_or_insert(io::ErrorKind::BrokenPipe);
        }
        let brought = std::mem::take(&mut state.brought);
        drop(state);
        self.shared.work.notify_all();
        drop(brought);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes pieces to one stream until there are no more.
    fn write(&self, stream: Stream) {
        let Stream { from, to, held, .. } = stream;
        let mut to = File::from(to);
        let result = self.write_all(&mut to);
        let mut state = self.lock();
        state.open -= 1;
        if let Err(error) = result {
            state.broken.get_or_insert(error.kind());
            self.work.notify_all();
        }
        drop(state);
        self.room.notify_all();
        drop((to, from, held));
    }

    fn write_all(&self, to: &mut File) -> io::Result<()> {
        while let Some((number, mut bytes)) = self.next() {
            whole(to, &piece::head(number, bytes.len()), &bytes)?;
            bytes.clear();
            let mut state = self.lock();
            if state.spare.len() < QUEUE {
                state.spare.push(bytes);
            }
        }
        if self.lock().broken.is_some() {
            return Ok(());
        }
        to.write_all(&END)
    }

    /// The next piece; `None` at the end.
    fn next(&self) -> Option<(u64, Vec<u8>)> {
        let idle = |state: &mut State| state.queue.is_empty() && !state.ended && state.broken.is_none();
        let mut state = self.work.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.broken.is_some() {
            return None;
        }
        let next = state.queue.pop_front();
        drop(state);
        self.room.notify_one();
        next
    }
}

/// Nothing more comes in this stream.
const END: [u8; piece::HEAD] = [0; piece::HEAD];

/// Ends a stream that was not used.
fn end(stream: Stream) {
    let Stream { from, to, held, .. } = stream;
    // Whoever reads it may be gone.
    let _gone = File::from(to).write_all(&END);
    drop((from, held));
}

/// Writes both, in as few calls as possible.
fn whole(to: &mut File, head: &[u8], bytes: &[u8]) -> io::Result<()> {
    let written = loop {
        match to.write_vectored(&[IoSlice::new(head), IoSlice::new(bytes)]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    to.write_all(head.get(written..).unwrap_or_default())?;
    to.write_all(bytes.get(written.saturating_sub(head.len())..).unwrap_or_default())
}
