//! Replications on one machine without a cluster: the same resources and the same state machine, with directories for
//! volumes, copies for snapshots, child processes for Jobs and files for statuses.
//!
//! ```text
//! DIRECTORY/volumes/CLAIM          a volume: a directory, or a link to one
//!           snapshots/NAME         a copy of one
//!           status/KIND-NAME.yaml  where a replication stands
//!           logs/KIND-NAME.log     what its last mover said
//! ```

mod disk;
mod documents;
mod job;
mod kinds;
mod server;

use crate::{
    api::{Destination, Replication, Source},
    machine::{Decision, Method, Phase, Requeue, Selection, Situation, Trigger, Work, decide, phase, refuse, select},
};
use disk::Disk;
use documents::Documents;
use jiff::{Timestamp, tz::TimeZone};
use job::Movers;
use kinds::Local;
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

/// How often the file is looked at for changes.
const LOOK: Duration = Duration::from_secs(1);

/// The wait after an error, and the longest after movers that failed one after the other: the first doubles.
const AFTER_ERROR: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(10);

/// What `volsync-controller local` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct LocalFlags {
    /// File with ReplicationSources, ReplicationDestinations, and the Secrets and ConfigMaps that they name. It is read
    /// again when it changes.
    #[arg(short = 'f', long, value_name = "FILE")]
    pub filename: PathBuf,
    /// Where volumes, snapshots, statuses and logs are: `volumes/CLAIM` is the volume of a claim.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// The program that moves data.
    #[arg(long, value_name = "PROGRAM", default_value = "mover-rclone")]
    pub mover: PathBuf,
    /// End when every replication has synchronized once, or has no reason to. The exit code says whether all went well.
    #[arg(long)]
    pub once: bool,
    /// Start this S3 server meanwhile, with a bucket `volumes`. The Secret `embedded-s3`, section `s3`, leads to it. Nothing
    /// in it survives.
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, require_equals = true, default_missing_value = "embedded-s3")]
    pub embedded_s3: Option<PathBuf>,
}

/// Why nothing can be run, or something did not go well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file is not what it should be.
    #[error("{0}")]
    Documents(#[from] documents::Unreadable),
    /// A file or a program.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// Something that was asked for once did not work.
    #[error("{0}")]
    Once(String),
}

impl Failure {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::Io(path, error)
    }
}

/// What every replication has at hand.
struct Place {
    disk: Disk,
    movers: Movers,
    zone: TimeZone,
    once: bool,
}

/// Runs the replications of a file until a signal ends them, or once.
pub async fn run(flags: &LocalFlags, zone: TimeZone) -> Result<(), Failure> {
    let (mut terminate, mut interrupt) = (of_signal(SignalKind::terminate())?, of_signal(SignalKind::interrupt())?);
    let disk = Disk::new(&flags.directory)?;
    let (server, secret) = match &flags.embedded_s3 {
        Some(program) => {
            server::start(program, &flags.directory).await.map(|(server, secret)| (Some(server), Some(secret)))?
        }
        None => (None, None),
    };
    let place = Arc::new(Place { movers: Movers::new(&flags.mover, &disk), disk, zone, once: flags.once });
    let work = follow_all(&flags.filename, secret, &place);
    tokio::select! {
        ended = work => ended?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Movers and the server are children that end with their values.
    drop(server);
    Ok(())
}

fn of_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::Io("signals".to_owned(), error))
}

/// Follows what is in the file, and starts with what comes to it.
async fn follow_all(file: &Path, secret: Option<String>, place: &Arc<Place>) -> Result<(), Failure> {
    let (mut read, mut documents) = (modified(file)?, Documents::read(file, secret.as_deref())?);
    let (tell, told) = watch::channel(Arc::new(documents.clone()));
    let (mut known, mut running) = (BTreeSet::new(), JoinSet::new());
    let mut ended_well = Ok(());
    loop {
        for name in documents.sources.keys().filter(|name| known.insert(("source", (*name).clone()))) {
            running.spawn(follow::<Source>(place.clone(), name.clone(), told.clone()));
        }
        for name in documents.destinations.keys().filter(|name| known.insert(("destination", (*name).clone()))) {
            running.spawn(follow::<Destination>(place.clone(), name.clone(), told.clone()));
        }
        tokio::select! {
            Some(ended) = running.join_next() => {
                let ended = ended.map_err(|error| Failure::Once(error.to_string())).flatten();
                // One that fails once does not keep the others from their ends.
                ended_well = if place.once { ended_well.and(ended) } else { Ok(ended?) };
            }
            () = tokio::time::sleep(LOOK) => {}
        }
        if place.once && running.is_empty() {
            return ended_well;
        }
        let now = modified(file)?;
        if now != read {
            read = now;
            match Documents::read(file, secret.as_deref()) {
                Ok(changed) => {
                    documents = changed;
                    known.retain(|(kind, name)| match *kind {
                        "source" => documents.sources.contains_key(name),
                        _ => documents.destinations.contains_key(name),
                    });
                    tell.send_replace(Arc::new(documents.clone()));
                }
                // Half a file, perhaps, of an editor that is still writing.
                Err(error) => tracing::warn!(%error, "the file stays as it was"),
            }
        }
    }
}

fn modified(file: &Path) -> Result<SystemTime, Failure> {
    std::fs::metadata(file).and_then(|found| found.modified()).map_err(Failure::io(file))
}

/// Follows one replication until it is taken out of the file, or, once, until it has ended a sync.
async fn follow<K: Local>(
    place: Arc<Place>,
    name: String,
    mut told: watch::Receiver<Arc<Documents>>,
) -> Result<(), Failure> {
    let (mut failed, mut synced) = (0, false);
    loop {
        let documents = told.borrow_and_update().clone();
        let Some(asked) = K::find(&documents, &name) else { return Ok(()) };
        let before = place.disk.status::<K>(&name)?;
        let mut status = before.clone().unwrap_or_default();
        let turn = turn::<K>(&place, &documents, asked, &mut status, &mut failed, synced).await;
        if before.as_ref() != Some(&status) {
            place.disk.write::<K>(&name, &status)?;
        }
        tell::<K>(&name, &turn);
        synced |= turn.ended;
        match turn.next {
            Requeue::BackOff if place.once => return Err(Failure::Once(turn.trouble.unwrap_or_default())),
            Requeue::OnChange if place.once && turn.rests => {
                return turn.trouble.map_or(Ok(()), |text| Err(Failure::Once(text)));
            }
            Requeue::After(_) if place.once && turn.rests => return Ok(()),
            Requeue::OnChange if !turn.again => _ = told.changed().await,
            Requeue::OnChange => {}
            Requeue::BackOff => _ = tokio::time::timeout(AFTER_ERROR, told.changed()).await,
            Requeue::After(_) if turn.again => {}
            Requeue::After(wait) => _ = tokio::time::timeout(wait, told.changed()).await,
        }
    }
}

/// What one look at a replication came to.
struct Turn {
    next: Requeue,
    /// Whether there is more to do right away.
    again: bool,
    /// Whether it waits for its next sync.
    rests: bool,
    /// Whether a sync has ended.
    ended: bool,
    started: Option<String>,
    trouble: Option<String>,
}

async fn turn<K: Local>(
    place: &Place,
    documents: &Documents,
    asked: &Replication<K>,
    status: &mut K::Status,
    failed: &mut u32,
    synced: bool,
) -> Turn {
    let now = Timestamp::now();
    let still = |next, trouble| Turn { next, again: false, rests: true, ended: false, started: None, trouble };
    let method = match select(&K::configured(&asked.spec)) {
        Selection::Mover(method) => method,
        Selection::External => return still(Requeue::OnChange, None),
        Selection::Refused(message) => {
            *K::sync(status) = refuse(K::sync(status), &message, now);
            return still(Requeue::OnChange, Some(message));
        }
    };
    K::sync(status).latest_mover_status.get_or_insert_default();
    let began = phase(K::sync(status));
    let work = if method == Method::Rclone {
        work::<K>(place, documents, asked, status, failed).await
    } else {
        Work::Failed(format!("{method} needs a cluster: only rclone runs on one machine"))
    };
    let trigger = Trigger::of(K::trigger(&asked.spec), &place.zone);
    let sync = K::sync(status);
    let situation = Situation {
        trigger: &trigger,
        status: sync,
        work: &work,
        admitted: true,
        now: Timestamp::now(),
        local: &place.zone,
    };
    let Decision { status: decided, requeue, started, .. } = decide(&situation);
    if synced && place.once && started.is_some() {
        return still(Requeue::OnChange, None);
    }
    *sync = decided;
    let phase_now = phase(sync);
    let trouble = failure(&work).or_else(|| condition_of_error(sync));
    let moved_on = phase_now != began || started.is_some();
    let waits_to_retry = place.once && matches!(work, Work::Waiting(_)) && *failed > 0;
    Turn {
        next: if waits_to_retry { Requeue::BackOff } else { requeue },
        again: moved_on,
        rests: !moved_on && (phase_now != Phase::Synchronizing || K::paused(&asked.spec)),
        ended: began == Phase::Synchronizing && phase_now == Phase::Idle,
        started: started.map(|reason| reason.to_string()),
        trouble: if waits_to_retry { Some("the mover failed: see its log".to_owned()) } else { trouble },
    }
}

fn failure(work: &Work) -> Option<String> {
    match work {
        Work::Failed(text) => Some(text.clone()),
        _ => None,
    }
}

fn condition_of_error(sync: &crate::api::SyncStatus) -> Option<String> {
    let condition = sync.conditions.as_ref()?.first()?;
    (condition.reason == "Error").then(|| condition.message.clone())
}

async fn work<K: Local>(
    place: &Place,
    documents: &Documents,
    asked: &Replication<K>,
    status: &mut K::Status,
    failed: &mut u32,
) -> Work {
    let done = match phase(K::sync(status)) {
        Phase::Initial => return Work::Finished,
        Phase::Synchronizing if K::paused(&asked.spec) => return Work::Pending,
        Phase::Synchronizing => K::synchronize(place, documents, asked, status).await,
        Phase::Idle => K::clean_up(place, asked, status).map(|()| true),
    };
    match done {
        Ok(true) => {
            *failed = 0;
            Work::Finished
        }
        Ok(false) => {
            let wait = AFTER_ERROR.saturating_mul(1 << (*failed).min(10)).min(LONGEST);
            *failed = failed.saturating_add(1);
            Work::Waiting(wait)
        }
        Err(text) => Work::Failed(text),
    }
}

fn tell<K: Local>(name: &str, turn: &Turn) {
    let kind = K::KIND;
    if let Some(reason) = &turn.started {
        tracing::info!(kind, name, %reason, "a sync starts");
    }
    if turn.ended {
        tracing::info!(kind, name, "a sync has ended");
    }
    if let Some(text) = &turn.trouble {
        tracing::warn!(kind, name, "{text}");
    }
}
