//! The command line against the real rclone's, and what is our own of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir, TempPath};
use volsync_tests::embedded::Embedded;
use volsync_tests::mover;
use volsync_tests::process::Outcome;
use volsync_tests::rclone::Rclone;
use volsync_tests::servers::{S3Endpoint, rclone_conf, rclone_conf_with};

/// Configurations that show each rule of printing.
const CONFS: [&[u8]; 7] = [
    b"[r]\ntype = s3\nprovider = Minio\naccess_key_id = AK\nsecret_access_key = SK\ndescription = mine, \"all\"\n\
      [l]\ntype = local\n[a]\ntype = alias\nremote = r:bucket/x\n[notype]\na = b\n[b2]\ntype = b2\n[up]\ntype = S3\n",
    b"x=1\n[a]\nq=1\n`k=y`=v`x\n\"k:z\"=v\"`w\n- = auto\n-=auto2\n[b]\ntype= alias\nremote=%(type)s\n",
    b"[z]\ntype=local\n[\xc3\xa9 x]\nb=1\n[bad\x01]\ntype=s3\nk\\n=v\xff%(type)s\n  multi = `a\tb`\n",
    b"[a.b]\ntype=local\n[a]\nz=1\n",
    b"",
    b"# of x\n\nx=1\n  ; of a \n;more\n[a]\n#of q\nq=1\n\n# of r\n\n; too\nr=2\n# of b\n[b]\n# again\n[a]\nq=3\n#r\nr=4\n# end",
    b"# only\n",
];

/// Remotes that cannot be opened; ours and rclone's words for each are the same.
const BROKEN: &str = "\
[one]
type = s3
access_key_id = X
[other]
type = s3
secret_access_key = X
[bad]
type = s3
chunk_size = 1x
[flag]
type = s3
env_auth = maybe
[small]
type = s3
chunk_size = 1M
[cutoff]
type = s3
upload_cutoff = 6G
[keys]
type = s3
sse_customer_key = a
sse_customer_key_base64 = YQ==
[key]
type = s3
sse_customer_key_base64 = !!!
[crypt]
type = crypt
remote = one:b
[clear]
type = crypt
remote = one:b
password = not obscured
[loop]
type = alias
remote = loop:
[notype]
a = b
[nothing]
type = alias
";

fn file(content: &[u8]) -> TempPath {
    let mut file = NamedTempFile::with_prefix("conf-").unwrap();
    file.write_all(content).unwrap();
    file.into_temp_path()
}

fn ours(conf: &Path, args: &[&str]) -> Outcome {
    mover::run(args, &[("RCLONE_CONFIG", conf.to_str().unwrap())])
}

#[test]
fn the_configuration_is_printed_as_rclone_prints_it() {
    let commands = [
        "config dump",
        "config show",
        "config show r",
        "config show r:",
        "config show up",
        "config show b2",
        "config show a",
        "config show nope",
        "config redacted r",
        "listremotes",
        "listremotes --long",
        "listremotes --json",
    ];
    for content in CONFS {
        let conf = file(content);
        let rclone = Rclone::with_conf(file(content));
        for command in commands {
            let args: Vec<&str> = command.split(' ').collect();
            let (ours, theirs) = (ours(&conf, &args), rclone.run(&args));
            assert_eq!(ours.code(), theirs.code(), "{command}: {ours}");
            assert_eq!(
                String::from_utf8_lossy(&ours.stdout),
                String::from_utf8_lossy(&theirs.stdout),
                "{command} of {:?}",
                String::from_utf8_lossy(content)
            );
        }
    }
}

/// What stands behind the time and the level of the last line.
fn complaint(outcome: &Outcome) -> String {
    let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let line = text.lines().last().unwrap_or_default();
    line.split_once("CRITICAL: ").map_or(line, |(_, message)| message).to_owned()
}

#[test]
fn what_cannot_be_opened_is_told_in_rclones_words() {
    let conf = file(BROKEN.as_bytes());
    let rclone = Rclone::with_conf(file(BROKEN.as_bytes()));
    let sections = BROKEN.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    let remotes = sections.map(|name| format!("{name}:b"));
    let strings = [
        "nope:b",
        "",
        "one,chunk_size=1M:b",
        ":s3,chunk_size=x:b",
        ":s3,upload_cutoff=6G:b",
        "-x:b",
        ":s3",
        ":s3,a b:c",
        "r,e='x:",
    ];
    for remote in remotes.chain(strings.map(str::to_owned)) {
        let (ours, theirs) = (ours(&conf, &["ls", "--", &remote]), rclone.run(&["ls", "--", &remote]));
        assert_eq!(complaint(&ours), complaint(&theirs), "{remote}");
        assert_eq!((ours.code(), theirs.code()), (1, 1), "{remote}");
    }
}

#[test]
fn objects_are_listed_as_rclone_lists_them() {
    let server = Embedded::start("bkt");
    let (dir, conf) = (TempDir::new().unwrap(), rclone_conf(&server, "Minio"));
    for name in ["x", "sub/y", "sub/deep/z.txt", "new\nline", "tab\tbed", "\u{240a}", "ümlaut"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![0; 1000 * name.len()]).unwrap();
    }
    let rclone = Rclone::new(&server, "Minio");
    rclone.run(&["copy", dir.path().to_str().unwrap(), "remote:bkt/p"]).success();
    let file = dir.path().join("sub/y");
    let place = ["remote:bkt/p", dir.path().to_str().unwrap(), "remote:bkt/p/sub/y", file.to_str().unwrap()];
    let forms: [&[&str]; 5] =
        [&[], &["--human-readable"], &["--max-depth", "2"], &["--include", "*.txt"], &["--exclude", "/sub/**"]];
    for (place, form) in place.into_iter().flat_map(|place| forms.map(|form| (place, form))) {
        let args = [&["ls", place], form].concat();
        let lines = |outcome: Outcome| {
            let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            (outcome.code(), lines)
        };
        assert_eq!(lines(ours(&conf, &args)), lines(rclone.run(&args)), "{args:?}");
    }
    for missing in ["remote:nope/p", "/does/not/exist"] {
        assert_eq!(ours(&conf, &["ls", missing]).code(), 3, "{missing}");
    }
}

#[test]
fn a_wrong_command_line_is_2_and_says_why() {
    let conf = file(b"");
    let cases: [(&[&str], &str); 9] = [
        (&["snyc"], "unknown command \"snyc\" for \"mover-rclone\"; did you mean sync?"),
        (&["ls"], "Command ls needs 1 arguments minimum: you provided 0 non flag arguments: []"),
        (&["ls", "a", "b"], "Command ls needs 1 arguments maximum: you provided 2 non flag arguments: [\"a\" \"b\"]"),
        (&["ls", "--nope", "a"], "unknown flag: --nope"),
        (&["sync", "--transfer", "3", "a", "b"], "did you mean --transfers?"),
        (&["sync", "--transfers", "x", "a", "b"], "invalid value \"x\" for --transfers"),
        (&["sync", "a", "b", "--transfers"], "flag needs an argument: --transfers"),
        (&["completion", "tcsh"], "completion knows bash, zsh and fish"),
        (&["config", "edit"], "config does not know this"),
    ];
    for (args, expect) in cases {
        let outcome = ours(&conf, args).exits(2);
        assert!(outcome.text().contains(expect), "{outcome}");
    }
    // A value of the Secret is not the command line.
    let outcome = mover::run(&["ls", "a"], &[("RCLONE_TRANSFERS", "x")]).exits(1);
    assert!(outcome.text().contains("invalid value \"x\" for RCLONE_TRANSFERS"), "{outcome}");
}

#[test]
fn completion_scripts_are_scripts() {
    let conf = file(b"");
    for shell in ["bash", "zsh", "fish"] {
        let script = ours(&conf, &["completion", shell]).success().stdout;
        let text = String::from_utf8(script.clone()).unwrap();
        for word in ["push", "listremotes", "volsync-allow-empty-source"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
        if shell == "bash" {
            let mut check = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
            check.stdin.take().unwrap().write_all(&script).unwrap();
            assert!(check.wait().unwrap().success());
        }
    }
}

#[test]
fn checking_the_configuration_sends_nothing_and_shows_no_secret() {
    let server = Embedded::start("bkt");
    let conf = rclone_conf_with(&server, "Minio", "chunk_size = 8Mi\nacess_key = typo\n");
    let outcome = ours(&conf, &["config", "check"]).success();
    let text = outcome.text();
    for part in [
        "[remote] (s3) ok",
        &format!("endpoint {}, region us-east-1", server.url()),
        "signs with the access key of the configuration",
        "chunk_size = 8388608",
        "secret_access_key = XXX",
        "unknown key acess_key is ignored",
    ] {
        assert!(text.contains(part), "{part:?} not in {text}");
    }
    assert!(!text.contains(server.secret_key()), "{text}");
    assert_eq!(server.recorder().total(), 0);
    let outcome = ours(&file(BROKEN.as_bytes()), &["config", "check", "small"]).exits(1);
    assert!(outcome.text().contains("[small] (s3) cannot be used: s3: chunk size: 1Mi is less than 5Mi"), "{outcome}");
}

#[test]
fn headers_of_uploads_and_downloads_are_sent_and_signed() {
    let server = Embedded::start("bkt");
    let conf = rclone_conf_with(&server, "Minio", "upload_cutoff = 5Mi\n");
    let [from, to] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    fs::write(from.path().join("small"), "x").unwrap();
    fs::write(from.path().join("large"), vec![1; 6 << 20]).unwrap();
    let [from, to] = [&from, &to].map(|dir| dir.path().to_str().unwrap());
    let upload = ["--header-upload", "Cache-Control: no-store", "--header-upload", "X-Foo: bar"];
    let outcome = ours(&conf, &[&["copy", from, "remote:bkt"][..], &upload].concat()).success();
    assert!(outcome.text().contains("Don't know how to set key \"x-foo\" on upload"), "{outcome}");
    ours(&conf, &["copy", "remote:bkt", to, "--header-download", "X-D: e"]).success();
    for request in server.recorder().snapshot() {
        let creates = ["PutObject", "CreateMultipartUpload"].contains(&request.operation.as_str());
        assert_eq!(request.header("cache-control"), creates.then_some("no-store"), "{request:?}");
        assert_eq!(request.header("x-d"), (request.operation == "GetObject").then_some("e"), "{request:?}");
        assert!(request.header("x-foo").is_none());
        let signed = request.header("authorization").unwrap();
        assert!(!creates || signed.contains("cache-control;"), "{signed}");
    }
}

#[test]
fn flags_of_a_section_count_and_beat_the_command_line() {
    let server = Embedded::start("bkt");
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("x"), "x").unwrap();
    let path = dir.path().to_str().unwrap();
    let conf = rclone_conf_with(&server, "Minio", "global.dry_run = true\n");
    let outcome = ours(&conf, &["push", path, "remote:bkt/p", "--dry-run=false"]).success();
    assert!(outcome.text().contains("x: Skipped copy as --dry-run is set"), "{outcome}");
    assert_eq!(server.recorder().count("PutObject"), 0);
    let conf = rclone_conf_with(&server, "Minio", "override.user_agent = somebody/1\n");
    ours(&conf, &["ls", "remote:bkt"]).success();
    let last = server.recorder().snapshot().pop().unwrap();
    assert_eq!(last.header("user-agent"), Some("somebody/1"));
}

#[test]
fn a_volume_comes_back_whatever_its_directory_is_called() {
    let server = Embedded::start("bkt");
    let conf = rclone_conf(&server, "Minio");
    let [from, to] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    fs::write(from.path().join("x"), "x").unwrap();
    volsync_tests::volume::shell(from.path(), "chmod 640 x");
    let [from_path, to_path] = [&from, &to].map(|dir| dir.path().to_str().unwrap());
    ours(&conf, &["push", from_path, "remote:bkt/p"]).success();
    ours(&conf, &["pull", "remote:bkt/p", to_path]).success();
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(to.path().join("x")).unwrap());
    assert_eq!(mode & 0o777, 0o640);
    // What upstream's mover would read: its volumes are at /data.
    let stored = ours(&conf, &["copy", "remote:bkt/p", to_path, "--include", "permissions.facl"]).success();
    let text = fs::read_to_string(to.path().join("permissions.facl")).unwrap();
    assert!(text.starts_with("# file: data\n"), "{text} {stored}");
}

#[test]
fn events_are_one_json_object_a_line() {
    let server = Embedded::start("bkt");
    let conf = rclone_conf(&server, "Minio");
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("x"), "x").unwrap();
    let outcome = ours(&conf, &["push", dir.path().to_str().unwrap(), "remote:bkt/p", "--json"]).success();
    let events: Vec<Value> =
        String::from_utf8(outcome.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"start"), Some(&"summary")));
    assert!(events.iter().any(|event| event["action"] == "copied" && event["object"] == "x"));
}
