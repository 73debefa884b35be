//! What goes wrong, and when: a script of rules that requests are held against.
//!
//! A rule counts the requests its conditions match and fires on the n-th, on every k-th, on a range, or always. The
//! first rule that fires decides; the others still count. Scripts are values with a JSON form, so that a test that
//! drives processes says the same as one that holds the server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::classify::Target;

/// The longest a request is held when nobody says how long, in milliseconds.
const DEFAULT_HOLD_MS: u64 = 60_000;

/// Which requests a rule is about. An empty condition holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// Operations by their S3 name; empty: every one.
    pub operations: Vec<String>,
    /// Text the decoded key contains.
    pub key: Option<String>,
    /// Text the query contains, as sent.
    pub query: Option<String>,
    /// Only the n-th matching request, from 1.
    pub nth: Option<u64>,
    /// Every k-th matching request.
    pub every: Option<u64>,
    /// From this matching request on.
    pub from: Option<u64>,
    /// Up to this matching request, inclusive.
    pub to: Option<u64>,
}

impl When {
    /// All requests.
    pub fn always() -> Self {
        Self::default()
    }

    /// All requests of an operation.
    pub fn operation(name: &str) -> Self {
        Self { operations: vec![name.to_owned()], ..Self::default() }
    }

    /// Only those whose key contains this.
    #[must_use]
    pub fn key(self, part: &str) -> Self {
        Self { key: Some(part.to_owned()), ..self }
    }

    /// Only the n-th of them, from 1.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { nth: Some(n), ..self }
    }

    /// Only every k-th of them.
    #[must_use]
    pub fn every(self, k: u64) -> Self {
        Self { every: Some(k), ..self }
    }

    /// Only the first n of them.
    #[must_use]
    pub fn first(self, n: u64) -> Self {
        Self { to: Some(n), ..self }
    }

    fn matches(&self, target: &Target, query: &str) -> bool {
        let operation = self.operations.is_empty() || self.operations.iter().any(|name| name == target.operation);
        let key = self.key.as_ref().is_none_or(|part| target.key.contains(part));
        operation && key && self.query.as_ref().is_none_or(|part| query.contains(part))
    }

    fn fires(&self, count: u64) -> bool {
        self.nth.is_none_or(|n| count == n)
            && self.every.is_none_or(|k| k != 0 && count.is_multiple_of(k))
            && self.from.is_none_or(|from| count >= from)
            && self.to.is_none_or(|to| count <= to)
    }
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// The body is read, nothing is done, this error is the answer.
    Error {
        /// HTTP status.
        status: u16,
        /// S3 error code.
        code: String,
        /// Value of a `Retry-After` header.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Nothing is done, the answer is 200 with an error as its body, as CompleteMultipartUpload and CopyObject may do.
    ErrorIn200 {
        /// S3 error code.
        code: String,
    },
    /// DeleteObjects answers 200, deletes nothing whose key contains this, and reports an error for each.
    DenyDeletes {
        /// Text in the keys that stay.
        key: String,
        /// S3 error code reported for them.
        code: String,
    },
    /// Reset before the body is read.
    ResetBeforeBody,
    /// Reset after the body is read; nothing is done.
    ResetAfterBody,
    /// The request is carried out, then the connection is reset: the answer is lost.
    ResetAfterApply,
    /// Reset after this many bytes of the answer's body.
    ResetInResponse {
        /// Bytes sent.
        after: u64,
    },
    /// An orderly close after this many bytes of the answer's body, although more were announced.
    Truncate {
        /// Bytes sent.
        after: u64,
    },
    /// The answer's body stops here and claims to be complete: half a listing page, for example.
    Shorten {
        /// Bytes sent.
        after: u64,
    },
    /// One byte of the answer's body is changed.
    Corrupt {
        /// Its offset.
        at: u64,
    },
    /// The answer's body comes in small pieces.
    Drip {
        /// Bytes at a time.
        bytes: usize,
        /// Milliseconds between them.
        every_ms: u64,
    },
    /// No answer; the connection is closed after this time.
    Hang {
        /// Milliseconds.
        max_ms: u64,
    },
    /// The answer comes later.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The request is carried out, the answer names another ETag, in the header or in the XML.
    WrongEtag {
        /// The ETag answered, without quotes.
        etag: String,
    },
    /// The answer is RequestTimeTooSkewed from a server whose clock is this far ahead.
    Skew {
        /// Seconds; negative: behind.
        seconds: i64,
    },
    /// The request is held until the gate of this rule is opened.
    Block {
        /// Held after the request was carried out, before its answer; otherwise before anything is done.
        #[serde(default)]
        after_apply: bool,
        /// Milliseconds after which it goes on by itself.
        #[serde(default = "default_hold_ms")]
        max_ms: u64,
    },
}

fn default_hold_ms() -> u64 {
    DEFAULT_HOLD_MS
}

impl Action {
    /// An error answer.
    pub fn error(status: u16, code: &str) -> Self {
        Self::Error { status, code: code.to_owned(), retry_after: None }
    }

    /// What a policy that forbids the operation does.
    pub fn deny() -> Self {
        Self::error(403, "AccessDenied")
    }

    /// What an overloaded server answers.
    pub fn slow_down() -> Self {
        Self::error(503, "SlowDown")
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Error { .. } => "error",
            Self::ErrorIn200 { .. } => "error_in_200",
            Self::DenyDeletes { .. } => "deny_deletes",
            Self::ResetBeforeBody => "reset_before_body",
            Self::ResetAfterBody => "reset_after_body",
            Self::ResetAfterApply => "reset_after_apply",
            Self::ResetInResponse { .. } => "reset_in_response",
            Self::Truncate { .. } => "truncate",
            Self::Shorten { .. } => "shorten",
            Self::Corrupt { .. } => "corrupt",
            Self::Drip { .. } => "drip",
            Self::Hang { .. } => "hang",
            Self::Delay { .. } => "delay",
            Self::WrongEtag { .. } => "wrong_etag",
            Self::Skew { .. } => "skew",
            Self::Block { .. } => "block",
        }
    }
}

/// When, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A name to find its gate by.
    #[serde(default)]
    pub name: String,
    /// Which requests.
    #[serde(default)]
    pub when: When,
    /// What happens to them.
    pub action: Action,
}

/// Holds requests of one blocking rule until it is opened.
#[derive(Debug, Default)]
pub struct Gate {
    arrived: watch::Sender<u64>,
    open: watch::Sender<bool>,
}

impl Gate {
    /// Waits until a request stands at the gate; false when none came in time.
    pub async fn reached(&self, limit: Duration) -> bool {
        let mut arrived = self.arrived.subscribe();
        matches!(tokio::time::timeout(limit, arrived.wait_for(|count| *count > 0)).await, Ok(Ok(_)))
    }

    /// Lets all requests pass, now and later.
    pub fn release(&self) {
        self.open.send_replace(true);
    }

    /// Stands at the gate until it opens or `limit` is over.
    pub(crate) async fn pass(&self, limit: Duration) {
        let mut open = self.open.subscribe();
        self.arrived.send_modify(|count| *count += 1);
        if tokio::time::timeout(limit, open.wait_for(|open| *open)).await.is_err() {
            tracing::warn!("nobody opened a gate; the request goes on");
        }
    }
}

struct Armed {
    rule: Rule,
    seen: u64,
    gate: Arc<Gate>,
}

/// What a request has to suffer.
pub(crate) struct Verdict {
    pub(crate) action: Action,
    pub(crate) gate: Arc<Gate>,
}

/// The script of a server; cloning shares it.
#[derive(Clone, Default)]
pub struct Faults {
    // A std lock: held to compare a request with the rules, never across an await.
    rules: Arc<Mutex<Vec<Armed>>>,
}

impl Faults {
    fn rules(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a rule.
    pub fn add(&self, when: When, action: Action) {
        self.push(Rule { name: String::new(), when, action });
    }

    /// Appends a rule that holds requests before they are carried out, and returns its gate.
    pub fn block(&self, when: When) -> Arc<Gate> {
        self.push(Rule {
            name: String::new(),
            when,
            action: Action::Block { after_apply: false, max_ms: DEFAULT_HOLD_MS },
        })
    }

    /// The same, but requests are held after they are carried out: only their answer is missing.
    pub fn block_answer(&self, when: When) -> Arc<Gate> {
        self.push(Rule {
            name: String::new(),
            when,
            action: Action::Block { after_apply: true, max_ms: DEFAULT_HOLD_MS },
        })
    }

    /// Appends a rule and returns its gate.
    pub fn push(&self, rule: Rule) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        self.rules().push(Armed { rule, seen: 0, gate: Arc::clone(&gate) });
        gate
    }

    /// Drops all rules; requests that stand at a gate go on.
    pub fn clear(&self) {
        for armed in self.rules().drain(..) {
            armed.gate.release();
        }
    }

    /// The rules, and how many requests each has matched.
    pub fn rules_seen(&self) -> Vec<(Rule, u64)> {
        self.rules().iter().map(|armed| (armed.rule.clone(), armed.seen)).collect()
    }

    /// The gate of the first rule of this name.
    pub fn gate(&self, name: &str) -> Option<Arc<Gate>> {
        self.rules().iter().find(|armed| armed.rule.name == name).map(|armed| Arc::clone(&armed.gate))
    }

    pub(crate) fn judge(&self, target: &Target, query: &str) -> Option<Verdict> {
        let mut verdict = None;
        for armed in self.rules().iter_mut().filter(|armed| armed.rule.when.matches(target, query)) {
            armed.seen += 1;
            if verdict.is_none() && armed.rule.when.fires(armed.seen) {
                verdict = Some(Verdict { action: armed.rule.action.clone(), gate: Arc::clone(&armed.gate) });
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(when: When, expect: &[u64]) {
        let faults = Faults::default();
        faults.add(when, Action::ResetBeforeBody);
        let target = Target { operation: "PutObject", bucket: "b".to_owned(), key: "a/b".to_owned() };
        let fired: Vec<u64> = (1..=6).filter(|_| faults.judge(&target, "x=1").is_some()).collect();
        assert_eq!(fired, expect);
    }

    #[test]
    fn rules_fire_on_the_requests_they_name() {
        let put = || When::operation("PutObject");
        check(When::always(), &[1, 2, 3, 4, 5, 6]);
        check(put().nth(3), &[3]);
        check(put().every(2), &[2, 4, 6]);
        check(put().first(2), &[1, 2]);
        check(When { from: Some(2), to: Some(3), ..put() }, &[2, 3]);
        check(put().key("a/"), &[1, 2, 3, 4, 5, 6]);
        check(put().key("zzz"), &[]);
        check(When { query: Some("x=".to_owned()), ..put() }, &[1, 2, 3, 4, 5, 6]);
        check(When::operation("GetObject"), &[]);
    }

    #[test]
    fn the_first_rule_that_fires_decides_and_the_others_count() {
        let faults = Faults::default();
        faults.add(When::always().nth(2), Action::deny());
        faults.add(When::always().first(3), Action::slow_down());
        let target = Target::default();
        let names: Vec<_> = (0..4).map(|_| faults.judge(&target, "").map(|verdict| verdict.action)).collect();
        let slow = || Some(Action::slow_down());
        assert_eq!(names, [slow(), Some(Action::deny()), slow(), None]);
    }

    #[test]
    fn scripts_have_a_json_form() {
        let text = r#"{"name":"kill","when":{"operations":["UploadPart"],"nth":3},"action":{"kind":"block"}}"#;
        let rule: Rule = serde_json::from_str(text).unwrap();
        assert_eq!(rule.when, When::operation("UploadPart").nth(3));
        assert_eq!(rule.action, Action::Block { after_apply: false, max_ms: DEFAULT_HOLD_MS });
        assert!(serde_json::from_str::<Rule>(r#"{"action":{"kind":"block","typo":1}}"#).is_err());
    }
}
