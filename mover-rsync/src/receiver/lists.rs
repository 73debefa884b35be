//! The file list as it comes: whole, or in segments that are kept until the sender is done with them.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use volsync_common::path::Shown;

use super::requested::Requested;
use crate::accounts::IdMap;
use crate::exit::Fatal;
use crate::session::Terms;
use crate::stream::Demux;
use crate::wire::WireError;
use crate::wire::flist::{Decoder, Entry, FileList, ListOptions, ids::Told};

/// A list or segment that was read.
pub(super) struct Part {
    pub(super) list: FileList,
    /// Error bits of the sender.
    pub(super) io_error: u32,
    /// The number of the directory whose contents it is.
    dir: Option<usize>,
    /// Bytes on the wire.
    pub(super) size: u64,
}

/// A directory of the list.
pub(super) struct Dir {
    pub(super) path: Vec<u8>,
    pub(super) entry: Entry,
    /// Its segment came.
    came: bool,
}

pub(super) struct Lists {
    pub(super) form: ListOptions,
    decoder: Decoder,
    /// The only names that were asked for.
    requested: Option<Requested>,
    /// Segments that are not finished, and the directory that each one is the contents of.
    parts: VecDeque<(Arc<FileList>, Option<usize>)>,
    /// How many segments there were.
    count: usize,
    tree: Vec<Dir>,
}

impl Lists {
    pub(super) fn new(terms: &Terms, requested: Option<Requested>) -> Self {
        let form = terms.list();
        let (parts, tree) = (VecDeque::new(), Vec::new());
        Self { form, decoder: Decoder::new(form), requested, parts, count: 0, tree }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Reads the whole list or the first segment.
    pub(super) fn first(&mut self, input: &mut Demux<impl Read>) -> Result<Part, Fatal> {
        let start = u32::from(self.form.segments());
        let before = input.taken();
        let (list, end) = self.decoder.read_first(start, input)?;
        // The root of the transfer is a directory whose contents come with it.
        let root = list.entries().first().is_some_and(|entry| list.path(entry) == b".");
        let dir = (self.form.segments() && root).then_some(0);
        self.checked(Part { list, io_error: end.io_error, dir, size: input.taken() - before })
    }

    /// Reads the contents of a directory.
    pub(super) fn segment(&mut self, dir: u32, input: &mut Demux<impl Read>) -> Result<Part, Fatal> {
        let number = dir as usize;
        let Some(dir) = self.tree.get_mut(number).filter(|dir| !dir.came) else {
            return Err(WireError::bad("the contents of a directory that is not known or came already").into());
        };
        dir.came = true;
        let path = dir.path.clone();
        let start = self.parts.back().map_or(1, |(list, _)| list.end().saturating_add(1));
        let before = input.taken();
        let (list, end) = self.decoder.read_segment(start, &path, input)?;
        self.checked(Part { list, io_error: end.io_error, dir: Some(number), size: input.taken() - before })
    }

    /// A server may send nothing but what it was asked for, whatever it says of that.
    fn checked(&self, mut part: Part) -> Result<Part, Fatal> {
        let Some(requested) = &self.requested else { return Ok(part) };
        let list = &part.list;
        let mut bare = Vec::new();
        for (at, entry) in list.entries().iter().enumerate() {
            let path = list.path(entry);
            if !requested.allows(path) {
                return Err(WireError::bad(format!("{} came, which nobody asked for", Shown(path))).into());
            }
            if entry.is_dir() && !requested.allows_contents(path) {
                bare.push(at);
            }
        }
        for at in bare {
            part.list.entries_mut()[at].no_content = true;
        }
        Ok(part)
    }

    /// Adds what was read, with ids as they are here.
    pub(super) fn add(&mut self, part: Part, ids: &IdMap) -> (Arc<FileList>, Option<usize>) {
        let Part { mut list, dir, .. } = part;
        map_ids(&mut list, ids, &self.decoder.told);
        if let Some(dir) = dir.and_then(|dir| self.tree.get_mut(dir)) {
            dir.came = true;
        }
        let root_comes = self.count == 0 && dir == Some(0);
        self.tree.extend(list.entries().iter().filter(|entry| entry.is_dir()).map(|entry| Dir {
            path: list.path(entry).to_vec(),
            entry: entry.clone(),
            // The later of two equal names has no contents.
            came: !entry.active || (root_comes && list.path(entry) == b"."),
        }));
        let list = Arc::new(list);
        self.parts.push_back((list.clone(), dir));
        self.count += 1;
        (list, dir)
    }

    /// The sender is done with the first segment; the last one stays to the end.
    pub(super) fn forget_first(&mut self) {
        if self.form.segments() && self.parts.len() > 1 {
            self.parts.pop_front();
        }
    }

    pub(super) fn find(&self, ndx: u32) -> Option<(Arc<FileList>, Entry)> {
        let at = self.parts.partition_point(|(list, _)| list.start <= ndx);
        let (list, _) = self.parts.get(at.checked_sub(1)?)?;
        Some((list.clone(), list.get(ndx)?.clone()))
    }

    /// The directory that the index before a segment stands for.
    pub(super) fn directory_of(&self, ndx: u32) -> Option<&Dir> {
        let (_, dir) = self.parts.iter().find(|(list, _)| list.start == ndx.saturating_add(1))?;
        self.tree.get((*dir)?)
    }
}

/// From the sender's ids to ours.
fn map_ids(list: &mut FileList, ids: &IdMap, told: &Told) {
    if ids.is_numeric() {
        return;
    }
    for entry in list.entries_mut() {
        entry.uid = ids.user(entry.uid, told);
        entry.gid = ids.group(entry.gid, told);
        for acl in [&mut entry.acl, &mut entry.default_acl].into_iter().flatten() {
            let mut mapped = (**acl).clone();
            for named in &mut mapped.named {
                named.id = if named.user { ids.user(named.id, told) } else { ids.group(named.id, told) };
            }
            if mapped != **acl {
                *acl = Arc::new(mapped);
            }
        }
    }
}
