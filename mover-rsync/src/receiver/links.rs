//! Groups of hard links: one member is made, the others become links to it.

use std::collections::HashMap;

/// Where a group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Its content is on the way, for this index; these wait for it.
    OnTheWay(u32, Vec<u32>),
    /// It stands at this path.
    There(Vec<u8>),
}

/// What to do with a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// It is the first: make it, and tell how that went.
    Leads,
    /// It waits for another one.
    Waits,
    /// Link it to this path.
    Links(Vec<u8>),
}

/// All groups of a session, by their number.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<u32, State>,
    /// The groups whose content is on the way, by the index that was asked for.
    asked: HashMap<u32, u32>,
}

impl Groups {
    /// A member comes up.
    pub(super) fn member(&mut self, group: u32, ndx: u32) -> Member {
        match self.groups.get_mut(&group) {
            None => Member::Leads,
            Some(State::There(path)) => Member::Links(path.clone()),
            Some(State::OnTheWay(_, waiting)) => {
                waiting.push(ndx);
                Member::Waits
            }
        }
    }

    /// The content of a member was asked for.
    pub(super) fn asked(&mut self, group: u32, ndx: u32, waiting: Vec<u32>) {
        self.asked.insert(ndx, group);
        self.groups.insert(group, State::OnTheWay(ndx, waiting));
    }

    /// A member stands at `path`.
    pub(super) fn there(&mut self, group: u32, path: Vec<u8>) {
        self.groups.insert(group, State::There(path));
    }

    /// The request for `ndx` ended, with content at `path` or without: which group that was, and who waits.
    pub(super) fn ended(&mut self, ndx: u32, path: Option<&[u8]>) -> Option<(u32, Vec<u32>)> {
        let group = self.asked.remove(&ndx)?;
        let waiting = match self.groups.remove(&group) {
            Some(State::OnTheWay(_, waiting)) => waiting,
            _ => Vec::new(),
        };
        if let Some(path) = path {
            self.there(group, path.to_vec());
        }
        Some((group, waiting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_wait_for_the_first_and_then_link_to_it() {
        let mut groups = Groups::default();
        assert_eq!(groups.member(7, 1), Member::Leads);
        groups.asked(7, 1, Vec::new());
        assert_eq!((groups.member(7, 2), groups.member(7, 5)), (Member::Waits, Member::Waits));
        assert_eq!(groups.ended(2, Some(b"x")), None);
        assert_eq!(groups.ended(1, Some(b"a")), Some((7, vec![2, 5])));
        assert_eq!(groups.member(7, 9), Member::Links(b"a".to_vec()));
    }

    #[test]
    fn without_the_first_the_next_one_leads() {
        let mut groups = Groups::default();
        groups.asked(7, 1, vec![2, 3]);
        assert_eq!(groups.ended(1, None), Some((7, vec![2, 3])));
        assert_eq!(groups.member(7, 4), Member::Leads);
    }
}
