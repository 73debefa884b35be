//! Crypt remotes are the same to rclone and to us: what one encrypts the other decrypts, names and contents, over a
//! directory and over a bucket.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use mover_rclone::store::Store;
use tempfile::{NamedTempFile, TempDir};
use tokio::runtime::Runtime;
use volsync_tests::conformance::Subject;
use volsync_tests::embedded::Embedded;
use volsync_tests::rclone::Rclone;
use volsync_tests::servers::{Minio, S3Endpoint, SECTION, rclone_conf_with};
use volsync_tests::stores;
use volsync_tests::tree::{Ignore, Kind, Tree};
use volsync_tests::volume::{self, Random};

/// Every way to encrypt that the mover supports.
const MODES: [&str; 7] = [
    "",
    "filename_encoding = base64\n",
    "directory_name_encryption = false\n",
    "filename_encryption = off\n",
    "filename_encryption = off\nsuffix = none\n",
    "filename_encryption = off\nsuffix = enc\n",
    "no_data_encryption = true\n",
];

/// Sizes around a block, names of every kind that rclone takes.
fn plant(dir: &Path) {
    let names = [
        &b"empty"[..],
        b"one",
        b"a/just-less",
        b"a/block",
        b"a/just-more",
        b"a/b c/three blocks",
        "a/\u{fc}\u{1f980}/x".as_bytes(),
        b"new\nline",
        b"bad\xff",
        b"fifteen-bytes-x",
        b"sixteen-bytes-xx",
    ];
    let sizes = [0, 1, 65_535, 65_536, 65_537, 196_608, 10, 11, 12, 13, 14];
    for (name, size) in names.into_iter().zip(sizes) {
        let path = dir.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, Random::new(size).bytes(size)).unwrap();
    }
    volume::shell(dir, "find . -type f -exec touch -d '2001-02-03T04:05:06.789012345Z' {} +");
}

/// Puts every file of `dir` into the store.
async fn put_all(subject: &Subject, dir: &Path) {
    for (path, content) in files(dir) {
        subject.put(&path, content).await.unwrap();
    }
}

/// The store holds every file of `dir` and nothing else.
async fn holds(subject: &Subject, dir: &Path) {
    let files = files(dir);
    let listing = subject.store.list(&|_| {}).await.unwrap();
    assert_eq!(listing.refused(), [""; 0]);
    let listed: Vec<_> = listing.iter().filter(|o| !o.directory).map(|o| (o.path.to_vec(), o.size)).collect();
    let expect: Vec<_> = files.iter().map(|(path, content)| (path.clone(), content.len() as u64)).collect();
    assert_eq!(listed, expect);
    for (path, content) in files {
        assert!(subject.get(&path).await.unwrap() == content, "{}", String::from_utf8_lossy(&path));
    }
}

/// Paths and contents, sorted.
fn files(dir: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let paths = Tree::of(dir).0.into_iter().filter(|(_, entry)| matches!(entry.kind, Kind::File { .. }));
    paths.map(|(path, _)| (path.clone(), fs::read(dir.join(OsStr::from_bytes(&path))).unwrap())).collect()
}

/// Both directions; `store` opens ours at a path of the crypt remote.
fn both_ways(rclone: &Rclone, options: &str, store: impl Fn(&str) -> Arc<dyn Store>) {
    let [from, to] = [(); 2].map(|()| TempDir::new().unwrap());
    plant(from.path());
    let content = Ignore { directory_times: true, file_times: true, ..Ignore::default() };
    Runtime::new().unwrap().block_on(async {
        let [theirs, ours] = ["theirs/sub dir", "ours/sub dir"].map(|path| Subject::new(store(path), &[]));
        let from_path = from.path().to_str().unwrap();
        rclone.run(&["copy", from_path, "c:theirs/sub dir"]).success();
        holds(&theirs, from.path()).await;
        put_all(&ours, from.path()).await;
        rclone.run(&["check", "--download", from_path, "c:ours/sub dir"]).success();
        rclone.run(&["copy", "c:ours/sub dir", to.path().to_str().unwrap()]).success();
        Tree::of(from.path()).assert_same(&Tree::of(to.path()), content);
        assert!(
            rclone.run(&["lsf", "-R", "c:ours"]).success().text().contains("sub dir/a/b c/three blocks"),
            "{options}"
        );
    });
}

#[test]
fn over_a_directory() {
    for options in MODES {
        let wrapped = TempDir::new().unwrap();
        let remote = wrapped.path().to_str().unwrap();
        let mut conf = NamedTempFile::new().unwrap();
        conf.write_all(stores::crypt_section(remote, options).as_bytes()).unwrap();
        let rclone = Rclone::with_conf(conf.into_temp_path());
        both_ways(&rclone, options, |path| stores::crypt(remote, options, path, |path| stores::local(Path::new(path))));
    }
}

/// In the bucket `wrapped`.
fn over(server: &dyn S3Endpoint) {
    for (number, options) in MODES.iter().enumerate() {
        let remote = format!("{SECTION}:wrapped/below{number}");
        let conf = rclone_conf_with(server, "Other", &format!("\n{}", stores::crypt_section(&remote, options)));
        let rclone = Rclone::with_conf(conf);
        both_ways(&rclone, options, |path| {
            stores::crypt(&remote, options, path, |path| {
                let path = path.strip_prefix("wrapped/").unwrap();
                stores::s3(server, "wrapped", path, |settings| settings.provider = "Other".into())
            })
        });
    }
}

#[test]
fn over_a_bucket() {
    over(&Embedded::start("wrapped"));
}

#[test]
fn over_a_bucket_of_minio() {
    over(Minio::start().bucket("wrapped"));
}
