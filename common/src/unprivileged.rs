//! For tests about missing rights.

use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

/// Runs `test` as UID and GID 1234 without any capability. Linux keeps credentials per thread, and leaving UID 0
/// drops all capabilities of the thread.
pub(crate) fn run<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                set_thread_groups(&[]).unwrap();
                set_thread_gid(Gid::from_raw(1234)).unwrap();
                set_thread_uid(Uid::from_raw(1234)).unwrap();
            }
            test()
        });
        thread.join().unwrap()
    })
}

/// A directory that belongs to whoever [`run`] makes us.
pub(crate) fn home() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(temp.path(), Some(1234), Some(1234)).unwrap();
    }
    temp
}
