//! Buckets that the real rclone and our binary write are the same, to the last digit of each time, and either goes on
//! where the other stopped: nothing is transferred twice.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use volsync_embedded_s3::RequestRecord;
use volsync_tests::bucket::Bucket;
use volsync_tests::embedded::Embedded;
use volsync_tests::rclone::{Counts, Rclone};
use volsync_tests::servers::{Minio, S3Endpoint};
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::volume::{self, Names, Random};

/// From this size on files go up in parts.
const CUTOFF: u64 = 5 << 20;

const KEY: &str = "sse_customer_algorithm = AES256\nsse_customer_key = 0123456789abcdef0123456789abcdef";
const KEY_BASE64: &str =
    "sse_customer_algorithm = AES256\nsse_customer_key_base64 = MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// What a bucket keeps of a file, its time among it.
const FILES: Ignore = Ignore { file_times: false, ..Ignore::ALL_BUT_CONTENT };

/// rclone and our binary on the same remote.
fn both(server: &dyn S3Endpoint, provider: &str, options: &str) -> [Rclone; 2] {
    let options = format!("upload_cutoff = {CUTOFF}B\nchunk_size = 5Mi\n{options}");
    let program = || Rclone::with_options(server, provider, &options);
    [program(), program().ours()]
}

fn sizes(dir: &Path) {
    let mut random = Random::new(1);
    for (name, size) in [("zero", 0), ("one", 1), ("below", CUTOFF - 1), ("at", CUTOFF), ("above", CUTOFF + 1)] {
        fs::write(dir.join(name), random.bytes(size)).unwrap();
        set_time(&dir.join(name), Duration::new(1_700_000_000, 120_000_000 + u32::try_from(size % 7).unwrap()));
    }
}

fn set_time(path: &Path, time: Duration) {
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + time);
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Asserts that `program` finds nothing to do from `from` to `to`, however it compares.
#[track_caller]
fn nothing_to_do(program: &Rclone, from: &str, to: &str, files: u64) {
    for flag in ["--modify-window=1ns", "--checksum", "--size-only"] {
        let counts = program.counts(&["sync", from, to, flag]);
        assert_eq!(counts, Counts { checks: files, ..Counts::default() }, "{flag}");
    }
}

/// `first` pushes, `second` has nothing to push and pulls, `first` has nothing to pull.
#[track_caller]
fn hand_on(first: &Rclone, second: &Rclone, source: &Path, remote: &str) {
    let all = first.counts(&["sync", text(source), remote]).transfers;
    nothing_to_do(second, text(source), remote, all);
    let target = TempDir::new().unwrap();
    assert_eq!(second.counts(&["sync", remote, text(target.path())]).transfers, all);
    Tree::of(source).assert_same(&Tree::of(target.path()), FILES);
    nothing_to_do(first, remote, text(target.path()), all);
    first.run(&["check", "--download", text(source), remote]).success();
}

/// Each program begins a path of its own.
fn handed_on_either_way(server: &dyn S3Endpoint, source: &Path, provider: &str, options: &str) {
    let [rclone, ours] = both(server, provider, options);
    hand_on(&rclone, &ours, source, "remote:bucket/rclone");
    hand_on(&ours, &rclone, source, "remote:bucket/ours");
}

/// [`handed_on_either_way`] on a server of its own, where both paths must then hold the same.
fn same_bucket_either_way(source: &Path, provider: &str, options: &str) {
    let server = Embedded::start("bucket");
    handed_on_either_way(&server, source, provider, options);
    let [rclone, ours] = ["rclone", "ours"].map(|path| Bucket::of(&server, "bucket", path));
    rclone.assert_same(&ours);
}

#[test]
fn every_size_is_handed_on_either_way_however_it_is_stored() {
    let source = TempDir::new().unwrap();
    sizes(source.path());
    for (provider, options) in [
        ("Minio", ""),
        ("Other", ""),
        ("Minio", "disable_checksum = true"),
        ("Minio", "server_side_encryption = AES256"),
        ("Minio", "server_side_encryption = aws:kms\nsse_kms_key_id = key"),
        ("Minio", "server_side_encryption = aws:kms\ndisable_checksum = true"),
        ("Minio", KEY),
        ("Fastly", ""),
    ] {
        same_bucket_either_way(source.path(), provider, options);
    }
}

#[test]
fn minio_hands_every_size_on_with_and_without_encryption() {
    let server = Minio::start_tls();
    server.bucket("bucket");
    let source = TempDir::new().unwrap();
    sizes(source.path());
    let kms = format!("server_side_encryption = aws:kms\nsse_kms_key_id = {}", Minio::KEY);
    let unsummed = format!("{kms}\ndisable_checksum = true");
    for options in ["", "disable_checksum = true", "server_side_encryption = AES256", &kms, &unsummed, KEY, KEY_BASE64]
    {
        handed_on_either_way(&server, source.path(), "Minio", options);
        Rclone::new(&server, "Minio").run(&["delete", "remote:bucket"]).success();
    }
}

#[test]
fn a_customers_key_is_needed_to_read_what_was_stored_with_it() {
    let server = Minio::start_tls();
    server.bucket("bucket");
    let source = TempDir::new().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    let [_, keyed] = both(&server, "Minio", KEY);
    keyed.run(&["sync", text(source.path()), "remote:bucket/p"]).success();
    let target = TempDir::new().unwrap();
    for without in both(&server, "Minio", "") {
        assert_ne!(without.run(&["sync", "remote:bucket/p", text(target.path()), "--retries", "1"]).code(), 0);
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    }
}

/// Two paths of rclone's: as any upload in parts, and with many streams and no MD5 stored (`upload_cutoff = 1Gi`).
fn beyond_the_cutoff_for_many_streams(server: &dyn S3Endpoint, cutoffs: &[&str]) {
    let source = TempDir::new().unwrap();
    fs::write(source.path().join("large"), Random::new(5).bytes((256 << 20) + 1)).unwrap();
    set_time(&source.path().join("large"), Duration::new(1_700_000_000, 5));
    for (number, cutoff) in cutoffs.iter().enumerate() {
        let program = || Rclone::with_options(server, "Minio", &format!("upload_cutoff = {cutoff}"));
        let [rclone, ours] = [program(), program().ours()];
        for (first, second) in [(&rclone, &ours), (&ours, &rclone)] {
            let remote = format!("remote:bucket/{number}");
            assert_eq!(first.counts(&["sync", text(source.path()), &remote]).transfers, 1);
            let target = TempDir::new().unwrap();
            assert_eq!(second.counts(&["sync", &remote, text(target.path())]).transfers, 1);
            Tree::of(source.path()).assert_same(&Tree::of(target.path()), FILES);
            nothing_to_do(second, text(source.path()), &remote, 1);
            rclone.run(&["delete", &remote]).success();
        }
    }
}

#[test]
fn a_file_beyond_the_cutoff_for_many_streams_is_handed_on() {
    beyond_the_cutoff_for_many_streams(&Embedded::start("bucket"), &["200Mi", "1Gi"]);
}

#[test]
fn a_file_beyond_the_cutoff_for_many_streams_is_handed_on_by_minio() {
    beyond_the_cutoff_for_many_streams(Minio::start().bucket("bucket"), &["200Mi"]);
}

/// Bytes of the parts of an upload but for the last, and how many parts there were.
fn parts(requests: &[RequestRecord]) -> (BTreeSet<u64>, usize) {
    let parts = requests.iter().filter(|request| request.operation == "UploadPart");
    let mut sizes: Vec<_> =
        parts.map(|part| (part.query_value("partNumber").unwrap().parse().unwrap(), part.body_len)).collect();
    sizes.sort_unstable();
    let count = sizes.len();
    let _last: Option<(u32, u64)> = sizes.pop();
    (sizes.into_iter().map(|(_, size)| size).collect(), count)
}

#[test]
fn files_are_cut_into_the_parts_that_rclone_cuts_them_into() {
    let source = TempDir::new().unwrap();
    for (size, options) in [
        ((5 << 20) + 1, "upload_cutoff = 5Mi\nchunk_size = 5Mi"),
        (16 << 20, "upload_cutoff = 5Mi\nchunk_size = 6Mi"),
        (40 << 20, "upload_cutoff = 5Mi\nchunk_size = 5Mi\nmax_upload_parts = 3"),
        (42 << 20, "upload_cutoff = 5Mi\nchunk_size = 5Mi\nmax_upload_parts = 3"),
        ((42 << 20) + 1, "upload_cutoff = 5Mi\nchunk_size = 5Mi\nmax_upload_parts = 3"),
    ] {
        File::create(source.path().join("file")).unwrap().set_len(size).unwrap();
        let server = Embedded::start("bucket");
        let program = || Rclone::with_options(&server, "Minio", options);
        let [theirs, ours] = [(program(), "rclone"), (program().ours(), "ours")].map(|(program, path)| {
            program.run(&["sync", text(source.path()), &format!("remote:bucket/{path}")]).success();
            parts(&server.requests())
        });
        assert_eq!(ours, theirs, "{size} {options}");
        assert!(ours.1 > 1, "{size} {options}");
    }
}

/// Names for which rclone's rules of encoding matter (`docs/compat-rclone.md`, "S3", "Keys").
const NAMES: &[&[u8]] = &[
    b"bad\xff",
    b"\xc3",
    b"half-\xe2\x82",
    "\u{ff0e}".as_bytes(),
    "\u{ff0e}\u{ff0e}".as_bytes(),
    "look\u{2400}\u{ff0f}\u{240a}alikes".as_bytes(),
    b"dot.",
    b" blank ",
    b"...",
    b".x",
    b"~",
    b"x%41+y z&=?#",
    b"*?<>|\":\\'`$!;[]",
    b"tab\tnewline\nreturn\rdel\x7f",
    b"control\x01\x02\x1b\x1f",
    "e\u{301}".as_bytes(),
    "\u{1f980}/\u{65e5}\u{672c}".as_bytes(),
    b"a",
    b"a-",
    b"a.",
    b"a!/b",
    b"d/e/f/g/h",
];

fn names(dir: &Path) {
    volume::awkward(dir, 3, Names::Upstream);
    for name in NAMES {
        let path = dir.join("names").join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, name).unwrap();
        set_time(&path, Duration::new(1_600_000_000, 7));
    }
}

#[test]
fn every_name_is_handed_on_whatever_the_listing() {
    let source = TempDir::new().unwrap();
    names(source.path());
    // The first version of listings, without an encoding of its own; the second; pages of a few keys.
    for (provider, options) in [("Minio", ""), ("Other", ""), ("Other", "list_version = 2"), ("AWS", "list_chunk = 7")]
    {
        same_bucket_either_way(source.path(), provider, &format!("{options}\nuse_unsigned_payload = true"));
    }
}

#[test]
fn every_name_is_handed_on_by_minio() {
    let server = Minio::start();
    server.bucket("bucket");
    let source = TempDir::new().unwrap();
    names(source.path());
    handed_on_either_way(&server, source.path(), "Minio", "");
}

#[test]
fn names_that_rclone_loses_come_back_from_our_bucket() {
    let server = Embedded::start("bucket");
    let [source, target] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    volume::shell(source.path(), "printf nfc > \u{e9}; printf nfd > e\u{301}; printf quote > \u{201b}x");
    let [rclone, ours] = both(&server, "Minio", "");
    assert_eq!(ours.counts(&["sync", text(source.path()), "remote:bucket/p"]).transfers, 3);
    nothing_to_do(&ours, text(source.path()), "remote:bucket/p", 3);
    assert_eq!(ours.counts(&["sync", "remote:bucket/p", text(target.path())]).transfers, 3);
    Tree::of(source.path()).assert_same(&Tree::of(target.path()), FILES);
    // Of two names that are one to rclone it leaves the second alone.
    let said = rclone.run(&["sync", "--exclude", "\u{201b}*", text(source.path()), "remote:bucket/p"]).success();
    assert!(said.text().contains("Duplicate object found in source - ignoring"), "{said}");
    assert_eq!(Bucket::of(&server, "bucket", "p").0.len(), 3);
}
