//! The value types of options (rclone `fs/sizesuffix.go`, `fs/parseduration.go`, `fs/tristate.go`,
//! `lib/encoder/encoder.go`, Go's `strconv` and `fmt` scanning). Error texts read as rclone's, because people search
//! for them.

use volsync_common::time::Timestamp;

use super::text::quoted;

/// A duration or size that means "no limit".
pub const OFF: i64 = -1;

/// Why a value is not of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

fn fail<T>(text: impl Into<String>) -> Result<T, ValueError> {
    Err(ValueError(text.into()))
}

/// The type of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any bytes.
    Text,
    /// Any bytes, obscured in the file.
    Password,
    /// Go's spellings of true and false.
    Bool,
    /// A signed number of this many bits.
    Int(u32),
    /// Bytes, [`OFF`] for `off`.
    Size,
    /// Nanoseconds, `i64::MAX` for `off`.
    Duration,
    /// A bool that may be unset.
    Tristate,
    /// A set of [`Encoding`] bits.
    Encoding,
    /// Comma separated values.
    List,
}

/// A parsed value.
#[derive(Clone, PartialEq, Eq)]
pub enum Parsed {
    /// [`Kind::Text`], [`Kind::Password`].
    Text(Vec<u8>),
    /// [`Kind::Bool`].
    Bool(bool),
    /// [`Kind::Int`], [`Kind::Size`], [`Kind::Duration`].
    Number(i64),
    /// [`Kind::Tristate`].
    Tristate(Option<bool>),
    /// [`Kind::Encoding`].
    Encoding(Encoding),
    /// [`Kind::List`].
    List(Vec<Vec<u8>>),
}

impl Kind {
    /// How rclone's messages call the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text | Self::Password => "string",
            Self::Bool => "bool",
            Self::Int(32) => "int32",
            Self::Int(_) => "int",
            Self::Size => "fs.SizeSuffix",
            Self::Duration => "fs.Duration",
            Self::Tristate => "fs.Tristate",
            Self::Encoding => "encoder.MultiEncoder",
            Self::List => "fs.CommaSepList",
        }
    }

    /// Parses a value that was given. An empty one is the zero of its type.
    pub fn parse(self, value: &[u8], now: Timestamp) -> Result<Parsed, ValueError> {
        Ok(match self {
            Self::Text | Self::Password => Parsed::Text(value.to_vec()),
            Self::Bool => Parsed::Bool(!value.is_empty() && bool(value)?),
            Self::Tristate => Parsed::Tristate(tristate(value)?),
            Self::Encoding if value.is_empty() => Parsed::Encoding(Encoding(0)),
            Self::Encoding => Parsed::Encoding(Encoding::parse(value)?),
            Self::List => Parsed::List(separated(value, b',')?),
            _ if value.is_empty() => Parsed::Number(0),
            Self::Int(bits) => Parsed::Number(int(value, bits)?),
            Self::Size => Parsed::Number(size(value)?),
            Self::Duration => Parsed::Number(duration(value, now)?),
        })
    }

    /// [`Kind::parse`] with the sentence rclone puts round a failure.
    pub fn parse_named(self, value: &[u8], now: Timestamp) -> Result<Parsed, ValueError> {
        self.parse(value, now)
            .map_err(|e| ValueError(format!("parsing {} as {} failed: {e}", quoted(value), self.name())))
    }
}

/// `1 t T TRUE true True 0 f F FALSE false False`.
pub fn bool(value: &[u8]) -> Result<bool, ValueError> {
    match value {
        b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Ok(true),
        b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Ok(false),
        _ => fail(format!("strconv.ParseBool: parsing {}: invalid syntax", quoted(value))),
    }
}

/// `unset` in any case, empty, or a bool.
pub fn tristate(value: &[u8]) -> Result<Option<bool>, ValueError> {
    if value.is_empty() || value.eq_ignore_ascii_case(b"unset") {
        return Ok(None);
    }
    bool(value).map(Some).map_err(|e| ValueError(format!("failed to parse Tristate {}: {e}", quoted(value))))
}

/// A number as Go's `fmt.Sscanln` reads it: blanks before, a sign, `0x`, `0o`, `0b` or `0` as prefix, `_` between
/// digits, blanks and one line end after.
pub fn int(value: &[u8], bits: u32) -> Result<i64, ValueError> {
    let start = value.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(value.len());
    let rest = value.get(start..).unwrap_or_default();
    match rest {
        [] | [b'\n', ..] | [b'\r', b'\n', ..] => return fail("unexpected newline"),
        [b'+' | b'-'] => return fail("EOF"),
        _ => {}
    }
    let signed = usize::from(matches!(rest.first(), Some(b'+' | b'-')));
    let digits = rest.get(signed..).unwrap_or_default();
    let (base, prefix) = base_of(digits);
    let body = digits.get(prefix..).unwrap_or_default();
    let is_digit = |b: &u8| *b == b'_' || char::from(*b).is_digit(base);
    let len = body.iter().position(|b| !is_digit(b)).unwrap_or(body.len());
    if prefix == 0 && len == 0 {
        return fail("expected integer");
    }
    let (token, after) = rest.split_at_checked(signed + prefix + len).unwrap_or((rest, b""));
    let number = magnitude(token, body.get(..len).unwrap_or_default(), base, prefix)?;
    let number = if rest.first() == Some(&b'-') { -number } else { number };
    let limit = 1i128 << (bits - 1);
    if !(-limit..limit).contains(&number) {
        return if bits == 64 { out_of_range(token) } else { fail(format!("integer overflow on token {number}")) };
    }
    ends_line(after)?;
    i64::try_from(number).or_else(|_| out_of_range(token))
}

fn base_of(digits: &[u8]) -> (u32, usize) {
    match digits {
        [b'0', b'x' | b'X', ..] => (16, 2),
        [b'0', b'o' | b'O', ..] => (8, 2),
        [b'0', b'b' | b'B', ..] => (2, 2),
        [b'0', ..] => (8, 1),
        _ => (10, 0),
    }
}

fn magnitude(token: &[u8], body: &[u8], base: u32, prefix: usize) -> Result<i128, ValueError> {
    let syntax = || fail(format!("strconv.ParseInt: parsing {}: invalid syntax", quoted(token)));
    if body.is_empty() && prefix == 1 {
        return Ok(0);
    }
    let mut number: i128 = 0;
    let mut after_digit = prefix > 0;
    for b in body {
        match char::from(*b).to_digit(base) {
            Some(d) => {
                number = number.saturating_mul(i128::from(base)).saturating_add(i128::from(d));
                after_digit = true;
            }
            None if after_digit => after_digit = false,
            None => return syntax(),
        }
    }
    if body.is_empty() || !after_digit {
        return syntax();
    }
    if number > i128::from(i64::MAX) + 1 { out_of_range(token) } else { Ok(number) }
}

fn out_of_range<T>(token: &[u8]) -> Result<T, ValueError> {
    fail(format!("strconv.ParseInt: parsing {}: value out of range", quoted(token)))
}

fn ends_line(after: &[u8]) -> Result<(), ValueError> {
    let at = after.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r')).unwrap_or(after.len());
    match after.get(at..) {
        Some([] | [b'\n', ..]) | None => Ok(()),
        Some(_) => fail("expected newline"),
    }
}

/// A number with an optional `B K M G T P E` (powers of 1024, also `Ki`, `KiB`); none means KiB; `off` is [`OFF`].
pub fn size(value: &[u8]) -> Result<i64, ValueError> {
    if value.eq_ignore_ascii_case(b"off") {
        return Ok(OFF);
    }
    let (number, unit) = match value {
        [] => return fail("empty string"),
        [.., b'0'..=b'9' | b'.'] => (value, 1024.0),
        [n @ .., unit, b'i' | b'I', b'b' | b'B'] | [n @ .., unit, b'i' | b'I'] => (n, power(*unit)?),
        [n @ .., b'b' | b'B'] => (n, 1.0),
        [n @ .., unit] => (n, power(*unit)?),
    };
    let number = float(number)?;
    if number < 0.0 {
        return fail(format!("size can't be negative {}", quoted(value)));
    }
    let bytes = number * unit;
    // rclone wraps sizes of 8 EiB and more to negative ones; nobody means that.
    if bytes >= 9_223_372_036_854_775_808.0 {
        return fail(format!("size {} is out of range", quoted(value)));
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked above, and fractions of a byte are cut as in Go")]
    Ok(bytes as i64)
}

fn power(unit: u8) -> Result<f64, ValueError> {
    let exponent = match unit.to_ascii_uppercase() {
        b'K' => 1,
        b'M' => 2,
        b'G' => 3,
        b'T' => 4,
        b'P' => 5,
        b'E' => 6,
        _ => return fail(format!("bad suffix {}", rune(unit))),
    };
    Ok(1024f64.powi(exponent))
}

fn rune(b: u8) -> String {
    match b {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b if b.is_ascii() => {
            let text = quoted(&[b]);
            format!("'{}'", text.trim_matches('"'))
        }
        b => format!("'{}'", char::from(b)),
    }
}

/// A decimal number with fraction, exponent and `_` between digits.
fn float(text: &[u8]) -> Result<f64, ValueError> {
    let plain = |b: &u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E' | b'_');
    let digit = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_digit);
    let bars = text.iter().enumerate().filter(|(_, b)| **b == b'_');
    let separates = bars.clone().all(|(at, _)| digit(at.checked_sub(1)) && digit(Some(at + 1)));
    let clean: Vec<u8> = text.iter().copied().filter(|b| *b != b'_').collect();
    let parsed = std::str::from_utf8(&clean).ok().and_then(|t| t.parse::<f64>().ok());
    match parsed {
        Some(number) if separates && text.iter().all(plain) => Ok(number),
        _ => fail(format!("strconv.ParseFloat: parsing {}: invalid syntax", quoted(text))),
    }
}

/// Nanoseconds of a Go duration, of a number with one of `d w M y` or none (seconds), or since a date. `off` is
/// `i64::MAX`.
pub fn duration(value: &[u8], now: Timestamp) -> Result<i64, ValueError> {
    if value == b"off" {
        return Ok(i64::MAX);
    }
    let wrong = || {
        let q = quoted(value);
        ValueError(format!("parsing time {q} as \"2006-01-02\": cannot parse {q} as \"2006\""))
    };
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    go_duration(text).or_else(|| long_duration(value)).or_else(|| since(text, now)).ok_or_else(wrong)
}

const SECOND: i128 = 1_000_000_000;

fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    loop {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at_checked(end)?;
        let len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(len)?;
        total = total.checked_add(scaled(number, unit_nanos(unit)?)?)?;
        rest = next;
        if rest.is_empty() {
            return i64::try_from(if negative { -total } else { total }).ok();
        }
    }
}

fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        _ => return None,
    })
}

fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = whole.checked_mul(unit)?;
    let mut scale = 1i128;
    for digit in fraction.chars().take(18) {
        scale *= 10;
        value += i128::from(digit.to_digit(10)?) * unit / scale;
    }
    fraction.chars().all(|c| c.is_ascii_digit()).then_some(value)
}

fn long_duration(value: &[u8]) -> Option<i64> {
    const DAY: f64 = 86_400e9;
    let (number, unit) = match value {
        [n @ .., b'd'] => (n, DAY),
        [n @ .., b'w'] => (n, 7.0 * DAY),
        [n @ .., b'M'] => (n, 30.0 * DAY),
        [n @ .., b'y'] => (n, 365.0 * DAY),
        n => (n, 1e9),
    };
    let nanos = float(number).ok()? * unit;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    (nanos.abs() < 9.2e18).then_some(nanos as i64)
}

fn since(text: &str, now: Timestamp) -> Option<i64> {
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        Err(_) => text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
    };
    i64::try_from(now.as_nanos() - at.as_nanosecond()).ok()
}

/// One record of comma (or otherwise) separated values (RFC 4180 as Go's `encoding/csv` reads it); empty is no value.
pub fn separated(text: &[u8], separator: u8) -> Result<Vec<Vec<u8>>, ValueError> {
    const QUOTE: &str = "extraneous or missing \" in quoted-field";
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut fields = Vec::new();
    let mut rest = text.strip_suffix(b"\r").unwrap_or(text);
    if rest.is_empty() {
        return Ok(fields);
    }
    loop {
        if let Some(inner) = rest.strip_prefix(b"\"") {
            let (field, after) = quoted_field(inner).ok_or_else(|| ValueError(QUOTE.to_owned()))?;
            fields.push(field);
            match after {
                [] => return Ok(fields),
                [b, next @ ..] if *b == separator => rest = next,
                _ => return fail(QUOTE),
            }
        } else {
            let end = rest.iter().position(|b| *b == separator).unwrap_or(rest.len());
            let field = rest.get(..end).unwrap_or_default();
            if field.contains(&b'"') {
                return fail("bare \" in non-quoted-field");
            }
            fields.push(field.to_vec());
            match rest.get(end + 1..) {
                Some(next) => rest = next,
                None => return Ok(fields),
            }
        }
    }
}

fn quoted_field(inner: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut field = Vec::new();
    let mut rest = inner;
    loop {
        let end = rest.iter().position(|b| *b == b'"')?;
        field.extend_from_slice(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix(b"\"") {
            Some(next) => {
                field.push(b'"');
                rest = next;
            }
            None => return Some((field, rest)),
        }
    }
}

/// Which characters of a name are replaced on the way into a store (rclone `lib/encoder`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Encoding(pub u32);

/// The names in the order of their bits, from value 1 upwards.
const ENCODINGS: [&str; 29] = [
    "Raw",
    "Slash",
    "LtGt",
    "DoubleQuote",
    "SingleQuote",
    "BackQuote",
    "Dollar",
    "Colon",
    "Question",
    "Asterisk",
    "Pipe",
    "Hash",
    "Percent",
    "BackSlash",
    "CrLf",
    "Del",
    "Ctl",
    "LeftSpace",
    "LeftPeriod",
    "LeftTilde",
    "LeftCrLfHtVt",
    "RightSpace",
    "RightPeriod",
    "RightCrLfHtVt",
    "InvalidUtf8",
    "Dot",
    "SquareBracket",
    "Semicolon",
    "Exclamation",
];

impl Encoding {
    /// No encoding at all, not even of NUL.
    pub const RAW: Self = Self(1);
    /// `/` as U+FF0F.
    pub const SLASH: Self = Self(1 << 1);
    /// Bytes that are not UTF-8 as U+201B and two hexadecimal digits.
    pub const INVALID_UTF8: Self = Self(1 << 24);
    /// Names `.` and `..` as U+FF0E.
    pub const DOT: Self = Self(1 << 25);

    /// The set with one name of rclone's list; `None` (no replacements) is the empty set.
    pub fn named(name: &str) -> Option<Self> {
        if name == "None" {
            return Some(Self(0));
        }
        ENCODINGS.iter().position(|n| *n == name).map(|bit| Self(1 << bit))
    }

    /// Whether all bits of `other` are in here.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// A comma separated list of names and numbers.
    pub fn parse(value: &[u8]) -> Result<Self, ValueError> {
        value.split(|b| *b == b',').try_fold(Self(0), |sum, part| {
            let text = String::from_utf8_lossy(super::text::trim(part));
            match Self::named(&text).or_else(|| number(&text)) {
                Some(bits) => Ok(Self(sum.0 | bits.0)),
                None => fail(format!("bad encoding {}: possible values are: {}", quoted(part), names())),
            }
        })
    }
}

fn number(text: &str) -> Option<Encoding> {
    let value = int(text.as_bytes(), 64).ok()?;
    u32::try_from(value).ok().map(Encoding)
}

fn names() -> String {
    let mut names: Vec<&str> = ENCODINGS.iter().copied().chain(["None"]).collect();
    names.sort_unstable();
    names.join(", ")
}

/// Entry for fuzzing: any bytes are a value or are refused, for every type.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    for kind in [
        Kind::Bool,
        Kind::Int(32),
        Kind::Int(64),
        Kind::Size,
        Kind::Duration,
        Kind::Tristate,
        Kind::Encoding,
        Kind::List,
    ] {
        let _ = kind.parse_named(data, Timestamp::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: PartialEq + std::fmt::Debug>(
        parse: impl Fn(&[u8]) -> Result<T, ValueError>,
        cases: &[(&str, Result<T, &str>)],
    ) {
        for (input, expect) in cases {
            let got = parse(input.as_bytes());
            match (&got, expect) {
                (Ok(got), Ok(expect)) => assert_eq!(got, expect, "{input:?}"),
                (Err(got), Err(expect)) => assert_eq!(got.0, *expect, "{input:?}"),
                _ => panic!("{input:?}: got {got:?}, expected {expect:?}"),
            }
        }
    }

    #[test]
    fn ints_are_scanned() {
        check(
            |v| int(v, 32),
            &[
                ("5", Ok(5)),
                (" 5 ", Ok(5)),
                ("19\n", Ok(19)),
                ("+5", Ok(5)),
                ("-5", Ok(-5)),
                ("0x1F", Ok(31)),
                ("0X1f", Ok(31)),
                ("0o17", Ok(15)),
                ("0b11", Ok(3)),
                ("017", Ok(15)),
                ("0", Ok(0)),
                ("1_000", Ok(1000)),
                ("0x_1", Ok(1)),
                ("08", Err("expected newline")),
                ("1e3", Err("expected newline")),
                ("19 x", Err("expected newline")),
                ("19.0", Err("expected newline")),
                ("_1", Err("strconv.ParseInt: parsing \"_1\": invalid syntax")),
                ("1__0", Err("strconv.ParseInt: parsing \"1__0\": invalid syntax")),
                ("1_", Err("strconv.ParseInt: parsing \"1_\": invalid syntax")),
                ("0x", Err("strconv.ParseInt: parsing \"0x\": invalid syntax")),
                ("-", Err("EOF")),
                ("x", Err("expected integer")),
                ("99999999999999999999", Err("strconv.ParseInt: parsing \"99999999999999999999\": value out of range")),
            ],
        );
    }

    #[test]
    fn sizes_default_to_kib() {
        check(
            size,
            &[
                ("10", Ok(10 << 10)),
                ("1.5M", Ok(3 << 19)),
                ("5MiB", Ok(5 << 20)),
                ("5mi", Ok(5 << 20)),
                ("5kI", Ok(5 << 10)),
                ("5b", Ok(5)),
                ("1e3", Ok(1000 << 10)),
                ("1_0M", Ok(10 << 20)),
                (".5M", Ok(1 << 19)),
                ("5.", Ok(5 << 10)),
                ("off", Ok(-1)),
                ("4.656Gi", Ok(4_999_341_932)),
                ("10MB", Err("strconv.ParseFloat: parsing \"10M\": invalid syntax")),
                ("0x10", Err("strconv.ParseFloat: parsing \"0x10\": invalid syntax")),
                ("-1", Err("size can't be negative \"-1\"")),
                (" 5M", Err("strconv.ParseFloat: parsing \" 5\": invalid syntax")),
                ("5M ", Err("bad suffix ' '")),
                ("inf", Err("bad suffix 'f'")),
                ("B", Err("strconv.ParseFloat: parsing \"\": invalid syntax")),
                ("i", Err("bad suffix 'i'")),
                ("bib", Err("bad suffix 'b'")),
                ("5ib", Err("bad suffix '5'")),
            ],
        );
    }

    #[test]
    fn durations_are_gos_and_longer_ones() {
        let s = 1_000_000_000;
        let foo = "parsing time \"1d12h\" as \"2006-01-02\": cannot parse \"1d12h\" as \"2006\"";
        check(
            |v| duration(v, Timestamp { secs: 1_136_214_245 + 60, nanos: 0 }),
            &[
                ("1h30m", Ok(5400 * s)),
                ("100ms", Ok(s / 10)),
                ("1.5s", Ok(s * 3 / 2)),
                ("-5s", Ok(-5 * s)),
                ("0", Ok(0)),
                ("5", Ok(5 * s)),
                ("1.5", Ok(s * 3 / 2)),
                ("2d", Ok(2 * 86_400 * s)),
                ("1w", Ok(7 * 86_400 * s)),
                ("1M", Ok(30 * 86_400 * s)),
                ("1y", Ok(365 * 86_400 * s)),
                ("off", Ok(i64::MAX)),
                ("2006-01-02T15:04:05Z", Ok(60 * s)),
                ("2006-01-02 15:04:05", Ok(60 * s)),
                ("1d12h", Err(foo)),
            ],
        );
    }

    #[test]
    fn tristates_and_bools() {
        let on = "failed to parse Tristate \"on\": strconv.ParseBool: parsing \"on\": invalid syntax";
        check(tristate, &[("UNSET", Ok(None)), ("", Ok(None)), ("T", Ok(Some(true))), ("on", Err(on))]);
        check(
            bool,
            &[("True", Ok(true)), ("0", Ok(false)), ("yes", Err("strconv.ParseBool: parsing \"yes\": invalid syntax"))],
        );
    }

    #[test]
    fn encodings_are_names_and_numbers() {
        let default = Encoding::SLASH.0 | Encoding::INVALID_UTF8.0 | Encoding::DOT.0;
        for text in ["Slash,InvalidUtf8,Dot", "Slash, InvalidUtf8 ,Dot", "50331650", "0x3000002", "None,50331650"] {
            assert_eq!(Encoding::parse(text.as_bytes()), Ok(Encoding(default)), "{text}");
        }
        let wrong = Encoding::parse(b"slash").unwrap_err().0;
        assert!(wrong.starts_with("bad encoding \"slash\": possible values are: Asterisk, BackQuote, "), "{wrong}");
        assert!(wrong.ends_with(", SingleQuote, Slash, SquareBracket"), "{wrong}");
        assert!(Encoding::parse(b"-1").is_err() && Encoding::parse(b",").is_err());
    }

    #[test]
    fn lists_are_csv() {
        let list = |items: &[&str]| items.iter().map(|i| i.as_bytes().to_vec()).collect::<Vec<_>>();
        check(
            |v| separated(v, b','),
            &[
                ("", Ok(list(&[]))),
                ("\"\"", Ok(list(&[""]))),
                ("a,\"b,c\"", Ok(list(&["a", "b,c"]))),
                ("a,\"b\"\"c\",\n", Ok(list(&["a", "b\"c", ""]))),
                ("a\"b", Err("bare \" in non-quoted-field")),
                ("\"a", Err("extraneous or missing \" in quoted-field")),
                ("\"a\"b", Err("extraneous or missing \" in quoted-field")),
            ],
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_value_or_refused(data in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            fuzz(&data);
        }

        #[test]
        fn any_number_like_text_is_a_value_or_refused(data in "[-+0-9._eExXbBoOkKMGiBdwyshm\" ,\n]{0,24}") {
            fuzz(data.as_bytes());
        }
    }
}
