//! Where a transfer goes. What the destination is follows from the list: a directory, or the new name of the only file.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use volsync_common::dest::{Dest, DestOptions};
use volsync_common::path::{RelPath, Shown};
use volsync_common::root::{Root, Strategy};

use crate::directories::{confined, split};
use crate::exit::{ExitCode, Fatal};
use crate::filter::Site;
use crate::wire::flist::FileList;

/// What the user or client named as the destination.
#[derive(Clone, Debug)]
pub struct Target {
    path: Vec<u8>,
    /// Nothing leads out of this directory, and no link below it is followed.
    root: Option<PathBuf>,
}

/// An open destination; none of it when nothing is written.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The directory; `None` when it would have to be made in a dry run.
    pub(super) dest: Option<Dest>,
    /// What the only file is called there.
    pub(super) rename: Option<Vec<u8>>,
    /// The directory did not exist: its path.
    pub(super) made: Option<Vec<u8>>,
}

/// What there is at the destination.
enum Found {
    Directory,
    Other,
    Nothing,
}

impl Target {
    /// Any path.
    pub fn new(path: &[u8]) -> Self {
        Self { path: if path.is_empty() { b".".to_vec() } else { path.to_vec() }, root: None }
    }

    /// What a client calls `path` in the volume `root`: `.` and `/` are the volume itself.
    pub fn beneath(root: &Path, path: &[u8]) -> Result<Self, Fatal> {
        let Some(confined) = confined(path) else {
            return Err(unusable(path, ExitCode::FileSelect, &"it leads out of the volume"));
        };
        // A slash at the end keeps its meaning.
        let slash = if path.ends_with(b"/") && !confined.is_empty() { &b"/"[..] } else { b"" };
        Ok(Self { path: [&confined[..], slash].concat(), root: Some(root.into()) })
    }

    /// Opens the place for this list, as rsync does: a directory that is there or, with its last element, made; the new
    /// name of a file that comes alone and is not to go into a directory. With `dry_run` nothing is made.
    pub(super) fn open(&self, list: &FileList, dry_run: bool) -> Result<Place, Fatal> {
        if list.entries().is_empty() {
            return Ok(Place::default());
        }
        let alone = list.entries().len() == 1 && list.entries().iter().all(|entry| !entry.is_dir());
        let failed = |error: io::Error| unusable(&self.path, ExitCode::FileIo, &error);
        match self.look().map_err(failed)? {
            Found::Directory => {
                Ok(Place { dest: Some(self.directory(&self.path).map_err(failed)?), rename: None, made: None })
            }
            Found::Other if !alone || self.path.ends_with(b"/") => {
                Err(unusable(&self.path, ExitCode::FileSelect, &"it must be a directory"))
            }
            Found::Nothing if !alone || self.path.ends_with(b"/") => {
                let mut dest = None;
                if !dry_run {
                    self.make().map_err(failed)?;
                    dest = Some(self.directory(&self.path).map_err(failed)?);
                }
                Ok(Place { dest, rename: None, made: Some(trimmed(&self.path).to_vec()) })
            }
            Found::Other | Found::Nothing => {
                let (parent, name) = self.parent();
                let dest = Some(self.directory(parent).map_err(failed)?);
                Ok(Place { dest, rename: Some(name.to_vec()), made: None })
            }
        }
    }

    /// Where rules look for their files. `with_root`: in the destination itself, too.
    pub(super) fn site(&self, with_root: bool) -> Site {
        let path = match &self.root {
            None => self.path.clone(),
            Some(root) => [root.as_os_str().as_bytes(), b"/", &self.path].concat(),
        };
        Site { root: None, path, first: b".".to_vec(), prefix: Vec::new(), with_root, above: self.root.is_none() }
    }

    /// The directory that is there already, if one is.
    pub(crate) fn existing(&self) -> Option<Dest> {
        match self.look() {
            Ok(Found::Directory) => self.directory(&self.path).ok(),
            _ => None,
        }
    }

    fn look(&self) -> io::Result<Found> {
        let path = trimmed(&self.path);
        let stat = match &self.root {
            None => rustix::fs::statat(rustix::fs::CWD, path, AtFlags::empty()),
            Some(_) if path.is_empty() => return Ok(Found::Directory),
            Some(root) => {
                let (volume, relative) = (Root::open(root, Strategy::Kernel)?, relative(path)?);
                volume
                    .parent(&relative)
                    .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
                    .and_then(|parent| rustix::fs::statat(parent, relative.name(), AtFlags::SYMLINK_NOFOLLOW))
            }
        };
        match stat {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(Found::Directory),
            Ok(_) => Ok(Found::Other),
            Err(rustix::io::Errno::NOENT) => Ok(Found::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    fn make(&self) -> io::Result<()> {
        let (path, mode) = (trimmed(&self.path), Mode::from_raw_mode(0o777));
        match &self.root {
            None => rustix::fs::mkdirat(rustix::fs::CWD, path, mode)?,
            Some(root) => {
                let (volume, relative) = (Root::open(root, Strategy::Kernel)?, relative(path)?);
                rustix::fs::mkdirat(volume.parent(&relative)?, relative.name(), mode)?;
            }
        }
        Ok(())
    }

    /// The directory in which the destination is a name, and the name.
    fn parent(&self) -> (&[u8], &[u8]) {
        let (parent, name) = split(trimmed(&self.path));
        let top: &[u8] = if self.path.starts_with(b"/") { b"/" } else { parent };
        (if parent.is_empty() { top } else { parent }, name)
    }

    fn directory(&self, path: &[u8]) -> io::Result<Dest> {
        let open = |path: &Path| Dest::open(path, DestOptions::default());
        let Some(root) = &self.root else { return open(Path::new(std::ffi::OsStr::from_bytes(path))) };
        let path = trimmed(path);
        if path.is_empty() || path == b"." {
            return open(root);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let dir = Root::open(root, Strategy::Kernel)?.open_at(Some(&relative(path)?), flags, Mode::empty())?;
        // By its descriptor: the name may lead elsewhere by now.
        open(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())))
    }
}

fn unusable(path: &[u8], code: ExitCode, why: &dyn std::fmt::Display) -> Fatal {
    Fatal::Other(code, format!("cannot use the destination {}: {why}", Shown(path)))
}

fn relative(path: &[u8]) -> io::Result<RelPath> {
    RelPath::new(path).map_err(io::Error::other)
}

/// Without slashes at the end, but for the root itself.
fn trimmed(path: &[u8]) -> &[u8] {
    let len = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    if len == 0 && !path.is_empty() { &path[..1] } else { &path[..len] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::flist::{Encoder, NewEntry, ids::Numeric};
    use crate::wire::handshake::Compat;

    #[test]
    fn no_path_leaves_the_volume() {
        let place = |path: &str| confined(path.as_bytes()).map(|path| String::from_utf8(path).unwrap());
        let expect = |path: &str| Some(path.to_owned());
        assert_eq!((place("."), place("/"), place("/sub//x/./")), (expect(""), expect(""), expect("sub/x")));
        assert_eq!((place(".."), place("a/../../etc")), (None, None));
    }

    /// A list of a directory, or of one file.
    fn list(is_dir: bool) -> FileList {
        let options = crate::options::Options::default().list(32, Compat(0), 16);
        let mut list = FileList::new(0);
        let mode = if is_dir { 0o040_755 } else { 0o100_644 };
        let path = if is_dir { &b"."[..] } else { b"f" };
        Encoder::new(options).write(
            &NewEntry { path, mode, ..NewEntry::default() },
            &Numeric,
            &mut list,
            &mut Vec::new(),
        );
        list
    }

    #[test]
    fn links_in_the_volume_are_not_followed() {
        let (volume, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), volume.path().join("link")).unwrap();
        std::fs::create_dir(outside.path().join("inner")).unwrap();
        let open = |path: &[u8]| Target::beneath(volume.path(), path)?.open(&list(true), false);
        for path in [&b"link"[..], b"link/", b"link/inner", b"link/new", b"../x"] {
            assert!(open(path).is_err(), "{}", Shown(path));
        }
        for path in [&b"."[..], b"", b"/", b"new", b"/new/deeper/"] {
            assert!(open(path).is_ok(), "{}", Shown(path));
        }
        assert!(volume.path().join("new/deeper").is_dir() && !outside.path().join("new").exists());
    }

    #[test]
    fn a_file_alone_gets_the_name_that_the_user_gave() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("old"), b"").unwrap();
        std::fs::create_dir(temp.path().join("dir")).unwrap();
        let targets = |path: &str| {
            let whole = format!("{}/{path}", temp.path().display());
            [Target::new(whole.as_bytes()), Target::beneath(temp.path(), path.as_bytes()).unwrap()]
        };
        for (path, is_dir, rename) in [
            ("new", false, Some("new")),
            ("old", false, Some("old")),
            ("dir/x", false, Some("x")),
            ("dir", false, None),
            ("made/", false, None),
            ("dir", true, None),
        ] {
            for target in targets(path) {
                let place = target.open(&list(is_dir), false).unwrap();
                assert_eq!(place.rename.as_deref(), rename.map(str::as_bytes), "{path}");
            }
        }
        for target in targets("old") {
            assert_eq!(target.open(&list(true), false).unwrap_err().code(), ExitCode::FileSelect as u8);
        }
        for target in targets("old/") {
            assert_eq!(target.open(&list(false), false).unwrap_err().code(), ExitCode::FileSelect as u8);
        }
        for target in targets("missing") {
            assert!(target.open(&list(true), true).unwrap().dest.is_none());
        }
        assert!(temp.path().join("made").is_dir() && !temp.path().join("missing").exists());
    }
}
