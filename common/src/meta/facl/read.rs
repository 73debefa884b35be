//! Reading permissions.facl as `setfacl --restore` does, record by record.
//!
//! What setfacl forgives is forgiven: blanks, C integers, names (from a table), short tags, a missing mask. What it
//! stops at costs one record here and reading goes on. Of unknown comments `# x-empty-directory:` alone means something:
//! [`super::EMPTY_DIRECTORY`].

use std::io::{self, BufRead};

use super::accounts;
use crate::meta::acl::{Acl, AclBuilder, AclError, Entry};
use crate::path::Shown;

/// Longest line that is read. Paths may be longer than PATH_MAX; nobody has one of a megabyte.
const MAX_LINE: usize = 1024 * 1024;

/// Most entries of a record. The kernel's form ends at 64 KiB: 8,191 entries for each of the two lists.
const MAX_ENTRIES: usize = 2 * 8191;

/// One record of permissions.facl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// As written, un-escaped: `data/...` in the files of VolSync. Any bytes, not checked.
    pub path: Vec<u8>,
    /// Owner, if a number or a known name is given.
    pub owner: Option<u32>,
    /// Group likewise.
    pub group: Option<u32>,
    /// Setuid, setgid and sticky as mode bits.
    pub special: u32,
    /// The access list.
    pub access: Acl,
    /// The default list of a directory.
    pub default: Option<Acl>,
    /// It is a directory below which nothing else is kept.
    pub empty_directory: bool,
}

/// Why a record was not read.
#[derive(Debug, thiserror::Error)]
pub enum FaclError {
    /// An entry that means nothing, or names an unknown user or group.
    #[error("line {line} of the record of {path:?}: {entry:?} is not an entry")]
    Entry {
        /// Counting from 1.
        line: u64,
        /// Safe to print.
        path: String,
        /// Safe to print.
        entry: String,
    },
    /// The entries of a record do not make a list.
    #[error("the record of {path:?} that ends in line {line}: {reason}")]
    List {
        /// Counting from 1.
        line: u64,
        /// Safe to print.
        path: String,
        /// What is wrong.
        reason: AclError,
    },
    /// Entries without a `# file:` line.
    #[error("line {line}: no file is named for the entries before it")]
    NoFile {
        /// Counting from 1.
        line: u64,
    },
    /// A line or a record longer than anything legal.
    #[error("line {line} or its record is too long")]
    TooLong {
        /// Counting from 1.
        line: u64,
    },
    /// Reading failed; nothing follows.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads records one after the other; memory is bounded by one record.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    line: u64,
    /// The `# file:` line of the next record, when no empty line stood before it.
    next: Option<Vec<u8>>,
    ended: bool,
}

/// A record as far as it is read.
#[derive(Default)]
struct Partial {
    path: Option<Vec<u8>>,
    owner: Option<u32>,
    group: Option<u32>,
    special: u32,
    access: AclBuilder,
    default: AclBuilder,
    entries: usize,
    empty_directory: bool,
    error: Option<FaclError>,
}

enum Line {
    Text(Vec<u8>),
    TooLong,
    End,
}

impl<R: BufRead> Reader<R> {
    /// Starts at the first line of `input`.
    pub fn new(input: R) -> Self {
        Self { input, line: 0, next: None, ended: false }
    }

    fn read_line(&mut self) -> io::Result<Line> {
        let mut line = Vec::new();
        let mut too_long = false;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let end = buffer.iter().position(|b| *b == b'\n');
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            too_long |= line.len() + piece.len() > MAX_LINE;
            if !too_long {
                line.extend_from_slice(piece);
            }
            let used = piece.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                self.line += 1;
                return Ok(if too_long { Line::TooLong } else { Line::Text(line) });
            }
        }
        match (too_long, line.is_empty()) {
            (true, _) => Ok(Line::TooLong),
            (false, true) => Ok(Line::End),
            (false, false) => Ok(Line::Text(line)),
        }
    }

    fn record(&mut self) -> io::Result<Option<Result<Record, FaclError>>> {
        let mut partial = Partial { path: self.next.take(), ..Partial::default() };
        loop {
            match self.read_line()? {
                Line::End => {
                    self.ended = true;
                    return Ok(partial.finish(self.line));
                }
                Line::TooLong => partial.fail(FaclError::TooLong { line: self.line }),
                Line::Text(text) if text.trim_ascii().is_empty() => {
                    if let Some(done) = partial.finish(self.line) {
                        return Ok(Some(done));
                    }
                    partial = Partial::default();
                }
                Line::Text(text) => {
                    if let Some(path) = comment(&text, b"file:").filter(|_| !partial.is_blank()) {
                        self.next = Some(unescape(path));
                        return Ok(partial.finish(self.line));
                    }
                    partial.line(&text, self.line);
                }
            }
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Record, FaclError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        self.record().unwrap_or_else(|error| {
            self.ended = true;
            Some(Err(error.into()))
        })
    }
}

impl Partial {
    /// Nothing that would be lost by starting over.
    fn is_blank(&self) -> bool {
        self.path.is_none() && self.access.is_empty() && self.default.is_empty() && self.error.is_none()
    }

    fn fail(&mut self, error: FaclError) {
        self.error.get_or_insert(error);
    }

    fn line(&mut self, text: &[u8], line: u64) {
        if let Some(path) = comment(text, b"file:") {
            self.path = Some(unescape(path));
        } else if let Some(owner) = comment(text, b"owner:") {
            self.owner = accounts::user(&unescape(owner));
        } else if let Some(group) = comment(text, b"group:") {
            self.group = accounts::group(&unescape(group));
        } else if let Some(flags) = comment(text, b"flags:") {
            self.special = special(flags);
        } else if comment(text, super::EMPTY_DIRECTORY).is_some() {
            self.empty_directory = true;
        } else {
            let entries = text.split(|b| *b == b'#').next().unwrap_or_default();
            for entry in entries.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
                self.entry(entry, line);
            }
        }
    }

    fn entry(&mut self, text: &[u8], line: u64) {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return self.fail(FaclError::TooLong { line });
        }
        match entry(text) {
            Some((true, entry, perm)) => self.default.set(entry, perm),
            Some((false, entry, perm)) => self.access.set(entry, perm),
            None => self.fail(FaclError::Entry { line, path: self.shown(), entry: Shown(text).to_string() }),
        }
    }

    fn shown(&self) -> String {
        Shown(self.path.as_deref().unwrap_or_default()).to_string()
    }

    /// The record, its error, or `None` if there were only comments.
    fn finish(self, line: u64) -> Option<Result<Record, FaclError>> {
        if self.is_blank() {
            return None;
        }
        let shown = self.shown();
        if let Some(error) = self.error {
            return Some(Err(error));
        }
        let Some(path) = self.path else { return Some(Err(FaclError::NoFile { line })) };
        let list = |reason| FaclError::List { line, path: shown, reason };
        let access = match self.access.complete(None) {
            Ok(access) => access,
            Err(reason) => return Some(Err(list(reason))),
        };
        let default = (!self.default.is_empty()).then(|| self.default.complete(Some(&access)));
        let default = match default.transpose() {
            Ok(default) => default,
            Err(reason) => return Some(Err(list(reason))),
        };
        let Self { owner, group, special, empty_directory, .. } = self;
        Some(Ok(Record { path, owner, group, special, access, default, empty_directory }))
    }
}

/// The value of the comment `# NAME value`; blanks before the value are not part of it.
fn comment<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.trim_ascii_start().strip_prefix(b"#")?.trim_ascii_start();
    Some(rest.strip_prefix(name)?.trim_ascii_start())
}

fn special(flags: &[u8]) -> u32 {
    let bits = flags.iter().zip([(b's', 0o4000), (b's', 0o2000), (b't', 0o1000)]);
    bits.filter(|(flag, (letter, _))| *flag == letter).map(|(_, (_, bit))| bit).sum()
}

/// `\ooo` with three octal digits and `\\`; any other backslash stands for itself.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let (byte, after) = match (first, tail) {
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), after)
            }
            _ => (*first, tail),
        };
        out.push(byte);
        rest = after;
    }
    out
}

/// One entry: whether it is a default one, whom it is about, and what they may.
fn entry(text: &[u8]) -> Option<(bool, Entry, u8)> {
    let fields: Vec<&[u8]> = text.split(|b| *b == b':').map(<[u8]>::trim_ascii).collect();
    let (default, fields) = match fields.as_slice() {
        [b"d" | b"default", rest @ ..] => (true, rest),
        all => (false, all),
    };
    let (entry, perm) = match fields {
        [b"u" | b"user", b"", perm] => (Entry::Owner, perm),
        [b"g" | b"group", b"", perm] => (Entry::Group, perm),
        [b"g" | b"group", id, perm] => (Entry::NamedGroup(accounts::group(&unescape(id))?), perm),
        // Solaris writes these two with one colon.
        [b"m" | b"mask", b"", perm] | [b"m" | b"mask", perm] => (Entry::Mask, perm),
        [b"o" | b"other", b"", perm] | [b"o" | b"other", perm] => (Entry::Other, perm),
        [b"u" | b"user", id, perm] | [id, perm] => (Entry::User(accounts::user(&unescape(id))?), perm),
        _ => return None,
    };
    Some((default, entry, permissions(perm)?))
}

fn permissions(text: &[u8]) -> Option<u8> {
    if let [digit @ b'0'..=b'7'] = text {
        return Some(digit - b'0');
    }
    let bit = |b: &u8| match b {
        b'r' => Some(4),
        b'w' => Some(2),
        b'x' => Some(1),
        b'-' => Some(0),
        _ => None,
    };
    if text.is_empty() { None } else { text.iter().try_fold(0, |all, b| Some(all | bit(b)?)) }
}

/// For the fuzzer: any bytes are records or errors.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let _records = Reader::new(data).count();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<Record, String>> {
        Reader::new(text.as_bytes()).map(|record| record.map_err(|error| error.to_string())).collect()
    }

    fn one(text: &str) -> Record {
        read(text).remove(0).unwrap()
    }

    #[test]
    fn entries_are_read_with_all_spellings() {
        let acl = |entries: &[(Entry, u8)]| {
            let mut builder = AclBuilder::default();
            for (entry, perm) in entries {
                builder.set(*entry, *perm);
            }
            builder.complete(None).unwrap()
        };
        let base = [(Entry::Owner, 7), (Entry::Group, 5), (Entry::Other, 4)];
        let named = acl(&[&base[..], &[(Entry::User(5), 6), (Entry::NamedGroup(12), 1), (Entry::Mask, 6)]].concat());
        let cases = [
            ("user::rwx\ngroup::r-x\nother::r--\n", acl(&base)),
            ("u::7\n g::5 # comment\n\to:r", acl(&base)),
            ("u::7,g::5,o::4\n", acl(&base)),
            ("u::7\ng::5\no::4\nu:sync:6\ngroup:mail:--x\t#effective:---\nmask::rw-\n", named.clone()),
            ("u::7\ng::5\no::4\n0x5:rw\ng:014:x\nm:rw\n", named),
        ];
        for (text, expect) in cases {
            assert_eq!(one(&format!("# file: data/x\n{text}")).access, expect, "{text}");
        }
    }

    #[test]
    fn heads_are_read_and_unknown_comments_mean_nothing() {
        let record =
            one("# x-volsync: 1\n\n# file:  data/a b\\012\\\\c#\\9\n# owner: mail\n# group: 0x10\n# x-y: z\n# \
                          flags: s-t\nuser::rwx\ngroup::---\nother::---\ndefault:user:7:rwx\n\n");
        assert_eq!(record.path, b"data/a b\n\\c#\\9");
        assert_eq!((record.owner, record.group, record.special), (Some(8), Some(16), 0o5000));
        let default: Vec<_> = record.default.unwrap().entries().collect();
        let expect = [(Entry::Owner, 7), (Entry::User(7), 7), (Entry::Group, 0), (Entry::Mask, 7), (Entry::Other, 0)];
        assert_eq!(default, expect);
        assert_eq!(one("# file: x\n# owner: alice\nu::7\ng::7\no::7").owner, None);
    }

    #[test]
    fn a_bad_record_costs_only_itself() {
        let good = "# file: good\nu::7\ng::7\no::7\n\n";
        for bad in [
            "# file: bad\nuser:alice:rwx\nu::7\ng::7\no::7\n\n",
            "# file: bad\nu::7\ng::7\n\n",
            "# file: bad\nu::7\ng::7\no::8\n\n",
            "# file: bad\nhello\n\n",
            "# file: bad\n\n",
            "# file: bad\nu::7\ng::7\no::\n",
            "u::7\ng::7\no::7\n\n",
            &format!("# file: {}\nu::7\ng::7\no::7\n\n", "x".repeat(MAX_LINE)),
            &format!("# file: bad\n{}\n", "u::7\n".repeat(MAX_ENTRIES + 1)),
        ] {
            let records = read(&format!("{good}{bad}{good}"));
            let ok: Vec<_> = records.iter().map(Result::is_ok).collect();
            assert_eq!(ok, [true, false, true], "{bad:.60}");
        }
        assert!(read("# only a comment\n\n\n# another").is_empty());
    }

    #[test]
    fn a_failing_read_ends_with_its_error() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let mut reader = Reader::new(io::BufReader::new(Broken));
        assert!(matches!(reader.next(), Some(Err(FaclError::Io(_)))) && reader.next().is_none());
    }
}
