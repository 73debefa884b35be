//! Reading, describing, touching and removing objects.

use std::fmt::Write as _;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Method;
use http::header::HeaderMap;
use volsync_common::path::RelPath;
use volsync_common::time::Timestamp;

use super::S3Store;
use super::client::Call;
use super::content_type;
use super::keys::percent_path;
use super::limiter::Permit;
use super::meta::{self, base64, customer_key, describe, payer};
use super::retry::Failure;
use super::xml;
use crate::http::BodyReader;
use crate::store::{Body, BoxFuture, GetRequest, Got, ObjectMeta, StoreError, StoreErrorKind};

impl S3Store {
    pub(super) async fn head(&self, path: &[u8]) -> Result<ObjectMeta, StoreError> {
        self.look_at(path).await.map(|(meta, _)| meta)
    }

    async fn look_at(&self, path: &[u8]) -> Result<(ObjectMeta, HeaderMap), StoreError> {
        let call = Call::new("HeadObject", Method::HEAD, Some(self.key(path)?));
        let answer = self.client.send(customer_key(payer(call, &self.settings)?, &self.settings)?).await?;
        let Some(size) = meta::length(&answer.headers) else {
            let shown = volsync_common::path::Shown(path).to_string();
            return Err(StoreError::new(StoreErrorKind::Protocol, "HeadObject", shown, "the answer has no length"));
        };
        Ok((meta::read(&answer.headers, size, &self.quirks), answer.headers))
    }

    /// The length of one part. A store that knows nothing of parts answers for the whole object, or refuses.
    pub(super) async fn head_part(&self, path: &[u8], number: u32) -> Result<Option<u64>, StoreError> {
        let call = Call::new("HeadObject", Method::HEAD, Some(self.key(path)?)).query("partNumber", number.to_string());
        let answer = self.client.send(customer_key(payer(call, &self.settings)?, &self.settings)?).await;
        match answer {
            Ok(answer) => Ok(meta::length(&answer.headers)),
            Err(error) if error.kind.is_transient() || error.kind == StoreErrorKind::NotFound => Err(error),
            Err(_) => Ok(None),
        }
    }

    pub(super) async fn read(&self, request: GetRequest<'_>) -> Result<Got, StoreError> {
        if request.range.as_ref().is_some_and(std::ops::Range::is_empty) {
            let meta = self.head(request.path).await?;
            return Ok(Got { meta, body: Box::new(Streamed::default()) });
        }
        let range = request.range.as_ref().map(|r| format!("bytes={}-{}", r.start, r.end - 1));
        let call = Call::new("GetObject", Method::GET, Some(self.key(request.path)?))
            .header("range", range.unwrap_or_default())?
            .header("if-match", request.if_match.unwrap_or_default())?;
        let mut call = self.client.named(customer_key(payer(call, &self.settings)?, &self.settings)?);
        self.settings.download_headers.apply(&mut call.headers);
        call.collect = false;
        let subject = call.subject();
        let wrong = |reason: &str| StoreError::new(StoreErrorKind::Protocol, "GetObject", subject.clone(), reason);
        let answer = self.client.send(call).await?;
        let here = meta::length(&answer.headers).ok_or_else(|| wrong("the answer has no length"))?;
        let (size, expect) = match &request.range {
            None => (here, here),
            Some(r) => {
                let total = meta::total_length(&answer.headers);
                let total = total.ok_or_else(|| wrong("the answer to a range request is not that range"))?;
                (total, r.end.min(total).saturating_sub(r.start))
            }
        };
        if here != expect {
            return Err(wrong("the answer has another length than was asked for"));
        }
        let meta = meta::read(&answer.headers, size, &self.quirks);
        Ok(Got { meta, body: Box::new(Streamed { left: here, first: answer.bytes, stream: answer.stream, subject }) })
    }

    /// Copies the object onto itself with the new time and all other metadata as it was.
    pub(super) async fn touch(&self, path: &RelPath, mtime: Timestamp) -> Result<(), StoreError> {
        let (old, headers) = self.look_at(path).await?;
        let too_large = !self.quirks.copy_whole && old.size >= self.settings.copy_cutoff;
        if !self.quirks.copy || too_large || meta::is_archived(&headers) {
            let reason = "this store cannot copy such an object onto itself";
            return Err(StoreError::new(StoreErrorKind::Unsupported, "CopyObject", path.to_string(), reason));
        }
        let key = self.key(path)?;
        let from = format!("{}/{}", self.settings.bucket, percent_path(&key));
        let call = self.client.named(Call::new("CopyObject", Method::PUT, Some(key)));
        let stored = old.metadata.iter().any(|(name, _)| name == "md5chksum");
        let chksum = old.md5.filter(|_| stored || (!self.quirks.etag_is_md5 && !self.settings.disable_checksum));
        let call = meta::source_key(describe(call, &self.settings, mtime, chksum)?)
            .header("x-amz-copy-source", from)?
            .header("x-amz-copy-source-if-match", old.etag.unwrap_or_default())?
            .header("x-amz-metadata-directive", "REPLACE")?;
        let call = old.metadata.iter().fold(call, |call, (name, value)| meta::user_metadata(call, name, value));
        self.client.send(meta::keep_headers(call, &headers)).await.map(|_| ())
    }

    pub(super) async fn remove(&self, paths: &[RelPath]) -> Vec<Result<(), StoreError>> {
        if self.quirks.batch_delete && paths.len() > 1 {
            match self.remove_batch(paths).await {
                Ok(results) => return results,
                Err(error) if error.kind.is_transient() => tracing::debug!("{error}; deleting one by one"),
                Err(error) => tracing::debug!("{error}; deleting one by one"),
            }
        }
        let jobs: Vec<_> = paths.iter().map(|path| self.remove_one(path)).collect();
        stream::iter(jobs).buffered(16).collect().await
    }

    pub(super) async fn remove_one(&self, path: &[u8]) -> Result<(), StoreError> {
        let call = self.client.named(Call::new("DeleteObject", Method::DELETE, Some(self.key(path)?)));
        match self.client.send(payer(call, &self.settings)?).await {
            Err(error) if error.kind != StoreErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// One DeleteObjects; an error when the request as a whole was refused. Objects that the batch failed to remove are
    /// tried once more by themselves.
    async fn remove_batch(&self, paths: &[RelPath]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let mut body = String::from("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>");
        let mut names = Vec::with_capacity(paths.len());
        for path in paths {
            // Control characters have no form in XML 1.0, and not every server reads references to them.
            let key = self.key(path).ok().and_then(|k| String::from_utf8(k).ok()).filter(|k| xml::can_hold(k));
            if let Some(key) = &key {
                let _ = write!(body, "<Object><Key>{}</Key></Object>", xml::escape(key));
            }
            names.push(key);
        }
        body.push_str("</Delete>");
        let call = Call::new("DeleteObjects", Method::POST, None)
            .query("delete", "")
            .header("content-md5", base64(&volsync_md5::md5(body.as_bytes())))?
            .header("content-type", "application/xml")?
            .body(body);
        let answer = self.client.send(payer(call, &self.settings)?).await?;
        let bad = |e: xml::BadXml| StoreError::new(StoreErrorKind::Protocol, "DeleteObjects", "", e.to_string());
        let failed = xml::delete_errors(&answer.bytes).map_err(bad)?;
        let jobs = paths.iter().zip(names).map(|(path, name)| {
            let gone = name.is_some_and(|name| !failed.iter().any(|e| e.key == name || e.key.is_empty()));
            async move { if gone { Ok(()) } else { self.remove_one(path).await } }
        });
        let jobs: Vec<_> = jobs.collect();
        Ok(stream::iter(jobs).buffered(16).collect().await)
    }

    pub(super) async fn put_marker(&self, path: &RelPath) -> Result<(), StoreError> {
        let key = [self.key(path)?, b"/".to_vec()].concat();
        self.make_missing_bucket().await?;
        let call = self.client.named(Call::new("PutObject", Method::PUT, Some(key)));
        let call = call.header("content-type", content_type::of(path))?;
        let call = describe(call, &self.settings, Timestamp::now(), None)?;
        self.client.send(call.header("content-md5", base64(&volsync_md5::md5(b"")))?).await.map(|_| ())
    }

    pub(super) async fn remove_marker(&self, path: &RelPath) -> Result<(), StoreError> {
        self.remove_one(&[path.as_bytes(), b"/"].concat()).await
    }

    /// Aborts uploads below the root that began more than a day ago.
    pub(super) async fn sweep(&self) -> Result<u64, StoreError> {
        const DAY: i64 = 86_400;
        let mut marker: Option<(String, String)> = None;
        let mut aborted = 0;
        loop {
            let mut call = Call::new("ListMultipartUploads", Method::GET, None).query("uploads", "");
            call = call.query("prefix", self.keys.prefix());
            if let Some((key, id)) = &marker {
                call = call.query("key-marker", key).query("upload-id-marker", id);
            }
            let answer = self.client.send(payer(call, &self.settings)?).await?;
            let bad =
                |e: xml::BadXml| StoreError::new(StoreErrorKind::Protocol, "ListMultipartUploads", "", e.to_string());
            let (uploads, next) = xml::uploads(&answer.bytes).map_err(bad)?;
            // By the server's clock, which dates them: ours may be ahead.
            let old = |t: Option<Timestamp>| t.is_some_and(|t| t.secs < self.client.now() - DAY);
            let ours = |key: &str| key.as_bytes().starts_with(self.keys.prefix());
            for upload in uploads.iter().filter(|u| old(u.initiated) && ours(&u.key)) {
                self.abort(upload.key.as_bytes(), &upload.id).await?;
                aborted += 1;
            }
            if next.is_none() || next == marker {
                return Ok(aborted);
            }
            marker = next;
        }
    }
}

/// The rest of an answer.
#[derive(Default)]
struct Streamed {
    left: u64,
    /// What was read of it already.
    first: Bytes,
    stream: Option<(BodyReader, Permit)>,
    subject: String,
}

impl Body for Streamed {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            if !self.first.is_empty() {
                return Ok(Some(std::mem::take(&mut self.first)));
            }
            let Some((reader, _)) = &mut self.stream else { return Ok(None) };
            let chunk = reader.next().await;
            let chunk = chunk.map_err(|e| Failure::from(e).into_error("GetObject", self.subject.clone(), 1))?;
            self.left = self.left.saturating_sub(chunk.as_ref().map_or(0, |c| c.len() as u64));
            if chunk.is_none() {
                self.stream = None;
                if self.left > 0 {
                    let reason = format!("the content ended {} bytes early", self.left);
                    return Err(StoreError::new(StoreErrorKind::Interrupted, "GetObject", &self.subject, reason));
                }
            }
            Ok(chunk)
        })
    }
}
