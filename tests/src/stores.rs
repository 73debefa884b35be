//! Stores of our own to try, as the command line would open them.

use std::path::Path;
use std::sync::Arc;

use mover_rclone::config::{Config, MapEnv, NoFlags, RemoteString, obscure};
use mover_rclone::crypt::Crypt;
use mover_rclone::http::{Client, HttpSettings};
use mover_rclone::s3::{AccessKey, RetryLimits, S3Deps, S3Settings, S3Store};
use mover_rclone::store::{LocalSettings, LocalStore, Store};
use volsync_common::hash::FileHasher;
use volsync_common::tls::{Trust, client_config};

use crate::servers::S3Endpoint;

/// The smallest part that S3 takes: objects of this size and more go up in parts.
pub const PART: u64 = 5 << 20;

/// A directory that need not exist.
pub fn local(root: &Path) -> Arc<dyn Store> {
    let hasher = Arc::new(FileHasher::start(1).unwrap());
    Arc::new(LocalStore::open(LocalSettings::new(root), hasher).unwrap())
}

/// A part of a bucket; only within a runtime.
pub fn s3(endpoint: &dyn S3Endpoint, bucket: &str, path: &str, change: impl FnOnce(&mut S3Settings)) -> Arc<dyn Store> {
    let mut settings = S3Settings {
        provider: "Minio".into(),
        bucket: bucket.into(),
        path: path.into(),
        endpoint: endpoint.url(),
        upload_cutoff: Some(PART),
        chunk_size: PART,
        ..S3Settings::default()
    };
    change(&mut settings);
    let trust = Trust { custom_ca: endpoint.ca().map(Path::to_owned).into_iter().collect(), ..Trust::default() };
    let key = AccessKey { id: endpoint.access_key().into(), secret: endpoint.secret_key().into(), token: None };
    let deps = S3Deps {
        http: Client::new(HttpSettings::new(client_config(&trust).unwrap())).unwrap(),
        identity: Arc::new(Some(Arc::new(key))),
        retry: RetryLimits { tries: 2, ..RetryLimits::default() },
        max_requests: 64,
        upload_memory: 64 << 20,
    };
    Arc::new(S3Store::open(settings, deps).unwrap())
}

/// The section `[c]` of a crypt remote around `remote`, with further lines.
pub fn crypt_section(remote: &str, options: &str) -> String {
    let [password, salt] = [(&b"potato"[..], 1), (b"sausage", 2)].map(|(text, iv)| obscure::obscure(text, [iv; 16]));
    format!("[c]\ntype = crypt\nremote = {remote}\npassword = {password}\npassword2 = {salt}\n{options}")
}

/// The crypt remote of [`crypt_section`] at `path`; `open` gets the path that it means on the wrapped remote.
pub fn crypt(remote: &str, options: &str, path: &str, open: impl FnOnce(&str) -> Arc<dyn Store>) -> Arc<dyn Store> {
    let config = Config::parse(crypt_section(remote, options).as_bytes()).unwrap();
    let what = RemoteString::parse(format!("c:{path}").as_bytes()).unwrap();
    let found = config.open(&what, &MapEnv::default(), &NoFlags).unwrap();
    let crypt = Crypt::open(&found.options, &found.path).unwrap();
    let wrapped = crypt.remote.to_string();
    let path = wrapped.split_once(':').map_or(&*wrapped, |(_, path)| path);
    let inner = open(path);
    Arc::new(crypt.around(inner))
}
