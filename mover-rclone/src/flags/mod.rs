//! Flags: every name that rclone 1.75 knows, given on the command line or as `RCLONE_*` variables.
//!
//! [`table`] says what each is and what becomes of it, [`given`] collects what the user gave, [`options`] makes typed
//! values of it. [`switches`] are our own.

pub mod given;
pub mod options;
pub mod switches;
pub mod table;

pub use given::{FlagError, Flags, Origin};
pub use options::GlobalOptions;

/// The variable that sets a flag: `RCLONE_A_B` for `a-b`.
pub fn variable(flag: &str) -> String {
    format!("RCLONE_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// A flag as help writes it: short form, name, type.
pub fn spelled(flag: &table::Flag) -> String {
    let short = flag.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    let value = if flag.is_switch() { String::new() } else { format!(" {}", flag.kind) };
    format!("{short}--{}{value}", flag.name)
}

/// Takes any bytes as arguments, one a line.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    use std::os::unix::ffi::OsStringExt as _;
    let args: Vec<_> = data.split(|&b| b == b'\n').map(|a| std::ffi::OsString::from_vec(a.to_vec())).collect();
    let env = crate::config::env::MapEnv::new::<&str, &str>([]);
    if let Ok((flags, _)) = Flags::parse(&env, "sync", &args) {
        let _ = GlobalOptions::new(&flags, volsync_common::time::Timestamp::default());
    }
}
