//! `CONNECT` through an HTTP proxy (RFC 9110, section 9.3.6).

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use volsync_common::proxy::ProxyLogin;

use super::dial::Target;
use super::error::HttpErrorKind;
use super::wire::Stream;

/// More than any proxy's answer; a longer one is refused.
const LONGEST_HEAD: usize = 16 * 1024;

/// The value of `Proxy-Authorization` (RFC 7617), marked so that it is never printed.
pub(super) fn basic(login: &ProxyLogin) -> Result<HeaderValue, HttpErrorKind> {
    let plain = [login.user.as_slice(), b":", login.password.as_slice()].concat();
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(plain)))
        .map_err(|error| HttpErrorKind::Proxy(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Asks the proxy at the other end of `stream` for a tunnel to `target`.
pub(super) async fn connect(
    stream: &mut Box<dyn Stream>,
    target: Target<'_>,
    authorization: Option<&[u8]>,
    user_agent: &str,
) -> Result<(), HttpErrorKind> {
    let broken = |error: io::Error| HttpErrorKind::Proxy(format!("no tunnel: {error}"));
    stream.write_all(&request(target, authorization, user_agent)).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= LONGEST_HEAD {
            return Err(HttpErrorKind::Proxy("its answer to CONNECT does not end".into()));
        }
        // Byte by byte: what follows the head belongs to the tunnel. This happens once per connection.
        head.push(stream.read_u8().await.map_err(broken)?);
    }
    judge(&head)
}

fn request(target: Target<'_>, authorization: Option<&[u8]>, user_agent: &str) -> Vec<u8> {
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.to_owned() };
    let address = format!("{host}:{}", target.port);
    let mut head =
        format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {user_agent}\r\n").into_bytes();
    if let Some(authorization) = authorization {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(authorization);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn judge(head: &[u8]) -> Result<(), HttpErrorKind> {
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    match line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)) {
        Some(code) if code.len() == 3 && code.starts_with('2') => Ok(()),
        Some("407") => Err(HttpErrorKind::Proxy("it wants a login: put user:password@ into the proxy's URL".into())),
        Some(_) => Err(HttpErrorKind::Proxy(format!("it refused the tunnel: {}", line.escape_default()))),
        None => Err(HttpErrorKind::Proxy(format!("it does not speak HTTP: {}", line.escape_default()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged() {
        let check = |head: &str, expect: Result<(), &str>| {
            let outcome = judge(head.as_bytes()).map_err(|error| error.to_string());
            assert_eq!(outcome, expect.map_err(str::to_owned), "{head:?}");
        };
        check("HTTP/1.1 200 Connection established\r\n\r\n", Ok(()));
        check("HTTP/1.0 200\r\n\r\n", Ok(()));
        check("HTTP/1.1 407 x\r\n\r\n", Err("it wants a login: put user:password@ into the proxy's URL"));
        check("HTTP/1.1 403 Forbidden\r\n\r\n", Err("it refused the tunnel: HTTP/1.1 403 Forbidden"));
        check("SSH-2.0-x\r\n\r\n", Err("it does not speak HTTP: SSH-2.0-x"));
        check("\r\n\r\n", Err("it does not speak HTTP: "));
    }
}
