//! Answers that do not come from the S3 service.

use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use s3s::Body;

/// The largest body a fault reads into memory to change it.
const MAX_COLLECTED: usize = 64 * 1024 * 1024;

/// An error in S3's words.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
    /// More elements of the error, already XML.
    pub(crate) extra: String,
    pub(crate) retry_after: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &str) -> Self {
        Self { status, code: code.to_owned(), extra: String::new(), retry_after: None }
    }

    pub(crate) fn skewed() -> Self {
        Self::new(403, "RequestTimeTooSkewed")
    }

    pub(crate) fn wrong_region(signed: &str, region: &str) -> Self {
        tracing::debug!(signed, region, "a request is signed for another region");
        let extra = format!("<Region>{region}</Region>");
        Self { extra, ..Self::new(400, "AuthorizationHeaderMalformed") }
    }
}

/// The XML of an error.
pub(crate) fn error_xml(code: &str, extra: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>Answered by the embedded server's script or checks.</Message>{extra}\
         <RequestId>0000000000000000</RequestId></Error>"
    )
}

pub(crate) fn error(refusal: &Refusal) -> Response<Body> {
    let mut response = xml(refusal.status, error_xml(&refusal.code, &refusal.extra));
    if let Some(value) = refusal.retry_after.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
        response.headers_mut().insert(http::header::RETRY_AFTER, value);
    }
    response
}

/// An XML answer; a status that HTTP does not know becomes 500.
pub(crate) fn xml(status: u16, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Reads a body to its end, so that the client hears the answer instead of a broken pipe.
pub(crate) async fn drain(mut body: Body) {
    while let Some(frame) = body.frame().await {
        if let Err(error) = frame {
            tracing::debug!(%error, "a request body ended early");
            return;
        }
    }
}

/// A whole body in memory.
pub(crate) async fn collect(body: Body) -> Result<Vec<u8>, s3s::StdError> {
    Ok(Limited::new(body, MAX_COLLECTED).collect().await?.to_bytes().to_vec())
}
