//! Volumes of a mover's pod, and where its container sees them.

use crate::api::MoverVolume;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource,
    SecretVolumeSource, Volume, VolumeDevice, VolumeMount,
};

/// Mode of the files of a secret: its owner alone reads them.
const SECRET_MODE: i32 = 0o600;

/// The volume whose data is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// Its claim.
    pub claim: &'a str,
    /// Whether it is a device and not a file system.
    pub block: bool,
    /// Whether it can only be read.
    pub read_only: bool,
}

impl<'a> Data<'a> {
    /// The volume that a source reads.
    pub fn of_source(claim: &'a PersistentVolumeClaim) -> Option<Self> {
        let bound = claim.status.as_ref().and_then(|status| status.access_modes.as_deref());
        let asked = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref());
        let read_only = bound.filter(|modes| !modes.is_empty()).or(asked) == Some(&["ReadOnlyMany".to_owned()]);
        Some(Self { read_only, ..Self::of_destination(claim)? })
    }

    /// The volume that a destination writes.
    pub fn of_destination(claim: &'a PersistentVolumeClaim) -> Option<Self> {
        let mode = claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref());
        Some(Self { claim: claim.metadata.name.as_deref()?, block: mode == Some("Block"), read_only: false })
    }

    pub(super) fn mounted(&self) -> Mounted {
        let claim = PersistentVolumeClaimVolumeSource {
            claim_name: self.claim.to_owned(),
            read_only: self.read_only.then_some(true),
        };
        let volume = Volume { persistent_volume_claim: Some(claim), ..named("data") };
        if self.block {
            let device = VolumeDevice { name: "data".to_owned(), device_path: "/dev/block".to_owned() };
            return Mounted { volume, mount: None, device: Some(device) };
        }
        Mounted::at(volume, "/data")
    }
}

/// A volume of the pod, and how its container sees it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mounted {
    pub(super) volume: Volume,
    pub(super) mount: Option<VolumeMount>,
    pub(super) device: Option<VolumeDevice>,
}

impl Mounted {
    fn at(volume: Volume, path: &str) -> Self {
        let mount = VolumeMount { name: volume.name.clone(), mount_path: path.to_owned(), ..VolumeMount::default() };
        Self { volume, mount: Some(mount), device: None }
    }
}

/// A directory in memory, which counts as memory of the pod.
pub(super) fn memory(name: &str, path: &str) -> Mounted {
    let source = EmptyDirVolumeSource { medium: Some("Memory".to_owned()), size_limit: None };
    Mounted::at(Volume { empty_dir: Some(source), ..named(name) }, path)
}

/// A whole secret, one file for each key.
pub(super) fn secret(name: &str, secret: &str, path: &str) -> Mounted {
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        default_mode: Some(SECRET_MODE),
        ..SecretVolumeSource::default()
    };
    Mounted::at(Volume { secret: Some(source), ..named(name) }, path)
}

/// Where a certificate authority is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaSource<'a> {
    /// In a secret of this name.
    Secret(&'a str),
    /// In a ConfigMap of this name.
    ConfigMap(&'a str),
}

/// One key of a secret or a ConfigMap, as `/customCA/ca.crt`.
pub(super) fn custom_ca(source: CaSource<'_>, key: &str) -> Mounted {
    let items = Some(vec![KeyToPath { key: key.to_owned(), path: "ca.crt".to_owned(), mode: None }]);
    let volume = match source {
        CaSource::Secret(name) => {
            let secret =
                SecretVolumeSource { secret_name: Some(name.to_owned()), items, ..SecretVolumeSource::default() };
            Volume { secret: Some(secret), ..named("custom-ca") }
        }
        CaSource::ConfigMap(name) => {
            let map = ConfigMapVolumeSource { name: name.to_owned(), items, ..ConfigMapVolumeSource::default() };
            Volume { config_map: Some(map), ..named("custom-ca") }
        }
    };
    Mounted::at(volume, "/customCA")
}

/// A user's volume, below `/mnt`.
pub(super) fn mover_volume(asked: &MoverVolume) -> Mounted {
    let source = asked.volume_source.clone();
    let volume = Volume {
        secret: source.secret,
        nfs: source.nfs,
        persistent_volume_claim: source.persistent_volume_claim,
        ..named(&format!("u-{}", asked.mount_path.replace('/', "-")))
    };
    Mounted::at(volume, &format!("/mnt/{}", asked.mount_path))
}

fn named(name: &str) -> Volume {
    Volume { name: name.to_owned(), ..Volume::default() }
}
