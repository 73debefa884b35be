//! Handing things to another thread, many at a time: to wake a thread for each would cost more than most of them.
//!
//! Who hands over says when it is about to wait for something else; until then things gather, up to a number.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a batch holds at most.
const MOST: usize = 64;

/// A channel of batches.
pub(crate) trait Channel<T> {
    /// Whether somebody listens.
    fn send(&self, batch: Vec<T>) -> bool;
}

impl<T> Channel<T> for mpsc::Sender<Vec<T>> {
    fn send(&self, batch: Vec<T>) -> bool {
        self.send(batch).is_ok()
    }
}

impl<T> Channel<T> for mpsc::SyncSender<Vec<T>> {
    fn send(&self, batch: Vec<T>) -> bool {
        self.send(batch).is_ok()
    }
}

/// The end that hands over. Clones share what is gathered.
#[derive(Debug)]
pub(crate) struct Batches<T, C> {
    /// Held for a push or for handing over: all clones belong to one thread.
    gathered: Arc<Mutex<Vec<T>>>,
    to: C,
}

impl<T, C: Clone> Clone for Batches<T, C> {
    fn clone(&self) -> Self {
        Self { gathered: self.gathered.clone(), to: self.to.clone() }
    }
}

impl<T, C: Channel<T>> Batches<T, C> {
    pub(crate) fn new(to: C) -> Self {
        Self { gathered: Arc::default(), to }
    }

    /// Adds to the batch; `urgent` hands it over at once. Whether somebody listens, as far as is known.
    pub(crate) fn push(&self, thing: T, urgent: bool) -> bool {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.push(thing);
        if urgent || gathered.len() >= MOST { self.to.send(std::mem::take(&mut *gathered)) } else { true }
    }

    /// Hands over what there is, before waiting for something else.
    pub(crate) fn hand_over(&self) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if !gathered.is_empty() {
            // Whoever does not listen any more has ended by itself.
            let _listens = self.to.send(std::mem::take(&mut *gathered));
        }
    }
}

/// The end that takes.
#[derive(Debug)]
pub(crate) struct Things<T> {
    from: Receiver<Vec<T>>,
    ready: std::vec::IntoIter<T>,
}

impl<T> Things<T> {
    pub(crate) fn new(from: Receiver<Vec<T>>) -> Self {
        Self { from, ready: Vec::new().into_iter() }
    }

    /// The next one, if it is here already.
    pub(crate) fn try_next(&mut self) -> Result<T, TryRecvError> {
        loop {
            match self.ready.next() {
                Some(thing) => return Ok(thing),
                None => self.ready = self.from.try_recv()?.into_iter(),
            }
        }
    }

    /// Waits for the next one, at most so long; `None` is for ever.
    pub(crate) fn next(&mut self, limit: Option<Duration>) -> Result<T, RecvTimeoutError> {
        loop {
            if let Some(thing) = self.ready.next() {
                return Ok(thing);
            }
            let batch = match limit {
                Some(limit) => self.from.recv_timeout(limit)?,
                None => self.from.recv().map_err(|_| RecvTimeoutError::Disconnected)?,
            };
            self.ready = batch.into_iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_in_order_and_not_before_it_must() {
        let (to, from) = mpsc::channel();
        let (batches, mut things) = (Batches::new(to), Things::new(from));
        assert!(batches.push(0, false) && batches.clone().push(1, false));
        assert_eq!(things.try_next(), Err(TryRecvError::Empty));
        batches.hand_over();
        assert_eq!((things.try_next(), things.next(None)), (Ok(0), Ok(1)));
        assert!(batches.push(2, true));
        assert_eq!(things.try_next(), Ok(2));
        for n in 0..MOST {
            assert!(batches.push(n, false));
        }
        assert_eq!((things.try_next(), things.ready.len()), (Ok(0), MOST - 1));
        drop(batches);
        assert_eq!((1..MOST).map(|_| things.next(None).unwrap()).collect::<Vec<_>>(), (1..MOST).collect::<Vec<_>>());
        assert_eq!(things.next(Some(Duration::ZERO)), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn who_hands_over_hears_that_nobody_listens() {
        let (to, from) = mpsc::sync_channel(1);
        let batches = Batches::new(to);
        drop(from);
        assert!(batches.push(1, false) && !batches.push(2, true));
    }
}
