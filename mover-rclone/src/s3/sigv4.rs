//! AWS Signature Version 4 in the `Authorization` header, for S3 (AWS, "Authenticating Requests: Using the
//! Authorization Header"): the path is encoded once and never normalised.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{digest, hmac};
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};

use super::dates::amz_date;

/// What a signature is made with.
#[derive(Clone)]
pub struct AccessKey {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
    /// Session token of temporary credentials.
    pub token: Option<String>,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What of the body is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PayloadHash {
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// Its SHA-256.
    Sha256([u8; 32]),
}

impl PayloadHash {
    /// The digest of a body.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut sum = [0; 32];
        sum.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
        Self::Sha256(sum)
    }

    fn text(self) -> String {
        match self {
            Self::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
            Self::Sha256(sum) => hex(&sum),
        }
    }
}

/// The parts of a request that a signature covers. `path` and `query` are percent-encoded, the query sorted.
pub(super) struct ToSign<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) payload: PayloadHash,
    /// Seconds since 1970 by the server's clock.
    pub(super) now: i64,
}

/// A header value of our own making was not one: a session token or a region with control characters.
#[derive(Debug, thiserror::Error)]
#[error("the credentials or the region contain characters that a header cannot hold")]
pub(super) struct BadCredentials;

/// Signs; keeps the derived key of a day.
pub(super) struct Signer {
    region: String,
    /// Short section, never across a wait.
    cache: Mutex<Option<Derived>>,
}

#[derive(Clone)]
struct Derived {
    day: String,
    id: String,
    secret: String,
    key: hmac::Key,
}

/// Not part of the signature: changed by proxies, or no property of the request.
const UNSIGNED: [&str; 4] = ["user-agent", "accept-encoding", "expect", "authorization"];

impl Signer {
    pub(super) fn new(region: &str) -> Self {
        Self { region: region.to_owned(), cache: Mutex::new(None) }
    }

    /// Adds date, payload hash, token and signature. `headers` must hold `host`.
    pub(super) fn sign(
        &self,
        request: &ToSign<'_>,
        headers: &mut HeaderMap,
        key: &AccessKey,
    ) -> Result<(), BadCredentials> {
        let date = amz_date(request.now);
        let payload = request.payload.text();
        put(headers, "x-amz-date", &date)?;
        put(headers, "x-amz-content-sha256", &payload)?;
        if let Some(token) = &key.token {
            put(headers, "x-amz-security-token", token)?;
        }
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let (canonical, names) = canonical(request, headers, &payload);
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256_hex(&canonical));
        let signature = hmac::sign(&self.key(day, key), to_sign.as_bytes());
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            key.id,
            hex(signature.as_ref())
        );
        let mut value = HeaderValue::from_str(&value).map_err(|_| BadCredentials)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    fn key(&self, day: &str, key: &AccessKey) -> hmac::Key {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hit) = cache.as_ref().filter(|d| d.day == day && d.id == key.id && d.secret == key.secret) {
            return hit.key.clone();
        }
        let derived = derive(&key.secret, day, &self.region);
        let (id, secret) = (key.id.clone(), key.secret.clone());
        *cache = Some(Derived { day: day.to_owned(), id, secret, key: derived.clone() });
        derived
    }
}

fn derive(secret: &str, day: &str, region: &str) -> hmac::Key {
    let start = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    [day, region, "s3", "aws4_request"]
        .iter()
        .fold(start, |key, step| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref()))
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), BadCredentials> {
    let value = HeaderValue::from_str(value).map_err(|_| BadCredentials)?;
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

/// The canonical request and the names of its headers.
fn canonical(request: &ToSign<'_>, headers: &HeaderMap, payload: &str) -> (Vec<u8>, String) {
    let mut signed: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .filter(|(name, _)| !UNSIGNED.contains(name))
        .collect();
    signed.sort_by_key(|(name, _)| *name);
    let mut text = format!("{}\n{}\n{}\n", request.method, request.path, request.query).into_bytes();
    let mut names = String::new();
    for (name, value) in &signed {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        push_collapsed(&mut text, value);
        text.push(b'\n');
        names.push_str(if names.is_empty() { "" } else { ";" });
        names.push_str(name);
    }
    text.extend_from_slice(format!("\n{names}\n{payload}").as_bytes());
    (text, names)
}

/// Trimmed, runs of blanks as one; all other bytes as they are, text or not.
fn push_collapsed(out: &mut Vec<u8>, value: &[u8]) {
    let words: Vec<&[u8]> = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
    out.extend_from_slice(&words.join(&b' '));
}

pub(super) fn sha256_hex(data: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, data).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// The `Host` header of an authority.
pub(super) fn host(headers: &mut HeaderMap, authority: &str) -> Result<(), BadCredentials> {
    headers.insert(HOST, HeaderValue::from_str(authority).map_err(|_| BadCredentials)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sigv4::http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    };
    use aws_sigv4::sign::v4;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::keys::{percent_path, percent_query};

    fn reference(
        url: &str,
        method: &str,
        headers: &[(String, String)],
        body: Option<&[u8]>,
        key: &AccessKey,
    ) -> String {
        let identity =
            aws_credential_types::Credentials::new(&key.id, &key.secret, key.token.clone(), None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name("s3")
            .time(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let body = body.map_or(SignableBody::UnsignedPayload, SignableBody::Bytes);
        let pairs = headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let (instructions, _) =
            sign(SignableRequest::new(method, url, pairs, body).unwrap(), &params).unwrap().into_parts();
        let (headers, _) = instructions.into_parts();
        headers.iter().find(|h| h.name() == "authorization").unwrap().value().to_owned()
    }

    proptest! {
        #[test]
        fn equal_to_the_signature_of_aws_own_crate(
            path in proptest::collection::vec(any::<u8>(), 0..40),
            query in proptest::collection::btree_map("[a-z-]{1,8}", "[ -~]{0,12}", 0..4),
            values in proptest::collection::btree_map("x-amz-meta-[a-z]{1,6}", "[!-~]{1,5}( {1,2}[!-~]{1,5})?", 0..4),
            body in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
            token in proptest::option::of("[a-zA-Z0-9/+]{1,20}"),
        ) {
            let key = AccessKey { id: "AKID".into(), secret: "s3cr/et".into(), token };
            let path = format!("/{}", percent_path(&path));
            let query: Vec<_> =
                query.iter().map(|(n, v)| format!("{n}={}", percent_query(v.as_bytes()))).collect();
            let query = query.join("&");
            let mut url = format!("https://b.example.com{path}");
            if !query.is_empty() {
                url = format!("{url}?{query}");
            }
            let mut pairs: Vec<(String, String)> = values.into_iter().collect();
            let mut headers = HeaderMap::new();
            host(&mut headers, "b.example.com").unwrap();
            for (name, value) in &pairs {
                headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            pairs.push(("host".into(), "b.example.com".into()));
            let payload = body.as_deref().map_or(PayloadHash::Unsigned, PayloadHash::of);
            let to_sign = ToSign { method: "PUT", path: &path, query: &query, payload, now: 1_700_000_000 };
            let signer = Signer::new("eu-west-1");
            signer.sign(&to_sign, &mut headers, &key).unwrap();
            let expect = reference(&url, "PUT", &pairs, body.as_deref(), &key);
            prop_assert_eq!(headers[AUTHORIZATION].to_str().unwrap(), expect);
        }
    }

    #[test]
    fn values_are_signed_byte_for_byte() {
        let collapsed = |value: &[u8]| {
            let mut out = Vec::new();
            push_collapsed(&mut out, value);
            out
        };
        assert_eq!(collapsed(b"  a  b \xff\xc3\xbc "), b"a b \xff\xc3\xbc");
        assert_eq!(collapsed(b" "), b"");
    }

    #[test]
    fn another_day_or_secret_derives_another_key() {
        let signer = Signer::new("r");
        let key = |secret: &str| AccessKey { id: "a".into(), secret: secret.into(), token: None };
        let tag = |day: &str, secret: &str| hmac::sign(&signer.key(day, &key(secret)), b"x").as_ref().to_vec();
        let first = tag("20260101", "s");
        assert_eq!(tag("20260101", "s"), first);
        assert_ne!(tag("20260102", "s"), first);
        assert_ne!(tag("20260102", "t"), tag("20260102", "s"));
    }
}
