//! Serves metrics and health over HTTP.

use super::{Trouble, now};
use crate::metrics::{Metrics, Totals};
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// How many are served at a time. Prometheus is one.
const CONNECTIONS: usize = 64;

/// How long a client may take to greet us, and to ask.
const PATIENCE: Duration = Duration::from_secs(10);

type Answer = Response<Full<Bytes>>;

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer
}

/// What is behind an address.
pub(super) trait Site: Send + Sync + 'static {
    fn answer(&self, request: &Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// `/healthz` and `/readyz`. A controller that waits for the lease is healthy and ready.
pub(super) struct Health;

impl Site for Health {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/healthz" | "/readyz" => answer(StatusCode::OK, "ok"),
            _ => answer(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

/// `/metrics`.
pub(super) struct Scrape<F> {
    pub(super) metrics: Arc<Metrics>,
    pub(super) totals: F,
    /// Who is asked whether a reader may read; nobody if everybody may.
    pub(super) guard: Option<Client>,
}

impl<F: Fn() -> Totals + Send + Sync + 'static> Site for Scrape<F> {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if path != "/metrics" {
            return answer(StatusCode::NOT_FOUND, "not found\n");
        }
        if let Some(client) = &self.guard {
            match may_read(client, token(request), path).await {
                Ok(Access::Allowed) => {}
                Ok(Access::Unknown) => return answer(StatusCode::UNAUTHORIZED, "Unauthorized\n"),
                Ok(Access::Denied) => return answer(StatusCode::FORBIDDEN, "Authorization denied\n"),
                Err(error) => {
                    tracing::warn!(%error, "it cannot be told who may read metrics");
                    return answer(StatusCode::INTERNAL_SERVER_ERROR, "Authentication failed\n");
                }
            }
        }
        let mut told = answer(StatusCode::OK, self.metrics.render(&(self.totals)(), now()));
        if let Ok(kind) = "text/plain; version=0.0.4; charset=utf-8".parse() {
            told.headers_mut().insert(CONTENT_TYPE, kind);
        }
        told
    }
}

fn token(request: &Request<Incoming>) -> Option<&str> {
    request.headers().get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").filter(|token| !token.is_empty())
}

enum Access {
    Allowed,
    Denied,
    /// Nobody knows this reader.
    Unknown,
}

/// Asks the API server who a token is of, and whether that may `get` the path.
async fn may_read(client: &Client, token: Option<&str>, path: &str) -> Result<Access, Trouble> {
    let Some(token) = token else { return Ok(Access::Unknown) };
    let review = TokenReview {
        metadata: ObjectMeta::default(),
        spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
        status: None,
    };
    let reviews: Api<TokenReview> = Api::all(client.clone());
    let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
    let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else { return Ok(Access::Unknown) };
    let access = SubjectAccessReview {
        metadata: ObjectMeta::default(),
        spec: SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(path.to_owned()),
                verb: Some("get".to_owned()),
            }),
            resource_attributes: None,
        },
        status: None,
    };
    let accesses: Api<SubjectAccessReview> = Api::all(client.clone());
    let status = accesses.create(&PostParams::default(), &access).await?.status;
    Ok(if status.is_some_and(|status| status.allowed) { Access::Allowed } else { Access::Denied })
}

/// With which certificate is served.
#[derive(Clone, Debug)]
pub(super) enum Certificate {
    /// Files, read again for each connection: whoever renews them restarts nobody.
    Files { certificate: PathBuf, key: PathBuf },
    /// One that was made at the start.
    Made(Arc<ServerConfig>),
}

/// Why no certificate can be served.
#[derive(Debug, thiserror::Error)]
pub enum NoCertificate {
    /// A file is no certificate or key.
    #[error("{0}: {1}")]
    File(PathBuf, tokio_rustls::rustls::pki_types::pem::Error),
    /// They do not fit each other.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] tokio_rustls::rustls::Error),
    /// None could be made.
    #[error("no certificate could be made: {0}")]
    Unmade(#[from] rcgen::Error),
}

impl Certificate {
    pub(super) fn made() -> Result<Self, NoCertificate> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        Ok(Self::Made(Arc::new(config(vec![made.cert.der().clone()], key)?)))
    }

    fn acceptor(&self) -> Result<TlsAcceptor, NoCertificate> {
        match self {
            Self::Made(config) => Ok(TlsAcceptor::from(config.clone())),
            Self::Files { certificate, key } => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
                let chain = chain.map_err(|error| NoCertificate::File(certificate.clone(), error))?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| NoCertificate::File(key.clone(), error))?;
                Ok(TlsAcceptor::from(Arc::new(config(chain, key)?)))
            }
        }
    }
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, tokio_rustls::rustls::Error> {
    ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)
}

/// Listens. Where the machine has no IPv6, every address is every one of IPv4.
pub(super) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.ip().is_unspecified() && address.is_ipv6() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    }
}

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, certificate: Option<Certificate>, site: impl Site) {
    let (site, places) = (Arc::new(site), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        // Never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (site, certificate) = (site.clone(), certificate.clone());
        tokio::spawn(async move {
            greet(stream, certificate, &*site).await;
            drop(place);
        });
    }
}

async fn greet(stream: TcpStream, certificate: Option<Certificate>, site: &impl Site) {
    let Some(certificate) = certificate else { return converse(stream, site).await };
    match certificate.acceptor() {
        Err(error) => tracing::warn!(%error, "metrics cannot be served"),
        Ok(acceptor) => match timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => converse(stream, site).await,
            Ok(Err(error)) => tracing::debug!(%error, "a client did not speak TLS with us"),
            Err(_) => {}
        },
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, site: &impl Site) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(site.answer(&request).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection broke off");
    }
}
