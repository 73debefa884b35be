//! The configuration: `rclone.conf`, remotes from the environment, remote strings.
//!
//! Bytes go in one direction: [`source`] says which file, [`encrypted`] opens it if it is encrypted, [`ini`] parses it,
//! [`interpolate`] reads a value out of it, [`resolve`] lays the environment, flags and the remote string over it and
//! checks every value against the table in [`options`] with the types of [`value`]. Nothing here prints: what a user
//! should be told comes back as values. Nothing but [`mod@env`] asks the process for variables.

pub mod dump;
pub mod encrypted;
pub mod env;
pub mod ini;
pub mod interpolate;
pub mod obscure;
pub mod options;
pub mod password;
pub mod remote;
pub mod resolve;
pub mod secret;
pub mod source;
mod text;
pub mod value;

#[cfg(test)]
mod cases;

use std::path::Path;

pub use env::{Environment, MapEnv, ProcessEnv, WithDefaults};
pub use password::PasswordSource;
pub use remote::{RemoteString, RemoteSyntax};
pub use resolve::{Backend, BackendFlags, NoFlags, OptionError, Options, Remote, RemoteError};
pub use secret::Secret;
pub use source::ConfigSource;

use encrypted::{DecryptError, Payload};
use ini::{DEFAULT_SECTION, Ini, IniError, Section};
use password::PasswordError;

/// Files larger than this are no configuration.
const MAX_FILE: u64 = 16 << 20;

/// Something the user should be told, that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(pub String);

/// Why there is no configuration: `Failed to load config file "PATH": ` and the reason.
#[derive(Debug, thiserror::Error)]
#[error("Failed to load config file \"{path}\": {reason}")]
pub struct ConfigError {
    /// The file, safe to print.
    pub path: String,
    /// What is wrong.
    #[source]
    pub reason: LoadError,
}

/// The reason of a [`ConfigError`].
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(String),
    /// It does not parse.
    #[error(transparent)]
    Syntax(#[from] IniError),
    /// It is damaged, or its password is wrong.
    #[error(transparent)]
    Decrypt(#[from] DecryptError),
    /// Encrypted in a way this program does not know.
    #[error("unsupported configuration encryption - update rclone for support")]
    Unsupported,
    /// No password, or a wrong one.
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// A loaded configuration.
#[derive(Clone, Default)]
pub struct Config {
    ini: Ini,
}

impl Config {
    /// Reads the file of `source`, decrypts it if need be, parses it. A missing file is an empty configuration and a
    /// notice, as in rclone.
    pub fn load(
        source: &ConfigSource,
        env: &dyn Environment,
        passwords: &PasswordSource,
    ) -> Result<(Self, Vec<Notice>), ConfigError> {
        let ConfigSource::File(path) = source else { return Ok((Self::default(), Vec::new())) };
        let wrap = |reason| ConfigError { path: path.display().to_string(), reason };
        let Some(bytes) = read(path).map_err(wrap)? else {
            let text = format!("Config file \"{}\" not found - using defaults", path.display());
            return Ok((Self::default(), vec![Notice(text)]));
        };
        let mut notices = Vec::new();
        let clear = decrypted(bytes, env, passwords, &mut notices).map_err(wrap)?;
        let config = Self::parse(&clear).map_err(|e| wrap(e.into()))?;
        Ok((config, notices))
    }

    /// Parses a file that is not encrypted.
    pub fn parse(bytes: &[u8]) -> Result<Self, IniError> {
        Ini::parse(bytes).map(|ini| Self { ini })
    }

    /// The value of a key as the file has it: parents of dotted sections read, references resolved.
    pub fn stored(&self, section: &[u8], key: &[u8]) -> Option<Vec<u8>> {
        interpolate::value(&self.ini, section, key)
    }

    /// A section as it is written.
    pub fn section(&self, name: &[u8]) -> Option<&Section> {
        self.ini.section(name)
    }

    /// The value of a key as it is written, references unresolved.
    pub fn raw(&self, section: &[u8], key: &[u8]) -> Option<&[u8]> {
        self.ini.section(section)?.get(key)
    }

    /// The value of a key with `RCLONE_CONFIG_SECTION_KEY` over it, as `config dump` shows it.
    pub fn get(&self, section: &[u8], key: &[u8], env: &dyn Environment) -> Option<Vec<u8>> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let name = text(section).zip(text(key)).map(|(s, k)| resolve::config_variable(s, k));
        name.and_then(|name| env.var(&name)).or_else(|| self.stored(section, key))
    }

    /// The names of the sections in the order of the file, `DEFAULT` if it was touched.
    pub fn sections(&self) -> Vec<&[u8]> {
        self.ini.sections().map(|(name, _)| name).collect()
    }

    /// The keys in a section itself, in the order of the file. A key that is one blank (it can be quoted) is not listed:
    /// goconfig keeps such a one of its own and skips it (`GetKeyList`, 1.0.0).
    pub fn keys(&self, section: &[u8]) -> Vec<&[u8]> {
        self.ini.section(section).map(|s| s.keys().filter(|key| *key != b" ").collect()).unwrap_or_default()
    }

    /// Whether the file has this section.
    pub fn has_section(&self, section: &[u8]) -> bool {
        self.ini.section(section).is_some()
    }

    /// Whether a section is the one of keys without header.
    pub fn is_default(section: &[u8]) -> bool {
        section == DEFAULT_SECTION
    }
}

impl std::fmt::Debug for Config {
    /// Names only: values may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.ini.sections().map(|(name, _)| volsync_common::path::Shown(name).to_string());
        f.debug_list().entries(names).finish()
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, LoadError> {
    use std::io::{ErrorKind, Read as _};
    let fail = |what: &str, e: &std::io::Error| LoadError::Read(format!("{what} {}: {}", path.display(), reason_of(e)));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail("open", &e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| fail("read", &e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(LoadError::Read(format!("{} is larger than {MAX_FILE} bytes", path.display())));
    }
    Ok(Some(bytes))
}

/// The system's words without the number, in lower case: as Go prints them.
fn reason_of(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn decrypted(
    bytes: Vec<u8>,
    env: &dyn Environment,
    passwords: &PasswordSource,
    notices: &mut Vec<Notice>,
) -> Result<Vec<u8>, LoadError> {
    let text = match encrypted::detect(&bytes) {
        Payload::Plain => return Ok(bytes),
        Payload::Unsupported => return Err(LoadError::Unsupported),
        Payload::Encrypted(text) => text,
    };
    // What is wrong with the file is said before anything about passwords.
    encrypted::check(text)?;
    let found = passwords.find(env)?;
    notices.extend(found.notice.map(|text| Notice(text.to_owned())));
    encrypted::decrypt(text, &found.password).map_err(|e| match e {
        DecryptError::WrongPassword => LoadError::Password(PasswordError::Wrong(found.origin)),
        e => LoadError::Decrypt(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(path: &Path) -> Result<(Config, Vec<Notice>), ConfigError> {
        Config::load(&ConfigSource::File(path.to_owned()), &MapEnv::default(), &PasswordSource::default())
    }

    #[test]
    fn a_missing_file_is_an_empty_configuration_and_a_notice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.conf");
        let (config, notices) = load(&path).unwrap();
        assert!(config.sections().is_empty());
        assert_eq!(notices, [Notice(format!("Config file \"{}\" not found - using defaults", path.display()))]);
    }

    #[test]
    fn a_directory_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let error = load(dir.path()).unwrap_err().to_string();
        assert_eq!(error, format!("Failed to load config file \"{path}\": read {path}: is a directory"));
    }

    #[test]
    fn the_edge_cases_of_the_format() {
        let cases = cases::all();
        assert_eq!(cases.len(), 69);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rclone.conf");
        for case in cases {
            std::fs::write(&path, &case.file).unwrap();
            let env = MapEnv::new(case.env.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            match Config::load(&ConfigSource::File(path.clone()), &env, &PasswordSource::default()) {
                Ok((config, _)) => {
                    let dump: serde_json::Value = serde_json::from_str(&dump::dump(&config, &env)).unwrap();
                    let expect: serde_json::Value = serde_json::from_str(&case.dump.unwrap()).unwrap();
                    assert_eq!(dump, expect, "{}", case.title);
                    let list: String = case.list.iter().flat_map(|l| [l, "\n"]).collect();
                    assert_eq!(String::from_utf8_lossy(&dump::list_remotes(&config, &env)), list, "{}", case.title);
                }
                Err(e) => assert_eq!(Some(e.reason.to_string()), case.fails, "{}", case.title),
            }
        }
    }

    #[test]
    fn debug_names_sections_only() {
        let config = Config::parse(b"[r]\nsecret_access_key = HUSH\n").unwrap();
        assert_eq!(format!("{config:?}"), "[\"r\"]");
    }
}
