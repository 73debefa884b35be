//! From the text of a schedule to what it allows.

use crate::{
    Kind, Schedule, duration,
    field::{self, DAY, Field, Fields, HOUR, MINUTE, MONTH, WEEKDAY},
    zone::{UnknownZone, zone},
};
use jiff::{SignedDuration, tz::TimeZone};

/// Why a schedule was not understood. The texts are those of robfig/cron, which become the message of a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing is there.
    #[error("empty spec string")]
    Empty,
    /// The zone in front has no data.
    #[error("provided bad location {name}: {source}")]
    Zone {
        /// The zone's name.
        name: String,
        /// Why it is bad.
        source: UnknownZone,
    },
    /// A zone and nothing after it. The original panics on this.
    #[error("expected a schedule after the time zone: {0}")]
    OnlyZone(String),
    /// `@` and no known word.
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    /// `@every` without a duration.
    #[error("failed to parse duration {descriptor}: {reason}")]
    Every {
        /// The whole descriptor.
        descriptor: String,
        /// What is wrong with its duration.
        reason: duration::ParseError,
    },
    /// Not five fields.
    #[error("expected exactly 5 fields, found {}: [{}]", .0.len(), .0.join(" "))]
    FieldCount(Vec<String>),
    /// Neither a number nor a name that the field knows.
    #[error("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {reason}")]
    Number {
        /// What stands in the number's place.
        text: String,
        /// What Go's `strconv.Atoi` says of it.
        reason: &'static str,
    },
    /// A number below zero.
    #[error("negative number ({value}) not allowed: {text}")]
    Negative {
        /// The number.
        value: i64,
        /// How it was written.
        text: String,
    },
    /// A range of more than two ends.
    #[error("too many hyphens: {0}")]
    Hyphens(String),
    /// A range of more than one step.
    #[error("too many slashes: {0}")]
    Slashes(String),
    /// A range that begins before its field does.
    #[error("beginning of range ({start}) below minimum ({min}): {range}")]
    BelowMinimum {
        /// Its beginning.
        start: u64,
        /// The field's beginning.
        min: u32,
        /// The range.
        range: String,
    },
    /// A range that ends after its field does.
    #[error("end of range ({end}) above maximum ({max}): {range}")]
    AboveMaximum {
        /// Its end.
        end: u64,
        /// The field's end.
        max: u32,
        /// The range.
        range: String,
    },
    /// A range that ends before it begins.
    #[error("beginning of range ({start}) beyond end of range ({end}): {range}")]
    Reversed {
        /// Its beginning.
        start: u64,
        /// Its end.
        end: u64,
        /// The range.
        range: String,
    },
    /// A step of nothing.
    #[error("step of range should be a positive number: {0}")]
    NoStep(String),
}

/// Reads a schedule. `local` is the zone that `TZ=Local` means.
pub fn parse(text: &str, local: &TimeZone) -> Result<Schedule, Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    let (zone, spec) = split_zone(text, local)?;
    if spec.starts_with('@') {
        return descriptor(spec, zone);
    }
    let words: Vec<&str> = spec.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = words[..] else {
        return Err(Error::FieldCount(words.into_iter().map(str::to_owned).collect()));
    };
    let fields = Fields {
        minute: field::parse(minute, &MINUTE)?,
        hour: field::parse(hour, &HOUR)?,
        day: field::parse(day, &DAY)?,
        month: field::parse(month, &MONTH)?,
        weekday: field::parse(weekday, &WEEKDAY)?,
    };
    Ok(Schedule(Kind::Calendar { fields, zone }))
}

/// The zone in front, which ends at the first space, and the schedule after it.
fn split_zone<'a>(text: &'a str, local: &TimeZone) -> Result<(Option<TimeZone>, &'a str), Error> {
    let Some(rest) = ["TZ=", "CRON_TZ="].iter().find_map(|prefix| text.strip_prefix(prefix)) else {
        return Ok((None, text));
    };
    let (name, spec) = rest.split_once(' ').ok_or_else(|| Error::OnlyZone(text.to_owned()))?;
    let zone = zone(name, local).map_err(|source| Error::Zone { name: name.to_owned(), source })?;
    Ok((Some(zone), spec.trim()))
}

fn descriptor(text: &str, zone: Option<TimeZone>) -> Result<Schedule, Error> {
    if let Some(delay) = text.strip_prefix("@every ") {
        return every(delay).map_err(|reason| Error::Every { descriptor: text.to_owned(), reason });
    }
    let hourly = Fields {
        minute: Field::only(0),
        hour: Field::all(&HOUR),
        day: Field::all(&DAY),
        month: Field::all(&MONTH),
        weekday: Field::all(&WEEKDAY),
    };
    let daily = Fields { hour: Field::only(0), ..hourly };
    let monthly = Fields { day: Field::only(1), ..daily };
    let fields = match text {
        "@yearly" | "@annually" => Fields { month: Field::only(1), ..monthly },
        "@monthly" => monthly,
        "@weekly" => Fields { weekday: Field::only(0), ..daily },
        "@daily" | "@midnight" => daily,
        "@hourly" => hourly,
        _ => return Err(Error::Descriptor(text.to_owned())),
    };
    Ok(Schedule(Kind::Calendar { fields, zone }))
}

/// Whole seconds, and one at least.
fn every(delay: &str) -> Result<Schedule, duration::ParseError> {
    let seconds = SignedDuration::from_nanos(duration::parse(delay)?).as_secs();
    Ok(Schedule(Kind::Every(SignedDuration::from_secs(seconds.max(1)))))
}
