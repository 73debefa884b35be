//! From a target to an open connection: names, addresses, proxies, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::HeaderValue;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use volsync_common::proxy::{Proxies, ProxyKind, ProxyTarget};
use volsync_common::tls::{BulkReader, bulk_socket};

use super::connection::{AbsoluteForm, Connection};
use super::error::{HttpErrorKind, Waiting};
use super::wire::{Stream, Traffic, Wire};
use super::{socks, tunnel};

/// How long an address may take before the next one is tried beside it (RFC 8305 says 250 ms, Go 300 ms).
const STAGGER: Duration = Duration::from_millis(300);

/// Opens connections.
pub(super) struct Dialer {
    pub(super) trust: Arc<ClientConfig>,
    pub(super) proxies: Proxies,
    pub(super) user_agent: String,
    pub(super) connect_timeout: Duration,
    pub(super) bind: Option<IpAddr>,
    /// Counts connections, so that they spread over the addresses of a name.
    pub(super) turn: AtomicUsize,
}

/// Where a connection should lead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) tls: bool,
    /// Without brackets.
    pub(super) host: &'a str,
    pub(super) port: u16,
}

impl Dialer {
    /// A connection to `target`, ready for requests.
    pub(super) async fn dial(&self, target: Target<'_>) -> Result<Connection, HttpErrorKind> {
        let opened = timeout(self.connect_timeout, self.open(target)).await;
        opened.unwrap_or(Err(HttpErrorKind::Timeout { what: Waiting::Connect, after: self.connect_timeout }))
    }

    async fn open(&self, target: Target<'_>) -> Result<Connection, HttpErrorKind> {
        let traffic = Arc::new(Traffic::default());
        let scheme = if target.tls { "https" } else { "http" };
        let Some(proxy) = self.proxies.for_url(scheme, target.host, target.port)? else {
            let stream = self.tcp(target.host, target.port, &traffic).await?;
            let stream = self.secure(stream, target).await?;
            return Connection::open(stream, traffic, None).await;
        };
        let (stream, absolute) = self.through(&proxy, target, &traffic).await.map_err(|kind| at_proxy(&proxy, kind))?;
        let stream = self.secure(stream, target).await?;
        Connection::open(stream, traffic, absolute).await
    }

    /// A stream that leads to the target, or to an HTTP proxy that wants absolute-form requests.
    async fn through(
        &self,
        proxy: &ProxyTarget,
        target: Target<'_>,
        traffic: &Arc<Traffic>,
    ) -> Result<(Box<dyn Stream>, Option<AbsoluteForm>), HttpErrorKind> {
        let mut stream = self.tcp(&proxy.host, proxy.port, traffic).await?;
        if proxy.kind == ProxyKind::Https {
            stream = self.handshake(stream, &proxy.host).await?;
        }
        if proxy.kind == ProxyKind::Socks5 {
            socks::connect(&mut stream, target.host, target.port, proxy.login.as_ref()).await?;
            return Ok((stream, None));
        }
        let authorization = proxy.login.as_ref().map(tunnel::basic).transpose()?;
        if !target.tls {
            return Ok((stream, Some(AbsoluteForm { authorization })));
        }
        tunnel::connect(&mut stream, target, authorization.as_ref().map(HeaderValue::as_bytes), &self.user_agent)
            .await?;
        Ok((stream, None))
    }

    async fn secure(&self, stream: Box<dyn Stream>, target: Target<'_>) -> Result<Box<dyn Stream>, HttpErrorKind> {
        if target.tls { self.handshake(stream, target.host).await } else { Ok(stream) }
    }

    async fn handshake(&self, stream: Box<dyn Stream>, host: &str) -> Result<Box<dyn Stream>, HttpErrorKind> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| HttpErrorKind::Request(format!("{host:?} is not a name that TLS can verify")))?;
        let connector = TlsConnector::from(Arc::clone(&self.trust));
        let stream =
            connector.connect(name, bulk_socket(stream)).await.map_err(|error| HttpErrorKind::handshake(&error))?;
        Ok(Box::new(BulkReader::new(stream)))
    }

    async fn tcp(&self, host: &str, port: u16, traffic: &Arc<Traffic>) -> Result<Box<dyn Stream>, HttpErrorKind> {
        let dns = |source| HttpErrorKind::Dns { name: host.to_owned(), source };
        let found: Vec<SocketAddr> = lookup_host((host, port)).await.map_err(dns)?.collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let addresses = order(&found, turn, self.bind);
        if addresses.is_empty() {
            return Err(dns(io::Error::new(io::ErrorKind::NotFound, "it has no address that can be used from here")));
        }
        let socket = race(&addresses, self.bind).await?;
        Ok(Box::new(Wire::new(socket, Arc::clone(traffic))))
    }
}

fn at_proxy(proxy: &ProxyTarget, kind: HttpErrorKind) -> HttpErrorKind {
    match kind {
        HttpErrorKind::Proxy(why) => HttpErrorKind::Proxy(format!("proxy {proxy}: {why}")),
        other => HttpErrorKind::Proxy(format!("proxy {proxy}: {other}")),
    }
}

/// The addresses in the order to try them: families alternate, beginning with the resolver's first choice, and each
/// family is rotated by `turn`.
fn order(found: &[SocketAddr], turn: usize, bind: Option<IpAddr>) -> Vec<SocketAddr> {
    let usable = |address: &&SocketAddr| bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4());
    let Some(first_family) = found.iter().find(usable).map(SocketAddr::is_ipv4) else { return Vec::new() };
    let (mut first, mut second): (Vec<SocketAddr>, Vec<SocketAddr>) =
        found.iter().filter(usable).copied().partition(|address| address.is_ipv4() == first_family);
    for family in [&mut first, &mut second] {
        let by = turn.checked_rem(family.len()).unwrap_or(0);
        family.rotate_left(by);
    }
    let mut ordered = Vec::with_capacity(first.len() + second.len());
    for index in 0..first.len().max(second.len()) {
        ordered.extend(first.get(index).into_iter().chain(second.get(index)));
    }
    ordered
}

/// Tries the addresses one after the other without waiting for slow ones; the first connection wins.
async fn race(addresses: &[SocketAddr], bind: Option<IpAddr>) -> Result<TcpStream, HttpErrorKind> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut failures: Vec<(SocketAddr, io::Error)> = Vec::new();
    attempts.extend(waiting.next().map(|address| attempt(*address, bind)));
    loop {
        tokio::select! {
            outcome = attempts.next() => match outcome {
                Some((_, Ok(socket))) => return Ok(socket),
                Some((address, Err(error))) => {
                    failures.push((address, error));
                    attempts.extend(waiting.next().map(|address| attempt(*address, bind)));
                }
                None => return Err(no_connection(&failures)),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {
                attempts.extend(waiting.next().map(|address| attempt(*address, bind)));
            }
        }
    }
}

async fn attempt(address: SocketAddr, bind: Option<IpAddr>) -> (SocketAddr, io::Result<TcpStream>) {
    (address, connect(address, bind).await)
}

async fn connect(address: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(ip) = bind {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    let stream = socket.connect(address).await?;
    // Head and body of a request are separate writes; Nagle's algorithm would hold the second one back.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn no_connection(failures: &[(SocketAddr, io::Error)]) -> HttpErrorKind {
    let detail: Vec<String> = failures.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    let detail = detail.join("; ");
    match failures.last() {
        Some((_, error)) => HttpErrorKind::connect(error, detail),
        None => HttpErrorKind::Interrupted("no address was tried".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_and_turns_rotate() {
        let addresses = |list: &str| -> Vec<SocketAddr> {
            list.split_whitespace().map(|ip| SocketAddr::new(ip.parse().expect("an address"), 1)).collect()
        };
        let check = |found: &str, turn, bind: Option<&str>, expect: &str| {
            let bind = bind.map(|ip| ip.parse().expect("an address"));
            assert_eq!(order(&addresses(found), turn, bind), addresses(expect), "{found} {turn} {bind:?}");
        };
        check("", 0, None, "");
        check("1.1.1.1 2.2.2.2 3.3.3.3", 0, None, "1.1.1.1 2.2.2.2 3.3.3.3");
        check("1.1.1.1 2.2.2.2 3.3.3.3", 4, None, "2.2.2.2 3.3.3.3 1.1.1.1");
        check("::1 ::2 1.1.1.1", 0, None, "::1 1.1.1.1 ::2");
        check("1.1.1.1 ::1 ::2", 1, None, "1.1.1.1 ::2 ::1");
        check("::1 1.1.1.1", 0, Some("127.0.0.1"), "1.1.1.1");
        check("::1", 0, Some("127.0.0.1"), "");
    }
}
