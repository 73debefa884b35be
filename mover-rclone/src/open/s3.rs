//! Options of an s3 remote to the settings of the store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use thiserror::Error;
use volsync_common::report::units::short_bytes;

use crate::config::{OptionError, Options, Remote};
use crate::flags::GlobalOptions;
use crate::http::ExtraHeaders;
use crate::s3::S3Settings;
use crate::s3::credentials::CredentialOptions;

use super::{NetworkError, Reason};

/// Smallest part of a multipart upload (AWS, "Amazon S3 multipart upload limits").
const MIN_PART: u64 = 5 << 20;
/// Largest object that one request can upload (the same page).
const MAX_PUT: u64 = 5 << 30;

/// Values that S3 cannot work with, in rclone's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Below what S3 allows.
    #[error("s3: chunk size: {} is less than {}", short_bytes(*.0), short_bytes(MIN_PART))]
    SmallParts(u64),
    /// Above what S3 allows.
    #[error("s3: upload cutoff: {} is greater than {}", short_bytes(*.0), short_bytes(MAX_PUT))]
    LargePut(u64),
    /// Which one counts?
    #[error("s3: can't use sse_customer_key and sse_customer_key_base64 at the same time")]
    TwoKeys,
    /// Not base64.
    #[error("s3: Could not decode sse_customer_key_base64: {0}")]
    KeyEncoding(String),
    /// The store would refuse every request.
    #[error("s3: sse_customer_key_md5 is not the MD5 of the key: leave it out, it is computed")]
    KeySum,
    /// Objects would be stored without the encryption that was asked for.
    #[error("s3: sse_customer_algorithm is set but no key is: set sse_customer_key or sse_customer_key_base64 too")]
    NoKey,
    /// Nothing to work in.
    #[error("the path names no bucket: write it as {0}:BUCKET/PATH")]
    NoBucket(String),
    /// A bucket that is not text.
    #[error("the name of the bucket is not UTF-8")]
    BucketName,
}

/// The settings of the store. What the options cannot change is as `docs/compat-rclone.md`, "S3", says.
pub(super) fn settings(remote: &Remote, options: &GlobalOptions) -> Result<S3Settings, Reason> {
    let o = &remote.options;
    let (bucket, path) = split(remote)?;
    Ok(S3Settings {
        provider: o.string("provider")?,
        bucket,
        path,
        region: o.string("region")?,
        endpoint: o.string("endpoint")?,
        location_constraint: o.string("location_constraint")?,
        acl: o.string("acl")?,
        bucket_acl: o.string("bucket_acl")?,
        force_path_style: o.bool("force_path_style")?,
        upload_cutoff: upload_cutoff(o)?,
        chunk_size: chunk_size(o)?,
        max_upload_parts: u64::try_from(o.int("max_upload_parts")?).unwrap_or(1),
        upload_concurrency: upload_concurrency(o)?,
        copy_cutoff: o.size("copy_cutoff")?.unwrap_or(u64::MAX),
        disable_checksum: o.bool("disable_checksum")?,
        no_check_bucket: o.bool("no_check_bucket")? || cannot_create(&o.string("provider")?, &o.string("endpoint")?),
        list_chunk: u32::try_from(o.int("list_chunk")?).ok().filter(|keys| *keys > 0).unwrap_or(1000),
        list_version: u8::try_from(o.int("list_version")?).unwrap_or(0),
        list_url_encode: o.tristate("list_url_encode")?,
        use_multipart_etag: o.tristate("use_multipart_etag")?,
        use_already_exists: o.tristate("use_already_exists")?,
        use_multipart_uploads: o.tristate("use_multipart_uploads")?,
        use_unsigned_payload: o.tristate("use_unsigned_payload")?,
        use_x_id: o.tristate("use_x_id")?,
        server_side_encryption: o.string("server_side_encryption")?,
        sse_kms_key_id: o.string("sse_kms_key_id")?,
        sse_customer_algorithm: o.string("sse_customer_algorithm")?,
        sse_customer_key: customer_key(o)?,
        storage_class: o.string("storage_class")?,
        requester_pays: o.bool("requester_pays")?,
        directory_markers: o.bool("directory_markers")?,
        use_dual_stack: o.bool("use_dual_stack")?,
        use_accelerate_endpoint: o.bool("use_accelerate_endpoint")?,
        leave_parts_on_error: o.bool("leave_parts_on_error")?,
        upload_headers: upload_headers(options)?,
        download_headers: ExtraHeaders::parse(&options.header_download).map_err(NetworkError::Header)?,
        encoding: o.encoding("encoding")?.0,
        no_system_metadata: o.bool("no_system_metadata")?,
    })
}

/// Parts of one object in flight. What the user set is an upper bound. rclone's own 4, each of them in memory, leave a
/// distant server idle; ours are sent from the file, and fall back when the server says that it is too much.
fn upload_concurrency(o: &Options) -> Result<usize, OptionError> {
    const UNSET: usize = 16;
    let set = usize::try_from(o.int("upload_concurrency")?).unwrap_or(1);
    Ok(if o.is_given("upload_concurrency") { set } else { UNSET })
}

/// Tencent's accelerated endpoint has no CreateBucket (rclone 1.75 `backend/s3`).
fn cannot_create(provider: &str, endpoint: &str) -> bool {
    provider == "TencentCOS" && endpoint.contains("cos.accelerate.myqcloud.com")
}

/// What rclone knows how to set on an upload (its `backend/s3/s3.go`); it only complains about others.
fn upload_headers(options: &GlobalOptions) -> Result<ExtraHeaders, NetworkError> {
    const KNOWN: [&str; 8] = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "if-match",
        "if-none-match",
        "x-amz-tagging",
    ];
    let known = |name: &str| KNOWN.contains(&name) || name.starts_with("x-amz-meta-");
    let (kept, others) = ExtraHeaders::parse(&options.header_upload)?.choose(known);
    for name in others {
        tracing::error!("Don't know how to set key \"{name}\" on upload");
    }
    Ok(kept)
}

/// Who signs.
pub(super) fn credentials(o: &Options) -> Result<CredentialOptions, OptionError> {
    Ok(CredentialOptions {
        env_auth: o.bool("env_auth")?,
        access_key_id: o.string("access_key_id")?,
        secret_access_key: o.string("secret_access_key")?,
        session_token: o.string("session_token")?,
        profile: o.string("profile")?,
        shared_credentials_file: o.string("shared_credentials_file")?,
        role_arn: o.string("role_arn")?,
        role_session_name: o.string("role_session_name")?,
        role_session_duration: o.duration("role_session_duration")?.filter(|duration| !duration.is_zero()),
        role_external_id: o.string("role_external_id")?,
        region: o.string("region")?,
    })
}

/// The first element of the path is the bucket.
fn split(remote: &Remote) -> Result<(String, Vec<u8>), Refusal> {
    let path = trim_slashes(&remote.path);
    let end = path.iter().position(|b| *b == b'/').unwrap_or(path.len());
    let (bucket, rest) = path.split_at_checked(end).unwrap_or((path, b""));
    if bucket.is_empty() {
        return Err(Refusal::NoBucket(remote.name.clone()));
    }
    let bucket = std::str::from_utf8(bucket).map_err(|_| Refusal::BucketName)?;
    Ok((bucket.to_owned(), rest.strip_prefix(b"/").unwrap_or(rest).to_vec()))
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|b| *b != b'/').unwrap_or(path.len());
    let end = path.iter().rposition(|b| *b != b'/').map_or(start, |at| at + 1);
    path.get(start..end).unwrap_or_default()
}

fn chunk_size(o: &Options) -> Result<u64, Reason> {
    match o.size("chunk_size")? {
        Some(size) if size >= MIN_PART => Ok(size),
        size => Err(Refusal::SmallParts(size.unwrap_or(0)).into()),
    }
}

/// `None` is `off`: everything goes up in parts.
fn upload_cutoff(o: &Options) -> Result<Option<u64>, Reason> {
    match o.size("upload_cutoff")? {
        Some(size) if size > MAX_PUT => Err(Refusal::LargePut(size).into()),
        size => Ok(size),
    }
}

fn customer_key(o: &Options) -> Result<Vec<u8>, Reason> {
    let (raw, encoded) = (o.bytes("sse_customer_key")?, o.bytes("sse_customer_key_base64")?);
    let key = match (raw.is_empty(), encoded.is_empty()) {
        (false, false) => return Err(Refusal::TwoKeys.into()),
        (true, false) => BASE64.decode(encoded).map_err(|e| Refusal::KeyEncoding(in_gos_words(&e)))?,
        _ => raw.to_vec(),
    };
    let sum = o.bytes("sse_customer_key_md5")?;
    if key.is_empty() && !o.string("sse_customer_algorithm")?.is_empty() {
        return Err(Refusal::NoKey.into());
    }
    if !sum.is_empty() && !key.is_empty() && sum != BASE64.encode(volsync_md5::md5(&key)).as_bytes() {
        return Err(Refusal::KeySum.into());
    }
    Ok(key)
}

fn in_gos_words(error: &base64::DecodeError) -> String {
    match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
            format!("illegal base64 data at input byte {at}")
        }
        other => format!("illegal base64 data: {other}"),
    }
}
