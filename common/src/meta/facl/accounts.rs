//! Names of system accounts in permissions.facl.
//!
//! Upstream's mover writes the names of its image's passwd and group files (UBI 9, that is the `setup` package of RHEL
//! 9) and looks them up there again. These are the same tables, so that the numbers do not depend on where we run.

/// Users of RHEL 9's `setup` package (`/etc/passwd`).
const USERS: &[(&[u8], u32)] = &[
    (b"root", 0),
    (b"bin", 1),
    (b"daemon", 2),
    (b"adm", 3),
    (b"lp", 4),
    (b"sync", 5),
    (b"shutdown", 6),
    (b"halt", 7),
    (b"mail", 8),
    (b"operator", 11),
    (b"games", 12),
    (b"ftp", 14),
    (b"nobody", 65534),
];

/// Groups of RHEL 9's `setup` package (`/etc/group`).
const GROUPS: &[(&[u8], u32)] = &[
    (b"root", 0),
    (b"bin", 1),
    (b"daemon", 2),
    (b"sys", 3),
    (b"adm", 4),
    (b"tty", 5),
    (b"disk", 6),
    (b"lp", 7),
    (b"mem", 8),
    (b"kmem", 9),
    (b"wheel", 10),
    (b"cdrom", 11),
    (b"mail", 12),
    (b"man", 15),
    (b"dialout", 18),
    (b"floppy", 19),
    (b"games", 20),
    (b"tape", 33),
    (b"video", 39),
    (b"ftp", 50),
    (b"lock", 54),
    (b"audio", 63),
    (b"users", 100),
    (b"nobody", 65534),
];

/// The id of a user: a C integer or a name of the table.
pub(super) fn user(text: &[u8]) -> Option<u32> {
    number(text).or_else(|| named(USERS, text))
}

/// The id of a group: a C integer or a name of the table.
pub(super) fn group(text: &[u8]) -> Option<u32> {
    number(text).or_else(|| named(GROUPS, text))
}

fn named(table: &[(&[u8], u32)], name: &[u8]) -> Option<u32> {
    table.iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
}

/// What `strtol(text, .., 0)` reads: `0x` is hexadecimal, a leading 0 octal. Negative ids are taken modulo 2^16, as
/// setfacl does for old files. An id that `chown` could not be given is none.
fn number(text: &[u8]) -> Option<u32> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let (radix, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', rest @ ..] if !rest.is_empty() => (8, rest),
        _ => (10, digits),
    };
    let mut value: u64 = 0;
    for b in digits {
        let digit = char::from(*b).to_digit(radix)?;
        value = value.checked_mul(radix.into())?.checked_add(digit.into())?;
    }
    if digits.is_empty() {
        return None;
    }
    let value = if negative { value.wrapping_neg() & 0xffff } else { value };
    u32::try_from(value).ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_c_integers_or_known_names() {
        let cases: &[(&str, Option<u32>)] = &[
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("0x10", Some(16)),
            ("010", Some(8)),
            ("+7", Some(7)),
            ("-1", Some(65535)),
            ("-2", Some(65534)),
            ("4294967294", Some(4_294_967_294)),
            ("4294967295", None),
            ("99999999999999999999999", None),
            ("", None),
            ("-", None),
            ("0x", None),
            ("08", None),
            ("1 ", None),
            ("root", Some(0)),
            ("nobody", Some(65534)),
            ("alice", None),
        ];
        for (input, expect) in cases {
            assert_eq!(user(input.as_bytes()), *expect, "{input}");
        }
        assert_eq!(
            (group(b"wheel"), user(b"wheel"), group(b"mail"), user(b"mail")),
            (Some(10), None, Some(12), Some(8))
        );
    }
}
