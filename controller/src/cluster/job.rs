//! The Job of a transfer, followed to its end.

use super::{
    Progress, Trouble,
    copy::name_of,
    hands::{Hands, Made},
    pass::Pass,
};
use crate::{
    api::{MoverResult, MoverStatus},
    machine::{
        Method,
        logs::{self, Outcome},
        traffic::traffic,
    },
    metrics::Happened,
    objects::names::Direction,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    api::{ListParams, LogParams},
    runtime::events::EventType,
};

/// Pods of one Job that may fail before it is made again. Upstream's value.
const FAILED_PODS: i32 = 2;

/// Makes the Job as it is wanted, and follows it to its end. A Job that failed is deleted, and made again after a while.
pub(super) async fn follow(
    pass: &Pass<'_>,
    method: Method,
    direction: Direction,
    wanted: &Job,
    mover: &mut MoverStatus,
) -> Result<Progress, Trouble> {
    let hands = pass.hands;
    let name = name_of(wanted.metadata.name.as_ref());
    let Some(job) = hands.get::<Job>(&name).await? else { return start(pass, method, direction, wanted, mover).await };
    if job.metadata.deletion_timestamp.is_some() {
        return Ok(Progress::Pending);
    }
    let count = |of: fn(&JobStatus) -> Option<i32>| job.status.as_ref().and_then(of).unwrap_or(0);
    if count(|status| status.succeeded) > 0 {
        let logs = log(pass, &job, (method, direction), Outcome::Success).await;
        *mover = MoverStatus { result: Some(MoverResult::Successful), logs, ..MoverStatus::default() };
        pass.retries.forget(&hands.owner);
        return Ok(Progress::Done);
    }
    if count(|status| status.failed) >= FAILED_PODS {
        let logs = log(pass, &job, (method, direction), Outcome::Failure).await;
        let failed = pass.retries.failed(&hands.owner, pass.generation, pass.now, failures(mover));
        *mover = MoverStatus {
            result: Some(MoverResult::Failed),
            logs,
            progress: None,
            failures: i32::try_from(failed.count).ok(),
            retry_time: Some(Time(failed.until)),
        };
        if method != Method::Rclone {
            let note = "mover Job backoff limit reached".to_owned();
            hands.tell(EventType::Warning, "TransferFailed", "DeleteMover", note).await;
        }
        hands.delete(&job).await?;
        pass.count(Happened::TransferFailed);
        return Ok(Progress::Waiting(failed.wait));
    }
    if let Err(error) = hands.keep(wanted).await {
        return Err(replace(hands, &job, error).await);
    }
    let running = count(|status| status.ready) > 0;
    let again = running.then(|| pass.follows.look(pass, &job, method, mover)).flatten();
    Ok(again.map_or(Progress::Pending, Progress::Waiting))
}

/// What a status says of Jobs that have failed: how many, and until when the next one waits.
fn failures(mover: &MoverStatus) -> Option<(u32, Timestamp)> {
    Some((u32::try_from(mover.failures?).ok()?, mover.retry_time.as_ref()?.0))
}

async fn start(
    pass: &Pass<'_>,
    method: Method,
    direction: Direction,
    wanted: &Job,
    mover: &MoverStatus,
) -> Result<Progress, Trouble> {
    if let Some(wait) = pass.retries.wait(&pass.hands.owner, pass.generation, pass.now, failures(mover)) {
        return Ok(Progress::Waiting(wait));
    }
    let (job, made) = pass.hands.ensure(wanted).await?;
    if made == Made::Now && method != Method::Rclone {
        let what = match direction {
            Direction::Source => "to transmit data",
            Direction::Destination => "to receive data",
        };
        let note = format!("starting Job/{} {what}", name_of(job.metadata.name.as_ref()));
        pass.hands.tell(EventType::Normal, "TransferStarted", "CreateMover", note).await;
    }
    Ok(Progress::Pending)
}

/// A pod template cannot be changed: the Job is deleted, and the next look makes another one.
async fn replace(hands: &Hands<'_>, job: &Job, error: Trouble) -> Trouble {
    let unchangeable = matches!(&error, Trouble::Api(kube::Error::Api(status)) if status.code == 422);
    if !unchangeable {
        return error;
    }
    match hands.delete(job).await {
        Ok(()) => Trouble::User("unable to update object. Deleting object so it can be recreated".to_owned()),
        Err(error) => error,
    }
}

/// What is kept of the log of a Job's last pod, after it was counted what that says. A log that cannot be read is no error
/// of the sync.
async fn log(pass: &Pass<'_>, job: &Job, (method, direction): (Method, Direction), outcome: Outcome) -> Option<String> {
    let phases: &[&str] = if outcome == Outcome::Success { &["Succeeded"] } else { &["Failed", "Running"] };
    let kept = &pass.settings.logs;
    let log = read(pass, job, phases, kept.tail_lines).await?;
    pass.count_traffic(job.metadata.uid.as_deref().unwrap_or_default(), traffic(method, direction, &log));
    logs::excerpt(&log, logs::lines(method, outcome, kept.all), kept.bytes)
}

/// The end of the log of the newest pod of a Job that is in one of these phases, of which the first counts most.
async fn read(pass: &Pass<'_>, job: &Job, phases: &[&str], tail_lines: Option<i64>) -> Option<String> {
    let selector = format!("job-name={}", name_of(job.metadata.name.as_ref()));
    let api = pass.hands.api::<Pod>();
    let pods = api.list(&ListParams::default().labels(&selector)).await.ok()?.items;
    let newest = |phase: &str| {
        let of_phase =
            pods.iter().filter(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase));
        of_phase.max_by_key(|pod| pod.metadata.creation_timestamp.clone())
    };
    let pod = phases.iter().find_map(|phase| newest(phase))?;
    let parameters = LogParams { tail_lines, ..LogParams::default() };
    match api.logs(pod.metadata.name.as_deref()?, &parameters).await {
        Ok(log) => Some(log),
        Err(error) => {
            tracing::warn!(job = job.metadata.name, %error, "the mover's log cannot be read");
            None
        }
    }
}
