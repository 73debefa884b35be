//! Where requests go: host and path for a bucket, in AWS's ways and everybody else's.

use std::net::IpAddr;

use super::settings::S3Settings;

/// A bucket's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `http` or `https`.
    pub(super) scheme: String,
    /// Host, with a port if it is not the scheme's own.
    pub(super) authority: String,
    /// What stands before the key: starts with `/`, ends without; holds the bucket in path style.
    pub(super) base_path: String,
    /// Signing region.
    pub(super) region: String,
    /// The endpoint is AWS's own for the region, so that another region means another host.
    pub(super) follows_region: bool,
}

/// Why an endpoint is unusable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("endpoint \"{0}\" is not a URL of the form https://host[:port][/path]")]
pub(super) struct BadEndpoint(String);

impl Endpoint {
    /// The address by the rules of the settings for one region.
    pub(super) fn resolve(settings: &S3Settings, region: &str) -> Result<Self, BadEndpoint> {
        let text = if settings.endpoint.is_empty() { aws_url(settings, region) } else { settings.endpoint.clone() };
        let url = if text.starts_with("http") { text } else { format!("https://{text}") };
        let (scheme, authority, path) = split(&url).ok_or_else(|| BadEndpoint(settings.endpoint.clone()))?;
        let by_path = settings.quirks().path_style || !hostable(&settings.bucket, scheme) || is_ip(authority);
        let (authority, base_path) = if by_path {
            (authority.to_owned(), format!("{path}/{}", settings.bucket))
        } else {
            (format!("{}.{authority}", settings.bucket), path.to_owned())
        };
        Ok(Self {
            scheme: scheme.to_owned(),
            authority,
            base_path,
            region: region.to_owned(),
            follows_region: settings.endpoint.is_empty(),
        })
    }

    /// Whether bodies are protected on the way.
    pub(super) fn is_tls(&self) -> bool {
        self.scheme == "https"
    }
}

fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = (&rest[..at], rest[at..].trim_end_matches('/'));
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default_port).unwrap_or(authority);
    let plain = !authority.is_empty() && !authority.contains(['@', '?', '#', ' ']) && !path.contains(['?', '#', ' ']);
    (matches!(scheme, "http" | "https") && plain).then_some((scheme, authority, path))
}

/// AWS's host for a region (partitions by the prefix of the region's name).
fn aws_url(settings: &S3Settings, region: &str) -> String {
    let suffix = match region {
        r if r.starts_with("cn-") => "amazonaws.com.cn",
        r if r.starts_with("us-iso-") => "c2s.ic.gov",
        r if r.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ => "amazonaws.com",
    };
    match (settings.use_accelerate_endpoint, settings.use_dual_stack) {
        (true, false) => format!("https://s3-accelerate.{suffix}"),
        (true, true) => format!("https://s3-accelerate.dualstack.{suffix}"),
        (false, true) => format!("https://s3.dualstack.{region}.{suffix}"),
        (false, false) => format!("https://s3.{region}.{suffix}"),
    }
}

/// Whether a bucket can be a label of a host name; with TLS without dots, which no wildcard certificate covers.
fn hostable(bucket: &str, scheme: &str) -> bool {
    let label = |l: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = l.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        inner && edge(l.chars().next()) && edge(l.chars().next_back())
    };
    (3..=63).contains(&bucket.len())
        && bucket.split('.').all(label)
        && (scheme == "http" || !bucket.contains('.'))
        && bucket.parse::<IpAddr>().is_err()
}

fn is_ip(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    authority.starts_with('[') || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut S3Settings), expect: &str) {
        let mut settings = S3Settings { bucket: "bkt".into(), provider: "AWS".into(), ..S3Settings::default() };
        change(&mut settings);
        let region = settings.signing_region().to_owned();
        let shown = match Endpoint::resolve(&settings, &region) {
            Ok(e) => format!("{}://{}{}", e.scheme, e.authority, e.base_path),
            Err(why) => why.to_string(),
        };
        assert_eq!(shown, expect);
    }

    #[test]
    fn buckets_are_addressed_as_the_sdk_does() {
        check(|_| {}, "https://bkt.s3.us-east-1.amazonaws.com");
        check(|s| s.region = "cn-north-1".into(), "https://bkt.s3.cn-north-1.amazonaws.com.cn");
        check(|s| s.use_accelerate_endpoint = true, "https://bkt.s3-accelerate.amazonaws.com");
        check(
            |s| (s.use_dual_stack, s.region) = (true, "cn-north-1".into()),
            "https://bkt.s3.dualstack.cn-north-1.amazonaws.com.cn",
        );
        check(|s| s.bucket = "b.kt".into(), "https://s3.us-east-1.amazonaws.com/b.kt");
        check(|s| s.bucket = "b_kt".into(), "https://s3.us-east-1.amazonaws.com/b_kt");
        check(|s| s.endpoint = "http://localhost:9000".into(), "http://bkt.localhost:9000");
        check(|s| s.endpoint = "http://127.0.0.1:9000/".into(), "http://127.0.0.1:9000/bkt");
        check(|s| s.endpoint = "[::1]:9000".into(), "https://[::1]:9000/bkt");
        let minio = |endpoint: &str| {
            let endpoint = endpoint.to_owned();
            |s: &mut S3Settings| (s.provider, s.endpoint) = ("Minio".into(), endpoint)
        };
        check(minio("minio.svc:9000/a/b/"), "https://minio.svc:9000/a/b/bkt");
        check(minio("http://minio:80"), "http://minio/bkt");
        check(minio("https://u:p@h"), "endpoint \"https://u:p@h\" is not a URL of the form https://host[:port][/path]");
    }
}
