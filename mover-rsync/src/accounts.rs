//! Names of users and groups of this machine, from the files themselves: a static binary has no other way, and the
//! images hold nothing else.

use std::collections::HashMap;
use std::path::Path;

use crate::wire::flist::Names;
use crate::wire::flist::ids::Told;

/// The accounts of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Table,
    groups: Table,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    names: HashMap<u32, Vec<u8>>,
    ids: HashMap<Vec<u8>, u32>,
}

impl Accounts {
    /// Reads `/etc/passwd` and `/etc/group`; what is missing or malformed is no account.
    pub fn read() -> Self {
        let file = |path: &str| std::fs::read(Path::new(path)).unwrap_or_default();
        Self::parse(&file("/etc/passwd"), &file("/etc/group"))
    }

    /// From the text of both files.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self { users: Table::parse(passwd), groups: Table::parse(group) }
    }
}

impl Table {
    /// Lines of `name:password:id:...`; the first of two equal ones counts, as for the C library.
    fn parse(text: &[u8]) -> Self {
        let mut table = Self::default();
        for line in text.split(|b| *b == b'\n') {
            let mut fields = line.split(|b| *b == b':');
            let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else { continue };
            let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
            if let (Some(id), false) = (id, name.is_empty()) {
                table.names.entry(id).or_insert_with(|| name.to_vec());
                table.ids.entry(name.to_vec()).or_insert(id);
            }
        }
        table
    }
}

impl Accounts {
    /// The number of a user by its name.
    pub fn user_id(&self, name: &[u8]) -> Option<u32> {
        self.users.ids.get(name).copied()
    }

    /// The number of a group by its name.
    pub fn group_id(&self, name: &[u8]) -> Option<u32> {
        self.groups.ids.get(name).copied()
    }
}

impl Names for Accounts {
    fn user(&self, id: u32) -> Option<&[u8]> {
        self.users.names.get(&id).map(Vec::as_slice)
    }

    fn group(&self, id: u32) -> Option<&[u8]> {
        self.groups.names.get(&id).map(Vec::as_slice)
    }
}

/// Which ids of the sender are which here.
#[derive(Clone, Debug, Default)]
pub struct IdMap {
    accounts: Option<Accounts>,
    /// Only root may give files to others.
    root: bool,
}

impl IdMap {
    /// Ids stay as they are.
    pub fn numeric() -> Self {
        Self::default()
    }

    /// Ids are mapped by the names that the sender tells; users only for root.
    pub fn by_name(accounts: Accounts, root: bool) -> Self {
        Self { accounts: Some(accounts), root }
    }

    /// The id of a user here. Root is never mapped.
    pub fn user(&self, id: u32, told: &Told) -> u32 {
        let mapped = self.accounts.as_ref().filter(|_| self.root && id != 0);
        let mapped = mapped.and_then(|own| own.users.ids.get(told.users.get(&id)?));
        mapped.copied().unwrap_or(id)
    }

    /// The id of a group here. Root's is never mapped.
    pub fn group(&self, id: u32, told: &Told) -> u32 {
        let mapped = self.accounts.as_ref().filter(|_| id != 0);
        let mapped = mapped.and_then(|own| own.groups.ids.get(told.groups.get(&id)?));
        mapped.copied().unwrap_or(id)
    }

    /// The accounts by whose names ids are mapped, if they are.
    pub fn accounts(&self) -> Option<&Accounts> {
        self.accounts.as_ref()
    }

    /// Whether nothing is ever mapped.
    pub fn is_numeric(&self) -> bool {
        self.accounts.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_names_except_that_of_root() {
        let own = Accounts::parse(b"root:x:0:0::/:/bin/sh\nmail:x:8:12:\nbad\nweb:x:33:33:\n", b"web:x:44:\n");
        assert_eq!((own.user(8), own.group(44), own.user(9)), (Some(&b"mail"[..]), Some(&b"web"[..]), None));
        let mut told = Told::default();
        told.users.extend([(1033, b"web".to_vec()), (0, b"mail".to_vec()), (5, b"nobody".to_vec())]);
        told.groups.insert(1033, b"web".to_vec());
        for (map, expect) in [
            (IdMap::by_name(own.clone(), true), (33, 44, 0, 5)),
            (IdMap::by_name(own, false), (1033, 44, 0, 5)),
            (IdMap::numeric(), (1033, 1033, 0, 5)),
        ] {
            let mapped = (map.user(1033, &told), map.group(1033, &told), map.user(0, &told), map.user(5, &told));
            assert_eq!(mapped, expect);
        }
    }
}
