//! What one certificate says about itself, and the checks that Go makes on a leaf that is itself trusted.

use std::net::IpAddr;

use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

/// The facts that decide and that a person wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) dns: Vec<String>,
    pub(super) ips: Vec<IpAddr>,
    /// Extended key usage is absent, or allows server authentication.
    pub(super) for_servers: bool,
    /// A critical extension that nothing here understands.
    pub(super) strange: bool,
}

impl Facts {
    pub(super) fn parse(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| format!("not an X.509 certificate ({error})"))?;
        let names = certificate.subject_alternative_name().map_err(|error| format!("bad subjectAltName ({error})"))?;
        let (dns, ips) = names.map(|names| split_names(&names.value.general_names)).unwrap_or_default();
        let usage = certificate.extended_key_usage().map_err(|error| format!("bad extendedKeyUsage ({error})"))?;
        Ok(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            dns,
            ips,
            for_servers: usage.is_none_or(|usage| usage.value.any || usage.value.server_auth),
            strange: certificate.extensions().iter().any(|extension| {
                extension.critical
                    && matches!(extension.parsed_extension(), ParsedExtension::UnsupportedExtension { .. })
            }),
        })
    }

    /// Whether a subject alternative name fits; the common name never counts (Go since 1.15, RFC 9525).
    pub(super) fn is_for(&self, name: &str) -> bool {
        match name.parse::<IpAddr>() {
            Ok(ip) => self.ips.contains(&ip),
            Err(_) => self.dns.iter().any(|pattern| dns_matches(pattern, name)),
        }
    }

    /// The names for a message.
    pub(super) fn names(&self) -> String {
        let all: Vec<String> = self.dns.iter().cloned().chain(self.ips.iter().map(IpAddr::to_string)).collect();
        if all.is_empty() {
            return format!("no subjectAltName at all, only the subject {:?}, which no longer counts", self.subject);
        }
        all.join(", ")
    }
}

fn split_names(names: &[GeneralName<'_>]) -> (Vec<String>, Vec<IpAddr>) {
    let dns = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    let ips = names.iter().filter_map(|name| match name {
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    });
    (dns.collect(), ips.collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(Into::into)
}

/// A `*` stands for exactly the first label (RFC 9525, section 6.3).
fn dns_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.trim_end_matches('.').to_ascii_lowercase());
    match pattern.strip_prefix("*.") {
        None => pattern == name,
        Some(rest) => name.split_once('.').is_some_and(|(first, parent)| !first.is_empty() && parent == rest),
    }
}

#[cfg(test)]
mod tests {
    use super::dns_matches;

    #[test]
    fn wildcards_cover_one_label() {
        let check = |pattern, name, expect| assert_eq!(dns_matches(pattern, name), expect, "{pattern} {name}");
        check("minio", "minio", true);
        check("MinIO.local", "minio.LOCAL", true);
        check("minio.local", "minio.local.", true);
        check("*.example.com", "s3.example.com", true);
        check("*.example.com", "a.b.example.com", false);
        check("*.example.com", "example.com", false);
        check("*.example.com", ".example.com", false);
        check("*", "minio", false);
    }
}
