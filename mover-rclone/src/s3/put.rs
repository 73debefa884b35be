//! Writing an object with one request, and creating the bucket when it is missing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Method;
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use volsync_common::ahead::read_ahead;

use super::S3Store;
use super::client::Call;
use super::content_type;
use super::meta::{base64, describe, etag_md5, file_metadata, other_etag};
use crate::http::Reading;
use crate::store::{Md5, Put, PutRequest, Source, StoreError, StoreErrorKind};

/// Content up to this size is read into memory and sent from there: one pass instead of two.
pub(super) const BUFFERED: u64 = 1 << 20;

impl S3Store {
    pub(super) async fn write(&self, request: PutRequest<'_>) -> Result<Put, StoreError> {
        self.make_missing_bucket().await?;
        match self.write_once(&request).await {
            Err(error) if error.kind == StoreErrorKind::NoSuchBucket && !self.settings.no_check_bucket => {
                self.make_bucket().await?;
                self.write_once(&request).await
            }
            other => other,
        }
    }

    /// The headers of an upload, in one request or as the beginning of many.
    pub(super) fn describe_upload(
        &self,
        call: Call,
        request: &PutRequest<'_>,
        md5chksum: Option<Md5>,
    ) -> Result<Call, StoreError> {
        let call = call.header("content-type", content_type::of(request.path))?;
        let call = describe(call, &self.settings, request.mtime, md5chksum)?;
        Ok(self.with_upload_headers(file_metadata(call, &self.settings, request.metadata)))
    }

    /// Adds `--header-upload`. Conditions go with the request that makes the object appear.
    pub(super) fn with_upload_headers(&self, mut call: Call) -> Call {
        let operation = call.operation;
        self.settings.upload_headers.apply_those(&mut call.headers, |name| match operation {
            "PutObject" => true,
            "CompleteMultipartUpload" => is_condition(name),
            _ => !is_condition(name),
        });
        call
    }

    async fn write_once(&self, request: &PutRequest<'_>) -> Result<Put, StoreError> {
        let size = request.source.len();
        let multipart = self.quirks.multipart && size > 0;
        let large = self.settings.upload_cutoff.is_none_or(|cutoff| size >= cutoff);
        let streamed = size > BUFFERED && self.client.may_stream();
        // More than half of the memory in one body would stop all other uploads: parts need less.
        if multipart && (large || (!streamed && size > self.memory.total() / 2)) {
            self.write_parts(request).await
        } else if streamed {
            self.write_streamed(request).await
        } else {
            self.write_whole(request).await
        }
    }

    /// Reads the content twice: for its MD5 (unless the caller knows it), and while it is sent. The second pass needs no
    /// hash: server and ETag say whether what arrived is what the first one saw.
    async fn write_streamed(&self, request: &PutRequest<'_>) -> Result<Put, StoreError> {
        let size = request.source.len();
        let shown = request.path.to_string();
        let sum = match request.md5 {
            Some(sum) => sum,
            None => hash(request.source.clone(), &shown).await?,
        };
        let _memory = self.memory.reserve(2 * Reading::PIECE as u64).await;
        let call = self.put_call(request, sum)?.content(request.source.clone(), 0, size);
        self.confirm(request, sum, call).await
    }

    fn put_call(&self, request: &PutRequest<'_>, sum: Md5) -> Result<Call, StoreError> {
        let call = self.client.named(Call::new("PutObject", Method::PUT, Some(self.key(request.path)?)));
        let chksum = (!self.quirks.etag_is_md5 && !self.settings.disable_checksum).then_some(sum);
        self.describe_upload(call, request, chksum)?.header("content-md5", base64(&sum))
    }

    /// Sends a PUT and compares the ETag that comes back.
    async fn confirm(&self, request: &PutRequest<'_>, sum: Md5, call: Call) -> Result<Put, StoreError> {
        let answer = self.client.send(call).await?;
        let etag = answer.header("etag").and_then(etag_md5).filter(|_| self.quirks.etag_is_md5);
        if etag.is_some_and(|etag| etag != sum) {
            let reason = "the store's ETag is not the MD5 of what was sent".to_owned();
            return Err(other_etag(&answer.headers, "PutObject", request.path.to_string(), reason));
        }
        Ok(Put { bytes: request.source.len(), md5: Some(sum) })
    }

    async fn write_whole(&self, request: &PutRequest<'_>) -> Result<Put, StoreError> {
        let size = request.source.len();
        let shown = request.path.to_string();
        let _memory = self.memory.reserve(size).await;
        let (body, sum) = content(request, &shown).await?;
        let mut call = self.put_call(request, sum)?.body(body);
        call.content = true;
        self.confirm(request, sum, call).await
    }

    /// Creates the bucket that a listing did not find, before bodies are sent in vain.
    pub(super) async fn make_missing_bucket(&self) -> Result<(), StoreError> {
        if self.missing.load(Ordering::Relaxed) && !self.settings.no_check_bucket {
            self.make_bucket().await?;
        }
        Ok(())
    }

    /// Creates the bucket, once however many uploads find it missing.
    async fn make_bucket(&self) -> Result<(), StoreError> {
        self.bucket_made.get_or_try_init(|| self.create_bucket()).await.copied()
    }

    async fn create_bucket(&self) -> Result<(), StoreError> {
        let settings = &self.settings;
        let acl = if settings.bucket_acl.is_empty() { &settings.acl } else { &settings.bucket_acl };
        let mut call = Call::new("CreateBucket", Method::PUT, None).header("x-amz-acl", acl)?;
        if !settings.location_constraint.is_empty() {
            let place = super::xml::escape(&settings.location_constraint);
            call = call.header("content-type", "application/xml")?.body(format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{place}\
                 </LocationConstraint></CreateBucketConfiguration>"
            ));
        }
        match self.client.send(call).await {
            Ok(_) => tracing::info!("Bucket \"{}\" created with ACL \"{acl}\"", settings.bucket),
            Err(e) if e.reason.starts_with("BucketAlreadyOwnedByYou") => {}
            Err(e) if self.quirks.lenient_exists && is_taken(&e) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

fn is_condition(name: &HeaderName) -> bool {
    *name == IF_MATCH || *name == IF_NONE_MATCH
}

fn is_taken(error: &StoreError) -> bool {
    ["BucketAlreadyExists", "BucketNameUnavailable"].iter().any(|code| error.reason.starts_with(code))
}

pub(super) fn changed(subject: &str) -> StoreError {
    let reason = "the file changed while it was read";
    StoreError::new(StoreErrorKind::SourceChanged, "PutObject", subject, reason)
}

pub(super) fn unreadable(subject: &str, error: std::io::Error) -> StoreError {
    let base = StoreError::new(StoreErrorKind::SourceRead, "PutObject", subject, format!("reading the file: {error}"));
    StoreError { source: Some(Box::new(error)), ..base }
}

/// The whole content and its MD5, of one and the same state of the source.
async fn content(request: &PutRequest<'_>, subject: &str) -> Result<(Bytes, Md5), StoreError> {
    if let Some(body) = request.source.in_memory() {
        let sum = request.md5.unwrap_or_else(|| volsync_md5::md5(&body));
        return Ok((body, sum));
    }
    let source = request.source.clone();
    let size = usize::try_from(source.len()).map_err(|e| unreadable(subject, std::io::Error::other(e)))?;
    let read = move || {
        let mut buf = vec![0; size];
        let same = source.read_full(0, &mut buf)? == size && source.unchanged()?;
        let sum = volsync_md5::md5(&buf);
        Ok(same.then(|| (Bytes::from(buf), sum)))
    };
    let read = blocking(subject, read).await?;
    read.filter(|(_, sum)| request.md5.is_none_or(|known| known == *sum)).ok_or_else(|| changed(subject))
}

/// Runs file work on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    subject: &str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other);
    done.and_then(|result| result).map_err(|e| unreadable(subject, e))
}

/// One pass for the MD5.
async fn hash(source: Arc<dyn Source>, subject: &str) -> Result<Md5, StoreError> {
    let pass = move || {
        let mut sum = volsync_md5::Md5::new();
        let read = each_piece(&*source, |piece| sum.update(piece))?;
        Ok((read == source.len()).then(|| sum.finalize()))
    };
    blocking(subject, pass).await?.ok_or_else(|| changed(subject))
}

/// Hands over the content from its start to the length it had, and says how much of that there still was.
pub(super) fn each_piece(source: &dyn Source, work: impl FnMut(&[u8])) -> std::io::Result<u64> {
    let size = source.len();
    let mut at = 0;
    let fill = |buffer: &mut [u8]| {
        let want = usize::try_from(size - at).unwrap_or(buffer.len()).min(buffer.len());
        let got = source.read_full(at, buffer.get_mut(..want).unwrap_or_default())?;
        at += got as u64;
        Ok(got)
    };
    read_ahead(size, 256 << 10, fill, work)
}

/// Exactly the bytes of a range with their MD5; fewer mean that the file shrank.
pub(super) async fn read_exact(
    source: Arc<dyn Source>,
    offset: u64,
    len: u64,
    subject: &str,
) -> Result<(Bytes, Md5), StoreError> {
    let size = usize::try_from(len).map_err(|e| unreadable(subject, std::io::Error::other(e)))?;
    let read = move || {
        let mut buf = vec![0; size];
        let whole = source.read_full(offset, &mut buf)? == size;
        let sum = volsync_md5::md5(&buf);
        Ok(whole.then(|| (Bytes::from(buf), sum)))
    };
    blocking(subject, read).await?.ok_or_else(|| changed(subject))
}

pub(super) async fn still_the_same(source: Arc<dyn Source>, subject: &str) -> Result<(), StoreError> {
    if blocking(subject, move || source.unchanged()).await? { Ok(()) } else { Err(changed(subject)) }
}
