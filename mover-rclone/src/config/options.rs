//! The options of every supported backend, declared once: names, types and defaults as `rclone config providers`
//! prints them in 1.75, what each does in our words, and which are refused for now.

use super::value::Kind;
use crate::spelling::distance;

/// One option of a backend.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its key in the file; flags and variables are formed from it.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The default as text.
    pub default: &'static str,
    /// The flag and the variable lack the backend's name (`--one-file-system`).
    pub bare: bool,
    /// The value must not be printed.
    pub secret: bool,
    /// Why any value but the default is refused.
    pub refused: Option<&'static str>,
    /// What it does.
    pub help: &'static str,
}

const fn option(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, bare: false, secret: false, refused: None, help }
}

const fn text(name: &'static str, help: &'static str) -> OptionSpec {
    option(name, Kind::Text, "", help)
}

const fn flag(name: &'static str, help: &'static str) -> OptionSpec {
    option(name, Kind::Bool, "false", help)
}

const fn tristate(name: &'static str, help: &'static str) -> OptionSpec {
    option(name, Kind::Tristate, "unset", help)
}

const fn bare(spec: OptionSpec) -> OptionSpec {
    OptionSpec { bare: true, ..spec }
}

const fn secret(spec: OptionSpec) -> OptionSpec {
    OptionSpec { secret: true, ..spec }
}

const fn refused(spec: OptionSpec, why: &'static str) -> OptionSpec {
    OptionSpec { refused: Some(why), ..spec }
}

const DESCRIPTION: OptionSpec = text("description", "A note for people; without effect.");
const NO_LOCK: &str = "object lock headers are not sent; give the bucket a default retention instead";
const NO_VERSIONS: &str = "old object versions are not read or written; restore them with rclone or the store's tools";
const NO_IBM: &str = "IBM's own sign-in is not supported; use HMAC keys (access_key_id, secret_access_key)";

/// Options of `s3`.
pub const S3: &[OptionSpec] = &[
    text("provider", "Whose S3 it is; selects the quirks. Unknown or empty means Other."),
    flag("env_auth", "Take credentials from the environment when both keys are empty."),
    secret(text("access_key_id", "Access key.")),
    secret(text("secret_access_key", "Secret key.")),
    text("region", "Region to sign for; empty means us-east-1."),
    text("endpoint", "Address of the service; empty means AWS."),
    text("location_constraint", "Region to create buckets in."),
    text("acl", "Canned ACL of new objects."),
    text("bucket_acl", "Canned ACL of new buckets; empty means the same as acl."),
    flag("requester_pays", "Pay for requests to somebody else's bucket."),
    text("server_side_encryption", "Encryption by the server: AES256 or aws:kms."),
    text("sse_customer_algorithm", "Algorithm of SSE-C: AES256."),
    secret(text("sse_kms_key_id", "KMS key for aws:kms.")),
    secret(text("sse_customer_key", "SSE-C key as raw text.")),
    secret(text("sse_customer_key_base64", "SSE-C key in base64.")),
    secret(text("sse_customer_key_md5", "MD5 of the SSE-C key; computed when empty.")),
    text("storage_class", "Storage class of new objects."),
    option("upload_cutoff", Kind::Size, "200Mi", "Objects of this size and more go up in parts."),
    option("chunk_size", Kind::Size, "5Mi", "Size of a part."),
    option("max_upload_parts", Kind::Int(32), "10000", "Most parts of one object."),
    option("copy_cutoff", Kind::Size, "4.656Gi", "Objects of this size and more are copied in parts."),
    flag("disable_checksum", "Do not store the MD5 of large objects in their metadata."),
    text("shared_credentials_file", "Profile file for env_auth."),
    text("profile", "Profile for env_auth."),
    secret(text("session_token", "Token of temporary credentials.")),
    text("role_arn", "Role to assume on top of the credentials."),
    text("role_session_name", "Name of the assumed session."),
    option("role_session_duration", Kind::Duration, "", "How long the assumed session lasts."),
    text("role_external_id", "External id for assuming the role."),
    option("upload_concurrency", Kind::Int(64), "4", "Parts of one object in flight."),
    option("force_path_style", Kind::Bool, "true", "Bucket in the path rather than the host name."),
    refused(
        flag("v2_auth", "Sign with version 2."),
        "signature version 2 is not supported; the store must take version 4",
    ),
    flag("use_dual_stack", "AWS endpoints with IPv6."),
    flag("use_accelerate_endpoint", "AWS accelerated endpoints."),
    flag("use_arn_region", "Take the region from an ARN given as bucket."),
    flag("leave_parts_on_error", "Do not abort a multipart upload that failed."),
    option("list_chunk", Kind::Int(32), "1000", "Keys per listing request."),
    option("list_version", Kind::Int(64), "0", "Listing call: 1, 2, or 0 for what the provider needs."),
    tristate("list_url_encode", "Ask for URL-encoded listings."),
    flag("no_check_bucket", "Never create the bucket."),
    flag("no_head", "Do not look at an object after uploading it."),
    flag("no_head_object", "Do not look at an object before reading it."),
    option("encoding", Kind::Encoding, "Slash,InvalidUtf8,Dot", "Which characters of names are replaced."),
    option("memory_pool_flush_time", Kind::Text, "1m0s", "Without effect."),
    flag("memory_pool_use_mmap", "Without effect."),
    flag("disable_http2", "HTTP/1.1 only; always so here."),
    refused(text("download_url", "Base URL for downloads."), "downloads always go to the endpoint and are signed"),
    flag("directory_markers", "Keep empty directories as objects whose key ends in a slash."),
    tristate("use_multipart_etag", "Check the ETag of multipart uploads."),
    tristate("use_unsigned_payload", "Do not sign the content of uploads."),
    refused(
        flag("use_presigned_request", "Upload through presigned URLs."),
        "uploads are always signed in their headers",
    ),
    tristate("use_data_integrity_protections", "Send the checksums AWS defines."),
    refused(flag("versions", "List old versions."), NO_VERSIONS),
    refused(option("version_at", Kind::Text, "off", "Show the bucket as it was."), NO_VERSIONS),
    refused(flag("version_deleted", "Show deleted objects."), NO_VERSIONS),
    refused(flag("decompress", "Decompress gzip objects."), "objects are restored as they are stored"),
    tristate("might_gzip", "The server may compress on its own."),
    tristate("use_accept_encoding_gzip", "Send Accept-Encoding: gzip."),
    flag("no_system_metadata", "Keep system metadata as user metadata."),
    refused(text("sts_endpoint", "Old option."), "rclone 1.75 refuses it too: its SDK no longer supports it"),
    tristate("use_already_exists", "Whether BucketAlreadyExists is an error."),
    tristate("use_multipart_uploads", "Whether the store knows multipart uploads."),
    tristate("list_versions_oldest_first", "Order of version listings."),
    tristate("use_x_id", "Add the x-id query parameter."),
    tristate("sign_accept_encoding", "Sign Accept-Encoding."),
    refused(flag("directory_bucket", "S3 Express buckets."), "directory buckets are not supported"),
    option("sdk_log_mode", Kind::Text, "Off", "Without effect."),
    refused(secret(text("ibm_api_key", "IBM API key.")), NO_IBM),
    refused(text("ibm_resource_instance_id", "IBM service instance."), NO_IBM),
    text("ibm_iam_endpoint", "IBM IAM address; only with ibm_api_key."),
    refused(text("object_lock_mode", "Lock mode of new objects."), NO_LOCK),
    refused(text("object_lock_retain_until_date", "End of the lock."), NO_LOCK),
    refused(text("object_lock_legal_hold_status", "Legal hold."), NO_LOCK),
    refused(flag("bypass_governance_retention", "Delete locked objects."), NO_LOCK),
    refused(flag("bucket_object_lock_enabled", "Create buckets with object lock."), NO_LOCK),
    refused(flag("object_lock_set_after_upload", "Lock in a second request."), NO_LOCK),
    tristate("object_lock_supported", "Whether the store knows object lock."),
    DESCRIPTION,
];

/// Options of `local`.
pub const LOCAL: &[OptionSpec] = &[
    flag("nounc", "Windows only."),
    bare(flag("copy_links", "Copy what symbolic links point to.")),
    flag("links", "Store symbolic links as NAME.rclonelink."),
    bare(flag("skip_links", "Say nothing about symbolic links that are skipped.")),
    bare(flag("skip_specials", "Say nothing about devices, sockets and fifos that are skipped.")),
    flag("zero_size_links", "Take links for empty until read."),
    flag("unicode_normalization", "Read names in the form NFC."),
    flag("no_check_updated", "Do not notice files that change while they are read."),
    bare(flag("one_file_system", "Do not cross into other file systems.")),
    flag("case_sensitive", "Names differ by case."),
    flag("case_insensitive", "Names do not differ by case."),
    flag("no_clone", "No reflinks."),
    flag("no_preallocate", "No preallocation."),
    flag("no_sparse", "No sparse files."),
    flag("no_set_modtime", "Do not set modification times."),
    flag("metadata_restore_special_bits", "Restore setuid, setgid and sticky from metadata."),
    flag("fatal_if_no_space", "End the run when the disk is full."),
    option("time_type", Kind::Text, "mtime", "Which time of a file counts."),
    option("hashes", Kind::List, "", "Checksums to offer."),
    option("encoding", Kind::Encoding, "Slash,Dot", "Which characters of names are replaced."),
    DESCRIPTION,
];

/// Options of `alias`.
pub const ALIAS: &[OptionSpec] = &[text("remote", "The remote or path it stands for."), DESCRIPTION];

/// Options of `crypt`.
pub const CRYPT: &[OptionSpec] = &[
    text("remote", "The remote that keeps the encrypted objects."),
    option("filename_encryption", Kind::Text, "standard", "standard or off."),
    option("directory_name_encryption", Kind::Bool, "true", "Encrypt names of directories too."),
    secret(option("password", Kind::Password, "", "Password, obscured.")),
    secret(option("password2", Kind::Password, "", "Salt, obscured.")),
    flag("server_side_across_configs", "Without effect here."),
    flag("show_mapping", "Without effect here."),
    flag("no_data_encryption", "Encrypt names only."),
    refused(flag("pass_bad_blocks", "Replace damaged blocks by zeros."), "damaged content is never restored"),
    flag("strict_names", "Names that do not decrypt are errors."),
    option("filename_encoding", Kind::Text, "base32", "base32 or base64."),
    option("suffix", Kind::Text, ".bin", "Suffix of names when they are not encrypted."),
    DESCRIPTION,
];

/// The table of a backend type; `None` for a type that is not supported.
pub fn table(backend: &str) -> Option<&'static [OptionSpec]> {
    match backend {
        "s3" => Some(S3),
        "local" => Some(LOCAL),
        "alias" => Some(ALIAS),
        "crypt" => Some(CRYPT),
        _ => None,
    }
}

/// The types of [`table`].
pub const SUPPORTED: &[&str] = &["s3", "local", "alias", "crypt"];

/// The option of the table whose name is nearest to a misspelt one, if any is near.
pub fn nearest(table: &'static [OptionSpec], key: &str) -> Option<&'static str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', ' ', '_'], "");
    let wanted = plain(key);
    if wanted.len() > 64 {
        return None;
    }
    let near = table.iter().map(|o| (distance(plain(o.name).as_bytes(), wanted.as_bytes()), o.name)).min()?;
    (near.0 <= wanted.len() / 4).then_some(near.1)
}

/// How to reach a store of another type, where there is a way.
pub fn way_to(backend: &str) -> Option<&'static str> {
    Some(match backend {
        "google cloud storage" | "gcs" => {
            "Google Cloud Storage also speaks S3: create an HMAC key and use type = s3, provider = GCS, \
             endpoint = https://storage.googleapis.com"
        }
        "b2" => {
            "Backblaze B2 also speaks S3: create an application key and use type = s3, provider = Other, \
             endpoint = https://s3.REGION.backblazeb2.com"
        }
        "oracleobjectstorage" => {
            "Oracle Object Storage also speaks S3: create a customer secret key and use type = s3, provider = Other, \
             endpoint = https://NAMESPACE.compat.objectstorage.REGION.oraclecloud.com"
        }
        "qingstor" => {
            "QingStor also speaks S3: use type = s3, provider = Other, endpoint = https://s3.ZONE.qingstor.com"
        }
        "swift" => "most Swift services also speak S3 (s3api): use type = s3, provider = Other and EC2 credentials",
        "storj" | "tardigrade" => {
            "Storj also speaks S3: use type = s3, provider = Storj, endpoint = https://gateway.storjshare.io"
        }
        "mega" => "MEGA S4 speaks S3: use type = s3, provider = Mega",
        _ => return None,
    })
}

/// Every other backend type of rclone 1.75: known, but not supported here.
pub const UNSUPPORTED: &[&str] = &[
    "archive",
    "azureblob",
    "azurefiles",
    "b2",
    "box",
    "cache",
    "chunker",
    "cloudinary",
    "combine",
    "compress",
    "doi",
    "drime",
    "drive",
    "dropbox",
    "fichier",
    "filefabric",
    "filelu",
    "filen",
    "filescom",
    "ftp",
    "gofile",
    "google cloud storage",
    "google photos",
    "hasher",
    "hdfs",
    "hidrive",
    "http",
    "huaweidrive",
    "iclouddrive",
    "imagekit",
    "internetarchive",
    "internxt",
    "jottacloud",
    "koofr",
    "linkbox",
    "mailru",
    "mega",
    "memory",
    "netstorage",
    "onedrive",
    "opendrive",
    "oracleobjectstorage",
    "pcloud",
    "pikpak",
    "pixeldrain",
    "premiumizeme",
    "protondrive",
    "putio",
    "qingstor",
    "quatrix",
    "seafile",
    "sftp",
    "shade",
    "sharefile",
    "sia",
    "smb",
    "storj",
    "sugarsync",
    "swift",
    "tardigrade",
    "ulozto",
    "union",
    "webdav",
    "yandex",
    "zoho",
];

#[cfg(test)]
mod tests {
    use super::*;
    use volsync_common::time::Timestamp;

    #[test]
    fn defaults_are_values_of_their_types_and_names_are_unique() {
        for backend in SUPPORTED {
            let table = table(backend).unwrap();
            for (at, spec) in table.iter().enumerate() {
                assert!(spec.kind.parse(spec.default.as_bytes(), Timestamp::default()).is_ok(), "{}", spec.name);
                assert!(table.iter().skip(at + 1).all(|o| o.name != spec.name), "{}", spec.name);
            }
        }
    }

    #[test]
    fn a_misspelt_key_finds_its_option() {
        let cases = [
            ("access-key-id", Some("access_key_id")),
            ("acces_key", None),
            ("secret_acces_key", Some("secret_access_key")),
            ("Region", Some("region")),
            ("chunksize", Some("chunk_size")),
            ("colour", None),
        ];
        for (key, expect) in cases {
            assert_eq!(nearest(S3, key), expect, "{key}");
        }
    }
}
