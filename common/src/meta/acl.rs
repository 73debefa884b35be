//! POSIX access control lists and the form the kernel keeps them in (`system.posix_acl_access`, `_default`).
//!
//! The form is that of Linux `include/uapi/linux/posix_acl_xattr.h`: a version (2) in 32 bits, then entries of tag (16
//! bits), permissions (16 bits) and id (32 bits), all little endian.

use std::cmp::Ordering;

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;
const ENTRY: usize = 8;

/// A valid list: the three base entries, named users and groups by ascending id without repetition, and a mask if any
/// is named. Permissions are three bits, `rwx`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acl {
    user: u8,
    users: Vec<(u32, u8)>,
    group: u8,
    groups: Vec<(u32, u8)>,
    mask: Option<u8>,
    other: u8,
}

/// Why bytes or entries are no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// The version is not 2 or the length is not that of whole entries.
    #[error("it is not in the form of version 2")]
    Form,
    /// A tag that does not exist, or permissions beyond `rwx`.
    #[error("it has an unknown entry or permission")]
    Unknown,
    /// The owner's, the group's or the others' entry is missing.
    #[error("it lacks the entry of the owner, the group or the others")]
    Missing,
    /// The same entry twice.
    #[error("it has an entry twice")]
    Twice,
    /// Named users or groups without a mask.
    #[error("it names users or groups without a mask")]
    NoMask,
}

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// The owner.
    Owner,
    /// A user by id.
    User(u32),
    /// The owning group.
    Group,
    /// A group by id.
    NamedGroup(u32),
    /// What named entries and the group can have at most.
    Mask,
    /// Everybody else.
    Other,
}

/// Entries as they come, before they are a valid list.
#[derive(Clone, Debug, Default)]
pub struct AclBuilder {
    user: Option<u8>,
    users: Vec<(u32, u8)>,
    group: Option<u8>,
    groups: Vec<(u32, u8)>,
    mask: Option<u8>,
    other: Option<u8>,
}

impl AclBuilder {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.base().iter().all(Option::is_none)
            && self.mask.is_none()
            && self.users.is_empty()
            && self.groups.is_empty()
    }

    fn base(&self) -> [Option<u8>; 3] {
        [self.user, self.group, self.other]
    }

    /// Adds an entry; the last of several for the same counts.
    pub fn set(&mut self, entry: Entry, perm: u8) {
        let perm = perm & 7;
        match entry {
            Entry::Owner => self.user = Some(perm),
            Entry::User(id) => self.users.push((id, perm)),
            Entry::Group => self.group = Some(perm),
            Entry::NamedGroup(id) => self.groups.push((id, perm)),
            Entry::Mask => self.mask = Some(perm),
            Entry::Other => self.other = Some(perm),
        }
    }

    /// The list as setfacl completes it: base entries that are missing come from `base`, a missing mask is the union
    /// of what it limits.
    pub fn complete(self, base: Option<&Acl>) -> Result<Acl, AclError> {
        let or = |own: Option<u8>, base: Option<u8>| own.or(base).ok_or(AclError::Missing);
        let user = or(self.user, base.map(|b| b.user))?;
        let group = or(self.group, base.map(|b| b.group))?;
        let other = or(self.other, base.map(|b| b.other))?;
        let (users, groups) = (last_of_each(self.users), last_of_each(self.groups));
        let named = users.iter().chain(&groups).map(|(_, perm)| perm);
        let union = named.fold(group, |all, perm| all | perm);
        let mask = self.mask.or((!users.is_empty() || !groups.is_empty()).then_some(union));
        Ok(Acl { user, users, group, groups, mask, other })
    }
}

fn last_of_each(mut entries: Vec<(u32, u8)>) -> Vec<(u32, u8)> {
    entries.reverse();
    entries.sort_by_key(|(id, _)| *id);
    entries.dedup_by_key(|(id, _)| *id);
    entries
}

impl Acl {
    /// What the permission bits of `mode` say.
    pub fn from_mode(mode: u32) -> Self {
        let bits = |shift: u32| u8::try_from(mode >> shift & 7).unwrap_or(0);
        Self { user: bits(6), users: Vec::new(), group: bits(3), groups: Vec::new(), mask: None, other: bits(0) }
    }

    /// The permission bits that `stat` shows with this list: the group bits are the mask where there is one.
    pub fn mode(&self) -> u32 {
        u32::from(self.user) << 6 | u32::from(self.mask.unwrap_or(self.group)) << 3 | u32::from(self.other)
    }

    /// The permission bits for a file system without lists: nobody gets more than with the list.
    pub fn reduced_mode(&self) -> u32 {
        u32::from(self.user) << 6 | u32::from(self.group & self.limit()) << 3 | u32::from(self.other)
    }

    /// Whether permission bits say the same.
    pub fn is_minimal(&self) -> bool {
        self.mask.is_none()
    }

    /// The most that named entries and the group can have.
    pub fn limit(&self) -> u8 {
        self.mask.unwrap_or(7)
    }

    /// All entries in the order of both the kernel's and the text form.
    pub fn entries(&self) -> impl Iterator<Item = (Entry, u8)> {
        let users = self.users.iter().map(|(id, perm)| (Entry::User(*id), *perm));
        let groups = self.groups.iter().map(|(id, perm)| (Entry::NamedGroup(*id), *perm));
        std::iter::once((Entry::Owner, self.user))
            .chain(users)
            .chain([(Entry::Group, self.group)])
            .chain(groups)
            .chain(self.mask.map(|mask| (Entry::Mask, mask)))
            .chain([(Entry::Other, self.other)])
    }

    /// Reads the kernel's form. Entries may come in any order.
    pub fn from_xattr(bytes: &[u8]) -> Result<Self, AclError> {
        let (version, entries) = bytes.split_first_chunk::<4>().ok_or(AclError::Form)?;
        if u32::from_le_bytes(*version) != VERSION || entries.len() % ENTRY != 0 {
            return Err(AclError::Form);
        }
        let mut read = AclBuilder::default();
        for entry in entries.as_chunks::<ENTRY>().0 {
            read.read(*entry)?;
        }
        let count = read.users.len() + read.groups.len();
        if count > 0 && read.mask.is_none() {
            return Err(AclError::NoMask);
        }
        let acl = read.complete(None)?;
        if acl.users.len() + acl.groups.len() == count { Ok(acl) } else { Err(AclError::Twice) }
    }

    /// The kernel's form.
    pub fn to_xattr(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (entry, perm) in self.entries() {
            let (tag, id) = match entry {
                Entry::Owner => (USER_OBJ, NO_ID),
                Entry::User(id) => (USER, id),
                Entry::Group => (GROUP_OBJ, NO_ID),
                Entry::NamedGroup(id) => (GROUP, id),
                Entry::Mask => (MASK, NO_ID),
                Entry::Other => (OTHER, NO_ID),
            };
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&u16::from(perm).to_le_bytes());
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        bytes
    }
}

impl AclBuilder {
    fn read(&mut self, entry: [u8; ENTRY]) -> Result<(), AclError> {
        let [t0, t1, p0, p1, i0, i1, i2, i3] = entry;
        let perm = u8::try_from(u16::from_le_bytes([p0, p1])).ok().filter(|perm| *perm < 8).ok_or(AclError::Unknown)?;
        let id = u32::from_le_bytes([i0, i1, i2, i3]);
        let (entry, taken) = match u16::from_le_bytes([t0, t1]) {
            USER_OBJ => (Entry::Owner, self.user.is_some()),
            USER => (Entry::User(id), false),
            GROUP_OBJ => (Entry::Group, self.group.is_some()),
            GROUP => (Entry::NamedGroup(id), false),
            MASK => (Entry::Mask, self.mask.is_some()),
            OTHER => (Entry::Other, self.other.is_some()),
            _ => return Err(AclError::Unknown),
        };
        if taken {
            return Err(AclError::Twice);
        }
        self.set(entry, perm);
        Ok(())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |entry: &Self| match entry {
            Self::Owner => (0, 0),
            Self::User(id) => (1, *id),
            Self::Group => (2, 0),
            Self::NamedGroup(id) => (3, *id),
            Self::Mask => (4, 0),
            Self::Other => (5, 0),
        };
        rank(self).cmp(&rank(other))
    }
}

/// For the fuzzer: any bytes are refused or come back as they mean.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    if let Ok(acl) = Acl::from_xattr(data) {
        assert_eq!(Acl::from_xattr(&acl.to_xattr()), Ok(acl));
    }
}

#[cfg(test)]
pub(crate) use tests::any_acl;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn xattr(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            bytes.extend([&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat());
        }
        bytes
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let base = [(USER_OBJ, 7, NO_ID), (GROUP_OBJ, 5, NO_ID), (OTHER, 0, NO_ID)];
        let with = |more: &[(u16, u16, u32)]| Acl::from_xattr(&xattr(&[&base[..], more].concat()));
        assert_eq!(with(&[]), Ok(Acl::from_mode(0o750)));
        assert_eq!(with(&[(USER, 7, 1)]), Err(AclError::NoMask));
        assert_eq!(with(&[(USER, 7, 1), (USER, 6, 1), (MASK, 7, NO_ID)]), Err(AclError::Twice));
        assert_eq!(with(&[(OTHER, 7, NO_ID)]), Err(AclError::Twice));
        assert_eq!(with(&[(MASK, 8, NO_ID)]), Err(AclError::Unknown));
        assert_eq!(with(&[(64, 7, NO_ID)]), Err(AclError::Unknown));
        assert_eq!(Acl::from_xattr(&xattr(&base[1..])), Err(AclError::Missing));
        for bytes in [&b""[..], b"\x02\0\0", b"\x03\0\0\0", b"\x02\0\0\0\x01"] {
            assert_eq!(Acl::from_xattr(bytes), Err(AclError::Form));
        }
    }

    #[test]
    fn modes_never_grant_more_than_the_list() {
        let mut list = AclBuilder::default();
        for (entry, perm) in [(Entry::Owner, 7), (Entry::Group, 6), (Entry::User(5), 7), (Entry::Other, 1)] {
            list.set(entry, perm);
        }
        let all = list.clone().complete(None).unwrap();
        assert_eq!((all.mode(), all.reduced_mode(), all.limit()), (0o771, 0o761, 7));
        list.set(Entry::Mask, 4);
        assert_eq!(list.complete(None).map(|acl| (acl.mode(), acl.reduced_mode())), Ok((0o741, 0o741)));
    }

    /// Any valid list.
    pub(crate) fn any_acl() -> impl Strategy<Value = Acl> {
        let named = || prop::collection::vec((0u32..70_000, 0u8..8), 0..4);
        (0u32..0o1000, named(), named(), prop::option::of(0u8..8)).prop_map(|(mode, users, groups, mask)| {
            let mut builder = AclBuilder { users, groups, mask, ..AclBuilder::default() };
            for (entry, perm) in Acl::from_mode(mode).entries() {
                builder.set(entry, perm);
            }
            builder.complete(None).unwrap()
        })
    }

    proptest! {
        #[test]
        fn every_list_survives_the_kernels_form(acl in any_acl()) {
            prop_assert_eq!(Acl::from_xattr(&acl.to_xattr()), Ok(acl));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            fuzz(&bytes);
            fuzz(&[&VERSION.to_le_bytes()[..], &bytes].concat());
        }
    }
}
