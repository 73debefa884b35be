//! The limit on transfers that run at the same time.
//!
//! A seat is taken before anything is copied, so that a sync that waits keeps no snapshot. Destinations of rsync wait for
//! their sources and never take one: with five pairs and two seats they could keep each other waiting for ever.

use crate::objects::owner::Owner;
use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};
use tokio::sync::mpsc::{Sender, error::TrySendError};

/// A replication among all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    /// The key of a replication.
    pub(super) fn of(owner: &Owner<'_>) -> Self {
        Self { kind: owner.kind, namespace: owner.namespace.to_owned(), name: owner.name.to_owned() }
    }
}

/// Has a replication looked at soon.
pub(super) fn wake(to: &Sender<Key>, key: Key) {
    match to.try_send(key) {
        // They are looked at every minute anyway.
        Ok(()) | Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {}
    }
}

/// Who has a seat, and who waits for one, in order.
#[derive(Debug, Default)]
struct Room {
    seated: HashSet<Key>,
    waiting: VecDeque<Key>,
}

/// Seats for transfers.
#[derive(Debug)]
pub(super) struct Seats {
    /// How many there are. As many as wanted without a limit.
    limit: Option<usize>,
    room: Mutex<Room>,
    /// Wakes those for whom there is a seat again.
    wake: Sender<Key>,
}

impl Seats {
    /// `wake` is told who may be looked at again.
    pub(super) fn new(limit: Option<usize>, wake: Sender<Key>) -> Self {
        Self { limit, room: Mutex::default(), wake }
    }

    pub(super) fn limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Keeps the seat of a transfer that runs already, also above the limit: it was begun under another one.
    pub(super) fn keep(&self, key: &Key) {
        self.with(|room, _| {
            room.waiting.retain(|waiting| waiting != key);
            room.seated.insert(key.clone());
        });
    }

    /// Takes a seat, or a place in the queue. Nobody who waits is overtaken.
    pub(super) fn take(&self, key: &Key) -> bool {
        self.with(|room, limit| {
            if room.seated.contains(key) {
                return true;
            }
            let place = room.waiting.iter().position(|waiting| waiting == key);
            let before = place.unwrap_or(room.waiting.len());
            if room.seated.len().saturating_add(before) >= limit {
                if place.is_none() {
                    room.waiting.push_back(key.clone());
                }
                return false;
            }
            room.waiting.retain(|waiting| waiting != key);
            room.seated.insert(key.clone());
            true
        })
    }

    /// Gives up a seat, or a place in the queue, and wakes those who may sit down now.
    pub(super) fn leave(&self, key: &Key) {
        let next = self.with(|room, limit| {
            let left = room.seated.remove(key);
            let waiting = room.waiting.len();
            room.waiting.retain(|waiting| waiting != key);
            if !left && waiting == room.waiting.len() {
                return Vec::new();
            }
            room.waiting.iter().take(limit.saturating_sub(room.seated.len())).cloned().collect()
        });
        for key in next {
            wake(&self.wake, key);
        }
    }

    /// How many run, and how many wait.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.with(|room, _| (room.seated.len(), room.waiting.len()))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Room, usize) -> T) -> T {
        f(&mut self.room.lock().unwrap_or_else(PoisonError::into_inner), self.limit.unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::sync::mpsc::{Receiver, channel};

    fn key<T: ToString + ?Sized>(name: &T) -> Key {
        Key { kind: "ReplicationSource", namespace: "n".into(), name: name.to_string() }
    }

    fn seats(limit: Option<usize>) -> (Seats, Receiver<Key>) {
        let (wake, woken) = channel(16);
        (Seats::new(limit, wake), woken)
    }

    #[test]
    fn who_waits_longest_is_next() {
        let (seats, mut woken) = seats(Some(2));
        assert_eq!(["a", "b", "c", "d", "a"].map(|name| seats.take(&key(name))), [true, true, false, false, true]);
        seats.leave(&key("a"));
        assert_eq!(woken.try_recv().ok(), Some(key("c")));
        assert!(!seats.take(&key("d")), "the seat is for the other");
        assert!(!seats.take(&key("e")));
        assert!(seats.take(&key("c")));
        // One who waited is gone: the seat that comes free is for the next.
        seats.leave(&key("d"));
        seats.leave(&key("b"));
        assert_eq!(woken.try_recv().ok(), Some(key("e")));
        assert_eq!(seats.counts(), (1, 1));
    }

    #[test]
    fn what_runs_keeps_its_seat_and_without_a_limit_all_sit() {
        let (limited, mut woken) = seats(Some(1));
        limited.keep(&key("a"));
        limited.keep(&key("b"));
        assert!(!limited.take(&key("c")));
        limited.leave(&key("a"));
        assert_eq!(woken.try_recv().ok(), None);
        limited.leave(&key("b"));
        assert_eq!(woken.try_recv().ok(), Some(key("c")));
        let (free, _woken) = seats(None);
        assert!((0..1000).all(|at| free.take(&key(&at))));
    }

    proptest! {
        #[test]
        fn no_more_sit_than_may_and_all_get_their_turn(limit in 1usize..4, calls in prop::collection::vec((0u8..6, any::<bool>()), 0..60)) {
            let (seats, _woken) = seats(Some(limit));
            for (who, comes) in calls {
                if comes { _ = seats.take(&key(&who)); } else { seats.leave(&key(&who)); }
                prop_assert!(seats.counts().0 <= limit);
            }
            // Whoever sits leaves, whoever waits tries: after as many rounds as there are, nobody is left.
            for _ in 0..6 {
                for who in 0..6 { if seats.room.lock().unwrap().waiting.contains(&key(&who)) { _ = seats.take(&key(&who)); } }
                let seated: Vec<_> = seats.room.lock().unwrap().seated.iter().cloned().collect();
                for who in seated { seats.leave(&who); }
            }
            prop_assert_eq!(seats.counts(), (0, 0));
        }
    }
}
