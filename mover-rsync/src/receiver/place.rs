//! Where a transfer goes.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use volsync_common::dest::{Dest, DestOptions};

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
            let shown = volsync_common::path::Shown(path.as_os_str().as_bytes());
            let code =
                if error.kind() == io::ErrorKind::NotADirectory { ExitCode::FileSelect } else { ExitCode::FileIo };
            Err(Fatal::Other(code, format!("cannot use the destination {shown}: {error}")))
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    // "x/" is x.
    let path: PathBuf = path.components().collect();
    rustix::fs::mkdirat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o777))?;
    Ok(())
}
