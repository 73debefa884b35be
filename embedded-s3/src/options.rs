//! How a server is set up.

use s3s::dto::ServerSideEncryption;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything a server can be told at its start.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The one access key the server knows.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Region of all buckets.
    pub region: String,
    /// Refuse signatures made for another region, as Amazon does.
    pub check_region: bool,
    /// Serve requests without a signature.
    pub anonymous: bool,
    /// Buckets that exist from the start.
    pub buckets: Vec<String>,
    /// Speak HTTPS with a certificate from an authority made at start.
    pub tls: bool,
    /// Speak HTTPS with this certificate.
    pub identity: Option<Identity>,
    /// Keep object bytes in files here instead of in memory. The index is always in memory: nothing survives a restart.
    pub data_dir: Option<PathBuf>,
    /// Bytes of data files that are kept when their objects go, and written again: a benchmark is not to measure where the
    /// pages of new files come from.
    pub spare_data: u64,
    /// Another server that speaks plain HTTP and knows the same key: it stores and answers, this one records, delays and
    /// breaks. What is said here about storing and listing means nothing then.
    pub behind: Option<SocketAddr>,
    /// Time added before each answer.
    pub latency: Duration,
    /// Bytes per second each connection may move in a direction.
    pub bandwidth: Option<u64>,
    /// Seconds the server's clock is ahead of the real one (negative: behind).
    pub clock_offset_s: i64,
    /// Smallest part of a multipart upload, the last excepted, in bytes.
    pub min_part_size: u64,
    /// Most entries of a listing page.
    pub page_max: usize,
    /// Remember each request, not only the counts.
    pub record: bool,
    /// Departures from Amazon's behaviour that other providers have.
    pub quirks: Quirks,
}

/// A certificate to serve, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate and what follows it in the chain.
    pub chain: String,
    /// Its private key.
    pub key: String,
}

/// What some providers do differently.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quirks {
    /// ListObjectsV2 starts at the first key, whatever `start-after` says.
    pub ignore_start_after: bool,
    /// DeleteObjects is not implemented.
    pub no_delete_objects: bool,
    /// ListObjectsV2 is not implemented.
    pub v1_only: bool,
    /// The bucket encrypts with KMS by itself: answers say so, and ETags are random.
    pub no_etag_md5: bool,
}

impl Quirks {
    /// What answers about content say of its encryption.
    pub(crate) fn encryption(self) -> Option<ServerSideEncryption> {
        self.no_etag_md5.then(|| ServerSideEncryption::from_static(ServerSideEncryption::AWS_KMS))
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            access_key: "EMBEDDEDACCESSKEY".to_owned(),
            secret_key: "embedded+secret/key".to_owned(),
            region: "us-east-1".to_owned(),
            check_region: false,
            anonymous: false,
            buckets: Vec::new(),
            tls: false,
            identity: None,
            data_dir: None,
            spare_data: 0,
            behind: None,
            latency: Duration::ZERO,
            bandwidth: None,
            clock_offset_s: 0,
            min_part_size: 5 * 1024 * 1024,
            page_max: 1000,
            record: true,
            quirks: Quirks::default(),
        }
    }
}

impl ServerOptions {
    /// The defaults and one bucket.
    pub fn with_bucket(bucket: &str) -> Self {
        Self { buckets: vec![bucket.to_owned()], ..Self::default() }
    }
}
