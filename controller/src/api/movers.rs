//! What is asked of each mover and of its pod.

use super::{DestinationVolume, SourceVolume, terse};
use k8s_openapi::api::core::v1::{
    Affinity, NFSVolumeSource, PersistentVolumeClaimVolumeSource, PodSecurityContext, ResourceRequirements,
    SecretVolumeSource, Toleration,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What every mover's pod can be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoverOptions {
    /// A service account that exists already; no other is made then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mover_service_account: Option<String>,
    /// Labels added to the pod, which may replace those of VolSync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mover_pod_labels: Option<BTreeMap<String, String>>,
    /// Resources of the mover's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = terse)]
    pub mover_resources: Option<Box<ResourceRequirements>>,
    /// Tolerations of the mover's pod. Upstream has this field since September 2026.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = terse)]
    pub mover_tolerations: Option<Vec<Toleration>>,
}

/// What the pods of rclone and of rsync over TLS can be told besides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodOptions {
    /// Security context of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = terse)]
    pub mover_security_context: Option<Box<PodSecurityContext>>,
    /// Where the pod may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = terse)]
    pub mover_affinity: Option<Box<Affinity>>,
    /// More volumes, mounted below `/mnt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mover_volumes: Option<Vec<MoverVolume>>,
}

/// A volume that is mounted into the mover's pod besides the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoverVolume {
    /// Name of the directory below `/mnt`.
    pub mount_path: String,
    /// What is mounted.
    pub volume_source: MoverVolumeSource,
}

/// What a mover's volume is. One of the fields is expected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoverVolumeSource {
    /// A secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = terse)]
    pub secret: Option<SecretVolumeSource>,
    /// A directory of an NFS server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = terse)]
    pub nfs: Option<NFSVolumeSource>,
    /// A claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = terse)]
    pub persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
}

/// Where a certificate authority is found. Used only with a key and one of the names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomCa {
    /// A secret that holds it. Wins over the ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// A ConfigMap that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_name: Option<String>,
    /// The key within either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Where rclone's remote is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rclone {
    /// Secret with `rclone.conf`, and with `RCLONE_*` variables if wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rclone_config: Option<String>,
    /// Name of the remote in `rclone.conf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rclone_config_section: Option<String>,
    /// Path below the remote: a bucket, and a prefix if wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rclone_dest_path: Option<String>,
    /// A certificate authority to trust besides the usual ones.
    #[serde(rename = "customCA", skip_serializing_if = "Option::is_none")]
    pub custom_ca: Option<CustomCa>,
}

/// Push a volume to a place that rclone can reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RcloneSource {
    /// The volume.
    #[serde(flatten)]
    pub volume: SourceVolume,
    /// The place.
    #[serde(flatten)]
    pub rclone: Rclone,
    /// The pod.
    #[serde(flatten)]
    pub mover: MoverOptions,
    /// The pod's surroundings.
    #[serde(flatten)]
    pub pod: PodOptions,
}

/// Send a volume with rsync over SSH.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RsyncSource {
    /// The volume.
    #[serde(flatten)]
    pub volume: SourceVolume,
    /// Secret with the keys; one is made if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_keys: Option<String>,
    /// Type of the service, `ClusterIP` if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_type: Option<String>,
    /// Host to connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Port to connect to, 22 if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub port: Option<i32>,
    /// Ignored, as upstream does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Ignored: the mover connects as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_user: Option<String>,
    /// The pod.
    #[serde(flatten)]
    pub mover: MoverOptions,
}

/// Send a volume with rsync over TLS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RsyncTlsSource {
    /// The volume.
    #[serde(flatten)]
    pub volume: SourceVolume,
    /// Secret with the pre-shared key in `psk.txt`; one is made if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<String>,
    /// Host to connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Port to connect to, 8000 if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub port: Option<i32>,
    /// The pod.
    #[serde(flatten)]
    pub mover: MoverOptions,
    /// The pod's surroundings.
    #[serde(flatten)]
    pub pod: PodOptions,
}

/// Fill a volume from a place that rclone can reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RcloneDestination {
    /// The volume.
    #[serde(flatten)]
    pub volume: DestinationVolume,
    /// The place.
    #[serde(flatten)]
    pub rclone: Rclone,
    /// The pod.
    #[serde(flatten)]
    pub mover: MoverOptions,
    /// The pod's surroundings.
    #[serde(flatten)]
    pub pod: PodOptions,
}

/// Receive a volume with rsync over SSH.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RsyncDestination {
    /// The volume.
    #[serde(flatten)]
    pub volume: DestinationVolume,
    /// Mode of the volume that is made: `Filesystem` (the default) or `Block`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_mode: Option<String>,
    /// Secret with the keys; one is made if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_keys: Option<String>,
    /// Type of the service, `ClusterIP` if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_type: Option<String>,
    /// Annotations of the service, instead of `service.beta.kubernetes.io/aws-load-balancer-type: nlb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_annotations: Option<BTreeMap<String, String>>,
    /// Where this is reachable, if no service is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Port of the service, 22 if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub port: Option<i32>,
    /// Ignored, as upstream does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Ignored: the mover connects as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_user: Option<String>,
    /// The pod.
    #[serde(flatten)]
    pub mover: MoverOptions,
}

/// Receive a volume with rsync over TLS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RsyncTlsDestination {
    /// The volume.
    #[serde(flatten)]
    pub volume: DestinationVolume,
    /// Mode of the volume that is made: `Filesystem` (the default) or `Block`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_mode: Option<String>,
    /// Type of the service, `ClusterIP` if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_type: Option<String>,
    /// Annotations of the service, instead of `service.beta.kubernetes.io/aws-load-balancer-type: nlb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_annotations: Option<BTreeMap<String, String>>,
    /// Secret with the pre-shared key in `psk.txt`; one is made if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<String>,
    /// The pod.
    #[serde(flatten)]
    pub mover: MoverOptions,
    /// The pod's surroundings.
    #[serde(flatten)]
    pub pod: PodOptions,
}
