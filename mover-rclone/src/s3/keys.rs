//! Relative path <-> object key, as bytes (`docs/compat-rclone.md`, "S3", "Keys").
//!
//! A key is `path/` and the name; bytes that are not UTF-8 become `‛` (U+201B) and two upper-case hexadecimal digits.
//! A name that already looks like such a replacement would come back as another name and is refused.

use std::fmt::Write as _;

use super::settings::DEFAULT_ENCODING;

const QUOTE: &[u8] = "\u{201b}".as_bytes();

/// Why a name has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// The key would be read back as another name.
    #[error("the name contains \"\u{201b}\" and two hexadecimal digits, which in a key stands for another byte")]
    Ambiguous,
    /// S3 keys have at most 1024 bytes.
    #[error("the key is longer than the 1024 bytes that S3 allows")]
    TooLong,
}

/// The mapping of one store.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: Vec<u8>,
    quote_invalid: bool,
}

impl Keys {
    /// `path` is where the root lies in the bucket. `None` for a set of replacements that is not implemented.
    pub fn new(path: &[u8], encoding: u32) -> Option<Self> {
        const INVALID_UTF8: u32 = 1 << 24;
        if encoding & !(DEFAULT_ENCODING | 1) != 0 {
            return None;
        }
        let start = path.iter().position(|b| *b != b'/').unwrap_or(path.len());
        let end = path.iter().rposition(|b| *b != b'/').map_or(start, |at| at + 1);
        let mut prefix = path[start..end].to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        Some(Self { prefix, quote_invalid: encoding & INVALID_UTF8 != 0 })
    }

    /// What all keys begin with: empty, or ends in `/`.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The key of a path.
    pub fn key(&self, path: &[u8]) -> Result<Vec<u8>, NoKey> {
        let mut key = self.prefix.clone();
        if self.quote_invalid {
            quote(path, &mut key);
            if self.path(&key).as_deref() != Some(path) {
                return Err(NoKey::Ambiguous);
            }
        } else {
            key.extend_from_slice(path);
        }
        if key.len() > 1024 { Err(NoKey::TooLong) } else { Ok(key) }
    }

    /// The path of a key; `None` outside of the root.
    pub fn path(&self, key: &[u8]) -> Option<Vec<u8>> {
        let name = key.strip_prefix(self.prefix.as_slice())?;
        if !self.quote_invalid || !has_quote(name) {
            return Some(name.to_vec());
        }
        let elements: Vec<Vec<u8>> = name.split(|b| *b == b'/').map(unquote).collect();
        Some(elements.join(&b'/'))
    }
}

fn has_quote(name: &[u8]) -> bool {
    name.windows(QUOTE.len()).any(|w| w == QUOTE)
}

fn quote(name: &[u8], out: &mut Vec<u8>) {
    for chunk in name.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        for byte in chunk.invalid() {
            out.extend_from_slice(QUOTE);
            out.extend_from_slice(&hex(*byte));
        }
    }
}

/// One element. Only what [`quote`] would write is a replacement; all else is a name in its own right.
fn unquote(element: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(element.len());
    let mut rest = element;
    while let Some(first) = rest.first() {
        if let Some(byte) = rest.strip_prefix(QUOTE).and_then(|r| unhex(r.get(..2)?)).filter(|b| *b >= 0x80) {
            name.push(byte);
            rest = &rest[QUOTE.len() + 2..];
        } else {
            name.push(*first);
            rest = &rest[1..];
        }
    }
    let mut again = Vec::new();
    quote(&name, &mut again);
    if again == element { name } else { element.to_vec() }
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

fn unhex(digits: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).filter(|_| !b.is_ascii_lowercase());
    u8::try_from(digit(*digits.first()?)? * 16 + digit(*digits.get(1)?)?).ok()
}

/// Percent-encodes for a URL path: unreserved characters and `/` stay (SigV4's `UriEncode` for object keys).
pub(super) fn percent_path(key: &[u8]) -> String {
    percent(key, true)
}

/// Percent-encodes for a query: `/` too.
pub(super) fn percent_query(value: &[u8]) -> String {
    percent(value, false)
}

fn percent(bytes: &[u8], keep_slash: bool) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    for &b in bytes {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) || (keep_slash && b == b'/') {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// The reverse as Go's `url.QueryUnescape` does it: `+` is a blank. A broken escape stays as it is.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&b) = text.get(at) {
        let escaped = text.get(at + 1..at + 3).filter(|_| b == b'%').and_then(|d| {
            let upper = [d[0].to_ascii_uppercase(), d[1].to_ascii_uppercase()];
            unhex(&upper)
        });
        out.push(escaped.unwrap_or(if b == b'+' { b' ' } else { b }));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::new(b"/p/q/", DEFAULT_ENCODING).unwrap()
    }

    #[test]
    fn names_become_the_keys_that_rclone_gives_them() {
        let cases: [(&[u8], &str); 6] = [
            (b"a/b c", "p/q/a/b c"),
            (b"bad\xff", "p/q/bad\u{201b}FF"),
            ("\u{ff0e}/\u{ff0e}\u{ff0e}".as_bytes(), "p/q/\u{ff0e}/\u{ff0e}\u{ff0e}"),
            ("x\u{201b}y".as_bytes(), "p/q/x\u{201b}y"),
            ("x\u{201b}41".as_bytes(), "p/q/x\u{201b}41"),
            (b"n\nt\t%+#\x7f", "p/q/n\nt\t%+#\x7f"),
        ];
        for (name, key) in cases {
            assert_eq!(keys().key(name).as_deref(), Ok(key.as_bytes()));
            assert_eq!(keys().path(key.as_bytes()).as_deref(), Some(name));
        }
        assert_eq!(keys().key("x\u{201b}FF".as_bytes()), Err(NoKey::Ambiguous));
        assert_eq!(keys().key(&[b'x'; 1021]), Err(NoKey::TooLong));
        assert_eq!(keys().path(b"p/x"), None);
        assert_eq!(Keys::new(b" a /", DEFAULT_ENCODING).unwrap().prefix(), b" a /");
        assert_eq!(Keys::new(b"//", DEFAULT_ENCODING).unwrap().prefix(), b"");
    }

    #[test]
    fn escapes_are_read_as_go_reads_them() {
        assert_eq!(unescape(b"a+b%2Bc%2f%zz%"), b"a b+c/%zz%");
        assert_eq!(percent_path("a/ü +~".as_bytes()), "a/%C3%BC%20%2B~");
        assert_eq!(percent_query(b"a/b"), "a%2Fb");
    }

    proptest! {
        #[test]
        fn a_name_comes_back_or_is_refused(name: Vec<u8>) {
            if let Ok(key) = keys().key(&name) {
                prop_assert!(std::str::from_utf8(&key).is_ok());
                prop_assert_eq!(keys().path(&key), Some(name));
            }
        }

        #[test]
        fn a_foreign_key_goes_back_to_itself(name in "([a-c/]|\u{201b}|[0-9A-F]){0,12}") {
            let key = [keys().prefix(), name.as_bytes()].concat();
            let path = keys().path(&key).unwrap();
            prop_assert_eq!(keys().key(&path).unwrap(), key);
        }

        #[test]
        fn escapes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(unescape(percent_query(&bytes).as_bytes()), bytes);
        }
    }
}
