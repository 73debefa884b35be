//! Idle connections, newest first.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::Authority;
use tokio::time::Instant;

use super::connection::Connection;

/// Idle connections older than this are not used again: rclone's idle timeout (`fs/fshttp`, 1.75), below that of the
/// usual servers and load balancers.
const OLDEST: Duration = Duration::from_mins(1);

/// What a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) tls: bool,
    pub(super) authority: Authority,
}

/// Idle connections by target. The lock is never held across an await: it guards pushes and pops only.
pub(super) struct Pool {
    idle: Mutex<HashMap<Key, Vec<(Instant, Connection)>>>,
    per_host: usize,
}

impl Pool {
    pub(super) fn new(per_host: usize) -> Self {
        Self { idle: Mutex::default(), per_host }
    }

    /// The newest connection that still works.
    pub(super) async fn take(&self, key: &Key) -> Option<Connection> {
        loop {
            let mut connection = self.pop(key)?;
            if connection.is_reusable().await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for later, unless it is done or there are enough.
    pub(super) fn put(&self, key: Key, connection: Connection) {
        if !connection.is_ready() {
            return;
        }
        let mut idle = self.lock();
        let connections = idle.entry(key).or_default();
        if connections.len() < self.per_host {
            connections.push((Instant::now(), connection));
        }
    }

    fn pop(&self, key: &Key) -> Option<Connection> {
        let mut idle = self.lock();
        let connections = idle.get_mut(key)?;
        let (since, connection) = connections.pop()?;
        if since.elapsed() > OLDEST {
            // The rest is older still.
            connections.clear();
            return None;
        }
        Some(connection)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<(Instant, Connection)>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
