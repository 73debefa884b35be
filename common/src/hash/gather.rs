//! Small bodies in memory, gathered from tasks that are ready at the same moment.
//!
//! Handing a few KiB to another thread costs more than hashing them. Instead the first task to come steps back once
//! in its scheduler; tasks that were ready too add their bodies in the meantime, and the first hashes all of them in
//! lanes. On an idle runtime it continues at once, with its own body alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;
use volsync_md5::{Digest, MAX_LANES, md5, md5_many};

/// The bodies that wait for the first of them.
#[derive(Debug, Default)]
pub(super) struct Gather(Mutex<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    body: Bytes,
    reply: oneshot::Sender<Digest>,
}

impl Gather {
    pub(super) async fn hash(&self, body: Bytes) -> Digest {
        let (reply, digest) = oneshot::channel();
        let place = self.join(Waiting { body: body.clone(), reply });
        if place == 1 {
            // Runs when dropped, so also if this future is: the others rely on it.
            let turn = Turn(self);
            tokio::task::yield_now().await;
            drop(turn);
        } else if place >= MAX_LANES {
            self.run();
        }
        digest.await.unwrap_or_else(|_| md5(&body))
    }

    /// Says how many wait now.
    fn join(&self, one: Waiting) -> usize {
        let mut waiting = self.lock();
        waiting.push(one);
        waiting.len()
    }

    fn run(&self) {
        let mut all = std::mem::take(&mut *self.lock());
        all.retain(|one| !one.reply.is_closed());
        let bodies: Vec<&[u8]> = all.iter().map(|one| one.body.as_ref()).collect();
        let digests = md5_many(&bodies);
        for (one, digest) in all.into_iter().zip(digests) {
            // Who stopped waiting just now needs no digest.
            let _ = one.reply.send(digest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The duty to hash what was gathered.
struct Turn<'a>(&'a Gather);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.run();
    }
}
