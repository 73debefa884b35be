//! What clients asked: every request and a count per operation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, Uri};
use serde::Serialize;

use crate::classify::Target;

/// Requests remembered at most; the counts go on.
const MAX_REQUESTS: usize = 2_000_000;

/// One request as a value.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// Position in the order of arrival, from 1, never reset.
    pub seq: u64,
    /// Arrival, nanoseconds since 1970.
    pub time_ns: u64,
    /// Operation name as in the S3 API, or `Other`.
    pub operation: String,
    /// HTTP method.
    pub method: String,
    /// Path as sent, still encoded.
    pub path: String,
    /// Query as sent, without the question mark.
    pub query: String,
    /// Bucket, decoded; may be empty.
    pub bucket: String,
    /// Object key, decoded; may be empty.
    pub key: String,
    /// All headers in order, names in lower case, values shown lossily.
    pub headers: Vec<(String, String)>,
    /// Status answered; none while in progress, or when the connection was cut instead.
    pub status: Option<u16>,
    /// Body bytes received.
    pub body_len: u64,
    /// Access key of the signature, when there is one.
    pub access_key: Option<String>,
    /// The fault that was injected, when there was one.
    pub fault: Option<String>,
}

impl RequestRecord {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The value of a query parameter as sent; empty for a parameter without value.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(have, _)| *have == name).map(|(_, value)| value)
    }
}

/// One request while it runs: heads are shared, not copied, so that recording stays cheap.
pub(crate) struct Entry {
    seq: u64,
    time: SystemTime,
    target: Target,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    outcome: Mutex<Outcome>,
    body_len: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct Outcome {
    status: Option<u16>,
    fault: Option<&'static str>,
}

impl Entry {
    pub(crate) fn received(&self, bytes: u64) {
        self.body_len.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, status: u16) {
        self.outcome().status = Some(status);
    }

    pub(crate) fn faulted(&self, fault: &'static str) {
        self.outcome().fault = Some(fault);
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self) -> RequestRecord {
        let show = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let outcome = *self.outcome();
        RequestRecord {
            seq: self.seq,
            time_ns: nanos(self.time),
            operation: self.target.operation.to_owned(),
            method: self.method.to_string(),
            path: self.uri.path().to_owned(),
            query: self.uri.query().unwrap_or_default().to_owned(),
            bucket: self.target.bucket.clone(),
            key: self.target.key.clone(),
            headers: self.headers.iter().map(show).collect(),
            status: outcome.status,
            body_len: self.body_len.load(Ordering::Relaxed),
            access_key: access_key(&self.headers),
            fault: outcome.fault.map(str::to_owned),
        }
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn access_key(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    Some(text.split_once("Credential=")?.1.split('/').next()?.to_owned())
}

#[derive(Default)]
struct State {
    seq: u64,
    entries: Vec<Arc<Entry>>,
    counts: BTreeMap<&'static str, u64>,
}

/// Collects requests; cloning shares the collection.
#[derive(Clone, Default)]
pub struct Recorder {
    // A std lock: held for a push or a copy, never across an await.
    state: Arc<Mutex<State>>,
    keep: bool,
}

impl Recorder {
    pub(crate) fn new(keep: bool) -> Self {
        Self { keep, ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, head: &http::request::Parts, target: Target) -> Arc<Entry> {
        let mut state = self.state();
        state.seq += 1;
        *state.counts.entry(target.operation).or_default() += 1;
        let entry = Arc::new(Entry {
            seq: state.seq,
            time: SystemTime::now(),
            target,
            method: head.method.clone(),
            uri: head.uri.clone(),
            headers: head.headers.clone(),
            outcome: Mutex::default(),
            body_len: AtomicU64::new(0),
        });
        if self.keep && state.entries.len() < MAX_REQUESTS {
            state.entries.push(Arc::clone(&entry));
        }
        entry
    }

    /// All requests since the start or the last [`Recorder::clear`], in order of arrival.
    pub fn snapshot(&self) -> Vec<RequestRecord> {
        let entries = self.state().entries.clone();
        entries.iter().map(|entry| entry.record()).collect()
    }

    /// Requests per operation since the start or the last [`Recorder::clear`].
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.state().counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    /// Requests of one operation.
    pub fn count(&self, operation: &str) -> u64 {
        self.state().counts.get(operation).copied().unwrap_or_default()
    }

    /// Requests of all operations.
    pub fn total(&self) -> u64 {
        self.state().counts.values().sum()
    }

    /// Forgets requests and counts.
    pub fn clear(&self) {
        let mut state = self.state();
        state.entries.clear();
        state.counts.clear();
    }
}
