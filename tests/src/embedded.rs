//! Our embedded S3 server as an endpoint for programs outside of this process.

use std::io::Write;
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};
use tokio::runtime::{Builder, Runtime};
use volsync_embedded_s3::{Gate, Server, ServerOptions};

use crate::servers::S3Endpoint;

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

    /// Waits until a request stands at `gate`.
    #[track_caller]
    pub fn wait_at(&self, gate: &Gate) {
        let reached = self.runtime.block_on(gate.reached(crate::process::LIMIT));
        assert!(reached, "no request came to the gate, but {:?}", self.server.recorder().counts());
    }

    /// Requests seen, faults to come, objects stored.
    pub fn server(&self) -> &Server {
        &self.server
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
