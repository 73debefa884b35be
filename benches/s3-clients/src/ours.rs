//! Our store (reads the source, hashes, signs, sends, retries) and the HTTP layer below it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use http::{Method, Request};
use mover_rclone::http::{Client, HttpSettings, Payload};
use mover_rclone::s3::{AccessKey, RetryLimits, S3Deps, S3Settings, S3Store};
use mover_rclone::store::{PutRequest, Source, Store};
use volsync_common::path::RelPath;
use volsync_common::proxy::Proxies;
use volsync_common::time::Timestamp;
use volsync_common::tls::{Trust, client_config};

use crate::Load;

type Putting = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

fn client() -> Result<Client> {
    let trust = client_config(&Trust { insecure: true, ..Trust::default() })?;
    Ok(Client::new(HttpSettings { proxies: Proxies::none(), ..HttpSettings::new(trust) })?)
}

struct Memory(Bytes);

impl Source for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.0.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn unchanged(&self) -> io::Result<bool> {
        Ok(true)
    }
}

pub fn put(server: SocketAddr, load: Load, signed: bool) -> Result<impl Fn(usize) -> Putting + Send + Sync + 'static> {
    let key = AccessKey { id: "id".into(), secret: "secret".into(), token: None };
    let settings = S3Settings {
        provider: "Minio".into(),
        bucket: "b".into(),
        endpoint: format!("http://{server}"),
        no_check_bucket: true,
        use_unsigned_payload: Some(!signed),
        ..S3Settings::default()
    };
    let deps = S3Deps {
        http: client()?,
        identity: Arc::new(Some(Arc::new(key))),
        retry: RetryLimits::default(),
        max_requests: load.in_flight,
        upload_memory: 1 << 30,
    };
    let store = Arc::new(S3Store::open(settings, deps)?);
    let source: Arc<dyn Source> = Arc::new(Memory(vec![7; load.size].into()));
    let mtime = Timestamp { secs: 1_795_237_384, nanos: 305_206_097 };
    Ok(move |index| -> Putting {
        let (store, source) = (Arc::clone(&store), Arc::clone(&source));
        Box::pin(async move {
            let path = RelPath::new(format!("dir/{index}").into_bytes())?;
            store.put(PutRequest { path: &path, source, mtime, md5: None, metadata: &[] }).await?;
            Ok(())
        })
    })
}

pub fn bare(server: SocketAddr, size: usize) -> Result<impl Fn(usize) -> Putting + Send + Sync + 'static> {
    let (client, body) = (client()?, Bytes::from(vec![7; size]));
    Ok(move |index| -> Putting {
        let (client, body) = (client.clone(), body.clone());
        Box::pin(async move {
            let uri = format!("http://{server}/b/dir/{index}");
            let request = Request::builder().method(Method::PUT).uri(uri).body(Payload::Bytes(body))?;
            client.send(request).await?.into_body().collect(1024).await?;
            Ok(())
        })
    })
}
