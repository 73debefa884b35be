//! The MD5 of a file whose ranges arrive side by side.
//!
//! One MD5 takes the bytes in their order. What comes early waits in memory for its turn where there is room for that;
//! else the hash follows through the file behind the ranges that are complete and reads what the page cache still has,
//! which costs 6 to 7 % more CPU time (`docs/performance.md`, "Down in ranges").

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};
use volsync_common::ahead::read_ahead;
use volsync_common::budget::{Budget, Reservation};
use volsync_common::dest::Temp;
use volsync_md5::Md5 as Hasher;

use crate::store::Md5;

/// Bytes that the hash reads at a time from the file.
pub(super) const READ: usize = 1 << 20;

/// A hash on a thread of its own that takes what arrived.
pub(super) struct Ordered {
    from: From,
    work: JoinHandle<io::Result<Option<Md5>>>,
}

enum From {
    Memory { room: Budget, pieces: Sender<Piece> },
    File { reached: Sender<u64> },
}

/// Content with its place in the file.
struct Piece {
    at: u64,
    content: Vec<Bytes>,
    _room: Reservation,
}

/// Room for a piece that is to come.
pub(super) struct Room(Option<Reservation>);

impl Ordered {
    /// A hash of `size` bytes that takes them from memory. At most `most` bytes wait there: more than all ranges under way
    /// but one have, or the first of them may never get room.
    pub(super) fn in_memory(size: u64, most: usize) -> Self {
        // Bounded by the room that each piece has.
        let (pieces, arriving) = channel();
        let work = spawn_blocking(move || Ok(from_memory(&arriving, size)));
        Self { from: From::Memory { room: Budget::new(most), pieces }, work }
    }

    /// A hash of `size` bytes that reads them from `temp`.
    pub(super) fn behind(temp: Arc<Temp>, size: u64) -> Self {
        // One message a range: bounded by the number of ranges.
        let (reached, ends) = channel();
        let work = spawn_blocking(move || {
            let mut sum = Hasher::new();
            let mut behind = Behind { temp, ends, at: 0, end: 0 };
            let read = read_ahead(size, READ, move |buffer| behind.fill(buffer), |piece| sum.update(piece))?;
            Ok((read == size).then(|| sum.finalize()))
        });
        Self { from: From::File { reached }, work }
    }

    /// Waits for room for about `bytes` that are to arrive.
    pub(super) async fn room(&self, bytes: usize) -> Room {
        match &self.from {
            From::Memory { room, .. } => Room(Some(room.reserve(bytes).await)),
            From::File { .. } => Room(None),
        }
    }

    /// These bytes of the file came.
    pub(super) fn arrived(&self, at: u64, content: &[Bytes], room: Room) {
        if let (From::Memory { pieces, .. }, Some(room)) = (&self.from, room.0) {
            // The thread ends early only when it has all.
            let _ended = pieces.send(Piece { at, content: content.to_vec(), _room: room });
        }
    }

    /// Everything before `end` is written.
    pub(super) fn reached(&self, end: u64) {
        if let From::File { reached } = &self.from {
            // The thread ends early only with an error, which `sum` tells.
            let _ended = reached.send(end);
        }
    }

    /// The sum, once everything has come.
    pub(super) async fn sum(self) -> io::Result<Md5> {
        drop(self.from);
        let sum = self.work.await.map_err(io::Error::other)??;
        sum.ok_or_else(|| io::Error::other("the file is not complete"))
    }
}

/// `None` unless the pieces are all of the file.
fn from_memory(arriving: &Receiver<Piece>, size: u64) -> Option<Md5> {
    let mut sum = Hasher::new();
    let mut at = 0;
    let mut early = BTreeMap::new();
    for piece in arriving {
        early.insert(piece.at, piece);
        while let Some(piece) = early.remove(&at) {
            for bytes in &piece.content {
                sum.update(bytes);
                at += bytes.len() as u64;
            }
        }
    }
    (at == size && early.is_empty()).then(|| sum.finalize())
}

/// Reads what is written, as far as all before it is.
struct Behind {
    temp: Arc<Temp>,
    ends: Receiver<u64>,
    at: u64,
    end: u64,
}

impl Behind {
    /// Waits for content; 0 when no more will come.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.end {
            match self.ends.recv() {
                Ok(end) => self.end = end,
                Err(_) => return Ok(0),
            }
        }
        let len = usize::try_from(self.end - self.at).unwrap_or(buffer.len()).min(buffer.len());
        let piece = buffer.get_mut(..len).unwrap_or_default();
        let read = self.temp.read_at(self.at, piece)?;
        // A hole at the end of the file reads as nothing.
        piece.get_mut(read..).unwrap_or_default().fill(0);
        self.at += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of `content` if its pieces of 10 bytes come in this order.
    async fn sum_of(content: &Bytes, order: &[usize], size: u64) -> Option<Md5> {
        // Room is counted in KiB.
        let ordered = Ordered::in_memory(size, 10 << 10);
        for n in order {
            let piece = content.slice(n * 10..content.len().min((n + 1) * 10));
            let halves = [piece.slice(..piece.len() / 2), piece.slice(piece.len() / 2..)];
            ordered.arrived(*n as u64 * 10, &halves, ordered.room(10).await);
        }
        ordered.sum().await.ok()
    }

    #[tokio::test]
    async fn early_pieces_wait_for_their_turn() {
        let content = Bytes::from((0..95).collect::<Vec<u8>>());
        for order in [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [3, 0, 4, 1, 2, 9, 5, 8, 6, 7]] {
            assert_eq!(sum_of(&content, &order, 95).await, Some(volsync_md5::md5(&content)), "{order:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_complete_has_no_sum() {
        let content = Bytes::from(vec![7; 95]);
        assert_eq!(sum_of(&content, &[0, 1, 3], 95).await, None);
        assert_eq!(sum_of(&content, &[], 95).await, None);
        assert_eq!(sum_of(&content, &[0, 1, 2, 4], 30).await, None);
    }
}
