//! Which flags were given, on the command line or as variables: rclone's rules (its `docs/content/docs.md`, "Config
//! file" and "Environment variables") and pflag's syntax.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use thiserror::Error;
use volsync_common::exit::ExitCode;

use crate::config::env::Environment;
use crate::config::resolve::BackendFlags;
use crate::config::value;
use crate::spelling::distance;

use super::table::{self, Disposition, Flag};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A variable, which under the operator is a key of the Secret.
    Environment,
    /// The command line.
    CommandLine,
    /// `global.FLAG` or `override.FLAG` of a section or a remote string.
    Section,
}

/// Why the flags cannot be used. Nothing was started.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FlagError {
    /// No flag has this name.
    #[error("unknown flag: {flag}{}", suggestion.map(|s| format!("; did you mean --{s}?")).unwrap_or_default())]
    Unknown {
        /// As it was written.
        flag: String,
        /// The nearest name.
        suggestion: Option<&'static str>,
    },
    /// A flag at the end of the line that needs a value.
    #[error("flag needs an argument: {0}")]
    NeedsValue(String),
    /// The value is not of the flag's type.
    #[error("invalid value {value:?} for {}: {why}", place(*origin, flag))]
    Invalid {
        /// Where it was given.
        origin: Origin,
        /// The long name.
        flag: &'static str,
        /// The value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A flag that would change the result and that we lack.
    #[error("{} is refused: {why}", place(*origin, flag))]
    Refused {
        /// Where it was given.
        origin: Origin,
        /// The long name.
        flag: &'static str,
        /// What to do instead.
        why: &'static str,
    },
    /// Two flags that exclude each other.
    #[error("{0}")]
    Conflict(&'static str),
}

impl FlagError {
    /// 1 for variables and sections, 2 for the command line, as rclone.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Invalid { origin: Origin::CommandLine, .. } | Self::Refused { origin: Origin::CommandLine, .. } => {
                ExitCode::Usage
            }
            Self::Invalid { .. } | Self::Refused { .. } => ExitCode::Failure,
            Self::Unknown { .. } | Self::NeedsValue(_) | Self::Conflict(_) => ExitCode::Usage,
        }
    }
}

fn place(origin: Origin, flag: &str) -> String {
    match origin {
        Origin::Environment => format!("{} (a key of the Secret or a variable)", super::variable(flag)),
        Origin::CommandLine => format!("--{flag}"),
        Origin::Section => format!("global.{} or override.{0} of the section", flag.replace('-', "_")),
    }
}

/// The values of one flag: one, or for lists any number.
#[derive(Clone, Debug)]
struct Given {
    origin: Origin,
    values: Vec<Vec<u8>>,
}

/// Every flag that was given for one sub-command.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    given: BTreeMap<&'static str, Given>,
    unknown: Vec<String>,
}

impl Flags {
    /// Reads the variables only.
    ///
    /// # Errors
    /// A refused flag, or a value that is not of its type.
    pub fn from_env(env: &dyn Environment, command: &str) -> Result<Self, FlagError> {
        Self::parse(env, command, &[]).map(|(flags, _)| flags)
    }

    /// Reads the variables and the arguments after the sub-command; also returns the arguments that are no flags.
    /// The command line beats a variable; a list has the values of both, the variable's first.
    ///
    /// # Errors
    /// An unknown flag on the command line, a refused one, or a value that is not of its type.
    pub fn parse(env: &dyn Environment, command: &str, args: &[OsString]) -> Result<(Self, Vec<OsString>), FlagError> {
        let mut flags = Self::default();
        flags.read_variables(env, command)?;
        let positionals = flags.read_arguments(command, args)?;
        flags.check(command)?;
        Ok((flags, positionals))
    }

    /// The same with the flags that a section brings (`global.FLAG`, `override.FLAG`, names with `_`), which beat all
    /// others. As in rclone only its main flags count there; whatever else is ignored.
    ///
    /// # Errors
    /// A refused flag, or a list that is not one.
    pub fn with_section(&self, given: &[(String, Vec<u8>)]) -> Result<Self, FlagError> {
        let mut flags = self.clone();
        for (name, value) in given {
            let main = table::find(&name.replace('_', "-"), "").filter(|flag| flag.is_main());
            if let Some(flag) = main {
                flags.set(Origin::Section, flag, value.clone())?;
            }
        }
        flags.check("")?;
        Ok(flags)
    }

    /// One line that names the variables that look like flags and are none; a Service named `rclone` injects some into
    /// every pod of its namespace.
    pub fn report_unknown(&self) -> Option<String> {
        (!self.unknown.is_empty()).then(|| format!("ignored variables that are no flags: {}", self.unknown.join(", ")))
    }

    /// Where a flag was given, if it was.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.given.get(name).map(|given| given.origin)
    }

    /// The raw value of a flag that is not a list.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.given.get(name)?.values.last().map(Vec::as_slice)
    }

    /// The values of a list.
    pub fn values(&self, name: &str) -> Vec<Vec<u8>> {
        self.given.get(name).map(|given| given.values.clone()).unwrap_or_default()
    }

    fn read_variables(&mut self, env: &dyn Environment, command: &str) -> Result<(), FlagError> {
        for (name, value) in env.vars() {
            let Some(tail) = name.strip_prefix(b"RCLONE_").and_then(|t| std::str::from_utf8(t).ok()) else { continue };
            let long = tail.to_ascii_lowercase().replace('_', "-");
            let canonical = !tail.bytes().any(|b| b.is_ascii_lowercase() || b == b'-');
            match table::find(&long, command).filter(|_| canonical) {
                Some(flag) if !value.is_empty() => self.set(Origin::Environment, flag, value)?,
                Some(_) => {}
                None if table::exists(&long) || is_contract(tail) => {}
                None => self.unknown.push(format!("RCLONE_{tail}")),
            }
        }
        Ok(())
    }

    fn set(&mut self, origin: Origin, flag: &'static Flag, value: Vec<u8>) -> Result<(), FlagError> {
        let values = if flag.is_list() {
            value::separated(&value, b',').map_err(|e| invalid(origin, flag, &value, e.to_string()))?
        } else {
            vec![value]
        };
        self.given.insert(flag.name, Given { origin, values });
        Ok(())
    }

    fn read_arguments(&mut self, command: &str, args: &[OsString]) -> Result<Vec<OsString>, FlagError> {
        let mut positionals = Vec::new();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            match arg.as_bytes() {
                b"--" => {
                    positionals.extend(rest.by_ref().cloned());
                }
                [b'-', b'-', long @ ..] => self.read_long(command, long, &mut rest)?,
                [b'-', letters @ ..] if !letters.is_empty() => self.read_short(command, letters, &mut rest)?,
                _ => positionals.push(arg.clone()),
            }
        }
        Ok(positionals)
    }

    fn read_long(
        &mut self,
        command: &str,
        text: &[u8],
        rest: &mut std::slice::Iter<'_, OsString>,
    ) -> Result<(), FlagError> {
        let equals = text.iter().position(|&b| b == b'=');
        let name = String::from_utf8_lossy(&text[..equals.unwrap_or(text.len())]).into_owned();
        let flag = table::find(&name, command)
            .ok_or_else(|| FlagError::Unknown { flag: format!("--{name}"), suggestion: nearest(&name, command) })?;
        let value = match equals {
            Some(at) => text[at + 1..].to_vec(),
            None if flag.is_switch() => b"true".to_vec(),
            None => next_value(rest).ok_or_else(|| FlagError::NeedsValue(format!("--{name}")))?,
        };
        self.set_argument(flag, value, equals.is_none());
        Ok(())
    }

    /// `-n`, `-vv`, `-fRULE`, `-f RULE`.
    fn read_short(
        &mut self,
        command: &str,
        letters: &[u8],
        rest: &mut std::slice::Iter<'_, OsString>,
    ) -> Result<(), FlagError> {
        for (at, &letter) in letters.iter().enumerate() {
            let unknown = || FlagError::Unknown { flag: format!("-{}", letter.escape_ascii()), suggestion: None };
            let flag = table::find_short(char::from(letter), command).ok_or_else(unknown)?;
            let tail = &letters[at + 1..];
            if flag.is_switch() && !tail.starts_with(b"=") {
                self.set_argument(flag, b"true".to_vec(), true);
                continue;
            }
            let attached = tail.strip_prefix(b"=").unwrap_or(tail);
            let value = if tail.is_empty() { next_value(rest) } else { Some(attached.to_vec()) };
            let value = value.ok_or_else(|| FlagError::NeedsValue(format!("-{}", char::from(letter))))?;
            self.set_argument(flag, value, false);
            return Ok(());
        }
        Ok(())
    }

    fn set_argument(&mut self, flag: &'static Flag, value: Vec<u8>, bare: bool) {
        let origin = Origin::CommandLine;
        let earlier = self.given.remove(flag.name);
        let values = match earlier {
            Some(mut given) if flag.is_list() => {
                given.values.push(value);
                given.values
            }
            Some(given) if flag.kind == "count" && bare && given.origin == origin => {
                vec![one_more(given.values.last())]
            }
            _ if flag.kind == "count" && bare => vec![b"1".to_vec()],
            _ => vec![value],
        };
        self.given.insert(flag.name, Given { origin, values });
    }

    /// Types and dispositions of everything that was given.
    fn check(&self, command: &str) -> Result<(), FlagError> {
        for (name, given) in &self.given {
            let Some(flag) = table::find(name, command) else { continue };
            let refused = match flag.disposition {
                Disposition::Refused(why) => Some(why),
                Disposition::Implemented | Disposition::Harmless(_) => None,
            };
            if let Some(why) = refused.filter(|_| given.differs_from(flag)) {
                return Err(FlagError::Refused { origin: given.origin, flag: flag.name, why });
            }
        }
        Ok(())
    }
}

impl BackendFlags for Flags {
    /// Variables are not looked at: their precedence is the configuration's business.
    fn command_line(&self, backend: &str, option: &str) -> Option<String> {
        let option = option.replace('_', "-");
        let own = self.given.get(format!("{backend}-{option}").as_str());
        // Some flags of the local backend lack its name: --one-file-system, --copy-links.
        let given = own.or_else(|| self.given.get(option.as_str()).filter(|_| backend == "local"))?;
        let value = given.values.last().filter(|_| given.origin == Origin::CommandLine)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

impl Given {
    /// A bool that is not valid differs too: it was meant to say something.
    fn differs_from(&self, flag: &Flag) -> bool {
        self.values.iter().any(|value| {
            let value = value.trim_ascii();
            match flag.kind {
                "bool" => value::bool(value).ok() != value::bool(flag.default.as_bytes()).ok(),
                _ => !value.is_empty() && value != flag.default.as_bytes(),
            }
        })
    }
}

pub(super) fn invalid(origin: Origin, flag: &Flag, value: &[u8], why: String) -> FlagError {
    FlagError::Invalid { origin, flag: flag.name, value: String::from_utf8_lossy(value).into_owned(), why }
}

fn next_value(rest: &mut std::slice::Iter<'_, OsString>) -> Option<Vec<u8>> {
    rest.next().map(|value| value.clone().into_vec())
}

fn one_more(count: Option<&Vec<u8>>) -> Vec<u8> {
    let count = count.and_then(|text| value::int(text, 64).ok()).unwrap_or(0);
    count.saturating_add(1).to_string().into_bytes()
}

/// Variables that look like flags and mean something else: the configuration's, and VolSync's own.
fn is_contract(tail: &str) -> bool {
    tail.starts_with("CONFIG_") || matches!(tail, "DEST_PATH" | "VERSION")
}

/// The name with the fewest letters to change, if they are few.
fn nearest(name: &str, command: &str) -> Option<&'static str> {
    let flags = table::all().iter().filter(|flag| flag.belongs_to(command) && flag.group != table::OTHER_BACKENDS);
    let (distance, best) = flags.map(|flag| (distance(name.as_bytes(), flag.name.as_bytes()), flag.name)).min()?;
    (distance <= 1 + name.len() / 4).then_some(best)
}
