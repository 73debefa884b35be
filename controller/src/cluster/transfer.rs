//! A transfer: from a volume and what is asked for to a Job. The same for every method and either end; what differs is in
//! [`Means`].

use super::{
    Progress, Trouble,
    copy::name_of,
    hands::Hands,
    job,
    pass::Pass,
    peer::{self, Published},
    pull, rclone,
    wants::{Means, Wants},
};
use crate::{
    api::{CopyMethod, MoverStatus, non_empty},
    machine::Method,
    objects::{
        account::account,
        job::{JobFrame, Placement},
        names::Direction,
        placement::placement,
        rclone::{RcloneMover, Remote},
        rsync::{End, RsyncMover, RsyncTlsMover},
        volumes::Data,
    },
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Node, PersistentVolumeClaim, Pod, Secret, ServiceAccount},
};
use kube::{Api, api::ListParams};
use std::collections::{BTreeMap, BTreeSet};

/// One end of a replication.
pub(super) struct Transfer<'a, V> {
    pub(super) pass: &'a Pass<'a>,
    pub(super) direction: Direction,
    pub(super) wants: Wants<'a, V>,
    /// How the volume is kept or copied. If it is not, it may be in use.
    pub(super) copy_method: Option<CopyMethod>,
}

/// What a Job gets that was found out or made in the cluster.
enum Ready {
    /// Keys of the remote's secret.
    Rclone(BTreeSet<String>),
    /// Name of the secret with this end's keys.
    Rsync(String),
}

impl<V> Transfer<'_, V> {
    /// Checks what the user has brought, before anything is made.
    pub(super) async fn check(&self) -> Result<(), Trouble> {
        match self.wants.means {
            Means::Rclone(asked) => rclone::check_remote(self.pass.hands, asked).await.map(drop),
            Means::Rsync(_) => Ok(()),
        }
    }

    /// Moves the data of a claim.
    pub(super) async fn run(
        &self,
        claim: &PersistentVolumeClaim,
        published: &mut Published,
        mover: &mut MoverStatus,
    ) -> Result<Progress, Trouble> {
        let Some(ready) = self.ready(published).await? else { return Ok(Progress::Pending) };
        let account = self.account().await?;
        self.check_volumes().await?;
        let placement = self.placement(claim).await?;
        let frame = JobFrame {
            owner: self.pass.hands.owner,
            account: &account,
            paused: self.pass.paused,
            debug: self.pass.debug,
            placement: &placement,
        };
        let job = self.job(&frame, &ready, claim)?;
        job::follow(self.pass, self.wants.method, self.direction, &job, mover).await
    }

    async fn ready(&self, published: &mut Published) -> Result<Option<Ready>, Trouble> {
        let (hands, method, direction) = (self.pass.hands, self.wants.method, self.direction);
        match &self.wants.means {
            Means::Rclone(asked) => {
                let keys = rclone::check_remote(hands, asked).await?;
                let remote = Remote::of(asked).map_err(|error| Trouble::user(&error))?;
                rclone::check_ca(hands, remote.custom_ca).await?;
                Ok(Some(Ready::Rclone(keys)))
            }
            Means::Rsync(asked) => {
                if !peer::listen(hands, method, direction, asked, published).await? {
                    return Ok(None);
                }
                Ok(peer::secret(hands, method, direction, asked, published).await?.map(Ready::Rsync))
            }
        }
    }

    fn job(&self, frame: &JobFrame<'_>, ready: &Ready, claim: &PersistentVolumeClaim) -> Result<Job, Trouble> {
        let data = match self.direction {
            Direction::Source => Data::of_source(claim),
            Direction::Destination => Data::of_destination(claim),
        };
        let data = data.ok_or_else(|| Trouble::User("the claim has no name".to_owned()))?;
        let (settings, wants) = (self.pass.settings, &self.wants);
        let (options, pod, privileged) = (wants.options, wants.pod, self.pass.privileged);
        Ok(match (&wants.means, ready) {
            (Means::Rclone(asked), Ready::Rclone(secret_keys)) => RcloneMover {
                direction: self.direction,
                image: &settings.images.rclone,
                remote: Remote::of(asked).map_err(|error| Trouble::user(&error))?,
                secret_keys,
                proxies: &settings.proxies,
                privileged,
                data,
                options,
                pod,
            }
            .job(frame),
            (Means::Rsync(asked), Ready::Rsync(keys)) => {
                let end = match self.direction {
                    Direction::Source => End::Source(asked.address),
                    Direction::Destination => End::Destination,
                };
                if wants.method == Method::Rsync {
                    return Ok(RsyncMover { end, image: &settings.images.rsync, keys, data, options }.job(frame));
                }
                let openshift = self.pass.openshift;
                RsyncTlsMover {
                    end,
                    image: &settings.images.rsync_tls,
                    key: keys,
                    privileged,
                    openshift,
                    data,
                    options,
                    pod,
                }
                .job(frame)
            }
            _ => return Err(Trouble::User("what was prepared belongs to another method".to_owned())),
        })
    }

    /// The account of the pod: the user's, or one that is made.
    async fn account(&self) -> Result<String, Trouble> {
        let hands = self.pass.hands;
        if let Some(name) = non_empty(self.wants.options.mover_service_account.as_ref()) {
            hands.expect::<ServiceAccount>(name).await?;
            return Ok(name.to_owned());
        }
        // The daemon of SSH is root whatever the namespace says.
        let root = self.pass.privileged || self.wants.method == Method::Rsync;
        let constraint = root.then_some(self.pass.settings.constraint.as_str());
        let pull_secrets = pull::copies(hands, self.pass.settings).await?;
        let wanted = account(&hands.owner, self.direction, constraint, &pull_secrets);
        hands.keep(&wanted.role).await?;
        hands.keep(&wanted.binding).await?;
        let (made, _) = hands.keep(&wanted.account).await?;
        Ok(name_of(made.metadata.name.as_ref()))
    }

    async fn check_volumes(&self) -> Result<(), Trouble> {
        let hands = self.pass.hands;
        for volume in self.wants.pod.mover_volumes.iter().flatten() {
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
    async fn placement(&self, claim: &PersistentVolumeClaim) -> Result<Placement, Trouble> {
        let hands = self.pass.hands;
        let direct = matches!(self.copy_method, Some(CopyMethod::Direct | CopyMethod::None));
        let mut claims: Vec<PersistentVolumeClaim> = direct.then(|| claim.clone()).into_iter().collect();
        for volume in self.wants.pod.mover_volumes.iter().flatten() {
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
