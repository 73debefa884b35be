//! The client against real sockets. The peers are scripts of raw bytes, because what matters is what is on the wire.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use volsync_common::proxy::Proxies;
use volsync_common::tls::{Trust, client_config};

use super::*;

fn settings() -> HttpSettings {
    let trust = client_config(&Trust { insecure: true, ..Trust::default() }).expect("a configuration");
    HttpSettings { proxies: Proxies::none(), ..HttpSettings::new(trust) }
}

fn client() -> Client {
    Client::new(settings()).expect("a client")
}

fn request(method: Method, url: &str, payload: Payload) -> Request<Payload> {
    Request::builder().method(method).uri(url).body(payload).expect("a request")
}

fn get(url: &str) -> Request<Payload> {
    request(Method::GET, url, Payload::Empty)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Reads one request: its head, and as many body bytes as it announces.
async fn read_request(socket: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("the head of a request"));
    }
    let head = String::from_utf8(head).expect("text");
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().expect("n"));
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.expect("the body of a request");
    (head, body)
}

/// Answers the requests of one connection with `answers`, then closes it; gives back what was asked.
fn answer(listener: TcpListener, connections: Vec<Vec<&'static str>>) -> JoinHandle<Vec<(String, Vec<u8>)>> {
    tokio::spawn(async move {
        let mut seen = Vec::new();
        for answers in connections {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            for answer in answers {
                seen.push(read_request(&mut socket).await);
                socket.write_all(answer.as_bytes()).await.expect("an answer is taken");
            }
        }
        seen
    })
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

async fn text(client: &Client, request: Request<Payload>) -> Result<String, HttpError> {
    let response = client.send(request).await?;
    let body = response.into_body().collect(1 << 20).await?;
    Ok(String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn paths_and_bodies_go_out_byte_for_byte_on_one_connection() {
    let (listener, address) = listener().await;
    let server = answer(listener, vec![vec![EMPTY, EMPTY, HELLO, EMPTY]]);
    let client = client();
    let path = "/bucket//a%2Fb/../%20%2B+~/%FF?list-type=2&prefix=a%2F&x";
    let chunks = Payload::from(vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"cde")]);
    for payload in [chunks, Payload::Empty] {
        assert_eq!(
            text(&client, request(Method::PUT, &format!("http://{address}{path}"), payload)).await.expect("ok"),
            ""
        );
    }
    assert_eq!(text(&client, get(&format!("http://{address}"))).await.expect("ok"), "hello");
    text(&client, request(Method::DELETE, &format!("http://{address}/x"), Payload::Empty)).await.expect("ok");
    let seen = server.await.expect("the server ends");
    for (index, body) in [&b"abcde"[..], b""].into_iter().enumerate() {
        assert!(seen[index].0.starts_with(&format!("PUT {path} HTTP/1.1\r\n")), "{}", seen[index].0);
        assert_eq!(seen[index].1, body);
        assert!(seen[index].0.contains(&format!("content-length: {}\r\n", body.len())));
        assert!(seen[index].0.contains(&format!("host: {address}\r\n")));
        assert!(!seen[index].0.contains("transfer-encoding"));
    }
    assert!(seen[2].0.starts_with("GET / HTTP/1.1\r\n") && !seen[2].0.contains("content-length"));
    assert!(seen[3].0.starts_with("DELETE /x HTTP/1.1\r\n") && !seen[3].0.contains("content-length"));
}

#[tokio::test]
async fn a_pooled_connection_that_the_server_closed_is_replaced_unseen() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let mut seen = Vec::new();
        let (mut first, _) = listener.accept().await.expect("a connection");
        seen.push(read_request(&mut first).await);
        first.write_all(EMPTY.as_bytes()).await.expect("taken");
        // The second request arrives and is answered by closing: the client cannot know beforehand.
        seen.push(read_request(&mut first).await);
        drop(first);
        let (mut second, _) = listener.accept().await.expect("another connection");
        seen.push(read_request(&mut second).await);
        second.write_all(HELLO.as_bytes()).await.expect("taken");
        seen
    });
    let client = client();
    let url = format!("http://{address}/k");
    text(&client, request(Method::PUT, &url, Bytes::from_static(b"one").into())).await.expect("ok");
    let second = text(&client, request(Method::PUT, &url, Bytes::from_static(b"two").into())).await;
    assert_eq!(second.expect("sent again"), "hello");
    let bodies: Vec<_> = server.await.expect("ends").into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, [b"one", b"two", b"two"]);
}

#[tokio::test]
async fn a_post_is_not_repeated_once_it_was_sent() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        for answer in [EMPTY, ""] {
            read_request(&mut socket).await;
            socket.write_all(answer.as_bytes()).await.expect("taken");
        }
    });
    let client = client();
    let url = format!("http://{address}/k?uploads");
    text(&client, request(Method::POST, &url, Payload::Empty)).await.expect("ok");
    let error = text(&client, request(Method::POST, &url, Payload::Empty)).await.expect_err("closed");
    assert!(
        matches!(error.kind, HttpErrorKind::Interrupted(_)) && !error.before_sent && error.is_transient(),
        "{error}"
    );
    server.await.expect("ends");
}

#[tokio::test]
async fn an_early_refusal_of_an_upload_is_read() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut some = [0; 1000];
        socket.read_exact(&mut some).await.expect("the head and a little of the body");
        let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\nConnection: close\r\n\r\ndenied";
        socket.write_all(refusal).await.expect("taken");
        // Closing with unread bytes resets the connection.
    });
    let upload = Payload::Bytes(vec![1; 64 << 20].into());
    let response =
        client().send(request(Method::PUT, &format!("http://{address}/k"), upload)).await.expect("an answer");
    assert_eq!(response.status(), 403);
    assert_eq!(response.into_body().collect(100).await.expect("its body"), "denied");
    server.await.expect("ends");
}

#[tokio::test]
async fn failures_have_classes() {
    let (listener, address) = listener().await;
    drop(listener);
    let error = client().send(get(&format!("http://{address}/"))).await.expect_err("refused");
    assert!(matches!(error.kind, HttpErrorKind::Connect { why: ConnectFailure::Refused, .. }), "{error}");
    assert!(error.before_sent && error.is_transient());
    assert_eq!(
        error.to_string(),
        format!(
            "{address}: no connection: refused, nothing listens there: {address}: Connection refused (os error 111)"
        )
    );

    let error = client().send(get("http://does-not-exist.invalid/")).await.expect_err("no such name");
    assert!(matches!(error.kind, HttpErrorKind::Dns { .. }) && error.before_sent, "{error}");

    for url in ["/relative", "ftp://x/"] {
        let error = client().send(get(url)).await.expect_err("not absolute");
        assert!(matches!(error.kind, HttpErrorKind::Request(_)) && !error.is_transient(), "{error}");
    }
}

/// The error for a GET that is answered with `answer` and a closed connection.
async fn broken(answer_with: &'static str) -> HttpError {
    let (listener, address) = listener().await;
    let server = answer(listener, vec![vec![answer_with]]);
    let error = text(&client(), get(&format!("http://{address}/"))).await.expect_err(answer_with);
    server.await.expect("ends");
    error
}

#[tokio::test]
async fn short_and_foreign_responses_are_errors() {
    let short = broken("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
    assert!(matches!(short.kind, HttpErrorKind::Interrupted(_)) && !short.before_sent, "{short}");
    let silent = broken("").await;
    assert!(matches!(silent.kind, HttpErrorKind::Interrupted(_)) && silent.is_transient(), "{silent}");
    let foreign = broken("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    assert!(matches!(foreign.kind, HttpErrorKind::Protocol(_)), "{foreign}");
    let cut = broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    assert!(matches!(cut.kind, HttpErrorKind::Interrupted(_)), "{cut}");
}

#[tokio::test]
async fn collecting_stops_at_the_limit() {
    for answer_with in [HELLO, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"] {
        for (limit, fits) in [(4, false), (5, true)] {
            let (listener, address) = listener().await;
            let server = answer(listener, vec![vec![answer_with]]);
            let body = client().send(get(&format!("http://{address}/"))).await.expect("a head").into_body();
            let outcome = body.collect(limit).await;
            assert_eq!(outcome.is_ok(), fits, "{limit}");
            assert!(
                outcome.is_ok() || matches!(outcome, Err(HttpError { kind: HttpErrorKind::TooLong { limit: 4 }, .. }))
            );
            server.await.expect("ends");
        }
    }
}

#[tokio::test]
async fn every_silence_ends() {
    let short = Duration::from_millis(50);
    let impatient =
        Client::new(HttpSettings { response_timeout: short, idle_timeout: short, ..settings() }).expect("a client");
    let waits = [("", Waiting::Response), ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", Waiting::Download)];
    for (answer_with, expect) in waits {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            read_request(&mut socket).await;
            socket.write_all(answer_with.as_bytes()).await.expect("taken");
            // Ends when the client gives up.
            assert_eq!(socket.read(&mut [0]).await.expect("closed"), 0);
        });
        let error = text(&impatient, get(&format!("http://{address}/"))).await.expect_err("silence");
        assert!(matches!(error.kind, HttpErrorKind::Timeout { what, .. } if what == expect), "{error}");
        server.await.expect("ends");
    }
    // A server that never takes the body.
    let (_listener, address) = listener().await;
    let upload = Payload::Bytes(vec![1; 64 << 20].into());
    let error = impatient.send(request(Method::PUT, &format!("http://{address}/"), upload)).await.expect_err("stalled");
    assert!(matches!(error.kind, HttpErrorKind::Timeout { what: Waiting::Upload, .. }), "{error}");
}

#[tokio::test]
async fn plain_http_goes_through_a_proxy_in_absolute_form() {
    let (listener, address) = listener().await;
    let server = answer(listener, vec![vec![HELLO]]);
    let proxies = Proxies::none().with_override(&format!("http://us:p%40@{address}")).expect("a proxy");
    let client = Client::new(HttpSettings { proxies, ..settings() }).expect("a client");
    assert_eq!(text(&client, get("http://s3.example:9000/b/%2B?x")).await.expect("ok"), "hello");
    let head = &server.await.expect("ends")[0].0;
    assert!(head.starts_with("GET http://s3.example:9000/b/%2B?x HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("host: s3.example:9000\r\n") && head.contains("proxy-authorization: Basic dXM6cEA=\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn https_asks_the_proxy_for_a_tunnel() {
    let (listener, address) = listener().await;
    let server = answer(listener, vec![vec!["HTTP/1.1 407 Login\r\n\r\n"]]);
    let proxies = Proxies::none().with_override(&address.to_string()).expect("a proxy");
    let client = Client::new(HttpSettings { proxies, ..settings() }).expect("a client");
    let error = client.send(get("https://s3.example/b")).await.expect_err("no login");
    assert!(matches!(error.kind, HttpErrorKind::Proxy(_)) && error.before_sent, "{error}");
    assert!(error.to_string().contains(&format!("proxy http://{address}: it wants a login")), "{error}");
    let head = &server.await.expect("ends")[0].0;
    assert!(head.starts_with("CONNECT s3.example:443 HTTP/1.1\r\nHost: s3.example:443\r\n"), "{head}");
}

#[tokio::test]
async fn socks_proxies_get_the_name() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut greeting = [0; 3];
        socket.read_exact(&mut greeting).await.expect("a greeting");
        assert_eq!(greeting, [5, 1, 2]);
        socket.write_all(&[5, 2]).await.expect("taken");
        let mut login = [0; 6];
        socket.read_exact(&mut login).await.expect("a login");
        assert_eq!(&login, b"\x01\x01u\x02pw");
        socket.write_all(&[1, 0]).await.expect("taken");
        let mut wanted = [0; 17];
        socket.read_exact(&mut wanted).await.expect("a request");
        assert_eq!(&wanted, b"\x05\x01\x00\x03\x0as3.example\x00\x50");
        socket.write_all(&[5, 0, 0, 1, 1, 2, 3, 4, 0, 80]).await.expect("taken");
        read_request(&mut socket).await;
        socket.write_all(HELLO.as_bytes()).await.expect("taken");
    });
    let proxies = Proxies::none().with_override(&format!("socks5://u:pw@{address}")).expect("a proxy");
    let client = Client::new(HttpSettings { proxies, ..settings() }).expect("a client");
    assert_eq!(text(&client, get("http://s3.example/")).await.expect("ok"), "hello");
    server.await.expect("ends");
}

#[tokio::test]
async fn a_plain_server_is_recognised_behind_https() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        socket.read_u8().await.expect("a byte of the handshake");
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("taken");
        socket.shutdown().await.expect("closed");
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
    });
    let error = client().send(get(&format!("https://{address}/"))).await.expect_err("no TLS");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    assert!(!error.is_transient() && error.before_sent);
    server.await.expect("ends");
}

#[tokio::test]
async fn clones_share_connections() {
    let (listener, address) = listener().await;
    let server = answer(listener, vec![vec![EMPTY; 8]]);
    let client = Arc::new(client());
    for _ in 0..8 {
        text(&client.as_ref().clone(), get(&format!("http://{address}/"))).await.expect("ok");
    }
    assert_eq!(server.await.expect("ends").len(), 8);
}

#[tokio::test]
async fn extra_headers_go_out_with_every_request() {
    let (listener, address) = listener().await;
    let server = answer(listener, vec![vec![EMPTY]]);
    let headers = ExtraHeaders::parse(["X-Tenant: blue", "User-Agent: mine", "Content-Length: 7"]).expect("headers");
    let client = Client::new(HttpSettings { headers, ..settings() }).expect("a client");
    text(&client, get(&format!("http://{address}/"))).await.expect("ok");
    let head = &server.await.expect("ends")[0].0;
    assert!(head.contains("x-tenant: blue\r\n") && head.contains("user-agent: mine\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("volsync"), "{head}");
}

#[tokio::test]
async fn without_keep_alive_each_request_has_its_own_connection() {
    let (listener, address) = listener().await;
    let server = answer(listener, vec![vec![HELLO]; 3]);
    let client = Client::new(HttpSettings { keep_alive: false, ..settings() }).expect("a client");
    for _ in 0..3 {
        assert_eq!(text(&client, get(&format!("http://{address}/"))).await.expect("ok"), "hello");
    }
    for (head, _) in server.await.expect("ends") {
        assert!(head.contains("connection: close\r\n"), "{head}");
    }
}

/// Answers every connection for ever; gives the most requests that were open at the same time when it is asked to stop.
fn crowd(listener: TcpListener) -> Arc<std::sync::atomic::AtomicUsize> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, now) = (Arc::clone(&most), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (seen, now) = (Arc::clone(&seen), Arc::clone(&now));
            tokio::spawn(async move {
                while socket.readable().await.is_ok() && socket.peek(&mut [0]).await.is_ok_and(|count| count > 0) {
                    read_request(&mut socket).await;
                    seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                    now.fetch_sub(1, Ordering::SeqCst);
                    socket.write_all(HELLO.as_bytes()).await.expect("taken");
                }
            });
        }
    });
    most
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_allowed() {
    for (max_connections, expect) in [(2, 2), (0, 16)] {
        let (listener, address) = listener().await;
        let most = crowd(listener);
        let client = Client::new(HttpSettings { max_connections, ..settings() }).expect("a client");
        let url = format!("http://{address}/");
        let texts = futures_util::future::join_all((0..16).map(|_| text(&client, get(&url)))).await;
        assert!(texts.iter().all(|text| text.as_ref().is_ok_and(|text| text == "hello")));
        let most = most.load(std::sync::atomic::Ordering::SeqCst);
        assert!(most <= expect && (max_connections > 0 || most > 2), "{most} of {max_connections}");
    }
}

#[tokio::test]
async fn rates_hold_back_uploads_downloads_and_requests() {
    let whole = 4 * pace::STEP;
    let rate = Some(50 * pace::STEP as u64);
    // 80 ms of pieces, of which the first goes at once.
    let check = async |settings: HttpSettings, times: usize, payload: Payload, answer_with: &str, least: u64| {
        let (listener, address) = listener().await;
        let answer_with: &'static str = answer_with.to_owned().leak();
        let server = answer(listener, vec![vec![answer_with; times]]);
        let client = Client::new(settings).expect("a client");
        let start = std::time::Instant::now();
        for _ in 0..times {
            let url = format!("http://{address}/");
            text(&client, request(Method::PUT, &url, payload.clone())).await.expect("ok");
        }
        assert!(start.elapsed() >= Duration::from_millis(least), "{:?} {least}", start.elapsed());
        let seen = server.await.expect("ends");
        assert!(seen.len() == times && seen.iter().all(|(_, body)| body.len() as u64 == payload.len()));
    };
    let upload = Payload::Bytes(vec![1; whole].into());
    check(HttpSettings { upload_rate: rate, ..settings() }, 1, upload.clone(), EMPTY, 60).await;
    // Waiting for one's turn is no silence of the server.
    let impatient = Duration::from_millis(10);
    check(HttpSettings { upload_rate: rate, idle_timeout: impatient, ..settings() }, 1, upload, EMPTY, 60).await;
    let download = format!("HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n{}", "x".repeat(whole));
    check(HttpSettings { download_rate: rate, ..settings() }, 2, Payload::Empty, &download, 80).await;
    check(HttpSettings { requests_per_second: Some(50.0), ..settings() }, 4, Payload::Empty, EMPTY, 60).await;
    check(
        HttpSettings { requests_per_second: Some(0.001), request_burst: 4, ..settings() },
        4,
        Payload::Empty,
        EMPTY,
        0,
    )
    .await;
}

#[tokio::test]
async fn connections_come_from_the_address_they_are_bound_to() {
    let (listener, address) = listener().await;
    let peer = tokio::spawn(async move {
        let (mut socket, peer) = listener.accept().await.expect("a connection");
        read_request(&mut socket).await;
        socket.write_all(EMPTY.as_bytes()).await.expect("taken");
        peer.ip().to_string()
    });
    let bind = Some("127.0.0.2".parse().expect("an address"));
    let client = Client::new(HttpSettings { bind, ..settings() }).expect("a client");
    text(&client, get(&format!("http://{address}/"))).await.expect("ok");
    assert_eq!(peer.await.expect("ends"), "127.0.0.2");
}
