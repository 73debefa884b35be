//! The search for the next time that a calendar allows.
//!
//! It goes from the largest field to the smallest, moves forward until the field fits, and begins again when a larger
//! one has changed. Where a zone changes its offset, the result depends on how exactly one moves; every step here is
//! therefore the step that robfig/cron takes, with Go's rules for local times that do not exist.

use crate::field::Fields;
use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime},
    tz::{Offset, TimeZone},
};

/// How far the search looks: five years, as robfig/cron does.
const YEARS: i16 = 5;

/// Steps after which the search gives up. Five years need about 45,000, hour by hour; a day that a zone left out (Samoa,
/// 30 December 2011) would hold it for ever.
const STEPS: u32 = 100_000;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The first time after `base` that `fields` allow in `zone`.
pub(crate) fn after(fields: &Fields, base: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    if fields.never() {
        return None;
    }
    let at = whole_second(base)?.checked_add(SECOND).ok()?;
    let mut cursor = Cursor { zone, at, moved: false, steps: STEPS };
    let last_year = cursor.local().year().checked_add(YEARS)?;
    while cursor.local().year() <= last_year {
        if cursor.find_month(fields)?
            && cursor.find_day(fields)?
            && cursor.find_hour(fields)?
            && cursor.find_minute(fields)?
            && cursor.find_second()?
        {
            return Some(cursor.at);
        }
    }
    None
}

/// `at` without its fraction of a second.
pub(crate) fn whole_second(at: Timestamp) -> Option<Timestamp> {
    floor(at, 1)
}

fn floor(at: Timestamp, seconds: i64) -> Option<Timestamp> {
    // Before 1970 a fraction counts backwards, and the second below is one earlier.
    let whole = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
    Timestamp::from_second(whole - whole.rem_euclid(seconds)).ok()
}

/// Where the search stands. Each `find_` moves forward until its field fits: `Some(true)` then, `Some(false)` when a larger
/// field has changed on the way, `None` at the end of time or of patience.
struct Cursor<'a> {
    zone: &'a TimeZone,
    at: Timestamp,
    /// Smaller fields have been set to their beginnings. The first move of all does that.
    moved: bool,
    steps: u32,
}

impl Cursor<'_> {
    fn local(&self) -> DateTime {
        self.zone.to_datetime(self.at)
    }

    fn find_month(&mut self, fields: &Fields) -> Option<bool> {
        while !fields.month.allows(self.local().month()) {
            if self.first_move()? {
                self.at = resolve(self.zone, self.local().date().first_of_month().to_datetime(midnight()))?;
            }
            let local = self.local();
            self.at = resolve(self.zone, DateTime::from_parts(next_month(local.date())?, local.time()))?;
            if self.local().month() == 1 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn find_day(&mut self, fields: &Fields) -> Option<bool> {
        while !fields.allow_day(self.local().day(), self.local().weekday().to_sunday_zero_offset()) {
            if self.first_move()? {
                self.at = resolve(self.zone, self.local().date().to_datetime(midnight()))?;
            }
            let local = self.local();
            self.at = resolve(self.zone, DateTime::from_parts(local.date().tomorrow().ok()?, local.time()))?;
            self.back_to_midnight()?;
            if self.local().day() == 1 {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Where midnight does not exist, the day's move has ended beside it.
    fn back_to_midnight(&mut self) -> Option<()> {
        let hour = i64::from(self.local().hour());
        if hour != 0 {
            let hours = if hour > 12 { 24 - hour } else { -hour };
            self.add(SignedDuration::from_hours(hours))?;
        }
        Some(())
    }

    fn find_hour(&mut self, fields: &Fields) -> Option<bool> {
        while !fields.hour.allows(self.local().hour()) {
            if self.first_move()? {
                let local = self.local();
                self.at = resolve(self.zone, local.date().at(local.hour(), 0, 0, 0))?;
            }
            self.add(HOUR)?;
            if self.local().hour() == 0 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn find_minute(&mut self, fields: &Fields) -> Option<bool> {
        while !fields.minute.allows(self.local().minute()) {
            if self.first_move()? {
                self.at = floor(self.at, 60)?;
            }
            self.add(MINUTE)?;
            if self.local().minute() == 0 {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Schedules have no field of seconds: they fire on second 0.
    fn find_second(&mut self) -> Option<bool> {
        while self.local().second() != 0 {
            self.first_move()?;
            self.add(SECOND)?;
            if self.local().second() == 0 {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Takes a step, and says whether it is the first that moves.
    fn first_move(&mut self) -> Option<bool> {
        self.steps = self.steps.checked_sub(1)?;
        Some(!std::mem::replace(&mut self.moved, true))
    }

    fn add(&mut self, duration: SignedDuration) -> Option<()> {
        self.at = self.at.checked_add(duration).ok()?;
        Some(())
    }
}

fn midnight() -> jiff::civil::Time {
    jiff::civil::Time::midnight()
}

/// The same day one month later; a day that the month does not have runs over into the month after it, as in Go's
/// `AddDate`.
fn next_month(date: Date) -> Option<Date> {
    let first = date.first_of_month().checked_add(jiff::Span::new().months(1)).ok()?;
    first.checked_add(jiff::Span::new().days(i64::from(date.day()) - 1)).ok()
}

/// The instant of a local time as Go's `time.Date` finds it: the offset that would hold if local time were UTC, corrected
/// once. A time that does not exist is moved by the length of the gap, a time that exists twice is one of both.
fn resolve(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    let as_utc = Offset::UTC.to_timestamp(local).ok()?;
    let guess = zone.to_offset(as_utc);
    if guess == Offset::UTC {
        return Some(as_utc);
    }
    let offset = zone.to_offset(subtract(as_utc, guess)?);
    subtract(as_utc, offset)
}

fn subtract(at: Timestamp, offset: Offset) -> Option<Timestamp> {
    at.checked_sub(SignedDuration::from_secs(i64::from(offset.seconds()))).ok()
}
