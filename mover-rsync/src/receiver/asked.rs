//! What was asked of the sender and is not answered yet: an answer to anything else is refused.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::wire::sums::SumHead;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Content, against a basis with this head.
    Content {
        /// Of the block sums that were sent.
        head: SumHead,
        /// It is the second try.
        again: bool,
    },
    /// Only values of extended attributes.
    Attributes,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Asked(
    /// Held for a look-up or an insertion.
    Mutex<HashMap<u32, Request>>,
);

impl Asked {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before the request is sent.
    pub(super) fn insert(&self, ndx: u32, request: Request) {
        self.lock().insert(ndx, request);
    }

    /// It is answered.
    pub(super) fn take(&self, ndx: u32) -> Option<Request> {
        self.lock().remove(&ndx)
    }
}
