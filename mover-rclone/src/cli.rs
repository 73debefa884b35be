//! The command line: from arguments and environment to an exit code.
//!
//! [`mod@line`] finds the sub-command, [`mod@command`] knows what each takes, [`mod@session`] reads flags and configuration.
//! [`transfer`] and [`list`] work on stores, [`config`] does not. What ends a command before it begins is a [`Failure`].

pub mod command;
pub mod config;
pub mod console;
pub mod failure;
pub mod help;
pub mod line;
pub mod list;
pub mod process;
pub mod session;
pub mod transfer;

use std::ffi::OsString;
use std::io::Write as _;
use std::sync::Arc;

use volsync_common::exit::ExitCode;

use crate::config::Environment;
use command::{Action, Command};
pub use failure::Failure;
use line::Line;

/// The environment, shared with the threads that read it.
pub type Env = Arc<dyn Environment + Send + Sync>;

/// Carries out one command line, `args` without the program's name, and says what went wrong.
pub fn run(args: &[OsString], env: &Env) -> ExitCode {
    match dispatch(args, env) {
        Ok(code) => code,
        Err(failure) => {
            console::failed(&failure);
            failure.exit_code()
        }
    }
}

fn dispatch(args: &[OsString], env: &Env) -> Result<ExitCode, Failure> {
    let line = Line::parse(args)?;
    if line.version {
        return print(&version());
    }
    match line.command {
        None if line.help || line.rest.is_empty() => print(&help::overview()),
        None => Err(Failure::Usage("a sub-command is missing: see mover-rclone help".to_owned())),
        Some(command) if line.help => print(&help::of_command(command)),
        Some(command) => act(command, &line.rest, env),
    }
}

fn act(command: &'static Command, rest: &[OsString], env: &Env) -> Result<ExitCode, Failure> {
    match command.action {
        Action::Move(goal) => transfer::run(command, goal, rest, env),
        Action::List => list::run(command, rest, env),
        Action::Config | Action::ListRemotes => print_bytes(&config::run(command, rest, env)?),
        Action::Version => print(&version()),
        Action::Completion => print(&help::completion(&session::words(command, rest)?)?),
        Action::Help => print(&help::topic(&session::words(command, rest)?)?),
    }
}

/// This program's version, and the rclone that it behaves like.
pub fn version() -> String {
    format!(
        "mover-rclone v{}\n- behaves like: rclone v1.75.2\n- os/type: {}\n- os/arch: {}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
    )
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    print_bytes(text.as_bytes())
}

/// To standard output. A reader that has seen enough (`| head`) is no failure.
fn print_bytes(bytes: &[u8]) -> Result<ExitCode, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::System { what: "writing to standard output", error })
        }
        _ => Ok(ExitCode::Success),
    }
}
