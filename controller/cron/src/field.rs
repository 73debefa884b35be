//! The values that one field of a schedule allows.

use crate::parse::Error;

/// Allowed values as bits, and whether the field was left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    bits: u64,
    /// Written with `*` or `?` and no step above one. Decides how the two day fields combine.
    pub(crate) open: bool,
}

impl Field {
    /// Only `value`.
    pub(crate) const fn only(value: u32) -> Self {
        Self { bits: 1 << value, open: false }
    }

    /// Every value of `bounds`.
    pub(crate) const fn all(bounds: &Bounds) -> Self {
        Self { bits: bits_up_to(bounds.max) & !bits_below(bounds.min), open: true }
    }

    /// Whether `value` is allowed.
    pub(crate) fn allows(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| value < 64 && self.bits & (1 << value) != 0)
    }

    /// Allows nothing: a field of commas alone. robfig/cron takes it, and it never fires.
    pub(crate) fn is_empty(self) -> bool {
        self.bits == 0
    }
}

const fn bits_up_to(value: u32) -> u64 {
    u64::MAX >> (63 - value)
}

const fn bits_below(value: u32) -> u64 {
    (1 << value) - 1
}

/// The five fields of a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) minute: Field,
    pub(crate) hour: Field,
    pub(crate) day: Field,
    pub(crate) month: Field,
    pub(crate) weekday: Field,
}

impl Fields {
    /// Whether a day is allowed: both fields must agree while one of them is open, either suffices otherwise.
    pub(crate) fn allow_day(&self, day: i8, weekday: i8) -> bool {
        let (day_fits, weekday_fits) = (self.day.allows(day), self.weekday.allows(weekday));
        if self.day.open || self.weekday.open { day_fits && weekday_fits } else { day_fits || weekday_fits }
    }

    /// No time can satisfy one of the fields. The day fields are not asked: one may make up for the other.
    pub(crate) fn never(&self) -> bool {
        self.minute.is_empty() || self.hour.is_empty() || self.month.is_empty()
    }
}

/// The range of a field and the names of its values, the first name for `min` of months and 0 of weekdays.
pub(crate) struct Bounds {
    pub(crate) min: u32,
    pub(crate) max: u32,
    names: &'static [&'static str],
}

pub(crate) const MINUTE: Bounds = Bounds { min: 0, max: 59, names: &[] };
pub(crate) const HOUR: Bounds = Bounds { min: 0, max: 23, names: &[] };
pub(crate) const DAY: Bounds = Bounds { min: 1, max: 31, names: &[] };
pub(crate) const MONTH: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// Sunday is 0 and only 0.
pub(crate) const WEEKDAY: Bounds = Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// Reads a field: ranges between commas, empty ones passed over.
pub(crate) fn parse(text: &str, bounds: &Bounds) -> Result<Field, Error> {
    let mut field = Field { bits: 0, open: false };
    for range in text.split(',').filter(|range| !range.is_empty()) {
        let range = parse_range(range, bounds)?;
        field.bits |= range.bits;
        field.open |= range.open;
    }
    Ok(field)
}

/// Reads `*`, `N`, `N-M`, each with `/step`. `N/step` runs to the end of the field; what follows a `*-` is not looked at.
fn parse_range(text: &str, bounds: &Bounds) -> Result<Field, Error> {
    let slashes: Vec<&str> = text.split('/').collect();
    let hyphens: Vec<&str> = slashes[0].split('-').collect();
    let star = matches!(hyphens[0], "*" | "?");
    let (start, mut end) = if star {
        (u64::from(bounds.min), u64::from(bounds.max))
    } else {
        let start = number_or_name(hyphens[0], bounds)?;
        match hyphens[..] {
            [_] => (start, start),
            [_, end] => (start, number_or_name(end, bounds)?),
            _ => return Err(Error::Hyphens(text.to_owned())),
        }
    };
    let step = match slashes[..] {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            if hyphens.len() == 1 {
                end = u64::from(bounds.max);
            }
            step
        }
        _ => return Err(Error::Slashes(text.to_owned())),
    };
    check_range(start, end, step, bounds, text)?;
    let bits =
        (start..=end).step_by(usize::try_from(step).unwrap_or(usize::MAX)).fold(0, |bits, value| bits | 1 << value);
    Ok(Field { bits, open: star && step == 1 })
}

fn check_range(start: u64, end: u64, step: u64, bounds: &Bounds, range: &str) -> Result<(), Error> {
    let range = range.to_owned();
    if start < u64::from(bounds.min) {
        Err(Error::BelowMinimum { start, min: bounds.min, range })
    } else if end > u64::from(bounds.max) {
        Err(Error::AboveMaximum { end, max: bounds.max, range })
    } else if start > end {
        Err(Error::Reversed { start, end, range })
    } else if step == 0 {
        Err(Error::NoStep(range))
    } else {
        Ok(())
    }
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, Error> {
    let lower = text.to_lowercase();
    match (bounds.min..).zip(bounds.names).find(|(_, name)| **name == lower) {
        Some((value, _)) => Ok(u64::from(value)),
        None => number(text),
    }
}

/// A number as Go's `strconv.Atoi` reads it, which takes a sign.
fn number(text: &str) -> Result<u64, Error> {
    let error = |reason| Error::Number { text: text.to_owned(), reason };
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(error("invalid syntax"));
    }
    let value: i64 = text.parse().map_err(|_| error("value out of range"))?;
    u64::try_from(value).map_err(|_| Error::Negative { value, text: text.to_owned() })
}
