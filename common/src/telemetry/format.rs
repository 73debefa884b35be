//! What a line begins with: rclone's `--log-format`.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Items in rclone's order, for its error message (`fs/log/log.go`, `logFormatChoices`).
const CHOICES: &str = "date, time, microseconds, UTC, longfile, shortfile, pid, nolevel, json";

/// The items of `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    date: bool,
    time: bool,
    microseconds: bool,
    utc: bool,
    file: bool,
    pid: bool,
    no_level: bool,
    json: bool,
}

/// An item that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid choice {0:?} from: {CHOICES}")]
pub struct BadFormat(String);

impl Default for Format {
    /// `date,time`.
    fn default() -> Self {
        Self { date: true, time: true, ..Self::BARE }
    }
}

impl Format {
    const BARE: Self = Self {
        date: false,
        time: false,
        microseconds: false,
        utc: false,
        file: false,
        pid: false,
        no_level: false,
        json: false,
    };

    /// Reads items between commas; case does not matter, empty ones count for nothing.
    pub fn parse(items: &str) -> Result<Self, BadFormat> {
        let mut format = Self::BARE;
        for item in items.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item.to_ascii_lowercase().as_str() {
                "date" => format.date = true,
                "time" => format.time = true,
                "microseconds" => format.microseconds = true,
                "utc" => format.utc = true,
                "longfile" | "shortfile" => format.file = true,
                "pid" => format.pid = true,
                "nolevel" => format.no_level = true,
                "json" => format.json = true,
                _ => return Err(BadFormat(item.to_owned())),
            }
        }
        Ok(format)
    }

    /// With JSON instead of lines: `--use-json-log`.
    #[must_use]
    pub fn json(self) -> Self {
        Self { json: true, ..self }
    }

    /// Whether it is JSON.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Whether JSON names the process.
    pub(super) fn has_pid(self) -> bool {
        self.pid
    }

    /// Everything before the object. `source` is `file.rs:line`, printed if asked for.
    pub(super) fn header(self, now: Timestamp, zone: &TimeZone, level: &str, source: &str) -> String {
        let mut line = String::with_capacity(128);
        self.clock(&mut line, now, zone);
        if self.file && !source.is_empty() {
            let _infallible = write!(line, "{source}: ");
        }
        if self.pid {
            let _infallible = write!(line, "[{}] ", std::process::id());
        }
        if !self.no_level {
            let _infallible = write!(line, "{level:<6}: ");
        }
        line
    }

    fn clock(self, line: &mut String, now: Timestamp, zone: &TimeZone) {
        let time = if self.utc { TimeZone::UTC.to_datetime(now) } else { zone.to_datetime(now) };
        if self.date {
            let _infallible = write!(line, "{:04}/{:02}/{:02} ", time.year(), time.month(), time.day());
        }
        if self.time || self.microseconds {
            let _infallible = write!(line, "{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
            if self.microseconds {
                let _infallible = write!(line, ".{:06}", time.subsec_nanosecond() / 1_000);
            }
            line.push(' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(items: &str) -> String {
        let now = Timestamp::new(1_795_623_618, 3_406_999).unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        Format::parse(items).unwrap().header(now, &zone, "ERROR", "march/march.go:568")
    }

    /// Recorded from rclone 1.75.2 in the zone America/New_York.
    #[test]
    fn headers_are_those_of_rclone() {
        let cases = [
            ("date", "2026/11/25 ERROR : "),
            ("time", "11:20:18 ERROR : "),
            ("date,time,microseconds", "2026/11/25 11:20:18.003406 ERROR : "),
            ("microseconds", "11:20:18.003406 ERROR : "),
            ("date,time,UTC", "2026/11/25 16:20:18 ERROR : "),
            ("date,time,shortfile", "2026/11/25 11:20:18 march/march.go:568: ERROR : "),
            ("longfile", "march/march.go:568: ERROR : "),
            ("nolevel", ""),
            ("date,time,nolevel", "2026/11/25 11:20:18 "),
            ("", "ERROR : "),
            ("DATE, ,TIME", "2026/11/25 11:20:18 ERROR : "),
        ];
        for (items, expect) in cases {
            assert_eq!(header(items), expect, "{items}");
        }
        assert_eq!(header("date,time,pid"), format!("2026/11/25 11:20:18 [{}] ERROR : ", std::process::id()));
    }

    #[test]
    fn an_unknown_item_is_refused_in_rclones_words() {
        let error = Format::parse("date,bogus").unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid choice \"bogus\" from: date, time, microseconds, UTC, longfile, shortfile, pid, nolevel, json"
        );
    }
}
