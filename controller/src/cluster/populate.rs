//! Fills claims from destinations: through a temporary claim that is made from the destination's snapshot, and whose volume
//! is then given to the claim that waits.

use super::{
    BackOff, Trouble,
    hands::Hands,
    image::owners_and_labels,
    watching::{NoWait, events, touched},
};
use crate::{
    api::ReplicationDestination,
    crd::volume_populator,
    labels::{DO_NOT_DELETE, POPULATED_FROM, POPULATOR_CLAIM_FOR},
    objects::{
        owner::Owner,
        populate::{
            Class, class_of, in_use, is_bound, label_value, snapshot_of, temporary, temporary_name, wanted_destination,
            with_owner,
        },
        snapshot::VolumeSnapshot,
    },
};
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
    runtime::{
        Controller, WatchStreamExt,
        controller::Action,
        events::{EventType, Recorder, Reporter},
        reflector::{self, ObjectRef, Store, reflector},
        watcher::{Config, Event},
    },
};
use serde_json::json;
use std::{future::ready, sync::Arc};
use tokio_util::sync::CancellationToken;

const ACTION: &str = "Provision Volume";

struct Context {
    client: Client,
    recorder: Recorder,
    back_off: BackOff,
}

/// Tells the cluster that claims may name destinations, if it wants to know, and fills them until the end.
pub(super) async fn run(client: &Client, end: &CancellationToken) {
    match register(client).await {
        Ok(()) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => tracing::info!("the cluster keeps no VolumePopulators"),
        Err(error) => tracing::warn!(%error, "the volume populator is not registered"),
    }
    let reporter = Reporter { controller: "volsync-volume-populator".to_owned(), instance: None };
    let recorder = Recorder::new(client.clone(), reporter);
    let context = Arc::new(Context { client: client.clone(), recorder, back_off: BackOff::default() });
    let (store, writer) = reflector::store();
    // A cluster has many claims, and few are ours to fill: the others are not kept.
    let changes = events(Api::<PersistentVolumeClaim>::all(client.clone()), Config::default())
        .try_filter(|event| ready(is_of_concern(event)));
    let helpers = touched::<PersistentVolumeClaim>(client, Config::default().labels(POPULATOR_CLAIM_FOR));
    let destinations = events(Api::<ReplicationDestination>::all(client.clone()), Config::default()).applied_objects();
    let classes = events(Api::<PartialObjectMeta<StorageClass>>::all(client.clone()), Config::default());
    let (by_destination, by_class) = (store.clone(), store.clone());
    let controller = Controller::for_stream(reflector(writer, changes).applied_objects(), store)
        .trigger_backoff(NoWait)
        .graceful_shutdown_on(end.clone().cancelled_owned())
        .owns_stream(helpers)
        .watches_stream(destinations, move |destination: ReplicationDestination| {
            let meta = destination.metadata;
            waiting(&by_destination, |claim| {
                claim.metadata.namespace == meta.namespace && wanted_destination(claim) == meta.name.as_deref()
            })
        })
        .watches_stream(classes.applied_objects(), move |class: PartialObjectMeta<StorageClass>| {
            waiting(&by_class, |claim| class_name(claim) == class.metadata.name.as_deref())
        });
    let results = controller.run(reconcile, |claim, _, context| after_error(&claim, &context), context);
    results
        .for_each(|result| {
            if let Err(error) = result {
                tracing::debug!(%error, "a claim was not filled");
            }
            ready(())
        })
        .await;
}

async fn register(client: &Client) -> Result<(), kube::Error> {
    let kind = GroupVersionKind::gvk("populator.storage.k8s.io", "v1beta1", "VolumePopulator");
    let resource = ApiResource::from_gvk_with_plural(&kind, "volumepopulators");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let wanted = volume_populator();
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
    let parameters = PatchParams::apply("volsync-controller").force();
    api.patch(name, &parameters, &Patch::Apply(&wanted)).await.map(drop)
}

fn is_of_concern(event: &Event<PersistentVolumeClaim>) -> bool {
    match event {
        Event::Apply(claim) | Event::InitApply(claim) | Event::Delete(claim) => wanted_destination(claim).is_some(),
        Event::Init | Event::InitDone => true,
    }
}

fn waiting(
    store: &Store<PersistentVolumeClaim>,
    is_meant: impl Fn(&PersistentVolumeClaim) -> bool,
) -> Vec<ObjectRef<PersistentVolumeClaim>> {
    let all = store.state();
    let meant = all.iter().filter(|claim| !is_bound(claim) && is_meant(claim));
    meant.map(|claim| ObjectRef::from_obj(&**claim)).collect()
}

fn class_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.storage_class_name.as_deref().filter(|name| !name.is_empty())
}

fn after_error(claim: &PersistentVolumeClaim, context: &Context) -> Action {
    Action::requeue(context.back_off.next(claim.metadata.uid.as_deref().unwrap_or_default()))
}

async fn reconcile(claim: Arc<PersistentVolumeClaim>, context: Arc<Context>) -> Result<Action, Trouble> {
    let (Some(namespace), Some(name), Some(uid)) =
        (&claim.metadata.namespace, &claim.metadata.name, &claim.metadata.uid)
    else {
        return Ok(Action::await_change());
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let owner = Owner { kind: "PersistentVolumeClaim", namespace, name, uid };
    let reference = claim.object_ref(&());
    let hands = Hands { client: &context.client, recorder: &context.recorder, owner, reference };
    if let Err(error) = fill(&hands, &claim).await {
        tracing::warn!(namespace, name, %error, "a claim cannot be filled");
        return Err(error);
    }
    context.back_off.reset(uid);
    Ok(Action::await_change())
}

/// Brings a claim one step on. Whatever is waited for is watched.
async fn fill(hands: &Hands<'_>, claim: &PersistentVolumeClaim) -> Result<(), Trouble> {
    if !class_is_ready(hands, claim).await? {
        return Ok(());
    }
    let helper = hands.get::<PersistentVolumeClaim>(&temporary_name(hands.owner.uid)).await?;
    if !is_bound(claim) {
        let helper = match helper {
            Some(found) => found,
            None => match begin(hands, claim).await? {
                Some(made) => made,
                None => return Ok(()),
            },
        };
        own_snapshots(hands, &helper).await?;
        return give_volume(hands, claim, &helper).await;
    }
    // The volume's controller calls a claim lost whose volume was given away.
    let phase = |helper: &PersistentVolumeClaim| helper.status.as_ref().and_then(|status| status.phase.clone());
    if helper.as_ref().is_some_and(|helper| phase(helper).as_deref() != Some("Lost")) {
        return Ok(());
    }
    finish(hands, helper.as_ref()).await
}

async fn class_is_ready(hands: &Hands<'_>, claim: &PersistentVolumeClaim) -> Result<bool, Trouble> {
    let Some(name) = class_name(claim) else { return Ok(true) };
    let classes: Api<StorageClass> = Api::all(hands.client.clone());
    let Some(class) = classes.get_opt(name).await? else { return Ok(false) };
    Ok(class_of(claim, &class) == Class::Ready)
}

/// Makes the temporary claim. `None` while there is nothing to make it from.
async fn begin(hands: &Hands<'_>, claim: &PersistentVolumeClaim) -> Result<Option<PersistentVolumeClaim>, Trouble> {
    let destination = wanted_destination(claim).unwrap_or_default();
    let destination: ReplicationDestination = match hands.expect(destination).await {
        Ok(found) => found,
        Err(Trouble::Api(kube::Error::Api(status))) if status.code == 404 => {
            let note = format!("Unable to populate volume: {}", status.message);
            return warn(hands, "VolSyncPopulatorReplicationDestinationMissing", note).await;
        }
        Err(error) => return Err(error),
    };
    let Some(image) = destination.status.and_then(|status| status.latest_image) else {
        let note = "Unable to populate volume, waiting for replicationdestination to have latestImage".to_owned();
        return warn(hands, "VolSyncPopulatorReplicationDestinationNoLatestImage", note).await;
    };
    let Some(name) = snapshot_of(&image) else {
        let note = "Unable to populate volume: ReplicationDestination latestImage is not a volumesnapshot".to_owned();
        return warn(hands, "VolSyncPopulatorError", note).await;
    };
    hands.expect::<VolumeSnapshot>(name).await?;
    // Before the claim: from here on a clean-up leaves the snapshot alone.
    let value = label_value(hands.owner.name);
    hands
        .patch::<VolumeSnapshot>(name, &json!({ "metadata": { "labels": { in_use(hands.owner.uid): value } } }))
        .await?;
    match hands.create(&temporary(claim, name)).await {
        Ok(made) => {
            let note = format!("Populator pvc created from snapshot {name}");
            hands.tell(EventType::Normal, "VolSyncPopulatorPVCCreated", ACTION, note).await;
            Ok(Some(made))
        }
        Err(error) => {
            let note = format!("Failed to create populator PVC: {error}");
            hands.tell(EventType::Warning, "VolSyncPopulatorPVCCreationError", ACTION, note).await;
            Err(error)
        }
    }
}

async fn warn(hands: &Hands<'_>, reason: &str, note: String) -> Result<Option<PersistentVolumeClaim>, Trouble> {
    hands.tell(EventType::Warning, reason, ACTION, note).await;
    Ok(None)
}

async fn in_use_by(hands: &Hands<'_>) -> Result<Vec<VolumeSnapshot>, Trouble> {
    let mine = ListParams::default().labels(&in_use(hands.owner.uid));
    Ok(hands.api::<VolumeSnapshot>().list(&mine).await?.items)
}

/// A destination may move on to another snapshot: this one lives as long as the temporary claim.
async fn own_snapshots(hands: &Hands<'_>, helper: &PersistentVolumeClaim) -> Result<(), Trouble> {
    for snapshot in in_use_by(hands).await? {
        if let Some(owners) = with_owner(&snapshot.metadata, helper) {
            owners_and_labels(hands, &snapshot, owners, &[]).await?;
        }
    }
    Ok(())
}

/// Gives the volume of the temporary claim to the one that waits.
async fn give_volume(
    hands: &Hands<'_>,
    claim: &PersistentVolumeClaim,
    helper: &PersistentVolumeClaim,
) -> Result<(), Trouble> {
    let Some(volume) = helper.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|name| !name.is_empty())
    else {
        return Ok(());
    };
    let volumes: Api<PersistentVolume> = Api::all(hands.client.clone());
    let Some(found) = volumes.get_opt(&volume).await? else { return Ok(()) };
    let given = found.spec.and_then(|spec| spec.claim_ref).is_some_and(|claim_ref| {
        claim_ref.uid.as_deref() == Some(hands.owner.uid)
            && claim_ref.name.as_deref() == Some(hands.owner.name)
            && claim_ref.namespace.as_deref() == Some(hands.owner.namespace)
    });
    if given {
        return Ok(());
    }
    let source = helper.spec.as_ref().and_then(|spec| spec.data_source_ref.as_ref()).map(|source| source.name.clone());
    let changes = json!({
        "metadata": { "annotations": { POPULATED_FROM: format!("{}/{}", hands.owner.namespace, source.unwrap_or_default()) } },
        "spec": { "claimRef": {
            "namespace": hands.owner.namespace, "name": hands.owner.name, "uid": hands.owner.uid,
            "resourceVersion": claim.metadata.resource_version,
        } },
    });
    volumes.patch(&volume, &PatchParams::default(), &Patch::Strategic(changes)).await?;
    Ok(())
}

/// Leaves nothing behind but the volume. Upstream tells of the end at every look; here it is told once.
async fn finish(hands: &Hands<'_>, helper: Option<&PersistentVolumeClaim>) -> Result<(), Trouble> {
    let used = in_use_by(hands).await?;
    if helper.is_none() && used.is_empty() {
        return Ok(());
    }
    let of_helper = helper.map(ResourceExt::uid).unwrap_or_default();
    for snapshot in used {
        let kept = snapshot.labels().contains_key(DO_NOT_DELETE);
        let mut owners = snapshot.metadata.owner_references.clone().unwrap_or_default();
        owners.retain(|owner| !kept || Some(&owner.uid) != of_helper.as_ref());
        owners_and_labels(hands, &snapshot, owners, &[in_use(hands.owner.uid)]).await?;
    }
    if let Some(helper) = helper {
        hands.delete(helper).await?;
    }
    tracing::info!(namespace = hands.owner.namespace, name = hands.owner.name, "a claim is filled");
    let note = "Populator finished".to_owned();
    hands.tell(EventType::Normal, "VolSyncPopulatorFinished", ACTION, note).await;
    Ok(())
}
