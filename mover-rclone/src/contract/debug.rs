//! `DEBUG_MOVER`: the pod waits for somebody to look around.
//!
//! Upstream copies its script to `/tmp`, to be edited and run there. There is nothing to edit here, and a copy of the
//! program would take memory: the mover is run again in place. While the marker exists it no longer waits.

use std::path::Path;
use std::time::Duration;

use volsync_common::debug::MARKER;
use volsync_common::exit::ExitCode;

use super::ENTRY;
use crate::cli::{Failure, console, process};
use crate::config::Environment;

/// How often it is looked for.
const POLL: Duration = Duration::from_secs(1);

/// Whether to wait instead of moving data. Not in a process that somebody started in a pod that waits already.
pub(super) fn is_asked_for(env: &dyn Environment) -> bool {
    env.var(b"DEBUG_MOVER").is_some_and(|value| value.trim_ascii() == b"1") && !Path::new(MARKER).exists()
}

/// Waits until the marker is removed; that is a success, as upstream.
pub(super) fn wait() -> ExitCode {
    if let Err(error) = std::fs::write(MARKER, b"") {
        console::say(&format!("error: cannot create {MARKER}: {error}"));
        return ExitCode::Failure;
    }
    console::say(&banner());
    let waited = process::run(async |cancel| {
        while Path::new(MARKER).exists() {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = cancel.cancelled() => return Err(Failure::Interrupted),
            }
        }
        Ok(())
    });
    match waited {
        Ok(()) => ExitCode::Success,
        Err(failure) => {
            console::failed(&failure);
            failure.exit_code()
        }
    }
}

fn banner() -> String {
    let line = "#".repeat(72);
    format!(
        "\n{line}\nDEBUG_MOVER is set: nothing is moved, this pod waits.\n\n\
         In the pod (kubectl exec POD -- COMMAND):\n\
         \x20 {ENTRY}                   move the data now\n\
         \x20 mover-rclone config check                 can every remote be used?\n\
         \x20 mover-rclone ls SECTION:PATH              what is stored?\n\
         \x20 rm {MARKER}        end the pod; the sync then counts as successful\n{line}"
    )
}
