//! Who we are to the store: keys from the configuration, or from the AWS chain, or nobody.
//!
//! The rules of `docs/compat-rclone.md`, "Credentials". The chain's parts come from `aws-config`, but in the order of the
//! Go SDK, and all of them speak through our own HTTP client, so the same roots and proxies serve them.

mod chain;
mod smithy;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::OnceCell;

use super::{AccessKey, Identity};
use crate::http::Client;
use crate::store::{BoxFuture, StoreError, StoreErrorKind};

/// Credentials are renewed this long before they expire (or at half of their life, if that is later): a request that
/// starts now must not outlive them.
const MARGIN: Duration = Duration::from_mins(5);

/// After a failed renewal, and after a forced one, the next attempt waits this long.
const PAUSE: Duration = Duration::from_secs(10);

/// Limit on getting credentials once, all attempts of the chain together.
const PATIENCE: Duration = Duration::from_mins(1);

/// Keys to sign with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Public part.
    pub access_key_id: String,
    /// Secret part.
    pub secret_access_key: String,
    /// For temporary credentials.
    pub session_token: Option<String>,
    /// When they stop working; `None` is never.
    pub expires: Option<SystemTime>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &"***")
            .field("session_token", &self.session_token.as_ref().map(|_| "***"))
            .field("expires", &self.expires)
            .finish()
    }
}

/// The options of an s3 remote that say who we are; empty strings count as unset.
#[derive(Clone, Default)]
pub struct CredentialOptions {
    /// Ask the AWS chain when there are no keys.
    pub env_auth: bool,
    /// Static key.
    pub access_key_id: String,
    /// Static secret.
    pub secret_access_key: String,
    /// Static session token.
    pub session_token: String,
    /// Profile for the chain.
    pub profile: String,
    /// A file in the form of `~/.aws/config`.
    pub shared_credentials_file: String,
    /// A role to assume with whatever was found.
    pub role_arn: String,
    /// Its session name.
    pub role_session_name: String,
    /// Its duration; the service's default if unset.
    pub role_session_duration: Option<Duration>,
    /// Its external id.
    pub role_external_id: String,
    /// Region of the token service.
    pub region: String,
}

impl fmt::Debug for CredentialOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialOptions")
            .field("env_auth", &self.env_auth)
            .field("access_key_id", &self.access_key_id)
            .field("profile", &self.profile)
            .field("role_arn", &self.role_arn)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// No credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A key without its secret.
    #[error("secret_access_key not found")]
    SecretMissing,
    /// A secret without its key.
    #[error("access_key_id not found")]
    KeyMissing,
    /// A role needs somebody who assumes it.
    #[error(
        "role_arn needs credentials to assume the role with: set env_auth = true, or access_key_id and secret_access_key"
    )]
    RoleOfNobody,
    /// The chain has nothing.
    #[error("couldn't load configuration with env_auth=true: {0}")]
    Chain(String),
    /// The token service refused, or could not be reached.
    #[error("cannot assume the role {role}: {why}")]
    Role {
        /// The role.
        role: String,
        /// The cause.
        why: String,
    },
    /// Nobody answered in time.
    #[error("no credentials within {PATIENCE:?}")]
    Timeout,
}

/// Gives credentials, renewed in time. Share it in an [`Arc`].
pub struct CredentialSource {
    origin: Origin,
    /// Guards a clone of an `Arc`; never held across an await.
    cached: Mutex<Option<Cached>>,
    /// Held while credentials are fetched, so that one fetch serves all who wait.
    fetching: tokio::sync::Mutex<()>,
}

enum Origin {
    Anonymous,
    Static(Arc<Credentials>),
    Fetched(Box<Fetch>),
}

struct Fetch {
    options: CredentialOptions,
    http: Client,
    provider: OnceCell<SharedCredentialsProvider>,
}

#[derive(Clone)]
struct Cached {
    credentials: Arc<Credentials>,
    fetched: Instant,
    /// When to renew; `None` is never.
    renew: Option<SystemTime>,
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.origin {
            Origin::Anonymous => "CredentialSource(anonymous)",
            Origin::Static(_) => "CredentialSource(static)",
            Origin::Fetched(_) => "CredentialSource(fetched)",
        })
    }
}

impl CredentialSource {
    /// Decides where credentials come from; asks nobody yet.
    pub fn new(options: CredentialOptions, http: Client) -> Result<Self, CredentialError> {
        let role = !options.role_arn.is_empty();
        let origin = match (options.access_key_id.is_empty(), options.secret_access_key.is_empty()) {
            (false, true) => return Err(CredentialError::SecretMissing),
            (true, false) => return Err(CredentialError::KeyMissing),
            (true, true) if !options.env_auth && role => return Err(CredentialError::RoleOfNobody),
            (true, true) if !options.env_auth => Origin::Anonymous,
            (false, false) if !role => Origin::Static(Arc::new(options.static_keys())),
            _ => Origin::Fetched(Box::new(Fetch { options, http, provider: OnceCell::new() })),
        };
        Ok(Self { origin, cached: Mutex::default(), fetching: tokio::sync::Mutex::default() })
    }

    /// The credentials to use now; `None` is anonymous.
    ///
    /// If a renewal fails while the old ones still work, those are given and the failure is logged.
    pub async fn get(&self) -> Result<Option<Arc<Credentials>>, CredentialError> {
        let fetch = match &self.origin {
            Origin::Anonymous => return Ok(None),
            Origin::Static(credentials) => return Ok(Some(Arc::clone(credentials))),
            Origin::Fetched(fetch) => fetch,
        };
        if let Some(fresh) = self.fresh(SystemTime::now()) {
            return Ok(Some(fresh));
        }
        let _one_at_a_time = self.fetching.lock().await;
        let now = SystemTime::now();
        if let Some(fresh) = self.fresh(now) {
            return Ok(Some(fresh));
        }
        let fetched = tokio::time::timeout(PATIENCE, fetch.fetch()).await.unwrap_or(Err(CredentialError::Timeout));
        match (fetched, self.still_valid(now)) {
            (Ok(credentials), _) => Ok(Some(self.keep(credentials, now))),
            (Err(error), Some(old)) => {
                tracing::warn!(%error, "cannot renew the credentials; the old ones still work");
                Ok(Some(old))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// The store says that the credentials expired: the next [`Self::get`] fetches new ones. Called for each of many
    /// requests in flight it fetches once: what was fetched a moment ago is kept.
    pub fn invalidate(&self) {
        let mut cached = self.lock();
        if cached.as_ref().is_some_and(|cached| cached.fetched.elapsed() >= PAUSE) {
            *cached = None;
        }
    }

    fn fresh(&self, now: SystemTime) -> Option<Arc<Credentials>> {
        let cached = self.lock();
        let cached = cached.as_ref()?;
        cached.renew.is_none_or(|renew| now < renew).then(|| Arc::clone(&cached.credentials))
    }

    /// The old credentials if they have not expired; then the next renewal waits a little.
    fn still_valid(&self, now: SystemTime) -> Option<Arc<Credentials>> {
        let mut cached = self.lock();
        let cached = cached.as_mut()?;
        if cached.credentials.expires.is_some_and(|expires| now >= expires) {
            return None;
        }
        cached.renew = Some(now + PAUSE);
        Some(Arc::clone(&cached.credentials))
    }

    fn keep(&self, credentials: Credentials, now: SystemTime) -> Arc<Credentials> {
        let renew = credentials.expires.map(|expires| renew_at(now, expires));
        let credentials = Arc::new(credentials);
        *self.lock() = Some(Cached { credentials: Arc::clone(&credentials), fetched: Instant::now(), renew });
        credentials
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Cached>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Identity for CredentialSource {
    fn get(&self) -> BoxFuture<'_, Result<Option<Arc<AccessKey>>, StoreError>> {
        Box::pin(async {
            let found = Self::get(self).await;
            let found =
                found.map_err(|e| StoreError::new(StoreErrorKind::Credentials, "sign in", "", e.to_string()))?;
            Ok(found.map(|found| Arc::new(found.access_key())))
        })
    }

    fn invalidate(&self) {
        Self::invalidate(self);
    }
}

impl Credentials {
    fn access_key(&self) -> AccessKey {
        let Self { access_key_id, secret_access_key, session_token, expires: _ } = self.clone();
        AccessKey { id: access_key_id, secret: secret_access_key, token: session_token }
    }
}

impl CredentialOptions {
    fn static_keys(&self) -> Credentials {
        Credentials {
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.clone(),
            session_token: Some(self.session_token.clone()).filter(|token| !token.is_empty()),
            expires: None,
        }
    }
}

impl Fetch {
    async fn fetch(&self) -> Result<Credentials, CredentialError> {
        let provider = self.provider.get_or_init(|| chain::provider(&self.options, &self.http)).await;
        let found = provider.provide_credentials().await.map_err(|error| self.explain(&error))?;
        Ok(Credentials {
            access_key_id: found.access_key_id().to_owned(),
            secret_access_key: found.secret_access_key().to_owned(),
            session_token: found.session_token().map(str::to_owned),
            expires: found.expiry(),
        })
    }

    fn explain(&self, error: &dyn std::error::Error) -> CredentialError {
        let why = with_causes(error);
        if let Some(profile) = chain::missing_profile(&why) {
            return CredentialError::Chain(format!("failed to get shared config profile, {profile}"));
        }
        if self.options.role_arn.is_empty() {
            return CredentialError::Chain(why);
        }
        CredentialError::Role { role: self.options.role_arn.clone(), why }
    }
}

fn renew_at(now: SystemTime, expires: SystemTime) -> SystemTime {
    let life = expires.duration_since(now).unwrap_or_default();
    now + life.saturating_sub(MARGIN).max(life / 2)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
