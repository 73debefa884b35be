//! Writing an object in parts: one pass gives the MD5 of the whole and of every part, then parts go out side by side and
//! each must still be what the pass saw.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;

use super::S3Store;
use super::client::Call;
use super::meta::{base64, customer_key, etag_md5, other_etag, payer};
use super::put::{blocking, changed, each_piece, read_exact, still_the_same};
use super::sigv4::hex;
use super::xml;
use crate::http::Reading;
use crate::store::{Md5, Put, PutRequest, Source, StoreError, StoreErrorKind};

const MIB: u64 = 1 << 20;

/// Part size by rclone's rule (`docs/compat-rclone.md`, "S3"): the wanted size while it makes at most `max` parts, else
/// the next whole MiB that does.
pub(super) fn part_size(size: u64, wanted: u64, max: u64) -> u64 {
    if size.div_ceil(wanted) <= max { wanted } else { size.div_ceil(max).div_ceil(MIB) * MIB }
}

/// What the first pass saw.
struct Sums {
    whole: Md5,
    /// Empty when the whole was known before and no pass was made.
    parts: Vec<Md5>,
}

/// One part: number from 1, place, length.
#[derive(Clone, Copy)]
struct Part {
    number: u64,
    offset: u64,
    len: u64,
}

impl S3Store {
    pub(super) async fn write_parts(&self, request: &PutRequest<'_>) -> Result<Put, StoreError> {
        let size = request.source.len();
        let shown = request.path.to_string();
        let wanted = self.settings.chunk_size.max(self.quirks.min_part);
        let part = part_size(size, wanted, self.quirks.max_parts);
        let sums = match request.md5 {
            Some(whole) => Sums { whole, parts: Vec::new() },
            None => sums(request.source.clone(), size, part, &shown).await?,
        };
        let key = self.key(request.path)?;
        let id = self.begin(request, &key, sums.whole).await?;
        let result = self.transfer(request, &key, &id, part, &sums).await;
        if result.is_err() && !self.settings.leave_parts_on_error {
            // Best effort: what stays behind is removed by a later clean-up.
            if let Err(error) = self.abort(&key, &id).await {
                tracing::debug!("{error}");
            }
        }
        result.map(|()| Put { bytes: size, md5: Some(sums.whole) })
    }

    async fn begin(&self, request: &PutRequest<'_>, key: &[u8], whole: Md5) -> Result<String, StoreError> {
        let call = Call::new("CreateMultipartUpload", Method::POST, Some(key.to_vec())).query("uploads", "");
        let chksum = (!self.settings.disable_checksum).then_some(whole);
        let answer = self.client.send(self.describe_upload(call, request, chksum)?).await?;
        let id = xml::field(&answer.bytes, "UploadId").ok().flatten().filter(|id| !id.is_empty());
        id.ok_or_else(|| protocol("CreateMultipartUpload", request, "the answer has no UploadId"))
    }

    async fn transfer(
        &self,
        request: &PutRequest<'_>,
        key: &[u8],
        id: &str,
        part: u64,
        sums: &Sums,
    ) -> Result<(), StoreError> {
        let size = request.source.len();
        let parts = (0..size.div_ceil(part)).map(|n| {
            let piece = Part { number: n + 1, offset: n * part, len: part.min(size - n * part) };
            let expect = usize::try_from(n).ok().and_then(|n| sums.parts.get(n)).copied();
            self.send_part(request, key, id, piece, expect)
        });
        let jobs: Vec<_> = parts.collect();
        let done: Vec<(Md5, String)> =
            stream::iter(jobs).buffered(self.settings.upload_concurrency.max(1)).try_collect().await?;
        still_the_same(request.source.clone(), &request.path.to_string()).await?;
        self.complete(request, key, id, &done).await
    }

    async fn send_part(
        &self,
        request: &PutRequest<'_>,
        key: &[u8],
        id: &str,
        part: Part,
        expect: Option<Md5>,
    ) -> Result<(Md5, String), StoreError> {
        let shown = request.path.to_string();
        let call = Call::new("UploadPart", Method::PUT, Some(key.to_vec()))
            .query("partNumber", part.number.to_string())
            .query("uploadId", id);
        let call = self.client.named(customer_key(payer(call, &self.settings)?, &self.settings)?);
        // What the pass saw is what must arrive: the server compares, and so does the ETag.
        let streamed = expect.filter(|_| self.client.may_stream());
        let room = if streamed.is_some() { 2 * Reading::PIECE as u64 } else { part.len };
        let _memory = self.memory.reserve(room.min(part.len)).await;
        let (sum, call) = if let Some(sum) = streamed {
            (sum, call.header("content-md5", base64(&sum))?.content(request.source.clone(), part.offset, part.len))
        } else {
            let (body, sum) = read_exact(request.source.clone(), part.offset, part.len, &shown).await?;
            if expect.is_some_and(|expect| expect != sum) {
                return Err(changed(&shown));
            }
            let mut call = call.header("content-md5", base64(&sum))?.body(body);
            call.content = true;
            (sum, call)
        };
        let answer = self.client.send(call).await?;
        let etag = answer.header("etag").unwrap_or_default().to_owned();
        let checked = etag_md5(&etag).filter(|_| self.quirks.etag_is_md5);
        if checked.is_some_and(|etag| etag != sum) {
            let reason = format!("the ETag of part {} is not the MD5 of what was sent", part.number);
            return Err(other_etag(&answer.headers, "UploadPart", shown, reason));
        }
        Ok((sum, etag))
    }

    async fn complete(
        &self,
        request: &PutRequest<'_>,
        key: &[u8],
        id: &str,
        parts: &[(Md5, String)],
    ) -> Result<(), StoreError> {
        let mut body = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        for (number, (_, etag)) in (1..).zip(parts) {
            let etag = xml::escape(etag);
            let _ = write!(body, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        body.push_str("</CompleteMultipartUpload>");
        let call = Call::new("CompleteMultipartUpload", Method::POST, Some(key.to_vec()));
        let call = call.query("uploadId", id).header("content-type", "application/xml")?.body(body);
        let call = self.with_upload_headers(customer_key(payer(call, &self.settings)?, &self.settings)?);
        let expect = whole_etag(parts);
        let etag = match self.client.send(call).await {
            Ok(answer) => xml::field(&answer.bytes, "ETag").ok().flatten(),
            // A repeated request whose first answer was lost: the object tells whether it is ours.
            Err(error) if error.kind == StoreErrorKind::NotFound && error.attempts > 1 => {
                let etag = self.head(request.path).await?.etag;
                if !etag.as_deref().is_some_and(|e| same_etag(e, &expect)) {
                    return Err(error);
                }
                etag
            }
            Err(error) => return Err(error),
        };
        let Some(etag) = etag else {
            return Err(protocol("CompleteMultipartUpload", request, "the answer has no ETag"));
        };
        let checked = self.quirks.multipart_etag && self.quirks.etag_is_md5;
        if checked && !same_etag(&etag, &expect) {
            let reason = format!("the store's ETag {etag} is not {expect}");
            let kind = StoreErrorKind::Corrupt;
            return Err(StoreError::new(kind, "CompleteMultipartUpload", request.path.to_string(), reason));
        }
        Ok(())
    }

    pub(super) async fn abort(&self, key: &[u8], id: &str) -> Result<(), StoreError> {
        let call = Call::new("AbortMultipartUpload", Method::DELETE, Some(key.to_vec())).query("uploadId", id);
        match self.client.send(payer(call, &self.settings)?).await {
            Err(error) if error.kind != StoreErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn protocol(operation: &'static str, request: &PutRequest<'_>, reason: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Protocol, operation, request.path.to_string(), reason)
}

/// `MD5(part MD5s)-N`.
fn whole_etag(parts: &[(Md5, String)]) -> String {
    let all: Vec<u8> = parts.iter().flat_map(|(sum, _)| *sum).collect();
    format!("{}-{}", hex(&volsync_md5::md5(&all)), parts.len())
}

fn same_etag(etag: &str, expect: &str) -> bool {
    etag.trim().trim_matches('"').eq_ignore_ascii_case(expect)
}

/// The sums of a pass under way.
#[derive(Default)]
struct Summing {
    whole: volsync_md5::Md5,
    current: volsync_md5::Md5,
    /// Length of a part, and what the current one still lacks.
    part: u64,
    left: u64,
    parts: Vec<Md5>,
}

impl Summing {
    fn add(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let (now, later) = piece.split_at(usize::try_from(self.left).unwrap_or(piece.len()).min(piece.len()));
            volsync_md5::update_both(&mut self.whole, &mut self.current, now);
            self.left -= now.len() as u64;
            if self.left == 0 {
                self.parts.push(std::mem::take(&mut self.current).finalize());
                self.left = self.part;
            }
            piece = later;
        }
    }

    fn finish(mut self) -> Sums {
        if self.left < self.part {
            self.parts.push(self.current.finalize());
        }
        Sums { whole: self.whole.finalize(), parts: self.parts }
    }
}

/// One pass over the file.
async fn sums(source: Arc<dyn Source>, size: u64, part: u64, subject: &str) -> Result<Sums, StoreError> {
    let pass = move || {
        let mut sums = Summing { part, left: part, ..Summing::default() };
        let read = each_piece(&*source, |piece| sums.add(piece))?;
        Ok((read == size).then(|| sums.finish()))
    };
    blocking(subject, pass).await?.ok_or_else(|| changed(subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_pieces() {
        let content: Vec<u8> = (0..1000_u16).map(|n| n.to_le_bytes()[0]).collect();
        for part in [1, 7, 64, 250, 999, 1000, 5000] {
            let expect: Vec<Md5> = content.chunks(part).map(volsync_md5::md5).collect();
            for piece in [1, 63, 64, 300, 1000] {
                let part = part as u64;
                let mut sums = Summing { part, left: part, ..Summing::default() };
                content.chunks(piece).for_each(|piece| sums.add(piece));
                let sums = sums.finish();
                assert!(sums.whole == volsync_md5::md5(&content) && sums.parts == expect, "{part} {piece}");
            }
        }
    }

    #[test]
    fn parts_are_as_large_as_rclones() {
        let cases = [
            (40 * MIB, 5 * MIB, 3, 14 * MIB),
            (42 * MIB, 5 * MIB, 3, 14 * MIB),
            (42 * MIB + 1, 5 * MIB, 3, 15 * MIB),
            (15 * MIB, 5 * MIB, 3, 5 * MIB),
            (200 * MIB, 5 * MIB, 10_000, 5 * MIB),
            (1, 5 * MIB, 10_000, 5 * MIB),
        ];
        for (size, wanted, max, expect) in cases {
            assert_eq!(part_size(size, wanted, max), expect, "{size}");
            assert!(size.div_ceil(part_size(size, wanted, max)) <= max);
        }
    }
}
