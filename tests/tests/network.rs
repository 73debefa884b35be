//! TLS, proxies and trust as a user meets them: real certificates, real sockets, `Client::send` from end to end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http::Request;
use mover_rclone::http::{Client, HttpErrorKind, HttpSettings, Payload};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use volsync_common::proxy::Proxies;
use volsync_common::tls::{Trust, client_config};
use volsync_tests::certificates::{Authority, Identity};
use volsync_tests::process::run;

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

fn acceptor(identity: &Identity) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

async fn head(socket: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Says `hello` to every request, over TLS.
async fn server(identity: &Identity) -> SocketAddr {
    let (listener, address) = listen().await;
    let acceptor = acceptor(identity);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut socket) = acceptor.accept(socket).await else { return };
                while head(&mut socket).await.is_some() {
                    socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
                    socket.flush().await.unwrap();
                }
            });
        }
    });
    address
}

/// Opens one tunnel to `server`, whatever it is asked for; gives the request that asked.
async fn proxy(tls: Option<TlsAcceptor>, server: SocketAddr) -> (SocketAddr, JoinHandle<String>) {
    let (listener, address) = listen().await;
    let asked = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut near: Box<dyn Socket> = match tls {
            Some(acceptor) => Box::new(acceptor.accept(socket).await.unwrap()),
            None => Box::new(socket),
        };
        let asked = head(&mut near).await.unwrap();
        near.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await.unwrap();
        let mut far = TcpStream::connect(server).await.unwrap();
        // Ends when the client drops its connection, politely or not.
        let _bytes = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        asked
    });
    (address, asked)
}

fn trust(dir: &TempDir, authority: &Authority) -> Trust {
    let path = dir.path().join("ca.pem");
    fs::write(&path, authority.pem()).unwrap();
    Trust { custom_ca: vec![path], ..Trust::default() }
}

fn client(trust: &Trust, proxies: Proxies) -> Client {
    Client::new(HttpSettings { proxies, ..HttpSettings::new(client_config(trust).unwrap()) }).unwrap()
}

async fn ask(client: &Client, url: &str) -> Result<String, HttpErrorKind> {
    let request = Request::builder().uri(url).body(Payload::Empty).unwrap();
    let response = client.send(request).await.map_err(|error| error.kind)?;
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect(100).await.map_err(|error| error.kind)?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_custom_authority_is_trusted_by_name_and_by_address_and_no_other_is() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
    let address = server(&authority.loopback()).await;
    let ours = client(&trust(&dir, &authority), Proxies::none());
    for url in [format!("https://{address}/b"), format!("https://localhost:{}/b", address.port())] {
        assert_eq!(ask(&ours, &url).await.unwrap(), "hello");
        assert_eq!(ask(&ours, &url).await.unwrap(), "hello", "again, on the same connection");
    }
    let stranger = client(&trust(&dir, &Authority::new()), Proxies::none());
    let refused = ask(&stranger, &format!("https://{address}/")).await.unwrap_err();
    assert!(matches!(refused, HttpErrorKind::Tls(_)), "{refused}");
}

async fn through_a_tunnel(scheme: &str, login: &str, expect_login: bool) {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
    let names = rcgen::CertificateParams::new(["s3.example".to_owned()]).unwrap();
    let server = server(&authority.issue(&names)).await;
    let tls = (scheme == "https").then(|| acceptor(&authority.loopback()));
    let (address, asked) = proxy(tls, server).await;
    let proxies = Proxies::none().with_override(&format!("{scheme}://{login}{address}")).unwrap();
    let client = client(&trust(&dir, &authority), proxies);
    for _twice in 0..2 {
        assert_eq!(ask(&client, "https://s3.example/bucket?list-type=2").await.unwrap(), "hello");
    }
    drop(client);
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("CONNECT s3.example:443 HTTP/1.1\r\n"), "{asked}");
    assert_eq!(asked.contains("Proxy-Authorization: Basic dTpw\r\n"), expect_login, "{asked}");
}

#[tokio::test]
async fn https_goes_through_the_tunnel_of_a_plain_proxy() {
    through_a_tunnel("http", "u:p@", true).await;
}

#[tokio::test]
async fn https_goes_through_the_tunnel_of_a_proxy_that_speaks_tls_itself() {
    through_a_tunnel("https", "", false).await;
}

/// What a process with these variables says to a server: the roots are read from the environment, which this process
/// cannot change for itself.
async fn in_another_process(url: &str, file: &Path, dir: &Path) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_other_process", "--nocapture"]);
    command.env("VOLSYNC_TEST_URL", url).env("SSL_CERT_FILE", file).env("SSL_CERT_DIR", dir);
    tokio::task::spawn_blocking(move || run(&mut command).success().text()).await.unwrap()
}

#[tokio::test]
async fn the_other_process() {
    let Ok(url) = std::env::var("VOLSYNC_TEST_URL") else { return };
    match ask(&client(&Trust::default(), Proxies::none()), &url).await {
        Ok(said) => println!("said: {said}"),
        Err(HttpErrorKind::Tls(why)) => println!("refused: {why}"),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_systems_roots_come_from_where_the_environment_says() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
    let url = format!("https://{}/", server(&authority.loopback()).await);
    let (ours, empty) = (dir.path().join("ours.pem"), dir.path().join("empty"));
    fs::write(&ours, authority.pem()).unwrap();
    fs::create_dir(&empty).unwrap();
    let said = in_another_process(&url, &ours, &empty).await;
    assert!(said.contains("said: hello"), "{said}");
    // Without any certificate the built-in list is there: it builds, and does not know our authority.
    let said = in_another_process(&url, &dir.path().join("missing"), &empty).await;
    assert!(said.contains("refused: "), "{said}");
}
