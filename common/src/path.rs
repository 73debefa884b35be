//! Relative paths as bytes: from `getdents` to the wire no path is ever text.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

/// Why bytes are not a [`RelPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Nothing between two slashes, at an end, or in the whole.
    #[error("it has an empty path element")]
    EmptyElement,
    /// `.` or `..` as an element: it would leave or alias its directory.
    #[error("it has a \".\" or \"..\" path element")]
    DotElement,
    /// NUL cannot stand in a file name.
    #[error("it contains a NUL byte")]
    Nul,
}

/// A path below a root: one or more elements joined by `/`, none empty, `.` or `..`, no NUL. Any other bytes go.
///
/// Order is the order of the bytes of the whole path, which is how object stores list keys: `a-b` < `a/b` < `a0`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// Checks the rules of the type.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, BadPath> {
        let bytes = bytes.into();
        check(&bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes, without a leading or trailing slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last element.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&self.0)
    }

    /// Everything before the last element; `None` at the top.
    pub fn parent(&self) -> Option<&[u8]> {
        self.0.iter().rposition(|b| *b == b'/').map(|at| &self.0[..at])
    }
}

/// Checks that `bytes` obey the rules of [`RelPath`] without building one.
pub fn check(bytes: &[u8]) -> Result<(), BadPath> {
    if bytes.contains(&0) {
        return Err(BadPath::Nul);
    }
    for element in bytes.split(|b| *b == b'/') {
        match element {
            b"" => return Err(BadPath::EmptyElement),
            b"." | b".." => return Err(BadPath::DotElement),
            _ => {}
        }
    }
    Ok(())
}

impl Deref for RelPath {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for RelPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Shown(&self.0), f)
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Shown(&self.0), f)
    }
}

/// Foreign bytes as a log line may show them: UTF-8 stays, control characters, invalid bytes and `\` are escaped, so
/// that a newline in a file name cannot forge a line that others parse (`Transferred:` and the like).
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                write_escaped(f, c, true)?;
            }
            for b in chunk.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        Ok(())
    }
}

/// Text that is already made for people, as one line may show it: what could forge a line is escaped as [`Shown`] does,
/// `\` stays, so that a [`Shown`] name within it is not escaped twice.
#[derive(Clone, Copy)]
pub struct OneLine<'a>(pub &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| write_escaped(f, c, false))
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, c: char, backslash: bool) -> fmt::Result {
    use fmt::Write as _;
    match c {
        '\\' if backslash => f.write_str("\\\\"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        // Line and paragraph separators and bidirectional controls can forge what a person reads.
        c if c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
        {
            write!(f, "\\u{{{:x}}}", u32::from(c))
        }
        c => f.write_char(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_the_root_are_refused() {
        let cases: &[(&[u8], Option<BadPath>)] = &[
            (b"a", None),
            (b"a/b c/\xff\n", None),
            (b"...", None),
            (b"", Some(BadPath::EmptyElement)),
            (b"/a", Some(BadPath::EmptyElement)),
            (b"a/", Some(BadPath::EmptyElement)),
            (b"a//b", Some(BadPath::EmptyElement)),
            (b".", Some(BadPath::DotElement)),
            (b"a/../b", Some(BadPath::DotElement)),
            (b"a\0b", Some(BadPath::Nul)),
        ];
        for (input, expect) in cases {
            assert_eq!(RelPath::new(*input).err(), *expect, "{}", Shown(input));
        }
    }

    #[test]
    fn a_name_cannot_forge_a_log_line() {
        assert_eq!(Shown(b"a\nTransferred: 1\xff\\\x1b[0m").to_string(), "a\\nTransferred: 1\\xff\\\\\\u{1b}[0m");
        assert_eq!(Shown("ü\u{202e}x".as_bytes()).to_string(), "ü\\u{202e}x");
        assert_eq!(OneLine("a\\n\nb\u{1b}\u{2028}").to_string(), "a\\n\\nb\\u{1b}\\u{2028}");
    }

    #[test]
    fn name_and_parent_split_at_the_last_slash() {
        let p = RelPath::new(*b"a/b/c").unwrap();
        assert_eq!((p.name(), p.parent()), (&b"c"[..], Some(&b"a/b"[..])));
        assert_eq!(RelPath::new(*b"a").unwrap().parent(), None);
    }
}
