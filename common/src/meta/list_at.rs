//! Which extended attributes a name in an open directory has, in one system call where the kernel has one for that.
//!
//! The way through `/proc/self/fd/N/NAME` takes half of the time of looking at an unchanged tree (`docs/performance.md`).
#![expect(unsafe_code, reason = "no crate has this system call yet")]

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::path::Arg as _;

/// `listxattrat`, since Linux 6.13 (`include/uapi/asm-generic/unistd.h`; x86-64 has the same number).
const LISTXATTRAT: c_long = 465;

/// It was not there once.
static MISSING: AtomicBool = AtomicBool::new(false);

/// Fills `list` with the names, each with its NUL, and says how many bytes those are. Follows no link.
///
/// # Errors
/// [`Errno::NOSYS`] where the call is missing; [`Errno::RANGE`] where `list` is too short; what else listing says.
pub(crate) fn list_at(dir: BorrowedFd<'_>, name: &[u8], list: &mut [u8]) -> rustix::io::Result<usize> {
    if MISSING.load(Ordering::Relaxed) {
        return Err(Errno::NOSYS);
    }
    let listed = name.into_with_c_str(|name| {
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: the kernel reads `name` up to its NUL and writes at most `list.len()` bytes into `list`; both outlive
        // the call, and any bytes are valid there.
        let len =
            unsafe { libc::syscall(LISTXATTRAT, dir.as_raw_fd(), name.as_ptr(), flags, list.as_mut_ptr(), list.len()) };
        usize::try_from(len).map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
    });
    match listed {
        // Some filters of containers refuse what they do not know with EPERM, which listing never says.
        Err(Errno::NOSYS | Errno::PERM) => {
            MISSING.store(true, Ordering::Relaxed);
            Err(Errno::NOSYS)
        }
        other => other,
    }
}
