//! The embedded S3 server against the real rclone and against raw HTTP, faults included.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use volsync_embedded_s3::store::Attributes;
use volsync_embedded_s3::{Action, Quirks, Rule, Server, ServerOptions, When};
use volsync_tests::peers;

const BUCKET: &str = "bucket";
const LIMIT: Duration = Duration::from_secs(30);

/// A server with a runtime of its own, so that tests can block.
struct Running {
    // Dropped first: its connections live on the runtime.
    server: Server,
    runtime: Runtime,
}

impl Running {
    fn start(options: ServerOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start(options)).unwrap();
        Self { server, runtime }
    }

    fn signed() -> Self {
        Self::start(ServerOptions::with_bucket(BUCKET))
    }

    fn anonymous() -> Self {
        Self::start(ServerOptions { anonymous: true, ..ServerOptions::with_bucket(BUCKET) })
    }

    /// Sends one request by hand and returns all that came back, however the connection ended.
    fn raw(&self, request: &str, body: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let host = if request.contains("Host:") { "" } else { "Host: 127.0.0.1\r\n" };
        let length = body.len();
        let head = format!("{request}\r\n{host}Connection: close\r\nContent-Length: {length}\r\n\r\n");
        // The server may reset before it has read everything: what it says then is in the reply.
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut bytes = Vec::new();
        let received = stream.read_to_end(&mut bytes).map(drop);
        Reply { text: String::from_utf8_lossy(&bytes).into_owned(), error: sent.and(received).err() }
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        self.server.store().put(BUCKET, key, bytes.to_vec(), Attributes::default()).unwrap();
    }
}

struct Reply {
    text: String,
    error: Option<std::io::Error>,
}

impl Reply {
    fn status(&self) -> &str {
        self.text.split(' ').nth(1).unwrap_or("none")
    }

    fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    fn head(&self) -> String {
        self.text.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase()
    }

    fn code(&self) -> &str {
        let after = self.body().split("<Code>").nth(1).unwrap_or_default();
        after.split('<').next().unwrap_or_default()
    }

    fn is_reset(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    }
}

fn rclone(server: &Server, more: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(peers::rclone());
    command.env_clear().args(["--config", "/dev/null", "--retries", "1", "--low-level-retries", "1"]).args(arguments);
    for (name, value) in [
        ("TYPE", "s3"),
        ("PROVIDER", "Other"),
        ("ENDPOINT", &server.endpoint()),
        ("ACCESS_KEY_ID", server.access_key()),
        ("SECRET_ACCESS_KEY", server.secret_key()),
    ] {
        command.env(format!("RCLONE_CONFIG_E_{name}"), value);
    }
    command.envs(more.iter().copied()).output().unwrap()
}

fn run(server: &Server, arguments: &[&str]) -> String {
    let output = rclone(server, &[], arguments);
    assert!(output.status.success(), "rclone {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Small and empty files, one that needs several parts, and names that need encoding.
fn tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    for name in ["plain", "a/b/c", "a-b", "a b+c%20&?#é", "line\nfeed", "tab\tand\u{1}", "a/\u{fffd}", "quote'\"<>"] {
        put(name, name.as_bytes());
    }
    put("empty", b"");
    let big: Vec<u8> = (0..12_000_000_u32).flat_map(u32::to_le_bytes).take(12_000_000).collect();
    put("big", &big);
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const MULTIPART: [&str; 4] = ["--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M"];

fn round_trip(options: ServerOptions) {
    let running = Running::start(options);
    let server = &running.server;
    let (from, to) = (tree(), tempfile::tempdir().unwrap());
    run(server, &[&["sync", text(from.path()), "E:bucket/data"], &MULTIPART[..]].concat());
    run(server, &["check", "--download", text(from.path()), "E:bucket/data"]);
    run(server, &["sync", "E:bucket/data", text(to.path())]);
    let listed = |path: &str, more: &str| run(server, &["lsf", "-R", "--format", "psth", "--files-only", path, more]);
    let here = run(server, &["lsf", "-R", "--format", "psh", "--files-only", text(from.path())]);
    let back = run(server, &["lsf", "-R", "--format", "psh", "--files-only", text(to.path())]);
    assert_eq!(here.lines().count(), 10);
    assert_eq!(here, back);
    let by_directory = listed("E:bucket/data", "--s3-list-version=2");
    assert_eq!(by_directory.lines().count(), 10);
    let mut sorted: Vec<_> = by_directory.lines().collect();
    sorted.sort_unstable();
    for version in ["--s3-list-version=1", "--fast-list"] {
        let other = listed("E:bucket/data", version);
        let mut lines: Vec<_> = other.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, sorted, "{version}");
    }
    assert_eq!(server.recorder().count("UploadPart"), 3);
    assert!(server.store().unfinished_uploads(BUCKET).is_empty());
    run(server, &["purge", "E:bucket/data"]);
    assert!(server.store().keys(BUCKET).is_empty());
}

#[test]
fn rclone_takes_a_tree_there_and_back_in_memory() {
    round_trip(ServerOptions::with_bucket(BUCKET));
}

#[test]
fn rclone_takes_a_tree_there_and_back_in_files_and_small_pages() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = Some(dir.path().to_owned());
    round_trip(ServerOptions { data_dir, page_max: 2, ..ServerOptions::with_bucket(BUCKET) });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn rclone_trusts_the_servers_authority_and_no_other() {
    let running = Running::start(ServerOptions { tls: true, ..ServerOptions::with_bucket(BUCKET) });
    let server = &running.server;
    running.put("k", b"v");
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.crt");
    fs::write(&ca, server.ca_pem().unwrap()).unwrap();
    let trusting = rclone(server, &[], &["cat", "E:bucket/k", "--ca-cert", text(&ca)]);
    assert_eq!(trusting.stdout, b"v", "{}", String::from_utf8_lossy(&trusting.stderr));
    assert!(!rclone(server, &[], &["cat", "E:bucket/k"]).status.success());
}

#[test]
fn buckets_are_found_in_the_host_name() {
    let running = Running::anonymous();
    running.put("k", b"value");
    let reply = running.raw("GET /k HTTP/1.1\r\nHost: bucket.localhost", b"");
    assert_eq!(reply.body(), "value");
    // Resolvers differ about names under localhost; a proxy is asked to resolve them, and the server serves as one.
    let url = running.server.host_endpoint();
    let proxy = running.server.endpoint();
    let virtual_host =
        [("RCLONE_CONFIG_E_ENDPOINT", &*url), ("RCLONE_CONFIG_E_FORCE_PATH_STYLE", "false"), ("http_proxy", &*proxy)];
    let output = rclone(&running.server, &virtual_host, &["cat", "E:bucket/k"]);
    assert_eq!(output.stdout, b"value", "{}", String::from_utf8_lossy(&output.stderr));
    let hosts: Vec<_> = running.server.recorder().snapshot();
    assert!(hosts.iter().any(|r| r.header("host").is_some_and(|host| host.starts_with("bucket.localhost"))));
}

#[test]
fn a_modification_time_is_changed_by_a_copy_onto_itself() {
    let running = Running::signed();
    let server = &running.server;
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("f"), b"content").unwrap();
    run(server, &["copy", text(from.path()), "E:bucket"]);
    run(server, &["touch", "--timestamp", "2001-02-03T04:05:06.789", "E:bucket/f"]);
    assert_eq!(server.recorder().count("CopyObject"), 1);
    let object = server.store().get(BUCKET, "f").unwrap();
    assert_eq!(object.attributes.metadata["mtime"], "981173106.789");
    assert_eq!(object.content.read_all().unwrap(), b"content".as_slice());
}

#[test]
fn wrong_keys_and_signatures_are_refused() {
    let running = Running::signed();
    let server = &running.server;
    let refused = |name: &str, value: &str| {
        let output = rclone(server, &[(name, value)], &["lsf", "E:bucket"]);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused("RCLONE_CONFIG_E_SECRET_ACCESS_KEY", "wrong").contains("SignatureDoesNotMatch"));
    assert!(refused("RCLONE_CONFIG_E_ACCESS_KEY_ID", "WRONG").contains("InvalidAccessKeyId"));
    assert_eq!(running.raw("GET /bucket HTTP/1.1", b"").code(), "AccessDenied");
    server.set_clock_offset(3600);
    let output = rclone(server, &[], &["lsf", "E:bucket"]);
    let records = server.recorder().snapshot();
    assert!(records.iter().any(|record| record.status == Some(403)), "{output:?}");
    // The SDK in rclone reads the server's clock from the refusal and signs anew.
    server.set_clock_offset(0);
    assert!(rclone(server, &[], &["lsf", "E:bucket"]).status.success());
}

#[test]
fn other_regions_are_refused_on_demand() {
    let options = ServerOptions { check_region: true, region: "eu-x".to_owned(), ..ServerOptions::with_bucket(BUCKET) };
    let running = Running::start(options);
    let ask = |region| rclone(&running.server, &[("RCLONE_CONFIG_E_REGION", region)], &["lsf", "E:bucket"]);
    assert!(ask("eu-x").status.success());
    assert!(String::from_utf8_lossy(&ask("eu-y").stderr).contains("AuthorizationHeaderMalformed"));
}

#[test]
fn bodies_are_held_against_their_digests() {
    let running = Running::anonymous();
    let put = |md5: &str| running.raw(&format!("PUT /bucket/k HTTP/1.1\r\nContent-MD5: {md5}"), b"hello");
    assert_eq!(put("XUFAKrxLKna5cZ2REBfFkg==").status(), "200");
    assert_eq!(put("AAAAAAAAAAAAAAAAAAAAAA==").code(), "BadDigest");
    assert_eq!(put("nonsense").code(), "InvalidDigest");
    let ask = |line: &str| running.raw(line, b"");
    assert!(ask("HEAD /bucket/k HTTP/1.1").head().contains("etag: \"5d41402abc4b2a76b9719d911017c592\""));
    assert_eq!(ask("GET /bucket/k HTTP/1.1\r\nRange: bytes=1-3").body(), "ell");
    assert_eq!(ask("GET /bucket/k HTTP/1.1\r\nRange: bytes=9-").status(), "416");
    assert_eq!(ask("GET /bucket/k HTTP/1.1\r\nIf-Match: \"x\"").status(), "412");
    assert_eq!(ask("GET /bucket/none HTTP/1.1").code(), "NoSuchKey");
    assert_eq!(ask("GET /nobucket/k HTTP/1.1").code(), "NoSuchBucket");
    assert_eq!(ask("PUT /bucket HTTP/1.1").code(), "BucketAlreadyOwnedByYou");
    assert_eq!(ask("DELETE /bucket HTTP/1.1").code(), "BucketNotEmpty");
}

#[test]
fn multipart_rules_are_amazons() {
    let running = Running::anonymous();
    let begin = running.raw("POST /bucket/k?uploads HTTP/1.1", b"");
    let id = begin.body().split("<UploadId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let part = |n: u32| running.raw(&format!("PUT /bucket/k?partNumber={n}&uploadId={id} HTTP/1.1"), b"part");
    assert_eq!((part(1).status(), part(2).status()), ("200", "200"));
    let complete = |numbers: &[u32]| {
        let line =
            |n: &u32| format!("<Part><PartNumber>{n}</PartNumber><ETag>2fc0db54ba3862af5a62b0a8f5f8e0e6</ETag></Part>");
        let parts: String = numbers.iter().map(line).collect();
        let xml = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        running.raw(&format!("POST /bucket/k?uploadId={id} HTTP/1.1"), xml.as_bytes())
    };
    assert_eq!(complete(&[1, 9]).code(), "InvalidPart");
    assert_eq!(complete(&[2, 1]).code(), "InvalidPartOrder");
    let listed = running.raw(&format!("GET /bucket/k?uploadId={id}&max-parts=1 HTTP/1.1"), b"");
    assert!(listed.body().contains("<IsTruncated>true</IsTruncated>"), "{}", listed.body());
    assert_eq!(running.server.store().unfinished_uploads(BUCKET)[0].parts, 2);
    assert_eq!(running.raw(&format!("DELETE /bucket/k?uploadId={id} HTTP/1.1"), b"").status(), "204");
    assert_eq!(complete(&[1]).code(), "NoSuchUpload");
}

#[test]
fn quirks_of_other_providers_show() {
    let quirks = Quirks { ignore_start_after: true, no_delete_objects: true, v1_only: false, no_etag_md5: true };
    let running = Running::start(ServerOptions { anonymous: true, quirks, ..ServerOptions::with_bucket(BUCKET) });
    running.put("a", b"x");
    let listed = running.raw("GET /bucket?list-type=2&start-after=a HTTP/1.1", b"");
    assert!(listed.body().contains("<Key>a</Key>"));
    assert!(!listed.body().contains("9dd4e461268c8034f5c8564e155c67a6"), "the ETag is an MD5 all the same");
    let xml = b"<Delete><Object><Key>a</Key></Object></Delete>";
    let reply = running.raw("POST /bucket?delete HTTP/1.1\r\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==", xml);
    assert_eq!(reply.code(), "NotImplemented");
    let quirks = Quirks { v1_only: true, ..Quirks::default() };
    let running = Running::start(ServerOptions { anonymous: true, quirks, ..ServerOptions::with_bucket(BUCKET) });
    assert_eq!(running.raw("GET /bucket?list-type=2 HTTP/1.1", b"").code(), "NotImplemented");
    assert_eq!(running.raw("GET /bucket HTTP/1.1", b"").status(), "200");
}

/// Sends `line` with a body under one fault.
fn broken(action: Action, line: &str) -> (Running, Reply) {
    let running = Running::anonymous();
    running.put("k", &vec![b'x'; 100_000]);
    running.server.faults().add(When::always().first(1), action);
    let reply = running.raw(line, if line.starts_with("PUT") { b"new" } else { b"" });
    (running, reply)
}

const GET: &str = "GET /bucket/k HTTP/1.1";
const PUT: &str = "PUT /bucket/new HTTP/1.1";

#[test]
fn error_answers_do_nothing_else() {
    let action = Action::Error { status: 503, code: "SlowDown".to_owned(), retry_after: Some("7".to_owned()) };
    let (running, reply) = broken(action, PUT);
    assert_eq!((reply.status(), reply.code()), ("503", "SlowDown"));
    assert!(reply.head().contains("retry-after: 7"));
    assert_eq!(running.server.store().keys(BUCKET), ["k"]);
    let record = &running.server.recorder().snapshot()[0];
    assert_eq!((record.status, record.body_len, record.fault.as_deref()), (Some(503), 3, Some("error")));
    assert_eq!(running.raw(PUT, b"new").status(), "200");
    let (running, reply) = broken(Action::ErrorIn200 { code: "InternalError".to_owned() }, PUT);
    assert_eq!((reply.status(), reply.code()), ("200", "InternalError"));
    assert_eq!(running.server.store().keys(BUCKET), ["k"]);
}

#[test]
fn resets_come_where_the_script_says() {
    let (running, reply) = broken(Action::ResetBeforeBody, PUT);
    assert!(reply.is_reset() && reply.text.is_empty(), "{:?}", reply.error);
    assert_eq!(running.server.store().keys(BUCKET), ["k"]);
    let (running, reply) = broken(Action::ResetAfterBody, PUT);
    assert!(reply.is_reset() && reply.text.is_empty(), "{:?}", reply.error);
    let record = &running.server.recorder().snapshot()[0];
    assert_eq!((record.status, record.body_len), (None, 3));
    assert_eq!(running.server.store().keys(BUCKET), ["k"]);
    let (running, reply) = broken(Action::ResetAfterApply, PUT);
    assert!(reply.is_reset() && reply.text.is_empty(), "{:?}", reply.error);
    assert_eq!(running.server.store().keys(BUCKET), ["k", "new"]);
    let (_running, reply) = broken(Action::ResetInResponse { after: 5000 }, GET);
    assert!(reply.is_reset(), "{:?}", reply.error);
    assert!(reply.body().len() <= 5000);
}

#[test]
fn bodies_are_cut_changed_and_slowed() {
    let (_running, reply) = broken(Action::Truncate { after: 5000 }, GET);
    assert!(reply.error.is_none() && reply.head().contains("content-length: 100000"));
    assert_eq!(reply.body().len(), 5000);
    let (_running, reply) = broken(Action::Shorten { after: 5000 }, GET);
    assert!(reply.head().contains("content-length: 5000"));
    assert_eq!(reply.body().len(), 5000);
    let (_running, reply) = broken(Action::Corrupt { at: 70_000 }, GET);
    let wrong: Vec<_> = reply.body().bytes().enumerate().filter(|(_, byte)| *byte != b'x').collect();
    assert_eq!((reply.body().len(), wrong), (100_000, vec![(70_000, b'y')]));
    let (_running, reply) = broken(Action::Drip { bytes: 30_000, every_ms: 1 }, GET);
    assert_eq!(reply.body().len(), 100_000);
    let (_running, reply) = broken(Action::WrongEtag { etag: "beef".to_owned() }, PUT);
    assert!(reply.head().contains("etag: \"beef\""));
    let (_running, reply) = broken(Action::WrongEtag { etag: "beef".to_owned() }, "GET /bucket HTTP/1.1");
    assert!(reply.body().contains("beef") && reply.body().contains("<Key>k</Key>"));
}

#[test]
fn hanging_and_skewed_answers() {
    let (_running, reply) = broken(Action::Hang { max_ms: 1 }, GET);
    assert_eq!((reply.text.as_str(), reply.error.is_none()), ("", true));
    let (_running, reply) = broken(Action::Delay { ms: 1 }, GET);
    assert_eq!(reply.status(), "200");
    let (_running, reply) = broken(Action::Skew { seconds: 86_400 * 365 * 100 }, GET);
    assert_eq!((reply.status(), reply.code()), ("403", "RequestTimeTooSkewed"));
    assert!(reply.head().contains(" 21"), "the server's clock is not in its answer: {}", reply.head());
}

#[test]
fn some_deletions_are_denied_in_company() {
    let running = Running::signed();
    let server = &running.server;
    for key in ["keep1", "go1", "keep2", "go2"] {
        running.put(key, b"x");
    }
    let deny = Action::DenyDeletes { key: "keep".to_owned(), code: "AccessDenied".to_owned() };
    server.faults().add(When::operation("DeleteObjects"), deny);
    server.faults().add(When::operation("DeleteObject").key("keep"), Action::deny());
    assert!(!rclone(server, &[], &["delete", "E:bucket"]).status.success());
    assert_eq!(server.store().keys(BUCKET), ["keep1", "keep2"]);
}

#[test]
fn a_request_waits_at_the_gate() {
    let running = Running::anonymous();
    let server = &running.server;
    let before = server.faults().block(When::operation("PutObject").key("first"));
    let after = server.faults().block_answer(When::operation("PutObject").key("second"));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| running.raw("PUT /bucket/first HTTP/1.1", b"1"));
        assert!(running.runtime.block_on(before.reached(LIMIT)));
        assert!(server.store().keys(BUCKET).is_empty(), "carried out before the gate opened");
        before.release();
        assert_eq!(first.join().unwrap().status(), "200");
        let second = scope.spawn(|| running.raw("PUT /bucket/second HTTP/1.1", b"2"));
        assert!(running.runtime.block_on(after.reached(LIMIT)));
        assert_eq!(server.store().keys(BUCKET), ["first", "second"], "not carried out before the gate");
        assert_eq!(server.recorder().snapshot()[1].status, None);
        after.release();
        assert_eq!(second.join().unwrap().status(), "200");
    });
}

#[test]
fn the_second_port_tells_and_takes_scripts() {
    let running = Running::anonymous();
    let server = &running.server;
    let url = running.runtime.block_on(server.serve_admin("127.0.0.1:0".parse().unwrap())).unwrap();
    let address = url.strip_prefix("http://").unwrap().to_owned();
    let ask = |line: &str, body: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let rule = Rule {
        name: "one".to_owned(),
        when: When::operation("GetObject").nth(1),
        action: Action::Block { after_apply: false, max_ms: 30_000 },
    };
    ask("POST /faults", &serde_json::json!([rule]).to_string());
    std::thread::scope(|scope| {
        let got = scope.spawn(|| running.raw("GET /bucket/none HTTP/1.1", b""));
        assert_eq!(ask("GET /wait?name=one&timeout_ms=30000", ""), "null");
        assert_eq!(ask("POST /release?name=one", ""), "null");
        assert_eq!(got.join().unwrap().status(), "404");
    });
    assert_eq!(ask("GET /counts", ""), r#"{"GetObject":1}"#);
    let requests: serde_json::Value = serde_json::from_str(&ask("GET /requests", "")).unwrap();
    assert_eq!((requests[0]["path"].as_str(), requests[0]["status"].as_u64()), (Some("/bucket/none"), Some(404)));
    ask("POST /clear", "");
    assert_eq!(ask("GET /counts", ""), "{}");
    assert!(ask("POST /faults", "nonsense").contains("error"));
}
