//! One request from its parts to its answer: addressed, signed, limited, retried.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response};
use tokio::time::Instant;
use volsync_common::path::Shown;
use volsync_common::time::Timestamp;

use super::dates::parse_http;
use super::endpoint::Endpoint;
use super::keys::{percent_path, percent_query};
use super::limiter::{Limiter, Permit};
use super::retry::{Failure, History, Next, RetryLimits};
use super::settings::S3Settings;
use super::sigv4::{self, AccessKey, PayloadHash, Signer, ToSign};
use super::xml;
use crate::http::{BodyReader, Client, Payload, ReadPiece, Reading};
use crate::store::{BoxFuture, Source, StoreError, StoreErrorKind};

/// Where credentials come from.
pub trait Identity: Send + Sync {
    /// Valid credentials, or `None` to send requests unsigned.
    fn get(&self) -> BoxFuture<'_, Result<Option<Arc<AccessKey>>, StoreError>>;
    /// The server called them expired: do not give them again.
    fn invalidate(&self);
}

/// The same credentials for ever, or none.
impl Identity for Option<Arc<AccessKey>> {
    fn get(&self) -> BoxFuture<'_, Result<Option<Arc<AccessKey>>, StoreError>> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
    fn invalidate(&self) {}
}

/// What a request carries.
#[derive(Clone)]
pub(super) enum Content {
    /// Something in memory.
    Bytes(Bytes),
    /// A part of a source, read while it is sent.
    Source(Arc<Sent>),
}

/// A part of a source on its way. What goes wrong while it is read breaks off the request, and is kept here.
pub(super) struct Sent {
    pub(super) source: Arc<dyn Source>,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) trouble: Mutex<Option<Trouble>>,
}

/// Why a source could not be sent.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is not what it was.
    Changed,
    /// It cannot be read.
    Io(io::Error),
}

impl Sent {
    /// Reads a piece. The last one is given only if the source is still what it was: the object does not come to be without
    /// its last bytes.
    fn piece(&self, at: u64, len: usize) -> io::Result<Bytes> {
        let mut buf = vec![0; len];
        let read = self.source.read_full(at, &mut buf).and_then(|read| {
            let last = at + len as u64 >= self.offset + self.len;
            Ok(read == len && (!last || self.source.unchanged()?))
        });
        let trouble = match read {
            Ok(true) => {
                self.source.sent(len as u64);
                return Ok(buf.into());
            }
            Ok(false) => Trouble::Changed,
            Err(error) => Trouble::Io(error),
        };
        let error = io::Error::other(format!("{trouble:?}"));
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        Err(error)
    }

    fn payload(self: &Arc<Self>) -> Payload {
        let this = Arc::clone(self);
        let read: ReadPiece = Arc::new(move |at, len| this.piece(at, len));
        Payload::Read(Reading::new(read, self.offset, self.len))
    }
}

/// What an operation asks.
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) method: Method,
    /// The object; `None` is the bucket.
    pub(super) key: Option<Vec<u8>>,
    pub(super) query: Vec<(&'static str, Vec<u8>)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Content,
    /// The body is object content: it may go unsigned.
    pub(super) content: bool,
    /// The answer is XML: read it, and look for an error inside a 200.
    pub(super) collect: bool,
}

impl Call {
    pub(super) fn new(operation: &'static str, method: Method, key: Option<Vec<u8>>) -> Self {
        Self {
            operation,
            method,
            key,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Content::Bytes(Bytes::new()),
            content: false,
            collect: true,
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.query.push((name, value.as_ref().to_vec()));
        self
    }

    /// Adds a header; empty values are left out, bytes no header can hold make the call fail.
    pub(super) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, StoreError> {
        if value.as_ref().is_empty() {
            return Ok(self);
        }
        let pair = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_bytes(value.as_ref()).ok());
        let Some((name, value)) = pair else {
            let subject = self.subject();
            let reason = format!("the value of header {} has control characters", Shown(name.as_bytes()));
            return Err(StoreError::new(StoreErrorKind::Refused, self.operation, subject, reason));
        };
        self.headers.append(name, value);
        Ok(self)
    }

    /// Adds a header or replaces the one of that name.
    pub(super) fn set(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Content::Bytes(body.into());
        self
    }

    /// Content of an object that is read while it is sent; never signed.
    pub(super) fn content(mut self, source: Arc<dyn Source>, offset: u64, len: u64) -> Self {
        self.body = Content::Source(Arc::new(Sent { source, offset, len, trouble: Mutex::default() }));
        self.content = true;
        self
    }

    /// Why the source could not be sent, if that is what went wrong.
    fn trouble(&self) -> Option<StoreError> {
        let Content::Source(sent) = &self.body else { return None };
        let trouble = sent.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(match trouble {
            Trouble::Changed => super::put::changed(&self.subject()),
            Trouble::Io(error) => super::put::unreadable(&self.subject(), error),
        })
    }

    pub(super) fn subject(&self) -> String {
        self.key.as_deref().map(|k| Shown(k).to_string()).unwrap_or_default()
    }

    fn encoded_query(&self) -> String {
        let mut pairs: Vec<(&str, String)> = self.query.iter().map(|(n, v)| (*n, percent_query(v))).collect();
        pairs.sort();
        pairs.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("&")
    }
}

/// An answer with status 2xx.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    /// The whole body, when the call collects or it was too short to stream.
    pub(super) bytes: Bytes,
    /// The body to be read otherwise, with the place in flight that it keeps.
    pub(super) stream: Option<(BodyReader, Permit)>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

struct Target {
    endpoint: Endpoint,
    signer: Signer,
}

/// Sends calls for one bucket.
pub(super) struct S3Client {
    http: Client,
    identity: Arc<dyn Identity>,
    limiter: Arc<Limiter>,
    limits: RetryLimits,
    settings: S3Settings,
    /// Replaced when the server names another region; short sections, never across a wait.
    target: RwLock<Arc<Target>>,
    /// Server's clock minus ours, seconds.
    skew: AtomicI64,
    unsigned_over_http: bool,
    x_id: bool,
}

impl S3Client {
    pub(super) fn new(
        http: Client,
        identity: Arc<dyn Identity>,
        limits: RetryLimits,
        most: usize,
        settings: &S3Settings,
    ) -> Result<Self, StoreError> {
        let quirks = settings.quirks();
        Ok(Self {
            http,
            identity,
            limiter: Limiter::new(most),
            limits,
            target: RwLock::new(target(settings, settings.signing_region())?),
            settings: settings.clone(),
            skew: AtomicI64::new(0),
            unsigned_over_http: quirks.unsigned_payload,
            x_id: quirks.x_id,
        })
    }

    /// The only loop: sends until there is an answer or nothing left to try.
    pub(super) async fn send(&self, call: Call) -> Result<Answer, StoreError> {
        let started = Instant::now();
        let mut history = History::default();
        loop {
            let failure = match self.attempt(&call).await {
                Ok(answer) => return Ok(answer),
                Err(Attempt::Failed(failure)) => failure,
                Err(Attempt::Error(error)) => return Err(error),
            };
            if let Some(error) = call.trouble() {
                return Err(error);
            }
            history.attempts += 1;
            match failure.next(history, self.limits, random()) {
                Next::Wait(delay) if started.elapsed() + delay <= self.limits.total => tokio::time::sleep(delay).await,
                Next::Refresh => (history.refreshed, ()) = (true, self.identity.invalidate()),
                Next::Clock(server) => (history.clock_set, ()) = (true, self.set_clock(server)),
                Next::Region(region) if self.move_to(&region)? => history.moved = true,
                _ => return Err(failure.into_error(call.operation, call.subject(), history.attempts)),
            }
        }
    }

    async fn attempt(&self, call: &Call) -> Result<Answer, Attempt> {
        let key = self.identity.get().await.map_err(Attempt::Error)?;
        let request = self.request(call, key.as_deref()).map_err(Attempt::Error)?;
        let mut permit = self.limiter.enter().await;
        let response = self.http.send(request).await.map_err(Failure::from)?;
        let throttled = matches!(response.status().as_u16(), 429 | 503);
        permit.answered(throttled);
        if !response.status().is_success() {
            return Err(refusal(response).await.into());
        }
        let (parts, body) = response.into_parts();
        if !call.collect && !may_be_an_error(&parts.headers) {
            return Ok(Answer { headers: parts.headers, bytes: Bytes::new(), stream: Some((body, permit)) });
        }
        let bytes = body.collect(xml::LIMIT).await.map_err(Failure::from)?;
        match xml::error(&bytes) {
            Some(error) => Err(Failure::inside(parts.status.as_u16(), error).into()),
            None => Ok(Answer { headers: parts.headers, bytes, stream: None }),
        }
    }

    fn request(&self, call: &Call, key: Option<&AccessKey>) -> Result<Request<Payload>, StoreError> {
        let wrong = |e: &dyn std::fmt::Display| {
            StoreError::new(StoreErrorKind::Refused, call.operation, call.subject(), e.to_string())
        };
        let target = self.target.read().unwrap_or_else(PoisonError::into_inner).clone();
        let endpoint = &target.endpoint;
        let mut path = endpoint.base_path.clone();
        if call.key.is_some() || path.is_empty() {
            path.push('/');
        }
        path.push_str(&percent_path(call.key.as_deref().unwrap_or_default()));
        let query = call.encoded_query();
        let mut headers = call.headers.clone();
        sigv4::host(&mut headers, &endpoint.authority).map_err(|e| wrong(&e))?;
        if let Some(key) = key {
            let payload = match &call.body {
                Content::Bytes(body) if !(call.content && self.sends_unsigned(endpoint)) => PayloadHash::of(body),
                _ => PayloadHash::Unsigned,
            };
            let to_sign = ToSign { method: call.method.as_str(), path: &path, query: &query, payload, now: self.now() };
            target.signer.sign(&to_sign, &mut headers, key).map_err(|e| wrong(&e))?;
        }
        let separator = if query.is_empty() { "" } else { "?" };
        let uri = format!("{}://{}{path}{separator}{query}", endpoint.scheme, endpoint.authority);
        let body = match &call.body {
            Content::Bytes(body) if body.is_empty() => Payload::Empty,
            Content::Bytes(body) => Payload::Bytes(body.clone()),
            Content::Source(sent) => sent.payload(),
        };
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri.parse().map_err(|e| wrong(&e))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Whether content need not be signed, and so may be read while it is sent.
    pub(super) fn may_stream(&self) -> bool {
        let target = self.target.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.sends_unsigned(&target.endpoint)
    }

    fn sends_unsigned(&self, endpoint: &Endpoint) -> bool {
        endpoint.is_tls() || self.unsigned_over_http
    }

    /// The server's clock, seconds since 1970, as far as it has told it.
    pub(super) fn now(&self) -> i64 {
        Timestamp::now().secs + self.skew.load(Ordering::Relaxed)
    }

    fn set_clock(&self, server: i64) {
        let skew = server - Timestamp::now().secs;
        tracing::warn!(
            "this machine's clock is {} s off the server's: requests are signed by the server's clock",
            -skew
        );
        self.skew.store(skew, Ordering::Relaxed);
    }

    /// Follows a bucket to its region where the endpoint is AWS's own.
    fn move_to(&self, region: &str) -> Result<bool, StoreError> {
        let mut target = self.target.write().unwrap_or_else(PoisonError::into_inner);
        if !target.endpoint.follows_region || target.endpoint.region == region {
            return Ok(target.endpoint.follows_region && target.endpoint.region == region);
        }
        tracing::warn!("Switched region to \"{}\" from \"{}\"", Shown(region.as_bytes()), target.endpoint.region);
        *target = self::target(&self.settings, region)?;
        Ok(true)
    }

    /// `x-id`, where the provider takes it.
    pub(super) fn named(&self, call: Call) -> Call {
        let operation = call.operation;
        if self.x_id { call.query("x-id", operation) } else { call }
    }
}

fn target(settings: &S3Settings, region: &str) -> Result<Arc<Target>, StoreError> {
    let endpoint = Endpoint::resolve(settings, region)
        .map_err(|e| StoreError::new(StoreErrorKind::Refused, "configure", String::new(), e.to_string()))?;
    Ok(Arc::new(Target { endpoint, signer: Signer::new(region) }))
}

enum Attempt {
    Failed(Failure),
    Error(StoreError),
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<crate::http::HttpError> for Failure {
    fn from(error: crate::http::HttpError) -> Self {
        Self { message: error.to_string(), http: Some(error), ..Self::default() }
    }
}

impl Failure {
    fn inside(status: u16, error: xml::S3Error) -> Self {
        let region = (!error.region.is_empty()).then_some(error.region);
        Self { status: Some(status), code: error.code, message: error.message, region, ..Self::default() }
    }
}

/// Longest error answer that is read; an error document has some hundred bytes.
const ERROR_LIMIT: usize = 256 << 10;

/// Objects come with their ETag: a short answer without one can be an error inside of a 200.
fn may_be_an_error(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    !headers.contains_key(ETAG) && length.is_some_and(|length| length <= ERROR_LIMIT)
}

async fn refusal(response: Response<BodyReader>) -> Failure {
    let (parts, body) = response.into_parts();
    let text = |name: &str| parts.headers.get(name)?.to_str().ok().map(str::to_owned);
    let status = parts.status.as_u16();
    let retry_after = text(RETRY_AFTER.as_str()).and_then(|v| v.trim().parse().ok());
    let server_time = parts.headers.get(DATE).and_then(|v| parse_http(v.as_bytes())).map(|t| t.secs);
    let bytes = body.collect(ERROR_LIMIT).await.unwrap_or_default();
    let error = xml::error(&bytes).unwrap_or_default();
    let region = text("x-amz-bucket-region").or_else(|| (!error.region.is_empty()).then(|| error.region.clone()));
    Failure {
        region,
        retry_after,
        server_time,
        ..Failure::inside(status, xml::S3Error { region: String::new(), ..error })
    }
}

/// In 0..1, for spreading retries only.
fn random() -> f64 {
    let mut byte = [0u8; 2];
    // Without randomness all clients wait equally long, which is only less polite.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    f64::from(u16::from_ne_bytes(byte)) / 65_536.0
}
