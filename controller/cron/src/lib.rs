//! When a schedule fires: the dialect of robfig/cron v3's `ParseStandard`, which VolSync's users write.
//!
//! Five fields (minute, hour, day of month, month, day of week), descriptors (`@daily`, `@every 1h`), and a time zone in
//! front (`CRON_TZ=Europe/Prague 30 2 * * *`). No crate reads this dialect: they refuse `5/15`, count weekdays
//! differently, or combine the two day fields in another way. Held against the original by `tests/vectors.rs`.

pub mod duration;
mod field;
mod next;
mod parse;
mod zone;

pub use parse::{Error, parse};
pub use zone::{UnknownZone, zone};

use field::Fields;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// A schedule that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// Fields of a calendar, in a zone of their own if the text names one.
    Calendar { fields: Fields, zone: Option<TimeZone> },
    /// A number of whole seconds after the last time, at least one.
    Every(SignedDuration),
}

impl Schedule {
    /// The first time strictly later than `after` at which this fires, in whole seconds. `local` is the zone of
    /// schedules that name none.
    ///
    /// `None` if nothing fires within five years, for instance on 31 February.
    pub fn next(&self, after: Timestamp, local: &TimeZone) -> Option<Timestamp> {
        match &self.0 {
            Kind::Calendar { fields, zone } => next::after(fields, after, zone.as_ref().unwrap_or(local)),
            Kind::Every(delay) => next::whole_second(after)?.checked_add(*delay).ok(),
        }
    }
}

/// What must hold for any text: it is read or refused, and a schedule fires later than asked, on a whole second.
///
/// # Panics
///
/// If it does not hold.
#[doc(hidden)]
#[expect(clippy::panic, reason = "a fuzz target reports by panicking")]
pub fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(schedule) = parse(text, &TimeZone::UTC) else { return };
    let base = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56);
    if let Some(next) = schedule.next(base, &TimeZone::UTC)
        && (next <= base || next.subsec_nanosecond() != 0)
    {
        panic!("{text:?} fires at {next}, which does not follow {base}");
    }
}

#[cfg(test)]
mod tests;
