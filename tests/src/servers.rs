//! S3 servers that the tests run on loopback.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tempfile::{NamedTempFile, TempDir, TempPath};
use volsync_common::tls::{Trust, client_config};

use crate::certificates::{Authority, Identity};
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
    /// The content of an object; none if there is no such object.
    fn read(&self, bucket: &str, key: &str) -> Option<Vec<u8>>;
    /// Removes an object.
    fn delete(&self, bucket: &str, key: &str);
    /// How many multipart uploads are neither completed nor aborted.
    fn unfinished(&self, bucket: &str) -> usize;
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

/// The key that MinIO encrypts with, by its name and its 32 bytes.
const KMS_KEY: (&str, &str) = (Minio::KEY, "dGVzdHMgb2Ygdm9sc3luYy1ycywgbm90IHNlY3JldCE=");

/// A MinIO server with an empty store; ends with the value.
#[derive(Debug)]
pub struct Minio {
    process: Running,
    dir: TempDir,
    port: u16,
    tls: bool,
    ca: Option<PathBuf>,
}

impl Minio {
    /// The name of the key for `server_side_encryption = aws:kms`.
    pub const KEY: &'static str = "volsync-key";

    /// Over plain HTTP.
    pub fn start() -> Self {
        Self::launch(TempDir::with_prefix("minio-").unwrap(), None, None)
    }

    /// Over TLS, with a certificate of an authority made for this server.
    pub fn start_tls() -> Self {
        let (authority, dir) = (Authority::new(), TempDir::with_prefix("minio-").unwrap());
        let ca = dir.path().join("ca.crt");
        fs::write(&ca, authority.pem()).unwrap();
        Self::launch(dir, Some(&authority.loopback()), Some(ca))
    }

    /// Over TLS, with a certificate that its clients are not told to trust.
    pub fn with_identity(identity: &Identity) -> Self {
        Self::launch(TempDir::with_prefix("minio-").unwrap(), Some(identity), None)
    }

    /// Makes an empty bucket.
    pub fn bucket(&self, name: &str) -> &Self {
        let answer = crate::rclone::Rclone::new(self, "Minio").run(&["mkdir", &format!("{SECTION}:{name}")]);
        answer.success();
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
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
    fn launch(dir: TempDir, identity: Option<&Identity>, ca: Option<PathBuf>) -> Self {
        if let Some(identity) = identity {
            install(dir.path(), identity);
        }
        for _ in 0..5 {
            let port = free_port();
            let process = Running::start(&mut command(dir.path(), port));
            if ready(port, identity.is_some(), &process) {
                return Self { process, dir, port, tls: identity.is_some(), ca };
            }
        }
        panic!("MinIO did not start")
    }
}

impl S3Endpoint for Minio {
    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    fn access_key(&self) -> &'static str {
        "volsync-access"
    }

    fn secret_key(&self) -> &'static str {
        "volsync-secret"
    }

    fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }
}

impl Inspect for Minio {
    fn objects(&self, bucket: &str, prefix: &str) -> BTreeMap<String, String> {
        // The prefix need not end where a name does.
        let (dir, _) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        let remote = format!("{SECTION}:{bucket}/{dir}");
        let dir = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let args = ["lsf", "-R", "--files-only", "--format", "hp", "--hash", "MD5", "--separator", " ", &remote];
        let said = crate::rclone::Rclone::new(self, "Minio").run(&args).success().text();
        let lines = said.lines().filter_map(|line| line.split_once(' '));
        let keys = lines.map(|(md5, path)| (format!("{dir}{path}"), md5.to_owned()));
        keys.filter(|(key, _)| key.starts_with(prefix)).collect()
    }

    fn put(&self, bucket: &str, key: &str, content: &[u8]) {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let remote = format!("{SECTION}:{bucket}/{key}");
        crate::rclone::Rclone::new(self, "Minio").run(&["copyto".as_ref(), file.path(), remote.as_ref()]).success();
    }

    fn read(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let there = self.objects(bucket, key).contains_key(key);
        let remote = format!("{SECTION}:{bucket}/{key}");
        there.then(|| crate::rclone::Rclone::new(self, "Minio").run(&["cat", &remote]).success().stdout)
    }

    fn delete(&self, bucket: &str, key: &str) {
        let remote = format!("{SECTION}:{bucket}/{key}");
        crate::rclone::Rclone::new(self, "Minio").run(&["deletefile", &remote]).success();
    }

    /// MinIO lists uploads of one key only, so this looks where it keeps them: a directory a key, in it one an upload.
    fn unfinished(&self, bucket: &str) -> usize {
        assert!(self.store().join(bucket).is_dir(), "no bucket {bucket}");
        let below = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
        below(self.store().join(".minio.sys/multipart")).flat_map(below).count()
    }
}

/// A loopback port that nothing listens on at this moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn install(dir: &Path, identity: &Identity) {
    let certs = dir.join("certs");
    fs::create_dir(&certs).unwrap();
    fs::write(certs.join("public.crt"), &identity.chain).unwrap();
    fs::write(certs.join("private.key"), &identity.key).unwrap();
}

fn command(dir: &Path, port: u16) -> Command {
    let mut command = Command::new(peers::minio());
    command.env_clear().env("HOME", dir);
    command.envs([("MINIO_ROOT_USER", "volsync-access"), ("MINIO_ROOT_PASSWORD", "volsync-secret")]);
    command.envs([("MINIO_BROWSER", "off"), ("MINIO_UPDATE", "off")]);
    command.env("MINIO_KMS_SECRET_KEY", format!("{}:{}", KMS_KEY.0, KMS_KEY.1));
    command.args(["server", "--quiet", "--anonymous", "--address", &format!("127.0.0.1:{port}"), "--certs-dir"]);
    command.arg(dir.join("certs")).arg(dir.join("store"));
    command
}

/// Asks until the server says that it serves, at most [`READY`]; false when the process ended instead.
fn ready(port: u16, tls: bool, process: &Running) -> bool {
    let start = Instant::now();
    while start.elapsed() < READY {
        if matches!(health(port, tls), Ok(answer) if answer.starts_with(b"HTTP/1.1 200")) {
            return true;
        }
        if process.has_ended() {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("MinIO is not ready after {READY:?}")
}

fn health(port: u16, tls: bool) -> io::Result<Vec<u8>> {
    let tcp = TcpStream::connect(("127.0.0.1", port))?;
    tcp.set_read_timeout(Some(READY))?;
    if tls { ask(StreamOwned::new(client(), tcp)) } else { ask(tcp) }
}

fn ask(mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
    stream.write_all(b"GET /minio/health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = vec![0; 64];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// A client that takes any certificate: whether it is a good one is what tests are about.
fn client() -> ClientConnection {
    let config = client_config(&Trust { insecure: true, ..Trust::default() }).unwrap();
    ClientConnection::new(config, ServerName::try_from("127.0.0.1").unwrap()).unwrap()
}
