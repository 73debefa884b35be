//! SOCKS version 5 (RFC 1928), with no login or with user and password (RFC 1929).

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use volsync_common::proxy::ProxyLogin;

use super::error::HttpErrorKind;
use super::wire::Stream;

/// Asks the proxy at the other end of `stream` to connect to `host` and `port`; it resolves the name.
pub(super) async fn connect(
    stream: &mut Box<dyn Stream>,
    host: &str,
    port: u16,
    login: Option<&ProxyLogin>,
) -> Result<(), HttpErrorKind> {
    let method = if login.is_some() { 2 } else { 0 };
    let [version, chosen] = ask(stream, &[5, 1, method]).await?;
    match (version, login) {
        (5, None) if chosen == 0 => {}
        (5, Some(login)) if chosen == 2 => log_in(stream, login).await?,
        (5, _) => return Err(refused("it accepts no login that we have; put user:password@ into the proxy's URL")),
        _ => return Err(refused("it does not speak SOCKS 5")),
    }
    let [_, reply, _, kind] = ask(stream, &request(host, port)?).await?;
    if reply != 0 {
        return Err(refused(meaning(reply)));
    }
    skip_bound_address(stream, kind).await
}

async fn log_in(stream: &mut Box<dyn Stream>, login: &ProxyLogin) -> Result<(), HttpErrorKind> {
    let mut message = vec![1];
    for field in [&login.user, &login.password] {
        message.push(u8::try_from(field.len()).map_err(|_| refused("user and password have at most 255 bytes"))?);
        message.extend_from_slice(field);
    }
    match ask(stream, &message).await? {
        [_, 0] => Ok(()),
        _ => Err(refused("it does not accept the user and password")),
    }
}

fn request(host: &str, port: u16) -> Result<Vec<u8>, HttpErrorKind> {
    let mut message = vec![5, 1, 0];
    match host.parse() {
        Ok(IpAddr::V4(ip)) => {
            message.push(1);
            message.extend_from_slice(&ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            message.push(4);
            message.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            message.push(3);
            message.push(u8::try_from(host.len()).map_err(|_| refused("the host name has more than 255 bytes"))?);
            message.extend_from_slice(host.as_bytes());
        }
    }
    message.extend_from_slice(&port.to_be_bytes());
    Ok(message)
}

async fn skip_bound_address(stream: &mut Box<dyn Stream>, kind: u8) -> Result<(), HttpErrorKind> {
    let length = match kind {
        1 => 4,
        3 => usize::from(stream.read_u8().await.map_err(broken)?),
        4 => 16,
        _ => return Err(refused("its answer is not SOCKS 5")),
    };
    let mut rest = [0; 255 + 2];
    stream.read_exact(&mut rest[..length + 2]).await.map_err(broken)?;
    Ok(())
}

async fn ask<const N: usize>(stream: &mut Box<dyn Stream>, message: &[u8]) -> Result<[u8; N], HttpErrorKind> {
    stream.write_all(message).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = [0; N];
    stream.read_exact(&mut answer).await.map_err(broken)?;
    Ok(answer)
}

fn refused(why: &str) -> HttpErrorKind {
    HttpErrorKind::Proxy(why.to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn broken(error: io::Error) -> HttpErrorKind {
    HttpErrorKind::Proxy(format!("no SOCKS connection: {error}"))
}

fn meaning(reply: u8) -> &'static str {
    match reply {
        1 => "it failed",
        2 => "its rules forbid the connection",
        3 => "it cannot reach the network",
        4 => "it cannot reach the host",
        5 => "the host refused its connection",
        6 => "its connection timed out",
        7 => "it cannot make connections",
        8 => "it does not know this kind of address",
        _ => "it refused for an unknown reason",
    }
}
