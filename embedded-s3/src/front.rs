//! What stands between a connection and the S3 service: recording, clock and region, latency, faults.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use s3s::Body;
use s3s::service::S3Service;

use crate::answers::{self, Refusal};
use crate::clock::{self, Clock};
use crate::fault::Faults;
use crate::record::{Entry, Recorder};
use crate::shape::{Counted, Pace, Shaped, boxed};
use crate::wire::Ending;
use crate::{behind, breakage, classify};

/// The connection ends here, without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut: {0}")]
pub(crate) struct Cut(pub(crate) String);

pub(crate) type Answer = Result<Response<Body>, Cut>;

/// Everything the connections of a server share.
pub(crate) struct Front {
    pub(crate) service: S3Service,
    /// The server that answers instead of the service.
    pub(crate) behind: Option<SocketAddr>,
    /// DeleteObjects is not implemented, whoever answers.
    pub(crate) no_delete_objects: bool,
    pub(crate) recorder: Recorder,
    pub(crate) faults: Faults,
    pub(crate) latency: Duration,
    pub(crate) bandwidth: Option<u64>,
    pub(crate) clock: Clock,
    /// The only region signatures may name; none: any.
    pub(crate) region: Option<String>,
}

impl Front {
    /// Answers one request, or says that the connection ends.
    pub(crate) async fn answer(&self, request: Request<Incoming>, ending: &Ending) -> Answer {
        let (head, body) = request.into_parts();
        let target = classify::target(&head.method, &head.uri, &head.headers);
        let verdict = self.faults.judge(&target, head.uri.query().unwrap_or_default());
        let entry = self.recorder.begin(&head, target);
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let body = self.incoming(body, &entry);
        let request = Request::from_parts(head, body);
        let answer = match verdict {
            None => self.serve(request).await,
            Some(verdict) => {
                entry.faulted(verdict.action.name());
                breakage::suffer(self, request, verdict, ending).await
            }
        };
        answer.map(|response| self.outgoing(response, &entry))
    }

    /// The answer without any fault.
    pub(crate) async fn serve(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        if let Some(refusal) = self.refusal(&head) {
            answers::drain(body).await;
            return Ok(answers::error(&refusal));
        }
        if self.no_delete_objects
            && classify::target(&head.method, &head.uri, &head.headers).operation == "DeleteObjects"
        {
            answers::drain(body).await;
            return Ok(answers::error(&Refusal::new(501, "NotImplemented")));
        }
        let request = Request::from_parts(head, body);
        match self.behind {
            Some(address) => behind::pass_on(address, request).await,
            None => self.service.call(request).await.map_err(|error| Cut(format!("{error:?}"))),
        }
    }

    fn refusal(&self, head: &Parts) -> Option<Refusal> {
        if clock::is_skewed(&head.headers, self.clock.now()) {
            return Some(Refusal::skewed());
        }
        let signed = signed_region(&head.headers)?;
        let region = self.region.as_deref().filter(|region| *region != signed)?;
        Some(Refusal::wrong_region(signed, region))
    }

    fn incoming(&self, body: Incoming, entry: &Arc<Entry>) -> Body {
        if body.is_end_stream() {
            return Body::empty();
        }
        let counted = Body::http_body(Counted { inner: body, entry: Arc::clone(entry) });
        match self.bandwidth {
            None => counted,
            Some(rate) => boxed(Shaped::new(counted).pace(Pace::rate(rate))),
        }
    }

    fn outgoing(&self, mut response: Response<Body>, entry: &Entry) -> Response<Body> {
        entry.answered(response.status().as_u16());
        if self.clock.offset_s() != 0
            && !response.headers().contains_key(http::header::DATE)
            && let Some(date) = clock::http_date(self.clock.now())
        {
            response.headers_mut().insert(http::header::DATE, date);
        }
        match self.bandwidth {
            None => response,
            Some(rate) => response.map(|body| boxed(Shaped::new(body).pace(Pace::rate(rate)))),
        }
    }
}

/// The region in `Credential=key/date/region/service/aws4_request`.
fn signed_region(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    text.split_once("Credential=")?.1.split('/').nth(2)
}
