//! Watches both kinds and what they own, until the program is told to end.

use super::{
    BackOff,
    hands::Namespaced,
    reconcile::{Context, reconcile},
    replicated::Replicated,
};
use crate::{
    api::{Destination, Replication, Source},
    labels::CREATED_BY,
    objects::snapshot::VolumeSnapshot,
    settings::Settings,
};
use futures_util::StreamExt;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::ListParams,
    runtime::{
        Controller,
        controller::{self, Action},
        events::{Recorder, Reporter},
        watcher,
    },
};
use std::sync::Arc;

/// Reconciles at a time, of each kind. Upstream's value.
const CONCURRENCY: u16 = 100;

/// Runs both controllers until a signal ends them.
pub async fn run(settings: Settings) -> Result<(), kube::Error> {
    let client = Client::try_default().await?;
    let reporter = Reporter { controller: "volsync-controller".to_owned(), instance: None };
    let recorder = Recorder::new(client.clone(), reporter);
    let snapshots = has_snapshots(&client).await?;
    let context = Arc::new(Context { client, recorder, settings, back_off: BackOff::default() });
    tokio::join!(watch::<Source>(&context, snapshots), watch::<Destination>(&context, snapshots));
    Ok(())
}

/// Whether the cluster knows snapshots. Without them only volumes as they are, and clones, can be moved.
async fn has_snapshots(client: &Client) -> Result<bool, kube::Error> {
    let api: Api<VolumeSnapshot> = Api::all(client.clone());
    match api.list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            tracing::warn!("the cluster has no VolumeSnapshots: copyMethod Snapshot cannot work");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

async fn watch<K: Replicated>(context: &Arc<Context>, snapshots: bool) {
    let all: Api<Replication<K>> = Api::all(context.client.clone());
    let config = controller::Config::default().concurrency(CONCURRENCY);
    let mut controller = Controller::new(all, watcher::Config::default()).with_config(config).shutdown_on_signal();
    controller = owns::<K, Job>(controller, context);
    controller = owns::<K, PersistentVolumeClaim>(controller, context);
    controller = owns::<K, ServiceAccount>(controller, context);
    controller = owns::<K, Role>(controller, context);
    controller = owns::<K, RoleBinding>(controller, context);
    if snapshots {
        controller = owns::<K, VolumeSnapshot>(controller, context);
    }
    let results =
        controller.run(reconcile::<K>, |replication, _, context| after_error(&replication, &context), context.clone());
    results
        .for_each(|result| async {
            if let Err(error) = result {
                tracing::warn!(kind = K::KIND, %error, "a reconcile ended early");
            }
        })
        .await;
}

fn owns<K: Replicated, C: Namespaced + Send + 'static>(
    controller: Controller<Replication<K>>,
    context: &Context,
) -> Controller<Replication<K>> {
    let ours = watcher::Config::default().labels(&format!("{}={}", CREATED_BY.0, CREATED_BY.1));
    controller.owns(Api::<C>::all(context.client.clone()), ours)
}

/// All that fails a reconcile is the write of its status. Most often somebody else has written in between, which is a
/// change that starts the next look anyway; otherwise the API server is in trouble, and is asked less and less.
fn after_error<K: Replicated>(replication: &Replication<K>, context: &Context) -> Action {
    Action::requeue(context.back_off.next(replication.metadata.uid.as_deref().unwrap_or_default()))
}
