//! What went wrong in a run: told at once, remembered for the end, turned into one exit code.

use std::borrow::Cow;
use std::fmt::Display;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use volsync_common::exit::ExitCode;
use volsync_common::report::{Reporter, Severity};

use crate::store::{StoreError, StoreErrorKind};

/// Problems that the end repeats; all are in the log.
const KEPT: usize = 3;

/// Bytes of the last words. With their line ends they fit into the last 1,024 bytes of output.
const LAST_WORDS: usize = 960;

/// Bytes that are left of a subject, where not all of it fits.
const LEAST_SUBJECT: usize = 80;

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// On what, safe to print; empty for the whole run.
    pub(super) subject: String,
    /// What failed and why, safe to print.
    pub(super) text: String,
    /// What it means for the exit code.
    pub(super) exit: ExitCode,
    /// Another run may do better.
    pub(super) retryable: bool,
}

impl Problem {
    /// A failure of one file or of the run, that a rerun may mend.
    pub(super) fn new(subject: &(impl Display + ?Sized), text: impl Into<String>) -> Self {
        Self { subject: subject.to_string(), text: text.into(), exit: ExitCode::Failure, retryable: true }
    }

    /// A refusal: the same will be said next time.
    pub(super) fn refusal(subject: &(impl Display + ?Sized), text: impl Into<String>) -> Self {
        Self { retryable: false, ..Self::new(subject, text) }
    }

    /// The same with another exit code.
    pub(super) fn exiting(self, exit: ExitCode) -> Self {
        Self { exit, ..self }
    }

    /// What a local operation said.
    pub(super) fn io(subject: &(impl Display + ?Sized), what: &str, error: &io::Error) -> Self {
        Self::new(subject, format!("{what}: {}", reason(error)))
    }

    /// In at most `most` bytes. The reader acts on the text: a long path gives way first.
    fn line(&self, before: &str, most: usize) -> String {
        let room = most.saturating_sub(before.len());
        if self.subject.is_empty() {
            return format!("{before}{}", shortened(&self.text, room));
        }
        let subject = self.subject.len().min(LEAST_SUBJECT) + ": ".len();
        let text = shortened(&self.text, room.saturating_sub(subject));
        let subject = shortened(&self.subject, room.saturating_sub(text.len() + ": ".len()));
        format!("{before}{subject}: {text}")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let exit = match error.kind {
            StoreErrorKind::NoSuchBucket => ExitCode::DirectoryNotFound,
            StoreErrorKind::Unreachable => ExitCode::Temporary,
            StoreErrorKind::Cancelled => ExitCode::Terminated,
            _ => ExitCode::Failure,
        };
        let retryable = error.kind.is_transient() || error.kind == StoreErrorKind::Io;
        let error = StoreError { subject: String::new(), ..without_source(&error) };
        Self { subject: String::new(), text: error.to_string(), exit, retryable }.about(&error.subject)
    }
}

fn without_source(error: &StoreError) -> StoreError {
    StoreError {
        kind: error.kind,
        operation: error.operation,
        subject: error.subject.clone(),
        reason: error.reason.clone(),
        advice: error.advice.clone(),
        status: error.status,
        attempts: error.attempts,
        source: None,
    }
}

impl Problem {
    /// The same, about this.
    pub(super) fn about(self, subject: &(impl Display + ?Sized)) -> Self {
        Self { subject: subject.to_string(), ..self }
    }
}

/// What the system said, and what the reader can do about it.
pub(super) fn reason(error: &io::Error) -> String {
    use io::ErrorKind as K;
    let advice = match error.kind() {
        K::StorageFull => "make the volume larger",
        K::QuotaExceeded => "raise the quota",
        K::ReadOnlyFilesystem => "mount the volume writable",
        K::PermissionDenied => "run the mover as its owner (moverSecurityContext) or privileged",
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}

/// Cuts in the middle: both ends of a long path tell more than one.
fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let half = most.saturating_sub("...".len()) / 2;
    let (start, end) = (text.floor_char_boundary(half), text.ceil_char_boundary(text.len() - half));
    Cow::Owned(format!("{}...{}", &text[..start], &text[end..]))
}

/// The problems of a run, shared by all that works for it.
#[derive(Clone)]
pub(super) struct Problems {
    reporter: Reporter,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    first: Vec<Problem>,
    count: u64,
    exit: Option<ExitCode>,
}

impl Problems {
    pub(super) fn new(reporter: Reporter) -> Self {
        Self { reporter, kept: Arc::default() }
    }

    /// Logs and counts a problem.
    pub(super) fn report(&self, problem: Problem) {
        let severity = match problem.exit {
            ExitCode::Fatal => Severity::Fatal,
            _ if problem.retryable => Severity::Retryable,
            _ => Severity::Final,
        };
        let subject = Some(&problem.subject).filter(|subject| !subject.is_empty());
        self.reporter.error(severity, subject.map(|subject| subject as &dyn Display), &problem.text);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        kept.exit = Some(worse(kept.exit, problem.exit));
        if kept.first.len() < KEPT {
            kept.first.push(problem);
        }
    }

    /// Whether there was none.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).count == 0
    }

    /// The exit code and the last words.
    pub(super) fn conclude(&self, what: &str) -> super::Outcome {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(exit) = kept.exit else { return super::Outcome { exit: ExitCode::Success, epitaph: Vec::new() } };
        let epitaph = match (kept.first.as_slice(), kept.count) {
            ([only], 1) => vec![only.line(&format!("Failed to {what}: "), LAST_WORDS)],
            (some, count) => {
                let head = format!("Failed to {what} with {count} errors; the first:");
                let each = LAST_WORDS.saturating_sub(head.len()) / some.len().max(1);
                std::iter::once(head).chain(some.iter().map(|problem| problem.line("  ", each))).collect()
            }
        };
        super::Outcome { exit, epitaph }
    }
}

/// Which of two codes tells more: a limit or a fatal end over a plain failure, a plain failure over "try again".
fn worse(old: Option<ExitCode>, new: ExitCode) -> ExitCode {
    let weight = |code: ExitCode| match code {
        ExitCode::Success => 0,
        ExitCode::Temporary => 1,
        ExitCode::NoRetry => 2,
        ExitCode::Failure => 3,
        ExitCode::FileNotFound | ExitCode::DirectoryNotFound => 4,
        ExitCode::NothingTransferred | ExitCode::Usage | ExitCode::NotFound => 5,
        ExitCode::TransferLimit | ExitCode::DurationLimit => 6,
        ExitCode::Fatal => 7,
        ExitCode::Terminated => 8,
    };
    old.filter(|old| weight(*old) >= weight(new)).unwrap_or(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use volsync_common::report::Counters;

    fn problems(all: &[Problem]) -> super::super::Outcome {
        let problems = Problems::new(Reporter::silent(Counters::new()));
        all.iter().cloned().for_each(|problem| problems.report(problem));
        problems.conclude("sync")
    }

    #[test]
    fn the_end_says_what_failed_and_why() {
        assert_eq!(problems(&[]).exit, ExitCode::Success);
        let one = Problem::new("a/b", "open: permission denied");
        let outcome = problems(std::slice::from_ref(&one));
        assert_eq!(outcome.epitaph, ["Failed to sync: a/b: open: permission denied"]);
        let many: Vec<_> = (0..5).map(|n| one.clone().about(&n)).collect();
        let outcome = problems(&many);
        assert_eq!(outcome.epitaph[0], "Failed to sync with 5 errors; the first:");
        assert_eq!((outcome.epitaph.len(), outcome.exit), (1 + KEPT, ExitCode::Failure));
    }

    #[test]
    fn the_end_keeps_the_reason_and_both_ends_of_a_path_and_fits_into_1024_bytes() {
        let reason = "why, and what to do about it";
        for subject in ["x".repeat(4000), format!("first/{}/last", "\u{1f980}".repeat(4000))] {
            let long = Problem::new(&subject, reason);
            let outcome = problems(&[long.clone(), long.clone(), long.clone()]);
            assert!(outcome.epitaph.iter().map(|line| line.len() + 1).sum::<usize>() < 1024);
            assert!(outcome.epitaph[1..].iter().all(|line| line.ends_with(reason)));
            let line = problems(std::slice::from_ref(&long)).epitaph.remove(0);
            assert!(line.len() < 1024 && line.len() > 900 && line.ends_with(reason), "{line}");
            assert!(!subject.starts_with("first") || (line.contains(": first/") && line.contains("/last: ")), "{line}");
        }
        let wordy = Problem::new("a/b", "y".repeat(4000));
        let line = problems(&[wordy]).epitaph.remove(0);
        assert!(line.len() < 1024 && line.starts_with("Failed to sync: a/b: yyy"), "{line}");
    }

    #[test]
    fn the_code_that_tells_most_is_the_exit_code() {
        let code = |codes: &[ExitCode]| {
            problems(&codes.iter().map(|c| Problem::new("", "x").exiting(*c)).collect::<Vec<_>>()).exit
        };
        assert_eq!(code(&[ExitCode::Temporary]), ExitCode::Temporary);
        assert_eq!(code(&[ExitCode::Temporary, ExitCode::Failure]), ExitCode::Failure);
        assert_eq!(code(&[ExitCode::Fatal, ExitCode::Failure]), ExitCode::Fatal);
    }
}
