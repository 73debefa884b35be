//! What is configured of the controller: flags, and variables of its environment.

use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use volsync_cron::{UnknownZone, zone};

/// The image that upstream starts if nothing else is said.
pub const DEFAULT_IMAGE: &str = "quay.io/backube/volsync:latest";

/// Settings of the whole controller.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The image of rclone's mover.
    pub rclone_image: String,
    /// The zone of schedules that name none, and of the names of snapshots.
    pub local: TimeZone,
    /// Proxies that movers of rclone get, by the names of their variables.
    pub proxies: BTreeMap<String, String>,
    /// The security context constraint that privileged movers may use on OpenShift.
    pub constraint: String,
}

impl Settings {
    /// Settings of an environment. A flag's value wins over its variable.
    pub fn of(
        rclone_image: Option<String>,
        constraint: String,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, UnknownZone> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let image = rclone_image.or_else(|| set("RELATED_IMAGE_RCLONE_CONTAINER"));
        let proxies =
            ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"].map(|name| set(name).map(|value| (name.to_owned(), value)));
        Ok(Self {
            rclone_image: image.unwrap_or_else(|| DEFAULT_IMAGE.to_owned()),
            local: zone(&set("TZ").unwrap_or_default(), &TimeZone::UTC)?,
            proxies: proxies.into_iter().flatten().collect(),
            constraint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flag: Option<&str>, variables: &[(&str, &str)]) -> Result<Settings, UnknownZone> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        Settings::of(flag.map(str::to_owned), "scc".into(), |name| variables.get(name).map(|&value| value.to_owned()))
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_a_variable_over_the_default() {
        let image = [("RELATED_IMAGE_RCLONE_CONTAINER", "b")];
        assert_eq!(settings(Some("a"), &image).unwrap().rclone_image, "a");
        assert_eq!(settings(None, &image).unwrap().rclone_image, "b");
        assert_eq!(settings(None, &[]).unwrap().rclone_image, DEFAULT_IMAGE);
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
}
