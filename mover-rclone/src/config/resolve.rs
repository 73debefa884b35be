//! From a remote string to a backend with options: where each value comes from, and in which order.
//!
//! Highest first, per key (observed with rclone 1.75; its manual has the third and fourth the other way round):
//! the remote string; a `--s3-key` flag; `RCLONE_S3_KEY` if it differs from the default; `RCLONE_CONFIG_NAME_KEY`;
//! `RCLONE_S3_KEY` equal to the default; the section of the file, non-empty values only; the default.

use std::collections::BTreeMap;
use std::fmt;

use volsync_common::path::Shown;
use volsync_common::time::Timestamp;

use super::Config;
use super::env::Environment;
use super::obscure::{RevealError, reveal};
use super::options::{OptionSpec, SUPPORTED, UNSUPPORTED, table, way_to};
use super::remote::{RemoteString, RemoteSyntax};
use super::secret::Secret;
use super::text::quoted;
use super::value::{Encoding, Parsed};

/// Aliases and wrapped remotes that may follow one another; more is a loop.
const MAX_ALIASES: usize = 32;

/// Backend options that were given as flags.
pub trait BackendFlags {
    /// The value of `--BACKEND-OPTION` (option names with `_`), if it was given on the command line.
    fn command_line(&self, backend: &str, option: &str) -> Option<String>;
}

/// No flag was given.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFlags;

impl BackendFlags for NoFlags {
    fn command_line(&self, _: &str, _: &str) -> Option<String> {
        None
    }
}

/// The backends that can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// An S3 store.
    S3,
    /// The local file system.
    Local,
    /// Encryption over another remote, named by the option `remote`.
    Crypt,
}

/// Why an option has no usable value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The value is not of the option's type.
    #[error("couldn't parse config item {} = {} as {kind}: {why}", quoted(key.as_bytes()), quoted(value))]
    Value {
        /// The option.
        key: &'static str,
        /// What was given; options with secret values have no other type than text, so it is safe to print.
        value: Vec<u8>,
        /// rclone's name of the type.
        kind: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A variable `RCLONE_BACKEND_OPTION` is not of the option's type.
    #[error(
        "Invalid value when setting {flag} from environment variable {variable}={}: invalid argument {} for \
         \"{flag}\" flag: {why}",
        quoted(value),
        quoted(value)
    )]
    Variable {
        /// The flag of the same name.
        flag: String,
        /// The variable.
        variable: String,
        /// What it holds.
        value: Vec<u8>,
        /// What is wrong with it.
        why: String,
    },
    /// The option asks for something that is not supported.
    #[error("{backend} option {key} is not supported by this mover: {why}")]
    Refused {
        /// The backend.
        backend: &'static str,
        /// The option.
        key: &'static str,
        /// Why, and what to do.
        why: &'static str,
    },
    /// A password that is not obscured.
    #[error("failed to decrypt {key}: {why}")]
    Reveal {
        /// The option.
        key: &'static str,
        /// What is wrong.
        why: RevealError,
    },
    /// The backend has no such option, or it is of another type: a mistake in this program.
    #[error("there is no option {0} of this type")]
    Unknown(String),
}

/// Why a remote cannot be used. Goes after `Failed to create file system for "ARG": `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The string itself is wrong.
    #[error(transparent)]
    Syntax(#[from] RemoteSyntax),
    /// Neither the file nor the environment has such a remote.
    #[error("didn't find section in config file ({})", quoted(.0.as_bytes()))]
    NoSection(String),
    /// No backend has this name, in any rclone.
    #[error("didn't find backend called {} (supported here: {})", quoted(.0.as_bytes()), SUPPORTED.join(", "))]
    NoBackend(String),
    /// rclone has this backend, this mover does not.
    #[error(
        "type = {backend} is not supported by this mover; it supports {}.{} Upstream's mover image still works for \
         this ReplicationSource or ReplicationDestination", SUPPORTED.join(", "), way(backend)
    )]
    Unsupported {
        /// The type.
        backend: String,
    },
    /// An option is wrong or refused.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// An alias without target.
    #[error("alias can't point to an empty remote - check the value of the remote setting")]
    EmptyAlias,
    /// An alias or crypt remote that names itself.
    #[error("can't point {0} remote at itself - check the value of the remote setting")]
    Itself(&'static str),
    /// Aliases that lead round in a circle.
    #[error("aliases lead to one another without end: {0}")]
    Loop(String),
}

fn way(backend: &str) -> String {
    way_to(backend).map(|way| format!(" But {way}.")).unwrap_or_default()
}

/// An opened remote: aliases followed, every option parsed.
#[derive(Clone, Debug)]
pub struct Remote {
    /// How log lines call it: the section, or `:backend`.
    pub name: String,
    /// What it is.
    pub backend: Backend,
    /// The options of the backend.
    pub options: Options,
    /// The path on it, bytes as given (aliases joined).
    pub path: Vec<u8>,
    /// `global.FLAG = value` of the section or string: flags for the whole process, names with `_`.
    pub global: Vec<(String, Vec<u8>)>,
    /// `override.FLAG = value`: flags for this remote only.
    pub overrides: Vec<(String, Vec<u8>)>,
}

/// The options of one backend, all parsed and checked.
#[derive(Clone)]
pub struct Options {
    values: BTreeMap<&'static str, Given>,
}

#[derive(Clone)]
struct Given {
    value: Parsed,
    explicit: bool,
    secret: bool,
}

impl Options {
    fn get(&self, key: &str) -> Result<&Given, OptionError> {
        self.values.get(key).ok_or_else(|| OptionError::Unknown(key.to_owned()))
    }

    /// What was given, as `KEY = VALUE`, secrets hidden.
    pub fn given(&self) -> Vec<String> {
        let given = self.values.iter().filter(|(_, given)| given.explicit);
        given.map(|(key, given)| format!("{key} = {:?}", DebugGiven(given))).collect()
    }

    /// Whether the value was given anywhere, even if it is the default.
    pub fn is_given(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|given| given.explicit)
    }

    /// A text, as bytes.
    pub fn bytes(&self, key: &str) -> Result<&[u8], OptionError> {
        match &self.get(key)?.value {
            Parsed::Text(value) => Ok(value),
            _ => Err(OptionError::Unknown(key.to_owned())),
        }
    }

    /// A text; bytes that are not UTF-8 become U+FFFD.
    pub fn string(&self, key: &str) -> Result<String, OptionError> {
        self.bytes(key).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// A text that must not be printed (keys, tokens).
    pub fn secret(&self, key: &str) -> Result<Secret, OptionError> {
        self.bytes(key).map(Secret::new)
    }

    /// A password: revealed from its obscured form; empty stays empty.
    pub fn password(&self, key: &str) -> Result<Secret, OptionError> {
        let (name, _) = self.values.get_key_value(key).ok_or_else(|| OptionError::Unknown(key.to_owned()))?;
        match self.bytes(key)? {
            [] => Ok(Secret::default()),
            text => reveal(text).map_err(|why| OptionError::Reveal { key: name, why }),
        }
    }

    /// A bool.
    pub fn bool(&self, key: &str) -> Result<bool, OptionError> {
        match self.get(key)?.value {
            Parsed::Bool(value) => Ok(value),
            _ => Err(OptionError::Unknown(key.to_owned())),
        }
    }

    /// A number.
    pub fn int(&self, key: &str) -> Result<i64, OptionError> {
        match self.get(key)?.value {
            Parsed::Number(value) => Ok(value),
            _ => Err(OptionError::Unknown(key.to_owned())),
        }
    }

    /// Bytes; `None` is `off`.
    pub fn size(&self, key: &str) -> Result<Option<u64>, OptionError> {
        self.int(key).map(|value| u64::try_from(value).ok())
    }

    /// A duration; `None` is `off`. Negative ones count as zero.
    pub fn duration(&self, key: &str) -> Result<Option<std::time::Duration>, OptionError> {
        let nanos = self.int(key)?;
        Ok((nanos != i64::MAX).then(|| std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))))
    }

    /// A bool that may be unset.
    pub fn tristate(&self, key: &str) -> Result<Option<bool>, OptionError> {
        match self.get(key)?.value {
            Parsed::Tristate(value) => Ok(value),
            _ => Err(OptionError::Unknown(key.to_owned())),
        }
    }

    /// A set of replacements in names.
    pub fn encoding(&self, key: &str) -> Result<Encoding, OptionError> {
        match self.get(key)?.value {
            Parsed::Encoding(value) => Ok(value),
            _ => Err(OptionError::Unknown(key.to_owned())),
        }
    }

    /// A list.
    pub fn csv(&self, key: &str) -> Result<&[Vec<u8>], OptionError> {
        match &self.get(key)?.value {
            Parsed::List(value) => Ok(value),
            _ => Err(OptionError::Unknown(key.to_owned())),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = self.values.iter().filter(|(_, given)| given.explicit);
        f.debug_map().entries(given.map(|(key, given)| (key, DebugGiven(given)))).finish()
    }
}

struct DebugGiven<'a>(&'a Given);

impl fmt::Debug for DebugGiven<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.value {
            _ if self.0.secret => f.write_str("XXX"),
            Parsed::Text(value) => write!(f, "{}", Shown(value)),
            Parsed::Bool(value) => write!(f, "{value}"),
            Parsed::Number(value) => write!(f, "{value}"),
            Parsed::Tristate(value) => f.write_str(value.map_or("unset", |v| if v { "true" } else { "false" })),
            Parsed::Encoding(value) => write!(f, "{value:?}"),
            Parsed::List(value) => f.debug_list().entries(value.iter().map(|v| Shown(v).to_string())).finish(),
        }
    }
}

/// The name of the variable that defines a key of a remote: the name in upper case, otherwise as it is.
pub fn config_variable(name: &str, key: &str) -> Vec<u8> {
    format!("RCLONE_CONFIG_{}_{}", name.to_uppercase(), key.to_uppercase().replace('-', "_")).into_bytes()
}

/// The flag of an option, and its variable.
fn flag_names(backend: &str, spec: &OptionSpec) -> (String, String) {
    let name = if spec.bare { spec.name.to_owned() } else { format!("{backend}_{}", spec.name) };
    (format!("--{}", name.replace('_', "-")), format!("RCLONE_{}", name.to_uppercase()))
}

/// Where the values of one remote come from.
struct Layers<'a> {
    config: &'a Config,
    env: &'a dyn Environment,
    flags: &'a dyn BackendFlags,
    /// The section, `None` for a backend named in the string and for local paths.
    section: Option<&'a str>,
    params: &'a [(String, Vec<u8>)],
}

impl Layers<'_> {
    fn param(&self, key: &str) -> Option<Vec<u8>> {
        self.params.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.clone())
    }

    fn remote_variable(&self, key: &str) -> Option<Vec<u8>> {
        self.env.var(&config_variable(self.section?, key))
    }

    fn file(&self, key: &str) -> Option<Vec<u8>> {
        self.config.stored(self.section?.as_bytes(), key.as_bytes()).filter(|value| !value.is_empty())
    }

    /// The type: a parameter, the variable of the remote, or the file.
    fn backend(&self) -> Option<String> {
        let value = self.param("type").or_else(|| self.remote_variable("type").filter(|v| !v.is_empty()));
        value.or_else(|| self.file("type")).map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// The value of one option, parsed.
    fn option(&self, backend: &'static str, spec: &'static OptionSpec, now: Timestamp) -> Result<Given, OptionError> {
        let default = self.parse(spec, spec.default.as_bytes(), now)?;
        let (flag, variable) = flag_names(backend, spec);
        let from_env = self.env.var(variable.as_bytes()).map(|value| parse_variable(spec, flag, variable, value, now));
        let from_env = from_env.transpose()?;
        let high =
            self.param(spec.name).or_else(|| self.flags.command_line(backend, spec.name).map(String::into_bytes));
        let given = |value: Parsed| Given { value, explicit: true, secret: spec.secret };
        if let Some(value) = high {
            return self.parse(spec, &value, now).map(given);
        }
        match from_env {
            Some(value) if value != default => return Ok(given(value)),
            _ => {}
        }
        if let Some(value) = self.remote_variable(spec.name) {
            return self.parse(spec, &value, now).map(given);
        }
        if from_env.is_some() {
            return Ok(given(default));
        }
        match self.file(spec.name) {
            Some(value) => self.parse(spec, &value, now).map(given),
            None => Ok(Given { value: default, explicit: false, secret: spec.secret }),
        }
    }

    #[expect(clippy::unused_self, reason = "reads as one of the layers' operations")]
    fn parse(&self, spec: &'static OptionSpec, value: &[u8], now: Timestamp) -> Result<Parsed, OptionError> {
        spec.kind.parse_named(value, now).map_err(|why| OptionError::Value {
            key: spec.name,
            value: value.to_vec(),
            kind: spec.kind.name(),
            why: why.0,
        })
    }

    fn options(&self, backend: &'static str, table: &'static [OptionSpec]) -> Result<Options, OptionError> {
        let now = Timestamp::now();
        let mut values = BTreeMap::new();
        for spec in table {
            let given = self.option(backend, spec, now)?;
            refuse(backend, spec, &given, now)?;
            values.insert(spec.name, given);
        }
        Ok(Options { values })
    }

    /// Keys with this prefix, of the section and of the string, without it.
    fn prefixed(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let keys = self.section.map(|name| self.config.keys(name.as_bytes())).unwrap_or_default();
        let stored = keys.iter().filter_map(|key| {
            let flag = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?;
            Some((flag.to_owned(), self.config.get(self.section?.as_bytes(), key, self.env)?))
        });
        let given = self.params.iter().filter_map(|(k, v)| Some((k.strip_prefix(prefix)?.to_owned(), v.clone())));
        stored.chain(given).collect()
    }
}

/// A variable is a flag's value: unlike a value of the file it may not be empty, unless the option is a text.
fn parse_variable(
    spec: &OptionSpec,
    flag: String,
    variable: String,
    value: Vec<u8>,
    now: Timestamp,
) -> Result<Parsed, OptionError> {
    use super::value::{Kind, ValueError, bool, duration, int, size};
    let parsed = match spec.kind {
        Kind::Bool => bool(&value).map(Parsed::Bool),
        Kind::Int(bits) => int(&value, bits).map(Parsed::Number),
        Kind::Size => size(&value).map(Parsed::Number),
        Kind::Duration => duration(&value, now).map(Parsed::Number),
        kind => kind.parse(&value, now),
    };
    parsed.map_err(|ValueError(why)| {
        let why = format!("parsing {} as {} failed: {why}", quoted(&value), spec.kind.name());
        OptionError::Variable { flag, variable, value, why }
    })
}

fn refuse(backend: &'static str, spec: &'static OptionSpec, given: &Given, now: Timestamp) -> Result<(), OptionError> {
    let Some(why) = spec.refused else { return Ok(()) };
    let default = spec.kind.parse(spec.default.as_bytes(), now).ok();
    let empty = given.value == Parsed::Text(Vec::new());
    if !given.explicit || empty || default.as_ref() == Some(&given.value) {
        return Ok(());
    }
    Err(OptionError::Refused { backend, key: spec.name, why })
}

impl Config {
    /// Opens what a remote string names: finds its type, follows aliases, reads and checks every option.
    pub fn open(
        &self,
        what: &RemoteString,
        env: &dyn Environment,
        flags: &dyn BackendFlags,
    ) -> Result<Remote, RemoteError> {
        let mut what = what.clone();
        let mut seen = Vec::new();
        loop {
            match self.open_one(&what, env, flags)? {
                Opened::Remote(remote) => return Ok(*remote),
                Opened::Alias(next) => what = next,
            }
            seen.push(what.to_string());
            if seen.len() > MAX_ALIASES {
                seen.truncate(3);
                return Err(RemoteError::Loop(seen.join(" -> ")));
            }
        }
    }

    fn open_one(
        &self,
        what: &RemoteString,
        env: &dyn Environment,
        flags: &dyn BackendFlags,
    ) -> Result<Opened, RemoteError> {
        let (name, on_the_fly, params, path): (&str, bool, &[_], &[u8]) = match what {
            RemoteString::Local(path) => ("local", true, &[], path),
            RemoteString::Remote { name, on_the_fly, params, path } => (name, *on_the_fly, params, path),
        };
        let section = (!on_the_fly).then_some(name);
        let layers = Layers { config: self, env, flags, section, params };
        let kind = match section {
            None => name.to_owned(),
            Some(_) => layers.backend().ok_or_else(|| RemoteError::NoSection(name.to_owned()))?,
        };
        let (backend, known) = known_backend(&kind)?;
        let options = layers.options(backend, known)?;
        let shown = if on_the_fly { format!(":{name}") } else { name.to_owned() };
        let remote = |backend| {
            let (global, overrides) = (layers.prefixed("global."), layers.prefixed("override."));
            Box::new(Remote { name: shown, backend, options: options.clone(), path: path.to_vec(), global, overrides })
        };
        match backend {
            "s3" => Ok(Opened::Remote(remote(Backend::S3))),
            "local" => Ok(Opened::Remote(remote(Backend::Local))),
            "crypt" => {
                target(&options, section, "crypt")?;
                Ok(Opened::Remote(remote(Backend::Crypt)))
            }
            _ => Ok(Opened::Alias(target(&options, section, "alias")?.join(path))),
        }
    }
}

enum Opened {
    Remote(Box<Remote>),
    Alias(RemoteString),
}

/// What the option `remote` of a wrapping backend names.
fn target(options: &Options, section: Option<&str>, wrapper: &'static str) -> Result<RemoteString, RemoteError> {
    let text = options.bytes("remote")?;
    if text.is_empty() {
        return Err(RemoteError::EmptyAlias);
    }
    let target = RemoteString::parse(text)?;
    match &target {
        RemoteString::Remote { name, on_the_fly: false, .. } if section == Some(name) => {
            Err(RemoteError::Itself(wrapper))
        }
        _ => Ok(target),
    }
}

fn known_backend(kind: &str) -> Result<(&'static str, &'static [OptionSpec]), RemoteError> {
    let supported = SUPPORTED.iter().find(|name| **name == kind).and_then(|name| Some((*name, table(name)?)));
    supported.ok_or_else(|| {
        if UNSUPPORTED.contains(&kind) {
            RemoteError::Unsupported { backend: kind.to_owned() }
        } else {
            RemoteError::NoBackend(kind.to_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::env::MapEnv;
    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    struct Given<'a>(&'a [(&'a str, &'a str)]);

    impl BackendFlags for Given<'_> {
        fn command_line(&self, backend: &str, option: &str) -> Option<String> {
            let name = format!("{backend}_{option}");
            self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
        }
    }

    fn open(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)], what: &str) -> Result<Remote, RemoteError> {
        let config = Config::parse(file.as_bytes()).unwrap();
        config.open(&RemoteString::parse(what.as_bytes())?, &MapEnv::new(env.iter().copied()), &Given(flags))
    }

    #[test]
    fn the_order_of_sources_is_rclones() {
        const FILE: &str = "[r]\ntype = s3\nchunk_size = 6M\n";
        const M: u64 = 1 << 20;
        const OURS: (&str, &str) = ("RCLONE_CONFIG_R_CHUNK_SIZE", "8M");
        const WIDE: (&str, &str) = ("RCLONE_S3_CHUNK_SIZE", "7M");
        const DEFAULT: (&str, &str) = ("RCLONE_S3_CHUNK_SIZE", "5120");
        const FLAG: (&str, &str) = ("s3_chunk_size", "5M");
        let cases: &[(Pairs, Pairs, &str, u64)] = &[
            (&[], &[], ":s3:", 5 * M),
            (&[], &[], "r:", 6 * M),
            (&[DEFAULT], &[], "r:", 5 * M),
            (&[OURS], &[], "r:", 8 * M),
            (&[OURS], &[], "R:", 8 * M),
            (&[DEFAULT, OURS], &[], "r:", 8 * M),
            (&[WIDE, OURS], &[], "r:", 7 * M),
            (&[WIDE, OURS], &[FLAG], "r:", 5 * M),
            (&[WIDE, OURS], &[FLAG], "r,chunk_size=9M:", 9 * M),
            (&[WIDE], &[], ":s3:", 7 * M),
        ];
        for (env, flags, what, expect) in cases {
            let env = [*env, &[("RCLONE_CONFIG_R_TYPE", "s3")]].concat();
            let remote = open(FILE, &env, flags, what).unwrap();
            assert_eq!(remote.options.size("chunk_size"), Ok(Some(*expect)), "{env:?} {flags:?} {what}");
        }
    }

    #[test]
    fn empty_values() {
        let file = "[r]\ntype = s3\nlist_chunk =\n";
        let chunk = |env: &[(&str, &str)], what: &str| open(file, env, &[], what).map(|r| r.options.int("list_chunk"));
        assert_eq!(chunk(&[], "r:"), Ok(Ok(1000)));
        assert_eq!(chunk(&[], "r,list_chunk=:"), Ok(Ok(0)));
        assert_eq!(chunk(&[("RCLONE_CONFIG_R_LIST_CHUNK", "")], "r:"), Ok(Ok(0)));
        let error = chunk(&[("RCLONE_S3_ENV_AUTH", "")], "r:").unwrap_err().to_string();
        assert_eq!(
            error,
            "Invalid value when setting --s3-env-auth from environment variable RCLONE_S3_ENV_AUTH=\"\": invalid \
             argument \"\" for \"--s3-env-auth\" flag: parsing \"\" as bool failed: strconv.ParseBool: parsing \"\": \
             invalid syntax"
        );
    }

    #[test]
    fn errors_read_as_rclones() {
        let file = "[r]\ntype = s3\n[nt]\nprovider = AWS\n[u]\ntype = S3\n[e]\ntype = alias\nremote = e,x=y:\n\
                    [n]\ntype = alias\nremote =\n[c]\ntype = alias\nremote = d:\n[d]\ntype = alias\nremote = c:x\n";
        let cases = [
            ("nope:", "didn't find section in config file (\"nope\")"),
            ("nt:", "didn't find section in config file (\"nt\")"),
            ("u:", "didn't find backend called \"S3\" (supported here: s3, local, alias, crypt)"),
            ("e:", "can't point alias remote at itself - check the value of the remote setting"),
            ("n:", "alias can't point to an empty remote - check the value of the remote setting"),
            ("c:", "aliases lead to one another without end: d: -> c:x -> d:x"),
            (
                "r,env_auth=yes:b",
                "couldn't parse config item \"env_auth\" = \"yes\" as bool: parsing \"yes\" as bool failed: \
                 strconv.ParseBool: parsing \"yes\": invalid syntax",
            ),
            (
                "r,v2_auth:b",
                "s3 option v2_auth is not supported by this mover: signature version 2 is not supported; the store \
                 must take version 4",
            ),
        ];
        for (what, expect) in cases {
            assert_eq!(open(file, &[], &[], what).unwrap_err().to_string(), expect, "{what}");
        }
        assert!(open(file, &[], &[], "r,v2_auth=false,version_at=off,download_url=:b").is_ok());
    }

    #[test]
    fn an_unsupported_type_is_named_with_a_way_out() {
        let text = open("[g]\ntype = google cloud storage\n", &[], &[], "g:").unwrap_err().to_string();
        for part in ["google cloud storage", "s3, local, alias, crypt", "HMAC", "Upstream's mover image still works"] {
            assert!(text.contains(part), "{text}");
        }
        let text = open("[g]\ntype = drive\n", &[], &[], "g:").unwrap_err().to_string();
        assert!(text.contains("type = drive is not supported"), "{text}");
    }

    #[test]
    fn aliases_are_followed_with_their_paths() {
        let file = "[s]\ntype = s3\nregion = eu\n[a]\ntype = alias\nremote = s:bucket/p\n[b]\ntype = alias\n\
                    remote = a:q\n[l]\ntype = alias\nremote = /srv/x\n";
        let cases = [
            ("b:r/s", Backend::S3, "s", "bucket/p/q/r/s"),
            ("a:", Backend::S3, "s", "bucket/p"),
            ("l:y", Backend::Local, ":local", "/srv/x/y"),
            ("/plain", Backend::Local, ":local", "/plain"),
        ];
        for (what, backend, name, path) in cases {
            let remote = open(file, &[], &[], what).unwrap();
            assert_eq!((remote.backend, remote.name.as_str()), (backend, name), "{what}");
            assert_eq!(remote.path, path.as_bytes(), "{what}");
        }
    }

    #[test]
    fn remotes_come_from_the_environment_and_from_dotted_parents() {
        let env = [("RCLONE_CONFIG_MY-S3_TYPE", "s3"), ("RCLONE_CONFIG_MY-S3_REGION", "eu")];
        let region = |what: &str| {
            open("[base]\ntype=s3\nregion=x\n[base.c]\nacl=a\n", &env, &[], what).map(|r| r.options.string("region"))
        };
        assert_eq!(region("my-s3:"), Ok(Ok("eu".to_owned())));
        assert_eq!(region("My-S3:"), Ok(Ok("eu".to_owned())));
        assert_eq!(region("base.c:"), Ok(Ok("x".to_owned())));
        assert!(region("my_s3:").is_err());
    }

    #[test]
    fn flags_in_a_section_are_told_apart() {
        let file = "[r]\ntype = local\nglobal.transfers = 77\noverride.checkers = 5\n";
        let remote = open(file, &[], &[], "r,global.stats=1s:x").unwrap();
        let pair = |k: &str, v: &str| (k.to_owned(), v.as_bytes().to_vec());
        assert_eq!(remote.global, [pair("transfers", "77"), pair("stats", "1s")]);
        assert_eq!(remote.overrides, [pair("checkers", "5")]);
    }

    #[test]
    fn debug_shows_no_secret() {
        let file = "[r]\ntype = s3\nsecret_access_key = HUSH\naccess_key_id = HUSH\nregion = eu\n";
        let shown = format!("{:?}", open(file, &[], &[], "r,session_token=HUSH:b").unwrap());
        assert!(shown.contains("eu") && !shown.contains("HUSH"), "{shown}");
    }
}
