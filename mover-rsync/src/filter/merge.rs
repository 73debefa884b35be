//! Rules as text: in arguments, over the wire, and in files of rules.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use volsync_common::path::Shown;

use super::pattern::Pattern;
use super::{Defaults, From, Item, Reading, Rule, Sides, cvs, kind, split, wrong};
use crate::args::ArgsError;

/// Gives the text of a file of rules that is named in rules.
pub(crate) type Read<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Vec<u8>, ArgsError>;

/// The largest file of rules in bytes, and how deep files may name each other.
pub(super) const FILE_MAX: u64 = 4 << 20;
const DEPTH_MAX: usize = 16;

/// For rules of a peer, who may not have files read.
pub(super) fn nothing(name: &[u8]) -> Result<Vec<u8>, ArgsError> {
    Err(ArgsError::Unsupported(format!("--filter=merge {}", Shown(name))))
}

/// For rules of the user.
pub(super) fn by_path(name: &[u8]) -> Result<Vec<u8>, ArgsError> {
    let mut text = Vec::new();
    let read = match name {
        b"-" => io::stdin().lock().take(FILE_MAX).read_to_end(&mut text),
        name => {
            std::fs::File::open(OsStr::from_bytes(name)).and_then(|file| file.take(FILE_MAX).read_to_end(&mut text))
        }
    };
    read.map_err(|error| ArgsError::Usage(format!("cannot read the rules {}: {error}", Shown(name))))?;
    Ok(text)
}

/// A file of rules in each directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Merge {
    /// As it was written: a name, maybe after the directory above the transfer from which on it is looked for.
    pub(super) text: Vec<u8>,
    pub(super) defaults: Defaults,
    /// Rules are in force in the directories below, too.
    pub(super) inherits: bool,
    /// The modifiers as they travel.
    cvs: bool,
}

impl Merge {
    /// The name in each directory.
    pub(super) fn name(&self) -> &[u8] {
        crate::directories::split(&self.text).1
    }

    /// Whether rules of it concern a peer.
    pub(super) fn concerns(&self, peer_sends: bool) -> bool {
        let Defaults { only_sender, only_receiver, .. } = self.defaults;
        only_sender == only_receiver || peer_sends == only_sender
    }

    pub(super) fn to_wire(&self) -> Vec<u8> {
        let Defaults { bare, words, only_sender, only_receiver, perishable, absolute, .. } = self.defaults;
        let letters = [
            (true, b':'),
            (absolute, b'/'),
            (self.cvs, b'C'),
            (!self.cvs && !self.inherits, b'n'),
            (!self.cvs && words, b'w'),
            (!self.cvs && bare == Some(false), b'-'),
            (!self.cvs && bare == Some(true), b'+'),
            (only_sender, b's'),
            (only_receiver, b'r'),
            (perishable, b'p'),
        ];
        let mut wire: Vec<u8> = letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect();
        wire.push(b' ');
        wire.extend_from_slice(&self.text);
        wire
    }
}

/// Understands rules one after the other.
pub(super) struct Parser<'a> {
    pub(super) reading: Reading,
    pub(super) read: Read<'a>,
    pub(super) from: From,
    /// How many files of rules name the one that is read.
    pub(super) depth: usize,
    pub(super) items: Vec<Item>,
    /// All rules so far were taken back.
    pub(super) cleared: bool,
}

/// What modifiers say.
#[derive(Default)]
struct Modifiers {
    defaults: Defaults,
    inverted: bool,
    attributes: bool,
    once: bool,
    itself: bool,
    cvs: bool,
}

impl Parser<'_> {
    /// Understands the rules of a file.
    pub(super) fn file(&mut self, text: &[u8], defaults: Defaults) -> Result<(), ArgsError> {
        let nul = self.reading.nul;
        let ends = |b: &u8| match (nul, *b) {
            (true, b) => b == 0,
            (false, b) => b == b'\n' || b == b'\r' || (defaults.words && b.is_ascii_whitespace()),
        };
        for line in text.split(ends).filter(|line| !line.is_empty()) {
            // A word is a rule with an underscore in it, whatever the manual says of blanks; and no remark.
            if defaults.words || !(line.starts_with(b"#") || line.starts_with(b";")) {
                self.rule(line, defaults)?;
            }
        }
        Ok(())
    }

    /// Understands a rule.
    pub(super) fn rule(&mut self, text: &[u8], defaults: Defaults) -> Result<(), ArgsError> {
        let clears = matches!(text, b"!" | b"clear") && (defaults.bare.is_none() || (defaults.clears && text == b"!"));
        if clears {
            self.items.clear();
            self.cleared = true;
            return Ok(());
        }
        if let Some(include) = defaults.bare {
            self.plain(text, include, &Modifiers { defaults, ..Modifiers::default() });
            return Ok(());
        }
        let (head, pattern) = split(text);
        let (kind, letters) = kind(head).ok_or_else(|| wrong(text, "it is not known"))?;
        let mut modifiers = modifiers(text, kind, letters, defaults)?;
        let needed = |known: bool| if known { Ok(()) } else { Err(wrong(text, "there is no pattern")) };
        match kind {
            b":" => {
                needed(!pattern.is_empty() || modifiers.cvs)?;
                self.merge(text, if pattern.is_empty() { cvs::FILE } else { pattern }, &modifiers)
            }
            b"." => {
                needed(!pattern.is_empty())?;
                self.merged(text, pattern, &modifiers)
            }
            _ if modifiers.cvs => {
                modifiers.defaults.perishable = true;
                let before = std::mem::take(&mut self.items);
                for pattern in cvs::patterns() {
                    self.plain(&pattern, false, &modifiers);
                }
                let patterns = std::mem::replace(&mut self.items, before);
                self.items.push(Item::Cvs(patterns.into()));
                Ok(())
            }
            _ => {
                needed(!pattern.is_empty())?;
                self.plain(pattern, kind.starts_with(b"+"), &modifiers);
                Ok(())
            }
        }
    }

    fn plain(&mut self, pattern: &[u8], include: bool, modifiers: &Modifiers) {
        let Defaults { only_sender, only_receiver, perishable, absolute, .. } = modifiers.defaults;
        let said = only_sender || only_receiver;
        let sides = Sides {
            sender: only_sender || !said,
            receiver: only_receiver || (!said && !self.reading.delete_excluded),
            said,
        };
        self.items.push(Item::Rule(Rule {
            include,
            sides,
            inverted: modifiers.inverted,
            perishable,
            absolute,
            attributes: modifiers.attributes,
            pattern: Pattern::new(pattern),
            text: pattern.to_vec(),
            from: self.from.clone(),
        }));
    }

    /// `:`
    fn merge(&mut self, text: &[u8], file: &[u8], modifiers: &Modifiers) -> Result<(), ArgsError> {
        let merge =
            Merge { text: file.to_vec(), defaults: modifiers.defaults, inherits: !modifiers.once, cvs: modifiers.cvs };
        let leads = merge.text.len() - merge.name().len();
        let above = &merge.text[..leads];
        let up = above.split(|b| *b == b'/').all(|element| matches!(element, b".." | b""));
        if merge.name().is_empty() || !(above.starts_with(b"/") || up) {
            return Err(ArgsError::Unsupported(format!("--filter={}", Shown(text))));
        }
        if modifiers.itself {
            self.plain(merge.name(), false, &Modifiers::default());
        }
        self.items.push(Item::Merge(Arc::new(merge), Arc::default()));
        Ok(())
    }

    /// `.`
    fn merged(&mut self, text: &[u8], file: &[u8], modifiers: &Modifiers) -> Result<(), ArgsError> {
        if self.depth == DEPTH_MAX {
            return Err(wrong(text, "too many files of rules name each other"));
        }
        if modifiers.itself {
            self.plain(crate::directories::split(file).1, false, &Modifiers::default());
        }
        let rules = (self.read)(file)?;
        self.depth += 1;
        let done = self.file(&rules, modifiers.defaults);
        self.depth -= 1;
        done
    }
}

/// Understands what stands between the kind of a rule and its pattern.
fn modifiers(text: &[u8], kind: &[u8], letters: &[u8], defaults: Defaults) -> Result<Modifiers, ArgsError> {
    let merges = matches!(kind, b":" | b".");
    let mut found = Modifiers {
        defaults: Defaults { bare: None, words: false, clears: false, ..defaults },
        ..Modifiers::default()
    };
    let (mut sender, mut receiver) = (kind.ends_with(b"s"), kind.ends_with(b"r"));
    for letter in letters {
        match letter {
            b',' => {}
            b's' => sender = true,
            b'r' => receiver = true,
            b'p' => found.defaults.perishable = true,
            b'/' => found.defaults.absolute = true,
            b'!' if !merges => found.inverted = true,
            b'-' | b'+' if merges => found.defaults.bare = Some(*letter == b'+'),
            b'e' if merges => found.itself = true,
            b'n' if merges => found.once = true,
            b'w' if merges => found.defaults.words = true,
            b'C' if merges => {
                (found.cvs, found.once) = (true, true);
                (found.defaults.bare, found.defaults.words, found.defaults.clears) = (Some(false), true, true);
            }
            b'C' if kind == b"-" => found.cvs = true,
            b'x' if !merges => found.attributes = true,
            b'x' => return Err(ArgsError::Unsupported(format!("--filter={}", Shown(text)))),
            _ => return Err(wrong(text, "a modifier is not known")),
        }
    }
    if sender || receiver {
        if defaults.only_sender || defaults.only_receiver {
            return Err(wrong(text, "the file that it is in concerns one side already"));
        }
        (found.defaults.only_sender, found.defaults.only_receiver) = (sender, receiver);
    }
    Ok(found)
}

/// For the fuzzer: the text of any file of rules is understood or refused.
pub(super) fn fuzz(data: &[u8]) -> Result<(), ArgsError> {
    let [shape, text @ ..] = data else { return Ok(()) };
    let defaults = Defaults {
        bare: (shape & 1 != 0).then_some(shape & 2 != 0),
        words: shape & 4 != 0,
        clears: shape & 8 != 0,
        ..Defaults::default()
    };
    let reading = Reading { nul: shape & 16 != 0, delete_excluded: shape & 32 != 0 };
    let (mut again, from) = (text.to_vec(), From::Root);
    let mut read = |_: &[u8]| Ok(std::mem::take(&mut again));
    Parser { reading, read: &mut read, from, depth: 0, items: Vec::new(), cleared: false }.file(text, defaults)
}
