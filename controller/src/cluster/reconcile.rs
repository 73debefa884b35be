//! One look at one replication: read, decide, do, and write the status if it changed.

use super::{
    BackOff, Progress, Trouble,
    hands::Hands,
    now,
    replicated::{Pass, Replicated},
};
use crate::{
    api::Replication,
    labels::{DEBUG_MOVER, PRIVILEGED_MOVERS},
    machine::{self, Method, Phase, Reason, Requeue, Selection, Situation, Trigger, Work, decide, phase},
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
use std::sync::Arc;

/// What every reconcile has at hand.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
    pub(super) settings: Settings,
    pub(super) back_off: BackOff,
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
    if replication.metadata.deletion_timestamp.is_some() || selection == Selection::External {
        return Ok(Action::await_change());
    }
    let hands =
        Hands { client: &context.client, recorder: &context.recorder, owner, reference: replication.object_ref(&()) };
    let mut status = replication.status.clone().unwrap_or_default();
    K::sync(&mut status).latest_mover_status.get_or_insert_default();
    let next = match refused(&selection) {
        Some(message) => {
            let sync = K::sync(&mut status);
            *sync = machine::refuse(sync, &message, now());
            Next { requeue: Requeue::OnChange, started: None }
        }
        None => step::<K>(&replication, &hands, &context, &mut status).await,
    };
    if replication.status.as_ref() != Some(&status) {
        write(&replication, &context, status).await?;
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

/// Why no mover runs. So far rclone's alone is run here.
fn refused(selection: &Selection) -> Option<String> {
    match selection {
        Selection::Mover(Method::Rclone) | Selection::External => None,
        Selection::Mover(method) => Some(format!("{method} is not run by this version of the controller")),
        Selection::Refused(message) => Some(message.clone()),
    }
}

/// What remains to be done once the status is written.
struct Next {
    requeue: Requeue,
    started: Option<Reason>,
}

async fn step<K: Replicated>(
    replication: &Replication<K>,
    hands: &Hands<'_>,
    context: &Context,
    status: &mut K::Status,
) -> Next {
    let debug = replication.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(DEBUG_MOVER));
    let spec = &replication.spec;
    let mut pass: Pass<'_, K> = Pass { hands, settings: &context.settings, spec, privileged: false, debug };
    let work = match work(&mut pass, status).await {
        Ok(Progress::Pending) => Work::Pending,
        Ok(Progress::Done) => Work::Finished,
        Err(error) => {
            let owner = hands.owner;
            tracing::warn!(kind = owner.kind, namespace = owner.namespace, name = owner.name, %error, "cannot go on");
            Work::Failed(error.to_string())
        }
    };
    let trigger = Trigger::of(K::trigger(spec), &context.settings.local);
    let sync = K::sync(status);
    let decision = decide(&Situation {
        trigger: &trigger,
        status: sync,
        work: &work,
        admitted: true,
        now: now(),
        local: &context.settings.local,
    });
    *K::sync(status) = decision.status;
    Next { requeue: decision.requeue, started: decision.started }
}

/// Does what the phase asks for.
async fn work<K: Replicated>(pass: &mut Pass<'_, K>, status: &mut K::Status) -> Result<Progress, Trouble> {
    K::prepare(pass).await?;
    pass.privileged = is_privileged(pass.hands).await?;
    match phase(K::sync(status)) {
        Phase::Initial => Ok(Progress::Done),
        Phase::Synchronizing => K::synchronize(pass, status).await,
        Phase::Idle => K::clean_up(pass).await.map(|()| Progress::Done),
    }
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
    let changed = Replication { status: Some(status), ..replication.clone() };
    Ok(api.replace_status(name, &PostParams::default(), &changed).await.map(drop)?)
}
