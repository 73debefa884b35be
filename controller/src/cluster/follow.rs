//! How far movers are that run.
//!
//! The log of each is followed by one stream, from its start until its pod ends. Metrics are told of every line that tells
//! something, the status seldom, so that it costs the API server little.

use super::{
    copy::name_of,
    hands::Hands,
    now,
    pass::Pass,
    seats::{Key, wake},
};
use crate::{
    api::{MoverProgress, MoverStatus},
    machine::{
        Method,
        traffic::{Meter, Progress},
    },
    metrics::{Metrics, Subject},
};
use futures_util::AsyncBufReadExt;
use jiff::Timestamp;
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use std::{
    collections::HashMap,
    io,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc::Sender, time::timeout};

/// The time between two writes of one status, and before a log is followed again whose stream has ended.
const BETWEEN: Duration = Duration::from_secs(30);

/// How long a log may say nothing. Its pod may be gone with its node; if not, the log is followed again.
const SILENCE: Duration = Duration::from_mins(10);

/// Logs that are followed at a time. Of other movers it is not told how far they are.
const MOST: usize = 256;

/// What is kept of a line, in bytes. Lines that tell something are shorter.
const LINE: usize = 1024;

/// All logs that are followed, by the UIDs of their Jobs.
#[derive(Clone, Debug)]
pub(super) struct Follows {
    logs: Arc<Mutex<HashMap<String, Log>>>,
    metrics: Arc<Metrics>,
    /// Wakes a replication whose mover has told something for the first time.
    wake: Sender<Key>,
}

#[derive(Clone, Copy, Debug)]
struct Log {
    progress: Option<Progress>,
    /// When the stream ended, if it has.
    ended: Option<Timestamp>,
}

/// What is followed.
struct Followed {
    job: String,
    uid: String,
    method: Method,
    subject: Subject,
    key: Key,
}

impl Follows {
    pub(super) fn new(metrics: Arc<Metrics>, wake: Sender<Key>) -> Self {
        Self { logs: Arc::default(), metrics, wake }
    }

    /// Follows the log of a Job that runs, and writes down what it tells if it is time to. Gives how soon to look again.
    pub(super) fn look(&self, pass: &Pass<'_>, job: &Job, method: Method, mover: &mut MoverStatus) -> Option<Duration> {
        let uid = job.metadata.uid.clone()?;
        if self.begin(&uid, pass.now) {
            let (_, subject) = pass.metrics;
            let job = name_of(job.metadata.name.as_ref());
            let key = Key::of(&pass.hands.owner);
            let followed = Followed { job, uid: uid.clone(), method, subject: subject.clone(), key };
            self.spawn(pass.hands, followed);
        }
        let found = self.with(|logs| logs.get(&uid)?.progress).filter(|_| pass.progress)?;
        if let Some(wait) = wait(mover.progress.as_ref(), pass.now) {
            return Some(wait);
        }
        let told = told(&found, pass.now);
        // Of what has not changed nothing is written.
        if mover
            .progress
            .as_ref()
            .is_none_or(|known| MoverProgress { time: known.time.clone(), ..told.clone() } != *known)
        {
            mover.progress = Some(told);
        }
        Some(BETWEEN)
    }

    /// Whether a log has to be followed now.
    fn begin(&self, uid: &str, now: Timestamp) -> bool {
        self.with(|logs| {
            let lately =
                |log: &Log| log.ended.is_none_or(|ended| since(ended, now).is_none_or(|since| since < BETWEEN));
            logs.retain(|job, log| job == uid || lately(log));
            if logs.get(uid).is_some_and(lately) || logs.len() >= MOST {
                return false;
            }
            let progress = logs.get(uid).and_then(|log| log.progress);
            logs.insert(uid.to_owned(), Log { progress, ended: None });
            true
        })
    }

    fn spawn(&self, hands: &Hands<'_>, followed: Followed) {
        let (follows, pods) = (self.clone(), hands.api::<Pod>());
        tokio::spawn(async move {
            if let Err(error) = follows.follow(pods, &followed).await {
                tracing::debug!(job = followed.job, %error, "a mover's log is not followed to its end");
            }
            follows.metrics.progress(&followed.subject, None);
            follows.with(|logs| logs.get_mut(&followed.uid).map(|log| log.ended = Some(now())));
        });
    }

    async fn follow(&self, pods: Api<Pod>, followed: &Followed) -> io::Result<()> {
        let selector = format!("job-name={}", followed.job);
        let all = pods.list_metadata(&ListParams::default().labels(&selector)).await.map_err(io::Error::other)?;
        let newest = all.items.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone());
        let Some(name) = newest.and_then(|pod| pod.metadata.name) else { return Ok(()) };
        let parameters = LogParams { follow: true, ..LogParams::default() };
        let mut log = pin!(pods.log_stream(&name, &parameters).await.map_err(io::Error::other)?);
        let (mut lines, mut meter) = (Lines::default(), Meter::new(followed.method));
        loop {
            let chunk = timeout(SILENCE, log.fill_buf()).await??;
            if chunk.is_empty() {
                return Ok(());
            }
            let (length, mut changed) = (chunk.len(), false);
            lines.take(chunk, |line| changed |= meter.read(line));
            log.as_mut().consume_unpin(length);
            if changed {
                self.tell(followed, meter.progress());
            }
        }
    }

    fn tell(&self, followed: &Followed, progress: Progress) {
        let first = self.with(|logs| {
            let log = logs.get_mut(&followed.uid)?;
            // A log that is followed again is read again from its start; files that were sent stay sent.
            if followed.method != Method::Rclone && log.progress.is_some_and(|known| known.files > progress.files) {
                return None;
            }
            Some(log.progress.replace(progress).is_none())
        });
        let Some(first) = first else { return };
        self.metrics.progress(&followed.subject, Some(progress));
        if first {
            wake(&self.wake, followed.key.clone());
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut HashMap<String, Log>) -> T) -> T {
        f(&mut self.logs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn told(progress: &Progress, now: Timestamp) -> MoverProgress {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    MoverProgress {
        time: Time(now),
        bytes: progress.bytes.map(|(done, _)| number(done)),
        total_bytes: progress.bytes.map(|(_, planned)| number(planned)),
        files: progress.files.map(number),
        total_files: progress.total_files.map(number),
    }
}

/// Nothing if the clock went back.
fn since(then: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(now.duration_since(then)).ok()
}

/// How long what is known is good enough.
fn wait(known: Option<&MoverProgress>, now: Timestamp) -> Option<Duration> {
    BETWEEN.checked_sub(since(known?.time.0, now)?).filter(|wait| !wait.is_zero())
}

/// Lines out of pieces, of each its beginning.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, mut piece: &[u8], mut line: impl FnMut(&str)) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.keep(&piece[..end]);
            line(&String::from_utf8_lossy(&self.0));
            self.0.clear();
            piece = &piece[end + 1..];
        }
        self.keep(piece);
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LINE.saturating_sub(self.0.len()).min(part.len());
        self.0.extend_from_slice(&part[..room]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::sync::mpsc::channel;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn follows() -> (Follows, tokio::sync::mpsc::Receiver<Key>) {
        let (wake, woken) = channel(4);
        (Follows::new(Arc::default(), wake), woken)
    }

    fn followed(method: Method) -> Followed {
        let key = Key { kind: "ReplicationSource", namespace: "n".into(), name: "a".into() };
        Followed { job: "j".into(), uid: "u".into(), method, subject: Subject::new("source", method, "n", "a"), key }
    }

    #[test]
    fn a_status_is_written_twice_a_minute() {
        let known = told(&Progress { bytes: Some((1, 2)), ..Progress::default() }, at(100));
        for (now, expect) in [(100, Some(30)), (129, Some(1)), (130, None), (1000, None), (99, None)] {
            assert_eq!(wait(Some(&known), at(now)), expect.map(Duration::from_secs), "{now}");
        }
        assert_eq!(wait(None, at(0)), None);
    }

    #[test]
    fn a_log_is_followed_by_one_and_again_after_a_while() {
        let (follows, _woken) = follows();
        assert_eq!([0, 0, 100].map(|now| follows.begin("u", at(now))), [true, false, false]);
        follows.with(|logs| logs.get_mut("u").unwrap().ended = Some(at(100)));
        assert_eq!([101, 129, 130, 131].map(|now| follows.begin("u", at(now))), [false, false, true, false]);
        let begun = (0..2 * MOST).filter(|at_| follows.begin(&at_.to_string(), at(200))).count();
        assert_eq!(begun, MOST - 1);
        follows.with(|logs| logs.values_mut().for_each(|log| log.ended = Some(at(200))));
        assert!(!follows.begin("another", at(201)) && follows.begin("another", at(230)));
    }

    #[test]
    fn the_first_that_is_told_wakes_and_files_that_were_sent_stay_sent() {
        let (follows, mut woken) = follows();
        let mover = followed(Method::Rsync);
        follows.begin("u", at(0));
        for (files, expect) in [(5, 5), (3, 5), (6, 6)] {
            follows.tell(&mover, Progress { files: Some(files), ..Progress::default() });
            assert_eq!(follows.with(|logs| logs["u"].progress.unwrap().files), Some(expect));
        }
        assert_eq!((woken.try_recv().unwrap(), woken.try_recv().is_err()), (mover.key, true));
    }

    proptest! {
        #[test]
        fn lines_are_the_same_in_any_pieces(text in "[a-c\n]{0,40}", at in prop::collection::vec(0usize..40, 0..5)) {
            let mut cuts: Vec<_> = at.into_iter().filter(|cut| *cut < text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for pair in cuts.windows(2) {
                lines.take(&text.as_bytes()[pair[0]..pair[1]], |line| found.push(line.to_owned()));
            }
            let mut expect: Vec<_> = text.split('\n').map(str::to_owned).collect();
            expect.pop();
            prop_assert_eq!(found, expect);
        }

        #[test]
        fn no_line_is_kept_that_is_too_long(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 0..6)) {
            let mut lines = Lines::default();
            for piece in &pieces {
                lines.take(piece, |_| ());
                prop_assert!(lines.0.len() <= LINE);
            }
        }
    }
}
