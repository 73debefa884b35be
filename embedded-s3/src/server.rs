//! A running server: listener, connections, and what tests hold on to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use volsync_common::tls::{BulkReader, bulk_socket};

use crate::admin::Admin;
use crate::api::Api;
use crate::classify::{DOMAIN, host_bucket};
use crate::clock::Clock;
use crate::fault::Faults;
use crate::front::Front;
use crate::options::ServerOptions;
use crate::record::Recorder;
use crate::store::{Rules, Store};
use crate::tls;
use crate::wire::{Ending, Wire};

/// A running server; dropping it closes the listener and every connection.
pub struct Server {
    address: SocketAddr,
    options: ServerOptions,
    ca_pem: Option<String>,
    store: Arc<Store>,
    recorder: Recorder,
    faults: Faults,
    front: Arc<Front>,
    stop: DropGuard,
}

impl Server {
    /// Starts a server on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be taken, the data directory not made, or no certificate be made.
    pub async fn start(options: ServerOptions) -> io::Result<Self> {
        let rules = Rules {
            random_etags: options.quirks.no_etag_md5,
            min_part_size: options.min_part_size,
            spare: options.spare_data,
        };
        let clock = Clock::default();
        clock.set_offset(options.clock_offset_s);
        let store = Arc::new(Store::new(options.data_dir.as_deref(), rules, clock.clone())?);
        for bucket in &options.buckets {
            store.create_bucket(bucket).map_err(io::Error::other)?;
        }
        let (ca_pem, acceptor) = tls::of(&options)?.map(|tls| (tls.ca_pem, tls.acceptor)).unzip();
        let recorder = Recorder::new(options.record);
        let faults = Faults::default();
        let front = Arc::new(Front {
            service: service(&options, &store),
            behind: options.behind,
            no_delete_objects: options.quirks.no_delete_objects,
            recorder: recorder.clone(),
            faults: faults.clone(),
            latency: options.latency,
            bandwidth: options.bandwidth,
            clock,
            region: options.check_region.then(|| options.region.clone()),
        });
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, acceptor, Arc::clone(&front), stop.clone()));
        let stop = stop.drop_guard();
        let ca_pem = ca_pem.flatten();
        Ok(Self { address, options, ca_pem, store, recorder, faults, front, stop })
    }

    /// URL for path-style requests, by address.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme(), self.address)
    }

    /// URL for virtual-host requests: `bucket.localhost` is a bucket.
    pub fn host_endpoint(&self) -> String {
        format!("{}://{DOMAIN}:{}", self.scheme(), self.address.port())
    }

    fn scheme(&self) -> &'static str {
        if self.options.tls || self.options.identity.is_some() { "https" } else { "http" }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority to trust, when the server speaks TLS.
    pub fn ca_pem(&self) -> Option<String> {
        self.ca_pem.clone()
    }

    /// Access key.
    pub fn access_key(&self) -> &str {
        &self.options.access_key
    }

    /// Secret key.
    pub fn secret_key(&self) -> &str {
        &self.options.secret_key
    }

    /// Region of all buckets.
    pub fn region(&self) -> &str {
        &self.options.region
    }

    /// What was asked.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What is stored.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Moves the server's clock ahead of the real one, or behind it, from now on: for signatures, and for the times of
    /// what is stored.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.front.clock.set_offset(seconds);
    }

    /// Opens the administrative endpoint (module `admin`) and returns its URL.
    pub async fn serve_admin(&self, listen: SocketAddr) -> io::Result<String> {
        let listener = TcpListener::bind(listen).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let admin = Admin::new(self.recorder.clone(), self.faults.clone(), Arc::clone(&self.store));
        tokio::spawn(admin.accept(listener, self.stop.token().clone()));
        Ok(url)
    }
}

fn service(options: &ServerOptions, store: &Arc<Store>) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Api {
        store: Arc::clone(store),
        page_max: options.page_max,
        quirks: options.quirks,
        region: options.region.clone(),
    });
    let mut config = S3Config::default();
    // The front checks the clock, because only it knows the server's offset.
    config.presigned_url_max_skew_time_secs = u32::MAX;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_auth(OneKey {
        access_key: options.access_key.clone(),
        secret_key: SecretKey::from(options.secret_key.clone()),
    });
    builder.set_access(Access { anonymous: options.anonymous });
    builder.set_host(Loopback);
    builder.build()
}

struct OneKey {
    access_key: String,
    secret_key: SecretKey,
}

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            return Ok(self.secret_key.clone());
        }
        Err(s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records."))
    }
}

struct Access {
    anonymous: bool,
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if self.anonymous || cx.credentials().is_some() {
            return Ok(());
        }
        Err(s3_error!(AccessDenied, "Access Denied"))
    }
}

/// `bucket.localhost` is a bucket, every other name is the server.
struct Loopback;

impl S3Host for Loopback {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let server = VirtualHost::new(host);
        Ok(match host_bucket(host) {
            Some(bucket) => server.with_bucket(bucket),
            None => server,
        })
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, front: Arc<Front>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let serve = connection(stream, tls.clone(), Arc::clone(&front));
                let stop = stop.clone();
                tokio::spawn(async move { stop.run_until_cancelled(serve).await });
            }
            // Out of descriptors, or the peer went away: neither is the end of the server.
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, front: Arc<Front>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    let ending = Ending::default();
    let wire = Wire::new(stream, ending.clone());
    match tls {
        None => serve(wire, front, ending).await,
        Some(tls) => match tls.accept(bulk_socket(wire)).await {
            Ok(stream) => serve(BulkReader::new(stream), front, ending).await,
            Err(error) => tracing::debug!(%error, "failed to shake hands"),
        },
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, front: Arc<Front>, ending: Ending) {
    let service = service_fn(move |request| {
        let (front, ending) = (Arc::clone(&front), ending.clone());
        async move { front.answer(request, &ending).await }
    });
    let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}
