//! The dialect of `rclone.conf`, read as bytes.
//!
//! The rules are those of `unknwon/goconfig` v1.0.0 `read.go`, which rclone uses; `docs/compat-rclone.md` lists them.
//! In short: lines split at LF and are trimmed of Unicode white space; `#` and `;` begin comments only at the start of
//! a line; the first `=` or `:` splits key and value; back quotes and triple quotes quote; sections repeat and merge.

use std::collections::HashMap;

use super::text::{find, quoted, rfind, trim};

/// The section that keys before any header belong to.
pub const DEFAULT_SECTION: &[u8] = b"DEFAULT";

const TRIPLE: &[u8] = b"\"\"\"";

/// Why a file is not a configuration. One bad line refuses the whole file, as in rclone.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum IniError {
    /// A line that is neither comment, header nor `key = value`. The text is safe to print: what could be a secret is
    /// cut out of it.
    #[error("could not parse line: {0}")]
    Line(String),
    /// A key under `[]`.
    #[error("empty section name not allowed")]
    EmptySection,
}

impl std::fmt::Debug for IniError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// One section: keys in the order of their first appearance.
#[derive(Clone, Default)]
pub struct Section {
    keys: Vec<(Vec<u8>, Vec<u8>)>,
    index: HashMap<Vec<u8>, usize>,
    /// The lines before the header, and before keys that have any.
    comment: Vec<u8>,
    comments: HashMap<Vec<u8>, Vec<u8>>,
}

impl Section {
    /// The value as written, before any substitution.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.index.get(key).and_then(|at| self.keys.get(*at)).map(|(_, value)| value.as_slice())
    }

    /// The lines of comment before its header, each with its end of line.
    pub fn comment(&self) -> &[u8] {
        &self.comment
    }

    /// The same before a key.
    pub fn comment_of(&self, key: &[u8]) -> &[u8] {
        self.comments.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// The keys in file order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|(key, _)| key.as_slice())
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) {
        if let Some(slot) = self.index.get(&key).and_then(|at| self.keys.get_mut(*at)) {
            slot.1 = value;
            return;
        }
        self.index.insert(key.clone(), self.keys.len());
        self.keys.push((key, value));
    }
}

/// A parsed file.
#[derive(Clone, Default)]
pub struct Ini {
    sections: Vec<(Vec<u8>, Section)>,
    index: HashMap<Vec<u8>, usize>,
}

impl Ini {
    /// Parses a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Self, IniError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader =
            Reader { ini: Self::default(), section: DEFAULT_SECTION.to_vec(), unnamed: 0, comment: Vec::new() };
        for line in bytes.split(|b| *b == b'\n') {
            reader.line(trim(line))?;
        }
        Ok(reader.ini)
    }

    /// A section by its exact name.
    pub fn section(&self, name: &[u8]) -> Option<&Section> {
        self.index.get(name).and_then(|at| self.sections.get(*at)).map(|(_, section)| section)
    }

    /// All sections in the order of their first appearance.
    pub fn sections(&self) -> impl Iterator<Item = (&[u8], &Section)> {
        self.sections.iter().map(|(name, section)| (name.as_slice(), section))
    }

    fn touch(&mut self, name: &[u8]) -> Option<&mut Section> {
        let at = *self.index.entry(name.to_vec()).or_insert_with(|| {
            self.sections.push((name.to_vec(), Section::default()));
            self.sections.len() - 1
        });
        self.sections.get_mut(at).map(|(_, section)| section)
    }
}

struct Reader {
    ini: Ini,
    section: Vec<u8>,
    unnamed: u64,
    /// Lines of comment that wait for what they are about. Those at the end are about nothing.
    comment: Vec<u8>,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), IniError> {
        match line {
            [] => Ok(()),
            [b'#' | b';', ..] => {
                self.comment.extend([line, b"\n"].concat());
                Ok(())
            }
            [b'[', name @ .., b']'] => {
                self.header(trim(name));
                Ok(())
            }
            _ => self.key(line),
        }
    }

    fn header(&mut self, name: &[u8]) {
        self.section = name.to_vec();
        self.unnamed = 0;
        let comment = std::mem::take(&mut self.comment);
        let section = self.ini.touch(if name.is_empty() { DEFAULT_SECTION } else { name });
        if let Some(section) = section.filter(|_| !comment.is_empty()) {
            section.comment = comment;
        }
    }

    fn key(&mut self, line: &[u8]) -> Result<(), IniError> {
        if self.section.is_empty() {
            return Err(IniError::EmptySection);
        }
        let (key, rest) = split_key(line).ok_or_else(|| unreadable(line))?;
        let value = unquote(trim(rest)).ok_or_else(|| unreadable(line))?;
        let key = if key == b"-" {
            self.unnamed += 1;
            format!("#{}", self.unnamed).into_bytes()
        } else {
            key.to_vec()
        };
        let comment = std::mem::take(&mut self.comment);
        if !key.is_empty()
            && let Some(section) = self.ini.touch(&self.section)
        {
            if !comment.is_empty() {
                section.comments.insert(key.clone(), comment);
            }
            section.set(key, value.to_vec());
        }
        Ok(())
    }
}

/// The key of a line and what follows its separator; `None` if there is no such thing.
fn split_key(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let quote: &[u8] = match line {
        [b'"', b'"', b'"', ..] if line.len() >= 6 => TRIPLE,
        [b'"', ..] => b"\"",
        [b'`', ..] => b"`",
        _ => {
            let at = separator(line).filter(|at| *at > 0)?;
            return Some((trim(line.get(..at)?), line.get(at + 1..)?));
        }
    };
    let inner = line.get(quote.len()..)?;
    let end = find(inner, quote)?;
    let after = inner.get(end + quote.len()..)?;
    Some((inner.get(..end)?, after.get(separator(after)? + 1..)?))
}

fn separator(line: &[u8]) -> Option<usize> {
    line.iter().position(|b| matches!(b, b'=' | b':'))
}

/// A value without its quotes; the last quote closes and what follows is dropped. `None` if it is never closed.
fn unquote(value: &[u8]) -> Option<&[u8]> {
    let quote: &[u8] = match value {
        [b'`', _, ..] => b"`",
        [b'"', b'"', b'"', ..] if value.len() >= 6 => TRIPLE,
        _ => return Some(value),
    };
    let inner = value.get(quote.len()..)?;
    inner.get(..rfind(inner, quote)?)
}

/// The error for a line, without what looks like a secret: the value of a key with a telling name, or one long word
/// as it remains when an editor wraps a secret onto a line of its own.
fn unreadable(line: &[u8]) -> IniError {
    let shown = match separator(line) {
        Some(at) if names_secret(line.get(..at).unwrap_or_default()) => {
            format!("{} XXX", plain(line.get(..=at).unwrap_or_default()))
        }
        None if line.len() >= 16 && !line.contains(&b' ') => format!("XXX (a word of {} bytes)", line.len()),
        _ => plain(line),
    };
    IniError::Line(shown)
}

/// Whether the value under a key of this name should not be printed.
pub fn names_secret(key: &[u8]) -> bool {
    let key = key.to_ascii_lowercase();
    [&b"key"[..], b"secret", b"pass", b"token", b"credential"].iter().any(|word| find(&key, word).is_some())
}

/// The line as rclone prints it, except that control and foreign bytes are escaped.
fn plain(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => quoted(line),
    }
}

/// Entry for fuzzing: any bytes parse or are refused, and what parsed can be read back.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    if let Ok(ini) = Ini::parse(data) {
        for (name, section) in ini.sections() {
            assert!(!name.is_empty());
            for key in section.keys() {
                assert!(ini.section(name).and_then(|s| s.get(key)).is_some());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &[u8], section: &[u8], key: &[u8]) -> Option<Vec<u8>> {
        Ini::parse(text).unwrap().section(section).and_then(|s| s.get(key)).map(<[u8]>::to_vec)
    }

    #[test]
    fn an_error_does_not_print_a_secret() {
        let cases: &[(&[u8], &str)] = &[
            (b"region", "could not parse line: region"),
            (b"secret_access_key = `wJalr", "could not parse line: secret_access_key = XXX"),
            (b"wJalrXUtnFEMIK7MDENGbPxRfiCY", "could not parse line: XXX (a word of 28 bytes)"),
            (b"= foo\x01", "could not parse line: \"= foo\\x01\""),
        ];
        for (line, expect) in cases {
            let error = Ini::parse(line).err().unwrap();
            assert_eq!(error.to_string(), *expect);
            assert_eq!(format!("{error:?}"), *expect);
        }
    }

    #[test]
    fn a_key_without_a_name_is_ignored() {
        assert_eq!(Ini::parse(b"\"\"= x\n").unwrap().sections().count(), 0);
        assert_eq!(value(b"[r]\n`k` junk = v", b"r", b"k"), Some(b"v".to_vec()));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(data in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            fuzz(&data);
        }

        #[test]
        fn any_lines_parse_or_are_refused(data in "([\\[\\]\"`=:#; a-c%\\(\\)s\n\r\u{a0}é-]{0,12}\n){0,8}") {
            fuzz(data.as_bytes());
        }
    }
}
