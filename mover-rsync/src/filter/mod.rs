//! Which files take part: rsync's rules `+ PATTERN`, `- PATTERN` and their kin. The first rule that fits decides.
//!
//! An exclusion hides files from the sender and protects them from deletion at the receiving side; `s` and `r` bind a
//! rule to one of them. Rules that read further rules from files of the tree (`:` and `.`) are refused by name.

mod pattern;

use std::sync::Arc;

use volsync_common::path::Shown;

use crate::args::ArgsError;
use pattern::Pattern;

/// Rules in their order. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Filter(Arc<[Rule]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    include: bool,
    sender: bool,
    receiver: bool,
    /// It fits what the pattern does not.
    inverted: bool,
    /// It does not keep a directory alive that is deleted.
    perishable: bool,
    pattern: Pattern,
    /// The pattern as it was written.
    text: Vec<u8>,
}

/// Rules with a word or a letter of their own: what they stand for.
const NAMES: [(&str, &str, &str); 6] = [
    ("exclude", "-", "-"),
    ("include", "+", "+"),
    ("hide", "H", "-s"),
    ("show", "S", "+s"),
    ("protect", "P", "-r"),
    ("risk", "R", "+r"),
];

impl Filter {
    /// Understands rules as they travel and as users write them; `delete_excluded`: exclusions protect nothing unless
    /// they say so.
    pub fn new<R: AsRef<[u8]>>(rules: &[R], delete_excluded: bool) -> Result<Self, ArgsError> {
        let mut parsed = Vec::new();
        for rule in rules {
            let rule = rule.as_ref();
            if matches!(rule, b"!" | b"clear") {
                parsed.clear();
            } else {
                parsed.push(Rule::parse(rule, delete_excluded)?);
            }
        }
        Ok(Self(parsed.into()))
    }

    /// Whether everything takes part.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rules that concern a peer, which sends or receives, as they travel: in short form.
    pub fn to_wire(&self, peer_sends: bool) -> Vec<Vec<u8>> {
        let concern = self.0.iter().filter(|rule| if peer_sends { rule.sender } else { rule.receiver });
        concern.map(Rule::to_wire).collect()
    }

    /// Whether the sender leaves this out; `path` is the one in the file list.
    pub fn hides(&self, path: &[u8], is_dir: bool) -> bool {
        self.excludes(path, is_dir, |rule| rule.sender)
    }

    /// Whether this must not be deleted at the receiving side.
    pub fn protects(&self, path: &[u8], is_dir: bool) -> bool {
        self.excludes(path, is_dir, |rule| rule.receiver)
    }

    /// Whether this must not be deleted together with the directory that it is in.
    pub fn protects_in_deleted(&self, path: &[u8], is_dir: bool) -> bool {
        self.excludes(path, is_dir, |rule| rule.receiver && !rule.perishable)
    }

    fn excludes(&self, path: &[u8], is_dir: bool, counts: impl Fn(&Rule) -> bool) -> bool {
        let fits = |rule: &&Rule| counts(rule) && rule.pattern.fits(path, is_dir) != rule.inverted;
        self.0.iter().find(fits).is_some_and(|rule| !rule.include)
    }
}

impl Rule {
    fn parse(text: &[u8], delete_excluded: bool) -> Result<Self, ArgsError> {
        let usage = |what: &str| ArgsError::Usage(format!("the filter rule {}: {what}", Shown(text)));
        let unsupported = || ArgsError::Unsupported(format!("--filter={}", Shown(text)));
        let (head, pattern) = split(text).ok_or_else(|| usage("there is no pattern"))?;
        let (kind, modifiers) = kind(head).ok_or_else(|| {
            // Merge files, and words of which nothing is known.
            if matches!(head.first(), Some(b':' | b'.')) || head.windows(5).any(|five| five == b"merge") {
                unsupported()
            } else {
                usage("it is not known")
            }
        })?;
        let mut rule = Self {
            include: kind.starts_with(b"+"),
            sender: true,
            receiver: true,
            inverted: false,
            perishable: false,
            pattern: Pattern::new(pattern),
            text: pattern.to_vec(),
        };
        let (mut only_sender, mut only_receiver) = (kind.ends_with(b"s"), kind.ends_with(b"r"));
        for modifier in modifiers {
            match modifier {
                b's' => only_sender = true,
                b'r' => only_receiver = true,
                b'!' => rule.inverted = true,
                b'p' => rule.perishable = true,
                b',' => {}
                b'/' | b'C' | b'x' | b'e' | b'n' | b'w' => return Err(unsupported()),
                _ => return Err(usage("a modifier is not known")),
            }
        }
        if delete_excluded && !only_sender && !only_receiver {
            only_sender = true;
        }
        if only_sender != only_receiver {
            (rule.sender, rule.receiver) = (only_sender, only_receiver);
        }
        Ok(rule)
    }
}

impl Rule {
    fn to_wire(&self) -> Vec<u8> {
        let letters = [
            (self.include, b'+'),
            (!self.include, b'-'),
            (self.inverted, b'!'),
            (self.perishable, b'p'),
            (!self.receiver, b's'),
            (!self.sender, b'r'),
        ];
        let mut wire: Vec<u8> = letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect();
        wire.push(b' ');
        wire.extend_from_slice(&self.text);
        wire
    }
}

/// What stands before the first blank or underscore, and the pattern.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| matches!(b, b' ' | b'_'))?;
    let (head, pattern) = (&text[..at], &text[at + 1..]);
    (!pattern.is_empty()).then_some((head, pattern))
}

/// The kind of a rule in its short form, and the modifiers that follow it.
fn kind(head: &[u8]) -> Option<(&'static [u8], &[u8])> {
    NAMES.iter().find_map(|(word, letter, short)| {
        let rest = head.strip_prefix(word.as_bytes()).filter(|rest| rest.first().is_none_or(|b| *b == b','));
        let rest = rest.or_else(|| head.strip_prefix(letter.as_bytes()));
        rest.map(|rest| (short.as_bytes(), rest))
    })
}

/// For the fuzzer: any rules are understood or refused, and fit or do not fit any path.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let (path, rules) = data.split_at(data.len() / 3);
    let rules: Vec<_> = rules.split(|b| *b == b'\n').collect();
    for rule in &rules {
        let _ = Filter::new(&[rule], true);
    }
    if let Ok(filter) = Filter::new(&rules, false) {
        let _ = (filter.hides(path, true), filter.protects(path, false), filter.protects_in_deleted(path, true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(rules: &[&str]) -> Filter {
        Filter::new(rules, false).unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_decides_for_its_side() {
        let rules = filter(&["+ keep.o", "- *.o", "-r save", "P kept", "hide,! /*/", "-s /hidden"]);
        for (path, is_dir, hidden, protected) in [
            ("keep.o", true, false, false),
            ("a/x.o", true, true, true),
            ("save", true, false, true),
            ("d/kept", true, true, true),
            ("x", false, true, false),
            ("x", true, false, false),
            ("hidden", true, true, false),
        ] {
            let found = (rules.hides(path.as_bytes(), is_dir), rules.protects(path.as_bytes(), is_dir));
            assert_eq!(found, (hidden, protected), "{path}");
        }
    }

    #[test]
    fn deleting_what_is_excluded_spares_what_is_protected_by_name() {
        let rules = Filter::new(&["- *.o", "-r save", "-p tmp"], true).unwrap();
        assert!(rules.hides(b"x.o", false) && !rules.protects(b"x.o", false) && rules.protects(b"save", false));
        let rules = filter(&["-p tmp"]);
        assert!(rules.protects(b"tmp", false) && !rules.protects_in_deleted(b"d/tmp", false));
        assert!(!filter(&["- x", "!"]).hides(b"x", false));
    }

    #[test]
    fn rules_travel_in_short_form_to_whom_they_concern() {
        let wire = |rules: &[&str], peer_sends| {
            let all = Filter::new(rules, false).unwrap().to_wire(peer_sends);
            all.into_iter().map(|rule| String::from_utf8(rule).unwrap()).collect::<Vec<_>>()
        };
        let rules = ["include,! a b", "protect_x", "-p /y/", "H z"];
        assert_eq!(wire(&rules, true), ["+! a b", "-p /y/", "-s z"]);
        assert_eq!(wire(&rules, false), ["+! a b", "-r x", "-p /y/"]);
        // The real server takes no rule of the sending side together with --delete-excluded.
        assert!(Filter::new(&["- *.o"], true).unwrap().to_wire(false).is_empty());
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused() {
        for (rule, code) in [(":- .rsyncignore", 4), (". file", 4), ("dir-merge .x", 4), ("-C x", 4), ("-/ x", 4)] {
            assert_eq!(Filter::new(&[rule], false).unwrap_err().code(), code, "{rule}");
        }
        for rule in ["", "x", "-", "- ", "?? x", "-q x"] {
            assert_eq!(Filter::new(&[rule], false).unwrap_err().code(), 1, "{rule}");
        }
    }

    proptest! {
        #[test]
        fn no_rules_panic(text in "[-+HPR!sr,/ *?\\[\\]\\\\a-c\n]{0,40}") {
            fuzz(text.as_bytes());
        }
    }
}
