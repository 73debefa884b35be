//! When a replication is to be synchronized.

use crate::api;
use jiff::tz::TimeZone;
use volsync_cron::{self as cron, Schedule};

/// A trigger that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// Once for each tag.
    Manual(String),
    /// At these times.
    Schedule(Schedule),
    /// One sync after the other.
    Continuous,
}

impl Trigger {
    /// Reads a trigger. A tag wins over a schedule, which is then not even read. `local` is the zone that `TZ=Local`
    /// means.
    pub fn of(spec: Option<&api::Trigger>, local: &TimeZone) -> Result<Self, cron::Error> {
        let manual = spec.and_then(|spec| api::non_empty(spec.manual.as_ref()));
        let schedule = spec.and_then(|spec| api::non_empty(spec.schedule.as_ref()));
        match (manual, schedule) {
            (Some(tag), _) => Ok(Self::Manual(tag.to_owned())),
            (None, Some(schedule)) => cron::parse(schedule, local).map(Self::Schedule),
            (None, None) => Ok(Self::Continuous),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_wins_and_an_empty_text_is_none() {
        let daily = Trigger::Schedule(cron::parse("@daily", &TimeZone::UTC).unwrap());
        let once = Trigger::Manual("once".into());
        for (manual, schedule, expect) in [
            (None, None, Ok(Trigger::Continuous)),
            (Some(""), Some(""), Ok(Trigger::Continuous)),
            (None, Some("@daily"), Ok(daily.clone())),
            (Some(""), Some("@daily"), Ok(daily)),
            (Some("once"), Some("@daily"), Ok(once.clone())),
            (Some("once"), Some("not a schedule"), Ok(once)),
            (None, Some("@dailyx"), Err(cron::Error::Descriptor("@dailyx".into()))),
        ] {
            let spec = api::Trigger { manual: manual.map(str::to_owned), schedule: schedule.map(str::to_owned) };
            assert_eq!(Trigger::of(Some(&spec), &TimeZone::UTC), expect, "{spec:?}");
        }
        assert_eq!(Trigger::of(None, &TimeZone::UTC), Ok(Trigger::Continuous));
    }
}
