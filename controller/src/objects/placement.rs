//! Where a mover has to run when it uses a volume that others use already: most volumes can be on one node at a time.

use super::job::Placement;
use crate::labels::CREATED_BY;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec};
use std::collections::BTreeMap;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// Why no node can be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNode {
    /// The pod that uses the volume has none yet.
    #[error("pod {pod} uses the volume {claim} and has no node yet")]
    Unscheduled {
        /// The pod.
        pod: String,
        /// The claim.
        claim: String,
    },
    /// Its node does not say its name.
    #[error("node {0} has no label {HOSTNAME}")]
    Unnamed(String),
}

/// The placement that a claim's users demand, none if there are no users or the volume can be everywhere. `pods` are those
/// of the claim's namespace; `hostname` is the value of the label [`HOSTNAME`] of a node.
pub fn placement(
    claim: &PersistentVolumeClaim,
    pods: &[Pod],
    hostname: impl Fn(&str) -> Option<String>,
) -> Result<Placement, NoNode> {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let everywhere = claim.status.as_ref().and_then(|status| status.access_modes.as_ref());
    if everywhere.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteMany")) {
        return Ok(Placement::default());
    }
    let Some((pod, spec)) = user_of(name, pods) else { return Ok(Placement::default()) };
    let node = spec.node_name.as_deref().filter(|node| !node.is_empty()).ok_or_else(|| NoNode::Unscheduled {
        pod: pod.metadata.name.clone().unwrap_or_default(),
        claim: name.to_owned(),
    })?;
    let hostname = hostname(node).ok_or_else(|| NoNode::Unnamed(node.to_owned()))?;
    Ok(Placement {
        node_selector: Some(BTreeMap::from([(HOSTNAME.to_owned(), hostname)])),
        tolerations: spec.tolerations.clone().unwrap_or_default(),
    })
}

/// The last running pod that uses the claim and is not ours, or the first that waits to run.
fn user_of<'a>(claim: &str, pods: &'a [Pod]) -> Option<(&'a Pod, &'a PodSpec)> {
    let users = pods.iter().filter(|pod| !is_ours(pod)).filter_map(|pod| Some((pod, pod.spec.as_ref()?)));
    let users: Vec<_> = users.filter(|(_, spec)| uses(spec, claim)).collect();
    let in_phase = |phase: &'static str| users.iter().filter(move |(pod, _)| phase_of(pod) == Some(phase));
    in_phase("Running").next_back().or_else(|| in_phase("Pending").next()).copied()
}

fn is_ours(pod: &Pod) -> bool {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(CREATED_BY.0));
    label.is_some_and(|value| value == CREATED_BY.1)
}

fn phase_of(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

fn uses(spec: &PodSpec, claim: &str) -> bool {
    let claims = spec.volumes.iter().flatten().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.into_iter().any(|source| source.claim_name == claim)
}
