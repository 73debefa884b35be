//! Where a transfer goes.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use volsync_common::dest::{Dest, DestOptions};
use volsync_common::path::{RelPath, Shown};
use volsync_common::root::{Root, Strategy};

use crate::exit::{ExitCode, Fatal};

/// An open destination.
#[derive(Debug)]
pub struct Place {
    /// The directory.
    pub(super) dest: Dest,
    /// What the only file is called there, when the destination is not its directory.
    pub(super) rename: Option<Vec<u8>>,
}

/// Opens the directory `path`; its last element is made if it is missing, as rsync does.
pub fn open_destination(path: &Path) -> Result<Place, Fatal> {
    let open = |path: &Path| Dest::open(path, DestOptions::default());
    let opened = match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).and_then(|()| open(path)),
        other => other,
    };
    match opened {
        Ok(dest) => Ok(Place { dest, rename: None }),
        Err(error) => {
            let shown = Shown(path.as_os_str().as_bytes());
            let code =
                if error.kind() == io::ErrorKind::NotADirectory { ExitCode::FileSelect } else { ExitCode::FileIo };
            Err(Fatal::Other(code, format!("cannot use the destination {shown}: {error}")))
        }
    }
}

/// Opens what a client calls `path` in the volume `root`: `.` and `/` are the volume itself, nothing leads out of it, and
/// no link is followed. Its last element is made if it is missing.
pub fn open_beneath(root: &Path, path: &[u8]) -> Result<Place, Fatal> {
    let failed = |code: ExitCode, why: &dyn std::fmt::Display| {
        Fatal::Other(code, format!("cannot use the destination {}: {why}", Shown(path)))
    };
    let Some(relative) = confined(path) else {
        return Err(failed(ExitCode::FileSelect, &"it leads out of the volume"));
    };
    if relative.is_empty() {
        return open_destination(root);
    }
    let relative = RelPath::new(relative).map_err(|error| failed(ExitCode::FileSelect, &error))?;
    let open = || -> io::Result<Dest> {
        let volume = Root::open(root, Strategy::Kernel)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let dir = match volume.open_at(Some(&relative), flags, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                rustix::fs::mkdirat(volume.parent(&relative)?, relative.name(), Mode::from_raw_mode(0o777))?;
                volume.open_at(Some(&relative), flags, Mode::empty())?
            }
            other => other?,
        };
        // By its descriptor: the name may lead elsewhere by now.
        Dest::open(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())), DestOptions::default())
    };
    open().map(|dest| Place { dest, rename: None }).map_err(|error| failed(ExitCode::FileIo, &error))
}

/// The path below a volume, empty for the volume itself; `None` if it would lead out.
pub(crate) fn confined(path: &[u8]) -> Option<Vec<u8>> {
    let elements: Vec<_> = path.split(|b| *b == b'/').filter(|element| !matches!(*element, b"" | b".")).collect();
    if elements.contains(&&b".."[..]) { None } else { Some(elements.join(&b'/')) }
}

fn make(path: &Path) -> io::Result<()> {
    // "x/" is x.
    let path: PathBuf = path.components().collect();
    rustix::fs::mkdirat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o777))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_volume() {
        let place = |path: &str| confined(path.as_bytes()).map(|path| String::from_utf8(path).unwrap());
        let expect = |path: &str| Some(path.to_owned());
        assert_eq!((place("."), place("/"), place("/sub//x/./")), (expect(""), expect(""), expect("sub/x")));
        assert_eq!((place(".."), place("a/../../etc")), (None, None));
    }

    #[test]
    fn links_in_the_volume_are_not_followed() {
        let (volume, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), volume.path().join("link")).unwrap();
        std::fs::create_dir(outside.path().join("inner")).unwrap();
        for path in [&b"link"[..], b"link/inner", b"link/new", b"../x"] {
            assert!(open_beneath(volume.path(), path).is_err(), "{}", Shown(path));
        }
        for path in [&b"."[..], b"new", b"/new/deeper"] {
            assert!(open_beneath(volume.path(), path).is_ok(), "{}", Shown(path));
        }
        assert!(volume.path().join("new/deeper").is_dir() && !outside.path().join("new").exists());
    }
}
