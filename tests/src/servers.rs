//! S3 servers that the tests run on loopback.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::{NamedTempFile, TempDir, TempPath};

use crate::certificates::Authority;
use crate::embedded::Embedded;
use crate::peers;
use crate::process::Running;

/// How long a server may take to answer its first request; MinIO needs about one second on an idle core.
const READY: Duration = Duration::from_mins(1);

/// The name of the remote in every `rclone.conf` that [`rclone_conf`] writes.
pub const SECTION: &str = "remote";

/// Where an S3 server is and who may use it.
pub trait S3Endpoint {
    /// Scheme, address and port, for example `https://127.0.0.1:9000`.
    fn url(&self) -> String;
    /// The access key.
    fn access_key(&self) -> &str;
    /// The secret key.
    fn secret_key(&self) -> &str;
    /// A PEM file with the authority to trust, for https.
    fn ca(&self) -> Option<&Path>;
}

/// A server whose content a test can look at and change behind the back of its clients.
pub trait Inspect: S3Endpoint {
    /// Keys that begin with `prefix`, each with the MD5 of its content or its ETag.
    fn objects(&self, bucket: &str, prefix: &str) -> BTreeMap<String, String>;
    /// Stores an object.
    fn put(&self, bucket: &str, key: &str, content: &[u8]);
}

/// Runs `test` on MinIO and on our embedded server, each with the empty bucket `bucket`.
#[track_caller]
pub fn on_each_server(bucket: &str, test: impl Fn(&dyn Inspect)) {
    test(&Embedded::start(bucket));
    test(Minio::start().bucket(bucket));
}

/// A `rclone.conf` whose section [`SECTION`] is this endpoint under `provider`; removed when dropped.
pub fn rclone_conf(endpoint: &dyn S3Endpoint, provider: &str) -> TempPath {
    rclone_conf_with(endpoint, provider, "")
}

/// [`rclone_conf`] with further lines, for example `upload_cutoff = 5Mi`.
pub fn rclone_conf_with(endpoint: &dyn S3Endpoint, provider: &str, options: &str) -> TempPath {
    let mut file = NamedTempFile::with_prefix("rclone-conf-").unwrap();
    let (url, access, secret) = (endpoint.url(), endpoint.access_key(), endpoint.secret_key());
    writeln!(
        file,
        "[{SECTION}]\ntype = s3\nprovider = {provider}\nenv_auth = false\naccess_key_id = {access}\n\
         secret_access_key = {secret}\nendpoint = {url}\nregion = us-east-1\n{options}"
    )
    .unwrap();
    file.into_temp_path()
}

/// A MinIO server with an empty store; ends with the value.
#[derive(Debug)]
pub struct Minio {
    process: Running,
    dir: TempDir,
    port: u16,
    authority: Option<(Authority, PathBuf)>,
}

impl Minio {
    /// Over plain HTTP.
    pub fn start() -> Self {
        Self::launch(None)
    }

    /// Over TLS, with a certificate of an authority made for this server.
    pub fn start_tls() -> Self {
        Self::launch(Some(Authority::new()))
    }

    /// Makes an empty bucket.
    pub fn bucket(&self, name: &str) -> &Self {
        let answer = crate::rclone::Rclone::new(self, "Minio").run(&["mkdir", &format!("{SECTION}:{name}")]);
        answer.success();
        self
    }

    /// Sends the server a signal: `STOP` makes it silent, `KILL` gone.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The directory that holds the store: buckets are its sub-directories.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A port that was free a moment ago may be taken by the time the server binds it: another one is tried then.
    fn launch(authority: Option<Authority>) -> Self {
        let dir = TempDir::with_prefix("minio-").unwrap();
        let authority = authority.map(|authority| install_certificates(dir.path(), authority));
        for _ in 0..5 {
            let port = free_port();
            let process = Running::start(&mut command(dir.path(), port));
            if ready(port, authority.as_ref().map(|(authority, _)| authority), &process) {
                return Self { process, dir, port, authority };
            }
        }
        panic!("MinIO did not start")
    }
}

impl S3Endpoint for Minio {
    fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    fn access_key(&self) -> &'static str {
        "volsync-access"
    }

    fn secret_key(&self) -> &'static str {
        "volsync-secret"
    }

    fn ca(&self) -> Option<&Path> {
        self.authority.as_ref().map(|(_, file)| file.as_path())
    }
}

impl Inspect for Minio {
    fn objects(&self, bucket: &str, prefix: &str) -> BTreeMap<String, String> {
        let remote = format!("{SECTION}:{bucket}/{prefix}");
        let args = ["lsf", "-R", "--files-only", "--format", "hp", "--hash", "MD5", "--separator", " ", &remote];
        let said = crate::rclone::Rclone::new(self, "Minio").run(&args).success().text();
        let lines = said.lines().filter_map(|line| line.split_once(' '));
        lines.map(|(md5, path)| (format!("{prefix}{path}"), md5.to_owned())).collect()
    }

    fn put(&self, bucket: &str, key: &str, content: &[u8]) {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let remote = format!("{SECTION}:{bucket}/{key}");
        crate::rclone::Rclone::new(self, "Minio").run(&["copyto".as_ref(), file.path(), remote.as_ref()]).success();
    }
}

/// A loopback port that nothing listens on at this moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn install_certificates(dir: &Path, authority: Authority) -> (Authority, PathBuf) {
    let identity = authority.loopback();
    let certs = dir.join("certs");
    fs::create_dir(&certs).unwrap();
    fs::write(certs.join("public.crt"), identity.chain).unwrap();
    fs::write(certs.join("private.key"), identity.key).unwrap();
    let ca = dir.join("ca.crt");
    fs::write(&ca, authority.pem()).unwrap();
    (authority, ca)
}

fn command(dir: &Path, port: u16) -> Command {
    let mut command = Command::new(peers::minio());
    command.env_clear().env("HOME", dir);
    command.envs([("MINIO_ROOT_USER", "volsync-access"), ("MINIO_ROOT_PASSWORD", "volsync-secret")]);
    command.envs([("MINIO_BROWSER", "off"), ("MINIO_UPDATE", "off")]);
    command.args(["server", "--quiet", "--anonymous", "--address", &format!("127.0.0.1:{port}"), "--certs-dir"]);
    command.arg(dir.join("certs")).arg(dir.join("store"));
    command
}

/// Asks until the server says that it serves, at most [`READY`]; false when the process ended instead.
fn ready(port: u16, authority: Option<&Authority>, process: &Running) -> bool {
    let start = Instant::now();
    while start.elapsed() < READY {
        if matches!(health(port, authority), Ok(answer) if answer.starts_with(b"HTTP/1.1 200")) {
            return true;
        }
        if process.has_ended() {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("MinIO is not ready after {READY:?}")
}

fn health(port: u16, authority: Option<&Authority>) -> io::Result<Vec<u8>> {
    let tcp = TcpStream::connect(("127.0.0.1", port))?;
    tcp.set_read_timeout(Some(READY))?;
    match authority {
        None => ask(tcp),
        Some(authority) => ask(StreamOwned::new(tls(authority), tcp)),
    }
}

fn ask(mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
    stream.write_all(b"GET /minio/health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = vec![0; 64];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

fn tls(authority: &Authority) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap()
}
