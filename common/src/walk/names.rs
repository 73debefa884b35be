//! The names of one directory, compact and in the order of whole paths.

use std::cmp::Ordering;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{FileType, RawDir};

use super::stat::{Kind, Stat};

/// 32 KiB hold about a thousand names a call.
const BUFFER: usize = 32 * 1024;

/// All names of a directory: one byte array and 16 bytes a name, so that a million names are some 40 MB.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    index: Vec<Name>,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    start: usize,
    len: u16,
    directory: bool,
}

impl Names {
    /// Reads and sorts the names of `dir`. With `follow_links` a link to a directory counts as a directory.
    pub(super) fn read(dir: impl AsFd, follow_links: bool) -> io::Result<Self> {
        let mut names = Self::default();
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut raw = RawDir::new(dir.as_fd(), &mut buffer);
        while let Some(entry) = raw.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name, is_directory(dir.as_fd(), name, entry.file_type(), follow_links));
            }
        }
        names.sort();
        Ok(names)
    }

    fn push(&mut self, name: &[u8], directory: bool) {
        // getdents' records have a 16-bit length, so names are shorter than that.
        let Ok(len) = u16::try_from(name.len()) else { return };
        self.index.push(Name { start: self.bytes.len(), len, directory });
        self.bytes.extend_from_slice(name);
    }

    fn sort(&mut self) {
        let Self { bytes, index } = self;
        let of = |n: &Name| (&bytes[n.start..n.start + usize::from(n.len)], n.directory);
        index.sort_unstable_by(|a, b| order(of(a), of(b)));
        // A directory that changes while it is read may give a name twice.
        index.dedup_by(|a, b| of(a) == of(b));
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// The name at `at`, and whether it was sorted as a directory.
    pub(super) fn get(&self, at: usize) -> (&[u8], bool) {
        let name = self.index[at];
        (&self.bytes[name.start..name.start + usize::from(name.len)], name.directory)
    }
}

fn is_directory(dir: impl AsFd, name: &[u8], kind: FileType, follow_links: bool) -> bool {
    match kind {
        FileType::Directory => true,
        FileType::Symlink if follow_links => {
            Stat::through_links(dir, name).is_ok_and(|stat| stat.kind() == Kind::Directory)
        }
        // Some file systems leave the type out of the directory.
        FileType::Unknown if follow_links => {
            Stat::through_links(dir, name).is_ok_and(|stat| stat.kind() == Kind::Directory)
        }
        FileType::Unknown => Stat::at(dir, name).is_ok_and(|stat| stat.kind() == Kind::Directory),
        _ => false,
    }
}

/// The order of names within a directory that makes whole paths come in the order of their bytes: a directory sorts
/// as its name and a slash.
fn order(a: (&[u8], bool), b: (&[u8], bool)) -> Ordering {
    let common = a.0.len().min(b.0.len());
    let next = |(name, directory): (&[u8], bool)| name.get(common).copied().or(directory.then_some(b'/'));
    a.0[..common].cmp(&b.0[..common]).then_with(|| next(a).cmp(&next(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_sort_as_their_name_and_a_slash() {
        let mut names = Names::default();
        for (name, directory) in [("a0", false), ("a", true), ("a-b", false), ("a", false), ("a.", true), ("a0", false)]
        {
            names.push(name.as_bytes(), directory);
        }
        names.sort();
        let sorted: Vec<_> = (0..names.len()).map(|at| names.get(at)).collect();
        let expect: [(&[u8], bool); 5] = [(b"a", false), (b"a-b", false), (b"a.", true), (b"a", true), (b"a0", false)];
        assert_eq!(sorted, expect);
    }
}
