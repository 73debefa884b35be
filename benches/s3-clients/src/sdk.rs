//! aws-sdk-s3 as lean as it can be set up: no TLS, no checksums beyond what is required, no stalled-stream watch.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::Result;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

type Putting = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

pub fn put(server: SocketAddr, size: usize, signed: bool) -> impl Fn(usize) -> Putting + Send + Sync + 'static {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new("id", "secret", None, None, "bench"))
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{server}"))
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    let (client, body) = (Client::from_conf(config), Bytes::from(vec![7; size]));
    move |index| {
        let request =
            client.put_object().bucket("b").key(format!("dir/{index}")).content_md5("1B2M2Y8AsgTpgAmY7PhCfg==");
        let request =
            request.metadata("mtime", "1795237384.305206097").body(ByteStream::from(body.clone())).customize();
        Box::pin(async move {
            let request = if signed { request } else { request.disable_payload_signing() };
            request.send().await?;
            Ok(())
        })
    }
}
