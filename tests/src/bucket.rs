//! What a bucket of the embedded server holds, as values that can be compared.

use std::collections::BTreeMap;

use volsync_embedded_s3::store::Attributes;

use crate::embedded::Embedded;

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
