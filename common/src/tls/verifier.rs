//! Certificate verification as Go does it, on top of webpki, with failures in words.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate::Facts;

/// Why a server's certificate is refused, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// Nobody trusted has signed it.
    #[error(
        "the server's certificate is not trusted: subject \"{subject}\", issued by \"{issuer}\", which is not in {anchors}; \
         give the issuer's certificate with customCA (or --ca-cert)"
    )]
    Untrusted {
        /// The certificate's subject.
        subject: String,
        /// Who signed it.
        issuer: String,
        /// What is trusted instead.
        anchors: &'static str,
    },
    /// It is out of date.
    #[error(
        "the server's certificate (or one that signed it) expired on {not_after}, it is {now} now; renew it, or set this machine's clock"
    )]
    Expired {
        /// The last moment of validity.
        not_after: String,
        /// This machine's time.
        now: String,
    },
    /// It is not valid yet.
    #[error(
        "the server's certificate (or one that signed it) is valid from {not_before} on, it is {now} now; check this machine's clock"
    )]
    NotYetValid {
        /// The first moment of validity.
        not_before: String,
        /// This machine's time.
        now: String,
    },
    /// It belongs to another server.
    #[error(
        "the server's certificate is not for {wanted}; it is for: {names}; use one of these names as endpoint, or issue a certificate with this one"
    )]
    WrongName {
        /// The host that was asked for.
        wanted: String,
        /// The names in the certificate.
        names: String,
    },
    /// Anything else.
    #[error("the server's certificate is refused: {0}")]
    Other(String),
}

impl From<CertificateRefused> for Error {
    fn from(refused: CertificateRefused) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
    }
}

/// Accepts what Go accepts with the same certificates in its pool.
#[derive(Debug)]
pub(super) struct AsGoDoes {
    /// Those of the pool that can be anchors for webpki.
    roots: RootCertStore,
    pool: HashSet<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    anchors: &'static str,
}

impl AsGoDoes {
    /// `anchors` names the pool in messages.
    pub(super) fn new(pool: Vec<CertificateDer<'static>>, provider: &CryptoProvider, anchors: &'static str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pool.iter().cloned());
        let algorithms = provider.signature_verification_algorithms;
        Self { roots, pool: pool.into_iter().collect(), algorithms, anchors }
    }

    fn verify_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, intermediates, now, self.algorithms.all)?;
        verify_server_name(&leaf, name).or_else(|error| {
            // webpki wants two labels after an asterisk, Go one: `*.minio` is for the buckets of `minio`.
            let facts = Facts::parse(end_entity).map_err(CertificateRefused::Other)?;
            if facts.is_for(&name.to_str()) { Ok(()) } else { Err(error) }
        })
    }

    fn refuse(&self, error: Error, end_entity: &CertificateDer<'_>, name: &str, now: UnixTime) -> Error {
        let Error::InvalidCertificate(problem) = error else { return error };
        let facts = match Facts::parse(end_entity) {
            Ok(facts) => facts,
            Err(why) => return CertificateRefused::Other(why).into(),
        };
        let shown_now = shown(now.as_secs());
        match problem {
            CertificateError::ExpiredContext { not_after, .. } => {
                CertificateRefused::Expired { not_after: shown(not_after.as_secs()), now: shown_now }.into()
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                CertificateRefused::NotYetValid { not_before: shown(not_before.as_secs()), now: shown_now }.into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                CertificateRefused::WrongName { wanted: name.to_owned(), names: facts.names() }.into()
            }
            // A self-signed certificate that is not in the pool comes back under the first or the second name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => self.untrusted(facts),
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => self.untrusted(facts),
            other => CertificateRefused::Other(other.to_string()).into(),
        }
    }

    fn untrusted(&self, facts: Facts) -> Error {
        CertificateRefused::Untrusted { subject: facts.subject, issuer: facts.issuer, anchors: self.anchors }.into()
    }
}

impl ServerCertVerifier for AsGoDoes {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = server_name.to_str();
        if self.pool.contains(end_entity) {
            let facts = Facts::parse(end_entity).map_err(CertificateRefused::Other)?;
            check_trusted_leaf(&facts, &name, now.as_secs())?;
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.verify_chain(end_entity, intermediates, server_name, now);
        verified.map_err(|error| self.refuse(error, end_entity, &name, now))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// [`AsGoDoes`] with roots that are read when the first certificate comes: the system's are some hundred files and take
/// 35 ms, which a run over plain http never needs.
pub(super) struct Later {
    provider: Arc<CryptoProvider>,
    roots: fn() -> (Vec<CertificateDer<'static>>, &'static str),
    verifier: OnceLock<AsGoDoes>,
}

impl Later {
    /// `roots` gives the certificates and how messages call them.
    pub(super) fn new(
        provider: Arc<CryptoProvider>,
        roots: fn() -> (Vec<CertificateDer<'static>>, &'static str),
    ) -> Self {
        Self { provider, roots, verifier: OnceLock::new() }
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Later {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = self.verifier.get_or_init(|| {
            let (roots, anchors) = (self.roots)();
            AsGoDoes::new(roots, &self.provider, anchors)
        });
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What is left to check when the certificate itself is trusted (Go `crypto/x509`, `Certificate.Verify`, 1.25).
fn check_trusted_leaf(facts: &Facts, name: &str, now: u64) -> Result<(), CertificateRefused> {
    let seconds = i64::try_from(now).unwrap_or(i64::MAX);
    if facts.strange {
        return Err(CertificateRefused::Other("it has a critical extension that is not understood".into()));
    }
    if seconds > facts.not_after {
        return Err(CertificateRefused::Expired { not_after: shown_signed(facts.not_after), now: shown(now) });
    }
    if seconds < facts.not_before {
        return Err(CertificateRefused::NotYetValid { not_before: shown_signed(facts.not_before), now: shown(now) });
    }
    if !facts.is_for(name) {
        return Err(CertificateRefused::WrongName { wanted: name.to_owned(), names: facts.names() });
    }
    if !facts.for_servers {
        return Err(CertificateRefused::Other("its extended key usage does not allow server authentication".into()));
    }
    Ok(())
}

fn shown(seconds: u64) -> String {
    shown_signed(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn shown_signed(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("second {seconds}"), |time| time.to_string())
}

/// For `--no-check-certificate`: nothing about the server is checked, as the flag says.
#[derive(Debug)]
pub(super) struct AcceptAnything {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AcceptAnything {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for AcceptAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
