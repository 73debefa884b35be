//! `--out-format`: a line for each item, with rsync's escapes.

use std::fmt::Write as _;

use volsync_common::path::Shown;

use super::{ZONE, grouped, permissions, with_unit};
use crate::delta::digest::SumKind;
use crate::options::Items;
use crate::wire::flist::Entry;
use crate::wire::item::Item;

/// What `-i` stands for, and what names alone look like.
const ITEMS: &str = "%i %n%L";
const NAMES: &str = "%n%L";

/// A format, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Escape { letter: char, width: usize, left: bool, human: u8 },
}

/// Something to tell of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    /// What happens.
    pub(crate) item: &'a Item,
    /// To what.
    pub(crate) entry: &'a Entry,
    /// Its path in the list.
    pub(crate) path: &'a [u8],
    /// Of a link.
    pub(crate) target: &'a [u8],
    /// Where the sending side has it.
    pub(crate) long: Option<&'a [u8]>,
    /// What is known once the content has gone by.
    pub(crate) moved: Moved<'a>,
}

/// What of a file went over the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved<'a> {
    /// Bytes in all.
    pub(crate) bytes: u64,
    /// Bytes of sums of blocks, which only the sending side hears.
    pub(crate) sums: u64,
    /// The digest of the content.
    pub(crate) digest: &'a [u8],
}

/// How a side tells things.
#[derive(Clone, Copy, Debug, Default)]
pub struct Side {
    /// It sends.
    pub sends: bool,
    /// It sends to another machine: between two places of one machine everything comes.
    pub away: bool,
    /// Times are preserved.
    pub times: bool,
    /// Digest of files.
    pub digest: Option<SumKind>,
}

impl Side {
    /// Places of the digits of a digest.
    fn digits(self) -> usize {
        self.digest.map_or(0, |kind| 2 * kind.len())
    }

    /// A digest as rsync shows it: those of xxh as numbers.
    fn hex(self, digest: &[u8]) -> String {
        let hex = |text: String, byte: &u8| text + &format!("{byte:02x}");
        match self.digest {
            Some(SumKind::Xxh128 | SumKind::Xxh3 | SumKind::Xxh64) => digest.iter().rev().fold(String::new(), hex),
            _ => digest.iter().fold(String::new(), hex),
        }
    }
}

impl Format {
    /// Anything is a format: what is no escape stands for itself, as in rsync.
    pub fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            pieces.push(Piece::Text(rest[..at].to_owned()));
            let escape = &rest[at + 1..];
            let human = escape.len() - escape.trim_start_matches('\'').len();
            let sized = &escape[human..];
            let left = sized.starts_with('-');
            let digits = &sized[usize::from(left)..];
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let letter = digits[end..].chars().next();
            // A width beyond any line is none.
            let width = digits[..end].parse().ok().filter(|width| *width <= WIDEST).unwrap_or(0);
            let Some(letter) = letter.filter(|letter| LETTERS.contains(*letter)) else {
                pieces.push(Piece::Text("%".to_owned()));
                rest = escape;
                continue;
            };
            pieces.push(Piece::Escape { letter, width, left, human: u8::try_from(human).unwrap_or(u8::MAX) });
            rest = &digits[end + letter.len_utf8()..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Self(pieces)
    }

    /// Of items, as with `-i`.
    pub fn of_items() -> Self {
        Self::parse(ITEMS)
    }

    /// Of names.
    pub fn of_names() -> Self {
        Self::parse(NAMES)
    }

    /// What a server is to tell for it.
    pub fn wants(&self) -> Items {
        if self.itemizes() {
            Items::Changes
        } else if self.has(&['o']) {
            Items::Operations
        } else {
            Items::Names
        }
    }

    /// Whether deletions have its form.
    pub(super) fn tells_deletions(&self) -> bool {
        self.has(&['i', 'o'])
    }

    /// Whether it tells what changes.
    pub(super) fn itemizes(&self) -> bool {
        self.has(&['i'])
    }

    fn has(&self, letters: &[char]) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Escape { letter, .. } if letters.contains(letter)))
    }

    /// Whether a line waits until the content has gone by.
    pub(super) fn is_late(&self) -> bool {
        self.has(&['b', 'c', 'C'])
    }

    /// The line of an item.
    pub(super) fn line(&self, told: &Told<'_>, side: Side) -> String {
        self.fill(|letter, human| told.value(letter, human, side))
    }

    /// The line of a deletion; a directory's path ends with a slash.
    pub(super) fn deletion(&self, path: &str, side: Side) -> String {
        self.fill(|letter, _| match letter {
            'i' => "*deleting  ".into(),
            'o' => "del.".into(),
            'n' => path.into(),
            'f' => path.strip_suffix('/').unwrap_or(path).into(),
            'b' | 'c' | 'l' | 'U' | 'G' => "0".into(),
            'B' => "---------".into(),
            'C' => " ".repeat(side.digits()),
            'M' => "1970/01/01-00:00:00".into(),
            _ => of_all(letter),
        })
    }

    fn fill(&self, value: impl Fn(char, u8) -> String) -> String {
        let mut line = String::new();
        for piece in &self.0 {
            let _infallible = match piece {
                Piece::Text(text) => line.write_str(text),
                Piece::Escape { letter, width, left: true, human } => {
                    write!(line, "{:<width$}", value(*letter, *human))
                }
                Piece::Escape { letter, width, left: false, human } => {
                    write!(line, "{:>width$}", value(*letter, *human))
                }
            };
        }
        line
    }
}

/// What may stand behind `%`. rsync leaves those of daemons (`%a`, `%h`, `%P`, `%u`) as they are where there is none.
const LETTERS: &str = "bBcCfGilLmMnoptU%";

/// The largest width.
const WIDEST: usize = 1_000;

impl Told<'_> {
    fn value(&self, letter: char, human: u8, side: Side) -> String {
        let number = |value: u64| match human {
            0 => value.to_string(),
            1 => grouped(value),
            _ => with_unit(value),
        };
        let mode = self.entry.mode;
        match letter {
            'i' => self.item.describe(mode, side.away, side.times),
            'n' => format!("{}{}", Shown(self.path), if self.is_dir() { "/" } else { "" }),
            'L' => match &self.item.name {
                Some(name) => format!(" => {}", Shown(name)),
                None if mode & 0o170_000 == 0o120_000 => format!(" -> {}", Shown(self.target)),
                None => String::new(),
            },
            'f' => Shown(self.long.unwrap_or(self.path)).to_string(),
            'o' => if side.sends { "send" } else { "recv" }.into(),
            'l' => number(self.entry.size),
            'b' => number(self.moved.bytes),
            'c' => number(self.moved.sums),
            'C' if self.moved.digest.is_empty() => " ".repeat(side.digits()),
            'C' => side.hex(self.moved.digest),
            'B' => permissions(mode)[1..].to_owned(),
            'U' => self.entry.uid.to_string(),
            'G' => self.entry.gid.to_string(),
            'M' => super::clock(self.entry.mtime.secs, &ZONE).replace(' ', "-"),
            _ => of_all(letter),
        }
    }

    fn is_dir(&self) -> bool {
        self.entry.mode & 0o170_000 == 0o040_000 && self.path != b"/"
    }
}

/// What is the same for everything.
fn of_all(letter: char) -> String {
    match letter {
        'p' => std::process::id().to_string(),
        't' => super::clock(jiff::Timestamp::now().as_second(), &ZONE),
        '%' => "%".into(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::flist::{Encoder, FileList, NewEntry, ids::Numeric};

    #[test]
    fn escapes_are_rsyncs() {
        let item = Item::plain(0xa000);
        let mut list = FileList::new(0);
        let new = NewEntry { path: b"d/a", mode: 0o104_755, size: 1_234_567, uid: 7, gid: 8, ..NewEntry::default() };
        let options = crate::options::Options { owner: true, group: true, ..Default::default() };
        let options = options.list(32, crate::wire::handshake::Compat(0), 16);
        Encoder::new(options).write(&new, &Numeric, &mut list, &mut Vec::new());
        let entry = list.entries()[0].clone();
        let moved = Moved { bytes: 49, sums: 16, digest: &[0xab, 1] };
        let told = Told { item: &item, entry: &entry, path: b"d/a", target: b"", long: Some(b"s/d/a"), moved };
        let side = Side { away: true, sends: true, times: true, digest: Some(SumKind::Md5) };
        for (format, expected) in [
            (ITEMS, "<f+++++++++ d/a"),
            ("%o %f|%l|%'l|%''l|%10l|%-10l|%n%%", "send s/d/a|1234567|1,234,567|1.23M|   1234567|1234567   |d/a%"),
            ("%b %c %C %B %U %G %m", "49 16 ab01 rwsr-xr-x 7 8 "),
            ("%a %z %", "%a %z %"),
            ("%5n|%-5n|%99999999999n", "  d/a|d/a  |d/a"),
        ] {
            assert_eq!(Format::parse(format).line(&told, side), expected);
        }
        assert_eq!(Format::parse("%i %n %o").deletion("x/", side), "*deleting   x/ del.");
        let side = Side { digest: Some(SumKind::Xxh64), ..side };
        assert_eq!(Format::parse("%C").line(&told, side), "01ab");
        assert!(Format::parse("%n %b").is_late() && !Format::parse("%%b").is_late());
        assert_eq!(Format::parse("%%b").line(&told, side), "%b");
    }
}
