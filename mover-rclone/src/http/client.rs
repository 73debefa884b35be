//! The client: settings, and one request at a time from caller to connection.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri};
use hyper::body::Incoming;
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use volsync_common::proxy::Proxies;

use super::body::{BodyReader, Home};
use super::connection::{AbsoluteForm, Connection, NoResponse, Patience};
use super::dial::{Dialer, Target};
use super::error::{HttpError, HttpErrorKind};
use super::extra::ExtraHeaders;
use super::pace::Pace;
use super::payload::Payload;
use super::pool::{Key, Pool};

/// How to reach servers.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Which certificates to accept: `volsync_common::tls::client_config`.
    pub trust: Arc<ClientConfig>,
    /// Which proxies to use.
    pub proxies: Proxies,
    /// `User-Agent` of requests that have none.
    pub user_agent: String,
    /// Limit on name, TCP, proxy and TLS together (`--contimeout`).
    pub connect_timeout: Duration,
    /// Limit on the wait for the head of a response once the request is out.
    pub response_timeout: Duration,
    /// Limit on the wait for the next bytes of a body, either way (`--timeout`).
    pub idle_timeout: Duration,
    /// Idle connections kept per target.
    pub max_idle_per_host: usize,
    /// Local address of every connection (`--bind`).
    pub bind: Option<IpAddr>,
    /// Bytes of request bodies per second, over all connections (`--bwlimit`).
    pub upload_rate: Option<u64>,
    /// Bytes of response bodies per second, over all connections.
    pub download_rate: Option<u64>,
    /// Requests per second (`--tpslimit`).
    pub requests_per_second: Option<f64>,
    /// How many requests may go at once after a pause (`--tpslimit-burst`).
    pub request_burst: u32,
    /// Set on every request after it is signed (`--header`).
    pub headers: ExtraHeaders,
    /// Most requests in flight; 0 is no limit (`--max-connections`). A response whose body is neither read to its end nor
    /// dropped counts: who holds one and waits for another may wait for himself.
    pub max_connections: usize,
    /// Use a connection for more than one request (off: `--disable-http-keep-alives`).
    pub keep_alive: bool,
}

impl HttpSettings {
    /// rclone's defaults (`fs/config.go` and `fs/fshttp`, 1.75) with the given trust and the environment's proxies.
    pub fn new(trust: Arc<ClientConfig>) -> Self {
        Self {
            trust,
            proxies: Proxies::from_env(),
            user_agent: concat!("volsync-rs/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_mins(1),
            response_timeout: Duration::from_mins(5),
            idle_timeout: Duration::from_mins(5),
            max_idle_per_host: 256,
            bind: None,
            upload_rate: None,
            download_rate: None,
            requests_per_second: None,
            request_burst: 1,
            headers: ExtraHeaders::default(),
            max_connections: 0,
            keep_alive: true,
        }
    }
}

/// Sends requests. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    dialer: Dialer,
    pool: Arc<Pool>,
    user_agent: HeaderValue,
    patience: Patience,
    limits: Limits,
    headers: ExtraHeaders,
    keep_alive: bool,
}

/// What the user does not want to be exceeded.
struct Limits {
    up: Option<Arc<Pace>>,
    down: Option<Arc<Pace>>,
    requests: Option<Pace>,
    in_flight: Option<Arc<Semaphore>>,
}

impl Limits {
    fn of(settings: &HttpSettings) -> Self {
        let bytes = |rate: Option<u64>| rate.and_then(|rate| Pace::new(approximate(rate), 1.0)).map(Arc::new);
        let burst = f64::from(settings.request_burst.max(1));
        let most = settings.max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            up: bytes(settings.upload_rate),
            down: bytes(settings.download_rate),
            requests: settings.requests_per_second.and_then(|rate| Pace::new(rate, burst)),
            in_flight: (most > 0).then(|| Arc::new(Semaphore::new(most))),
        }
    }

    /// Waits until another request may go out.
    async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        let permit = match &self.in_flight {
            // Never closed, so there always is a permit.
            Some(places) => Arc::clone(places).acquire_owned().await.ok(),
            None => None,
        };
        if let Some(pace) = &self.requests {
            pace.wait(1.0).await;
        }
        permit
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to 16 digits")]
fn approximate(rate: u64) -> f64 {
    rate as f64
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("user_agent", &self.shared.user_agent).finish_non_exhaustive()
    }
}

impl Client {
    /// Checks the settings; opens nothing.
    pub fn new(settings: HttpSettings) -> Result<Self, HttpError> {
        let user_agent = HeaderValue::from_str(&settings.user_agent)
            .map_err(|_| HttpErrorKind::Request("the user agent has control characters".into()).before("any host"))?;
        let limits = Limits::of(&settings);
        let dialer = Dialer {
            trust: settings.trust,
            proxies: settings.proxies,
            user_agent: settings.user_agent,
            connect_timeout: settings.connect_timeout,
            bind: settings.bind,
            turn: AtomicUsize::new(0),
        };
        let patience = Patience { response: settings.response_timeout, idle: settings.idle_timeout };
        let pool = Arc::new(Pool::new(if settings.keep_alive { settings.max_idle_per_host } else { 0 }));
        let (headers, keep_alive) = (settings.headers, settings.keep_alive);
        Ok(Self { shared: Arc::new(Shared { dialer, pool, user_agent, patience, limits, headers, keep_alive }) })
    }

    /// Sends a request with an absolute URI and waits for the head of the response.
    ///
    /// The path goes out byte for byte as given. `Host`, `User-Agent` and `Content-Length` are added where missing; the
    /// body is never chunked. A pooled connection that the server has closed is replaced once if the request can be
    /// repeated: nothing of a response came, and the method is idempotent or nothing was sent.
    pub async fn send(&self, request: Request<Payload>) -> Result<Response<BodyReader>, HttpError> {
        let route = Route::of(request.uri()).map_err(|why| HttpErrorKind::Request(why).before("no host"))?;
        let mut request = request;
        self.complete(&mut request, &route.key.authority);
        let host = route.key.authority.as_str();
        let idempotent = *request.method() != Method::POST && *request.method() != Method::PATCH;
        let permit = self.shared.limits.enter().await;
        if let Some(connection) = self.shared.pool.take(&route.key).await {
            let again = copy(&request);
            match self.exchange(connection, request, &route).await {
                Ok(answer) => return Ok(self.reader(answer, route.key, permit)),
                Err(failure) if failure.closed_in_silence && (idempotent || !failure.sent) => request = again,
                Err(failure) => return Err(failure.for_host(host)),
            }
        }
        let dialed = self.shared.dialer.dial(route.target()).await;
        let connection = dialed.map_err(|kind| kind.before(host))?;
        let answer = self.exchange(connection, request, &route).await.map_err(|failure| failure.for_host(host))?;
        Ok(self.reader(answer, route.key, permit))
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        mut request: Request<Payload>,
        route: &Route,
    ) -> Result<(Response<Incoming>, Connection), NoResponse> {
        let Shared { patience, limits, .. } = &*self.shared;
        aim(&mut request, route, connection.absolute.as_ref());
        let response = connection.exchange(request, *patience, limits.up.clone()).await?;
        Ok((response, connection))
    }

    fn reader(
        &self,
        (response, connection): (Response<Incoming>, Connection),
        key: Key,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Response<BodyReader> {
        let home = Home { connection, pool: Arc::clone(&self.shared.pool), key, _permit: permit };
        let (idle, pace) = (self.shared.patience.idle, self.shared.limits.down.clone());
        response.map(|incoming| BodyReader::new(incoming, home, idle, pace))
    }

    fn complete(&self, request: &mut Request<Payload>, authority: &Authority) {
        let length = request.body().len();
        let has_body = length > 0 || matches!(*request.method(), Method::PUT | Method::POST | Method::PATCH);
        let headers = request.headers_mut();
        if !headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(without_login(authority))
        {
            headers.insert(HOST, host);
        }
        if !headers.contains_key(USER_AGENT) {
            headers.insert(USER_AGENT, self.shared.user_agent.clone());
        }
        self.shared.headers.apply(headers);
        if !self.shared.keep_alive {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if has_body {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

/// Where a request goes.
struct Route {
    key: Key,
    path: PathAndQuery,
    scheme: Scheme,
}

impl Route {
    fn of(uri: &Uri) -> Result<Self, String> {
        let scheme = uri.scheme().cloned().ok_or("the URL has no scheme")?;
        let tls = match scheme.as_str() {
            "https" => true,
            "http" => false,
            other => return Err(format!("the scheme {other:?} is neither http nor https")),
        };
        let authority = uri.authority().cloned().ok_or("the URL has no host")?;
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { key: Key { tls, authority }, path, scheme })
    }

    fn target(&self) -> Target<'_> {
        let default = if self.key.tls { 443 } else { 80 };
        let host = self.key.authority.host().trim_matches(['[', ']']);
        Target { tls: self.key.tls, host, port: self.key.authority.port_u16().unwrap_or(default) }
    }
}

fn without_login(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}

fn copy(request: &Request<Payload>) -> Request<Payload> {
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Origin form for a server, absolute form for an HTTP proxy (RFC 9112, section 3.2).
fn aim(request: &mut Request<Payload>, route: &Route, absolute: Option<&AbsoluteForm>) {
    let Some(form) = absolute else {
        *request.uri_mut() = Uri::from(route.path.clone());
        return;
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(route.scheme.clone());
    parts.authority = Some(route.key.authority.clone());
    parts.path_and_query = Some(route.path.clone());
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    if let Some(authorization) = &form.authorization {
        request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
    }
}
