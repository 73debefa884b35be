//! Access lists as they travel: without what the mode says already, repeated ones by number.
//!
//! Each direction keeps two lists of what was sent, one of access and one of default lists.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use volsync_common::meta::acl::{Acl, AclBuilder, AclError, Entry};

use super::{Input, Output, WireError, bad};

const USER_OBJ: u8 = 1;
const GROUP_OBJ: u8 = 2;
const MASK: u8 = 4;
const OTHER: u8 = 8;
const NAMED: u8 = 16;

const NAME_FOLLOWS: u32 = 1;
const IS_USER: u32 = 2;

/// More named entries than this are not believed; ext4 keeps some 500, XFS some 5,000.
const NAMED_MAX: usize = 65_536;

/// A user or group with an entry of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Named {
    /// Whether `id` is a user.
    pub user: bool,
    /// Number at the sender.
    pub id: u32,
    /// Three bits.
    pub perm: u8,
    /// Its name, when it travels here for the first time.
    pub name: Option<Vec<u8>>,
}

/// A list, complete only together with the mode of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WireAcl {
    user: Option<u8>,
    group: Option<u8>,
    mask: Option<u8>,
    other: Option<u8>,
    /// Named users and groups.
    pub named: Vec<Named>,
}

impl WireAcl {
    /// Whether nothing is in it: the mode says all, or there is no default list.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What must travel of the access list of a file with `mode`.
    pub fn access(acl: &Acl, mode: u32) -> Self {
        let mut own = Self::whole(acl);
        let group_bits = Some(bits(mode, 3));
        own.user = None;
        own.other = None;
        if own.mask.is_none() || own.group == group_bits {
            own.group = None;
        }
        if !own.named.is_empty() && own.mask == group_bits {
            own.mask = None;
        }
        own
    }

    /// A default list; `None` travels as an empty one.
    pub fn default_list(acl: Option<&Acl>) -> Self {
        acl.map_or_else(Self::default, Self::whole)
    }

    fn whole(acl: &Acl) -> Self {
        let mut own = Self::default();
        for (entry, perm) in acl.entries() {
            match entry {
                Entry::Owner => own.user = Some(perm),
                Entry::Group => own.group = Some(perm),
                Entry::Mask => own.mask = Some(perm),
                Entry::Other => own.other = Some(perm),
                Entry::User(id) => own.named.push(Named { user: true, id, perm, name: None }),
                Entry::NamedGroup(id) => own.named.push(Named { user: false, id, perm, name: None }),
            }
        }
        own
    }

    /// The whole access list of a file with `mode`.
    pub fn to_access(&self, mode: u32) -> Result<Acl, AclError> {
        let mut list = AclBuilder::default();
        list.set(Entry::Owner, self.user.unwrap_or(bits(mode, 6)));
        list.set(Entry::Group, self.group.unwrap_or(bits(mode, 3)));
        list.set(Entry::Other, self.other.unwrap_or(bits(mode, 0)));
        if let Some(mask) = self.mask.or((!self.named.is_empty()).then_some(bits(mode, 3))) {
            list.set(Entry::Mask, mask);
        }
        self.complete(list)
    }

    /// The default list, `None` when there is none.
    pub fn to_default(&self) -> Result<Option<Acl>, AclError> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut list = AclBuilder::default();
        list.set(Entry::Owner, self.user.unwrap_or(0));
        list.set(Entry::Group, self.group.unwrap_or(0));
        list.set(Entry::Other, self.other.unwrap_or(0));
        if let Some(mask) = self.mask {
            list.set(Entry::Mask, mask);
        }
        self.complete(list).map(Some)
    }

    fn complete(&self, mut list: AclBuilder) -> Result<Acl, AclError> {
        for named in &self.named {
            let entry = if named.user { Entry::User(named.id) } else { Entry::NamedGroup(named.id) };
            list.set(entry, named.perm);
        }
        list.complete(None)
    }

    fn write(&self, out: &mut impl Output) {
        let present = [(USER_OBJ, self.user), (GROUP_OBJ, self.group), (MASK, self.mask), (OTHER, self.other)];
        let mut flags = present.iter().filter(|(_, perm)| perm.is_some()).fold(0, |all, (flag, _)| all | flag);
        if !self.named.is_empty() {
            flags |= NAMED;
        }
        out.byte(flags);
        for perm in present.into_iter().filter_map(|(_, perm)| perm) {
            out.varint(perm.into());
        }
        if self.named.is_empty() {
            return;
        }
        out.count(self.named.len());
        for named in &self.named {
            out.varint(named.id.cast_signed());
            let name = named.name.as_deref().filter(|name| !name.is_empty() && name.len() <= 255);
            let follows = if name.is_some() { NAME_FOLLOWS } else { 0 };
            let user = if named.user { IS_USER } else { 0 };
            out.varint((u32::from(named.perm) << 2 | user | follows).cast_signed());
            if let Some(name) = name {
                out.byte(name.len().to_le_bytes()[0]);
                out.raw(name);
            }
        }
    }

    fn read(input: &mut impl Input) -> Result<Self, WireError> {
        let flags = input.byte()?;
        let mut acl = Self::default();
        for (flag, perm) in
            [(USER_OBJ, &mut acl.user), (GROUP_OBJ, &mut acl.group), (MASK, &mut acl.mask), (OTHER, &mut acl.other)]
        {
            if flags & flag != 0 {
                *perm = Some(permission(input.varint()?.cast_unsigned())?);
            }
        }
        if flags & NAMED != 0 {
            for _ in 0..input.count(NAMED_MAX, "a number of access list entries")? {
                acl.named.push(read_named(input)?);
            }
        }
        Ok(acl)
    }
}

fn read_named(input: &mut impl Input) -> Result<Named, WireError> {
    let id = input.varint()?.cast_unsigned();
    let access = input.varint()?.cast_unsigned();
    let perm = permission(access >> 2)?;
    let name = if access & NAME_FOLLOWS == 0 {
        None
    } else {
        let len = input.byte()?.into();
        Some(input.bytes(len)?)
    };
    Ok(Named { user: access & IS_USER != 0, id, perm, name })
}

fn permission(value: u32) -> Result<u8, WireError> {
    match u8::try_from(value) {
        Ok(perm @ 0..=7) => Ok(perm),
        _ => bad(format!("the permissions {value:#x} in an access list")),
    }
}

fn bits(mode: u32, shift: u32) -> u8 {
    (mode >> shift & 7).to_le_bytes()[0]
}

/// What a writer remembers of one kind of record.
#[derive(Debug)]
pub struct Sent<T>(HashMap<T, i32>);

impl<T> Default for Sent<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Hash + Eq> Sent<T> {
    /// The number behind which `value` was sent, or its being new.
    pub fn number(&self, value: &T) -> Option<i32> {
        self.0.get(value).copied()
    }

    /// Remembers what was just sent in full.
    pub fn add(&mut self, value: T) {
        let next = i32::try_from(self.0.len() + 1).unwrap_or(i32::MAX);
        self.0.insert(value, next);
    }
}

/// What a reader remembers of one kind of record.
#[derive(Debug)]
pub struct Received<T>(Vec<Arc<T>>);

impl<T> Default for Received<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Received<T> {
    /// The record behind `number`, `None` when a new one follows.
    pub fn find(&self, number: i32, what: &'static str) -> Result<Option<Arc<T>>, WireError> {
        match usize::try_from(number) {
            Ok(0) => Ok(None),
            Ok(number) if number <= self.0.len() => Ok(Some(self.0[number - 1].clone())),
            _ => bad(format!("the {what} number {number} was never sent")),
        }
    }

    /// Remembers a new record.
    pub fn add(&mut self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        self.0.push(value.clone());
        value
    }
}

/// Appends a list: by its number, or in full. `names` gives the names that travel with it for the first time.
pub fn write(sent: &mut Sent<WireAcl>, acl: &WireAcl, names: impl FnOnce(&mut WireAcl), out: &mut impl Output) {
    if let Some(number) = sent.number(acl) {
        return out.varint(number);
    }
    out.varint(0);
    let mut named = acl.clone();
    names(&mut named);
    named.write(out);
    sent.add(acl.clone());
}

/// Takes a list.
pub fn read(received: &mut Received<WireAcl>, input: &mut impl Input) -> Result<Arc<WireAcl>, WireError> {
    let number = input.varint()?;
    match received.find(number, "access list")? {
        Some(acl) => Ok(acl),
        None => Ok(received.add(WireAcl::read(input)?)),
    }
}

/// For the fuzzer: any bytes are refused or come back as they mean.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let (mut input, mut received) = (data, Received::default());
    while let Ok(acl) = read(&mut received, &mut input) {
        let mut out = Vec::new();
        acl.write(&mut out);
        // Empty names are not sent, so they do not come back.
        if acl.named.iter().all(|named| named.name != Some(Vec::new())) {
            assert_eq!(WireAcl::read(&mut &out[..]).ok().as_ref(), Some(&*acl));
        }
        let _ = (acl.to_access(0o640), acl.to_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(mode: u32, more: &[(Entry, u8)]) -> Acl {
        let mut builder = AclBuilder::default();
        for (entry, perm) in Acl::from_mode(mode).entries().chain(more.iter().copied()) {
            builder.set(entry, perm);
        }
        builder.complete(None).unwrap()
    }

    fn sent(acl: &WireAcl, sent: &mut Sent<WireAcl>) -> Vec<u8> {
        let mut out = Vec::new();
        write(sent, acl, |_| {}, &mut out);
        out
    }

    #[test]
    fn lists_look_as_recorded() {
        let mut known = Sent::default();
        let plain = WireAcl::access(&list(0o644, &[]), 0o644);
        assert_eq!(sent(&plain, &mut known), [0, 0]);
        assert_eq!(sent(&plain, &mut known), [1]);
        let acl = list(0o644, &[(Entry::User(1), 6), (Entry::NamedGroup(4243), 4), (Entry::Mask, 6)]);
        let rich = WireAcl::access(&acl, 0o664);
        assert_eq!(sent(&rich, &mut known), [0, 0x12, 4, 2, 1, 0x1a, 0x90, 0x93, 0x10]);
        assert_eq!(rich.to_access(0o664), Ok(acl));
        let default = WireAcl::default_list(Some(&list(0o755, &[(Entry::User(1), 7), (Entry::Mask, 7)])));
        let mut out = Vec::new();
        write(&mut Sent::default(), &default, |acl| acl.named[0].name = Some(b"daemon".to_vec()), &mut out);
        assert_eq!(out, b"\0\x1f\x07\x05\x07\x05\x01\x01\x1f\x06daemon");
    }

    #[test]
    fn hostile_lists_are_refused() {
        for bytes in [&[2][..], &[0xf0, 0xff, 0xff, 0xff, 0xff], &[0, 1, 8], &[0, 16, 1, 5, 0x20], &[0, 16, 0xff]] {
            assert!(read(&mut Received::default(), &mut &bytes[..]).is_err(), "{bytes:x?}");
        }
    }

    fn any_list() -> impl Strategy<Value = Acl> {
        let named = || prop::collection::vec((0u32..70_000, 0u8..8), 0..4);
        (0u32..0o1000, named(), named(), prop::option::of(0u8..8)).prop_map(|(mode, users, groups, mask)| {
            let users = users.into_iter().map(|(id, perm)| (Entry::User(id), perm));
            let groups = groups.into_iter().map(|(id, perm)| (Entry::NamedGroup(id), perm));
            let mask = mask.map(|mask| (Entry::Mask, mask));
            list(mode, &users.chain(groups).chain(mask).collect::<Vec<_>>())
        })
    }

    proptest! {
        #[test]
        fn every_list_comes_back(acls in prop::collection::vec(any_list(), 1..6)) {
            let (mut out, mut sent, mut received) = (Vec::new(), Sent::default(), Received::default());
            for acl in acls.iter().chain(&acls) {
                write(&mut sent, &WireAcl::access(acl, acl.mode()), |_| {}, &mut out);
                write(&mut sent, &WireAcl::default_list(Some(acl)), |_| {}, &mut out);
            }
            let mut input = &out[..];
            for acl in acls.iter().chain(&acls) {
                let access = read(&mut received, &mut input).unwrap();
                prop_assert_eq!(access.to_access(acl.mode()), Ok(acl.clone()));
                let default = read(&mut received, &mut input).unwrap();
                prop_assert_eq!(default.to_default(), Ok(Some(acl.clone())));
            }
            prop_assert!(input.is_empty());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            fuzz(&bytes);
        }
    }
}
