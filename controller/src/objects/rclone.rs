//! The mover of rclone.

use super::{
    job::{JobFrame, Mover, variable},
    names::{self, Direction},
    volumes::{self, CaSource, Data},
};
use crate::{
    api::{CustomCa, MoverOptions, PodOptions, Rclone, non_empty},
    machine::Method,
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{EnvVar, EnvVarSource, SecretKeySelector},
};
use std::collections::{BTreeMap, BTreeSet};

/// The key of the secret that holds the configuration.
pub const CONFIG_KEY: &str = "rclone.conf";

/// Capabilities with which owners can be set.
const CAPABILITIES: [&str; 3] = ["DAC_OVERRIDE", "CHOWN", "FOWNER"];

/// Variables of the controller that its movers get, by the upper-case name.
const PROXIES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/// A remote with everything that rclone needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote<'a> {
    /// The secret with the configuration.
    pub secret: &'a str,
    /// The section in it.
    pub section: &'a str,
    /// The path below the remote.
    pub path: &'a str,
    /// A certificate authority, and its key.
    pub custom_ca: Option<(CaSource<'a>, &'a str)>,
}

/// What a specification lacks, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to get Rclone {0} name")]
pub struct Missing(&'static str);

impl<'a> Remote<'a> {
    /// The remote that a specification names, checked in upstream's order.
    pub fn of(rclone: &'a Rclone) -> Result<Self, Missing> {
        Ok(Self {
            secret: non_empty(rclone.rclone_config.as_ref()).ok_or(Missing("config secret"))?,
            section: non_empty(rclone.rclone_config_section.as_ref()).ok_or(Missing("config section"))?,
            path: non_empty(rclone.rclone_dest_path.as_ref()).ok_or(Missing("destination"))?,
            custom_ca: rclone.custom_ca.as_ref().and_then(usable_ca),
        })
    }
}

/// A key without a name, or a name without a key, is no authority at all.
fn usable_ca(ca: &CustomCa) -> Option<(CaSource<'_>, &str)> {
    let secret = non_empty(ca.secret_name.as_ref()).map(CaSource::Secret);
    let source = secret.or_else(|| non_empty(ca.config_map_name.as_ref()).map(CaSource::ConfigMap))?;
    Some((source, non_empty(ca.key.as_ref())?))
}

/// What the mover of rclone is made of.
#[derive(Clone, Copy, Debug)]
pub struct RcloneMover<'a> {
    /// Which way.
    pub direction: Direction,
    /// The image.
    pub image: &'a str,
    /// The remote.
    pub remote: Remote<'a>,
    /// Keys of the remote's secret.
    pub secret_keys: &'a BTreeSet<String>,
    /// The controller's proxies, by the upper-case name of their variables.
    pub proxies: &'a BTreeMap<String, String>,
    /// Whether the namespace allows a mover that is root.
    pub privileged: bool,
    /// The volume.
    pub data: Data<'a>,
    /// What the user wants of the pod.
    pub options: &'a MoverOptions,
    /// And besides.
    pub pod: &'a PodOptions,
}

impl RcloneMover<'_> {
    /// The Job.
    pub fn job(&self, frame: &JobFrame<'_>) -> Job {
        let name = names::job(Method::Rclone, self.direction, frame.owner.name);
        let mut volumes = vec![
            volumes::secret("rclone-secret", self.remote.secret, "/rclone-config/"),
            volumes::memory("tempdir", "/tmp"),
        ];
        volumes.extend(self.remote.custom_ca.map(|(source, key)| volumes::custom_ca(source, key)));
        volumes.extend(self.pod.mover_volumes.iter().flatten().map(volumes::mover_volume));
        frame.job(
            name,
            &Mover {
                container: "rclone",
                script: "/mover-rclone/active.sh",
                image: self.image,
                environment: self.environment(frame.debug),
                capabilities: if self.privileged { &CAPABILITIES } else { &[] },
                root: self.privileged,
                data: self.data,
                volumes,
                selector: BTreeMap::new(),
                options: self.options,
                pod: Some(self.pod),
            },
        )
    }

    /// In upstream's order: of variables of one name the last one counts.
    fn environment(&self, debug: bool) -> Vec<EnvVar> {
        let direction = match self.direction {
            Direction::Source => "source",
            Direction::Destination => "destination",
        };
        let mut all: Vec<EnvVar> = self
            .secret_keys
            .iter()
            .filter(|key| key.starts_with("RCLONE_"))
            .map(|key| self.secret_variable(key))
            .collect();
        all.extend([
            variable("RCLONE_CONFIG", "/rclone-config/rclone.conf"),
            variable("RCLONE_DEST_PATH", self.remote.path),
            variable("DIRECTION", direction),
            variable("MOUNT_PATH", "/data"),
            variable("RCLONE_CONFIG_SECTION", self.remote.section),
        ]);
        all.extend(PROXIES.iter().flat_map(|name| self.proxy(name)));
        all.extend(debug.then(|| variable("DEBUG_MOVER", "1")));
        all.extend(self.remote.custom_ca.map(|_| variable("CUSTOM_CA", "/customCA/ca.crt")));
        all.push(variable("PRIVILEGED_MOVER", if self.privileged { "1" } else { "0" }));
        all
    }

    fn secret_variable(&self, key: &str) -> EnvVar {
        let selector =
            SecretKeySelector { name: self.remote.secret.to_owned(), key: key.to_owned(), optional: Some(true) };
        let source = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
        EnvVar { name: key.to_owned(), value: None, value_from: Some(source) }
    }

    /// Programs disagree about the capitals, so both forms are set.
    fn proxy(&self, name: &str) -> Vec<EnvVar> {
        let value = self.proxies.get(name).into_iter();
        value.flat_map(|value| [variable(name, value), variable(&name.to_lowercase(), value)]).collect()
    }
}
