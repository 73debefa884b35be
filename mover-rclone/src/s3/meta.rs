//! What headers say of an object, and the headers that say it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    EXPIRES, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED,
};
use volsync_common::path::Shown;
use volsync_common::time::Timestamp;

use super::client::Call;
use super::dates::parse_http;
use super::mtime::{format_mtime, parse_mtime};
use super::quirks::Quirks;
use super::settings::S3Settings;
use crate::store::{Md5, ObjectMeta, PartsDigest, StoreError, StoreErrorKind};

const META: &str = "x-amz-meta-";

/// What the names of SSE-C headers begin with.
const CUSTOMER: &str = "x-amz-server-side-encryption-customer-";

/// Metadata that is a header without `x-amz-meta-` (rclone 1.75 `backend/s3`, "Metadata").
const SYSTEM: [&str; 6] =
    ["cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "x-amz-tagging"];

/// Base64 as Content-MD5 and md5chksum have it.
pub(super) fn base64(sum: &[u8]) -> String {
    BASE64.encode(sum)
}

/// An ETag that is an MD5: 32 hexadecimal digits, quotes and case aside.
pub(super) fn etag_md5(etag: &str) -> Option<Md5> {
    let text = etag.trim().trim_matches('"');
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut sum = [0; 16];
    for (byte, digits) in sum.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(sum)
}

/// The ETag of a multipart upload: the digest over the parts' digests, a dash, how many.
fn etag_parts(etag: &str) -> Option<PartsDigest> {
    let (md5, count) = etag.trim().trim_matches('"').split_once('-')?;
    let count = count.parse().ok().filter(|count| *count > 0)?;
    Some(PartsDigest { md5: etag_md5(md5)?, count })
}

/// Keys that the store keeps make ETags that are no digest of the content (Amazon S3 API Reference, "Object"), also
/// where the bucket and not the request asked for them.
fn is_sealed(headers: &HeaderMap) -> bool {
    let kms = headers.get("x-amz-server-side-encryption").is_some_and(|how| how.as_bytes().starts_with(b"aws:kms"));
    kms || headers.contains_key("x-amz-server-side-encryption-customer-algorithm")
}

/// What is wrong when the ETag in an answer is not the digest of what was sent: the content, or the configuration.
pub(super) fn other_etag(answer: &HeaderMap, operation: &'static str, subject: String, reason: String) -> StoreError {
    if !is_sealed(answer) {
        return StoreError::new(StoreErrorKind::Corrupt, operation, subject, reason);
    }
    let reason = "the bucket encrypts with keys of its own (aws:kms), so its ETags cannot confirm what was sent";
    let error = StoreError::new(StoreErrorKind::Refused, operation, subject, reason);
    error.with_advice("add server_side_encryption = aws:kms to the remote")
}

/// The headers of HEAD or GET. `size` is the length of the whole object.
pub(super) fn read(headers: &HeaderMap, size: u64, quirks: &Quirks) -> ObjectMeta {
    let metadata: Vec<(String, Vec<u8>)> = headers
        .iter()
        .filter_map(|(n, v)| Some((n.as_str().strip_prefix(META)?.to_owned(), v.as_bytes().to_vec())))
        .collect();
    let value = |name: &str| metadata.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice());
    let etag = headers.get(ETAG).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let stored = value("md5chksum").and_then(|v| BASE64.decode(v).ok()).and_then(|v| Md5::try_from(v).ok());
    let digest = etag.as_deref().filter(|_| quirks.etag_is_md5 && !is_sealed(headers));
    let md5 = stored.or_else(|| digest.and_then(etag_md5));
    let modified = || headers.get(LAST_MODIFIED).and_then(|v| parse_http(v.as_bytes()));
    ObjectMeta {
        size,
        mtime: value("mtime").and_then(parse_mtime).or_else(modified),
        md5,
        parts: digest.filter(|_| md5.is_none() && quirks.multipart_etag).and_then(etag_parts),
        etag,
        gzip: headers.get(CONTENT_ENCODING).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"gzip")),
        metadata,
    }
}

pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Length of the whole object from the `Content-Range` of a part.
pub(super) fn total_length(headers: &HeaderMap) -> Option<u64> {
    headers.get("content-range")?.to_str().ok()?.rsplit_once('/')?.1.trim().parse().ok()
}

/// What PutObject, CreateMultipartUpload and CopyObject say of an object alike.
pub(super) fn describe(
    call: Call,
    settings: &S3Settings,
    mtime: Timestamp,
    md5chksum: Option<Md5>,
) -> Result<Call, StoreError> {
    let call = call
        .header("x-amz-meta-mtime", format_mtime(mtime))?
        .header("x-amz-meta-md5chksum", md5chksum.map(|sum| base64(&sum)).unwrap_or_default())?
        .header("x-amz-acl", &settings.acl)?
        .header("x-amz-storage-class", &settings.storage_class)?
        .header("x-amz-server-side-encryption", &settings.server_side_encryption)?
        .header("x-amz-server-side-encryption-aws-kms-key-id", &settings.sse_kms_key_id)?;
    customer_key(payer(call, settings)?, settings)
}

/// Adds what a file brings of metadata: as headers of its own where HTTP has one, unless told otherwise.
pub(super) fn file_metadata(call: Call, settings: &S3Settings, metadata: &[(String, Vec<u8>)]) -> Call {
    metadata.iter().fold(call, |call, (name, value)| match name.as_str() {
        "tier" if !settings.no_system_metadata => call,
        name if !settings.no_system_metadata && SYSTEM.contains(&name) => with_metadata(call, "", name, value),
        name => user_metadata(call, name, value),
    })
}

/// Adds user metadata as it was read from an object.
pub(super) fn user_metadata(call: Call, name: &str, value: &[u8]) -> Call {
    if matches!(name, "mtime" | "md5chksum") { call } else { with_metadata(call, META, name, value) }
}

/// Leaves out, with a word, what no header can hold: content is worth more than an attribute.
fn with_metadata(call: Call, prefix: &str, name: &str, value: &[u8]) -> Call {
    if value.is_empty() {
        return call;
    }
    let header = HeaderName::from_bytes([prefix, name].concat().as_bytes()).ok();
    if let Some((header, value)) = header.zip(HeaderValue::from_bytes(value).ok()) {
        return call.set(header, value);
    }
    let object = call.subject();
    tracing::error!(object, "Dropping metadata \"{}\": its name or value cannot be a header", Shown(name.as_bytes()));
    call
}

/// The SSE-C headers of every request that touches content.
pub(super) fn customer_key(call: Call, settings: &S3Settings) -> Result<Call, StoreError> {
    let key = &settings.sse_customer_key;
    if key.is_empty() {
        return Ok(call);
    }
    let algorithm =
        if settings.sse_customer_algorithm.is_empty() { "AES256" } else { &settings.sse_customer_algorithm };
    call.header("x-amz-server-side-encryption-customer-algorithm", algorithm)?
        .header("x-amz-server-side-encryption-customer-key", base64(key))?
        .header("x-amz-server-side-encryption-customer-key-md5", base64(&volsync_md5::md5(key)))
}

/// The same for the object that a copy reads.
pub(super) fn source_key(call: Call) -> Call {
    let name = |name: &HeaderName| Some(format!("x-amz-copy-source-{}", name.as_str().strip_prefix("x-amz-")?));
    let keyed = call.headers.iter().filter(|(name, _)| name.as_str().starts_with(CUSTOMER));
    let copied = keyed.filter_map(|(n, value)| Some((HeaderName::try_from(name(n)?).ok()?, value.clone())));
    copied.collect::<Vec<_>>().into_iter().fold(call, |call, (name, value)| call.set(name, value))
}

/// What a copy with new metadata would lose.
const KEPT: [HeaderName; 6] =
    [CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES];

/// `aws-chunked` is no encoding of the object: some servers keep it from the upload.
pub(super) fn keep_headers(call: Call, stored: &HeaderMap) -> Call {
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"aws-chunked");
    let kept = KEPT.into_iter().filter_map(|name| stored.get(&name).map(|value| (name, value.clone())));
    kept.filter(|(_, value)| !chunked(value)).fold(call, |call, (name, value)| call.set(name, value))
}

/// In a storage class that must be restored before anything can be read, a copy included.
pub(super) fn is_archived(headers: &HeaderMap) -> bool {
    headers.get("x-amz-storage-class").is_some_and(|class| class == "GLACIER" || class == "DEEP_ARCHIVE")
}

pub(super) fn payer(call: Call, settings: &S3Settings) -> Result<Call, StoreError> {
    call.header("x-amz-request-payer", if settings.requester_pays { "requester" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (http::HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn md5chksum_beats_the_etag_unless_it_is_no_md5() {
        let empty = "\"D41D8CD98F00B204E9800998ECF8427E\"";
        let md5 = |pairs: &[(&'static str, &str)], trusted| {
            let quirks = Quirks { etag_is_md5: trusted, ..Quirks::other() };
            read(&headers(pairs), 0, &quirks).md5.map(|m| m[0])
        };
        assert_eq!(md5(&[("etag", empty)], true), Some(0xd4));
        assert_eq!(md5(&[("etag", empty)], false), None);
        assert_eq!(md5(&[("etag", "\"d41d8cd98f00b204e9800998ecf8427e-2\"")], true), None);
        let stored = "AAAAAAAAAAAAAAAAAAAAAA==";
        assert_eq!(md5(&[("etag", empty), ("x-amz-meta-md5chksum", stored)], true), Some(0));
        assert_eq!(md5(&[("etag", empty), ("x-amz-meta-md5chksum", "AAAA")], true), Some(0xd4));
    }

    #[test]
    fn an_etag_of_parts_counts_where_nothing_better_is_known() {
        let aws = Quirks::of("AWS").unwrap();
        let parts = |pairs: &[(&'static str, &str)], quirks: &Quirks| {
            read(&headers(pairs), 0, quirks).parts.map(|parts| (parts.md5[0], parts.count))
        };
        let etag = ("etag", "\"d41d8cd98f00b204e9800998ecf8427e-12\"");
        assert_eq!(parts(&[etag], &aws), Some((0xd4, 12)));
        assert_eq!(parts(&[etag], &Quirks::other()), None);
        assert_eq!(parts(&[etag, ("x-amz-meta-md5chksum", "AAAAAAAAAAAAAAAAAAAAAA==")], &aws), None);
        for (name, sealed) in [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption", "aws:kms:dsse"),
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ] {
            assert_eq!(parts(&[etag, (name, sealed)], &aws), None, "{sealed}");
        }
        assert_eq!(parts(&[etag, ("x-amz-server-side-encryption", "AES256")], &aws), Some((0xd4, 12)));
        for bad in ["d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427e-0", "d41d-2", "-", ""] {
            assert_eq!(parts(&[("etag", bad)], &aws), None, "{bad}");
        }
    }

    #[test]
    fn a_bucket_that_encrypts_with_kms_by_itself_has_no_md5_etags() {
        let all =
            headers(&[("etag", "\"d41d8cd98f00b204e9800998ecf8427e\""), ("x-amz-server-side-encryption", "aws:kms")]);
        assert_eq!(read(&all, 0, &Quirks::of("AWS").unwrap()).md5, None);
    }

    #[test]
    fn the_stored_time_beats_the_stores_own() {
        let own = ("last-modified", "Sat, 21 Nov 2026 04:23:34 GMT");
        let secs = |pairs: &[(&'static str, &str)]| read(&headers(pairs), 0, &Quirks::other()).mtime.map(|t| t.secs);
        assert_eq!(secs(&[own, ("x-amz-meta-mtime", "5.5")]), Some(5));
        assert_eq!(secs(&[own, ("x-amz-meta-mtime", "1e9")]), Some(1_795_235_014));
    }

    fn sent(call: &Call) -> Vec<(&str, &[u8])> {
        let mut all: Vec<_> = call.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        all.sort_unstable();
        all
    }

    fn put() -> Call {
        Call::new("PutObject", http::Method::PUT, Some(b"key".to_vec()))
    }

    #[test]
    fn metadata_of_a_file_becomes_headers_where_it_can() {
        let check = |no_system_metadata, name: &str, value: &[u8], expect: &[(&str, &[u8])]| {
            let settings = S3Settings { no_system_metadata, ..S3Settings::default() };
            let call = file_metadata(put(), &settings, &[(name.to_owned(), value.to_vec())]);
            assert_eq!(sent(&call), expect, "{name:?}");
        };
        for name in SYSTEM {
            check(false, name, b"v", &[(name, b"v")]);
            check(true, name, b"v", &[(&format!("x-amz-meta-{name}"), b"v")]);
        }
        check(false, "tier", b"GLACIER", &[]);
        check(true, "tier", b"GLACIER", &[("x-amz-meta-tier", b"GLACIER")]);
        check(false, "mtime", b"5", &[]);
        check(true, "md5chksum", b"x", &[]);
        check(false, "note", "\u{fc}  x".as_bytes(), &[("x-amz-meta-note", "\u{fc}  x".as_bytes())]);
        check(false, "note", b"", &[]);
        check(false, "note", b"two\nlines", &[]);
        check(false, "no name", b"x", &[]);
    }

    #[test]
    fn a_file_says_better_than_its_name_what_it_is() {
        let call = put().header("content-type", "text/plain").unwrap();
        let call = file_metadata(call, &S3Settings::default(), &[("content-type".to_owned(), b"a/b".to_vec())]);
        assert_eq!(sent(&call), [("content-type", b"a/b".as_slice())]);
    }

    #[test]
    fn a_copy_reads_with_the_key_it_writes_with() {
        let keyed = S3Settings { sse_customer_key: b"k".to_vec(), ..S3Settings::default() };
        let call = source_key(customer_key(put(), &keyed).unwrap());
        for name in ["algorithm", "key", "key-md5"] {
            let value = |prefix: &str| call.headers[&format!("{prefix}server-side-encryption-customer-{name}")].clone();
            assert_eq!(value("x-amz-"), value("x-amz-copy-source-"), "{name}");
        }
        assert_eq!(call.headers.len(), 6);
        assert!(source_key(customer_key(put(), &S3Settings::default()).unwrap()).headers.is_empty());
    }

    #[test]
    fn a_copy_keeps_what_the_object_says_of_its_content() {
        let check = |stored: &[(&'static str, &str)], expect: &[(&str, &[u8])]| {
            assert_eq!(sent(&keep_headers(put(), &headers(stored))), expect, "{stored:?}");
        };
        for name in KEPT {
            let name = name.as_str();
            check(&[(name.to_owned().leak(), "v")], &[(name, b"v")]);
        }
        check(&[("content-encoding", "AWS-Chunked")], &[]);
        check(&[("content-encoding", "gzip"), ("etag", "x")], &[("content-encoding", b"gzip")]);
    }

    #[test]
    fn archived_objects_cannot_be_copied() {
        let archived = |class: &str| is_archived(&headers(&[("x-amz-storage-class", class)]));
        assert!(archived("GLACIER") && archived("DEEP_ARCHIVE"));
        assert!(!archived("GLACIER_IR") && !archived("STANDARD") && !is_archived(&HeaderMap::new()));
    }
}
