//! A transfer with rclone: from what is asked for to a Job, and from the Job's end to a status.

use super::{
    Progress, Trouble,
    copy::name_of,
    hands::{Hands, Made},
};
use crate::{
    api::{CopyMethod, MoverOptions, MoverResult, MoverStatus, PodOptions, Rclone, non_empty},
    machine::logs::{self, Lines},
    objects::{
        account::account,
        job::{JobFrame, Placement},
        names::Direction,
        placement::placement,
        rclone::{CONFIG_KEY, RcloneMover, Remote},
        volumes::{CaSource, Data},
    },
    settings::Settings,
};
use k8s_openapi::{
    ByteString,
    api::{
        batch::v1::Job,
        core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Secret},
    },
};
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use std::collections::{BTreeMap, BTreeSet};

/// Pods of one Job that may fail before it is made again. Upstream's value.
const FAILED_PODS: i32 = 2;

/// How many lines of a log are read from its end. All that a status keeps is in fewer.
const TAIL_LINES: i64 = 4000;

/// What a user asks of a mover of rclone.
pub(super) struct Transfer<'a> {
    pub(super) direction: Direction,
    pub(super) rclone: &'a Rclone,
    pub(super) options: &'a MoverOptions,
    pub(super) pod: &'a PodOptions,
    /// How the volume of the other end is kept or copied; the volume itself may be in use.
    pub(super) copy_method: Option<CopyMethod>,
    pub(super) paused: bool,
    pub(super) debug: bool,
    pub(super) privileged: bool,
}

impl Transfer<'_> {
    /// Checks the remote, before anything is made for it. Gives the names of the keys of its secret.
    pub(super) async fn check(&self, hands: &Hands<'_>) -> Result<BTreeSet<String>, Trouble> {
        let remote = Remote::of(self.rclone).map_err(|error| Trouble::user(&error))?;
        let secret: Secret = hands.expect(remote.secret).await?;
        let keys: BTreeSet<String> = secret.data.into_iter().flatten().map(|(key, _)| key).collect();
        if keys.is_empty() {
            return Err(Trouble::User(format!("secret should have fields: [{CONFIG_KEY}]")));
        }
        if !keys.contains(CONFIG_KEY) {
            return Err(Trouble::User(format!("secret is missing field: {CONFIG_KEY}")));
        }
        Ok(keys)
    }

    /// Moves the data of a claim.
    pub(super) async fn run(
        &self,
        hands: &Hands<'_>,
        settings: &Settings,
        secret_keys: &BTreeSet<String>,
        claim: &PersistentVolumeClaim,
        mover: &mut MoverStatus,
    ) -> Result<Progress, Trouble> {
        let remote = Remote::of(self.rclone).map_err(|error| Trouble::user(&error))?;
        let account = self.account(hands, settings).await?;
        check_ca(hands, remote.custom_ca).await?;
        self.check_volumes(hands).await?;
        let placement = self.placement(hands, claim).await?;
        let data = match self.direction {
            Direction::Source => Data::of_source(claim),
            Direction::Destination => Data::of_destination(claim),
        };
        let job = RcloneMover {
            direction: self.direction,
            image: &settings.rclone_image,
            remote,
            secret_keys,
            proxies: &settings.proxies,
            privileged: self.privileged,
            data: data.ok_or_else(|| Trouble::User("the claim has no name".to_owned()))?,
            options: self.options,
            pod: self.pod,
        };
        let frame = JobFrame {
            owner: hands.owner,
            account: &account,
            paused: self.paused,
            debug: self.debug,
            placement: &placement,
        };
        follow(hands, &job.job(&frame), mover).await
    }

    /// The account of the pod: the user's, or one that is made.
    async fn account(&self, hands: &Hands<'_>, settings: &Settings) -> Result<String, Trouble> {
        if let Some(name) = non_empty(self.options.mover_service_account.as_ref()) {
            hands.expect::<k8s_openapi::api::core::v1::ServiceAccount>(name).await?;
            return Ok(name.to_owned());
        }
        let constraint = self.privileged.then_some(settings.constraint.as_str());
        let wanted = account(&hands.owner, self.direction, constraint, &[]);
        hands.keep(&wanted.role).await?;
        hands.keep(&wanted.binding).await?;
        let (made, _) = hands.keep(&wanted.account).await?;
        Ok(name_of(made.metadata.name.as_ref()))
    }

    async fn check_volumes(&self, hands: &Hands<'_>) -> Result<(), Trouble> {
        for volume in self.pod.mover_volumes.iter().flatten() {
            if let Some(claim) = &volume.volume_source.persistent_volume_claim {
                hands.expect::<PersistentVolumeClaim>(&claim.claim_name).await?;
            }
            if let Some(secret) = volume.volume_source.secret.as_ref().and_then(|source| source.secret_name.as_ref()) {
                hands.expect::<Secret>(secret).await?;
            }
        }
        Ok(())
    }

    /// Where the pod has to run: of the volume, if it is not a copy, and of the claims that are mounted besides, the first
    /// that says something.
    async fn placement(&self, hands: &Hands<'_>, claim: &PersistentVolumeClaim) -> Result<Placement, Trouble> {
        let direct = matches!(self.copy_method, Some(CopyMethod::Direct | CopyMethod::None));
        let mut claims: Vec<PersistentVolumeClaim> = direct.then(|| claim.clone()).into_iter().collect();
        for volume in self.pod.mover_volumes.iter().flatten() {
            if let Some(source) = &volume.volume_source.persistent_volume_claim {
                claims.push(hands.expect(&source.claim_name).await?);
            }
        }
        if claims.is_empty() {
            return Ok(Placement::default());
        }
        let pods = hands.api::<Pod>().list(&ListParams::default()).await?.items;
        let hostnames = hostnames(hands, &pods).await?;
        for claim in &claims {
            let found =
                placement(claim, &pods, |node| hostnames.get(node).cloned()).map_err(|error| Trouble::user(&error))?;
            if found != Placement::default() {
                return Ok(found);
            }
        }
        Ok(Placement::default())
    }
}

/// The names that the nodes of these pods give themselves.
async fn hostnames(hands: &Hands<'_>, pods: &[Pod]) -> Result<BTreeMap<String, String>, Trouble> {
    let nodes: BTreeSet<&String> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_ref()).collect();
    let api: Api<Node> = Api::all(hands.client.clone());
    let mut hostnames = BTreeMap::new();
    for node in nodes.into_iter().filter(|node| !node.is_empty()) {
        let found = api.get_metadata_opt(node).await?;
        let labels = found.and_then(|node| node.metadata.labels).unwrap_or_default();
        hostnames.extend(labels.get("kubernetes.io/hostname").map(|hostname| (node.clone(), hostname.clone())));
    }
    Ok(hostnames)
}

async fn check_ca(hands: &Hands<'_>, ca: Option<(CaSource<'_>, &str)>) -> Result<(), Trouble> {
    let (what, key, keys): (_, _, Vec<String>) = match ca {
        None => return Ok(()),
        Some((CaSource::Secret(name), key)) => {
            let secret: Secret = hands.expect(name).await?;
            let data: BTreeMap<String, ByteString> = secret.data.unwrap_or_default();
            ("secret", key, data.into_keys().collect())
        }
        Some((CaSource::ConfigMap(name), key)) => {
            let map: ConfigMap = hands.expect(name).await?;
            ("configmap", key, map.data.unwrap_or_default().into_keys().collect())
        }
    };
    if keys.is_empty() {
        return Err(Trouble::User(format!("{what} should have fields: [{key}]")));
    }
    if !keys.iter().any(|found| found == key) {
        return Err(Trouble::User(format!("{what} is missing field: {key}")));
    }
    Ok(())
}

/// Makes the Job as it is wanted, and follows it to its end. A Job that failed is deleted, which makes a new one.
async fn follow(hands: &Hands<'_>, wanted: &Job, mover: &mut MoverStatus) -> Result<Progress, Trouble> {
    let (job, made) = hands.ensure(wanted).await?;
    if made == Made::Now || job.metadata.deletion_timestamp.is_some() {
        return Ok(Progress::Pending);
    }
    let count =
        |of: fn(&k8s_openapi::api::batch::v1::JobStatus) -> Option<i32>| job.status.as_ref().and_then(of).unwrap_or(0);
    if count(|status| status.succeeded) > 0 {
        *mover = MoverStatus { result: Some(MoverResult::Successful), logs: log(hands, &job, Lines::Rclone).await };
        return Ok(Progress::Done);
    }
    if count(|status| status.failed) >= FAILED_PODS {
        *mover = MoverStatus { result: Some(MoverResult::Failed), logs: log(hands, &job, Lines::All).await };
        hands.delete(&job).await?;
        return Ok(Progress::Pending);
    }
    if let Err(error) = hands.keep(wanted).await {
        return Err(replace(hands, &job, error).await);
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

/// What is kept of the log of a Job's last pod. A log that cannot be read is no error of the sync.
async fn log(hands: &Hands<'_>, job: &Job, lines: Lines) -> Option<String> {
    let phase = if lines == Lines::All { ["Failed", "Running"] } else { ["Succeeded", "Succeeded"] };
    let selector = format!("job-name={}", name_of(job.metadata.name.as_ref()));
    let api = hands.api::<Pod>();
    let pods = api.list(&ListParams::default().labels(&selector)).await.ok()?.items;
    let newest = |phase: &str| {
        let of_phase =
            pods.iter().filter(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase));
        of_phase.max_by_key(|pod| pod.metadata.creation_timestamp.clone())
    };
    let pod = phase.iter().find_map(|phase| newest(phase))?;
    let parameters = LogParams { tail_lines: Some(TAIL_LINES), ..LogParams::default() };
    match api.logs(pod.metadata.name.as_deref()?, &parameters).await {
        Ok(log) => logs::excerpt(&log, lines),
        Err(error) => {
            tracing::warn!(job = job.metadata.name, %error, "the mover's log cannot be read");
            None
        }
    }
}
