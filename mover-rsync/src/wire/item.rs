//! What travels per file after the list: the item's flags and what they announce, and the line that tells people.

use super::{Input, Output, WireError, bad};

/// What changes and what follows, bit by bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemFlags(pub u16);

impl ItemFlags {
    /// The access time differs.
    pub const ATIME: u16 = 0x0001;
    /// The content differs, or a link, device or special was made.
    pub const CHANGE: u16 = 0x0002;
    /// The size differs; of a link: its time could not be set.
    pub const SIZE: u16 = 0x0004;
    /// The time differs.
    pub const TIME: u16 = 0x0008;
    /// The permission bits differ.
    pub const PERMS: u16 = 0x0010;
    /// The owner differs.
    pub const OWNER: u16 = 0x0020;
    /// The group differs.
    pub const GROUP: u16 = 0x0040;
    /// An access list differs.
    pub const ACL: u16 = 0x0080;
    /// Extended attributes differ.
    pub const XATTR: u16 = 0x0100;
    /// The time of creation differs.
    pub const CRTIME: u16 = 0x0400;
    /// The kind of the basis follows.
    pub const BASIS_FOLLOWS: u16 = 0x0800;
    /// A name follows.
    pub const NAME_FOLLOWS: u16 = 0x1000;
    /// It did not exist.
    pub const NEW: u16 = 0x2000;
    /// The receiving side did it without data.
    pub const LOCAL: u16 = 0x4000;
    /// Data is wanted.
    pub const TRANSFER: u16 = 0x8000;

    /// Whether one of `bits` is set.
    pub fn any(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    /// Whether all of `bits` are set.
    pub fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }
}

/// The longest path: PATH_MAX of Linux.
const NAME_MAX: usize = 4096;

/// The head of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// What changes.
    pub flags: ItemFlags,
    /// Which kind of basis the receiver has, when it is not the file itself.
    pub basis: Option<u8>,
    /// The partner of a hard link, or the leaf name of a basis.
    pub name: Option<Vec<u8>>,
}

impl Item {
    /// An item without basis and name.
    pub fn plain(flags: u16) -> Self {
        Self { flags: ItemFlags(flags), basis: None, name: None }
    }

    /// Appends what follows the index.
    pub fn write(&self, out: &mut impl Output) {
        out.short(self.flags.0);
        if let Some(basis) = self.basis {
            out.byte(basis);
        }
        if let Some(name) = &self.name {
            out.vstring(name);
        }
    }

    /// Takes what follows the index.
    pub fn read(input: &mut impl Input) -> Result<Self, WireError> {
        let flags = ItemFlags(input.short()?);
        let basis = if flags.any(ItemFlags::BASIS_FOLLOWS) { Some(input.byte()?) } else { None };
        let name = if flags.any(ItemFlags::NAME_FOLLOWS) { Some(input.vstring()?) } else { None };
        if name.as_ref().is_some_and(|name| name.len() > NAME_MAX) {
            return bad("an item with a name too long");
        }
        Ok(Self { flags, basis, name })
    }

    /// The eleven characters of `--itemize-changes`. `sent`: we are the sender. `times`: times are preserved.
    pub fn describe(&self, mode: u32, sent: bool, times: bool) -> String {
        let flags = self.flags;
        let first = if flags.any(ItemFlags::LOCAL) {
            if flags.any(ItemFlags::NAME_FOLLOWS) { 'h' } else { 'c' }
        } else if !flags.any(ItemFlags::TRANSFER) {
            '.'
        } else if sent {
            '<'
        } else {
            '>'
        };
        let symlink = mode & 0o170_000 == 0o120_000;
        let kind = match mode & 0o170_000 {
            0o100_000 => 'f',
            0o040_000 => 'd',
            0o120_000 => 'L',
            0o060_000 | 0o020_000 => 'D',
            _ => 'S',
        };
        let time = if times && !(symlink && flags.any(ItemFlags::SIZE)) { 't' } else { 'T' };
        let access = match (flags.any(ItemFlags::ATIME), flags.any(ItemFlags::CRTIME)) {
            (true, true) => 'b',
            (false, true) => 'n',
            _ => 'u',
        };
        let letters = [
            ('c', ItemFlags::CHANGE),
            ('s', if symlink { 0 } else { ItemFlags::SIZE }),
            (time, ItemFlags::TIME),
            ('p', ItemFlags::PERMS),
            ('o', ItemFlags::OWNER),
            ('g', ItemFlags::GROUP),
            (access, ItemFlags::ATIME | ItemFlags::CRTIME),
            ('a', ItemFlags::ACL),
            ('x', ItemFlags::XATTR),
        ];
        let new = flags.any(ItemFlags::NEW);
        let shown = |(letter, bit): &(char, u16)| {
            if new {
                '+'
            } else if flags.any(*bit) {
                *letter
            } else {
                '.'
            }
        };
        let rest: String = letters.iter().map(shown).collect();
        if rest.bytes().all(|b| b == b'.') && matches!(first, '.' | 'h' | 'c') {
            return format!("{first}{kind}         ");
        }
        format!("{first}{kind}{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_look_as_recorded() {
        let (file, dir, link, device) = (0o100_644, 0o040_755, 0o120_777, 0o060_644);
        for (flags, mode, expect) in [
            (0x0008, dir, ".d..t......"),
            (0x6002, link, "cL+++++++++"),
            (0x6002, device, "cD+++++++++"),
            (0x6002, 0o010_644, "cS+++++++++"),
            (0xa000, file, "<f+++++++++"),
            (0x809c, file, "<f.stp...a."),
            (0x6000, dir, "cd+++++++++"),
            (0x4002, link, "cLc........"),
            (0x0000, file, ".f         "),
            (0x0070, file, ".f...pog..."),
        ] {
            assert_eq!(Item::plain(flags).describe(mode, true, true), expect, "{flags:x}");
        }
        let link = Item { name: Some(b"sub/hard2".to_vec()), ..Item::plain(0x7000) };
        assert_eq!(link.describe(file, true, true), "hf+++++++++");
        assert_eq!(Item::plain(0x800c).describe(file, false, true), ">f.st......");
        assert_eq!(Item::plain(0x8008).describe(file, false, false), ">f..T......");
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(bytes in prop::collection::vec(any::<u8>(), 0..200), mode in any::<u32>()) {
            let mut input = &bytes[..];
            if let Ok(item) = Item::read(&mut input) {
                let mut out = Vec::new();
                item.write(&mut out);
                prop_assert_eq!(Item::read(&mut &out[..]).unwrap(), item.clone());
                prop_assert_eq!(item.describe(mode, true, true).len(), 11);
            }
        }
    }
}
