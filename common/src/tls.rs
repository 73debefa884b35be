//! Trust: which server certificates this process accepts, decided once for every connection.
//!
//! A custom CA file replaces the system's roots, as rclone's `--ca-cert` does. A certificate is then accepted as Go's
//! `crypto/x509` accepts it: whatever stands in the file is an anchor, be it a root, an intermediate, or the server's own
//! certificate. The last is where webpki differs (it answers `CaUsedAsEndEntity` to a self-signed server certificate with
//! `CA:TRUE`, the commonest private set-up), so an exact match is judged here: same bytes, valid today, right name.

mod bulk;
mod certificate;
mod verifier;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use bulk::{BulkReader, bulk_socket};
pub use verifier::CertificateRefused;
use verifier::{AcceptAnything, AsGoDoes, Later};

/// Whom to trust and how to present oneself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM files (`--ca-cert`, `CUSTOM_CA`) that replace the system's roots; empty means the system's.
    pub custom_ca: Vec<PathBuf>,
    /// Accept any certificate (`--no-check-certificate`).
    pub insecure: bool,
    /// PEM files with the client's certificate chain and its key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
}

/// Trust that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A named file cannot be read.
    #[error("cannot read {what} {path}: {source}", path = path.display())]
    Read {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A named file is not what it should be.
    #[error("{what} {path} is not usable: {why}", path = path.display())]
    Content {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The client certificate and its key do not fit, or the library refuses the settings.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}

/// Builds the one TLS configuration of the process: TLS 1.2 and 1.3, ALPN `http/1.1`.
pub fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(setup)?.dangerous();
    let verifier: Arc<dyn ServerCertVerifier> = match (trust.insecure, trust.custom_ca.as_slice()) {
        (true, _) => Arc::new(AcceptAnything::new(&provider)),
        (false, []) => Arc::new(Later::new(provider, || (system_roots(), "the system's roots"))),
        (false, files) => Arc::new(custom(files, &provider)?),
    };
    let builder = builder.with_custom_certificate_verifier(verifier);
    let mut config = match &trust.client_cert {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(read_chain(chain)?, read_key(key)?).map_err(setup)?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What a failed handshake means to the person who has to mend it; `None` if `error` is no TLS error.
pub fn explain(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => other.to_string(),
        rustls::Error::InvalidMessage(_) => {
            "the server does not speak TLS on this port; use an http:// endpoint, or the TLS port".into()
        }
        rustls::Error::AlertReceived(alert) => format!("the server ended the TLS handshake with the alert {alert:?}"),
        other => other.to_string(),
    })
}

fn custom(files: &[PathBuf], provider: &CryptoProvider) -> Result<AsGoDoes, TlsError> {
    let mut anchors = Vec::new();
    for path in files {
        anchors.extend(read_anchors(path)?);
    }
    Ok(AsGoDoes::new(anchors, provider, "the custom CA"))
}

/// The system's certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured); Mozilla's list in an image without any.
fn system_roots() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a system certificate could not be read");
    }
    if found.certs.is_empty() {
        tracing::debug!("no system certificates found; using the built-in list");
        return webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec();
    }
    found.certs
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { what, path: path.to_owned(), source })
}

const CERTIFICATES: &str = "the certificate file";

/// What a file of authorities holds. Like Go, what is no certificate is left out as long as another one is there.
fn read_anchors(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(CERTIFICATES, path)?;
    let (anchors, broken): (Vec<_>, Vec<_>) = certificates(&bytes).partition(Result::is_ok);
    let broken: Vec<String> = broken.into_iter().filter_map(Result::err).collect();
    if anchors.is_empty() {
        let why = broken.into_iter().next().unwrap_or_else(|| no_certificate(&bytes));
        return Err(TlsError::Content { what: CERTIFICATES, path: path.to_owned(), why });
    }
    for why in broken {
        tracing::warn!("{CERTIFICATES} {}: {why}: left out", path.display());
    }
    Ok(anchors.into_iter().flatten().collect())
}

/// Our own certificate and what follows it.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |why| TlsError::Content { what: CERTIFICATES, path: path.to_owned(), why };
    let bytes = read(CERTIFICATES, path)?;
    let chain = certificates(&bytes).collect::<Result<Vec<_>, _>>().map_err(content)?;
    if chain.is_empty() { Err(content(no_certificate(&bytes))) } else { Ok(chain) }
}

/// Each certificate of a file, or why it is none.
fn certificates(bytes: &[u8]) -> impl Iterator<Item = Result<CertificateDer<'static>, String>> {
    CertificateDer::pem_slice_iter(bytes).enumerate().map(|(index, found)| {
        let der: CertificateDer<'static> = found.map_err(|error| in_words(&error))?;
        match certificate::Facts::parse(&der) {
            Ok(_) => Ok(der),
            Err(why) => Err(format!("certificate {}: {why}", index + 1)),
        }
    })
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let what = "the key file";
    let bytes = read(what, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let why = match error {
            pem::Error::NoItemsFound if has(&bytes, b"ENCRYPTED PRIVATE KEY") => {
                "the key is encrypted; decrypt it with `openssl pkey`".into()
            }
            pem::Error::NoItemsFound => "it holds no private key in PEM form".into(),
            other => in_words(&other),
        };
        TlsError::Content { what, path: path.to_owned(), why }
    })
}

fn no_certificate(bytes: &[u8]) -> String {
    match bytes.first() {
        None => "the file is empty".into(),
        Some(0x30) => "it is in DER form; convert it with `openssl x509 -inform der`".into(),
        _ if has(bytes, b"PRIVATE KEY") => "it holds a private key but no certificate".into(),
        _ if has(bytes, b"TRUSTED CERTIFICATE") => {
            "it holds TRUSTED CERTIFICATE blocks; convert them with `openssl x509`".into()
        }
        _ => "it holds no `-----BEGIN CERTIFICATE-----`".into(),
    }
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

fn in_words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("it is cut off: the END line of {} is missing", String::from_utf8_lossy(end_marker).trim())
        }
        pem::Error::IllegalSectionStart { line } => format!("bad line {:?}", String::from_utf8_lossy(line).trim()),
        pem::Error::Base64Decode(why) => format!("the base64 between the markers is damaged ({why})"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
