//! The log, and what is said when there is none yet.

use std::io::{self, Write as _};
use std::path::PathBuf;

use volsync_common::exit::ExitCode;
use volsync_common::telemetry::{self, Format, InitError, Level, Log, Settings};

use super::Failure;
use crate::flags::GlobalOptions;

/// Sends the log where the flags say.
///
/// # Errors
/// The log file cannot be opened, or there is no such format.
pub fn start(options: &GlobalOptions) -> Result<Log, Failure> {
    use std::os::unix::ffi::OsStringExt as _;
    let format = Format::parse(&String::from_utf8_lossy(&options.log_format));
    let format = format.map_err(|error| Failure::Usage(format!("--log-format: {error}")))?;
    let settings = Settings {
        level: options.log_level,
        format: if options.use_json_log { format.json() } else { format },
        file: options.log_file.clone().map(|file| PathBuf::from(std::ffi::OsString::from_vec(file))),
    };
    match telemetry::init(&settings) {
        Ok(log) => Ok(log),
        // Somebody who embeds us keeps his own log.
        Err(InitError::Twice) => Ok(Log::to_stderr(&settings)),
        Err(error) => Err(Failure::Log(error)),
    }
}

/// Says why a command was not carried out, and where to read on.
pub fn failed(failure: &Failure) {
    if matches!(failure, Failure::Said(_)) {
        return;
    }
    if failure.exit_code() == ExitCode::Usage {
        say_error(&format!("Error: {failure}\nSee mover-rclone help for usage."));
        return;
    }
    // Without effect once the log is up.
    let _up_already = telemetry::init(&Settings { level: Level::Notice, format: Format::default(), file: None });
    tracing::error!(critical = true, "{failure}");
}

/// The last words of a run.
pub fn epitaph(lines: &[String]) {
    if !lines.is_empty() {
        say_error(&lines.join("\n"));
    }
}

/// Prints on standard output. That nobody listens does not end a run.
pub fn say(text: &str) {
    let _nobody_listens = writeln!(io::stdout(), "{text}");
}

/// Prints on standard error, in one piece.
pub fn say_error(text: &str) {
    let _nobody_listens = io::stderr().write_all(format!("{text}\n").as_bytes());
}
