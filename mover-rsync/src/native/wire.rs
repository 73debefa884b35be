//! What both ends say to each other about their trees.
//!
//! Strings are a vstring, numbers a varint (`wire::input`). The sender begins with [`Begin`], the receiving side with a
//! [`Judge`], at the same time. Then, in turns: an answer of the receiving side, a question of the sender, until that one
//! asks for nothing; [`Whole`] follows it. The first answer is a byte, 1 if there is a tree, and then the two digests of
//! its root. Every answer goes on with any number of directories it looks into, each behind a byte 1, and ends with a
//! byte 0. Directories have numbers in the order in which they are told, the root 0.

use std::collections::BTreeSet;

use volsync_common::path::RelPath;

use super::judge::Judge;
use super::plan::{Inside, Search};
use super::scan::Whole;
use super::tree::{Digest, Tree};
use crate::outcome::Counts;
use crate::wire::{Input, Output, WireError, bad};

/// More groups than Linux lets a process have.
const GROUPS_MAX: usize = 65_537;

/// More directories are not told or asked for.
const DIRECTORIES_MAX: usize = i32::MAX as usize;

/// What the sender has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    /// Where the tree goes, from the destination; `.` for the destination itself. `None`: the list tells everything.
    pub(super) root: Option<Vec<u8>>,
    /// The root's own attributes are judged.
    pub(super) with_root: bool,
}

impl Begin {
    pub(super) fn write(&self, out: &mut impl Output) {
        out.byte(u8::from(self.root.is_some()) | u8::from(self.with_root) << 1);
        if let Some(root) = &self.root {
            out.vstring(root);
        }
    }

    pub(super) fn read(input: &mut impl Input) -> Result<Self, WireError> {
        let bits = input.byte()?;
        let root = if bits & 1 == 1 { Some(input.vstring()?) } else { None };
        if root.as_ref().is_some_and(|root| root != b"." && RelPath::new(&root[..]).is_err()) {
            return bad("a tree that goes nowhere");
        }
        Ok(Self { root, with_root: bits & 2 == 2 })
    }
}

impl Judge {
    pub(super) fn write(&self, out: &mut impl Output) {
        out.short(self.flags);
        out.vstring(&self.own_group);
        out.count(self.groups.len());
        for group in &self.groups {
            out.vstring(group);
        }
    }

    pub(super) fn read(input: &mut impl Input) -> Result<Self, WireError> {
        let (flags, own_group) = (input.short()?, input.vstring()?);
        let mut groups = BTreeSet::new();
        for _ in 0..input.count(GROUPS_MAX, "the number of groups")? {
            groups.insert(input.vstring()?);
        }
        Ok(Self { flags, groups, own_group })
    }
}

impl Whole {
    pub(super) fn write(&self, out: &mut impl Output) {
        let Counts { files, directories, symlinks, devices, specials } = self.files;
        for number in [files, directories, symlinks, devices, specials, self.size] {
            out.varlong(number.cast_signed(), 3);
        }
    }

    pub(super) fn read(input: &mut impl Input) -> Result<Self, WireError> {
        let mut number = || input.varlong(3).map(i64::cast_unsigned);
        let (files, directories, symlinks) = (number()?, number()?, number()?);
        let (devices, specials, size) = (number()?, number()?, number()?);
        Ok(Self { files: Counts { files, directories, symlinks, devices, specials }, size })
    }
}

/// The numbers of directories that the sender wants to know more of.
pub(super) fn write_question(wanted: &[u32], out: &mut impl Output) {
    out.count(wanted.len());
    for number in wanted {
        out.count(*number as usize);
    }
}

/// Of `told` directories.
pub(super) fn read_question(told: usize, input: &mut impl Input) -> Result<Vec<u32>, WireError> {
    let count = input.count(told, "the number of directories asked for")?;
    let mut wanted = Vec::new();
    for _ in 0..count {
        let number = input.count(told.saturating_sub(1), "a directory asked for")?;
        wanted.push(u32::try_from(number).unwrap_or(u32::MAX));
    }
    Ok(wanted)
}

pub(super) fn write_root(tree: Option<&Tree>, out: &mut impl Output) {
    out.byte(u8::from(tree.is_some()));
    if let Some(tree) = tree {
        write_digests(tree.digests(0), out);
    }
}

pub(super) fn read_root(input: &mut impl Input) -> Result<Option<(Digest, Digest)>, WireError> {
    match input.byte()? {
        0 => Ok(None),
        1 => read_digests(input).map(Some),
        _ => bad("neither a tree nor none"),
    }
}

fn write_digests((own, total): (Digest, Digest), out: &mut impl Output) {
    out.raw(&own);
    out.raw(&total);
}

fn read_digests(input: &mut impl Input) -> Result<(Digest, Digest), WireError> {
    Ok((input.array()?, input.array()?))
}

/// A directory that is looked into, by its number, with the directories in it.
pub(super) fn write_inside(number: u32, tree: &Tree, node: usize, out: &mut impl Output) {
    out.byte(1);
    out.count(number as usize);
    out.count(tree.children(node).count());
    for child in tree.children(node) {
        out.vstring(tree.name(child));
        write_digests(tree.digests(child), out);
    }
}

/// The end of an answer.
pub(super) fn write_end(out: &mut impl Output) {
    out.byte(0);
}

/// Reads an answer to its end.
pub(super) fn read_answer(search: &mut Search<'_>, input: &mut impl Input) -> Result<(), WireError> {
    loop {
        match input.byte()? {
            0 => return Ok(()),
            1 => {
                let number = input.count(DIRECTORIES_MAX, "the number of a directory")?;
                let mut inside: Inside<'_> = search.inside(u32::try_from(number).unwrap_or(u32::MAX));
                for _ in 0..input.count(DIRECTORIES_MAX, "the number of directories")? {
                    let name = input.vstring()?;
                    let digests = read_digests(input)?;
                    search.child(&mut inside, &name, digests);
                }
            }
            _ => return bad("neither a directory nor the end"),
        }
    }
}

/// For the fuzzer: any bytes are an exchange or are refused.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let _ = Begin::read(&mut &data[..]);
    let _ = Judge::read(&mut &data[..]);
    let _ = Whole::read(&mut &data[..]);
    let _ = read_question(3, &mut &data[..]);
    let tree = super::tree::sample();
    let mut input = data;
    let Ok(Some(root)) = read_root(&mut input) else { return };
    let mut search = Search::new(&tree, root);
    while read_answer(&mut search, &mut input).is_ok() {
        let _ = search.wanted();
    }
    let _ = search.plan();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let begins = [Begin { root: None, with_root: false }, Begin { root: Some(b"a/b".to_vec()), with_root: true }];
        for begin in begins {
            let mut out = Vec::new();
            begin.write(&mut out);
            assert_eq!(Begin::read(&mut &out[..]).unwrap(), begin);
        }
        let groups = [b"nweb".to_vec(), b"#\x07\0\0\0".to_vec()].into();
        let judge = Judge { flags: 0x321, groups, own_group: b"nweb".to_vec() };
        let whole = Whole { files: Counts { files: 1_000_000, specials: 7, ..Counts::default() }, size: 1 << 50 };
        let mut out = Vec::new();
        judge.write(&mut out);
        whole.write(&mut out);
        write_question(&[0, 7], &mut out);
        let mut input = &out[..];
        assert_eq!((Judge::read(&mut input).unwrap(), Whole::read(&mut input).unwrap()), (judge, whole));
        assert_eq!(read_question(8, &mut input).unwrap(), [0, 7]);
    }

    #[test]
    fn paths_that_lead_out_and_numbers_never_told_are_refused() {
        for root in [&b".."[..], b"/etc", b"a/../..", b""] {
            let mut out = Vec::new();
            Begin { root: Some(root.to_vec()), with_root: false }.write(&mut out);
            assert!(Begin::read(&mut &out[..]).is_err(), "{root:?}");
        }
        let mut out = Vec::new();
        write_question(&[7], &mut out);
        assert!(read_question(7, &mut &out[..]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz(&bytes);
            fuzz(&[&[1], &[7; 32][..], &[1, 0, 2, 1, b'a'], &bytes].concat());
        }
    }
}
