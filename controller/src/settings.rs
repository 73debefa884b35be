//! What flags and the environment come to.

use crate::{flags::Flags, machine::logs::LIMIT};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use volsync_cron::UnknownZone;

/// The image that upstream starts if nothing else is said.
pub const DEFAULT_IMAGE: &str = "quay.io/backube/volsync:latest";

/// Images of the movers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// rclone's.
    pub rclone: String,
    /// rsync's over SSH.
    pub rsync: String,
    /// rsync's over TLS.
    pub rsync_tls: String,
}

/// What is read of movers' logs, and kept in statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logs {
    /// How much is kept, in bytes. `MOVER_LOG_MAX_BYTES`.
    pub bytes: usize,
    /// How many lines are read from the end. `MOVER_LOG_TAIL_LINES`, where a negative number means all.
    pub tail_lines: Option<i64>,
    /// Whether lines are kept that say nothing of the result. `MOVER_LOG_DEBUG`.
    pub all: bool,
}

/// How many lines are read if nothing else is said: all that is kept of a log by default is in fewer.
const TAIL_LINES: i64 = 4000;

/// What cannot be started with.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// `TZ` names no zone.
    #[error("TZ: {0}")]
    Zone(#[from] UnknownZone),
    /// A variable that should be a number is not.
    #[error("{0} must be a number")]
    Number(&'static str),
}

/// Settings of the whole controller.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Images of the movers.
    pub images: Images,
    /// The zone of schedules that name none, and of the names of snapshots.
    pub local: TimeZone,
    /// Proxies that movers of rclone get, by the names of their variables.
    pub proxies: BTreeMap<String, String>,
    /// The security context constraint that privileged movers may use on OpenShift.
    pub constraint: String,
    /// What is kept of movers' logs.
    pub logs: Logs,
    /// Secrets of the controller's namespace with which movers' images are pulled.
    pub pull_secrets: Vec<String>,
    /// The namespace of the controller, if the environment names it. `VOLSYNC_NAMESPACE`.
    pub namespace: Option<String>,
}

impl Settings {
    /// Settings of an environment. A flag's value wins over its variable.
    pub fn of(flags: &Flags, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Unusable> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let image = |flag: &Option<String>, name: &str| {
            flag.clone().or_else(|| set(name)).unwrap_or_else(|| DEFAULT_IMAGE.to_owned())
        };
        let images = &flags.images;
        let number = |name: &'static str, default: i64| {
            set(name).map_or(Ok(default), |text| text.parse().map_err(|_| Unusable::Number(name)))
        };
        let proxies =
            ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"].map(|name| set(name).map(|value| (name.to_owned(), value)));
        let bytes = number("MOVER_LOG_MAX_BYTES", i64::try_from(LIMIT).unwrap_or(i64::MAX))?;
        Ok(Self {
            images: Images {
                rclone: image(&images.rclone_container_image, "RELATED_IMAGE_RCLONE_CONTAINER"),
                rsync: image(&images.rsync_container_image, "RELATED_IMAGE_RSYNC_CONTAINER"),
                rsync_tls: image(&images.rsync_tls_container_image, "RELATED_IMAGE_RSYNC_TLS_CONTAINER"),
            },
            local: zone(&variable)?,
            proxies: proxies.into_iter().flatten().collect(),
            constraint: flags.scc_name.clone(),
            pull_secrets: flags.mover_image_pull_secrets.iter().filter(|name| !name.is_empty()).cloned().collect(),
            namespace: set("VOLSYNC_NAMESPACE"),
            logs: Logs {
                bytes: usize::try_from(bytes).unwrap_or(0),
                tail_lines: Some(number("MOVER_LOG_TAIL_LINES", TAIL_LINES)?).filter(|lines| *lines >= 0),
                all: set("MOVER_LOG_DEBUG").is_some_and(|value| value.eq_ignore_ascii_case("true")),
            },
        })
    }
}

/// The zone of schedules that name none: that of `TZ`, else UTC.
pub fn zone(variable: impl Fn(&str) -> Option<String>) -> Result<TimeZone, Unusable> {
    Ok(volsync_cron::zone(&variable("TZ").unwrap_or_default(), &TimeZone::UTC)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        flags: Flags,
    }

    fn settings(flag: Option<&str>, variables: &[(&str, &str)]) -> Result<Settings, Unusable> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let mut flags = Whole::try_parse_from(["x"]).unwrap().flags;
        flags.images.rclone_container_image = flag.map(str::to_owned);
        Settings::of(&flags, |name| variables.get(name).map(|&value| value.to_owned()))
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_a_variable_over_the_default() {
        let image = [("RELATED_IMAGE_RCLONE_CONTAINER", "b"), ("RELATED_IMAGE_RSYNC_TLS_CONTAINER", "c")];
        assert_eq!(settings(Some("a"), &image).unwrap().images.rclone, "a");
        let images = settings(None, &image).unwrap().images;
        assert_eq!([images.rclone, images.rsync, images.rsync_tls], ["b", DEFAULT_IMAGE, "c"]);
    }

    #[test]
    fn the_zone_must_be_known() {
        assert_eq!(settings(None, &[]).unwrap().local, TimeZone::UTC);
        assert_ne!(settings(None, &[("TZ", "Europe/Prague")]).unwrap().local, TimeZone::UTC);
        assert!(settings(None, &[("TZ", "Europe/Nowhere")]).is_err());
    }

    #[test]
    fn proxies_are_taken_as_they_are() {
        let made = settings(None, &[("HTTPS_PROXY", "http://p"), ("NO_PROXY", ""), ("OTHER", "x")]).unwrap();
        assert_eq!(made.proxies, BTreeMap::from([("HTTPS_PROXY".to_owned(), "http://p".to_owned())]));
    }

    #[test]
    fn logs_are_kept_as_upstreams_variables_say() {
        let logs = |variables: &[(&str, &str)]| settings(None, variables).map(|made| made.logs);
        let default = Logs { bytes: LIMIT, tail_lines: Some(TAIL_LINES), all: false };
        assert_eq!(logs(&[]).unwrap(), default);
        let set = [("MOVER_LOG_MAX_BYTES", "-1"), ("MOVER_LOG_TAIL_LINES", "-1"), ("MOVER_LOG_DEBUG", "true")];
        assert_eq!(logs(&set).unwrap(), Logs { bytes: 0, tail_lines: None, all: true });
        assert_eq!(
            logs(&[("MOVER_LOG_TAIL_LINES", "x")]).unwrap_err().to_string(),
            "MOVER_LOG_TAIL_LINES must be a number"
        );
    }
}
