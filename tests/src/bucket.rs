//! What a bucket of the embedded server holds, as values that can be compared.

use std::collections::BTreeMap;

use serde_json::Value;
use volsync_embedded_s3::store::Attributes;

use crate::embedded::Embedded;
use crate::rclone::Rclone;
use crate::servers::{S3Endpoint, SECTION};

/// Objects below a path by the rest of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket(pub BTreeMap<String, Stored>);

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Length in bytes.
    pub size: u64,
    /// MD5 of the content in hexadecimal.
    pub md5: String,
    /// User metadata: `mtime`, `md5chksum` and others.
    pub metadata: BTreeMap<String, String>,
}

impl Bucket {
    /// Reads every object of `bucket` below `path/`.
    pub fn of(server: &Embedded, bucket: &str, path: &str) -> Self {
        if let Some(minio) = server.minio() {
            return Self::told_by_rclone(minio, bucket, path);
        }
        let store = server.server().store();
        let prefix = format!("{path}/");
        let keys = store.keys(bucket).into_iter().filter(|key| key.starts_with(&prefix));
        let stored = keys.map(|key| {
            let object = store.get(bucket, &key).unwrap();
            let content = object.content.read_all().unwrap();
            let md5 = format!("{:032x}", u128::from_be_bytes(volsync_md5::md5(&content)));
            let metadata = object.attributes.metadata.clone();
            (key[prefix.len()..].to_owned(), Stored { size: content.len() as u64, md5, metadata })
        });
        Self(stored.collect())
    }

    /// The same of a server whose store is its own.
    fn told_by_rclone(server: &dyn S3Endpoint, bucket: &str, path: &str) -> Self {
        let remote = format!("{SECTION}:{bucket}/{path}");
        let args = ["lsjson", "-R", "-M", "--hash", "--files-only", &remote];
        let told = Rclone::new(server, "Minio").run(&args).success().stdout;
        let one = |object: &Value| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let metadata = object["Metadata"].as_object().into_iter().flatten();
            // What the server adds by itself: when the object was written, and its defaults.
            let users = metadata.filter(|(name, _)| !["btime", "content-type", "tier"].contains(&name.as_str()));
            let metadata = users.map(|(name, value)| (name.clone(), text(value))).collect();
            let size = object["Size"].as_u64().unwrap();
            (text(&object["Path"]), Stored { size, md5: text(&object["Hashes"]["md5"]), metadata })
        };
        Self(serde_json::from_slice::<Vec<Value>>(&told).unwrap().iter().map(one).collect())
    }

    /// Every difference as one line, `self` being what is wanted.
    pub fn diff(&self, other: &Self) -> Vec<String> {
        let keys: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let pairs = keys.into_iter().map(|key| (key, self.0.get(key), other.0.get(key)));
        let differ = pairs.filter(|(_, wanted, found)| wanted != found);
        differ.map(|(key, wanted, found)| format!("{key:?}: {wanted:?}, not {found:?}")).collect()
    }

    /// Panics with the differences, if there are any.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        let lines = self.diff(other);
        assert!(lines.is_empty(), "{} differences:\n{}", lines.len(), lines.join("\n"));
    }
}

/// Puts an object as a mover would have: with a modification time in seconds.
pub fn put(server: &Embedded, bucket: &str, key: &str, content: &[u8], mtime: u64) {
    let metadata = BTreeMap::from([("mtime".to_owned(), mtime.to_string())]);
    let attributes = Attributes { metadata, ..Attributes::default() };
    server.server().store().put(bucket, key, content.to_vec(), attributes).unwrap();
}
