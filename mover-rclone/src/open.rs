//! From the arguments of a command to places that the engine can work on.
//!
//! Two steps, because a section may carry flags: [`resolve`] reads the configuration and asks nobody, then [`Opener`]
//! makes stores of what was found, all on one HTTP client.

mod network;
mod s3;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::config::resolve::BackendFlags;
use crate::config::{Backend, Config, Environment, OptionError, Remote, RemoteError, RemoteString};
use crate::crypt::{Crypt, CryptError};
use crate::flags::{FlagError, Flags, GlobalOptions};
use crate::http::Client;
use crate::s3::credentials::{CredentialError, CredentialSource};
use crate::s3::{RetryLimits, S3Deps, S3Store};
use crate::store::{Store, StoreError};
use crate::sync::Place;

pub use network::NetworkError;
pub use s3::Refusal;

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
    /// Encryption over a directory.
    #[error("crypt over a local directory is not supported here: name a bucket in its option remote")]
    CryptOverLocal,
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

/// Makes places of what was resolved.
pub struct Opener<'a> {
    /// The environment.
    pub env: &'a dyn Environment,
    /// What was given.
    pub flags: &'a Flags,
    /// The same as values.
    pub options: &'a GlobalOptions,
    /// Bytes of upload buffers of each store.
    pub upload_memory: u64,
    client: OnceCell<Client>,
}

impl<'a> Opener<'a> {
    /// Opens nothing yet.
    pub fn new(env: &'a dyn Environment, flags: &'a Flags, options: &'a GlobalOptions, upload_memory: u64) -> Self {
        Self { env, flags, options, upload_memory, client: OnceCell::new() }
    }

    /// The place; sends nothing.
    pub fn open(&self, resolved: Resolved) -> Result<Place, OpenError> {
        let Resolved { arg, kind } = resolved;
        let place = match kind {
            Kind::Plain(remote) if remote.backend == Backend::Local => Ok(Place::Directory(directory(&remote.path))),
            kind => self.store(kind).map(Place::Store),
        };
        place.map_err(|why| OpenError { arg, why: Box::new(why) })
    }

    fn store(&self, kind: Kind) -> Result<Arc<dyn Store>, Reason> {
        match kind {
            Kind::Crypt(_, crypt, inner) => Ok(Arc::new(crypt.around(self.store(*inner)?))),
            Kind::Plain(remote) if remote.backend == Backend::S3 => Ok(Arc::new(self.s3(&remote)?)),
            Kind::Plain(_) => Err(Reason::CryptOverLocal),
        }
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
        let settings = s3::settings(remote)?;
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

    /// One client for all, so that limits and roots are the same everywhere.
    fn client(&self) -> Result<Client, NetworkError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = network::client(self.options, self.env)?;
        Ok(self.client.get_or_init(|| client).clone())
    }
}

/// A local path as rclone understands it: empty is where we are.
fn directory(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let path: &[u8] = if path.is_empty() { b"." } else { path };
    PathBuf::from(std::ffi::OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests;
