//! Our embedded S3 server as an endpoint for programs outside of this process: with its own store, or, where
//! [`STORE`] says `minio`, in front of MinIO. Then MinIO stores and answers, and the server in front counts requests and
//! breaks those that a test wants broken. So one suite is held against both (`tests/run`).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tempfile::{NamedTempFile, TempPath};
use tokio::runtime::{Builder, Runtime};
use volsync_embedded_s3::store::Attributes;
use volsync_embedded_s3::{Faults, Gate, Recorder, RequestRecord, Server, ServerOptions};

use crate::process::Running;
use crate::servers::{Inspect, Minio, S3Endpoint};

/// The variable that names the store of every [`Embedded`]: `embedded`, which is also meant when it is not set, or `minio`.
pub const STORE: &str = "VOLSYNC_TESTS_STORE";

/// How often a wait for a client looks whether the client is still there.
const LOOK: Duration = Duration::from_millis(200);

/// A server on a thread of its own; ends with the value.
pub struct Embedded {
    server: Server,
    ca: Option<TempPath>,
    runtime: Runtime,
    /// The store, where it is not our own.
    minio: Option<Minio>,
}

/// Whether [`STORE`] puts MinIO behind.
fn before_minio() -> bool {
    match std::env::var(STORE).as_deref() {
        Err(_) | Ok("embedded") => false,
        Ok("minio") => true,
        Ok(other) => panic!("{STORE} is {other:?}, neither embedded nor minio"),
    }
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
        if !before_minio() {
            return Self::launch(options, None);
        }
        let minio = Minio::start();
        for bucket in &options.buckets {
            minio.bucket(bucket);
        }
        let (access_key, secret_key) = (minio.access_key().to_owned(), minio.secret_key().to_owned());
        let behind = Some(minio.address());
        Self::launch(ServerOptions { access_key, secret_key, behind, ..options }, Some(minio))
    }

    fn launch(options: ServerOptions, minio: Option<Minio>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start(options)).unwrap();
        let ca = server.ca_pem().map(|pem| {
            let mut file = NamedTempFile::with_prefix("ca-").unwrap();
            file.write_all(pem.as_bytes()).unwrap();
            file.into_temp_path()
        });
        Self { server, ca, runtime, minio }
    }

    /// Requests seen, faults to come, objects stored.
    ///
    /// # Panics
    /// Where MinIO stores the objects: what only our own store does is no test of MinIO.
    #[track_caller]
    pub fn server(&self) -> &Server {
        assert!(self.minio.is_none(), "this test needs our own store, leave it out where {STORE}=minio");
        &self.server
    }

    /// The store, where it is not the server's own.
    pub(crate) fn minio(&self) -> Option<&Minio> {
        self.minio.as_ref()
    }

    /// What was asked.
    pub fn recorder(&self) -> &Recorder {
        self.server.recorder()
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
        if let Some(minio) = &self.minio {
            return minio.objects(bucket, prefix);
        }
        let store = self.server.store();
        let keys = store.keys(bucket).into_iter().filter(|key| key.starts_with(prefix));
        keys.map(|key| (store.get(bucket, &key).unwrap().etag.clone(), key)).map(|(etag, key)| (key, etag)).collect()
    }

    fn put(&self, bucket: &str, key: &str, content: &[u8]) {
        match &self.minio {
            Some(minio) => minio.put(bucket, key, content),
            None => self.server.store().put(bucket, key, content.to_vec(), Attributes::default()).unwrap(),
        }
    }

    fn read(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        match &self.minio {
            Some(minio) => minio.read(bucket, key),
            None => Some(self.server.store().get(bucket, key).ok()?.content.read_all().unwrap().to_vec()),
        }
    }

    fn delete(&self, bucket: &str, key: &str) {
        match &self.minio {
            Some(minio) => minio.delete(bucket, key),
            None => assert!(self.server.store().delete(bucket, key).unwrap(), "no {key}"),
        }
    }

    fn unfinished(&self, bucket: &str) -> usize {
        match &self.minio {
            Some(minio) => minio.unfinished(bucket),
            None => self.server.store().unfinished_uploads(bucket).len(),
        }
    }
}
