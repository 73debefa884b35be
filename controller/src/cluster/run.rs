//! Watches both kinds and what they own, until the program is told to end.

use super::{
    BackOff, constraint,
    follow::Follows,
    hands::Namespaced,
    lease::{Candidate, Lost},
    populate,
    reconcile::{Context, reconcile},
    replicated::Replicated,
    retries::Retries,
    seats::{Key, Seats},
    serve::{Certificate, Health, NoCertificate, Scrape, listen, serve},
    watching::{NoWait, PAGE, events, touched, watched},
};
use crate::{
    api::{Destination, Kind, Replication, Source},
    flags::{Flags, NoAddress, address},
    labels::{CREATED_BY, USE_COPY_TRIGGER},
    machine::{Phase, Selection, phase, select},
    metrics::{Metrics, Totals},
    objects::snapshot::VolumeSnapshot,
    settings::Settings,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Secret, Service, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
    core::PartialObjectMeta,
    runtime::{
        Controller, WatchStreamExt,
        controller::{self, Action},
        events::{Recorder, Reporter},
        reflector::{self, ObjectRef, Store, reflector},
        watcher,
    },
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{
        Semaphore,
        mpsc::{Receiver, Sender, channel},
    },
};
use tokio_util::sync::CancellationToken;

/// Reconciles at a time, of each kind. Each has a connection to the API server with its buffers.
const CONCURRENCY: usize = 32;

/// How many wait for their turn in the order in which they came, of each kind: what comes beyond them is taken in no order by
/// the library. Without an order, a sync that was started goes on before others start that are due at the same time.
const WAITING: u16 = 1024;

/// How many replications can be woken at a time. Others are looked at within a minute.
const WOKEN: usize = 1024;

/// Why the controller cannot run, or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The API server cannot be asked.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The file that `--kubeconfig` names.
    #[error("--kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// Another controller acts.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// An address that is none.
    #[error(transparent)]
    Address(#[from] NoAddress),
    /// Nothing can be served there, or no signal can be heard.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Metrics cannot be served over TLS.
    #[error(transparent)]
    Certificate(#[from] NoCertificate),
}

/// Runs both controllers until a signal ends them.
pub async fn run(flags: &Flags, settings: Settings) -> Result<(), Failure> {
    let client = connect(flags).await?;
    let end = until_signal()?;
    let metrics = Arc::new(Metrics::default());
    let (wake, woken) = wake_up();
    let context = Arc::new(Context {
        recorder: Recorder::new(
            client.clone(),
            Reporter { controller: "volsync-controller".to_owned(), instance: None },
        ),
        openshift: is_openshift(&client).await?,
        client,
        settings,
        back_off: BackOff::default(),
        retries: Retries::default(),
        follows: Follows::new(metrics.clone(), wake.clone()),
        seats: Seats::new(flags.limit(), wake),
        leftovers: Arc::default(),
        metrics,
        progress: AtomicBool::new(true),
    });
    let leading = Arc::new(AtomicBool::new(false));
    let served = serve_all(flags, &context, &leading).await?;
    tokio::select! {
        () = served => Ok(()),
        ended = elect(flags, &context, &end, &leading, woken) => ended,
    }
}

async fn connect(flags: &Flags) -> Result<Client, Failure> {
    let Some(path) = &flags.kubeconfig else { return Ok(Client::try_default().await?) };
    let file = Kubeconfig::read_from(path)?;
    Ok(Client::try_from(kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)?)
}

/// Ends with the first signal that asks for it.
fn until_signal() -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let end = CancellationToken::new();
    let told = end.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        told.cancel();
    });
    Ok(end)
}

/// Binds every address that is served at, and gives what serves them, for ever.
async fn serve_all(
    flags: &Flags,
    context: &Arc<Context>,
    leading: &Arc<AtomicBool>,
) -> Result<impl Future<Output = ()> + use<>, Failure> {
    let health = bind(&flags.health_probe_bind_address).await?;
    let metrics = bind(&flags.metrics_bind_address).await?;
    let certificate = match &flags.metrics_cert_path {
        _ if !flags.metrics_secure || metrics.is_none() => None,
        None => Some(Certificate::made()?),
        Some(path) => Some(Certificate::Files {
            certificate: path.join(&flags.metrics_cert_name),
            key: path.join(&flags.metrics_cert_key),
        }),
    };
    let guard = flags.metrics_require_rbac.then(|| context.client.clone());
    let (counted, leading) = (context.clone(), leading.clone());
    let totals = move || {
        let (running, queued) = counted.seats.counts();
        Totals { running, queued, leading: leading.load(Ordering::Relaxed) }
    };
    let scrape = Scrape { metrics: context.metrics.clone(), totals, guard };
    Ok(async move {
        let health = async {
            match health {
                Some(listener) => serve(listener, None, Health).await,
                None => std::future::pending().await,
            }
        };
        let metrics = async {
            match metrics {
                Some(listener) => serve(listener, certificate, scrape).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(health, metrics);
    })
}

async fn bind(text: &str) -> Result<Option<TcpListener>, Failure> {
    let Some(address) = address(text)? else { return Ok(None) };
    let listener = listen(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serves");
    Ok(Some(listener))
}

/// Acts at once, or when it is this controller's turn.
async fn elect(
    flags: &Flags,
    context: &Arc<Context>,
    end: &CancellationToken,
    leading: &AtomicBool,
    woken: (Receiver<Key>, Receiver<Key>),
) -> Result<(), Failure> {
    let work = async {
        leading.store(true, Ordering::Relaxed);
        act(context, end, woken).await
    };
    let Some(terms) = flags.terms() else { return work.await };
    let namespace = context.settings.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| context.client.default_namespace().to_owned());
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "volsync-controller".to_owned());
    let candidate = Candidate::new(&context.client, &namespace, format!("{host}_{}", unique()?), terms);
    let mut ended = Ok(());
    Box::pin(candidate.lead(end.cancelled(), async { ended = work.await })).await?;
    ended
}

/// Sixteen digits that no other controller has.
fn unique() -> Result<String, Failure> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

async fn act(
    context: &Arc<Context>,
    end: &CancellationToken,
    (sources, destinations): (Receiver<Key>, Receiver<Key>),
) -> Result<(), Failure> {
    let snapshots = has_snapshots(&context.client).await?;
    if context.openshift {
        constraint::bring(&context.client, &context.settings.constraint).await;
    }
    if context.seats.limited() {
        // Whoever began under another controller has a seat, before anybody else can take it.
        seat_running::<Source>(context).await?;
        seat_running::<Destination>(context).await?;
    }
    tokio::join!(
        watch::<Source>(context, end, snapshots, sources),
        watch::<Destination>(context, end, snapshots, destinations),
        async {
            if snapshots {
                populate::run(&context.client, end).await;
            }
        }
    );
    Ok(())
}

async fn seat_running<K: Replicated>(context: &Context) -> Result<(), Failure> {
    let all: Api<Replication<K>> = Api::all(context.client.clone());
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let found = all.list(&page).await?;
        let next = found.metadata.continue_.clone().filter(|token| !token.is_empty());
        for replication in found {
            let Selection::Mover(method) = select(&K::configured(&replication.spec)) else { continue };
            let mut status = replication.status.clone().unwrap_or_default();
            if K::takes_seat(method) && phase(K::sync(&mut status)) == Phase::Synchronizing {
                let (namespace, name) = (replication.namespace().unwrap_or_default(), replication.name_any());
                context.seats.keep(&Key { kind: K::KIND, namespace, name });
            }
        }
        let Some(token) = next else { return Ok(()) };
        page = page.continue_token(&token);
    }
}

async fn is_openshift(client: &Client) -> Result<bool, kube::Error> {
    let groups = client.list_api_groups().await?.groups;
    Ok(groups.iter().any(|group| group.name == "security.openshift.io"))
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

async fn watch<K: Replicated>(
    context: &Arc<Context>,
    end: &CancellationToken,
    snapshots: bool,
    mut woken: Receiver<Key>,
) {
    let all: Api<Replication<K>> = Api::all(context.client.clone());
    let config = controller::Config::default().concurrency(WAITING);
    // Also what is deleted, to be forgotten.
    let (store, writer) = reflector::store();
    let all = events(all, watcher::Config::default()).modify(|replication| forget_history(&mut replication.metadata));
    let changes = reflector(writer, all).touched_objects();
    let mut controller = Controller::for_stream(changes, store)
        .with_config(config)
        .trigger_backoff(NoWait)
        .graceful_shutdown_on(end.clone().cancelled_owned());
    controller = leaves::<K, Job>(controller, context);
    controller = leaves::<K, PersistentVolumeClaim>(controller, context);
    controller = owns::<K, Service>(controller, context);
    controller = owns::<K, Secret>(controller, context);
    controller = owns::<K, ServiceAccount>(controller, context);
    controller = owns::<K, Role>(controller, context);
    controller = owns::<K, RoleBinding>(controller, context);
    if snapshots {
        controller = leaves::<K, VolumeSnapshot>(controller, context);
    }
    controller = watch_copy_triggers::<K>(controller, context);
    controller = controller.reconcile_on(
        stream::poll_fn(move |task| woken.poll_recv(task))
            .map(|key: Key| ObjectRef::new(&key.name).within(&key.namespace)),
    );
    let (store, turns) = (controller.store(), Arc::new(Semaphore::new(CONCURRENCY)));
    let in_turn = |replication: Arc<Replication<K>>, context| {
        let (store, turns, end) = (store.clone(), turns.clone(), end.clone());
        async move {
            let _turn = turns.acquire_owned().await;
            // As it is by now. Whoever waits takes little memory.
            match store.get(&ObjectRef::from_obj(&*replication)) {
                Some(replication) if !end.is_cancelled() => Box::pin(reconcile::<K>(replication, context)).await,
                _ => Ok(Action::await_change()),
            }
        }
    };
    let results =
        controller.run(in_turn, |replication, _, context| after_error(&replication, &context), context.clone());
    results
        .for_each(|result| async {
            match result {
                Ok(_) => {}
                Err(controller::Error::ObjectNotFound(gone)) => {
                    context.forget::<K>(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
                }
                Err(controller::Error::QueueError(error)) => {
                    tracing::info!(kind = K::KIND, %error, "a watch begins anew");
                }
                Err(error) => tracing::warn!(kind = K::KIND, %error, "a reconcile ended early"),
            }
        })
        .await;
}

/// Who wrote which field, and what was written before: longer than what was written, and of no use here.
fn forget_history(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// Looks again when what is owned changes. All that is asked for of it is whose it is.
fn owns<K: Replicated, C: Namespaced + Send + 'static>(
    controller: Controller<Replication<K>>,
    context: &Context,
) -> Controller<Replication<K>> {
    controller.owns_stream(touched::<C>(&context.client, ours()))
}

/// The same of what a sync may leave behind. It is noted before anybody looks.
fn leaves<K: Replicated, C: Namespaced + Send + 'static>(
    controller: Controller<Replication<K>>,
    context: &Context,
) -> Controller<Replication<K>> {
    let leftovers = context.leftovers.clone();
    let told = watched::<C>(&context.client, ours()).inspect_ok(move |event| leftovers.saw::<K, C>(event));
    controller.owns_stream(told.touched_objects())
}

fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={}", CREATED_BY.0, CREATED_BY.1))
}

/// Looks again when a claim changes whose user says when it may be copied. The claims themselves are not kept.
fn watch_copy_triggers<K: Replicated>(
    controller: Controller<Replication<K>>,
    context: &Context,
) -> Controller<Replication<K>> {
    let store = controller.store();
    let claims = touched::<PersistentVolumeClaim>(&context.client, watcher::Config::default());
    controller.watches_stream(claims, move |claim| replications_of(&store, &claim))
}

fn replications_of<K: Replicated>(
    store: &Store<Replication<K>>,
    claim: &PartialObjectMeta<PersistentVolumeClaim>,
) -> Vec<ObjectRef<Replication<K>>> {
    if !claim.annotations().contains_key(USE_COPY_TRIGGER) {
        return Vec::new();
    }
    let of_claim = |replication: &Replication<K>| {
        replication.metadata.namespace == claim.metadata.namespace
            && K::gated_claim(&replication.spec) == claim.metadata.name.as_deref()
    };
    store
        .state()
        .iter()
        .filter(|replication| of_claim(replication))
        .map(|found| ObjectRef::from_obj(&**found))
        .collect()
}

/// All that fails a reconcile is the write of its status. Most often somebody else has written in between, which is a
/// change that starts the next look anyway; otherwise the API server is in trouble, and is asked less and less.
fn after_error<K: Replicated>(replication: &Replication<K>, context: &Context) -> Action {
    Action::requeue(context.back_off.next(replication.metadata.uid.as_deref().unwrap_or_default()))
}

/// Where those are woken who wait for a seat, or whose movers tell something: one channel of keys, told apart by kind.
fn wake_up() -> (Sender<Key>, (Receiver<Key>, Receiver<Key>)) {
    let (wake, mut woken) = channel::<Key>(WOKEN);
    let (source, sources) = channel(WOKEN);
    let (destination, destinations) = channel(WOKEN);
    tokio::spawn(async move {
        while let Some(key) = woken.recv().await {
            let to = if key.kind == Source::KIND { &source } else { &destination };
            if to.send(key).await.is_err() {
                return;
            }
        }
    });
    (wake, (sources, destinations))
}
