//! The gate before a source's point-in-time copy: a user's annotation on the claim says when its content is consistent.
//!
//! Asked only while the copy does not exist. Source: `docs/compat-volsync.md`, section "Copy triggers".

use crate::labels::{COPY_TRIGGER, COPY_WAITING_SINCE, LATEST_COPY_STATUS, LATEST_COPY_TRIGGER, USE_COPY_TRIGGER};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// After this time of waiting the user is told, and the wait goes on.
const TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

const WAITING: &str = "WaitingForTrigger";
const IN_PROGRESS: &str = "InProgress";
const COMPLETED: &str = "Completed";

/// Annotations of a claim.
pub type Annotations = BTreeMap<String, String>;

/// Annotations to write, and with `None` to remove.
type Changes = BTreeMap<&'static str, Option<String>>;

/// Whether the copy may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyGate {
    /// It may, and the claim has no gate.
    Open,
    /// It may, after these annotations are written; `SrcPVCCopyTriggerReceived` if there are any.
    Released(Changes),
    /// It may not yet.
    Waiting {
        /// Annotations to write first; `SrcPVCWaitingForCopyTrigger` if there are any.
        changes: Changes,
        /// It has waited too long: `SrcPVCTimeoutWaitingForCopyTrigger`, and the mover's status says so.
        timed_out: bool,
    },
}

/// Annotations to write when a gated copy is ready: `SrcPVCCopyUsingCopyTriggerCompleted` if there are any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied(pub Changes);

/// Asks the gate of a claim with these annotations.
pub fn copy_gate(annotations: &Annotations, now: Timestamp) -> CopyGate {
    if !annotations.contains_key(USE_COPY_TRIGGER) {
        return CopyGate::Open;
    }
    if trigger(annotations) != latest(annotations) && !trigger(annotations).is_empty() {
        let wanted = [(LATEST_COPY_STATUS, Some(IN_PROGRESS.to_owned())), (COPY_WAITING_SINCE, None)];
        return CopyGate::Released(changes(annotations, wanted));
    }
    let since = annotations.get(COPY_WAITING_SINCE).and_then(|text| text.parse::<Timestamp>().ok());
    let wanted = [
        (LATEST_COPY_STATUS, Some(WAITING.to_owned())),
        (COPY_WAITING_SINCE, Some(since.map_or_else(|| text_of(now), text_of))),
    ];
    CopyGate::Waiting {
        // A time in another form that means the same is left alone.
        changes: changes(annotations, wanted)
            .into_iter()
            .filter(|(key, _)| *key != COPY_WAITING_SINCE || since.is_none())
            .collect(),
        timed_out: since.is_some_and(|since| now.duration_since(since) > TIMEOUT),
    }
}

/// What is written on the claim when its copy is ready.
pub fn copied(annotations: &Annotations) -> Copied {
    if !annotations.contains_key(USE_COPY_TRIGGER) {
        return Copied(Changes::new());
    }
    let wanted = [
        (LATEST_COPY_STATUS, Some(COMPLETED.to_owned())),
        (LATEST_COPY_TRIGGER, Some(trigger(annotations).to_owned())),
    ];
    Copied(changes(annotations, wanted))
}

fn trigger(annotations: &Annotations) -> &str {
    annotations.get(COPY_TRIGGER).map_or("", String::as_str)
}

fn latest(annotations: &Annotations) -> &str {
    annotations.get(LATEST_COPY_TRIGGER).map_or("", String::as_str)
}

/// Those that are not so already.
fn changes(annotations: &Annotations, wanted: [(&'static str, Option<String>); 2]) -> Changes {
    wanted.into_iter().filter(|(key, value)| annotations.get(*key) != value.as_ref()).collect()
}

/// RFC 3339 in UTC with whole seconds.
fn text_of(time: Timestamp) -> String {
    super::conditions::whole_seconds(time).0.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-25T21:40:00Z";

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn gate(pairs: &[(&str, &str)]) -> CopyGate {
        copy_gate(&annotations(pairs), NOW.parse().unwrap())
    }

    fn waiting(changes: &[(&'static str, &str)], timed_out: bool) -> CopyGate {
        let changes = changes.iter().map(|(key, value)| (*key, Some((*value).to_owned()))).collect();
        CopyGate::Waiting { changes, timed_out }
    }

    #[test]
    fn a_claim_without_the_annotation_has_no_gate() {
        assert_eq!(gate(&[]), CopyGate::Open);
        assert_eq!(gate(&[(COPY_TRIGGER, "a")]), CopyGate::Open);
        assert_eq!(copied(&annotations(&[(COPY_TRIGGER, "a")])), Copied(Changes::new()));
    }

    #[test]
    fn an_old_trigger_is_waited_with() {
        let begin = waiting(&[(LATEST_COPY_STATUS, WAITING), (COPY_WAITING_SINCE, NOW)], false);
        assert_eq!(gate(&[(USE_COPY_TRIGGER, "")]), begin);
        assert_eq!(gate(&[(USE_COPY_TRIGGER, "yes"), (COPY_TRIGGER, "")]), begin);
        assert_eq!(gate(&[(USE_COPY_TRIGGER, ""), (COPY_TRIGGER, "a"), (LATEST_COPY_TRIGGER, "a")]), begin);
        let since = |time| [(USE_COPY_TRIGGER, ""), (LATEST_COPY_STATUS, WAITING), (COPY_WAITING_SINCE, time)];
        assert_eq!(gate(&since("2026-11-25T21:30:00Z")), waiting(&[], false));
        assert_eq!(gate(&since("2026-11-25T22:29:59+01:00")), waiting(&[], true));
        assert_eq!(gate(&since("yesterday")), waiting(&[(COPY_WAITING_SINCE, NOW)], false));
        assert_eq!(gate(&since("2026-11-26T00:00:00Z")), waiting(&[], false));
    }

    #[test]
    fn a_new_trigger_releases_the_copy_once() {
        let base =
            [(USE_COPY_TRIGGER, ""), (COPY_TRIGGER, "b"), (LATEST_COPY_TRIGGER, "a"), (LATEST_COPY_STATUS, WAITING)];
        let mut claim = annotations(&base);
        claim.insert(COPY_WAITING_SINCE.into(), NOW.into());
        let released = copy_gate(&claim, NOW.parse().unwrap());
        let expect = [(LATEST_COPY_STATUS, Some(IN_PROGRESS.to_owned())), (COPY_WAITING_SINCE, None)];
        assert_eq!(released, CopyGate::Released(Changes::from(expect)));
        claim.remove(COPY_WAITING_SINCE);
        claim.insert(LATEST_COPY_STATUS.into(), IN_PROGRESS.into());
        assert_eq!(copy_gate(&claim, NOW.parse().unwrap()), CopyGate::Released(Changes::new()));
        let expect = [(LATEST_COPY_STATUS, Some(COMPLETED.to_owned())), (LATEST_COPY_TRIGGER, Some("b".to_owned()))];
        assert_eq!(copied(&claim), Copied(Changes::from(expect)));
        claim.insert(LATEST_COPY_STATUS.into(), COMPLETED.into());
        claim.insert(LATEST_COPY_TRIGGER.into(), "b".into());
        assert_eq!(copied(&claim), Copied(Changes::new()));
        assert!(matches!(copy_gate(&claim, NOW.parse().unwrap()), CopyGate::Waiting { .. }));
    }
}
