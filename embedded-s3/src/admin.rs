//! The second port, for tests that drive processes: what was asked, and what shall go wrong.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /requests` | all requests as a JSON array |
//! | `GET /counts` | requests per operation as a JSON object |
//! | `POST /clear` | forgets both |
//! | `GET /faults` | the rules and how many requests each has matched |
//! | `POST /faults` | replaces the rules with the JSON array in the body |
//! | `GET /wait?name=N&timeout_ms=T` | returns when a request stands at the gate of rule N; 408 when none came |
//! | `POST /release?name=N` | opens the gate of rule N |
//! | `GET /keys?bucket=B` | all keys |
//! | `GET /uploads?bucket=B` | unfinished multipart uploads |

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::fault::{Faults, Rule};
use crate::record::Recorder;
use crate::store::Store;

/// The largest script.
const MAX_SCRIPT: usize = 1024 * 1024;
/// How long `/wait` waits when it is not told.
const DEFAULT_WAIT_MS: u64 = 30_000;

#[derive(Clone)]
pub(crate) struct Admin {
    recorder: Recorder,
    faults: Faults,
    store: Arc<Store>,
}

type Reply = (StatusCode, Value);

fn ok(value: Value) -> Reply {
    (StatusCode::OK, value)
}

fn failed(status: StatusCode, why: &dyn std::fmt::Display) -> Reply {
    (status, json!({ "error": why.to_string() }))
}

impl Admin {
    pub(crate) fn new(recorder: Recorder, faults: Faults, store: Arc<Store>) -> Self {
        Self { recorder, faults, store }
    }

    pub(crate) async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
            let (admin, stop) = (self.clone(), stop.clone());
            tokio::spawn(async move { stop.run_until_cancelled(admin.serve(stream)).await });
        }
    }

    async fn serve(self, stream: TcpStream) {
        let service = service_fn(move |request| {
            let admin = self.clone();
            async move { admin.respond(request).await }
        });
        if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "an administrative connection ended early");
        }
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, http::Error> {
        let (status, value) = self.reply(request).await;
        let json = http::HeaderValue::from_static("application/json");
        Response::builder().status(status).header(http::header::CONTENT_TYPE, json).body(value.to_string().into())
    }

    async fn reply(&self, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default();
        let named = |name| parameter(query, name).unwrap_or_default();
        match (head.method.as_str(), head.uri.path()) {
            ("GET", "/requests") => ok(json!(self.recorder.snapshot())),
            ("GET", "/counts") => ok(json!(self.recorder.counts())),
            ("POST", "/clear") => {
                self.recorder.clear();
                ok(Value::Null)
            }
            ("GET", "/faults") => ok(self.rules()),
            ("POST", "/faults") => self.script(body).await,
            ("GET", "/wait") => self.wait(&named("name"), &named("timeout_ms")).await,
            ("POST", "/release") => self.release(&named("name")),
            ("GET", "/keys") => ok(json!(self.store.keys(&named("bucket")))),
            ("GET", "/uploads") => ok(self.uploads(&named("bucket"))),
            _ => failed(StatusCode::NOT_FOUND, &"no such page"),
        }
    }

    fn rules(&self) -> Value {
        self.faults.rules_seen().iter().map(|(rule, seen)| json!({ "rule": rule, "seen": seen })).collect()
    }

    async fn script(&self, body: Incoming) -> Reply {
        let bytes = match Limited::new(body, MAX_SCRIPT).collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => return failed(StatusCode::BAD_REQUEST, &error),
        };
        let rules: Vec<Rule> = match serde_json::from_slice(&bytes) {
            Ok(rules) => rules,
            Err(error) => return failed(StatusCode::BAD_REQUEST, &error),
        };
        self.faults.clear();
        for rule in rules {
            self.faults.push(rule);
        }
        ok(self.rules())
    }

    async fn wait(&self, name: &str, timeout_ms: &str) -> Reply {
        let Some(gate) = self.faults.gate(name) else { return failed(StatusCode::NOT_FOUND, &"no such rule") };
        let limit = Duration::from_millis(timeout_ms.parse().unwrap_or(DEFAULT_WAIT_MS));
        if gate.reached(limit).await {
            ok(Value::Null)
        } else {
            failed(StatusCode::REQUEST_TIMEOUT, &"no request came")
        }
    }

    fn release(&self, name: &str) -> Reply {
        let Some(gate) = self.faults.gate(name) else { return failed(StatusCode::NOT_FOUND, &"no such rule") };
        gate.release();
        ok(Value::Null)
    }

    fn uploads(&self, bucket: &str) -> Value {
        let uploads = self.store.unfinished_uploads(bucket);
        uploads.iter().map(|u| json!({ "key": u.key, "id": u.id, "parts": u.parts })).collect()
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(have, _)| *have == name)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}
