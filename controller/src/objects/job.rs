//! The Job of a mover: what all methods have in common.
//!
//! Source: `docs/compat-volsync.md`, section "Jobs".

use super::{
    owner::{Owner, created_by},
    volumes::{Data, Mounted},
};
use crate::api::{MoverOptions, PodOptions};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            Capabilities, Container, EnvVar, PodSecurityContext, PodSpec, PodTemplateSpec, SecurityContext, Toleration,
        },
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::collections::BTreeMap;

/// Pods that may fail before the Job has. Upstream's value.
const BACKOFF_LIMIT: i32 = 2;

/// Where the pod has to run, found out from the pods that use the volume already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// Labels of the node.
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints of nodes that the pod bears.
    pub tolerations: Vec<Toleration>,
}

/// What a method's mover is made of.
#[derive(Clone, Debug)]
pub(super) struct Mover<'a> {
    /// Name of the container.
    pub(super) container: &'static str,
    /// Path of the script that the image starts with.
    pub(super) script: &'static str,
    pub(super) image: &'a str,
    pub(super) environment: Vec<EnvVar>,
    pub(super) capabilities: &'static [&'static str],
    /// Whether the container runs as root, whatever the pod's security context says.
    pub(super) root: bool,
    pub(super) data: Data<'a>,
    pub(super) volumes: Vec<Mounted>,
    /// Labels by which a Service finds the pod.
    pub(super) selector: BTreeMap<String, String>,
    pub(super) options: &'a MoverOptions,
    pub(super) pod: Option<&'a PodOptions>,
}

/// What does not depend on the method.
#[derive(Clone, Copy, Debug)]
pub struct JobFrame<'a> {
    /// The replication.
    pub owner: Owner<'a>,
    /// The service account of the pod.
    pub account: &'a str,
    /// Whether no pod may run.
    pub paused: bool,
    /// Whether the mover waits to be looked at.
    pub debug: bool,
    /// Where the pod has to run.
    pub placement: &'a Placement,
}

impl JobFrame<'_> {
    /// The Job. `name` is also the pod template's.
    pub(super) fn job(&self, name: String, mover: &Mover<'_>) -> Job {
        let template = PodTemplateSpec {
            metadata: Some(ObjectMeta {
                name: Some(name.clone()),
                labels: Some(pod_labels(mover)),
                ..ObjectMeta::default()
            }),
            spec: Some(self.pod(mover)),
        };
        Job {
            metadata: self.owner.temporary(name),
            spec: Some(JobSpec {
                backoff_limit: Some(BACKOFF_LIMIT),
                parallelism: Some(i32::from(!self.paused)),
                template,
                ..JobSpec::default()
            }),
            status: None,
        }
    }

    fn pod(&self, mover: &Mover<'_>) -> PodSpec {
        let tolerations = tolerations(self.placement, mover.options);
        PodSpec {
            restart_policy: Some("Never".to_owned()),
            service_account_name: Some(self.account.to_owned()),
            security_context: mover
                .pod
                .and_then(|pod| pod.mover_security_context.as_deref().cloned())
                .map(quick_ownership),
            affinity: mover.pod.and_then(|pod| pod.mover_affinity.as_deref().cloned()),
            node_selector: self.placement.node_selector.clone(),
            tolerations: (!tolerations.is_empty()).then_some(tolerations),
            volumes: Some(mover.all_volumes().map(|mounted| mounted.volume).collect()),
            containers: vec![mover.container()],
            ..PodSpec::default()
        }
    }
}

impl Mover<'_> {
    fn container(&self) -> Container {
        let (mounts, devices): (Vec<_>, Vec<_>) =
            self.all_volumes().map(|mounted| (mounted.mount, mounted.device)).unzip();
        let devices: Vec<_> = devices.into_iter().flatten().collect();
        Container {
            name: self.container.to_owned(),
            image: Some(self.image.to_owned()),
            command: Some(["/bin/bash", "-c", self.script].map(str::to_owned).to_vec()),
            env: Some(self.environment.clone()),
            resources: Some(self.options.mover_resources.as_deref().cloned().unwrap_or_default()),
            security_context: Some(security(self.capabilities, self.root)),
            volume_mounts: Some(mounts.into_iter().flatten().collect()),
            volume_devices: (!devices.is_empty()).then_some(devices),
            ..Container::default()
        }
    }

    fn all_volumes(&self) -> impl Iterator<Item = Mounted> + '_ {
        std::iter::once(self.data.mounted()).chain(self.volumes.iter().cloned())
    }
}

/// The user's labels may replace ours.
fn pod_labels(mover: &Mover<'_>) -> BTreeMap<String, String> {
    let own = std::iter::once(created_by()).chain(mover.selector.clone());
    own.chain(mover.options.mover_pod_labels.clone().unwrap_or_default()).collect()
}

/// Those of the pods that use the volume, and the user's.
fn tolerations(placement: &Placement, options: &MoverOptions) -> Vec<Toleration> {
    let mut all = placement.tolerations.clone();
    all.extend(options.mover_tolerations.iter().flatten().filter(|own| !placement.tolerations.contains(own)).cloned());
    all
}

/// Without a policy, kubelet changes the group of every file of a volume each time a pod starts; for millions of files
/// that takes longer than the sync.
fn quick_ownership(mut context: PodSecurityContext) -> PodSecurityContext {
    if context.fs_group.is_some() && context.fs_group_change_policy.is_none() {
        context.fs_group_change_policy = Some("OnRootMismatch".to_owned());
    }
    context
}

fn security(capabilities: &[&str], root: bool) -> SecurityContext {
    let add: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
    SecurityContext {
        allow_privilege_escalation: Some(false),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { add: (!add.is_empty()).then_some(add), drop: Some(vec!["ALL".to_owned()]) }),
        run_as_user: root.then_some(0),
        ..SecurityContext::default()
    }
}

/// A variable with a value.
pub(super) fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}
