//! The S3 operations: from parsed requests of the `s3s` crate to the store and back.
//!
//! Only translation happens here; what an operation means is in [`crate::store`], what may go wrong on purpose in
//! [`crate::fault`].

#![expect(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "all handlers share one signature")]

mod body;
mod buckets;
mod lists;
mod multipart;
mod objects;

use std::sync::Arc;

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CopyObjectInput, CopyObjectOutput, CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteBucketInput, DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectsInput, DeleteObjectsOutput, ETag, ETagCondition, GetBucketLocationInput, GetBucketLocationOutput,
    GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput,
    ListBucketsInput, ListBucketsOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, Owner, PutObjectInput,
    PutObjectOutput, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use crate::options::Quirks;
use crate::store::{Object, Store, StoreError};

/// The API over one store.
pub(crate) struct Api {
    pub(crate) store: Arc<Store>,
    pub(crate) page_max: usize,
    pub(crate) quirks: Quirks,
    pub(crate) region: String,
}

/// One line per operation: those that only touch the index, and those that move or digest bytes.
macro_rules! operations {
    (
        at_once { $($name:ident: $input:ident -> $output:ident = $module:ident::$function:ident;)* }
        bytes { $($long:ident: $long_input:ident -> $long_output:ident = $long_module:ident::$long_function:ident;)* }
    ) => {
        #[async_trait::async_trait]
        impl S3 for Api {
            $(async fn $name(&self, req: S3Request<$input>) -> S3Result<S3Response<$output>> {
                $module::$function(self, req).map(S3Response::new)
            })*
            $(async fn $long(&self, req: S3Request<$long_input>) -> S3Result<S3Response<$long_output>> {
                $long_module::$long_function(self, req).await.map(S3Response::new)
            })*
        }
    };
}

operations! {
    at_once {
        list_buckets: ListBucketsInput -> ListBucketsOutput = buckets::list;
        create_bucket: CreateBucketInput -> CreateBucketOutput = buckets::create;
        head_bucket: HeadBucketInput -> HeadBucketOutput = buckets::head;
        delete_bucket: DeleteBucketInput -> DeleteBucketOutput = buckets::delete;
        get_bucket_location: GetBucketLocationInput -> GetBucketLocationOutput = buckets::location;
        get_object: GetObjectInput -> GetObjectOutput = objects::get;
        head_object: HeadObjectInput -> HeadObjectOutput = objects::head;
        delete_object: DeleteObjectInput -> DeleteObjectOutput = objects::delete;
        delete_objects: DeleteObjectsInput -> DeleteObjectsOutput = objects::delete_many;
        list_objects: ListObjectsInput -> ListObjectsOutput = lists::v1;
        list_objects_v2: ListObjectsV2Input -> ListObjectsV2Output = lists::v2;
        create_multipart_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput = multipart::create;
        complete_multipart_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput = multipart::complete;
        abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput = multipart::abort;
        list_parts: ListPartsInput -> ListPartsOutput = multipart::list_parts;
        list_multipart_uploads: ListMultipartUploadsInput -> ListMultipartUploadsOutput = multipart::list_uploads;
    }
    bytes {
        put_object: PutObjectInput -> PutObjectOutput = objects::put;
        copy_object: CopyObjectInput -> CopyObjectOutput = objects::copy;
        upload_part: UploadPartInput -> UploadPartOutput = multipart::upload_part;
        upload_part_copy: UploadPartCopyInput -> UploadPartCopyOutput = multipart::upload_part_copy;
    }
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::NoSuchBucket => S3ErrorCode::NoSuchBucket,
            StoreError::NoSuchKey => S3ErrorCode::NoSuchKey,
            StoreError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
            StoreError::BucketAlreadyOwnedByYou => S3ErrorCode::BucketAlreadyOwnedByYou,
            StoreError::BucketNotEmpty => S3ErrorCode::BucketNotEmpty,
            StoreError::InvalidPart => S3ErrorCode::InvalidPart,
            StoreError::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
            StoreError::EntityTooSmall => S3ErrorCode::EntityTooSmall,
            StoreError::MalformedXML => S3ErrorCode::MalformedXML,
            StoreError::PreconditionFailed => S3ErrorCode::PreconditionFailed,
        };
        S3Error::with_message(code, error.to_string())
    }
}

fn strong(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

/// A length as S3's signed integers carry it.
fn length(len: u64) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

fn owner() -> Owner {
    Owner { display_name: Some("embedded".to_owned()), id: Some("embedded".to_owned()) }
}

fn names(condition: &ETagCondition, object: &Object) -> bool {
    condition.as_etag().is_none_or(|etag| etag.value() == object.etag)
}

/// `If-Match` and `If-None-Match` of a write.
fn may_write(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
    there: Option<&Object>,
) -> Result<(), StoreError> {
    match (if_match, there) {
        (Some(_), None) => return Err(StoreError::NoSuchKey),
        (Some(wanted), Some(object)) if !names(wanted, object) => return Err(StoreError::PreconditionFailed),
        _ => {}
    }
    match (if_none_match, there) {
        (Some(refused), Some(object)) if names(refused, object) => Err(StoreError::PreconditionFailed),
        _ => Ok(()),
    }
}
