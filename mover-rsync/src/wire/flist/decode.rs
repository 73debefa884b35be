//! Reading a list.

use std::borrow::Cow;
use std::sync::Arc;

use volsync_common::path::{Shown, check};
use volsync_common::time::Timestamp;

use super::super::acl::{self, Received, WireAcl};
use super::super::frame::io_error;
use super::super::xattr::{self, Xattrs};
use super::super::{Input, WireError, bad};
use super::ids::{Told, read_name};
use super::{Entry, FileList, ListOptions, PATH_MAX, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG};
use super::{S_IFSOCK, Span, bits};

/// Entries of one segment that are believed; each takes some memory before anything is checked against the disk.
const ENTRIES_MAX: u32 = 1 << 28;

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Error bits of the sender ([`io_error`]).
    pub io_error: u32,
}

/// Reads the lists of a session; entries repeat what the one before had, across segments.
#[derive(Debug)]
pub struct Decoder {
    options: ListOptions,
    previous: Previous,
    access: Received<WireAcl>,
    default: Received<WireAcl>,
    xattrs: Received<Xattrs>,
    /// Names of owners that came so far.
    pub told: Told,
    /// Where all paths of the segment must lie.
    dir: Option<Vec<u8>>,
}

/// What the next entry may repeat.
#[derive(Clone, Debug, Default)]
struct Previous {
    name: Vec<u8>,
    mode: u32,
    mtime: i64,
    uid: u32,
    gid: u32,
    major: u32,
}

impl Decoder {
    /// Nothing read yet.
    pub fn new(options: ListOptions) -> Self {
        Self {
            options,
            previous: Previous::default(),
            access: Received::default(),
            default: Received::default(),
            xattrs: Received::default(),
            told: Told::default(),
            dir: None,
        }
    }

    /// Reads a whole list, or the first segment, whose first index is `start`; sorted.
    pub fn read_first(&mut self, start: u32, input: &mut impl Input) -> Result<(FileList, End), WireError> {
        self.dir = None;
        let (list, end) = self.read(start, input)?;
        if !self.options.segments() {
            self.told.read_lists(&self.options, input)?;
        }
        Ok((list, end))
    }

    /// Reads the segment of the directory `dir` (`.` for the root); sorted. Every path must lie directly in it.
    pub fn read_segment(
        &mut self,
        start: u32,
        dir: &[u8],
        input: &mut impl Input,
    ) -> Result<(FileList, End), WireError> {
        self.dir = Some(dir.to_vec());
        self.read(start, input)
    }

    fn read(&mut self, start: u32, input: &mut impl Input) -> Result<(FileList, End), WireError> {
        let mut list = FileList::new(start);
        loop {
            let flags = self.flags(input)?;
            if let Some(end) = self.end(flags, input)? {
                list.sort();
                return Ok((list, end));
            }
            if list.end() - start >= ENTRIES_MAX {
                return bad("a file list of too many entries");
            }
            let entry = self.entry(flags, &mut list, input)?;
            list.entries.push(entry);
        }
    }

    fn flags(&self, input: &mut impl Input) -> Result<u32, WireError> {
        if self.options.varint_flags() {
            return Ok(input.varint()?.cast_unsigned());
        }
        let low = u32::from(input.byte()?);
        if low & bits::EXTENDED == 0 { Ok(low) } else { Ok(low | u32::from(input.byte()?) << 8) }
    }

    /// The end of the list, if `flags` say so.
    fn end(&self, flags: u32, input: &mut impl Input) -> Result<Option<End>, WireError> {
        let mask = |error: i32| Some(End { io_error: error.cast_unsigned() & io_error::ALL });
        if flags == 0 {
            let error = if self.options.varint_flags() { input.varint()? } else { 0 };
            return Ok(mask(error));
        }
        let with_error = bits::EXTENDED | bits::END_WITH_ERROR;
        if !self.options.varint_flags() && flags == with_error {
            if !self.options.safe_end() {
                return bad("an end of the file list that was not agreed on");
            }
            return Ok(mask(input.varint()?));
        }
        Ok(None)
    }

    fn entry(&mut self, flags: u32, list: &mut FileList, input: &mut impl Input) -> Result<Entry, WireError> {
        self.name(flags, input)?;
        let path = self.path(list)?;
        let number = list.end();
        let group = self.group(flags, number, input)?;
        let mut entry = match group.filter(|group| (list.start..number).contains(group)) {
            Some(first) => {
                let entry = repeated(list, first)?;
                self.previous.repeat(&entry);
                entry
            }
            None => self.fields(flags, list, input)?,
        };
        entry.path = path;
        entry.group = group;
        if path.of(&list.text) == b"." && !entry.is_dir() {
            return bad("the root of the transfer is no directory");
        }
        if group.is_some() && entry.is_dir() {
            return bad("a directory as a hard link");
        }
        self.attributes(&mut entry, input)?;
        Ok(entry)
    }

    /// Reads the name into the repeat state.
    fn name(&mut self, flags: u32, input: &mut impl Input) -> Result<(), WireError> {
        let shared = if flags & bits::SAME_NAME == 0 { 0 } else { usize::from(input.byte()?) };
        let len = if flags & bits::LONG_NAME == 0 {
            usize::from(input.byte()?)
        } else {
            input.count(PATH_MAX, "the length of a path")?
        };
        let name = &mut self.previous.name;
        if shared > name.len() || shared + len > PATH_MAX {
            return bad("a path with a wrong length");
        }
        name.truncate(shared);
        input.append(len, name)
    }

    /// Adds the name to the list as a path that stays below the root of the transfer.
    fn path(&self, list: &mut FileList) -> Result<Span, WireError> {
        let name = &self.previous.name;
        let path = match check(name) {
            Ok(()) => Cow::Borrowed(&name[..]),
            Err(_) => Cow::Owned(normalise(name)?),
        };
        if let Some(dir) = &self.dir {
            let parent = path.iter().rposition(|b| *b == b'/').map_or(&b"."[..], |at| &path[..at]);
            if parent != dir || *path == b"."[..] {
                return bad(format!("{} came with the files of {}", Shown(&path), Shown(dir)));
            }
        }
        append(list, &path)
    }

    fn group(&self, flags: u32, number: u32, input: &mut impl Input) -> Result<Option<u32>, WireError> {
        if flags & bits::HARD_LINK == 0 {
            return Ok(None);
        }
        if !self.options.hard_links {
            return bad("a hard link that nobody asked for");
        }
        if flags & bits::FIRST_LINK != 0 {
            return Ok(Some(number));
        }
        match u32::try_from(input.varint()?) {
            Ok(group) if group < number => Ok(Some(group)),
            _ => bad("a hard link to something that did not come yet"),
        }
    }

    /// Everything between the name and the access list.
    fn fields(&mut self, flags: u32, list: &mut FileList, input: &mut impl Input) -> Result<Entry, WireError> {
        let options = self.options;
        let Ok(size) = u64::try_from(input.varlong(3)?) else { return bad("a file of a negative length") };
        if flags & bits::SAME_TIME == 0 {
            self.previous.mtime = input.varlong(4)?;
        }
        let nanos = if flags & bits::NANOSECONDS == 0 { 0 } else { input.count(999_999_999, "nanoseconds")? };
        if flags & bits::SAME_MODE == 0 {
            self.previous.mode = input.int()?.cast_unsigned();
        }
        let mode = self.previous.mode;
        let kind = mode & S_IFMT;
        if mode > 0o177_777 || !matches!(kind, S_IFREG | S_IFDIR | S_IFLNK | S_IFBLK | S_IFCHR | S_IFIFO | S_IFSOCK) {
            return bad(format!("the mode {mode:#o}"));
        }
        self.owner(flags, input)?;
        let rdev = self.rdev(flags, mode, input)?;
        let target = if options.links && kind == S_IFLNK { read_target(list, input)? } else { Span::default() };
        let digest = match options.checksum {
            Some(len) if kind == S_IFREG => {
                let bytes = input.bytes(len)?;
                append(list, &bytes)?
            }
            _ => Span::default(),
        };
        Ok(Entry {
            path: Span::default(),
            target,
            digest,
            mode,
            uid: self.previous.uid,
            gid: self.previous.gid,
            size,
            mtime: Timestamp { secs: self.previous.mtime, nanos: u32::try_from(nanos).unwrap_or(0) },
            rdev,
            source: 0,
            top: flags & bits::TOP_DIR != 0 && kind == S_IFDIR,
            no_content: flags & bits::NO_CONTENT != 0 && kind == S_IFDIR,
            active: true,
            group: None,
            acl: None,
            default_acl: None,
            xattrs: None,
        })
    }

    fn owner(&mut self, flags: u32, input: &mut impl Input) -> Result<(), WireError> {
        if self.options.owner && flags & bits::SAME_UID == 0 {
            self.previous.uid = input.varint()?.cast_unsigned();
            if flags & bits::USER_NAME != 0 {
                self.told.users.insert(self.previous.uid, read_name(input)?);
            }
        }
        if self.options.group && flags & bits::SAME_GID == 0 {
            self.previous.gid = input.varint()?.cast_unsigned();
            if flags & bits::GROUP_NAME != 0 {
                self.told.groups.insert(self.previous.gid, read_name(input)?);
            }
        }
        Ok(())
    }

    fn rdev(&mut self, flags: u32, mode: u32, input: &mut impl Input) -> Result<(u32, u32), WireError> {
        if !self.options.has_rdev(mode) {
            return Ok((0, 0));
        }
        if flags & bits::SAME_MAJOR == 0 {
            self.previous.major = input.varint()?.cast_unsigned();
        }
        Ok((self.previous.major, input.varint()?.cast_unsigned()))
    }

    fn attributes(&mut self, entry: &mut Entry, input: &mut impl Input) -> Result<(), WireError> {
        let some = |acl: Arc<WireAcl>| (!acl.is_empty()).then_some(acl);
        if self.options.acls && entry.mode & S_IFMT != S_IFLNK {
            entry.acl = some(self.access_list(false, input)?);
            entry.default_acl = if entry.is_dir() { some(self.access_list(true, input)?) } else { None };
        }
        if self.options.xattrs {
            let xattrs = xattr::read(&mut self.xattrs, input)?;
            entry.xattrs = (!xattrs.0.is_empty()).then_some(xattrs);
        }
        Ok(())
    }

    fn access_list(&mut self, default: bool, input: &mut impl Input) -> Result<Arc<WireAcl>, WireError> {
        let received = if default { &mut self.default } else { &mut self.access };
        let acl = acl::read(received, input)?;
        for named in &acl.named {
            if let Some(name) = &named.name {
                let names = if named.user { &mut self.told.users } else { &mut self.told.groups };
                names.entry(named.id).or_insert_with(|| name.clone());
            }
        }
        Ok(acl)
    }
}

impl Previous {
    /// A hard link carries no values of its own, those of its first member count as sent.
    fn repeat(&mut self, entry: &Entry) {
        self.mode = entry.mode;
        self.mtime = entry.mtime.secs;
        self.uid = entry.uid;
        self.gid = entry.gid;
        if entry.is_device() {
            self.major = entry.rdev.0;
        }
    }
}

/// A copy of what the first member of a group of hard links has.
fn repeated(list: &FileList, first: u32) -> Result<Entry, WireError> {
    match list.get(first) {
        Some(entry) if entry.group == Some(first) => {
            Ok(Entry { acl: None, default_acl: None, xattrs: None, active: true, ..entry.clone() })
        }
        _ => bad("a hard link to something that is none"),
    }
}

fn read_target(list: &mut FileList, input: &mut impl Input) -> Result<Span, WireError> {
    let len = input.count(PATH_MAX, "the length of a link's target")?;
    let target = input.bytes(len)?;
    if target.is_empty() || target.contains(&0) {
        return bad("a link with an impossible target");
    }
    append(list, &target)
}

/// Adds to the text of a list.
fn append(list: &mut FileList, bytes: &[u8]) -> Result<Span, WireError> {
    let (Ok(start), Ok(len)) = (u32::try_from(list.text.len()), u32::try_from(bytes.len())) else {
        return bad("a file list of more than 4 GiB");
    };
    list.text.extend_from_slice(bytes);
    Ok(Span { start, len })
}

/// The path without empty and `.` elements; refused if it is absolute or could leave the root.
fn normalise(name: &[u8]) -> Result<Vec<u8>, WireError> {
    let kept: Vec<&[u8]> = name.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if name.is_empty() || name.starts_with(b"/") || name.contains(&0) || kept.contains(&&b".."[..]) {
        return bad(format!("the path {} leads out of the transfer", Shown(name)));
    }
    Ok(if kept.is_empty() { b".".to_vec() } else { kept.join(&b'/') })
}
