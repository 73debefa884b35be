//! What servers and networks do wrong. A fault that ends costs time and nothing else; one that does not end is named, and
//! nothing is deleted or left half done.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{CertificateParams, date_time_ymd};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::{NamedTempFile, TempDir};
use volsync_common::exit::ExitCode;
use volsync_embedded_s3::{Action, When};
use volsync_tests::certificates::{Authority, Identity};
use volsync_tests::embedded::Embedded;
use volsync_tests::mover::Mover;
use volsync_tests::process::Outcome;
use volsync_tests::scene::{BUCKET, Scene};
use volsync_tests::servers::{Inspect, Minio, S3Endpoint, free_port, on_each_server};
use volsync_tests::tree::{Ignore, Tree, files};
use volsync_tests::volume;

/// What one fault does to both directions.
trait UnderFaults {
    fn fault(&self, when: &When, action: &Action);
    fn survives(&self, prefix: &str, when: &When, action: &Action);
    fn survives_all(&self, prefix: &str, all: &[When], action: &Action);
    fn survives_in_each_operation(&self, prefix: &str, times: u64, action: &Action);
    fn push_fails(&self, prefix: &str, when: &When, action: &Action) -> Outcome;
    fn pull_fails(&self, prefix: &str, when: &When, action: &Action) -> Outcome;
}

impl UnderFaults for Scene {
    fn fault(&self, when: &When, action: &Action) {
        self.server.faults().clear();
        self.server.faults().add(when.clone(), action.clone());
    }

    /// Pushes and pulls under a fault, with the same result as without.
    #[track_caller]
    fn survives(&self, prefix: &str, when: &When, action: &Action) {
        self.survives_all(prefix, std::slice::from_ref(when), action);
    }

    /// The same with the first requests of each operation under the fault.
    #[track_caller]
    fn survives_in_each_operation(&self, prefix: &str, times: u64, action: &Action) {
        let operations = WRITES.into_iter().chain(["GetObject"]);
        let first: Vec<_> = operations.map(|operation| When::operation(operation).first(times)).collect();
        self.survives_all(prefix, &first, action);
    }

    #[track_caller]
    fn survives_all(&self, prefix: &str, all: &[When], action: &Action) {
        let (path, target) = (self.stored(prefix), self.restored());
        let fault = || {
            self.server.faults().clear();
            for when in all {
                self.server.faults().add(when.clone(), action.clone());
            }
        };
        fault();
        self.mover().push(self.after.path(), &path).success();
        let fired = self.server.requests().iter().filter(|request| request.fault.is_some()).count();
        fault();
        self.mover().pull(&path, target.path()).success();
        let lines = self.differs(&target);
        assert!(lines.is_empty(), "{all:?} {action:?}:\n{}", lines.join("\n"));
        self.server.faults().clear();
        let fired = fired + self.server.requests().iter().filter(|request| request.fault.is_some()).count();
        assert!(fired > 0, "{all:?} {action:?}: no fault");
    }

    /// Pushes under a fault that does not end: it is named, and what was stored before is there still.
    #[track_caller]
    fn push_fails(&self, prefix: &str, when: &When, action: &Action) -> Outcome {
        let path = self.stored(prefix);
        let stored = self.server.objects(BUCKET, &format!("{prefix}/"));
        self.fault(when, action);
        let outcome = self.mover().env("RCLONE_LOW_LEVEL_RETRIES", "2").push(self.after.path(), &path);
        self.server.faults().clear();
        let found = self.server.objects(BUCKET, &format!("{prefix}/"));
        let lost: Vec<_> = stored.keys().filter(|key| !found.contains_key(*key)).collect();
        assert!(lost.is_empty(), "{when:?} {action:?}: {lost:?}\n{outcome}");
        self.mover().push(self.after.path(), &path).success();
        outcome
    }

    /// Pulls under a fault that does not end: every file is as it was or as it shall be, and none is gone.
    #[track_caller]
    fn pull_fails(&self, prefix: &str, when: &When, action: &Action) -> Outcome {
        let (path, target) = (format!("{BUCKET}/{prefix}"), self.restored());
        self.mover().push(self.after.path(), &path).success();
        self.fault(when, action);
        let outcome = self.mover().env("RCLONE_LOW_LEVEL_RETRIES", "2").pull(&path, target.path());
        self.server.faults().clear();
        let [before, after, found] = [&self.before, &self.after, &target].map(|dir| files(dir.path()));
        let lost: Vec<_> = before.keys().filter(|path| !found.contains_key(*path)).collect();
        assert!(lost.is_empty(), "{when:?} {action:?}: {lost:?}\n{outcome}");
        for (path, entry) in &found {
            let whole = [before.get(path), after.get(path)].into_iter().flatten().any(|known| known.kind == entry.kind);
            assert!(whole, "{when:?} {action:?}: {}\n{outcome}", String::from_utf8_lossy(path));
        }
        outcome
    }
}

/// A server as its users know it.
struct Endpoint {
    url: String,
    access: String,
    secret: String,
    ca: Option<PathBuf>,
}

impl Endpoint {
    fn of(server: &dyn S3Endpoint) -> Self {
        let (access, secret) = (server.access_key().to_owned(), server.secret_key().to_owned());
        Self { url: server.url(), access, secret, ca: server.ca().map(Path::to_owned) }
    }

    fn at(url: &str) -> Self {
        Self { url: url.to_owned(), access: "access".to_owned(), secret: "secret".to_owned(), ca: None }
    }
}

impl S3Endpoint for Endpoint {
    fn url(&self) -> String {
        self.url.clone()
    }
    fn access_key(&self) -> &str {
        &self.access
    }
    fn secret_key(&self) -> &str {
        &self.secret
    }
    fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }
}

/// Neither direction can do anything; both say why, and the volume is as it was.
#[track_caller]
fn nothing_works(mover: &Mover, path: &str, code: ExitCode, words: &[&str]) {
    let dir = TempDir::with_prefix("volume-").unwrap();
    volume::plain(dir.path(), 1, 3, 1, 1..100);
    let before = Tree::of(dir.path());
    mover.push(dir.path(), path).fails(code, words);
    mover.pull(path, dir.path()).fails(code, words);
    before.assert_same(&Tree::of(dir.path()), Ignore::default());
}

#[test]
fn settings_that_cannot_work_are_named() {
    let s3 = "type = s3\nprovider = Minio\naccess_key_id = a\nsecret_access_key = b\nendpoint = http://127.0.0.1:1";
    let cases = [
        (format!("[other]\n{s3}"), "b/p", ["didn't find section in config file", "remote"]),
        ("[remote]\nprovider = Minio".to_owned(), "b/p", ["remote", "didn't find section in config file"]),
        ("[remote]\ntype = s4".to_owned(), "b/p", ["remote", "s4"]),
        (format!("[remote]\n{s3}\nchunk_size = 1Mi"), "b/p", ["chunk size", "5Mi"]),
        (format!("[remote]\n{s3}\nupload_cutoff = many"), "b/p", ["upload_cutoff", "many"]),
        (format!("[remote]\n{s3}"), "", ["bucket", "remote"]),
    ];
    for (conf, path, words) in cases {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(conf.as_bytes()).unwrap();
        let mover = Mover::with_conf(file.into_temp_path());
        println!("{conf}");
        nothing_works(&mover, path, ExitCode::Failure, &words);
    }
}

#[test]
fn wrong_keys_are_named() {
    on_each_server(BUCKET, |server| {
        let advice = "check access_key_id, secret_access_key and session_token";
        let wrong_secret = Endpoint { secret: "wrong".to_owned(), ..Endpoint::of(server) };
        let words = ["SignatureDoesNotMatch", "HTTP 403", advice];
        nothing_works(&Mover::new(&wrong_secret), "volumes/p", ExitCode::Failure, &words);
        let wrong_key = Endpoint { access: "nobody-knows".to_owned(), ..Endpoint::of(server) };
        let words = ["InvalidAccessKeyId", "HTTP 403", advice];
        nothing_works(&Mover::new(&wrong_key), "volumes/p", ExitCode::Failure, &words);
        assert_eq!(server.objects(BUCKET, ""), BTreeMap::new());
    });
}

#[test]
fn a_bucket_that_cannot_be_created_is_named() {
    let scene = Scene::new();
    scene.server.faults().add(When::operation("CreateBucket"), Action::deny());
    let words = ["CreateBucket", "AccessDenied", "s3:CreateBucket (or no_check_bucket = true if the bucket exists)"];
    scene.mover().push(scene.after.path(), "elsewhere/p").fails(ExitCode::Failure, &words);
    let mover = Mover::with_options(&scene.server, "no_check_bucket = true");
    let words = ["NoSuchBucket", "check the bucket's name, or create the bucket"];
    mover.push(scene.after.path(), "elsewhere/p").fails(ExitCode::DirectoryNotFound, &words);
}

#[test]
fn a_missing_permission_is_named() {
    let scene = Scene::new();
    for (n, (operation, subject, right)) in [
        ("ListObjectsV2", "S3 bucket volumes path ", "s3:ListBucket"),
        ("PutObject", "d0/f0: ", "s3:PutObject"),
        ("CreateMultipartUpload", "large: ", "s3:PutObject"),
        ("UploadPart", "large: ", "s3:PutObject"),
        ("CompleteMultipartUpload", "large: ", "s3:PutObject"),
    ]
    .into_iter()
    .enumerate()
    {
        let outcome = scene.push_fails(&format!("push{n}"), &When::operation(operation), &Action::deny());
        outcome.fails(ExitCode::Failure, &["Failed to sync", subject, "AccessDenied: ", "(HTTP 403)", right]);
    }
    for (n, (operation, subject, right)) in [
        ("ListObjectsV2", "S3 bucket volumes path ", "s3:ListBucket"),
        ("GetObject", "permissions.facl: ", "s3:GetObject"),
    ]
    .into_iter()
    .enumerate()
    {
        let outcome = scene.pull_fails(&format!("pull{n}"), &When::operation(operation), &Action::deny());
        outcome.fails(ExitCode::Failure, &["Failed to sync", subject, "AccessDenied: ", "(HTTP 403)", right]);
    }
    let outcome = scene.pull_fails("pull-one", &When::operation("GetObject").key("d0/f0"), &Action::deny());
    outcome.fails(ExitCode::Failure, &["d0/f0: ", "AccessDenied: ", "(HTTP 403)", "s3:GetObject"]);
}

#[test]
fn what_may_not_be_deleted_is_named_and_the_rest_is_deleted() {
    let scene = Scene::new();
    let path = scene.stored("p");
    scene.server.faults().add(When::operation("DeleteObjects"), Action::deny());
    scene.server.faults().add(When::operation("DeleteObject").key("gone too"), Action::deny());
    let words = ["gone too: ", "DeleteObject", "AccessDenied: ", "(HTTP 403)", "s3:DeleteObject"];
    scene.mover().push(scene.after.path(), &path).fails(ExitCode::Failure, &words);
    let keys = scene.server.objects(BUCKET, "p/gone");
    assert_eq!(keys.into_keys().collect::<Vec<_>>(), ["p/gone too"]);
    let path = scene.stored("q");
    let denied = Action::DenyDeletes { key: "gone too".to_owned(), code: "AccessDenied".to_owned() };
    scene.server.faults().add(When::operation("DeleteObjects"), denied);
    scene.server.faults().add(When::operation("DeleteObject"), Action::deny());
    scene.mover().push(scene.after.path(), &path).fails(ExitCode::Failure, &words);
    let keys = scene.server.objects(BUCKET, "q/gone");
    assert_eq!(keys.into_keys().collect::<Vec<_>>(), ["q/gone too"]);
}

#[test]
fn a_clean_up_that_is_not_allowed_is_no_failure() {
    let scene = Scene::new();
    scene.survives("p", &When::operation("ListMultipartUploads"), &Action::deny());
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let mover = |url: &str| Mover::new(&Endpoint::at(url)).env("RCLONE_LOW_LEVEL_RETRIES", "2");
    let port = free_port();
    let (url, host) = (format!("http://127.0.0.1:{port}"), format!("127.0.0.1:{port}"));
    let advice = "check the endpoint, name resolution, network policies and proxy variables";
    let words = [&host, "refused, nothing listens there", "after 2 attempts", advice];
    nothing_works(&mover(&url), "volumes/p", ExitCode::Temporary, &words);
    let words = ["nowhere.invalid", "cannot be resolved", advice];
    nothing_works(&mover("http://nowhere.invalid:9000"), "volumes/p", ExitCode::Temporary, &words);
    let words = ["proxy", advice];
    let proxied = mover(&url).env("HTTP_PROXY", &format!("http://localhost:{port}"));
    nothing_works(&proxied.env("RCLONE_HTTP_PROXY", &url), "volumes/p", ExitCode::Temporary, &words);
}

#[test]
fn a_server_that_says_nothing_is_named() {
    let server = Minio::start();
    server.bucket(BUCKET).signal(Signal::STOP);
    let mover = Mover::new(&server).env("RCLONE_LOW_LEVEL_RETRIES", "2").env("RCLONE_TIMEOUT", "500ms");
    let words = ["timeout: waiting for the response took longer than 500ms", "after 2 attempts", "check the endpoint"];
    nothing_works(&mover, "volumes/p", ExitCode::Temporary, &words);
}

/// Shakes hands with everybody and says nothing more.
fn handshakes(identity: &Identity) -> SocketAddr {
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // Ends with the alert of a client that does not trust us.
            let _refused = StreamOwned::new(connection, stream).read(&mut [0; 16]);
        }
    });
    address
}

#[test]
fn a_certificate_that_cannot_be_trusted_is_named() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    let [ours, other] = ["ours", "other"].map(|name| dir.path().join(name));
    fs::write(&ours, authority.pem()).unwrap();
    fs::write(&other, Authority::new().pem()).unwrap();
    let names = || CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let dated = |from: i32, to: i32| {
        let mut params = names();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        params
    };
    let elsewhere = CertificateParams::new(["elsewhere.example".to_owned()]).unwrap();
    let advice = "a server with a certificate of a private authority needs customCA";
    for (params, ca, why) in [
        (names(), &other, "not trusted"),
        (dated(2001, 2002), &ours, "expired"),
        (dated(2901, 2902), &ours, "valid from 2901"),
        (elsewhere, &ours, "elsewhere.example"),
    ] {
        let address = handshakes(&authority.issue(&params));
        let endpoint = Endpoint { ca: Some(ca.clone()), ..Endpoint::at(&format!("https://{address}")) };
        let words = [&address.to_string(), why, advice];
        nothing_works(&Mover::new(&endpoint), "volumes/p", ExitCode::Failure, &words);
    }
    // A CUSTOM_CA that is no certificate, or not there.
    let words = ["certificate file", "missing"];
    let endpoint = Endpoint { ca: Some(dir.path().join("missing")), ..Endpoint::at("https://127.0.0.1:1") };
    nothing_works(&Mover::new(&endpoint), "volumes/p", ExitCode::Failure, &words);
}

#[test]
fn the_wrong_scheme_is_named() {
    let (plain, tls) = (Embedded::start(BUCKET), Embedded::start_tls(BUCKET));
    let retries = |mover: Mover| mover.env("RCLONE_LOW_LEVEL_RETRIES", "2");
    let https = Endpoint { url: plain.url().replace("http:", "https:"), ..Endpoint::of(&plain) };
    nothing_works(&retries(Mover::new(&https)), "volumes/p", ExitCode::Failure, &["Failed to sync", "TLS"]);
    let http = Endpoint { url: tls.url().replace("https:", "http:"), ca: None, ..Endpoint::of(&tls) };
    let outcome = retries(Mover::new(&http)).pull("volumes/p", TempDir::new().unwrap().path());
    assert_ne!(outcome.code(), 0, "{outcome}");
    assert!(outcome.last_words().contains("Failed to sync"), "{outcome}");
}

#[test]
fn a_clock_that_differs_is_corrected_and_one_that_cannot_be_is_named() {
    let scene = Scene::new();
    for (prefix, offset) in [("ahead", 7_200), ("behind", -7_200)] {
        let target = scene.restored();
        scene.server.server().set_clock_offset(offset);
        let path = format!("{BUCKET}/{prefix}");
        let outcome = scene.mover().push(scene.after.path(), &path).success();
        assert!(outcome.text().contains("clock is"), "{outcome}");
        scene.mover().pull(&path, target.path()).success();
        scene.server.server().set_clock_offset(0);
        assert_eq!(scene.differs(&target), [""; 0]);
    }
    scene.server.faults().add(When::always(), Action::Skew { seconds: 7_200 });
    let words = ["RequestTimeTooSkewed", "set this machine's clock"];
    nothing_works(&scene.mover(), "volumes/p", ExitCode::Failure, &words);
}

const WRITES: [&str; 7] = [
    "ListObjectsV2",
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "DeleteObjects",
    "ListMultipartUploads",
];

#[test]
fn a_storm_of_503_is_waited_out() {
    let scene = Scene::new();
    scene.survives("all", &When::always().every(2), &Action::slow_down());
    scene.survives("start", &When::always().first(6), &Action::slow_down());
    scene.survives_in_each_operation("each", 3, &Action::error(500, "InternalError"));
}

#[test]
fn the_wish_of_a_server_to_be_asked_later_is_granted() {
    let scene = Scene::new();
    let path = scene.stored("p");
    let later = Action::Error { status: 503, code: "SlowDown".to_owned(), retry_after: Some("1".to_owned()) };
    scene.server.faults().add(When::operation("PutObject").key("p/made/new").nth(1), later);
    scene.server.requests();
    scene.mover().push(scene.after.path(), &path).success();
    let requests = scene.server.requests();
    let times: Vec<_> =
        requests.iter().filter(|r| r.key == "p/made/new").map(|r| Duration::from_nanos(r.time_ns)).collect();
    assert_eq!(times.len(), 2);
    assert!(times[1].checked_sub(times[0]).unwrap() >= Duration::from_secs(1), "{times:?}");
}

#[test]
fn a_storm_that_does_not_end_is_named() {
    let scene = Scene::new();
    for (n, operation) in WRITES.into_iter().take(5).enumerate() {
        for (m, action) in [Action::slow_down(), Action::error(500, "InternalError")].into_iter().enumerate() {
            let outcome = scene.push_fails(&format!("push{n}-{m}"), &When::operation(operation), &action);
            let code = if m == 0 { "(HTTP 503)" } else { "(HTTP 500)" };
            let name = if operation == "ListObjectsV2" { "ListObjects" } else { operation };
            outcome.fails(ExitCode::Failure, &["Failed to sync", name, code, "after 2 attempts"]);
        }
    }
    let all = When::operation("GetObject");
    let outcome = scene.pull_fails("all", &all, &Action::slow_down());
    outcome.fails(ExitCode::Failure, &["permissions.facl: GetObject", "SlowDown: ", "(HTTP 503)", "after 2 attempts"]);
    let outcome = scene.pull_fails("one", &all.key("large"), &Action::slow_down());
    outcome.fails(ExitCode::Failure, &["large: GetObject", "SlowDown: ", "(HTTP 503)", "after 2 attempts"]);
}

#[test]
fn resets_at_every_stage_are_survived() {
    let scene = Scene::new();
    let stages = [
        Action::ResetBeforeBody,
        Action::ResetAfterBody,
        Action::ResetAfterApply,
        Action::ResetInResponse { after: 20 },
        Action::Truncate { after: 0 },
    ];
    for (n, stage) in stages.iter().enumerate() {
        scene.survives_in_each_operation(&format!("each{n}"), 1, stage);
        scene.survives(&format!("all{n}"), &When::always().every(3), stage);
    }
}

#[test]
fn connections_that_always_break_are_named() {
    let scene = Scene::new();
    for (n, operation) in WRITES.into_iter().take(5).enumerate() {
        let outcome = scene.push_fails(&format!("push{n}"), &When::operation(operation), &Action::ResetAfterBody);
        let name = if operation == "ListObjectsV2" { "ListObjects" } else { operation };
        outcome
            .fails(ExitCode::Failure, &["Failed to sync", name, "the connection was interrupted", "after 2 attempts"]);
    }
    let when = When::operation("GetObject").key("/large");
    let outcome = scene.pull_fails("pull", &when, &Action::ResetInResponse { after: 0 });
    outcome.fails(ExitCode::Failure, &["large: GetObject", "interrupted"]);
}

#[test]
fn a_body_that_breaks_off_is_continued_where_it_broke() {
    let scene = Scene::new();
    for (n, (action, mover)) in [
        (Action::Truncate { after: 7 << 20 }, scene.mover()),
        (Action::ResetInResponse { after: 7 << 20 }, scene.mover()),
        (Action::Truncate { after: 1 }, scene.mover()),
        (Action::Truncate { after: 3 << 20 }, scene.mover().env("RCLONE_MULTI_THREAD_CUTOFF", "1Mi")),
    ]
    .into_iter()
    .enumerate()
    {
        let (path, target) = (format!("{BUCKET}/p{n}"), scene.restored());
        scene.mover().push(scene.after.path(), &path).success();
        scene.fault(&When::operation("GetObject").key("/large").first(2), &action);
        scene.server.requests();
        mover.pull(&path, target.path()).success();
        scene.server.faults().clear();
        assert_eq!(scene.differs(&target), [""; 0]);
        let requests = scene.server.requests();
        let of_large: Vec<_> = requests.iter().filter(|request| request.key.ends_with("/large")).collect();
        assert!(of_large.len() >= 2, "{action:?}");
        assert!(of_large[1..].iter().all(|r| r.header("range").is_some() && r.header("if-match").is_some()));
    }
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_is_restored_whole() {
    let scene = Scene::new();
    let (path, target) = (format!("{BUCKET}/p"), scene.restored());
    scene.mover().push(scene.after.path(), &path).success();
    let large = || When::operation("GetObject").key("/large");
    scene.server.faults().add(large().nth(1), Action::Truncate { after: 3 << 20 });
    let gate = scene.server.faults().block(large().nth(2));
    let mover = scene.mover();
    let running = mover.start_pull(&path, target.path());
    scene.server.wait_at(&gate, &running);
    let content = volume::Random::new(77).bytes(11 << 20);
    scene.server.put(BUCKET, "p/large", &content);
    gate.release();
    running.wait(volsync_tests::process::LIMIT).success();
    assert!(fs::read(target.path().join("large")).unwrap() == content);
}

#[test]
fn an_error_inside_of_a_200_is_an_error() {
    let scene = Scene::new();
    let error = Action::ErrorIn200 { code: "InternalError".to_owned() };
    scene.survives_in_each_operation("each", 1, &error);
    for operation in &WRITES[..5] {
        let outcome = scene.push_fails(&format!("push-{operation}"), &When::operation(operation), &error);
        let name = if *operation == "ListObjectsV2" { "ListObjects" } else { operation };
        outcome.fails(ExitCode::Failure, &["Failed to sync", name, "InternalError", "after 2 attempts"]);
    }
    for (n, key) in ["permissions.facl", "large", "d0/f0"].into_iter().enumerate() {
        let outcome = scene.pull_fails(&format!("pull{n}"), &When::operation("GetObject").key(key), &error);
        outcome.fails(ExitCode::Failure, &["Failed to sync", key, "InternalError"]);
    }
}

#[test]
fn a_slow_server_is_waited_for_and_a_silent_one_is_asked_again() {
    let scene = Scene::new();
    scene.survives("slow", &When::always(), &Action::Delay { ms: 30 });
    let drip = Action::Drip { bytes: 64 << 10, every_ms: 1 };
    scene.survives("drip", &When::operation("GetObject"), &drip);
    let hang = Action::Hang { max_ms: 60_000 };
    let impatient =
        |retries: &str| scene.mover().env("RCLONE_TIMEOUT", "300ms").env("RCLONE_LOW_LEVEL_RETRIES", retries);
    let (path, target) = (scene.stored("hang"), scene.restored());
    scene.fault(&When::always().every(4), &hang);
    impatient("10").push(scene.after.path(), &path).success();
    impatient("10").pull(&path, target.path()).success();
    assert_eq!(scene.differs(&target), [""; 0]);
    scene.fault(&When::operation("GetObject").key("/large"), &hang);
    let target = scene.restored();
    let outcome = impatient("2").pull(&path, target.path());
    outcome
        .fails(ExitCode::Temporary, &["large: GetObject", "timeout: waiting for the response took longer than 300ms"]);
    assert!(target.path().join("gone").exists());
}
