//! By which name the program was started, and the two small programs of the image that people reach for.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use volsync_common::exit::ExitCode;

use super::{ENTRY, name_of};
use crate::cli::console;
use crate::config::Environment;

/// What the program is this time.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    /// The mover of a Job.
    Job,
    /// The command line, without the program's name.
    CommandLine(Vec<OsString>),
    /// `/bin/bash` or `/bin/sh` of the image, asked for something else than the mover.
    Shell,
    /// `/bin/rm` of the image.
    Remove(Vec<OsString>),
}

impl Start {
    /// Decides by the whole command line and, without arguments, by whether the operator's variables are there.
    pub fn of(mut args: Vec<OsString>, env: &dyn Environment) -> Self {
        if args.is_empty() {
            return Self::CommandLine(args);
        }
        let program = args.remove(0);
        match name_of(&program) {
            b"active.sh" => Self::Job,
            b"bash" | b"sh" if asks_for_the_mover(&args) => Self::Job,
            b"bash" | b"sh" => Self::Shell,
            b"rm" => Self::Remove(args),
            _ if args.is_empty() && env.non_empty(b"DIRECTION").is_some() => Self::Job,
            _ => Self::CommandLine(args),
        }
    }
}

fn asks_for_the_mover(args: &[OsString]) -> bool {
    matches!(args, [flag, command] if flag == "-c" && command.as_bytes().trim_ascii() == ENTRY.as_bytes())
}

/// What the image says to somebody who wants a shell.
pub fn shell() -> ExitCode {
    console::say_error(&format!(
        "There is no shell in this image; bash understands only -c {ENTRY}.\n\
         To look around run mover-rclone itself: mover-rclone help"
    ));
    ExitCode::NotFound
}

/// Does what `rm` of the image is there for.
pub fn remove(args: &[OsString]) -> ExitCode {
    match volsync_common::debug::remove(args) {
        Ok(()) => ExitCode::Success,
        Err(error) => {
            console::say_error(&error);
            ExitCode::Failure
        }
    }
}
