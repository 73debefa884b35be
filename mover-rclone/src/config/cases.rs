//! The edge cases of the file format as data: `cases.txt`, shared by the unit test here and by the test that asks the
//! real rclone.
//!
//! One case is a block of lines, each a word and its argument: `case` what it shows, `file` the bytes (with `\n`, `\r`,
//! `\t`, `\\`, `\xNN`), `env` a variable, `dump` the JSON of `config dump` or `fails` the error text after the path,
//! `list` one line each of `listremotes`.

/// One case.
#[derive(Debug, Default)]
pub(super) struct Case {
    pub(super) title: String,
    pub(super) file: Vec<u8>,
    pub(super) env: Vec<(String, String)>,
    pub(super) dump: Option<String>,
    pub(super) fails: Option<String>,
    pub(super) list: Vec<String>,
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("cases.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (word, argument) = line.split_once(' ').unwrap_or((line, ""));
        if word == "case" {
            cases.push(Case { title: argument.to_owned(), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().expect("a case begins with its title");
        match word {
            "file" => case.file = unescape(argument),
            "env" => {
                let (name, value) = argument.split_once('=').expect("NAME=VALUE");
                case.env.push((name.to_owned(), value.to_owned()));
            }
            "dump" => case.dump = Some(argument.to_owned()),
            "fails" => case.fails = Some(argument.to_owned()),
            "list" => case.list.push(argument.to_owned()),
            _ => panic!("what is {line:?}?"),
        }
    }
    cases
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits = [bytes.next(), bytes.next()].map(|d| d.expect("two digits"));
                u8::from_str_radix(std::str::from_utf8(&digits).expect("ASCII"), 16).expect("hexadecimal digits")
            }
            other => panic!("escape {other:?}"),
        });
    }
    out
}
