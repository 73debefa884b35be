//! What a person reads on standard error before and after the log proper.

use volsync_common::exit::ExitCode;

use super::Failure;

/// Says why a command was not carried out, and where to read on.
pub fn failed(failure: &Failure) {
    match failure {
        Failure::Said(_) => {}
        failure if failure.exit_code() == ExitCode::Usage => {
            eprintln!("Error: {failure}\nSee mover-rclone help for usage.");
        }
        failure => eprintln!("CRITICAL: {failure}"),
    }
}

/// Says something that stops nothing.
pub fn notice(text: &str) {
    eprintln!("NOTICE: {text}");
}
