//! What every command begins with: flags, the configuration, and what sections add to the flags.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::sync::Arc;

use volsync_common::budget::Budget;
use volsync_common::hash::FileHasher;
use volsync_common::path::Shown;
use volsync_common::telemetry::Log;
use volsync_common::time::Timestamp;

use super::command::Command;
use super::{Env, Failure, console, process};
use crate::config::{Config, ConfigSource, PasswordSource, RemoteError, dump};
use crate::filter::Filter;
use crate::flags::{Flags, GlobalOptions, Origin};
use crate::open::{OpenError, Opener, Reason, Resolved, resolve, resolve_parent};
use crate::store::OneFile;

/// The smallest part of an upload, and so the least memory to work with.
const ONE_PART: u64 = 5 << 20;

/// Flags and configuration of one command.
pub struct Session {
    /// The environment.
    pub env: Env,
    /// What was given.
    pub flags: Flags,
    /// The same as values.
    pub options: GlobalOptions,
    /// Where the configuration was read.
    pub source: ConfigSource,
    /// The remotes.
    pub config: Config,
    /// When the command began.
    pub now: Timestamp,
    /// The log.
    pub log: Log,
}

impl Session {
    /// Reads flags and configuration; returns the words of the command too, as many as it takes.
    pub fn start(env: &Env, command: &Command, rest: &[OsString]) -> Result<(Self, Vec<OsString>), Failure> {
        let now = Timestamp::now();
        let (flags, words) = Flags::parse(&**env, command.name, rest)?;
        count(command, &words)?;
        let options = GlobalOptions::new(&flags, now)?;
        let log = console::start(&options)?;
        if let Some(text) = flags.report_unknown() {
            tracing::warn!("{text}");
        }
        let source = source(env, &flags);
        let passwords = PasswordSource { command: options.password_command.clone() };
        let (config, notices) = Config::load(&source, &**env, &passwords)?;
        for notice in &notices {
            tracing::warn!("{}", notice.0);
        }
        Ok((Self { env: env.clone(), flags, options, source, config, now, log }, words))
    }

    /// What the words name, with the flags of their sections in force from here on.
    pub fn resolve(&mut self, words: &[&[u8]]) -> Result<Vec<Resolved>, Failure> {
        let found = words.iter().map(|word| resolve(&self.config, &*self.env, &self.flags, word));
        let found = found.collect::<Result<Vec<_>, _>>().inspect_err(|error| self.hint(error))?;
        let remotes = found.iter().flat_map(Resolved::remotes);
        let global: Vec<_> = remotes.flat_map(|remote| remote.global.iter().cloned()).collect();
        if !global.is_empty() {
            self.flags = self.flags.with_section(&global)?;
            self.options = GlobalOptions::new(&self.flags, self.now)?;
        }
        Ok(found)
    }

    /// The file that a word may name.
    pub fn file(&self, word: &[u8], opener: &Opener<'_>) -> Option<OneFile> {
        let (parent, path) = resolve_parent(&self.config, &*self.env, &self.flags, word)?;
        Some(OneFile { store: opener.store(parent).ok()?, path })
    }

    /// Of a remote that does not exist: which do.
    fn hint(&self, error: &OpenError) {
        if !matches!(*error.why, Reason::Remote(RemoteError::NoSection(_))) {
            return;
        }
        let remotes = dump::remotes(&self.config, &*self.env);
        let names: Vec<_> = remotes.iter().map(|(name, _)| format!("{}:", Shown(name))).collect();
        let file = match &self.source {
            ConfigSource::File(path) => Shown(path.as_os_str().as_bytes()).to_string(),
            ConfigSource::Memory => "the environment".to_owned(),
        };
        match names.as_slice() {
            [] => tracing::warn!("there are no remotes in {file}"),
            names => tracing::warn!("the remotes in {file} are {}", names.join(" ")),
        }
    }

    /// Memory for data: what the user says, else a share of the cgroup's.
    pub fn budget(&self, places: &[Resolved]) -> Budget {
        let part = places.iter().map(Resolved::part_size).max().unwrap_or(0).max(ONE_PART);
        let bytes = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let budget = match self.options.volsync_memory_limit {
            Some(limit) => Budget::new(bytes(limit)),
            None => Budget::from_cgroup(bytes(part)),
        };
        match self.options.max_buffer_memory {
            Some(most) if bytes(most) < budget.limit() => Budget::new(bytes(most)),
            _ => budget,
        }
    }

    /// Opens places whose stores use two thirds of the memory of `budget` for uploads.
    pub fn opener(&self, budget: &Budget, filter: Arc<Filter>, hasher: Arc<FileHasher>) -> Opener<'_> {
        Opener {
            env: &*self.env,
            flags: &self.flags,
            options: &self.options,
            filter,
            upload_memory: budget.limit() as u64 / 3 * 2,
            hasher,
            client: OnceCell::new(),
        }
    }
}

/// Starts the threads that hash; they sleep until there is work.
pub fn hasher() -> Result<Arc<FileHasher>, Failure> {
    let hasher = FileHasher::start(process::cores());
    hasher.map(Arc::new).map_err(|error| Failure::System { what: "starting threads", error })
}

/// The words of a command that needs no configuration.
pub fn words(command: &Command, rest: &[OsString]) -> Result<Vec<String>, Failure> {
    let (_, words) = Flags::parse(&crate::config::MapEnv::default(), command.name, rest)?;
    count(command, &words)?;
    Ok(words.iter().map(|word| word.to_string_lossy().into_owned()).collect())
}

fn count(command: &Command, words: &[OsString]) -> Result<(), Failure> {
    let (least, most) = (*command.arguments.start(), *command.arguments.end());
    let (limit, bound) = match words.len() {
        n if n < least => (least, "minimum"),
        n if n > most => (most, "maximum"),
        _ => return Ok(()),
    };
    let shown: Vec<_> = words.iter().map(|word| format!("\"{}\"", Shown(word.as_bytes()))).collect();
    Err(Failure::Usage(format!(
        "Command {} needs {limit} arguments {bound}: you provided {} non flag arguments: [{}]\nUsage: mover-rclone {}",
        command.name,
        words.len(),
        shown.join(" "),
        command.synopsis(),
    )))
}

fn source(env: &Env, flags: &Flags) -> ConfigSource {
    let on_line = flags.origin("config") == Some(Origin::CommandLine);
    let given = flags.value("config").filter(|_| on_line).map(|path| OsString::from_vec(path.to_vec()));
    let program = std::env::current_exe().ok();
    ConfigSource::find(given.as_deref().map(Path::new), &**env, program.as_deref().and_then(Path::parent))
}
