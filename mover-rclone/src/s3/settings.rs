//! What a user can say about an S3 remote (rclone 1.75 `backend/s3/s3.go`, `docs/compat-rclone.md`, "S3").

use super::quirks::Quirks;
use crate::http::ExtraHeaders;

/// Options of the backend that change what goes over the wire; `Option` is "the provider decides" where it can.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// Selects the row of [`Quirks`].
    pub provider: String,
    /// Bucket name.
    pub bucket: String,
    /// Path below the bucket, without slashes at its ends; may be empty.
    pub path: Vec<u8>,
    /// Signing region; empty is `us-east-1`.
    pub region: String,
    /// Service URL; empty is AWS.
    pub endpoint: String,
    /// For CreateBucket.
    pub location_constraint: String,
    /// `x-amz-acl` of objects; empty sends none.
    pub acl: String,
    /// `x-amz-acl` of a created bucket; empty is `acl`.
    pub bucket_acl: String,
    /// Path-style addressing. Cannot be turned on for providers that address by host.
    pub force_path_style: bool,
    /// From this size on uploads are multipart; `None` always (rclone's `off`).
    pub upload_cutoff: Option<u64>,
    /// Part size in bytes.
    pub chunk_size: u64,
    /// Most parts of one upload.
    pub max_upload_parts: u64,
    /// Parts of one file in flight.
    pub upload_concurrency: usize,
    /// From this size on copies are multipart.
    pub copy_cutoff: u64,
    /// No `md5chksum` metadata.
    pub disable_checksum: bool,
    /// Never create the bucket.
    pub no_check_bucket: bool,
    /// Keys per listing page.
    pub list_chunk: u32,
    /// 1 or 2; 0 is the provider's.
    pub list_version: u8,
    /// `encoding-type=url`.
    pub list_url_encode: Option<bool>,
    /// Check ETags of multipart uploads.
    pub use_multipart_etag: Option<bool>,
    /// BucketAlreadyExists is an error.
    pub use_already_exists: Option<bool>,
    /// Multipart uploads at all.
    pub use_multipart_uploads: Option<bool>,
    /// Unsigned bodies, also over http.
    pub use_unsigned_payload: Option<bool>,
    /// Requests name their operation in `x-id`.
    pub use_x_id: Option<bool>,
    /// `x-amz-server-side-encryption`: `AES256`, `aws:kms`.
    pub server_side_encryption: String,
    /// Key of SSE-KMS.
    pub sse_kms_key_id: String,
    /// `AES256` for SSE-C.
    pub sse_customer_algorithm: String,
    /// Key of SSE-C, raw.
    pub sse_customer_key: Vec<u8>,
    /// `x-amz-storage-class`.
    pub storage_class: String,
    /// The requester pays.
    pub requester_pays: bool,
    /// Keep empty directories as `dir/` objects.
    pub directory_markers: bool,
    /// `bucket.s3.dualstack.` names.
    pub use_dual_stack: bool,
    /// `bucket.s3-accelerate.` names.
    pub use_accelerate_endpoint: bool,
    /// Leave parts of a failed upload.
    pub leave_parts_on_error: bool,
    /// Set on what creates an object, and signed (`--header-upload`).
    pub upload_headers: ExtraHeaders,
    /// Set on what reads an object, and signed (`--header-download`).
    pub download_headers: ExtraHeaders,
    /// Set of characters that keys replace, in rclone's bits.
    pub encoding: u32,
    /// Metadata that has headers of its own stays user metadata.
    pub no_system_metadata: bool,
}

/// `Slash,InvalidUtf8,Dot`, the set that keys have unless told otherwise.
pub const DEFAULT_ENCODING: u32 = (1 << 1) | (1 << 24) | (1 << 25);

impl Default for S3Settings {
    fn default() -> Self {
        Self {
            provider: String::new(),
            bucket: String::new(),
            path: Vec::new(),
            region: String::new(),
            endpoint: String::new(),
            location_constraint: String::new(),
            acl: String::new(),
            bucket_acl: String::new(),
            force_path_style: true,
            upload_cutoff: Some(200 << 20),
            chunk_size: 5 << 20,
            max_upload_parts: 10_000,
            upload_concurrency: 4,
            copy_cutoff: 4768 << 20,
            disable_checksum: false,
            no_check_bucket: false,
            list_chunk: 1000,
            list_version: 0,
            list_url_encode: None,
            use_multipart_etag: None,
            use_already_exists: None,
            use_multipart_uploads: None,
            use_unsigned_payload: None,
            use_x_id: None,
            server_side_encryption: String::new(),
            sse_kms_key_id: String::new(),
            sse_customer_algorithm: String::new(),
            sse_customer_key: Vec::new(),
            storage_class: String::new(),
            requester_pays: false,
            directory_markers: false,
            use_dual_stack: false,
            use_accelerate_endpoint: false,
            leave_parts_on_error: false,
            upload_headers: ExtraHeaders::default(),
            download_headers: ExtraHeaders::default(),
            encoding: DEFAULT_ENCODING,
            no_system_metadata: false,
        }
    }
}

impl S3Settings {
    /// The provider's row with the user's explicit values over it.
    pub fn quirks(&self) -> Quirks {
        let mut quirks = Quirks::of(&self.provider).unwrap_or_else(Quirks::other);
        let set = |value: Option<bool>, slot: &mut bool| *slot = value.unwrap_or(*slot);
        quirks.path_style = quirks.path_style && self.force_path_style;
        set(self.list_url_encode, &mut quirks.url_encode);
        set(self.use_multipart_etag, &mut quirks.multipart_etag);
        set(self.use_already_exists.map(|error| !error), &mut quirks.lenient_exists);
        set(self.use_multipart_uploads, &mut quirks.multipart);
        set(self.use_unsigned_payload, &mut quirks.unsigned_payload);
        set(self.use_x_id, &mut quirks.x_id);
        quirks.list_v1 = match self.list_version {
            0 => quirks.list_v1,
            version => version == 1,
        };
        quirks.etag_is_md5 &= self.server_side_encryption != "aws:kms" && self.sse_customer_key.is_empty();
        quirks.max_parts = quirks.max_parts.min(self.max_upload_parts.clamp(1, 10_000));
        quirks
    }

    /// The region that requests are signed for.
    pub fn signing_region(&self) -> &str {
        if self.region.is_empty() { "us-east-1" } else { &self.region }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explicit_values_win_over_the_provider_but_path_style_only_downwards() {
        let quirks = |provider: &str, path_style, url| {
            let settings = S3Settings {
                provider: provider.into(),
                force_path_style: path_style,
                list_url_encode: url,
                ..S3Settings::default()
            };
            (settings.quirks().path_style, settings.quirks().url_encode)
        };
        assert_eq!(quirks("AWS", true, None), (false, true));
        assert_eq!(quirks("Minio", true, Some(false)), (true, false));
        assert_eq!(quirks("Minio", false, None), (false, true));
        assert_eq!(quirks("Other", true, Some(true)), (true, true));
    }
}
