//! What a specification asks for, in the same words for every method.

use crate::{
    api::{
        DestinationVolume, MoverOptions, PodOptions, Rclone, ReplicationDestinationSpec, ReplicationSourceSpec,
        SourceVolume, non_empty,
    },
    machine::Method,
    objects::{rsync::Address, service::ServiceOptions},
};

/// Pods of rsync over SSH have none.
static NO_OPTIONS: PodOptions = PodOptions { mover_security_context: None, mover_affinity: None, mover_volumes: None };

/// What is asked for. `V` is the kind of volume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants<'a, V> {
    pub(super) method: Method,
    pub(super) volume: &'a V,
    /// Mode of the volume that a destination makes.
    pub(super) mode: Option<&'a str>,
    pub(super) options: &'a MoverOptions,
    pub(super) pod: &'a PodOptions,
    pub(super) means: Means<'a>,
}

/// What one method needs and others do not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Means<'a> {
    Rclone(&'a Rclone),
    Rsync(Peer<'a>),
}

/// The other end of rsync, over SSH or TLS, and how it gets here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer<'a> {
    /// Name of the user's secret. One is made if there is none.
    pub(super) keys: Option<&'a str>,
    /// Where a source connects to.
    pub(super) address: Address<'a>,
    /// What makes this end reachable, if anything does.
    pub(super) service: Option<ServiceOptions<'a>>,
}

impl<'a> Wants<'a, SourceVolume> {
    /// What is asked of a source. `None` if no method of ours is named.
    pub(super) fn of_source(spec: &'a ReplicationSourceSpec) -> Option<Self> {
        if let Some(asked) = &spec.rclone {
            return Some(Self {
                method: Method::Rclone,
                volume: &asked.volume,
                mode: None,
                options: &asked.mover,
                pod: &asked.pod,
                means: Means::Rclone(&asked.rclone),
            });
        }
        if let Some(asked) = &spec.rsync {
            let address = Address { host: non_empty(asked.address.as_ref()), port: asked.port };
            let service = ServiceOptions { kind: asked.service_type.as_ref(), annotations: None, port: asked.port };
            return Some(Self {
                method: Method::Rsync,
                volume: &asked.volume,
                mode: None,
                options: &asked.mover,
                pod: &NO_OPTIONS,
                means: Means::Rsync(Peer {
                    keys: non_empty(asked.ssh_keys.as_ref()),
                    address,
                    service: address.host.is_none().then_some(service),
                }),
            });
        }
        let asked = spec.rsync_tls.as_ref()?;
        Some(Self {
            method: Method::RsyncTls,
            volume: &asked.volume,
            mode: None,
            options: &asked.mover,
            pod: &asked.pod,
            means: Means::Rsync(Peer {
                keys: non_empty(asked.key_secret.as_ref()),
                address: Address { host: non_empty(asked.address.as_ref()), port: asked.port },
                service: None,
            }),
        })
    }
}

impl<'a> Wants<'a, DestinationVolume> {
    /// What is asked of a destination. `None` if no method of ours is named.
    pub(super) fn of_destination(spec: &'a ReplicationDestinationSpec) -> Option<Self> {
        if let Some(asked) = &spec.rclone {
            return Some(Self {
                method: Method::Rclone,
                volume: &asked.volume,
                mode: None,
                options: &asked.mover,
                pod: &asked.pod,
                means: Means::Rclone(&asked.rclone),
            });
        }
        if let Some(asked) = &spec.rsync {
            let service = ServiceOptions {
                kind: asked.service_type.as_ref(),
                annotations: asked.service_annotations.as_ref(),
                port: asked.port,
            };
            return Some(Self {
                method: Method::Rsync,
                volume: &asked.volume,
                mode: non_empty(asked.volume_mode.as_ref()),
                options: &asked.mover,
                pod: &NO_OPTIONS,
                means: Means::Rsync(Peer {
                    keys: non_empty(asked.ssh_keys.as_ref()),
                    address: Address::default(),
                    service: non_empty(asked.address.as_ref()).is_none().then_some(service),
                }),
            });
        }
        let asked = spec.rsync_tls.as_ref()?;
        let service = ServiceOptions {
            kind: asked.service_type.as_ref(),
            annotations: asked.service_annotations.as_ref(),
            port: None,
        };
        Some(Self {
            method: Method::RsyncTls,
            volume: &asked.volume,
            mode: non_empty(asked.volume_mode.as_ref()),
            options: &asked.mover,
            pod: &asked.pod,
            means: Means::Rsync(Peer {
                keys: non_empty(asked.key_secret.as_ref()),
                address: Address::default(),
                service: Some(service),
            }),
        })
    }
}
