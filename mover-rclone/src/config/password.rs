//! The password of an encrypted configuration. Never a prompt: nobody sits in front of a pod.

use std::fmt;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::env::Environment;
use super::secret::Secret;
use super::text::trim;
use super::value::separated;

/// How long a password command may run.
const COMMAND_TIME: Duration = Duration::from_mins(1);
/// How often it is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);
/// A longer output is no password.
const MAX_PASSWORD: u64 = 1 << 20;

/// Where passwords may come from, apart from the environment.
#[derive(Clone, Default)]
pub struct PasswordSource {
    /// `--password-command`; `RCLONE_PASSWORD_COMMAND` is read if it is not given.
    pub command: Option<Vec<u8>>,
}

/// Where a password came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--password-command`.
    Command,
    /// `RCLONE_CONFIG_PASS`.
    Variable,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "--password-command derived password",
            Self::Variable => "RCLONE_CONFIG_PASS env password",
        })
    }
}

/// Why there is no password that fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// None was given.
    #[error(
        "unable to decrypt configuration and not allowed to ask for password - set RCLONE_CONFIG_PASS to your \
         configuration password"
    )]
    Missing,
    /// It does not fit.
    #[error("using {0}, unable to decrypt configuration")]
    Wrong(Origin),
    /// The command could not be run, or failed.
    #[error("password command failed: {0}")]
    Command(String),
    /// It printed nothing.
    #[error("--password-command returned empty string")]
    EmptyOutput,
}

/// A password that was found.
pub struct Found {
    /// The password.
    pub password: Secret,
    /// Where it came from.
    pub origin: Origin,
    /// What to tell the user about it.
    pub notice: Option<&'static str>,
}

impl PasswordSource {
    /// The password: of the command if there is one, else of `RCLONE_CONFIG_PASS`.
    pub fn find(&self, env: &dyn Environment) -> Result<Found, PasswordError> {
        let command = self.command.clone().or_else(|| env.non_empty(b"RCLONE_PASSWORD_COMMAND"));
        let (password, origin) = match command.filter(|command| !command.is_empty()) {
            Some(command) => (run(&command)?, Origin::Command),
            None => (env.non_empty(b"RCLONE_CONFIG_PASS").ok_or(PasswordError::Missing)?, Origin::Variable),
        };
        let notice = (trim(&password).len() != password.len()).then_some(
            "Your password contains leading/trailing whitespace - in previous versions of rclone this was stripped",
        );
        Ok(Found { password: Secret::new(password), origin, notice })
    }
}

fn run(command: &[u8]) -> Result<Vec<u8>, PasswordError> {
    use std::os::unix::ffi::OsStringExt as _;
    let words = separated(command, b' ').map_err(|e| PasswordError::Command(e.0))?;
    let mut words = words.into_iter().map(std::ffi::OsString::from_vec);
    let program = words.next().ok_or(PasswordError::EmptyOutput)?;
    let child = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut output = finish(child.map_err(|e| failed(&e))?)?;
    while output.last().is_some_and(|b| matches!(b, b'\r' | b'\n')) {
        output.pop();
    }
    if output.is_empty() { Err(PasswordError::EmptyOutput) } else { Ok(output) }
}

fn failed(error: &std::io::Error) -> PasswordError {
    PasswordError::Command(error.to_string())
}

/// Waits for the command and reads what it printed, both within [`COMMAND_TIME`].
fn finish(mut child: Child) -> Result<Vec<u8>, PasswordError> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut output = Vec::new();
            let read = stdout.take(MAX_PASSWORD).read_to_end(&mut output).map(|_| output);
            // Nobody listens any more after a time-out.
            let _ = sender.send(read);
        });
    }
    let too_long = || PasswordError::Command(format!("it ran for more than {} s", COMMAND_TIME.as_secs()));
    let deadline = Instant::now() + COMMAND_TIME;
    let output = receiver.recv_timeout(COMMAND_TIME);
    loop {
        match child.try_wait().map_err(|e| failed(&e))? {
            Some(status) if status.success() => break,
            Some(status) => return Err(PasswordError::Command(status.to_string())),
            None if Instant::now() < deadline => std::thread::sleep(POLL),
            None => {
                child.kill().and_then(|()| child.wait()).map_err(|e| failed(&e))?;
                return Err(too_long());
            }
        }
    }
    output.map_err(|_| too_long())?.map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::super::env::MapEnv;
    use super::*;

    fn find(env: &[(&str, &str)]) -> Result<(Vec<u8>, Origin, bool), PasswordError> {
        let found = PasswordSource::default().find(&MapEnv::new(env.iter().copied()))?;
        Ok((found.password.expose().to_vec(), found.origin, found.notice.is_some()))
    }

    #[test]
    fn the_command_comes_before_the_variable() {
        let pass = ("RCLONE_CONFIG_PASS", " p ");
        let command = |c: &'static str| ("RCLONE_PASSWORD_COMMAND", c);
        assert_eq!(find(&[pass]), Ok((b" p ".to_vec(), Origin::Variable, true)));
        assert_eq!(find(&[pass, command("echo asdf")]), Ok((b"asdf".to_vec(), Origin::Command, false)));
        assert_eq!(find(&[command("sh -c \"printf 'a b\\r\\n'\"")]), Ok((b"a b".to_vec(), Origin::Command, false)));
        assert_eq!(find(&[command("true")]), Err(PasswordError::EmptyOutput));
        assert_eq!(find(&[command("false")]), Err(PasswordError::Command("exit status: 1".to_owned())));
        assert!(matches!(find(&[command("/nope")]), Err(PasswordError::Command(_))));
        assert_eq!(find(&[("RCLONE_CONFIG_PASS", "")]), Err(PasswordError::Missing));
    }
}
