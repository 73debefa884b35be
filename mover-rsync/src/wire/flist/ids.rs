//! Names of owners and groups.

use std::collections::{HashMap, HashSet};

use super::super::handshake::Compat;
use super::super::{Input, Output, WireError};
use super::ListOptions;

/// Looks up the names of ids on this machine.
pub trait Names {
    /// The name of a user.
    fn user(&self, id: u32) -> Option<&[u8]>;
    /// The name of a group.
    fn group(&self, id: u32) -> Option<&[u8]>;
}

/// No names: what `--numeric-ids` uses, and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numeric;

impl Names for Numeric {
    fn user(&self, _: u32) -> Option<&[u8]> {
        None
    }
    fn group(&self, _: u32) -> Option<&[u8]> {
        None
    }
}

/// Names that a sender told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Names of users by the sender's number.
    pub users: HashMap<u32, Vec<u8>>,
    /// Names of groups by the sender's number.
    pub groups: HashMap<u32, Vec<u8>>,
}

/// More names than this are not believed.
const NAMES_MAX: usize = 1 << 20;

impl Told {
    /// Takes the lists that follow a file list without segments.
    pub(super) fn read_lists(&mut self, options: &ListOptions, input: &mut impl Input) -> Result<(), WireError> {
        if options.numeric_ids {
            return Ok(());
        }
        if options.owner || options.acls {
            read_list(&mut self.users, options, input)?;
        }
        if options.group || options.acls {
            read_list(&mut self.groups, options, input)?;
        }
        Ok(())
    }
}

fn read_list(
    names: &mut HashMap<u32, Vec<u8>>,
    options: &ListOptions,
    input: &mut impl Input,
) -> Result<(), WireError> {
    loop {
        let id = input.varint()?.cast_unsigned();
        if id == 0 && !options.compat.has(Compat::ID0_NAMES) {
            return Ok(());
        }
        let name = read_name(input)?;
        if names.len() >= NAMES_MAX {
            return super::super::bad("too many names of owners");
        }
        names.insert(id, name);
        if id == 0 {
            return Ok(());
        }
    }
}

pub(super) fn read_name(input: &mut impl Input) -> Result<Vec<u8>, WireError> {
    let len = input.byte()?.into();
    input.bytes(len)
}

/// Ids that were used in a list, for the lists that follow it, or whose names were sent already.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    pub(super) users: HashSet<u32>,
    pub(super) groups: HashSet<u32>,
}

impl Used {
    /// Appends the lists that follow a file list without segments.
    pub(super) fn write_lists(&self, options: &ListOptions, names: &impl Names, out: &mut impl Output) {
        if options.numeric_ids {
            return;
        }
        if options.owner || options.acls {
            write_list(&self.users, |id| names.user(id), options, out);
        }
        if options.group || options.acls {
            write_list(&self.groups, |id| names.group(id), options, out);
        }
    }
}

fn write_list<'a>(
    used: &HashSet<u32>,
    name: impl Fn(u32) -> Option<&'a [u8]>,
    options: &ListOptions,
    out: &mut impl Output,
) {
    let mut ids: Vec<_> = used.iter().copied().filter(|id| *id != 0).collect();
    ids.sort_unstable();
    for id in ids {
        if let Some(name) = name(id).and_then(sendable) {
            out.varint(id.cast_signed());
            write_name(name, out);
        }
    }
    out.varint(0);
    if options.compat.has(Compat::ID0_NAMES) {
        write_name(name(0).and_then(sendable).unwrap_or_default(), out);
    }
}

/// A name that a byte can tell the length of.
pub(super) fn sendable(name: &[u8]) -> Option<&[u8]> {
    (1..=255).contains(&name.len()).then_some(name)
}

pub(super) fn write_name(name: &[u8], out: &mut impl Output) {
    out.byte(name.len().to_le_bytes()[0]);
    out.raw(name);
}
