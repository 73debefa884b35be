//! What the generator does for each entry of the list.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use volsync_common::dest::Directory;
use volsync_common::meta::Inode;
use volsync_common::path::Shown;
use volsync_common::walk::{Kind, Stat};

use super::asked::Request;
use super::attributes::{
    Differences, NewXattrs, Times, all_long, apply, differences, finish_directory, keeps_time, long, wanted_mode,
};
use super::delete::children_of;
use super::generator::Generator;
use super::links::Member;
use super::{Context, basis};
use crate::delta::digest::SumKind;
use crate::directories::split;
use crate::exit::Fatal;
use crate::options::{Delete, Options};
use crate::wire::flist::{Entry, FileList};
use crate::wire::item::{Item, ItemFlags};
use crate::wire::ndx::Ndx;
use crate::wire::sums::SumHead;
use crate::wire::xattr::{self, Xattrs};

/// How an entry went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// It stands as wanted.
    There,
    /// Its content was asked for.
    Asked,
    /// It could not be made, or must not.
    Not,
}

impl Context {
    /// Where something of the list goes.
    pub(super) fn path<'a>(&'a self, path: &'a [u8]) -> &'a [u8] {
        self.rename.as_deref().unwrap_or(path)
    }

    fn unchanged(&self, list: &FileList, entry: &Entry, stat: &Stat, digest: impl FnOnce() -> Option<Vec<u8>>) -> bool {
        let options = &self.terms.options;
        if entry.size != stat.size || options.ignore_times {
            return false;
        }
        if options.checksum {
            return digest().is_some_and(|digest| digest == list.digest(entry));
        }
        options.size_only || entry.mtime.secs == stat.mtime.secs
    }
}

impl<W: Write> Generator<'_, W> {
    /// Goes through a segment.
    pub(super) fn generate(&mut self, number: usize) -> Result<(), Fatal> {
        let Some(segment) = self.segment(number) else { return Ok(()) };
        let (list, dir) = (segment.list.clone(), segment.dir);
        if self.context.terms.options.list_only {
            return self.tell_segment(&list, dir);
        }
        if let Some(dir) = dir {
            if !self.content_directory(dir, list.start.wrapping_sub(1))? {
                return Ok(());
            }
            let names: HashSet<&[u8]> = active(&list).map(|entry| split(list.path(entry)).1).collect();
            self.delete_in(dir, &names)?;
        }
        let segmented = self.segmented();
        let mut next_dir = 0;
        for (ndx, entry) in (list.start..).zip(list.entries()) {
            if entry.is_dir() {
                next_dir += 1;
            }
            if !entry.active || (segmented && entry.is_dir()) {
                continue;
            }
            if entry.is_dir() {
                if self.content_directory(next_dir - 1, ndx)? && self.context.terms.options.delete != Delete::Before {
                    let names = children_of(&list, entry);
                    self.delete_in(next_dir - 1, &names)?;
                }
            } else {
                self.entry(&list, ndx, entry)?;
            }
            self.out.flush_if_full()?;
            self.poll()?;
        }
        Ok(())
    }

    /// Whether a directory only leads to something and is not to be touched. Senders tell of it all the same.
    fn is_way(&self, entry: &Entry) -> bool {
        self.context.terms.options.no_implied_dirs && entry.top && entry.no_content
    }

    /// Makes the directories that lead to something as far as they are missing (`--no-implied-dirs`).
    fn make_way(&mut self, path: &[u8]) {
        let (options, mode) = (&self.context.terms.options, 0o777 & !self.context.umask);
        if !options.no_implied_dirs || options.dry_run {
            return;
        }
        for (end, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            let made = self.dirs.parent(&path[..end]).and_then(|(dir, name)| match dir.stat(name)? {
                Some(_) => Ok(()),
                None => dir.make_dir(name, mode),
            });
            // What is missing then fails by its name.
            if made.is_err() {
                return;
            }
        }
    }

    /// Makes a directory whose contents follow; whether it stands.
    fn content_directory(&mut self, number: usize, ndx: u32) -> Result<bool, Fatal> {
        let Some(dir) = self.tree.get_mut(number) else { return Ok(false) };
        dir.handled = true;
        let (path, entry) = (dir.path.clone(), dir.entry.clone());
        let there = self.is_way(&entry) || {
            self.make_way(&path);
            self.directory(ndx, &entry, &path, true)?
        };
        if let Some(dir) = self.tree.get_mut(number) {
            dir.there = there;
        }
        Ok(there)
    }

    /// Directories whose contents do not belong to the transfer (mount points) have no segment.
    pub(super) fn unvisited_directories(&mut self) -> Result<(), Fatal> {
        for number in 0..self.tree.len() {
            if !self.tree[number].handled && self.tree[number].entry.active {
                if self.context.terms.options.list_only {
                    self.tell_directory(number);
                    continue;
                }
                let (path, entry) = (self.tree[number].path.clone(), self.tree[number].entry.clone());
                self.tree[number].there = self.is_way(&entry) || self.directory(0, &entry, &path, false)?;
            }
        }
        Ok(())
    }

    /// In a dry run: whether `path` would lie in a directory that is not there yet.
    pub(super) fn would_be_new(&mut self, path: &[u8]) -> bool {
        self.context.terms.options.dry_run && self.dirs.parent(path).is_err()
    }

    /// Makes a directory or its attributes; whether it stands. `told`: the sender hears of it, by `ndx`.
    fn directory(&mut self, ndx: u32, entry: &Entry, path: &[u8], told: bool) -> Result<bool, Fatal> {
        match self.try_directory(entry, path) {
            Ok(None) => Ok(false),
            Ok(Some((flags, request))) => {
                if told {
                    if !request.is_empty() && !self.context.terms.options.dry_run {
                        self.context.asked.insert(ndx, Request::Attributes);
                        self.pend(ndx);
                    }
                    let request =
                        if flags & ItemFlags::XATTR == 0 { request } else { self.request_for(entry, request) };
                    self.report(ndx, &Item::plain(flags), &request)?;
                }
                Ok(true)
            }
            Err(error) => {
                self.context.problem(format_args!("cannot make the directory {}: {error}", Shown(path)));
                Ok(false)
            }
        }
    }

    fn try_directory(&mut self, entry: &Entry, path: &[u8]) -> io::Result<Option<(u16, Vec<usize>)>> {
        let context = self.context.clone();
        if self.would_be_new(path) {
            return Ok(Some((ItemFlags::NEW | ItemFlags::LOCAL, Vec::new())));
        }
        let (parent, name) = match self.dirs.parent(path) {
            // What is in a directory that does not exist does not exist either.
            Err(error) if context.terms.options.existing && is_missing(&error) => return Ok(None),
            parent => parent?,
        };
        let mut stat = parent.stat(name)?;
        if let Some(found) = stat.filter(|stat| stat.kind() != Kind::Directory) {
            if context.terms.options.ignore_existing || !self.make_room(&parent, path, found) {
                return Ok(None);
            }
            stat = None;
        } else if stat.is_none() && context.terms.options.existing {
            return Ok(None);
        }
        let Some(stat) = stat else {
            if context.terms.options.dry_run {
                return Ok(Some((ItemFlags::NEW | ItemFlags::LOCAL, Vec::new())));
            }
            let mode = wanted_mode(&context, entry, true).unwrap_or(0o777);
            parent.make_dir(name, mode | 0o700)?;
            self.newest = Some(path.to_vec());
            if mode & 0o700 != 0o700 {
                self.made.insert(path.to_vec(), mode);
            }
            self.changed = true;
            let request = all_long(&context, entry);
            self.apply(&parent, name, entry, path, Times::Later, &request)?;
            let xattr = if context.terms.options.xattrs && entry.xattrs.is_some() { ItemFlags::XATTR } else { 0 };
            return Ok(Some((ItemFlags::NEW | ItemFlags::LOCAL | xattr, request)));
        };
        let Differences { flags, request } = differences(&context, &parent, name, entry, &stat)?;
        if flags != 0 {
            self.apply(&parent, name, entry, path, Times::IfDifferent, &request)?;
        }
        let made = if path == b"." && context.made.is_some() { ItemFlags::NEW | ItemFlags::LOCAL } else { 0 };
        Ok(Some((flags | made, request)))
    }

    /// Sets the attributes of what stands at a name; extended ones only when all their values are here.
    pub(super) fn apply(
        &mut self,
        dir: &Directory,
        name: &[u8],
        entry: &Entry,
        path: &[u8],
        times: Times,
        request: &[usize],
    ) -> io::Result<()> {
        if self.context.terms.options.dry_run {
            return Ok(());
        }
        let mut inode = Inode::at(dir, name)?;
        let none = Xattrs::default();
        let xattrs = entry.xattrs.as_deref().unwrap_or(&none);
        let new = NewXattrs { xattrs, old: None };
        let new = request.is_empty().then_some(new);
        apply(&self.context, &mut inode, entry, path, new, times, None);
        Ok(())
    }

    /// Does what an entry that is no directory needs.
    pub(super) fn entry(&mut self, list: &FileList, ndx: u32, entry: &Entry) -> Result<(), Fatal> {
        let went = self.went(list, ndx, entry)?;
        match (self.progress(), went) {
            (Some(progress), Some(Went::Asked)) => progress.asked(),
            (Some(progress), Some(_)) => progress.passed(entry),
            _ => {}
        }
        Ok(())
    }

    /// How that went; `None` while it waits for another name of the same file.
    fn went(&mut self, list: &FileList, ndx: u32, entry: &Entry) -> Result<Option<Went>, Fatal> {
        let context = self.context.clone();
        let (path, options) = (context.path(list.path(entry)), &context.terms.options);
        if (options.existing || options.ignore_existing) && options.passes_over(self.stands(path)) {
            return Ok(Some(Went::Not));
        }
        self.make_way(path);
        if let Some(group) = entry.group {
            match self.groups.member(group, ndx) {
                Member::Leads => {}
                Member::Waits => {
                    self.pend(ndx);
                    return Ok(None);
                }
                Member::Links(leader) => {
                    self.link(ndx, entry, path, &leader)?;
                    return Ok(Some(Went::There));
                }
            }
        }
        let went = match entry.kind() {
            Kind::File => self.file(list, ndx, entry, path)?,
            _ => self.special(list, ndx, entry, path)?,
        };
        match (entry.group, went) {
            (Some(group), Went::There) => self.groups.there(group, path.to_vec()),
            (Some(group), Went::Asked) => self.groups.asked(group, ndx, Vec::new()),
            _ => {}
        }
        Ok(Some(went))
    }

    /// A regular file: its attributes, or a request for its content.
    fn file(&mut self, list: &FileList, ndx: u32, entry: &Entry, path: &[u8]) -> Result<Went, Fatal> {
        if self.would_be_new(path) {
            self.report(ndx, &Item::plain(ItemFlags::TRANSFER | ItemFlags::NEW), &[])?;
            return Ok(Went::There);
        }
        // There is nothing yet in a directory that was just made.
        let empty = self.newest.as_deref() == Some(split(path).0);
        let looked = self.dirs.parent(path).and_then(|(dir, name)| {
            let stat = if empty { None } else { dir.stat(name)? };
            Ok((stat, dir, name))
        });
        let (mut stat, dir, name) = match looked {
            Ok(looked) => looked,
            Err(error) => return Ok(self.failed("cannot look at", path, &error)),
        };
        if let Some(found) = stat.filter(|stat| stat.kind() != Kind::File) {
            let in_place = self.context.terms.options.inplace;
            if (in_place || found.kind() == Kind::Directory) && !self.make_room(&dir, path, found) {
                return Ok(Went::Not);
            }
            // Anything else is replaced when the content is complete.
            stat = None;
        }
        let update = self.context.terms.options.update;
        if stat.is_some_and(|stat| update && stat.mtime.secs > entry.mtime.secs) {
            return Ok(Went::Not);
        }
        if let Some(stat) = stat
            && self.context.unchanged(list, entry, &stat, || self.digest(&dir, name))
        {
            return self.unchanged(ndx, entry, path, (&dir, name), &stat);
        }
        self.ask(ndx, entry, path, (&dir, name), stat, false)
    }

    pub(super) fn failed(&self, what: &str, path: &[u8], error: &dyn std::fmt::Display) -> Went {
        self.context.problem(format_args!("{what} {}: {error}", Shown(path)));
        Went::Not
    }

    /// The digest of `--checksum` of a file here.
    fn digest(&self, dir: &Directory, name: &[u8]) -> Option<Vec<u8>> {
        use std::io::Read as _;
        let (mut file, _) = dir.open(name).ok()?;
        let mut whole = self.context.terms.agreed.list_sum.whole();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match file.read(&mut buffer).ok()? {
                0 => return Some(whole.finish().as_bytes().to_vec()),
                len => whole.update(&buffer[..len]),
            }
        }
    }

    fn unchanged(
        &mut self,
        ndx: u32,
        entry: &Entry,
        path: &[u8],
        (dir, name): (&Directory, &[u8]),
        stat: &Stat,
    ) -> Result<Went, Fatal> {
        let Differences { flags, request } = match differences(&self.context, dir, name, entry, stat) {
            Ok(found) => found,
            Err(error) => return Ok(self.failed("cannot read the attributes of", path, &error)),
        };
        if flags == 0 {
            return Ok(Went::There);
        }
        if let Err(error) = self.apply(dir, name, entry, path, Times::IfDifferent, &request) {
            return Ok(self.failed("cannot set the attributes of", path, &error));
        }
        if !request.is_empty() && !self.context.terms.options.dry_run {
            self.context.asked.insert(ndx, Request::Attributes);
            self.pend(ndx);
        }
        let request = if flags & ItemFlags::XATTR == 0 { request } else { self.request_for(entry, request) };
        self.report(ndx, &Item::plain(flags), &request)?;
        Ok(Went::There)
    }

    /// Asks for the content of a file; with `again` for the second time.
    fn ask(
        &mut self,
        ndx: u32,
        entry: &Entry,
        path: &[u8],
        (dir, name): (&Directory, &[u8]),
        stat: Option<Stat>,
        again: bool,
    ) -> Result<Went, Fatal> {
        let context = self.context.clone();
        let found = match stat {
            None => Differences { flags: ItemFlags::NEW, request: all_long(&context, entry) },
            Some(stat) => match differences(&context, dir, name, entry, &stat) {
                Ok(found) => found,
                Err(error) => return Ok(self.failed("cannot read the attributes of", path, &error)),
            },
        };
        let with_xattrs = context.terms.options.xattrs && (stat.is_none() || again) && entry.xattrs.is_some();
        let mut flags = ItemFlags::TRANSFER | found.flags | if with_xattrs { ItemFlags::XATTR } else { 0 };
        if context.terms.options.checksum && stat.is_some() {
            flags |= ItemFlags::CHANGE;
        }
        if context.terms.options.dry_run {
            self.report(ndx, &Item::plain(flags), &[])?;
            return Ok(Went::There);
        }
        let request = if again { all_long(&context, entry) } else { found.request };
        let old = match stat {
            Some(stat) if stat.size > 0 && !context.terms.options.whole_file => dir.open(name).ok(),
            _ => None,
        };
        let head = old.as_ref().map_or(SumHead::default(), |(_, stat)| self.head(stat.size, again));
        context.asked.insert(ndx, Request::Content { head, again });
        if !again {
            self.pend(ndx);
        }
        let request = if flags & ItemFlags::XATTR == 0 { request } else { self.request_for(entry, request) };
        self.report(ndx, &Item::plain(flags), &request)?;
        head.write(self.out.data());
        if let Some((file, _)) = old {
            self.send_sums(&file, &head)?;
        }
        Ok(Went::Asked)
    }

    fn head(&self, size: u64, again: bool) -> SumHead {
        let agreed = self.context.terms.agreed;
        let digest = agreed.sum.len();
        let head = match agreed.sum {
            SumKind::Blake3 => SumHead::fine(size, again),
            _ => SumHead::choose(size, digest, again),
        };
        match self.context.terms.options.block_size {
            None => head,
            Some(block) => SumHead {
                block,
                count: u32::try_from(size.div_ceil(block.into())).unwrap_or(u32::MAX),
                remainder: u32::try_from(size % u64::from(block)).unwrap_or(0),
                strong: u32::try_from(digest).unwrap_or(0),
            },
        }
    }

    fn send_sums(&mut self, file: &std::fs::File, head: &SumHead) -> Result<(), Fatal> {
        let (kind, seed) = (self.context.terms.agreed.sum, self.context.terms.agreed.seed);
        let out = &mut *self.out;
        let mut sums = Vec::new();
        basis::send_sums(file, head, kind, seed, &mut sums, |sums| {
            out.data().append(sums);
            out.flush_if_full()
        })?;
        Ok(())
    }

    /// Asks for the second time.
    pub(super) fn ask_again(&mut self, ndx: u32) -> Result<(), Fatal> {
        let Some((list, entry)) = self.find(ndx) else { return Ok(()) };
        let context = self.context.clone();
        let path = context.path(list.path(&entry));
        let looked = self.dirs.parent(path).and_then(|(dir, name)| Ok((dir.stat(name)?, dir, name)));
        match looked {
            Ok((stat, dir, name)) => {
                let stat = stat.filter(|stat| stat.kind() == Kind::File);
                self.ask(ndx, &entry, path, (&dir, name), stat, true).map(drop)
            }
            Err(error) => {
                self.failed("cannot look at", path, &error);
                self.ended(ndx, false)
            }
        }
    }

    /// What is asked for where these values are needed, together with an item that tells of attributes. Files with equal
    /// attributes share a set, and a stock sender answers once for each: when it is first told of, everything in it is asked
    /// for, and kept.
    fn request_for(&mut self, entry: &Entry, needed: Vec<usize>) -> Vec<usize> {
        let context = self.context.clone();
        if context.terms.agreed.native() || !context.terms.options.xattrs || context.terms.options.dry_run {
            return needed;
        }
        match &entry.xattrs {
            Some(set) if self.told_sets.insert(Arc::as_ptr(set).addr()) => long(&context, set),
            _ => Vec::new(),
        }
    }

    /// Tells the sender what happens to an item, if anything does.
    pub(super) fn report(&mut self, ndx: u32, item: &Item, request: &[usize]) -> Result<(), Fatal> {
        let significant = !(ItemFlags::LOCAL | ItemFlags::NAME_FOLLOWS | ItemFlags::BASIS_FOLLOWS);
        if !item.flags.any(significant) && item.name.is_none() {
            return Ok(());
        }
        let out = self.out.data();
        self.ndx.write(Ndx::File(ndx), out);
        item.write(out);
        let Options { xattrs, dry_run, .. } = self.context.terms.options;
        if xattrs && !dry_run && item.flags.any(ItemFlags::XATTR) {
            xattr::write_request(request, out);
        }
        Ok(self.out.flush_if_full()?)
    }

    /// Sets what work in directories has changed, deepest first.
    pub(super) fn finish_directories(&mut self) {
        if !self.changed || self.context.terms.options.dry_run {
            return;
        }
        let context = self.context.clone();
        for dir in std::mem::take(&mut self.tree).into_iter().rev().filter(|dir| dir.there) {
            let mtime = keeps_time(&context, &dir.entry).then_some(dir.entry.mtime);
            // Root needs no rights while it works.
            let mode = (context.terms.options.perms && !context.root).then_some(dir.entry.mode & 0o7777);
            let mode = mode.or_else(|| self.made.get(&dir.path).copied());
            let done = self
                .dirs
                .parent(&dir.path)
                .and_then(|(parent, name)| finish_directory(&context, &parent, name, mode, mtime));
            if let Err(error) = done {
                context.unset("times", &dir.path, &error);
            }
        }
    }
}

/// Whether there is nothing, or something else than a directory on the way.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

pub(super) fn active(list: &FileList) -> impl Iterator<Item = &Entry> {
    list.entries().iter().filter(|entry| entry.active)
}
