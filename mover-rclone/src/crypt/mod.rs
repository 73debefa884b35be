//! rclone's crypt remote: encrypted names and contents around another store.
//!
//! [`keys`] come from the passwords, [`names`] uses [`eme`] for one path element at a time, [`content`] is the block
//! format, read by [`body`] and written through [`source`]; [`store`] puts them round any other store. Names that do not
//! decrypt are refused in listings and never acted upon.

mod body;
pub mod content;
pub mod eme;
pub mod keys;
pub mod names;
pub mod source;
pub mod store;

use crate::config::{OptionError, Options, RemoteString, RemoteSyntax};
use keys::Keys;
use names::{NameError, NameText, Names};
pub use store::CryptStore;

/// Why a crypt remote cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptError {
    /// An option.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The wrapped remote.
    #[error("the option remote: {0}")]
    Remote(#[from] RemoteSyntax),
    /// No password.
    #[error("password not set in config file")]
    NoPassword,
    /// A mode of names that is not supported, or none at all.
    #[error("filename_encryption = {0} is not supported by this mover; it supports standard and off")]
    Mode(String),
    /// An alphabet that is not supported, or none at all.
    #[error("filename_encoding = {0} is not supported by this mover; it supports base32 and base64")]
    Text(String),
    /// The path on the remote cannot be encrypted.
    #[error("the path cannot be encrypted: {0}")]
    Path(#[from] NameError),
    /// The key derivation failed.
    #[error("the keys cannot be derived")]
    Keys,
}

/// An opened crypt remote, to be put round the store of [`Crypt::remote`].
#[derive(Debug)]
pub struct Crypt {
    /// What to open below: the wrapped remote with the encrypted path.
    pub remote: RemoteString,
    /// How names are encrypted.
    pub names: Names,
    /// The keys.
    pub keys: Keys,
    /// Whether contents are encrypted.
    pub contents: bool,
}

impl Crypt {
    /// From the options of the remote and the path on it, which is a directory.
    pub fn open(options: &Options, path: &[u8]) -> Result<Self, CryptError> {
        let password = options.password("password")?;
        if password.is_empty() {
            return Err(CryptError::NoPassword);
        }
        let salt = options.password("password2")?;
        let keys = Keys::derive(password.expose(), salt.expose()).ok_or(CryptError::Keys)?;
        let names = names_of(options, &keys)?;
        let path: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|element| !element.is_empty()).collect();
        let below = if path.is_empty() { Vec::new() } else { names.encrypt_directory(&path.join(&b'/'))? };
        let remote = RemoteString::parse(options.bytes("remote")?)?.join(&below);
        Ok(Self { remote, names, keys, contents: !options.bool("no_data_encryption")? })
    }

    /// The encrypting store around the opened wrapped remote.
    pub fn around(self, inner: std::sync::Arc<dyn crate::store::Store>) -> CryptStore {
        CryptStore::new(inner, self.names, self.keys, self.contents)
    }
}

fn names_of(options: &Options, keys: &Keys) -> Result<Names, CryptError> {
    let suffix = match options.bytes("suffix")? {
        b"none" => Vec::new(),
        suffix if suffix.is_empty() || suffix.starts_with(b".") => suffix.to_vec(),
        suffix => [b".", suffix].concat(),
    };
    let text = match options.string("filename_encoding")?.as_str() {
        "base32" => NameText::Base32,
        "base64" => NameText::Base64,
        other => return Err(CryptError::Text(other.to_owned())),
    };
    match options.string("filename_encryption")?.as_str() {
        "standard" => Ok(Names::standard(keys, text, options.bool("directory_name_encryption")?)),
        "off" => Ok(Names::Off { suffix }),
        other => Err(CryptError::Mode(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, MapEnv, NoFlags, obscure};

    fn open(extra: &str) -> Result<Crypt, CryptError> {
        let password = obscure::obscure(b"potato", [1; 16]);
        let salt = obscure::obscure(b"sausage", [2; 16]);
        let file = format!("[c]\ntype=crypt\nremote=s:b/p\npassword={password}\npassword2={salt}\n{extra}");
        let config = Config::parse(file.as_bytes()).unwrap();
        let remote = config.open(&RemoteString::parse(b"c:/1/").unwrap(), &MapEnv::default(), &NoFlags).unwrap();
        Crypt::open(&remote.options, &remote.path)
    }

    #[test]
    fn the_path_is_encrypted_below_the_wrapped_remote() {
        let crypt = open("").unwrap();
        assert_eq!(crypt.remote.to_string(), "s:b/p/gp3prd31jv7bd6bv0ftlide9fg");
        assert_eq!(open("filename_encryption=off\n").unwrap().remote.to_string(), "s:b/p/1");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let error = |extra: &str| open(extra).unwrap_err().to_string();
        assert!(error("filename_encryption=obfuscate\n").contains("obfuscate is not supported"));
        assert!(error("filename_encoding=base32768\n").contains("base32768 is not supported"));
        assert_eq!(error("password=\n"), "password not set in config file");
        assert!(error("password=potato\n").contains("is it obscured?"));
    }
}
