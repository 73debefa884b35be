//! The lines before a session with a daemon (`rsync://HOST/MODULE`): greetings, the module, and the server's arguments.
//!
//! Either side greets with `@RSYNCD: VERSION.SUB DIGESTS`. The client names a module; the daemon answers with lines of
//! text, then with one that begins with `@RSYNCD:` or `@ERROR`. The client's arguments follow, each with a NUL, an empty
//! one at the end. The protocol is the smaller of both, and is not exchanged again (recorded session 20).

use super::{Input, WireError, bad, handshake};

/// The longest line that is read.
const LINE_MAX: usize = 4096;

/// The most arguments, and bytes of all arguments, that are read.
const ARGS_MAX: usize = 100_000;
const ARGS_BYTES: usize = 4 << 20;

/// What a greeting begins with.
const GREETING: &[u8] = b"@RSYNCD: ";

/// Digests for passwords, in the order of rsync 3.5.0. A greeting without them is taken for that of a release that never
/// was.
const DIGESTS: &str = "sha512 sha256 sha1 md5 md4";

/// Reads up to a line feed, which is left out.
pub fn line(input: &mut impl Input) -> Result<Vec<u8>, WireError> {
    let mut line = Vec::new();
    loop {
        match input.byte()? {
            b'\n' => break,
            _ if line.len() == LINE_MAX => return bad("a line too long"),
            byte => line.push(byte),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// What either side begins with.
pub fn greeting() -> String {
    format!("@RSYNCD: {}.0 {DIGESTS}\n", handshake::NEWEST)
}

/// The protocol for a session with a peer that greeted so.
pub fn greeted(line: &[u8]) -> Result<i32, WireError> {
    let no_greeting = || bad(format!("{} is no greeting of rsync", volsync_common::path::Shown(line)));
    let Some(rest) = line.strip_prefix(GREETING) else { return no_greeting() };
    let version = rest.split(|b| *b == b' ').next().unwrap_or_default();
    let mut numbers = version.splitn(2, |b| *b == b'.').map(number);
    let (Some(Some(protocol)), sub) = (numbers.next(), numbers.next()) else { return no_greeting() };
    match sub {
        // A development version of a protocol speaks the one before.
        Some(Some(1..)) => handshake::protocol(protocol - 1),
        Some(None) => no_greeting(),
        Some(Some(_)) | None => handshake::protocol(protocol),
    }
}

/// The digest for passwords with a peer that greeted so: the first of ours that it has. One that names none has MD5.
pub fn digest(line: &[u8]) -> Option<&'static str> {
    let mut theirs = line.strip_prefix(GREETING).unwrap_or_default().split(|b| *b == b' ').skip(1).peekable();
    if theirs.peek().is_none() {
        return Some("md5");
    }
    let theirs: Vec<_> = theirs.collect();
    DIGESTS.split(' ').find(|ours| theirs.iter().any(|name| name.eq_ignore_ascii_case(ours.as_bytes())))
}

/// A number of at most five digits.
fn number(digits: &[u8]) -> Option<i32> {
    let proper = (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    proper.then(|| digits.iter().fold(0, |number, digit| number * 10 + i32::from(digit - b'0')))
}

/// A line with which a daemon answers to a module's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The arguments may come.
    Ok,
    /// There is nothing more to say.
    Exit,
    /// A password is wanted, for this challenge.
    Password(Vec<u8>),
    /// No, and why not.
    Refused(Vec<u8>),
    /// A message for people.
    Text(Vec<u8>),
}

/// Understands an answer.
pub fn answer(line: &[u8]) -> Answer {
    match line {
        b"@RSYNCD: OK" => Answer::Ok,
        b"@RSYNCD: EXIT" => Answer::Exit,
        _ => match (line.strip_prefix(b"@RSYNCD: AUTHREQD "), line.strip_prefix(b"@ERROR")) {
            (Some(challenge), _) => Answer::Password(challenge.to_vec()),
            (None, Some(why)) => Answer::Refused(why.strip_prefix(b":").unwrap_or(why).trim_ascii().to_vec()),
            (None, None) => Answer::Text(line.to_vec()),
        },
    }
}

/// What a client wants of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The names of all modules.
    List,
    /// This module.
    Module(Vec<u8>),
}

/// Understands a client's wish.
pub fn wish(line: &[u8]) -> Wish {
    match line {
        b"" | b"#list" => Wish::List,
        name => Wish::Module(name.to_vec()),
    }
}

/// Reads the arguments of the server.
pub fn read_args(input: &mut impl Input) -> Result<Vec<Vec<u8>>, WireError> {
    let (mut args, mut arg, mut left) = (Vec::new(), Vec::new(), ARGS_BYTES);
    loop {
        match input.byte()? {
            0 if arg.is_empty() => return Ok(args),
            0 if args.len() == ARGS_MAX => return bad("too many arguments"),
            0 => args.push(std::mem::take(&mut arg)),
            _ if left == 0 => return bad("arguments too long"),
            byte => {
                left -= 1;
                arg.push(byte);
            }
        }
    }
}

/// Appends the arguments of the server. An empty one would end them, and is left out.
pub fn write_args<'a>(args: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for arg in args.into_iter().filter(|arg| !arg.is_empty()) {
        out.extend_from_slice(arg);
        out.push(0);
    }
    out.push(0);
}

/// For the fuzzer: any bytes are understood or refused, and what is written comes back.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let mut input = data;
    while let Ok(line) = line(&mut input) {
        assert!(line.len() <= LINE_MAX);
        if let Ok(protocol) = greeted(&line) {
            assert!((handshake::OLDEST..=handshake::NEWEST).contains(&protocol));
        }
        let _ = (answer(&line), wish(&line));
    }
    if let Ok(args) = read_args(&mut &data[..]) {
        let mut bytes = Vec::new();
        write_args(args.iter().map(Vec::as_slice), &mut bytes);
        assert!(data.starts_with(&bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn greetings_name_the_protocol() {
        for (text, protocol) in [
            ("@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4", Some(32)),
            ("@RSYNCD: 31.0", Some(31)),
            ("@RSYNCD: 30", Some(30)),
            ("@RSYNCD: 31.14", Some(30)),
            ("@RSYNCD: 33.0 sha512", Some(32)),
            ("@RSYNCD: 29", None),
            ("@RSYNCD: 30.1", None),
            ("@RSYNCD: 99999.0", None),
            ("@RSYNCD: 999999999999.0", None),
            ("@RSYNCD: -32.0", None),
            ("@RSYNCD: 32.x", None),
            ("@RSYNCD: ", None),
            ("@RSYNCD:32.0", None),
            ("HTTP/1.1 400 Bad Request", None),
            ("", None),
        ] {
            assert_eq!(greeted(text.as_bytes()).ok(), protocol, "{text}");
        }
        assert_eq!(greeted(greeting().trim_end().as_bytes()).ok(), Some(handshake::NEWEST));
    }

    #[test]
    fn answers_are_told_from_text() {
        for (line, expect) in [
            ("@RSYNCD: OK", Answer::Ok),
            ("@RSYNCD: EXIT", Answer::Exit),
            ("@RSYNCD: AUTHREQD c2FsdA", Answer::Password(b"c2FsdA".to_vec())),
            ("@ERROR: Unknown module 'x'", Answer::Refused(b"Unknown module 'x'".to_vec())),
            ("Welcome", Answer::Text(b"Welcome".to_vec())),
            ("", Answer::Text(Vec::new())),
        ] {
            assert_eq!(answer(line.as_bytes()), expect);
        }
        assert_eq!(
            (wish(b"#list"), wish(b""), wish(b"data")),
            (Wish::List, Wish::List, Wish::Module(b"data".to_vec()))
        );
    }

    #[test]
    fn the_digest_of_passwords_is_our_first_that_the_peer_has() {
        for (line, expect) in [
            ("@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4", Some("sha512")),
            ("@RSYNCD: 32.0 md4 md5", Some("md5")),
            ("@RSYNCD: 31.0", Some("md5")),
            ("@RSYNCD: 32.0 whirlpool", None),
        ] {
            assert_eq!(digest(line.as_bytes()), expect, "{line}");
        }
    }

    #[test]
    fn lines_and_arguments_have_an_end() {
        assert!(line(&mut &[b'x'; LINE_MAX + 1][..]).is_err() && line(&mut &b"no end"[..]).is_err());
        assert_eq!(line(&mut &b"text\r\nmore"[..]).unwrap(), b"text");
        let recorded = b"--server\0-lHogDtpArRxSze.iLsfxCIvu\0--log-format=%i\0--info=MISC2,STATS2\0.\0data/\0\0rest";
        let args = read_args(&mut &recorded[..]).unwrap();
        assert_eq!((args.len(), &args[5][..]), (6, &b"data/"[..]));
        assert!(read_args(&mut &b"x\0".repeat(ARGS_MAX + 1)[..]).is_err());
        assert!(read_args(&mut &vec![b'x'; ARGS_BYTES + 1][..]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(data in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(0)], 0..300)) {
            fuzz(&data);
            fuzz(&[GREETING, &data].concat());
        }
    }
}
