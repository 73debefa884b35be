//! How far a mover is that runs, from its log to the status: read seldom, so that it costs the API server little.

use super::{job, pass::Pass};
use crate::{
    api::{MoverProgress, MoverStatus},
    machine::{Method, traffic},
};
use jiff::Timestamp;
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Time};
use std::time::Duration;

/// The time between two looks, and how soon one follows that found nothing.
const BETWEEN: Duration = Duration::from_secs(30);
const NOTHING_YET: Duration = Duration::from_secs(10);

/// Lines that are read: rclone's statistics, with as many transfers under way as there are by default, many times over.
const LINES: i64 = 200;

/// Looks at the log, if it is time to. Gives how soon to look again.
pub(super) async fn look(pass: &Pass<'_>, job: &Job, method: Method, mover: &mut MoverStatus) -> Duration {
    if let Some(wait) = wait(mover.progress.as_ref(), pass.now) {
        return wait;
    }
    let log = job::read(pass, job, &["Running"], Some(LINES)).await;
    let Some(found) = log.and_then(|log| traffic::progress(method, &log)) else { return NOTHING_YET };
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    mover.progress = Some(MoverProgress {
        time: Time(pass.now),
        bytes: number(found.done.bytes),
        total_bytes: number(found.planned.bytes),
        files: number(found.done.files),
        total_files: number(found.planned.files),
    });
    BETWEEN
}

/// How long what is known is good enough. Nothing if the clock went back.
fn wait(known: Option<&MoverProgress>, now: Timestamp) -> Option<Duration> {
    let since = Duration::try_from(now.duration_since(known?.time.0)).ok()?;
    BETWEEN.checked_sub(since).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_twice_a_minute() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let known = MoverProgress { time: Time(at(100)), bytes: 1, total_bytes: 2, files: 0, total_files: 1 };
        for (now, expect) in [(100, Some(30)), (129, Some(1)), (130, None), (1000, None), (99, None)] {
            assert_eq!(wait(Some(&known), at(now)), expect.map(Duration::from_secs), "{now}");
        }
        assert_eq!(wait(None, at(0)), None);
    }
}
