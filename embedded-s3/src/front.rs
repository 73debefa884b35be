//! What stands between a connection and the S3 service: recording, clock and region checks, latency, faults.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use s3s::Body;
use s3s::service::S3Service;

use crate::classify;
use crate::record::{Entry, Recorder};

/// The connection ends here, without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut: {0}")]
pub(crate) struct Cut(String);

/// Everything a connection shares with its server.
pub(crate) struct Front {
    pub(crate) service: S3Service,
    pub(crate) recorder: Recorder,
    pub(crate) latency: Duration,
}

impl Front {
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let (head, body) = request.into_parts();
        let entry = self.recorder.begin(&head, classify::target(&head.method, &head.uri, &head.headers));
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let body = if body.is_end_stream() { Body::empty() } else { counted(body, &entry) };
        let response =
            self.service.call(Request::from_parts(head, body)).await.map_err(|error| Cut(format!("{error:?}")))?;
        entry.answered(response.status().as_u16());
        Ok(response)
    }
}

fn counted(inner: Incoming, entry: &Arc<Entry>) -> Body {
    Body::http_body(Counted { inner, entry: Arc::clone(entry) })
}

/// A request body that tells its record how much has arrived.
struct Counted {
    inner: Incoming,
    entry: Arc<Entry>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.entry.received(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
