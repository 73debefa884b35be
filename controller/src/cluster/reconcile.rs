//! One look at one replication: read, decide, do, and write the status if it changed.

use super::{
    BackOff, Progress, Trouble,
    follow::Follows,
    hands::Hands,
    leftovers::Leftovers,
    now,
    pass::Pass,
    replicated::Replicated,
    retries::Retries,
    seats::{Key, Seats},
};
use crate::{
    api::Replication,
    labels::{DEBUG_MOVER, PRIVILEGED_MOVERS},
    machine::{
        self, Decision, Measurement, Method, Phase, Reason, Requeue, Selection, Situation, Trigger, Work, decide, phase,
    },
    metrics::{Happened, Metrics, Subject},
    objects::owner::Owner,
    settings::Settings,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource,
    api::PostParams,
    runtime::{
        controller::Action,
        events::{EventType, Recorder},
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// When a replication is looked at again of which somebody else has changed an object.
const AFTER_CONFLICT: Duration = Duration::from_millis(100);

/// What every reconcile has at hand.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
    pub(super) settings: Settings,
    pub(super) back_off: BackOff,
    pub(super) retries: Retries,
    pub(super) seats: Seats,
    pub(super) follows: Follows,
    pub(super) leftovers: Arc<Leftovers>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) openshift: bool,
    /// Whether the installed definitions keep how far a mover is. Those of upstream's do not.
    pub(super) progress: AtomicBool,
}

impl Context {
    /// Forgets a replication that is gone.
    pub(super) fn forget<K: Replicated>(&self, namespace: &str, name: &str) {
        self.metrics.forget(K::ROLE, namespace, name);
        let key = Key { kind: K::KIND, namespace: namespace.to_owned(), name: name.to_owned() };
        self.seats.leave(&key);
        self.leftovers.begin(&key);
    }
}

/// Brings a replication one step on.
///
/// Safe to be repeated, and to be broken off anywhere: what was done is found again by its name, and the status is written
/// only if nobody else has written it since it was read.
pub(super) async fn reconcile<K: Replicated>(
    replication: Arc<Replication<K>>,
    context: Arc<Context>,
) -> Result<Action, Trouble> {
    let Some(owner) = Owner::of(&*replication) else { return Ok(Action::await_change()) };
    let configured = K::configured(&replication.spec);
    let selection = machine::select(&configured);
    if replication.metadata.deletion_timestamp.is_some() {
        context.seats.leave(&Key::of(&owner));
        return Ok(Action::await_change());
    }
    let hands =
        Hands { client: &context.client, recorder: &context.recorder, owner, reference: replication.object_ref(&()) };
    let mut status = replication.status.clone().unwrap_or_default();
    K::sync(&mut status).latest_mover_status.get_or_insert_default();
    let next = match &selection {
        Selection::Mover(method) => step::<K>(&replication, *method, &hands, &context, &mut status).await,
        Selection::Refused(message) => {
            let sync = K::sync(&mut status);
            *sync = machine::refuse(sync, message, now());
            Next::default()
        }
        Selection::External => return Ok(Action::await_change()),
    };
    if replication.status.as_ref() != Some(&status) {
        write(&replication, &context, status).await?;
    }
    if !next.seat {
        // Not before the write: whoever sits down next would be seen to run beside this one.
        context.seats.leave(&Key::of(&owner));
    }
    if let Some((subject, measurements)) = next.measured {
        context.metrics.measure(&subject, &measurements, now());
    }
    if let Some(reason) = next.started {
        // Not before the write: of two that start the same sync, one writes.
        tracing::info!(kind = owner.kind, namespace = owner.namespace, name = owner.name, %reason, "a sync starts");
        hands.tell(EventType::Normal, "SynchronizationStarted", "Synchronize", reason.to_string()).await;
    }
    if next.requeue != Requeue::BackOff {
        context.back_off.reset(owner.uid);
    }
    Ok(match next.requeue {
        Requeue::BackOff => Action::requeue(context.back_off.next(owner.uid)),
        Requeue::OnChange => Action::await_change(),
        Requeue::After(wait) => Action::requeue(wait),
    })
}

/// What remains to be done once the status is written.
struct Next {
    requeue: Requeue,
    started: Option<Reason>,
    /// Whether its seat is needed, or its place in the queue.
    seat: bool,
    measured: Option<(Subject, Vec<Measurement>)>,
}

impl Default for Next {
    fn default() -> Self {
        Self { requeue: Requeue::OnChange, started: None, seat: false, measured: None }
    }
}

async fn step<K: Replicated>(
    replication: &Replication<K>,
    method: Method,
    hands: &Hands<'_>,
    context: &Context,
    status: &mut K::Status,
) -> Next {
    let spec = &replication.spec;
    let subject = Subject::new(K::ROLE, method, hands.owner.namespace, hands.owner.name);
    if K::takes_seat(method) && phase(K::sync(status)) == Phase::Synchronizing {
        context.seats.keep(&Key::of(&hands.owner));
    }
    let pass = Pass {
        hands,
        settings: &context.settings,
        retries: &context.retries,
        follows: &context.follows,
        leftovers: &context.leftovers,
        metrics: (&context.metrics, &subject),
        generation: replication.metadata.generation.unwrap_or_default(),
        now: now(),
        paused: K::paused(spec),
        debug: replication.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(DEBUG_MOVER)),
        privileged: false,
        openshift: context.openshift,
        progress: context.progress.load(Ordering::Relaxed),
    };
    let work = match work::<K>(pass, spec, status).await {
        Ok(Progress::Pending) => Work::Pending,
        Ok(Progress::Waiting(wait)) => Work::Waiting(wait),
        Ok(Progress::Done) => Work::Finished,
        Err(error) if error.is_conflict() => {
            tracing::debug!(%error, "looked at again");
            Work::Waiting(AFTER_CONFLICT)
        }
        Err(error) => {
            let owner = hands.owner;
            tracing::warn!(kind = owner.kind, namespace = owner.namespace, name = owner.name, %error, "cannot go on");
            context.metrics.count(&subject, Happened::Error, now());
            Work::Failed(error.to_string())
        }
    };
    let trigger = Trigger::of(K::trigger(spec), &context.settings.local);
    let sync = K::sync(status);
    let situation = Situation {
        trigger: &trigger,
        status: sync,
        work: &work,
        admitted: true,
        now: now(),
        local: &context.settings.local,
    };
    let (decision, seat) = seated(&situation, K::takes_seat(method), &context.seats, &Key::of(&hands.owner));
    *K::sync(status) = decision.status;
    Next {
        requeue: decision.requeue,
        started: decision.started,
        seat,
        measured: Some((subject, decision.measurements)),
    }
}

/// Decides, and if a sync is due, whether it may start. Says besides whether its seat is needed.
fn seated(situation: &Situation<'_>, takes_seat: bool, seats: &Seats, key: &Key) -> (Decision, bool) {
    let decision = decide(situation);
    if takes_seat && decision.started.is_some() && !seats.take(key) {
        return (decide(&Situation { admitted: false, ..*situation }), true);
    }
    let needed = takes_seat && phase(&decision.status) == Phase::Synchronizing;
    (decision, needed)
}

/// Does what the phase asks for.
async fn work<K: Replicated>(pass: Pass<'_>, spec: &K::Spec, status: &mut K::Status) -> Result<Progress, Trouble> {
    K::prepare(&pass).await?;
    match phase(K::sync(status)) {
        Phase::Initial => Ok(Progress::Done),
        Phase::Synchronizing => {
            pass.leftovers.begin(&Key::of(&pass.hands.owner));
            let pass = Pass { privileged: is_privileged(pass.hands).await?, ..pass };
            synchronize::<K>(&pass, spec, status).await
        }
        Phase::Idle => K::clean_up(&pass, spec).await.map(|()| Progress::Done),
    }
}

async fn synchronize<K: Replicated>(
    pass: &Pass<'_>,
    spec: &K::Spec,
    status: &mut K::Status,
) -> Result<Progress, Trouble> {
    let mut published = K::published(spec, status);
    let progress = K::synchronize(pass, spec, status, &mut published).await;
    K::publish(spec, status, published);
    progress
}

async fn is_privileged(hands: &Hands<'_>) -> Result<bool, Trouble> {
    let namespaces: Api<Namespace> = Api::all(hands.client.clone());
    let namespace = namespaces.get_metadata(hands.owner.namespace).await?;
    let annotation = namespace.metadata.annotations.as_ref().and_then(|all| all.get(PRIVILEGED_MOVERS));
    Ok(annotation.is_some_and(|value| value.eq_ignore_ascii_case("true")))
}

/// Writes the status over the one that was read, and over no other.
async fn write<K: Replicated>(
    replication: &Replication<K>,
    context: &Context,
    status: K::Status,
) -> Result<(), Trouble> {
    let metadata = &replication.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    let api: Api<Replication<K>> = Api::namespaced(context.client.clone(), namespace);
    let mut changed = Replication { status: Some(status), ..replication.clone() };
    let mut written = api.replace_status(name, &PostParams::default(), &changed).await?;
    if tells_progress(&mut changed) && !tells_progress(&mut written) {
        context.progress.store(false, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether the status has the field that only our definitions have.
fn tells_progress<K: Replicated>(replication: &mut Replication<K>) -> bool {
    let mover = replication.status.as_mut().and_then(|status| K::sync(status).latest_mover_status.as_ref());
    mover.is_some_and(|mover| mover.progress.is_some())
}
