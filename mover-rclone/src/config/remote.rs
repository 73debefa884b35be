//! Remote strings: `name,key=value:path` (rclone `fs/fspath/path.go`).
//!
//! VolSync hands `rcloneConfigSection:rcloneDestPath` over as one string, so all of this can come from a custom
//! resource.

use std::fmt;
use std::sync::LazyLock;

use volsync_common::path::Shown;

use super::ini::names_secret;
use super::text::first_char;

/// Where something is: a local path or a path on a remote.
#[derive(Clone, PartialEq, Eq)]
pub enum RemoteString {
    /// A path of the local file system.
    Local(Vec<u8>),
    /// A path on a remote.
    Remote {
        /// The section, or the backend if `on_the_fly`.
        name: String,
        /// The string began with `:`: no section is read.
        on_the_fly: bool,
        /// Options given in the string, in their order; without a value they are `true`.
        params: Vec<(String, Vec<u8>)>,
        /// What follows the colon.
        path: Vec<u8>,
    },
}

/// Why a string is no remote string. The texts are rclone's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteSyntax {
    /// The whole string is empty.
    #[error("can't use empty string as a path")]
    Empty,
    /// Nothing before the colon.
    #[error("config name can't be empty")]
    EmptyName,
    /// `:name` without a second colon.
    #[error("config name needs a trailing `:`")]
    NoColon,
    /// Characters that section names cannot have.
    #[error(
        "config name contains invalid characters - may only contain numbers, letters, `_`, `-`, `.`, `+`, `@` and \
         space, while not start with `-` or space, and not end with space"
    )]
    BadName,
    /// Nothing between two commas.
    #[error("config parameters can't be empty")]
    EmptyParam,
    /// Characters that option names cannot have.
    #[error("config parameters may only contain `0-9`, `A-Z`, `a-z`, `_` and `.`")]
    BadParam,
    /// The end came in a parameter.
    #[error("config parameter must end with `,` or `:`")]
    NoEnd,
    /// The end came inside quotes.
    #[error("unterminated quoted config value")]
    Unterminated,
    /// Something else after a closing quote.
    #[error("expecting `:` or `,` or another quote after a quote")]
    AfterQuote,
}

impl RemoteString {
    /// Takes a string apart. Without any colon, or with `/` or `\` before the first colon or comma, it is a local path.
    pub fn parse(text: &[u8]) -> Result<Self, RemoteSyntax> {
        let local = || Ok(Self::Local(text.to_vec()));
        if text.is_empty() {
            return Err(RemoteSyntax::Empty);
        }
        if !text.contains(&b':') {
            return local();
        }
        let on_the_fly = text.first() == Some(&b':');
        let rest = text.get(usize::from(on_the_fly)..).unwrap_or_default();
        let Some(end) = rest.iter().position(|b| matches!(b, b':' | b',' | b'/' | b'\\')) else {
            return Err(RemoteSyntax::NoColon);
        };
        let (name, after) = rest.split_at_checked(end).unwrap_or((rest, b""));
        let slash = matches!(after.first(), Some(b'/' | b'\\'));
        if slash {
            return if on_the_fly { Err(RemoteSyntax::BadName) } else { local() };
        }
        let name = check_name(name)?;
        let mut scanner = Scanner { rest: after, params: Vec::new() };
        scanner.params()?;
        Ok(Self::Remote { name, on_the_fly, params: scanner.params, path: scanner.rest.to_vec() })
    }

    /// The same place with `path` below it, as aliases join: `.` and `..` are resolved in the text.
    #[must_use]
    pub fn join(self, below: &[u8]) -> Self {
        if below.is_empty() {
            return self;
        }
        match self {
            Self::Local(path) => Self::Local(join_paths(&path, below)),
            Self::Remote { name, on_the_fly, params, path } => {
                Self::Remote { name, on_the_fly, params, path: join_paths(&path, below) }
            }
        }
    }
}

/// Go's `path.Join`; an empty first part adds nothing.
fn join_paths(base: &[u8], below: &[u8]) -> Vec<u8> {
    if base.is_empty() {
        return clean(below);
    }
    clean(&[base, b"/", below].concat())
}

/// Go's `path.Clean`, except that nothing stays empty instead of becoming `.`.
fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for element in path.split(|b| *b == b'/') {
        match element {
            b"" | b"." => {}
            b".." if kept.last().is_some_and(|last| *last != b"..") => {
                kept.pop();
            }
            b".." if rooted => {}
            element => kept.push(element),
        }
    }
    let joined = kept.join(&b'/');
    if rooted { [b"/", joined.as_slice()].concat() } else { joined }
}

struct Scanner<'a> {
    rest: &'a [u8],
    params: Vec<(String, Vec<u8>)>,
}

impl Scanner<'_> {
    /// From the `,` or `:` after the name to behind the `:` that begins the path.
    fn params(&mut self) -> Result<(), RemoteSyntax> {
        loop {
            match self.next() {
                Some(b':') => return Ok(()),
                Some(b',') => {}
                Some(_) => return Err(RemoteSyntax::AfterQuote),
                None => return Err(RemoteSyntax::NoEnd),
            }
            let key = self.key()?;
            let value = if self.rest.first() == Some(&b'=') {
                self.next();
                self.value()?
            } else {
                b"true".to_vec()
            };
            self.params.push((key, value));
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn key(&mut self) -> Result<String, RemoteSyntax> {
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.');
        let end = self.rest.iter().position(|b| !allowed(b)).unwrap_or(self.rest.len());
        match self.rest.get(end) {
            None => return Err(RemoteSyntax::NoEnd),
            Some(b'=' | b',' | b':') if end == 0 => return Err(RemoteSyntax::EmptyParam),
            Some(b'=' | b',' | b':') => {}
            Some(_) => return Err(RemoteSyntax::BadParam),
        }
        let (key, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, b""));
        self.rest = rest;
        Ok(String::from_utf8_lossy(key).into_owned())
    }

    fn value(&mut self) -> Result<Vec<u8>, RemoteSyntax> {
        if let Some(quote @ (b'"' | b'\'')) = self.rest.first().copied() {
            self.next();
            return self.quoted(quote);
        }
        let end = self.rest.iter().position(|b| matches!(b, b',' | b':')).ok_or(RemoteSyntax::NoEnd)?;
        let (value, rest) = self.rest.split_at_checked(end).ok_or(RemoteSyntax::NoEnd)?;
        self.rest = rest;
        Ok(value.to_vec())
    }

    fn quoted(&mut self, quote: u8) -> Result<Vec<u8>, RemoteSyntax> {
        let mut value = Vec::new();
        loop {
            match self.next().ok_or(RemoteSyntax::Unterminated)? {
                b if b == quote && self.rest.first() == Some(&quote) => {
                    self.next();
                    value.push(quote);
                }
                b if b == quote => {
                    return if self.rest.is_empty() { Err(RemoteSyntax::NoEnd) } else { Ok(value) };
                }
                b => value.push(b),
            }
        }
    }
}

fn check_name(name: &[u8]) -> Result<String, RemoteSyntax> {
    if name.is_empty() {
        return Err(RemoteSyntax::EmptyName);
    }
    let text = std::str::from_utf8(name).map_err(|_| RemoteSyntax::BadName)?;
    if is_name(text) { Ok(text.to_owned()) } else { Err(RemoteSyntax::BadName) }
}

/// `word+ (separator+ rest+)*`: words are letters and the like, separators blanks and dashes, and a dash may also stand
/// in a rest. Run as the set of the states that are possible.
fn is_name(text: &str) -> bool {
    let (mut first, mut separator, mut rest) = (true, false, false);
    for (at, c) in text.chars().enumerate() {
        (first, separator, rest) = match c {
            ' ' | '-' if at == 0 => return false,
            ' ' => (false, true, false),
            '-' => (false, true, separator || rest),
            c if is_word(c) => (first, false, separator || rest),
            _ => return false,
        };
    }
    !text.is_empty() && (first || rest)
}

/// Unicode letters and numbers and four signs. Rust's own `is_alphabetic` takes more than the category Letter.
fn is_word(c: char) -> bool {
    static LETTER: LazyLock<Option<regex::Regex>> = LazyLock::new(|| regex::Regex::new(r"^[\p{L}\p{N}]$").ok());
    match c {
        c if c.is_ascii() => c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '@'),
        c => LETTER.as_ref().is_some_and(|r| r.is_match(c.encode_utf8(&mut [0; 4]))),
    }
}

impl fmt::Display for RemoteString {
    /// The string for log lines: values of options that may be secret are `XXX`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", Shown(path)),
            Self::Remote { name, on_the_fly, params, path } => {
                let colon = if *on_the_fly { ":" } else { "" };
                write!(f, "{colon}{name}")?;
                for (key, value) in params {
                    let value: &[u8] = if names_secret(key.as_bytes()) { b"XXX" } else { value };
                    write!(f, ",{key}={}", Shown(value))?;
                }
                write!(f, ":{}", Shown(path))
            }
        }
    }
}

impl fmt::Debug for RemoteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Entry for fuzzing: any bytes are a remote string or are refused, and their display holds no line end.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    if let Ok(remote) = RemoteString::parse(data) {
        assert!(!remote.to_string().contains('\n'));
        let joined = remote.join(data);
        assert!(!joined.to_string().contains('\n'));
    }
    let _ = first_char(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parsed = Result<RemoteString, RemoteSyntax>;

    #[expect(clippy::unnecessary_wraps, reason = "compared with results")]
    fn remote(name: &str, on_the_fly: bool, params: &[(&str, &str)], path: &str) -> Parsed {
        let params = params.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect();
        Ok(RemoteString::Remote { name: name.to_owned(), on_the_fly, params, path: path.as_bytes().to_vec() })
    }

    #[expect(clippy::unnecessary_wraps, reason = "compared with results")]
    fn local(path: &str) -> Parsed {
        Ok(RemoteString::Local(path.as_bytes().to_vec()))
    }

    #[test]
    fn strings_come_apart_as_in_rclone() {
        use RemoteSyntax as E;
        let cases = [
            ("", Err(E::Empty)),
            (":", Err(E::NoColon)),
            ("::", Err(E::EmptyName)),
            (":s3", Err(E::NoColon)),
            (":s3,x", Err(E::NoEnd)),
            (":s3/foo", Err(E::BadName)),
            (":local/foo:", Err(E::BadName)),
            (":s3,a/b:c", Err(E::BadParam)),
            (":local,a/b", Err(E::BadParam)),
            (",", local(",")),
            (",:", Err(E::EmptyName)),
            (":,a=b:", Err(E::EmptyName)),
            ("r,a='b'", local("r,a='b'")),
            ("a,b=c/d:e", remote("a", false, &[("b", "c/d")], "e")),
            ("a/b,c:", local("a/b,c:")),
            ("\\x:", local("\\x:")),
            ("r,a\\b:", Err(E::BadParam)),
            (":a b:x", remote("a b", true, &[], "x")),
            ("a:b:c", remote("a", false, &[], "b:c")),
            ("l,x='a:b',y=\"c\"\"d\":s", remote("l", false, &[("x", "a:b"), ("y", "c\"d")], "s")),
            ("l,x=a'b:s", remote("l", false, &[("x", "a'b")], "s")),
            ("l,x=,y:s", remote("l", false, &[("x", ""), ("y", "true")], "s")),
            ("r,:x", Err(E::EmptyParam)),
            ("r,=:", Err(E::EmptyParam)),
            ("r,a,,b:x", Err(E::EmptyParam)),
            ("r,a b=c:", Err(E::BadParam)),
            ("r,-a=b:", Err(E::BadParam)),
            ("r,e='x:", Err(E::Unterminated)),
            ("r,e=\"x\"y:", Err(E::AfterQuote)),
            ("é:x", remote("é", false, &[], "x")),
            (" x:", Err(E::BadName)),
            ("x :", Err(E::BadName)),
        ];
        for (input, expect) in cases {
            assert_eq!(RemoteString::parse(input.as_bytes()), expect, "{input:?}");
        }
        assert_eq!(RemoteString::parse(b"a\xffb:x"), Err(E::BadName));
    }

    #[test]
    fn names_may_hold_dashes_and_blanks_inside() {
        for good in ["a", "my-s3", "a-b-", "a b-", "a -b", "a--b", "x--", "a.b", "a+@_9", "日本"] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in ["-x", "x-", "x.-", "a]b", " x", "x ", "a - ", "a/b", "a\u{300}b"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn joining_resolves_dots() {
        let cases = [
            ("r:", "a", "r:a"),
            ("r:b", "a/../c", "r:b/c"),
            ("r:b", "/a", "r:b/a"),
            ("r:b", "..", "r:"),
            ("/x", "../../y", "/y"),
            ("x", "", "x"),
        ];
        for (base, below, expect) in cases {
            assert_eq!(RemoteString::parse(base.as_bytes()).unwrap().join(below.as_bytes()).to_string(), expect);
        }
    }

    #[test]
    fn secrets_in_a_string_are_not_shown() {
        let text = b"r,secret_access_key=abc,region=eu:b\n";
        assert_eq!(RemoteString::parse(text).unwrap().to_string(), "r,secret_access_key=XXX,region=eu:b\\n");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_remote_or_refused(data in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            fuzz(&data);
        }

        #[test]
        fn any_remote_like_text_is_one_or_refused(data in "[:,='\"a-c_./ é\n-]{0,20}") {
            fuzz(data.as_bytes());
        }
    }
}
