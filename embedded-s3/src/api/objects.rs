//! Operations on single objects, and deletion of many.

use std::ops::Range;
use std::sync::Arc;

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETagCondition, GetObjectInput, GetObjectOutput,
    HeadObjectInput, HeadObjectOutput, MetadataDirective, PutObjectInput, PutObjectOutput, StorageClass, StreamingBlob,
    Timestamp,
};
use s3s::{S3Error, S3Request, S3Result, s3_error};

use super::{Api, body, length, may_write, names, strong};
use crate::breakage::DeniedDeletes;
use crate::store::{Attributes, Object};

/// The most `DeleteObjects` takes, and the largest `CopyObject` source: Amazon S3 API Reference, both operations.
const MAX_DELETES: usize = 1000;
const MAX_COPY: u64 = 5 * 1024 * 1024 * 1024;

macro_rules! attributes {
    ($input:expr) => {
        Attributes {
            content_type: $input.content_type.take(),
            content_encoding: $input.content_encoding.take(),
            content_language: $input.content_language.take(),
            content_disposition: $input.content_disposition.take(),
            cache_control: $input.cache_control.take(),
            expires: $input.expires.take(),
            storage_class: $input.storage_class.take().map(|class| class.as_str().to_owned()),
            metadata: $input.metadata.take().unwrap_or_default().into_iter().collect(),
        }
    };
}
pub(super) use attributes;

pub(super) async fn put(api: &Api, mut req: S3Request<PutObjectInput>) -> S3Result<PutObjectOutput> {
    let input = &mut req.input;
    api.store.check_bucket(&input.bucket)?;
    let attributes = attributes!(input);
    let (content, md5) =
        body::receive(&api.store, input.body.take(), input.content_length, input.content_md5.as_deref()).await?;
    let object = api.store.object(content, md5, attributes);
    let allowed = |there: Option<&Object>| may_write(input.if_match.as_ref(), input.if_none_match.as_ref(), there);
    let object = api.store.insert(&input.bucket, &input.key, object, allowed)?;
    let server_side_encryption = api.quirks.encryption();
    Ok(PutObjectOutput { e_tag: Some(strong(&object.etag)), server_side_encryption, ..Default::default() })
}

/// The four conditions of a read, in the order of RFC 9110, section 13.2.2.
struct Conditions<'a> {
    matching: Option<&'a ETagCondition>,
    not_matching: Option<&'a ETagCondition>,
    modified_since: Option<&'a Timestamp>,
    unmodified_since: Option<&'a Timestamp>,
}

impl Conditions<'_> {
    fn check(&self, object: &Object) -> S3Result<()> {
        let modified = Timestamp::from(object.modified);
        match self.matching {
            Some(wanted) if !names(wanted, object) => return Err(s3_error!(PreconditionFailed)),
            None if self.unmodified_since.is_some_and(|limit| modified > *limit) => {
                return Err(s3_error!(PreconditionFailed));
            }
            _ => {}
        }
        match self.not_matching {
            Some(known) if names(known, object) => Err(s3_error!(NotModified)),
            None if self.modified_since.is_some_and(|limit| modified <= *limit) => Err(s3_error!(NotModified)),
            _ => Ok(()),
        }
    }
}

macro_rules! conditions {
    ($input:expr) => {
        Conditions {
            matching: $input.if_match.as_ref(),
            not_matching: $input.if_none_match.as_ref(),
            modified_since: $input.if_modified_since.as_ref(),
            unmodified_since: $input.if_unmodified_since.as_ref(),
        }
    };
}

fn range(
    object: &Object,
    wanted: Option<s3s::dto::Range>,
    part: Option<i32>,
) -> S3Result<(Range<u64>, Option<String>)> {
    let len = object.content.len();
    let range = match (wanted, part) {
        (None, None) => return Ok((0..len, None)),
        (Some(wanted), None) => wanted.check(len)?,
        (None, Some(number)) => part_range(object, number)?,
        (Some(_), Some(_)) => return Err(s3_error!(InvalidRequest, "Cannot specify both Range header and partNumber")),
    };
    let shown = format!("bytes {}-{}/{len}", range.start, range.end.saturating_sub(1));
    Ok((range, Some(shown)))
}

/// Where a part lies; an object in one piece is its own first part.
fn part_range(object: &Object, number: i32) -> S3Result<Range<u64>> {
    let none = || s3_error!(InvalidRange, "The requested partnumber is not satisfiable");
    let before = usize::try_from(number).ok().and_then(|number| number.checked_sub(1)).ok_or_else(none)?;
    if object.parts.is_empty() && before == 0 {
        return Ok(0..object.content.len());
    }
    let len = object.parts.get(before).ok_or_else(none)?;
    let start: u64 = object.parts.iter().take(before).sum();
    Ok(start..start + len)
}

fn parts_count(object: &Object, part: Option<i32>) -> Option<i32> {
    part.and_then(|_| i32::try_from(object.parts.len()).ok()).filter(|count| *count > 0)
}

/// Fills the fields that HeadObject and GetObject share.
macro_rules! describe {
    ($output:ident, $object:expr, $range:expr, $shown:expr) => {{
        let attributes = &$object.attributes;
        $output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length($range.end - $range.start)),
            content_range: $shown,
            content_type: Some(content_type(attributes)),
            content_encoding: attributes.content_encoding.clone(),
            content_language: attributes.content_language.clone(),
            content_disposition: attributes.content_disposition.clone(),
            cache_control: attributes.cache_control.clone(),
            expires: attributes.expires.clone(),
            e_tag: Some(strong(&$object.etag)),
            last_modified: Some($object.modified.into()),
            metadata: Some(attributes.metadata.clone().into_iter().collect()),
            storage_class: storage_class(attributes),
            ..Default::default()
        }
    }};
}

fn content_type(attributes: &Attributes) -> String {
    attributes.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())
}

/// Amazon names the class of an object only when it is not the standard one.
fn storage_class(attributes: &Attributes) -> Option<StorageClass> {
    attributes.storage_class.clone().filter(|class| class != "STANDARD").map(StorageClass::from)
}

pub(super) fn get(api: &Api, req: S3Request<GetObjectInput>) -> S3Result<GetObjectOutput> {
    let input = &req.input;
    let object = api.store.get(&input.bucket, &input.key)?;
    conditions!(input).check(&object)?;
    let (range, shown) = range(&object, input.range, input.part_number)?;
    let mut output = describe!(GetObjectOutput, object, range, shown);
    output.parts_count = parts_count(&object, input.part_number);
    output.server_side_encryption = api.quirks.encryption();
    output.body = Some(StreamingBlob::new(object.content.slice(range).stream()));
    Ok(output)
}

pub(super) fn head(api: &Api, req: S3Request<HeadObjectInput>) -> S3Result<HeadObjectOutput> {
    let input = &req.input;
    let object = api.store.get(&input.bucket, &input.key)?;
    conditions!(input).check(&object)?;
    let (range, shown) = range(&object, input.range, input.part_number)?;
    let mut output = describe!(HeadObjectOutput, object, range, shown);
    output.parts_count = parts_count(&object, input.part_number);
    output.server_side_encryption = api.quirks.encryption();
    Ok(output)
}

/// Bucket and key a copy reads.
pub(super) fn source(source: &CopySource) -> S3Result<(&str, &str)> {
    match source {
        CopySource::Bucket { bucket, key, version_id: None } => Ok((bucket, key)),
        _ => Err(s3_error!(NotImplemented, "only bucket/key is supported as the source of a copy")),
    }
}

pub(super) async fn copy(api: &Api, mut req: S3Request<CopyObjectInput>) -> S3Result<CopyObjectOutput> {
    let input = &mut req.input;
    let (bucket, key) = source(&input.copy_source)?;
    api.store.check_bucket(&input.bucket)?;
    let from = api.store.get(bucket, key)?;
    copy_conditions(input).check(&from).map_err(|_| s3_error!(PreconditionFailed))?;
    let replace = input.metadata_directive.as_ref().is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
    if !replace && input.storage_class.is_none() && (bucket, key) == (&*input.bucket, &*input.key) {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to \
            itself without changing the object's metadata, storage class, website redirect location or encryption attributes."
        ));
    }
    if from.content.len() > MAX_COPY {
        return Err(s3_error!(InvalidRequest, "The specified copy source is larger than the maximum allowable size."));
    }
    let attributes = copied(&from.attributes, attributes!(input), replace);
    let object = duplicate(api, from, attributes).await?;
    let object = api.store.insert(&input.bucket, &input.key, object, |_| Ok(()))?;
    let result = CopyObjectResult {
        e_tag: Some(strong(&object.etag)),
        last_modified: Some(object.modified.into()),
        ..Default::default()
    };
    Ok(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
}

fn copy_conditions(input: &CopyObjectInput) -> Conditions<'_> {
    Conditions {
        matching: input.copy_source_if_match.as_ref(),
        not_matching: input.copy_source_if_none_match.as_ref(),
        modified_since: input.copy_source_if_modified_since.as_ref(),
        unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
    }
}

/// The storage class never comes from the source.
fn copied(from: &Attributes, sent: Attributes, replace: bool) -> Attributes {
    if replace { sent } else { Attributes { storage_class: sent.storage_class, ..from.clone() } }
}

/// A copy is one object, however its source came to be: its ETag is the MD5 of the whole.
async fn duplicate(api: &Api, from: Arc<Object>, attributes: Attributes) -> S3Result<Object> {
    let content = from.content.clone();
    let md5 = match from.md5 {
        Some(md5) => md5,
        None => tokio::task::spawn_blocking(move || from.content.md5())
            .await
            .map_err(S3Error::internal_error)?
            .map_err(S3Error::internal_error)?,
    };
    Ok(api.store.object(content, md5, attributes))
}

pub(super) fn delete(api: &Api, req: S3Request<DeleteObjectInput>) -> S3Result<DeleteObjectOutput> {
    // Deleting what is not there succeeds.
    api.store.delete(&req.input.bucket, &req.input.key)?;
    Ok(DeleteObjectOutput::default())
}

pub(super) fn delete_many(api: &Api, req: S3Request<DeleteObjectsInput>) -> S3Result<DeleteObjectsOutput> {
    let input = req.input;
    if input.delete.objects.len() > MAX_DELETES {
        return Err(s3_error!(MalformedXML));
    }
    let quiet = input.delete.quiet.unwrap_or(false);
    let denied = req.extensions.get::<DeniedDeletes>();
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for object in input.delete.objects {
        if let Some(rule) = denied.filter(|rule| object.key.contains(&rule.key)) {
            errors.push(failed(object.key, rule));
            continue;
        }
        api.store.delete(&input.bucket, &object.key)?;
        if !quiet {
            deleted.push(DeletedObject { key: Some(object.key), ..Default::default() });
        }
    }
    Ok(DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..Default::default() })
}

fn failed(key: String, rule: &DeniedDeletes) -> s3s::dto::Error {
    s3s::dto::Error {
        key: Some(key),
        code: Some(rule.code.clone()),
        message: Some("denied by the script".to_owned()),
        version_id: None,
    }
}
