//! Sections and strings to places, and what is said of those that are none.

use super::*;
use crate::config::{MapEnv, NoFlags};
use volsync_common::time::Timestamp;

const CONF: &str = "\
[r]
type = s3
provider = Minio
endpoint = http://127.0.0.1:1
access_key_id = AK
secret_access_key = SK
[a]
type = alias
remote = r:bucket/x
[l]
type = local
[c]
type = crypt
remote = a:y
password = AAECAwQFBgcICQoLDA0OD3HwE0RzvQ
[lc]
type = crypt
remote = /tmp
password = AAECAwQFBgcICQoLDA0OD3HwE0RzvQ
[one]
type = s3
access_key_id = X
[g]
type = s3
global.transfers = 3
override.timeout = 9s
";

fn found(arg: &str) -> Result<Resolved, OpenError> {
    resolve(&Config::parse(CONF.as_bytes()).unwrap(), &MapEnv::default(), &NoFlags, arg.as_bytes())
}

fn opened(arg: &str) -> Result<Place, OpenError> {
    let (flags, _) = Flags::parse(&MapEnv::default(), "sync", &[]).unwrap();
    let options = GlobalOptions::new(&flags, Timestamp::default()).unwrap();
    let opener = Opener {
        env: &MapEnv::default(),
        flags: &flags,
        options: &options,
        filter: Arc::default(),
        upload_memory: 1 << 20,
        hasher: Arc::new(FileHasher::start(1).unwrap()),
        client: OnceCell::new(),
    };
    opener.place(found(arg)?)
}

#[test]
fn a_place_is_a_directory_or_a_store() {
    let cases = [
        ("r:b/p/q/", "S3 bucket b path p/q"),
        ("r:/b", "S3 bucket b path "),
        ("a:z", "S3 bucket bucket path x/z"),
        ("l:", "."),
        ("l:/data", "/data"),
        ("some/where", "some/where"),
    ];
    for (arg, expect) in cases {
        let shown = match opened(arg).unwrap() {
            Place::Directory(path) => path.display().to_string(),
            Place::Store(store) => store.describe(),
        };
        assert_eq!(shown, expect, "{arg}");
    }
    for arg in ["c:", "lc:x"] {
        assert!(matches!(opened(arg).unwrap(), Place::Store(_)), "{arg}");
    }
}

#[test]
fn failures_name_the_argument_in_rclones_words() {
    let cases = [
        ("nope:x", "didn't find section in config file (\"nope\")"),
        ("one:b", "secret_access_key not found"),
        ("r,chunk_size=1M:b", "s3: chunk size: 1Mi is less than 5Mi"),
        ("r,upload_cutoff=6G:b", "s3: upload cutoff: 6Gi is greater than 5Gi"),
        (
            "r,sse_customer_key_base64='!!':b",
            "s3: Could not decode sse_customer_key_base64: illegal base64 data at input byte 0",
        ),
        (
            "r,sse_customer_key_base64=YQ==,sse_customer_key_md5=x:b",
            "s3: sse_customer_key_md5 is not the MD5 of the key: leave it out, it is computed",
        ),
        (
            "r,sse_customer_key=a,sse_customer_key_base64=YQ==:b",
            "s3: can't use sse_customer_key and sse_customer_key_base64 at the same time",
        ),
        (
            "r,sse_customer_algorithm=AES256:b",
            "s3: sse_customer_algorithm is set but no key is: set sse_customer_key or sse_customer_key_base64 too",
        ),
        ("r:", "the path names no bucket: write it as r:BUCKET/PATH"),
        ("l,encoding=Colon:x", "local option encoding is not supported by this mover: names are kept as their bytes"),
        ("", "can't use empty string as a path"),
    ];
    for (arg, why) in cases {
        let error = opened(arg).err().unwrap();
        assert_eq!(error.why.to_string(), why, "{arg}");
        let hidden =
            arg.replace("='!!'", "=XXX").replace("=YQ==", "=XXX").replace("=a,", "=XXX,").replace("md5=x", "md5=XXX");
        assert_eq!(error.arg, format!("\"{hidden}\""));
    }
}

#[test]
fn a_customer_key_may_come_in_base64_with_its_sum() {
    let (flags, _) = Flags::parse(&MapEnv::default(), "sync", &[]).unwrap();
    let options = GlobalOptions::new(&flags, Timestamp::default()).unwrap();
    let key = |arg: &str| s3::settings(found(arg).unwrap().remotes()[0], &options).unwrap().sse_customer_key;
    assert_eq!(key("r,sse_customer_key=abc:b"), b"abc");
    assert_eq!(key("r,sse_customer_key_base64=YWJj,sse_customer_key_md5=kAFQmDzST7DWlj99KOF/cg==:b"), b"abc");
}

#[test]
fn options_without_a_use_are_as_if_not_given() {
    let (flags, _) = Flags::parse(&MapEnv::default(), "sync", &[]).unwrap();
    let options = GlobalOptions::new(&flags, Timestamp::default()).unwrap();
    let settings = |arg: &str| s3::settings(found(arg).unwrap().remotes()[0], &options).unwrap();
    for (list_chunk, expect) in [("0", 1000), ("1", 1), ("5000", 5000)] {
        assert_eq!(settings(&format!("r,list_chunk={list_chunk}:b")).list_chunk, expect);
    }
    let accelerated = "endpoint='https://cos.accelerate.myqcloud.com'";
    for (remote, expect) in [
        (format!("r,provider=TencentCOS,{accelerated}:b"), true),
        (format!("r,{accelerated}:b"), false),
        ("r,provider=TencentCOS:b".to_owned(), false),
        ("r,no_check_bucket:b".to_owned(), true),
    ] {
        assert_eq!(settings(&remote).no_check_bucket, expect, "{remote}");
    }
}

#[test]
fn flags_of_sections_come_with_the_remote() {
    let resolved = found("g:b").unwrap();
    let remotes = resolved.remotes();
    assert_eq!(remotes[0].global, [("transfers".to_owned(), b"3".to_vec())]);
    let (flags, _) = Flags::parse(&MapEnv::default(), "sync", &["--transfers=5".into()]).unwrap();
    let options = GlobalOptions::new(&flags.with_section(&remotes[0].global).unwrap(), Timestamp::default()).unwrap();
    assert_eq!(options.transfers, Some(3));
    assert!(matches!(opened("g:b").unwrap(), Place::Store(_)));
}
