//! A private authority and server certificates for loopback.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// A self-signed authority.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate chain and its key, both PEM.
#[derive(Debug)]
pub struct Identity {
    /// Leaf first.
    pub chain: String,
    /// PKCS #8.
    pub key: String,
}

impl Authority {
    /// A fresh authority with a key of its own.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "volsync-rs test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// What a client must trust.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A leaf for `localhost` and `127.0.0.1`.
    pub fn loopback(&self) -> Identity {
        self.issue(&CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap())
    }

    /// A leaf of the caller's making: other names, other dates.
    pub fn issue(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        Identity { chain: leaf.pem() + &self.pem(), key: key.serialize_pem() }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
