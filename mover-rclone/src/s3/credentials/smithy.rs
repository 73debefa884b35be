//! Our HTTP client as the one that the AWS SDK's providers speak through.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use crate::http::{Client, HttpError, HttpErrorKind, Payload};

/// No token or metadata service answers with more.
const LONGEST_ANSWER: usize = 1 << 20;

/// An adapter; each connector obeys the time limits that it was made with.
#[derive(Clone, Debug)]
pub(super) struct OurClient {
    client: Client,
    limit: Option<Duration>,
}

impl OurClient {
    pub(super) fn new(client: Client) -> Self {
        Self { client, limit: None }
    }
}

impl HttpClient for OurClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let parts = [settings.connect_timeout(), settings.read_timeout()];
        let limit = parts.into_iter().flatten().reduce(|sum, part| sum + part);
        SharedHttpConnector::new(Self { client: self.client.clone(), limit })
    }
}

impl HttpConnector for OurClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { client, limit } = self.clone();
        HttpConnectorFuture::new(async move {
            let Some(limit) = limit else { return exchange(&client, request).await };
            let answer = tokio::time::timeout(limit, exchange(&client, request)).await;
            answer.unwrap_or_else(|_| Err(ConnectorError::timeout(format!("no answer within {limit:?}").into())))
        })
    }
}

async fn exchange(client: &Client, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
    let (parts, body) = request.into_parts();
    let body = body.bytes().map(Bytes::copy_from_slice);
    let body = body.ok_or_else(|| ConnectorError::user("streams are not sent to credential services".into()))?;
    let response = client.send(http::Request::from_parts(parts, Payload::Bytes(body))).await.map_err(failed)?;
    let (parts, body) = response.into_parts();
    let body = body.collect(LONGEST_ANSWER).await.map_err(failed)?;
    let response = http::Response::from_parts(parts, SdkBody::from(body));
    HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
}

fn failed(error: HttpError) -> ConnectorError {
    match error.kind {
        HttpErrorKind::Timeout { .. } => ConnectorError::timeout(error.into()),
        _ if error.is_transient() => ConnectorError::io(error.into()),
        _ => ConnectorError::other(error.into(), None),
    }
}
