//! Records as `getfacl` prints them.

use std::io::{self, Write};

use crate::meta::acl::{Acl, Entry};

/// What a record is about: a regular file or a directory.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Below the volume; empty for the volume itself.
    pub path: &'a [u8],
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// The mode, of which setuid, setgid and sticky are written.
    pub mode: u32,
    /// It is a directory below which nothing else is kept: an object store has no other trace of it.
    pub empty_directory: bool,
}

/// Writes one record, its path below `prefix` (`data`), with numbers for owners and groups: names would depend on the
/// reader's passwd file, and setfacl takes numbers.
///
/// The caller writes records for regular files and directories only: `setfacl --restore` follows links.
pub fn write_record(
    out: &mut impl Write,
    prefix: &[u8],
    subject: Subject<'_>,
    access: &Acl,
    default: Option<&Acl>,
) -> io::Result<()> {
    out.write_all(b"# file: ")?;
    write_escaped(out, prefix)?;
    if !prefix.is_empty() && !subject.path.is_empty() {
        out.write_all(b"/")?;
    }
    write_escaped(out, subject.path)?;
    write!(out, "\n# owner: {}\n# group: {}\n", subject.uid, subject.gid)?;
    write_flags(out, subject.mode)?;
    if subject.empty_directory {
        out.write_all(b"# ")?;
        out.write_all(super::EMPTY_DIRECTORY)?;
        out.write_all(b"\n")?;
    }
    write_entries(out, "", access)?;
    if let Some(default) = default {
        write_entries(out, "default:", default)?;
    }
    out.write_all(b"\n")
}

/// getfacl escapes the backslash, line feed and carriage return, and nothing else.
fn write_escaped(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for run in bytes.split_inclusive(|b| matches!(b, b'\\' | b'\n' | b'\r')) {
        let (plain, escape) = match run {
            [plain @ .., b'\\'] => (plain, &b"\\\\"[..]),
            [plain @ .., b'\n'] => (plain, &b"\\012"[..]),
            [plain @ .., b'\r'] => (plain, &b"\\015"[..]),
            plain => (plain, &b""[..]),
        };
        out.write_all(plain)?;
        out.write_all(escape)?;
    }
    Ok(())
}

fn write_flags(out: &mut impl Write, mode: u32) -> io::Result<()> {
    if mode & 0o7000 == 0 {
        return Ok(());
    }
    let flag = |bit, letter| if mode & bit == 0 { '-' } else { letter };
    writeln!(out, "# flags: {}{}{}", flag(0o4000, 's'), flag(0o2000, 's'), flag(0o1000, 't'))
}

fn write_entries(out: &mut impl Write, prefix: &str, acl: &Acl) -> io::Result<()> {
    for (entry, perm) in acl.entries() {
        out.write_all(prefix.as_bytes())?;
        let limited = match entry {
            Entry::Owner => out.write_all(b"user::").map(|()| false),
            Entry::User(id) => write!(out, "user:{id}:").map(|()| true),
            Entry::Group => out.write_all(b"group::").map(|()| true),
            Entry::NamedGroup(id) => write!(out, "group:{id}:").map(|()| true),
            Entry::Mask => out.write_all(b"mask::").map(|()| false),
            Entry::Other => out.write_all(b"other::").map(|()| false),
        }?;
        out.write_all(&letters(perm))?;
        if limited && perm & acl.limit() != perm {
            out.write_all(b"\t#effective:")?;
            out.write_all(&letters(perm & acl.limit()))?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn letters(perm: u8) -> [u8; 3] {
    let letter = |bit: u8, letter| if perm & bit == 0 { b'-' } else { letter };
    [letter(4, b'r'), letter(2, b'w'), letter(1, b'x')]
}
