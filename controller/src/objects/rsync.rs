//! The movers of rsync: over SSH and over TLS. They differ in ports, keys, and in whom they run as.

use super::{
    job::{JobFrame, Mover, variable},
    names::{self, Direction},
    volumes::{self, Data},
};
use crate::{
    api::{MoverOptions, PodOptions},
    machine::Method,
};
use k8s_openapi::api::{batch::v1::Job, core::v1::EnvVar};
use std::collections::BTreeMap;

/// SSH's daemon separates privileges and sets owners; it cannot run without these.
const SSH_CAPABILITIES: [&str; 7] =
    ["AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "SYS_CHROOT"];

const TLS_CAPABILITIES: [&str; 4] = ["DAC_OVERRIDE", "CHOWN", "FOWNER", "SETGID"];

/// Labels of the pod by which its Service finds it.
pub(super) fn selector(method: Method, direction: Direction, name: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", names::selector(direction, name)),
        ("app.kubernetes.io/component", format!("{method}-mover")),
        ("app.kubernetes.io/part-of", "volsync".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// Where a source connects to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address<'a> {
    /// The host.
    pub host: Option<&'a str>,
    /// The port, if it is not the usual one.
    pub port: Option<i32>,
}

/// Which end of a replication a mover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<'a> {
    /// It connects.
    Source(Address<'a>),
    /// It listens.
    Destination,
}

impl End<'_> {
    /// The direction of data.
    pub fn direction(&self) -> Direction {
        match self {
            Self::Source(_) => Direction::Source,
            Self::Destination => Direction::Destination,
        }
    }
}

/// The mover of rsync over SSH.
#[derive(Clone, Copy, Debug)]
pub struct RsyncMover<'a> {
    /// Which end.
    pub end: End<'a>,
    /// The image.
    pub image: &'a str,
    /// The secret with this end's keys.
    pub keys: &'a str,
    /// The volume.
    pub data: Data<'a>,
    /// What the user wants of the pod.
    pub options: &'a MoverOptions,
}

impl RsyncMover<'_> {
    /// The Job. It is privileged whatever the namespace says, as SSH's daemon has to be.
    pub fn job(&self, frame: &JobFrame<'_>) -> Job {
        let direction = self.end.direction();
        let name = frame.owner.name;
        let mut environment = match self.end {
            // A port without a host says nothing.
            End::Source(address) => address.host.map_or_else(Vec::new, |_| connection(address)),
            End::Destination => Vec::new(),
        };
        environment.extend(frame.debug.then(|| variable("DEBUG_MOVER", "1")));
        frame.job(
            names::job(Method::Rsync, direction, name),
            &Mover {
                container: "rsync",
                script: match direction {
                    Direction::Source => "/mover-rsync/source.sh",
                    Direction::Destination => "/mover-rsync/destination.sh",
                },
                image: self.image,
                environment,
                capabilities: &SSH_CAPABILITIES,
                root: true,
                data: self.data,
                volumes: vec![
                    volumes::secret("keys", self.keys, "/keys"),
                    volumes::memory("tempsshdir", "/root/.ssh"),
                    volumes::memory("tempdir", "/tmp"),
                ],
                selector: selector(Method::Rsync, direction, name),
                options: self.options,
                pod: None,
            },
        )
    }
}

/// The mover of rsync over TLS.
#[derive(Clone, Copy, Debug)]
pub struct RsyncTlsMover<'a> {
    /// Which end.
    pub end: End<'a>,
    /// The image.
    pub image: &'a str,
    /// The secret with the pre-shared key.
    pub key: &'a str,
    /// Whether the namespace allows a mover that is root.
    pub privileged: bool,
    /// Whether the cluster is OpenShift, where upstream sets the lowest version of TLS.
    pub openshift: bool,
    /// The volume.
    pub data: Data<'a>,
    /// What the user wants of the pod.
    pub options: &'a MoverOptions,
    /// And besides.
    pub pod: &'a PodOptions,
}

impl RsyncTlsMover<'_> {
    /// The Job.
    pub fn job(&self, frame: &JobFrame<'_>) -> Job {
        let direction = self.end.direction();
        let name = frame.owner.name;
        let mut volumes = vec![volumes::secret("keys", self.key, "/keys"), volumes::memory("tempdir", "/tmp")];
        volumes.extend(self.pod.mover_volumes.iter().flatten().map(volumes::mover_volume));
        frame.job(
            names::job(Method::RsyncTls, direction, name),
            &Mover {
                container: "rsync-tls",
                script: match direction {
                    Direction::Source => "/mover-rsync-tls/client.sh",
                    Direction::Destination => "/mover-rsync-tls/server.sh",
                },
                image: self.image,
                environment: self.environment(frame.debug),
                capabilities: if self.privileged { &TLS_CAPABILITIES } else { &[] },
                root: self.privileged,
                data: self.data,
                volumes,
                selector: selector(Method::RsyncTls, direction, name),
                options: self.options,
                pod: Some(self.pod),
            },
        )
    }

    fn environment(&self, debug: bool) -> Vec<EnvVar> {
        let mut all = match self.end {
            End::Source(address) => connection(address),
            End::Destination => Vec::new(),
        };
        all.push(variable("PRIVILEGED_MOVER", if self.privileged { "1" } else { "0" }));
        all.extend(self.openshift.then(|| variable("SSL_VERSION_MIN", "TLSv1.3")));
        all.extend(debug.then(|| variable("DEBUG_MOVER", "1")));
        all
    }
}

fn connection(address: Address<'_>) -> Vec<EnvVar> {
    let host = address.host.map(|host| variable("DESTINATION_ADDRESS", host));
    let port = address.port.map(|port| variable("DESTINATION_PORT", port.to_string()));
    host.into_iter().chain(port).collect()
}
