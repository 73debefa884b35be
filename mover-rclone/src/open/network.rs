//! The HTTP client of a run: trust, proxies, limits, from flags and environment.

use std::ffi::OsStr;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use volsync_common::proxy::{Proxies, ProxyError};
use volsync_common::tls::{TlsError, Trust, client_config};

use crate::config::Environment;
use crate::flags::GlobalOptions;
use crate::http::{Client, ExtraHeaders, HttpError, HttpSettings, NoHeader};

/// What a flag of 0 means to us: rclone waits for ever then.
const NO_LIMIT: Duration = Duration::from_hours(24);

/// Why there is no HTTP client.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The proxy of `--http-proxy`.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A `--header`, `--header-upload` or `--header-download`.
    #[error("--header: {0}")]
    Header(#[from] NoHeader),
    /// `--bind`.
    #[error("--bind: \"{0}\" is not one address of this machine: {1}")]
    Bind(String, String),
    /// One without the other.
    #[error("Both --client-cert and --client-key must be set")]
    HalfClient,
    /// The client refuses.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// The client for everything that the process asks over HTTP.
pub(super) fn client(options: &GlobalOptions, env: &dyn Environment) -> Result<Client, NetworkError> {
    let mut settings = HttpSettings::new(client_config(&trust(options, env)?)?);
    settings.proxies = proxies(options, env)?;
    if let Some(name) = &options.user_agent {
        settings.user_agent = String::from_utf8_lossy(name).into_owned();
    }
    settings.connect_timeout = bounded(options.contimeout);
    settings.response_timeout = bounded(options.timeout);
    settings.idle_timeout = bounded(options.timeout);
    settings.bind = options.bind.as_deref().map(address).transpose()?;
    (settings.upload_rate, settings.download_rate) = (options.bwlimit.up, options.bwlimit.down);
    settings.requests_per_second = options.tpslimit;
    settings.request_burst = options.tpslimit_burst;
    settings.headers = ExtraHeaders::parse(&options.header)?;
    settings.max_connections = options.max_connections as usize;
    settings.keep_alive = !options.disable_http_keep_alives;
    Ok(Client::new(settings)?)
}

/// `CUSTOM_CA` is one more `--ca-cert`, as in the upstream mover; together they replace the system's roots.
fn trust(options: &GlobalOptions, env: &dyn Environment) -> Result<Trust, NetworkError> {
    let files = options.ca_cert.iter().cloned().chain(env.non_empty(b"CUSTOM_CA"));
    let client_cert = match (&options.client_cert, &options.client_key) {
        (Some(cert), Some(key)) => Some((path(cert), path(key))),
        (None, None) => None,
        _ => return Err(NetworkError::HalfClient),
    };
    let custom_ca = files.filter(|file| !file.is_empty()).map(|file| path(&file)).collect();
    Ok(Trust { custom_ca, insecure: options.no_check_certificate, client_cert })
}

fn proxies(options: &GlobalOptions, env: &dyn Environment) -> Result<Proxies, ProxyError> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    let proxies = Proxies::from(|name| env.var(name.as_bytes()).map(text));
    match &options.http_proxy {
        Some(url) => proxies.with_override(&text(url.clone())),
        None => Ok(proxies),
    }
}

fn bounded(limit: Duration) -> Duration {
    if limit.is_zero() { NO_LIMIT } else { limit.min(NO_LIMIT) }
}

/// An address, or a name that has exactly one.
fn address(bind: &[u8]) -> Result<IpAddr, NetworkError> {
    let text = String::from_utf8_lossy(bind).into_owned();
    if let Ok(ip) = text.parse() {
        return Ok(ip);
    }
    let found = (text.as_str(), 0).to_socket_addrs().map_err(|e| NetworkError::Bind(text.clone(), e.to_string()))?;
    let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    match found.as_slice() {
        [ip] => Ok(*ip),
        all => Err(NetworkError::Bind(text, format!("it has {} addresses", all.len()))),
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapEnv;
    use crate::flags::Flags;
    use volsync_common::time::Timestamp;

    fn options(args: &[&str]) -> GlobalOptions {
        let args: Vec<std::ffi::OsString> = args.iter().map(Into::into).collect();
        let (flags, _) = Flags::parse(&MapEnv::default(), "sync", &args).unwrap();
        GlobalOptions::new(&flags, Timestamp::default()).unwrap()
    }

    #[test]
    fn a_custom_ca_is_one_more_certificate_file() {
        let env = MapEnv::new([("CUSTOM_CA", "/customCA/ca.crt")]);
        let trusted = trust(&options(&["--ca-cert", "/a", "--ca-cert", "/b"]), &env).unwrap();
        assert_eq!(trusted.custom_ca, [path(b"/a"), path(b"/b"), path(b"/customCA/ca.crt")]);
        let none = trust(&options(&[]), &MapEnv::new([("CUSTOM_CA", "")])).unwrap();
        assert_eq!(none, Trust::default());
    }

    #[test]
    fn what_cannot_work_is_said_before_anything_is_sent() {
        let check = |args: &[&str], expect: &str| {
            let error = client(&options(args), &MapEnv::default()).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(&["--ca-cert", "/nope"], "cannot read the certificate file /nope");
        check(&["--client-cert", "/nope"], "Both --client-cert and --client-key must be set");
        check(&["--bind", "not an address"], "--bind: \"not an address\" is not one address");
        check(&["--http-proxy", "gopher://x"], "--http-proxy: the proxy scheme");
        check(&["--header", "foo"], "--header: a header is written as");
    }
}
