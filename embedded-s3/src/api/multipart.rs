//! Multipart uploads.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CompletedPart, CopyPartResult, CreateMultipartUploadInput, CreateMultipartUploadOutput, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload, Part as PartLine, Range,
    StorageClass, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Error, S3Request, S3Result, s3_error};

use super::lists::{Encoding, page_size, shown};
use super::objects::{attributes, source};
use super::{Api, body, length, may_write, owner, strong};
use crate::store::{Attributes, Object, UploadInfo};

/// Part numbers run from 1 to this: Amazon S3 User Guide, multipart upload limits.
const MAX_PART_NUMBER: i32 = 10_000;

pub(super) fn create(
    api: &Api,
    mut req: S3Request<CreateMultipartUploadInput>,
) -> S3Result<CreateMultipartUploadOutput> {
    let input = &mut req.input;
    let attributes = attributes!(input);
    let id = api.store.create_upload(&input.bucket, &input.key, attributes)?;
    Ok(CreateMultipartUploadOutput {
        upload_id: Some(id),
        bucket: Some(req.input.bucket),
        key: Some(req.input.key),
        ..Default::default()
    })
}

fn check_number(number: i32) -> S3Result<()> {
    if (1..=MAX_PART_NUMBER).contains(&number) {
        return Ok(());
    }
    Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"))
}

pub(super) async fn upload_part(api: &Api, req: S3Request<UploadPartInput>) -> S3Result<UploadPartOutput> {
    let input = req.input;
    check_number(input.part_number)?;
    api.store.upload(&input.bucket, &input.key, &input.upload_id)?;
    let received = body::receive(&api.store, input.body, input.content_length, input.content_md5.as_deref()).await?;
    let part = api.store.put_part(&input.bucket, (&input.key, &input.upload_id), input.part_number, received)?;
    let server_side_encryption = api.quirks.encryption();
    Ok(UploadPartOutput { e_tag: Some(strong(&part.etag)), server_side_encryption, ..Default::default() })
}

pub(super) async fn upload_part_copy(api: &Api, req: S3Request<UploadPartCopyInput>) -> S3Result<UploadPartCopyOutput> {
    let input = req.input;
    check_number(input.part_number)?;
    let (bucket, key) = source(&input.copy_source)?;
    let from = api.store.get(bucket, key)?;
    let content = match input.copy_source_range.as_deref() {
        Some(text) => from.content.slice(copy_range(text, from.content.len())?),
        None => from.content.clone(),
    };
    let bytes = content.clone();
    let md5 = tokio::task::spawn_blocking(move || bytes.md5()).await.map_err(S3Error::internal_error)?;
    let md5 = md5.map_err(S3Error::internal_error)?;
    let part = api.store.put_part(&input.bucket, (&input.key, &input.upload_id), input.part_number, (content, md5))?;
    let result = CopyPartResult {
        e_tag: Some(strong(&part.etag)),
        last_modified: Some(part.modified.into()),
        ..Default::default()
    };
    Ok(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
}

/// `bytes=first-last`, both given and inside the source: Amazon is stricter here than for a read.
fn copy_range(text: &str, len: u64) -> S3Result<std::ops::Range<u64>> {
    match Range::parse(text) {
        Ok(Range::Int { first, last: Some(last) }) if last < len => Ok(first..last + 1),
        _ => Err(s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last \
            and lie inside the source"
        )),
    }
}

pub(super) fn complete(
    api: &Api,
    req: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<CompleteMultipartUploadOutput> {
    let input = req.input;
    let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    let wanted = parts.into_iter().map(named).collect::<S3Result<Vec<_>>>()?;
    let allowed = |there: Option<&Object>| may_write(input.if_match.as_ref(), input.if_none_match.as_ref(), there);
    let object = api.store.complete_upload(&input.bucket, (&input.key, &input.upload_id), &wanted, allowed)?;
    Ok(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        e_tag: Some(strong(&object.etag)),
        server_side_encryption: api.quirks.encryption(),
        bucket: Some(input.bucket),
        key: Some(input.key),
        ..Default::default()
    })
}

fn named(part: CompletedPart) -> S3Result<(i32, String)> {
    match (part.part_number, part.e_tag) {
        (Some(number), Some(etag)) => Ok((number, etag.into_value())),
        _ => Err(s3_error!(MalformedXML)),
    }
}

pub(super) fn abort(api: &Api, req: S3Request<AbortMultipartUploadInput>) -> S3Result<AbortMultipartUploadOutput> {
    api.store.abort_upload(&req.input.bucket, &req.input.key, &req.input.upload_id)?;
    Ok(AbortMultipartUploadOutput::default())
}

pub(super) fn list_parts(api: &Api, req: S3Request<ListPartsInput>) -> S3Result<ListPartsOutput> {
    let input = req.input;
    let upload = api.store.upload(&input.bucket, &input.key, &input.upload_id)?;
    let max = page_size(input.max_parts, api.page_max)?;
    let after = input.part_number_marker.unwrap_or(0);
    let mut parts: Vec<PartLine> = upload.parts.range(after.saturating_add(1)..).take(max + 1).map(part_line).collect();
    let truncated = parts.len() > max;
    parts.truncate(max);
    Ok(ListPartsOutput {
        next_part_number_marker: parts.last().and_then(|part| part.part_number),
        part_number_marker: Some(after),
        max_parts: Some(shown(max)),
        is_truncated: Some(truncated),
        parts: Some(parts),
        storage_class: Some(class(&upload.attributes)),
        owner: Some(owner()),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        ..Default::default()
    })
}

fn part_line((number, part): (&i32, &crate::store::Part)) -> PartLine {
    PartLine {
        part_number: Some(*number),
        size: Some(length(part.content.len())),
        e_tag: Some(strong(&part.etag)),
        last_modified: Some(part.modified.into()),
        ..Default::default()
    }
}

fn class(attributes: &Attributes) -> StorageClass {
    attributes.storage_class.clone().map_or(StorageClass::from_static(StorageClass::STANDARD), Into::into)
}

pub(super) fn list_uploads(
    api: &Api,
    req: S3Request<ListMultipartUploadsInput>,
) -> S3Result<ListMultipartUploadsOutput> {
    let input = req.input;
    api.store.check_bucket(&input.bucket)?;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let max = page_size(input.max_uploads, api.page_max)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = (input.key_marker.as_deref(), input.upload_id_marker.as_deref());
    let all = api.store.unfinished_uploads(&input.bucket);
    let mut wanted: Vec<_> =
        all.into_iter().filter(|u| u.key.starts_with(&prefix) && behind(u, after)).take(max + 1).collect();
    let truncated = wanted.len() > max;
    wanted.truncate(max);
    let last = wanted.last().filter(|_| truncated);
    Ok(ListMultipartUploadsOutput {
        next_key_marker: last.map(|upload| encoding.show(&upload.key)),
        next_upload_id_marker: last.map(|upload| upload.id.clone()),
        uploads: Some(wanted.iter().map(|upload| upload_line(upload, encoding)).collect()),
        is_truncated: Some(truncated),
        max_uploads: Some(shown(max)),
        prefix: Some(encoding.show(&prefix)),
        key_marker: input.key_marker.as_deref().map(|marker| encoding.show(marker)),
        upload_id_marker: input.upload_id_marker,
        encoding_type: input.encoding_type,
        bucket: Some(input.bucket),
        ..Default::default()
    })
}

/// Uploads of the marked key follow only when the marked upload is named too.
fn behind(upload: &UploadInfo, (key, id): (Option<&str>, Option<&str>)) -> bool {
    match (key, id) {
        (None | Some(""), _) => true,
        (Some(key), Some(id)) if !id.is_empty() => (upload.key.as_str(), upload.id.as_str()) > (key, id),
        (Some(key), _) => upload.key.as_str() > key,
    }
}

fn upload_line(upload: &UploadInfo, encoding: Encoding) -> MultipartUpload {
    MultipartUpload {
        key: Some(encoding.show(&upload.key)),
        upload_id: Some(upload.id.clone()),
        initiated: Some(upload.started.into()),
        owner: Some(owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    }
}
