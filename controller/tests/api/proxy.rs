//! Stands between a controller and its API server, sees every request, does harm, and has the logs that a kubelet would have.

use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame, Incoming},
    client, server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    collections::HashSet,
    process::Command,
    sync::{Arc, Mutex},
};
use tokio::net::{TcpListener, TcpStream};

/// What is done to a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    None,
    /// It is killed when this write has been done, and never hears of it. Counted from 1.
    KillAfter(usize),
    /// Every write is refused at first, as if somebody else had been faster, and taken when it is repeated.
    Conflict,
}

#[derive(Debug)]
struct State {
    harm: Harm,
    writes: usize,
    refused: HashSet<String>,
    victim: Option<u32>,
    log: Option<&'static str>,
}

/// A proxy. Gone with the value.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    _runtime: tokio::runtime::Runtime,
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

impl Proxy {
    /// One before a server that speaks plain HTTP.
    pub(crate) fn start(backend: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let state = State { harm: Harm::None, writes: 0, refused: HashSet::new(), victim: None, log: None };
        let state = Arc::new(Mutex::new(state));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = state.clone();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| pass(request, backend, state.clone()));
                    // Ends with an error where harm is done.
                    _ = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, state, _runtime: runtime }
    }

    /// From now on this is done to this process.
    pub(crate) fn harm(&self, harm: Harm, victim: u32) {
        let mut state = self.state.lock().unwrap();
        *state = State { harm, writes: 0, refused: HashSet::new(), victim: Some(victim), log: state.log };
    }

    /// What every pod has written so far. It goes on running.
    pub(crate) fn log(&self, log: &'static str) {
        self.state.lock().unwrap().log = Some(log);
    }

    /// How many writes there were since.
    pub(crate) fn writes(&self) -> usize {
        self.state.lock().unwrap().writes
    }
}

/// Events tell what was done; they do nothing.
fn is_write(request: &Request<Incoming>) -> bool {
    request.method() != Method::GET && !request.uri().path().contains("/events")
}

async fn pass(
    request: Request<Incoming>,
    backend: u16,
    state: Arc<Mutex<State>>,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts.clone(), body);
    let write = is_write(&request);
    let body = request.into_body().collect().await?.to_bytes();
    let log = state.lock().unwrap().log.filter(|_| parts.uri.path().ends_with("/log"));
    if let Some(log) = log {
        return Ok(Response::new(unfinished(log)));
    }
    let mut kill = None;
    if write {
        let mut state = state.lock().unwrap();
        let what = format!("{} {} {}", parts.method, parts.uri, body.len());
        if state.harm == Harm::Conflict && state.refused.insert(what) {
            return Ok(conflict());
        }
        state.writes += 1;
        if state.harm == Harm::KillAfter(state.writes) {
            kill = state.victim.take();
        }
    }
    let stream = TcpStream::connect(("127.0.0.1", backend)).await?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
    if let Some(victim) = kill {
        Command::new("kill").args(["-9", &victim.to_string()]).status()?;
        return Err("its client is dead".into());
    }
    Ok(answer.map(BoxBody::new))
}

fn whole(text: &'static str) -> BoxBody<Bytes, hyper::Error> {
    Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed()
}

fn unfinished(text: &'static str) -> BoxBody<Bytes, hyper::Error> {
    let first = stream::iter([Ok(Frame::data(Bytes::from_static(text.as_bytes())))]);
    BoxBody::new(StreamBody::new(first.chain(stream::pending())))
}

fn conflict() -> Answer {
    let status = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"somebody was faster","reason":"Conflict","code":409}"#;
    let mut answer = Response::new(whole(status));
    *answer.status_mut() = hyper::StatusCode::CONFLICT;
    answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
    answer
}
