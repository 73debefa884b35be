//! Receiving a body and checking it against what the client said about it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt as _;
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, s3_error};

use crate::store::{Content, Store};
use volsync_md5::Digest;

/// Reads `body` into the store's back end and compares its MD5 with `content_md5`.
pub(super) async fn receive(
    store: &Store,
    body: Option<StreamingBlob>,
    announced: Option<i64>,
    content_md5: Option<&str>,
) -> S3Result<(Content, Digest)> {
    let wanted = content_md5.map(parse_md5).transpose()?;
    let expected = announced.and_then(|len| u64::try_from(len).ok());
    let mut writer = store.backend().writer(expected).map_err(S3Error::internal_error)?;
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            writer.write(&chunk.map_err(|error| read_error(&error))?).map_err(S3Error::internal_error)?;
        }
    }
    let (content, md5) = writer.finish();
    let md5 = match md5 {
        Some(md5) => md5,
        None => content.md5_in_lanes(store.hasher()).await.map_err(S3Error::internal_error)?,
    };
    if wanted.is_some_and(|wanted| wanted != md5) {
        return Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."));
    }
    if expected.is_some_and(|expected| expected != content.len()) {
        return Err(s3_error!(IncompleteBody));
    }
    Ok((content, md5))
}

fn parse_md5(text: &str) -> S3Result<Digest> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| s3_error!(error, InvalidDigest))?;
    bytes.try_into().map_err(|_| s3_error!(InvalidDigest))
}

/// `s3s` keeps the type of its body errors to itself; their text is all there is to tell them apart.
fn read_error(error: &StdError) -> S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        return S3Error::with_message(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()), text).with_status_400();
    }
    if text.contains("SignatureMismatch") {
        return S3Error::with_message(S3ErrorCode::SignatureDoesNotMatch, text);
    }
    S3Error::with_message(S3ErrorCode::IncompleteBody, text)
}

trait BadRequest {
    fn with_status_400(self) -> Self;
}

impl BadRequest for S3Error {
    fn with_status_400(mut self) -> Self {
        self.set_status_code(http::StatusCode::BAD_REQUEST);
        self
    }
}
