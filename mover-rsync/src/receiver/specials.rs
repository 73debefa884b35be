//! What the generator makes without data: links, devices, fifos, sockets, further names of files.

use std::io::{self, Write};

use volsync_common::dest::{Directory, Staged};
use volsync_common::path::Shown;
use volsync_common::walk::{Kind, Stat};

use super::attributes::{Differences, Times, all_long, apply_to_link, differences, plain_differences, wanted_mode};
use super::entries::Went;
use super::generator::Generator;
use crate::exit::Fatal;
use crate::wire::flist::{Entry, FileList};
use crate::wire::frame::{Message, Tag};
use crate::wire::handshake::Side;
use crate::wire::item::{Item, ItemFlags};

impl<W: Write> Generator<'_, W> {
    /// Tells the user, who is at the client: a server's standard output is the connection.
    pub(super) fn say(&mut self, text: &str) {
        match self.context.terms.side() {
            Side::Server => {
                self.out.message(&Message::Text { tag: Tag::Info, text: format!("{text}\n").into_bytes() });
            }
            Side::Client => crate::report::line(text),
        }
    }

    /// A link, device, fifo or socket.
    pub(super) fn special(&mut self, list: &FileList, ndx: u32, entry: &Entry, path: &[u8]) -> Result<Went, Fatal> {
        let options = &self.context.terms.options;
        let wanted = match entry.kind() {
            Kind::Symlink => options.links,
            _ if entry.is_device() => options.devices && self.context.root,
            _ => options.specials,
        };
        if !wanted {
            self.say(&format!("skipping non-regular file \"{}\"", Shown(path)));
            return Ok(Went::Not);
        }
        match self.try_special(list, entry, path) {
            Ok(Some(flags)) => {
                self.report(ndx, &Item::plain(flags), &[])?;
                Ok(Went::There)
            }
            Ok(None) => Ok(Went::Not),
            Err(error) if entry.is_device() && self.context.lets_pass(&error) => {
                self.context.troubles.left("device");
                Ok(Went::Not)
            }
            Err(error) => Ok(self.failed("cannot make", path, &error)),
        }
    }

    /// Whether there is anything at `path`.
    pub(super) fn stands(&mut self, path: &[u8]) -> bool {
        let found = self.dirs.parent(path).and_then(|(dir, name)| dir.stat(name));
        found.is_ok_and(|found| found.is_some())
    }

    fn try_special(&mut self, list: &FileList, entry: &Entry, path: &[u8]) -> io::Result<Option<u16>> {
        let context = self.context.clone();
        let dry_run = context.terms.options.dry_run;
        if self.would_be_new(path) {
            return Ok(Some(ItemFlags::LOCAL | ItemFlags::CHANGE | ItemFlags::NEW));
        }
        let (dir, name) = self.dirs.parent(path)?;
        let mut stat = dir.stat(name)?;
        if let Some(found) = stat
            && is_same(list, entry, &dir, name, &found)?
        {
            let found_flags = plain_differences(&context, entry, &found) & !ItemFlags::SIZE;
            if entry.kind() == Kind::Symlink {
                if !dry_run {
                    apply_to_link(&context, &dir, name, &found, entry, path, false);
                }
                return Ok(Some(found_flags));
            }
            let Differences { flags, request } = differences(&context, &dir, name, entry, &found)?;
            if flags != 0 {
                self.apply(&dir, name, entry, path, Times::IfDifferent, &request)?;
            }
            return Ok(Some(flags & !ItemFlags::XATTR));
        }
        if let Some(found) = stat.filter(|stat| stat.kind() == Kind::Directory) {
            if !self.make_room(&dir, path, found) {
                return Ok(None);
            }
            stat = None;
        }
        if !dry_run {
            self.stage_special(list, entry, path, &dir, name)?.publish()?;
            self.changed = true;
        }
        let differs = match stat {
            Some(stat) if (stat.mode ^ entry.mode) & 0o170_000 == 0 => {
                plain_differences(&context, entry, &stat) & !ItemFlags::SIZE
            }
            _ => ItemFlags::NEW,
        };
        Ok(Some(ItemFlags::LOCAL | ItemFlags::CHANGE | differs))
    }

    fn stage_special(
        &mut self,
        list: &FileList,
        entry: &Entry,
        path: &[u8],
        dir: &Directory,
        name: &[u8],
    ) -> io::Result<Staged> {
        if entry.kind() == Kind::Symlink {
            let staged = dir.create_symlink(name, list.target(entry))?;
            let stat = dir.stat(staged.temp())?.ok_or(io::ErrorKind::NotFound)?;
            apply_to_link(&self.context, dir, staged.temp(), &stat, entry, path, true);
            return Ok(staged);
        }
        let mode = wanted_mode(&self.context, entry, true).unwrap_or(0o600);
        let staged = dir.create_node(name, entry.mode & 0o170_000 | mode, entry.rdev)?;
        self.apply(dir, staged.temp(), entry, path, Times::Always, &all_long(&self.context, entry))?;
        Ok(staged)
    }

    /// Makes `path` another name of what stands at `leader`.
    pub(super) fn link(&mut self, ndx: u32, entry: &Entry, path: &[u8], leader: &[u8]) -> Result<(), Fatal> {
        match self.try_link(entry, path, leader) {
            Ok(None) => Ok(()),
            Ok(Some(flags)) => {
                let item = Item { name: Some(leader.to_vec()), ..Item::plain(flags) };
                self.report(ndx, &item, &[])
            }
            Err(error) => {
                self.context.problem(format_args!("cannot link {} to {}: {error}", Shown(path), Shown(leader)));
                Ok(())
            }
        }
    }

    fn try_link(&mut self, entry: &Entry, path: &[u8], leader: &[u8]) -> io::Result<Option<u16>> {
        let linked = ItemFlags::LOCAL | ItemFlags::NAME_FOLLOWS;
        if self.would_be_new(path) || self.would_be_new(leader) {
            return Ok(Some(linked | ItemFlags::NEW));
        }
        let (dir, name) = self.dirs.parent(path)?;
        let (there, other) = self.dirs.parent(leader)?;
        let (wanted, found) = (there.stat(other)?, dir.stat(name)?);
        if let (Some(found), Some(wanted)) = (found, wanted)
            && found.same_inode(&wanted)
        {
            return Ok(None);
        }
        if let Some(found) = found.filter(|found| found.kind() == Kind::Directory)
            && !self.make_room(&dir, path, found)
        {
            return Ok(None);
        }
        if !self.context.terms.options.dry_run {
            dir.create_link(name, &there, other)?.publish()?;
            self.changed = true;
        }
        let differs = match found {
            Some(found) if found.kind() == entry.kind() => plain_differences(&self.context, entry, &found),
            _ => ItemFlags::NEW,
        };
        Ok(Some(linked | differs))
    }
}

/// Whether a link, device, fifo or socket stands as wanted but for its attributes.
fn is_same(list: &FileList, entry: &Entry, dir: &Directory, name: &[u8], found: &Stat) -> io::Result<bool> {
    if (found.mode ^ entry.mode) & 0o170_000 != 0 {
        return Ok(false);
    }
    if entry.kind() == Kind::Symlink {
        return Ok(dir.read_link(name)? == list.target(entry));
    }
    let rdev = (rustix::fs::major(found.rdev), rustix::fs::minor(found.rdev));
    Ok(!entry.is_device() || rdev == entry.rdev)
}
