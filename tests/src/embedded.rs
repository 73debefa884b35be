//! Our embedded S3 server as an endpoint for programs outside of this process.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tempfile::{NamedTempFile, TempPath};
use tokio::runtime::{Builder, Runtime};
use volsync_embedded_s3::store::Attributes;
use volsync_embedded_s3::{Faults, Gate, RequestRecord, Server, ServerOptions};

use crate::process::Running;
use crate::servers::{Inspect, S3Endpoint};

/// How often a wait for a client looks whether the client is still there.
const LOOK: Duration = Duration::from_millis(200);

/// A server on a thread of its own; ends with the value.
pub struct Embedded {
    server: Server,
    ca: Option<TempPath>,
    runtime: Runtime,
}

impl Embedded {
    /// Plain HTTP with one empty bucket.
    pub fn start(bucket: &str) -> Self {
        Self::with(ServerOptions::with_bucket(bucket))
    }

    /// TLS under an authority of the server's own, with one empty bucket.
    pub fn start_tls(bucket: &str) -> Self {
        Self::with(ServerOptions { tls: true, ..ServerOptions::with_bucket(bucket) })
    }

    /// Set up as the caller wants it.
    pub fn with(options: ServerOptions) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start(options)).unwrap();
        let ca = server.ca_pem().map(|pem| {
            let mut file = NamedTempFile::with_prefix("ca-").unwrap();
            file.write_all(pem.as_bytes()).unwrap();
            file.into_temp_path()
        });
        Self { server, ca, runtime }
    }

    /// Requests seen, faults to come, objects stored.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Faults to come.
    pub fn faults(&self) -> &Faults {
        self.server.faults()
    }

    /// What was asked since the last time this was called.
    pub fn requests(&self) -> Vec<RequestRecord> {
        let requests = self.server.recorder().snapshot();
        self.server.recorder().clear();
        requests
    }

    /// Waits until a request of `client` stands at `gate`; panics when the client ends before.
    #[track_caller]
    pub fn wait_at(&self, gate: &Gate, client: &Running) {
        let counts = || self.server.recorder().counts();
        while !self.runtime.block_on(gate.reached(LOOK)) {
            assert!(!client.has_ended(), "the client ended before a request came to the gate, after {:?}", counts());
        }
    }
}

impl S3Endpoint for Embedded {
    fn url(&self) -> String {
        self.server.endpoint()
    }

    fn access_key(&self) -> &str {
        self.server.access_key()
    }

    fn secret_key(&self) -> &str {
        self.server.secret_key()
    }

    fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }
}

impl Inspect for Embedded {
    fn objects(&self, bucket: &str, prefix: &str) -> BTreeMap<String, String> {
        let store = self.server.store();
        let keys = store.keys(bucket).into_iter().filter(|key| key.starts_with(prefix));
        keys.map(|key| (store.get(bucket, &key).unwrap().etag.clone(), key)).map(|(etag, key)| (key, etag)).collect()
    }

    fn put(&self, bucket: &str, key: &str, content: &[u8]) {
        self.server.store().put(bucket, key, content.to_vec(), Attributes::default()).unwrap();
    }
}
