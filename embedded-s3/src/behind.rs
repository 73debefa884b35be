//! Another server behind this one: requests that are not broken on purpose go on to it as they came.

use std::net::SocketAddr;

use http::{Request, Response, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::Body;
use tokio::net::TcpStream;

use crate::front::{Answer, Cut};

/// Passes `request` on to the server at `address`, over a connection of its own, and returns its answer. The path, the
/// query and every header stay as they are, so the signature holds if the other server knows the key.
pub(crate) async fn pass_on(address: SocketAddr, request: Request<Body>) -> Answer {
    exchange(address, request).await.map_err(|error| Cut(format!("the server behind, {address}: {error}")))
}

async fn exchange(
    address: SocketAddr,
    request: Request<Body>,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the server behind ended early");
        }
    });
    let mut response = sender.send_request(request).await?;
    // They are about the connection to the other server.
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        response.headers_mut().remove(name);
    }
    Ok(response.map(Body::http_body))
}
