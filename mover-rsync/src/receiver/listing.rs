//! `--list-only`: what comes is said, and nothing is done.

use std::io::Write;

use super::entries::active;
use super::generator::Generator;
use crate::exit::Fatal;
use crate::report;
use crate::wire::flist::{Entry, FileList};

impl<W: Write> Generator<'_, W> {
    /// Says what is in a segment, after the directory whose contents it is.
    pub(super) fn tell_segment(&mut self, list: &FileList, dir: Option<usize>) -> Result<(), Fatal> {
        if let Some(dir) = dir {
            self.tell_directory(dir);
        }
        let segmented = self.segmented();
        for entry in active(list).filter(|entry| !segmented || !entry.is_dir()) {
            self.tell(entry, list.path(entry), list.target(entry));
            self.out.flush_if_full()?;
        }
        Ok(())
    }

    /// Says that there is a directory, whose segment comes or will not come.
    pub(super) fn tell_directory(&mut self, number: usize) {
        let Some(dir) = self.tree.get_mut(number) else { return };
        dir.handled = true;
        let (entry, path) = (dir.entry.clone(), dir.path.clone());
        self.tell(&entry, &path, b"");
    }

    fn tell(&mut self, entry: &Entry, path: &[u8], target: &[u8]) {
        let human = self.context.terms.screen.as_ref().is_some_and(|screen| screen.show.human);
        self.say(&report::listed(entry, path, target, human));
    }
}
