//! From the arguments of a command to places that the engine can work on.
//!
//! Two steps, because a section may carry flags: [`resolve`] reads the configuration and asks nobody, then [`Opener`]
//! makes stores of what was found, all on one HTTP client.

mod facts;
mod network;
mod s3;
mod spot;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use volsync_common::hash::FileHasher;
use volsync_common::path::RelPath;

use crate::config::resolve::BackendFlags;
use crate::config::{Backend, Config, Environment, OptionError, Remote, RemoteError, RemoteString};
use crate::crypt::{Crypt, CryptError};
use crate::filter::Filter;
use crate::flags::{FlagError, Flags, GlobalOptions};
use crate::http::Client;
use crate::s3::credentials::{CredentialError, CredentialSource};
use crate::s3::{RetryLimits, S3Deps, S3Store};
use crate::store::local::{LocalSettings, LocalStore, SettingsError};
use crate::store::{Store, StoreError};
use crate::sync::Place;

pub use network::NetworkError;
pub use s3::Refusal;
pub use spot::Spot;

/// Requests that may be in flight when the user says nothing: more than any store answers faster than fewer, and their
/// connections fit in the usual 1024 descriptors. How many are is found out by the store.
const MOST_REQUESTS: usize = 256;

/// Why an argument names no place to work on.
#[derive(Debug, Error)]
#[error("Failed to create file system for {arg}: {why}")]
pub struct OpenError {
    /// The argument in quotes, without secrets.
    pub arg: String,
    /// What is wrong.
    #[source]
    pub why: Box<Reason>,
}

/// The reason of an [`OpenError`].
#[derive(Debug, Error)]
pub enum Reason {
    /// The remote string or the configuration.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The crypt remote.
    #[error(transparent)]
    Crypt(#[from] CryptError),
    /// An option of the backend.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Values that do not go together.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody to sign as.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The store refuses its settings.
    #[error("{0}")]
    Store(Box<StoreError>),
    /// A flag in the section.
    #[error("failed to set override config variables: {0}")]
    Flag(#[from] FlagError),
    /// Certificates, proxies, local addresses.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Options of a local directory.
    #[error(transparent)]
    Local(#[from] SettingsError),
}

/// What an argument names, with every option read and checked.
#[derive(Debug)]
pub struct Resolved {
    /// The argument as messages show it.
    pub arg: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Plain(Box<Remote>),
    Crypt(Box<Remote>, Box<Crypt>, Box<Kind>),
}

/// Finds out what `arg` names. Reads nothing but `config`, sends nothing.
pub fn resolve(
    config: &Config,
    env: &dyn Environment,
    flags: &dyn BackendFlags,
    arg: &[u8],
) -> Result<Resolved, OpenError> {
    let shown = shown(arg);
    let kind = RemoteString::parse(arg).map_err(|e| Reason::Remote(e.into()));
    match kind.and_then(|what| resolve_string(config, env, flags, &what)) {
        Ok(kind) => Ok(Resolved { arg: shown, kind }),
        Err(why) => Err(OpenError { arg: shown, why: Box::new(why) }),
    }
}

/// What `arg` is in, and its name there, should it name a file: `dir/` and `remote:` and what cannot be opened do not.
pub fn resolve_parent(
    config: &Config,
    env: &dyn Environment,
    flags: &dyn BackendFlags,
    arg: &[u8],
) -> Option<(Resolved, RelPath)> {
    let mut what = RemoteString::parse(arg).ok()?;
    let (RemoteString::Local(path) | RemoteString::Remote { path, .. }) = &mut what;
    let cut = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    let name = path.split_off(cut);
    let name = RelPath::new(name).ok()?;
    if let RemoteString::Local(path) = &mut what
        && path.is_empty()
    {
        path.push(b'.');
    }
    let kind = resolve_string(config, env, flags, &what).ok()?;
    Some((Resolved { arg: shown(arg), kind }, name))
}

/// An argument for messages: in quotes, values of secret parameters hidden.
fn shown(arg: &[u8]) -> String {
    match RemoteString::parse(arg) {
        Ok(what @ RemoteString::Remote { .. }) => format!("\"{what}\""),
        _ => format!("\"{}\"", volsync_common::path::Shown(arg)),
    }
}

fn resolve_string(
    config: &Config,
    env: &dyn Environment,
    flags: &dyn BackendFlags,
    what: &RemoteString,
) -> Result<Kind, Reason> {
    let remote = Box::new(config.open(what, env, flags)?);
    if remote.backend != Backend::Crypt {
        return Ok(Kind::Plain(remote));
    }
    let crypt = Box::new(Crypt::open(&remote.options, &remote.path)?);
    let inner = resolve_string(config, env, flags, &crypt.remote)?;
    Ok(Kind::Crypt(remote, crypt, Box::new(inner)))
}

impl Resolved {
    /// The remotes: a wrapping one before what it wraps.
    pub fn remotes(&self) -> Vec<&Remote> {
        let mut kind = &self.kind;
        let mut all = Vec::new();
        loop {
            match kind {
                Kind::Plain(remote) => {
                    all.push(&**remote);
                    return all;
                }
                Kind::Crypt(remote, _, inner) => {
                    all.push(&**remote);
                    kind = inner;
                }
            }
        }
    }

    /// Whether it is a directory of this machine.
    pub fn is_directory(&self) -> bool {
        matches!(&self.kind, Kind::Plain(remote) if remote.backend == Backend::Local)
    }

    /// Size of the parts that large objects go up in; 0 without an object store.
    pub fn part_size(&self) -> u64 {
        let sizes = self.remotes().into_iter().filter(|remote| remote.backend == Backend::S3);
        sizes.filter_map(|remote| remote.options.size("chunk_size").ok().flatten()).max().unwrap_or(0)
    }
}

impl Kind {
    /// Stands in for the bucket of a path that names none.
    fn name_a_bucket(&mut self) {
        match self {
            Self::Crypt(_, _, inner) => inner.name_a_bucket(),
            Self::Plain(remote) if remote.path.iter().all(|b| *b == b'/') => remote.path = b"bucket".to_vec(),
            Self::Plain(_) => {}
        }
    }
}

/// Makes places of what was resolved.
pub struct Opener<'a> {
    /// The environment.
    pub env: &'a dyn Environment,
    /// What was given.
    pub flags: &'a Flags,
    /// The same as values.
    pub options: &'a GlobalOptions,
    /// What files take part, for stores that need not look at others.
    pub filter: Arc<Filter>,
    /// Bytes of upload buffers of each store.
    pub upload_memory: u64,
    /// Hashes the files of local stores.
    pub hasher: Arc<FileHasher>,
    /// One client for all, so that limits and roots are the same everywhere.
    pub client: OnceCell<Client>,
}

impl Opener<'_> {
    /// A directory of this machine as such, anything else as a store. Sends nothing.
    pub fn place(&self, resolved: Resolved) -> Result<Place, OpenError> {
        match &resolved.kind {
            Kind::Plain(remote) if remote.backend == Backend::Local => match local_settings(remote) {
                Ok(settings) => Ok(Place::Directory(settings.root)),
                Err(why) => Err(OpenError { arg: resolved.arg, why: Box::new(why.into()) }),
            },
            _ => self.store(resolved).map(Place::Store),
        }
    }

    /// What would be used of a remote, a line a fact. Sends nothing. Of an s3 remote without a bucket all but that is
    /// checked.
    pub fn examine(&self, mut resolved: Resolved) -> Result<Vec<String>, OpenError> {
        resolved.kind.name_a_bucket();
        let facts = facts::of(&resolved.kind);
        self.store(resolved)?;
        Ok(facts)
    }

    /// A store, also of a directory. Sends nothing.
    pub fn store(&self, resolved: Resolved) -> Result<Arc<dyn Store>, OpenError> {
        let Resolved { arg, kind } = resolved;
        self.open(kind).map_err(|why| OpenError { arg, why: Box::new(why) })
    }

    fn open(&self, kind: Kind) -> Result<Arc<dyn Store>, Reason> {
        match kind {
            Kind::Crypt(_, crypt, inner) => Ok(Arc::new(crypt.around(self.open(*inner)?))),
            Kind::Plain(remote) if remote.backend == Backend::S3 => Ok(Arc::new(self.s3(&remote)?)),
            Kind::Plain(remote) => Ok(Arc::new(self.local(&remote)?)),
        }
    }

    fn local(&self, remote: &Remote) -> Result<LocalStore, Reason> {
        let mut settings = local_settings(remote)?;
        settings.links |= self.options.links;
        settings.filter = Some(self.filter.clone());
        LocalStore::open(settings, self.hasher.clone()).map_err(|error| Reason::Store(Box::new(error)))
    }

    fn s3(&self, remote: &Remote) -> Result<S3Store, Reason> {
        if remote.overrides.is_empty() {
            return self.s3_with(remote, self.options, self.client()?);
        }
        let flags = self.flags.with_section(&remote.overrides)?;
        let options = GlobalOptions::new(&flags, volsync_common::time::Timestamp::now())?;
        let client = network::client(&options, self.env)?;
        self.s3_with(remote, &options, client)
    }

    fn s3_with(&self, remote: &Remote, options: &GlobalOptions, http: Client) -> Result<S3Store, Reason> {
        let settings = s3::settings(remote, options)?;
        let identity = CredentialSource::new(s3::credentials(&remote.options)?, http.clone())?;
        let files = options.transfers.map(|files| files.max(1) as usize);
        let deps = S3Deps {
            http,
            identity: Arc::new(identity),
            retry: RetryLimits { tries: options.low_level_retries.max(1), ..RetryLimits::default() },
            // A file that goes up in parts is several requests in flight.
            max_requests: files.map_or(MOST_REQUESTS, |files| files.saturating_mul(settings.upload_concurrency.max(1))),
            upload_memory: self.upload_memory,
        };
        S3Store::open(settings, deps).map_err(|error| Reason::Store(Box::new(error)))
    }

    fn client(&self) -> Result<Client, NetworkError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = network::client(self.options, self.env)?;
        Ok(self.client.get_or_init(|| client).clone())
    }
}

fn local_settings(remote: &Remote) -> Result<LocalSettings, SettingsError> {
    LocalSettings::from_options(local_root(remote), &remote.options)
}

/// As rclone understands a local path: empty is where we are.
fn local_root(remote: &Remote) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let path: &[u8] = if remote.path.is_empty() { b"." } else { &remote.path };
    PathBuf::from(std::ffi::OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests;
