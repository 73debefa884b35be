//! `config` and `listremotes`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use std::sync::Arc;

use volsync_common::budget::Budget;
use volsync_common::exit::ExitCode;
use volsync_common::path::Shown;

use super::command::{Action, Command};
use super::session::{Session, hasher};
use super::{Env, Failure};
use crate::config::{ConfigSource, dump};
use crate::open::resolve;

/// What `command` prints.
pub fn run(command: &'static Command, rest: &[OsString], env: &Env) -> Result<Vec<u8>, Failure> {
    let (session, words) = Session::start(env, command, rest)?;
    if command.action == Action::ListRemotes {
        return Ok(remotes(&session));
    }
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let (config, env) = (&session.config, &*session.env);
    match words.as_slice() {
        [b"dump"] => Ok(dump::dump(config, env).into_bytes()),
        [b"show"] => Ok(dump::show(config)),
        [b"show", name] => Ok(dump::show_remote(config, env, name)),
        [b"redacted"] => Ok(dump::redacted(config, env, None)),
        [b"redacted", name] => Ok(dump::redacted(config, env, Some(name))),
        [b"file"] => Ok(file(&session.source).into_bytes()),
        [b"check"] => check(&session, None),
        [b"check", name] => check(&session, Some(name)),
        _ => Err(Failure::Usage(format!("config does not know this; Usage: mover-rclone {}", command.synopsis()))),
    }
}

fn remotes(session: &Session) -> Vec<u8> {
    let (config, env) = (&session.config, &*session.env);
    match (session.options.json, session.options.long) {
        (true, _) => dump::list_remotes_json(config, env).into_bytes(),
        (false, true) => dump::list_remotes_long(config, env),
        (false, false) => dump::list_remotes(config, env),
    }
}

fn file(source: &ConfigSource) -> String {
    match source {
        ConfigSource::Memory => "Configuration is in memory only\n".to_owned(),
        ConfigSource::File(path) if path.exists() => format!("Configuration file is stored at:\n{}\n", path.display()),
        ConfigSource::File(path) => {
            format!("Configuration file doesn't exist, but rclone will use this path:\n{}\n", path.display())
        }
    }
}

fn check(session: &Session, name: Option<&[u8]>) -> Result<Vec<u8>, Failure> {
    let opener = session.opener(&Budget::new(0), Arc::default(), hasher()?);
    let examine = |name: &[u8]| {
        let resolved = resolve(&session.config, &*session.env, &session.flags, name);
        resolved.and_then(|resolved| opener.examine(resolved)).map_err(|error| error.why.to_string())
    };
    let name = name.map(|name| name.strip_suffix(b":").unwrap_or(name));
    let verdicts = dump::check(&session.config, &*session.env, name, &examine);
    if let Some(name) = name.filter(|_| verdicts.is_empty()) {
        return Err(Failure::Usage(format!("there is no remote {}: see mover-rclone listremotes", Shown(name))));
    }
    let (report, fine) = dump::check_report(&verdicts);
    if fine {
        return Ok(report.into_bytes());
    }
    super::console::say(report.trim_end());
    Err(Failure::Said(ExitCode::Failure))
}
