//! The certificate to serve: given, or one for loopback from an authority made at start.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::options::{Identity, ServerOptions};

/// Names the certificate is good for.
const NAMES: [&str; 4] = ["localhost", "*.localhost", "127.0.0.1", "::1"];

/// What one server speaks TLS with.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// The authority that was made for it.
    pub(crate) ca_pem: Option<String>,
}

/// As the options say; none for plain HTTP.
pub(crate) fn of(options: &ServerOptions) -> io::Result<Option<Tls>> {
    match &options.identity {
        Some(identity) => Ok(Some(Tls { acceptor: acceptor(identity)?, ca_pem: None })),
        None if options.tls => made().map(Some),
        None => Ok(None),
    }
}

fn made() -> io::Result<Tls> {
    let ca = authority().map_err(io::Error::other)?;
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let names = NAMES.map(str::to_owned).to_vec();
    let leaf =
        CertificateParams::new(names).and_then(|params| params.signed_by(&key, &ca)).map_err(io::Error::other)?;
    let identity = Identity { chain: leaf.pem(), key: key.serialize_pem() };
    Ok(Tls { acceptor: acceptor(&identity)?, ca_pem: Some(ca.pem()) })
}

fn acceptor(identity: &Identity) -> io::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain.map_err(io::Error::other)?, key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "embedded-s3 authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}
