//! The store: our embedded S3 server on loopback, and the `rclone.conf` that leads to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use volsync_embedded_s3::{Server, ServerOptions};

/// Where the volume is stored: remote, bucket and prefix.
pub(crate) const PLACE: &str = "demo:volumes/first";

/// A running server. It and what it holds end with the value.
pub(crate) struct Bucket {
    server: Server,
    conf: PathBuf,
    authority: PathBuf,
    interrupted: CancellationToken,
    runtime: Runtime,
}

impl Bucket {
    /// Starts a server whose files, certificate and configuration are in `dir`.
    pub(crate) fn start(dir: &Path, latency: Duration) -> anyhow::Result<Self> {
        raise_descriptor_limit();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().context("starting threads")?;
        let options = ServerOptions {
            buckets: vec!["volumes".to_owned()],
            tls: true,
            data_dir: Some(dir.join("bucket")),
            latency,
            record: false,
            ..ServerOptions::default()
        };
        let server = runtime.block_on(Server::start(options)).context("starting the S3 server")?;
        let (conf, authority) = (dir.join("rclone.conf"), dir.join("ca.crt"));
        fs::write(&authority, server.ca_pem().unwrap_or_default()).context("writing the authority's certificate")?;
        fs::write(&conf, configuration(&server)).context("writing rclone.conf")?;
        let interrupted = CancellationToken::new();
        let told = interrupted.clone();
        runtime.spawn(async move {
            if first_signal().await.is_ok() {
                told.cancel();
            }
        });
        Ok(Self { server, conf, authority, interrupted, runtime })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        self.server.endpoint()
    }

    /// The variables that lead a mover to it.
    pub(crate) fn variables(&self) -> [(&'static str, &Path); 2] {
        [("RCLONE_CONFIG", &self.conf), ("CUSTOM_CA", &self.authority)]
    }

    /// Requests by operation since this was asked last.
    pub(crate) fn take_requests(&self) -> BTreeMap<String, u64> {
        let counts = self.server.recorder().counts();
        self.server.recorder().clear();
        counts
    }

    /// Fails once Ctrl-C was pressed. (While the mover runs, it sees to that itself.)
    pub(crate) fn go_on(&self) -> anyhow::Result<()> {
        ensure!(!self.interrupted.is_cancelled(), "interrupted");
        Ok(())
    }

    /// Waits for Ctrl-C.
    pub(crate) fn wait(&self) {
        self.runtime.block_on(self.interrupted.cancelled());
    }

    /// How to look around in it.
    pub(crate) fn invitation(&self) -> String {
        let (conf, authority) = (self.conf.display(), self.authority.display());
        format!(
            "The store runs until Ctrl-C. In another terminal:\n\n  \
             export RCLONE_CONFIG={conf}\n  \
             export RCLONE_CA_CERT={authority}\n  \
             mover-rclone ls {PLACE}\n  \
             rclone lsl {PLACE}"
        )
    }
}

/// What would end the program; here it is to clean up first.
async fn first_signal() -> std::io::Result<()> {
    let [mut terminate, mut interrupt, mut hangup] =
        [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// Uploads in parts begin far below rclone's 200 MiB, so that a small volume has some.
fn configuration(server: &Server) -> String {
    format!(
        "[demo]\ntype = s3\nprovider = Other\nendpoint = {}\nregion = {}\naccess_key_id = {}\nsecret_access_key = {}\n\
         upload_cutoff = 8Mi\n",
        server.endpoint(),
        server.region(),
        server.access_key(),
        server.secret_key(),
    )
}

/// The server keeps a descriptor for every larger body: as many as the system allows.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Without them a volume of many large files fails with a message that says so.
    let _as_many_as_there_are = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
