//! Which files take part: rsync's rules `+ PATTERN`, `- PATTERN` and their kin. The first rule that fits decides.
//!
//! An exclusion hides files from the sender and protects them from deletion at the receiving side; `s` and `r` bind a
//! rule to one of them. `.` reads further rules from a file of the client, `:` from a file in each directory of the tree.

mod cvs;
mod merge;
mod pattern;
mod tree;

use std::sync::Arc;

use volsync_common::path::Shown;

use crate::args::ArgsError;
use merge::{Merge, Read};
use pattern::Pattern;
pub(crate) use tree::{InTree, Site};

/// Rules in their order. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    items: Arc<[Item]>,
    reading: Reading,
}

/// How rules are understood wherever they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading {
    /// Exclusions protect nothing unless they say so.
    delete_excluded: bool,
    /// Rules of files end with NUL.
    nul: bool,
}

/// A rule, or what stands for further ones.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Rule(Rule),
    /// `:`: rules of a file in each directory, and those that are in force so far.
    Merge(Arc<Merge>, Arc<[Item]>),
    /// `-C`: what CVS ignores. It travels as such to a server that sends, which has a home of its own.
    Cvs(Arc<[Item]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    include: bool,
    sides: Sides,
    /// It fits what the pattern does not.
    inverted: bool,
    /// It does not keep a directory alive that is deleted.
    perishable: bool,
    /// It is held against the whole path on its machine.
    absolute: bool,
    /// It is about names of extended attributes, not of files.
    attributes: bool,
    pattern: Pattern,
    /// The pattern as it was written.
    text: Vec<u8>,
    /// Where it was read, for patterns that begin there.
    from: From,
}

/// The directory in whose file a rule stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum From {
    /// None, or the root of the transfer.
    #[default]
    Root,
    /// One in the transfer, whose paths begin with so many bytes.
    Below(usize),
    /// One above, from which this leads to the root of the transfer.
    Above(Arc<[u8]>),
}

/// Whom a rule concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sides {
    sender: bool,
    receiver: bool,
    /// The rule itself says so.
    said: bool,
}

/// What the rules of a file have by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Defaults {
    /// Lines are patterns alone, to be included or excluded.
    bare: Option<bool>,
    /// Every word is a rule, and there are no remarks.
    words: bool,
    /// `!` clears although lines are patterns.
    clears: bool,
    only_sender: bool,
    only_receiver: bool,
    perishable: bool,
    absolute: bool,
}

/// Rules with a word or a letter of their own: what they stand for.
const NAMES: [(&str, &str, &str); 8] = [
    ("exclude", "-", "-"),
    ("include", "+", "+"),
    ("hide", "H", "-s"),
    ("show", "S", "+s"),
    ("protect", "P", "-r"),
    ("risk", "R", "+r"),
    ("merge", ".", "."),
    ("dir-merge", ":", ":"),
];

impl Filter {
    /// Understands rules as they travel; `delete_excluded`: exclusions protect nothing unless they say so.
    pub fn new<R: AsRef<[u8]>>(rules: &[R], delete_excluded: bool) -> Result<Self, ArgsError> {
        Self::understand(rules, Reading { delete_excluded, nul: false }, &mut merge::nothing)
    }

    /// Understands rules as users write them; files of rules (`.`) are read. With `nul` their lines end with NUL.
    pub fn of_user<R: AsRef<[u8]>>(rules: &[R], delete_excluded: bool, nul: bool) -> Result<Self, ArgsError> {
        Self::understand(rules, Reading { delete_excluded, nul }, &mut merge::by_path)
    }

    fn understand<R: AsRef<[u8]>>(rules: &[R], reading: Reading, read: Read<'_>) -> Result<Self, ArgsError> {
        let mut parser = merge::Parser { reading, read, from: From::Root, depth: 0, items: Vec::new(), cleared: false };
        for rule in rules {
            parser.rule(rule.as_ref(), Defaults::default())?;
        }
        Ok(Self { items: parser.items.into(), reading })
    }

    /// With what CVS ignores at the end (`-C`). A client that receives spares it even with `--delete-excluded`, as rsync's.
    pub fn with_cvs(self, receives: bool) -> Result<Self, ArgsError> {
        let reading = Reading { delete_excluded: self.reading.delete_excluded && !receives, ..self.reading };
        let files = Self::understand(&[":C"], self.reading, &mut merge::nothing)?;
        let all = Self::understand(&["-C"], reading, &mut merge::nothing)?;
        let items = [&self.items[..], &files.items[..], &all.items[..]].concat();
        Ok(Self { items: items.into(), ..self })
    }

    /// Whether everything takes part.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether what is decided depends on more than the path in the file list: on files of the tree, or on where it is.
    pub fn needs_tree(&self) -> bool {
        needs_tree(&self.items)
    }

    /// The rules that concern a peer, which sends or receives, as they travel: in short form.
    pub fn to_wire(&self, peer_sends: bool) -> Vec<Vec<u8>> {
        let mut wire = Vec::new();
        for item in &*self.items {
            item.to_wire(peer_sends, &mut wire);
        }
        wire
    }

    /// What the rules say of extended attributes at the sending side or at the other one, if they say anything.
    pub fn attributes(&self, sends: bool) -> Option<Attributes> {
        let some = self.items.iter().any(|item| matches!(item, Item::Rule(rule) if rule.attributes));
        some.then(|| Attributes { filter: self.clone(), sends })
    }

    /// Whether the sender leaves this out; `path` is the one in the file list. Only what is said of all directories counts.
    pub fn hides(&self, path: &[u8], is_dir: bool) -> bool {
        excludes(&self.items, Seen { path, is_dir, above: b"" }, &Rule::hides)
    }

    /// Whether this must not be deleted at the receiving side. Only what is said of all directories counts.
    pub fn protects(&self, path: &[u8], is_dir: bool) -> bool {
        excludes(&self.items, Seen { path, is_dir, above: b"" }, &Rule::protects)
    }
}

/// Rules about extended attributes (`x`), for one of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    filter: Filter,
    sends: bool,
}

impl Attributes {
    /// Whether an attribute of this name does not travel.
    pub fn excludes(&self, name: &[u8]) -> bool {
        let seen = Seen { path: name, is_dir: false, above: b"" };
        let concerns = |rule: &Rule| if self.sends { rule.sides.sender } else { rule.sides.receiver };
        excludes(&self.filter.items, seen, &|rule| rule.attributes && concerns(rule))
    }
}

fn needs_tree(items: &[Item]) -> bool {
    items.iter().any(|item| match item {
        Item::Rule(rule) => rule.absolute,
        Item::Merge(..) => true,
        Item::Cvs(items) => needs_tree(items),
    })
}

/// Something that rules are held against.
#[derive(Clone, Copy)]
struct Seen<'a> {
    /// In the file list.
    path: &'a [u8],
    is_dir: bool,
    /// What leads to the root of the transfer, with a slash at the end.
    above: &'a [u8],
}

fn excludes(items: &[Item], seen: Seen<'_>, counts: &dyn Fn(&Rule) -> bool) -> bool {
    decision(items, seen, counts).is_some_and(|include| !include)
}

/// What the first rule that fits says.
fn decision(items: &[Item], seen: Seen<'_>, counts: &dyn Fn(&Rule) -> bool) -> Option<bool> {
    items.iter().find_map(|item| match item {
        Item::Rule(rule) => (counts(rule) && rule.fits(seen)).then_some(rule.include),
        Item::Merge(_, items) | Item::Cvs(items) => decision(items, seen, counts),
    })
}

impl Item {
    fn to_wire(&self, peer_sends: bool, wire: &mut Vec<Vec<u8>>) {
        let concerns = |sides: &Sides| if peer_sends { sides.sender } else { sides.receiver };
        match self {
            Self::Rule(rule) if concerns(&rule.sides) => wire.push(rule.to_wire()),
            Self::Merge(merge, _) if merge.concerns(peer_sends) => wire.push(merge.to_wire()),
            Self::Rule(_) | Self::Merge(..) => {}
            Self::Cvs(_) if peer_sends => wire.push(b"-C ".to_vec()),
            Self::Cvs(items) => items.iter().for_each(|item| item.to_wire(peer_sends, wire)),
        }
    }
}

impl Rule {
    fn hides(&self) -> bool {
        self.sides.sender && !self.attributes
    }

    fn protects(&self) -> bool {
        self.sides.receiver && !self.attributes
    }

    fn protects_in_deleted(&self) -> bool {
        self.protects() && !self.perishable
    }

    fn fits(&self, seen: Seen<'_>) -> bool {
        let whole;
        let path = match &self.from {
            _ if self.absolute => {
                whole = [seen.above, seen.path].concat();
                &whole
            }
            _ if !self.pattern.is_anchored() => seen.path,
            From::Root => seen.path,
            From::Below(len) => seen.path.get(*len..).unwrap_or_default(),
            From::Above(way) => {
                whole = [way, seen.path].concat();
                &whole
            }
        };
        self.pattern.fits(path, seen.is_dir) != self.inverted
    }

    fn to_wire(&self) -> Vec<u8> {
        let letters = [
            (self.include, b'+'),
            (!self.include, b'-'),
            (self.absolute, b'/'),
            (self.inverted, b'!'),
            (self.sides.sender && (self.sides.said || !self.sides.receiver), b's'),
            (self.sides.receiver && (self.sides.said || !self.sides.sender), b'r'),
            (self.perishable, b'p'),
            (self.attributes, b'x'),
        ];
        let mut wire: Vec<u8> = letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect();
        wire.push(b' ');
        wire.extend_from_slice(&self.text);
        wire
    }
}

/// What stands before the first blank or underscore, and what follows; of a rule without a pattern all of it, and nothing.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|b| matches!(b, b' ' | b'_')) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, b""),
    }
}

/// The kind of a rule in its short form, and the modifiers that follow it.
fn kind(head: &[u8]) -> Option<(&'static [u8], &[u8])> {
    NAMES.iter().find_map(|(word, letter, short)| {
        let rest = head.strip_prefix(word.as_bytes()).filter(|rest| rest.first().is_none_or(|b| *b == b','));
        let rest = rest.or_else(|| head.strip_prefix(letter.as_bytes()));
        rest.map(|rest| (short.as_bytes(), rest))
    })
}

fn wrong(text: &[u8], what: &str) -> ArgsError {
    ArgsError::Usage(format!("the filter rule {}: {what}", Shown(text)))
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
        let _ = (filter.hides(path, true), filter.protects(path, false), filter.to_wire(true));
        // What travels is understood, and means the same.
        let again = Filter::new(&filter.to_wire(false), false);
        assert!(again.is_ok_and(|again| again.protects(path, true) == filter.protects(path, true)));
    }
    let _ = merge::fuzz(data);
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

    /// The rules in a directory.
    fn tree(filter: &Filter, dir: &std::path::Path) -> InTree {
        use std::os::unix::ffi::OsStrExt as _;
        let root = volsync_common::dest::Dest::open(dir, volsync_common::dest::DestOptions::default()).unwrap();
        let path = dir.as_os_str().as_bytes().to_vec();
        InTree::new(
            filter,
            Site { root: Some(root), path, first: b".".to_vec(), prefix: Vec::new(), with_root: true, above: true },
        )
    }

    #[test]
    fn deleting_what_is_excluded_spares_what_is_protected_by_name() {
        let rules = Filter::new(&["- *.o", "-r save", "-p tmp"], true).unwrap();
        assert!(rules.hides(b"x.o", false) && !rules.protects(b"x.o", false) && rules.protects(b"save", false));
        let rules = filter(&["-p tmp"]);
        let temp = tempfile::tempdir().unwrap();
        let rules = tree(&rules, temp.path());
        assert!(rules.protects(b"tmp", false) && !rules.protects_in_deleted(b"d/tmp", false));
        assert!(!filter(&["- x", "!"]).hides(b"x", false));
    }

    #[test]
    fn rules_travel_in_short_form_to_whom_they_concern() {
        let wire = |rules: &[&str], peer_sends| {
            let all = Filter::new(rules, false).unwrap().to_wire(peer_sends);
            all.into_iter().map(|rule| String::from_utf8(rule).unwrap()).collect::<Vec<_>>()
        };
        let rules = ["include,! a b", "protect_x", "-p /y/", "H z", "-sr q", "hide,p r"];
        assert_eq!(wire(&rules, true), ["+! a b", "-p /y/", "-s z", "-sr q", "-sp r"]);
        assert_eq!(wire(&rules, false), ["+! a b", "-r x", "-p /y/", "-sr q"]);
        // As recorded of rsync 3.5.0.
        let merges = [":e .f", "dir-merge,n- /.f", ":ns- .g", ":w .h", ":p- .i", ":C", "-C", "-/ a"];
        let sent = ["- .f", ": .f", ":n- /.f", ":n-s .g", ":w .h", ":-p .i", ":C .cvsignore", "-C ", "-/ a"];
        assert_eq!(wire(&merges, true), sent);
        let told = wire(&merges, false);
        assert_eq!(
            (&told[..3], &told[3..7]),
            (
                &["- .f", ": .f", ":n- /.f"].map(String::from)[..],
                &[":w .h", ":-p .i", ":C .cvsignore", "-p RCS"].map(String::from)[..]
            )
        );
        // The real server takes no rule of the sending side together with --delete-excluded.
        assert!(Filter::new(&["- *.o"], true).unwrap().to_wire(false).is_empty());
    }

    #[test]
    fn files_of_rules_are_in_force_below_them() {
        let temp = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = temp.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(".f", "# a remark\n- *.o\n- /top\n+ a\n");
        write("a/.f", "+ keep.o\n- /here\n");
        write("a/b/.f", "!\n- c\n");
        write(".once", "x y\n+\n");
        write("a/.words", "-_q\n\t+_r -_s\n");
        let rules = tree(&filter(&[": .f", ":n- .once", ":w .words", "- z"]), temp.path());
        for (path, hidden) in [
            ("x.o", true),
            ("top", true),
            ("a/top", false),
            ("a/x.o", true),
            ("a/keep.o", false),
            ("keep.o", true),
            ("here", false),
            ("a/here", true),
            ("a/b/x.o", false),
            ("a/b/c", true),
            ("x y", true),
            ("+", true),
            ("d/x y", false),
            ("a/q", true),
            ("a/r", false),
            ("a/d/s", true),
            ("s", false),
            ("z", true),
        ] {
            assert_eq!(rules.hides(path.as_bytes(), false), hidden, "{path}");
        }
        assert!(rules.check().is_ok());
        let cleared = tree(&filter(&[": .f"]), temp.path());
        assert!(!cleared.hides(b"a/b/x.o", false) && cleared.hides(b"a/b/c", false));
        write("bad/.f", "nonsense\n");
        assert!(cleared.hides(b"bad/anything", false) && cleared.check().is_err());
        write("later/.f", "- l\n");
        assert!(rules.hides(b"later/l", false));
        write("later/.f", "- m\n");
        assert!(rules.hides(b"later/l", false));
        rules.forget();
        assert!(!rules.hides(b"later/l", false));
    }

    #[test]
    fn rules_may_be_about_whole_paths_and_lie_above() {
        let temp = tempfile::tempdir().unwrap();
        let (inner, outer) = (temp.path().join("in"), temp.path().canonicalize().unwrap());
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(temp.path().join(".f"), "- /in/x\n- y\n").unwrap();
        let rules = tree(&filter(&[": /.f", &format!("-/ {}/in/w", outer.display()), "-/ in/v"]), &inner);
        for (path, hidden) in [("x", true), ("y", true), ("w", true), ("v", true), ("d/x", false), ("in/x", false)] {
            assert_eq!(rules.hides(path.as_bytes(), false), hidden, "{path}");
        }
        assert!(!tree(&filter(&[": .f"]), &inner).hides(b"y", false));
        assert!(tree(&filter(&[": ../.f"]), &inner).hides(b"y", false));
    }

    #[test]
    fn users_may_have_files_of_rules_read() {
        let temp = tempfile::tempdir().unwrap();
        let (outer, inner) = (temp.path().join("outer"), temp.path().join("inner"));
        std::fs::write(&outer, format!(". {}\n- b\n", inner.display())).unwrap();
        std::fs::write(&inner, "- a\n").unwrap();
        let rule = format!("merge {}", outer.display());
        let rules = Filter::of_user(&[&rule], false, false).unwrap();
        assert!(rules.hides(b"a", false) && rules.hides(b"b", false) && !rules.needs_tree());
        std::fs::write(&inner, format!(". {}\n", outer.display())).unwrap();
        assert_eq!(Filter::of_user(&[&rule], false, false).unwrap_err().code(), 1);
        assert_eq!(Filter::of_user(&[". /does/not/exist"], false, false).unwrap_err().code(), 1);
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused() {
        for rule in [". file", "merge,e file", ":x x", ": a/b"] {
            assert_eq!(Filter::new(&[rule], false).unwrap_err().code(), 4, "{rule}");
        }
        for rule in ["", "x", "-", "- ", "?? x", "-q x", ":", ".", ":! x"] {
            assert_eq!(Filter::new(&[rule], false).unwrap_err().code(), 1, "{rule}");
        }
    }

    proptest! {
        #[test]
        fn no_rules_panic(text in "[-+HPR.:C!srpwn,/ *?\\[\\]\\\\a-c\n]{0,40}") {
            fuzz(text.as_bytes());
        }
    }
}
