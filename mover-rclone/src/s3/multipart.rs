//! Writing an object in parts: one pass gives the MD5 of the whole and of each part, then parts go out side by side and each
//! must still be what the pass saw.
//!
//! The server wants the MD5 of a part before its first byte, and says whether what came is that. Where the whole's MD5 was
//! known before, there is no pass: the parts' own are taken of several together, in SIMD lanes, while the parts before them
//! are on their way.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use volsync_md5::Parts;

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

/// Parts that are hashed together.
const BATCH: usize = 16;

/// Bytes of each of them that are read at a time: those of a batch stay in a second-level cache.
const STRIDE: usize = 64 << 10;

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
    /// Its MD5, where the first pass took it.
    seen: Option<Md5>,
}

/// The parts of an object of `size` bytes, all but the last of `len` bytes.
fn parts(size: u64, len: u64, seen: &[Md5]) -> Vec<Part> {
    let part = |n: u64| {
        let seen = usize::try_from(n).ok().and_then(|n| seen.get(n)).copied();
        Part { number: n + 1, offset: n * len, len: len.min(size - n * len), seen }
    };
    (0..size.div_ceil(len)).map(part).collect()
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
        let parts = parts(request.source.len(), part, &sums.parts);
        let batches = parts.chunks(BATCH).map(|batch| async move {
            let sums = self.sums_ahead(request, batch).await?;
            let sends = batch.iter().copied().zip(sums);
            let sends: Vec<_> = sends.map(|(part, sum)| Ok(self.send_part(request, key, id, part, sum))).collect();
            Ok(stream::iter(sends))
        });
        let batches: Vec<_> = batches.collect();
        let sends = stream::iter(batches).buffered(1).try_flatten();
        let done: Vec<(Md5, String)> =
            sends.try_buffered(self.settings.upload_concurrency.max(1)).try_collect().await?;
        still_the_same(request.source.clone(), &request.path.to_string()).await?;
        self.complete(request, key, id, &done).await
    }

    /// The MD5 of each of these parts: from the first pass, else if they are read again anyway while they are sent.
    async fn sums_ahead(&self, request: &PutRequest<'_>, parts: &[Part]) -> Result<Vec<Option<Md5>>, StoreError> {
        let seen: Vec<_> = parts.iter().map(|part| part.seen).collect();
        if seen.iter().all(Option::is_some) || !(request.source.is_cached() && self.client.may_stream()) {
            return Ok(seen);
        }
        let _memory = self.memory.reserve((BATCH * STRIDE) as u64).await;
        let subject = request.path.to_string();
        let (source, parts) = (request.source.clone(), parts.to_vec());
        let sums = blocking(&subject, move || side_by_side(&*source, &parts)).await?;
        Ok(sums.ok_or_else(|| changed(&subject))?.into_iter().map(Some).collect())
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
        // What was hashed is what must arrive: the server compares, and so does the ETag.
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

/// The MD5 of each part. `None`: the content ends early.
fn side_by_side(source: &dyn Source, parts: &[Part]) -> io::Result<Option<Vec<Md5>>> {
    let mut sums: Vec<_> = parts.iter().map(|_| volsync_md5::Md5::new()).collect();
    let mut buffers = vec![vec![0; STRIDE]; parts.len()];
    let longest = parts.iter().map(|part| part.len).max().unwrap_or(0);
    for at in (0..longest).step_by(STRIDE) {
        for (part, buffer) in parts.iter().zip(&mut buffers) {
            buffer.resize(usize::try_from(part.len.saturating_sub(at)).unwrap_or(STRIDE).min(STRIDE), 0);
            if source.read_full(part.offset + at, buffer)? < buffer.len() {
                return Ok(None);
            }
        }
        let work = sums.iter_mut().zip(&buffers).map(|(sum, buffer)| (sum, std::slice::from_ref(buffer)));
        volsync_md5::update_many(&mut work.collect::<Vec<_>>());
    }
    Ok(Some(sums.into_iter().map(volsync_md5::Md5::finalize).collect()))
}

/// One pass over the file.
async fn sums(source: Arc<dyn Source>, size: u64, part: u64, subject: &str) -> Result<Sums, StoreError> {
    let pass = move || {
        let mut sums = Parts::new(part);
        let read = each_piece(&*source, |piece| sums.update(piece))?;
        Ok((read == size).then(|| sums.finalize()))
    };
    let (whole, parts) = blocking(subject, pass).await?.ok_or_else(|| changed(subject))?;
    Ok(Sums { whole, parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(len: u32) -> Vec<u8> {
        (0..len).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
    }

    #[test]
    fn the_sums_of_parts_need_no_pass_over_the_whole() {
        let len = 2 * STRIDE + 5;
        let content = content(u32::try_from(3 * len + 9).unwrap());
        let expect: Vec<Md5> = content.chunks(len).map(volsync_md5::md5).collect();
        let sums = |size: usize| side_by_side(&Memory(content.clone()), &parts(size as u64, len as u64, &[])).unwrap();
        assert_eq!(sums(content.len()), Some(expect));
        assert_eq!(sums(content.len() + 1), None, "it shrank");
    }

    struct Memory(Vec<u8>);

    impl Source for Memory {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            let rest = &self.0[usize::try_from(offset).unwrap().min(self.0.len())..];
            // Short reads, as file systems in user space have them.
            let count = rest.len().min(buf.len()).min(1000);
            buf[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }

        fn unchanged(&self) -> io::Result<bool> {
            Ok(true)
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
