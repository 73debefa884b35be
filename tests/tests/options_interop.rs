//! Where the value of an option comes from, told by the requests that it leads to: our binary believes the same of two
//! sources as the real rclone does, for every set of them.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::iter;

use tempfile::TempDir;
use volsync_tests::embedded::Embedded;
use volsync_tests::rclone::Rclone;
use volsync_tests::servers::{Inspect, S3Endpoint};

/// The default of `list_chunk`, which a listing names as `max-keys`.
const DEFAULT: u32 = 1000;

/// What gives `list_chunk` a value.
#[derive(Debug, Clone, Copy)]
struct Sources {
    remote_string: Option<u32>,
    flag: Option<u32>,
    /// `RCLONE_S3_LIST_CHUNK`.
    backend_variable: Option<u32>,
    /// `RCLONE_CONFIG_REMOTE_LIST_CHUNK`.
    remote_variable: Option<u32>,
    section: Option<u32>,
}

impl Sources {
    /// Every set of them; the variable of the backend also with the default as its value, which counts for less.
    fn all() -> impl Iterator<Item = Self> {
        let pick = |set: u32, bit: u32, value| (set & bit != 0).then_some(value);
        let sets = (0..32).map(move |set| Self {
            remote_string: pick(set, 1, 7),
            flag: pick(set, 2, 6),
            backend_variable: pick(set, 4, 5),
            remote_variable: pick(set, 8, 4),
            section: pick(set, 16, 3),
        });
        sets.flat_map(|set| {
            let with_default = set.backend_variable.map(|_| Self { backend_variable: Some(DEFAULT), ..set });
            iter::once(set).chain(with_default)
        })
    }

    /// What rclone does; its manual has the variables the other way round.
    fn value(self) -> u32 {
        let (different, default) = match self.backend_variable {
            Some(DEFAULT) => (None, Some(DEFAULT)),
            other => (other, None),
        };
        let first = self.remote_string.or(self.flag).or(different).or(self.remote_variable).or(default);
        first.or(self.section).unwrap_or(DEFAULT)
    }

    fn program(self, server: &Embedded) -> Rclone {
        let section = self.section.map(|value| format!("list_chunk = {value}")).unwrap_or_default();
        let variables = [
            ("RCLONE_S3_LIST_CHUNK", self.backend_variable),
            ("RCLONE_CONFIG_REMOTE_LIST_CHUNK", self.remote_variable),
        ];
        let program = Rclone::with_options(server, "Minio", &section);
        let set = variables.into_iter().filter_map(|(name, value)| Some((name, value?)));
        set.fold(program, |program, (name, value)| program.env(name, &value.to_string()))
    }

    fn args(self) -> Vec<String> {
        let parameter = self.remote_string.map(|value| format!(",list_chunk={value}")).unwrap_or_default();
        let flag = self.flag.map(|value| format!("--s3-list-chunk={value}"));
        ["ls".to_owned(), format!("remote{parameter}:bucket")].into_iter().chain(flag).collect()
    }
}

/// The page that the listings asked for.
fn asked_for(server: &Embedded) -> Option<u32> {
    let requests = server.requests();
    requests.iter().find_map(|request| request.query_value("max-keys")).map(|keys| keys.parse().unwrap())
}

#[test]
fn of_every_set_of_sources_the_same_one_counts() {
    let server = Embedded::start("bucket");
    let mut sets = 0;
    for sources in Sources::all() {
        for program in [sources.program(&server), sources.program(&server).ours()] {
            program.run(&sources.args()).success();
            assert_eq!(asked_for(&server), Some(sources.value()), "{sources:?} {program:?}");
        }
        sets += 1;
    }
    assert_eq!(sets, 48);
}

/// What an end has in common with that of the other program: whether it worked, and what it asked for.
fn end(server: &Embedded, program: &Rclone, remote: &str) -> (bool, Option<u32>) {
    let works = program.run(&["ls", "--retries=1", "--low-level-retries=1", "--", remote]).code() == 0;
    (works, asked_for(server))
}

#[test]
fn remote_strings_mean_the_same() {
    let server = Embedded::start("bucket");
    let whole = format!(
        ":s3,provider=Minio,access_key_id={},secret_access_key={},endpoint=\"{}\",list_chunk=8:bucket",
        server.access_key(),
        server.secret_key(),
        server.url(),
    );
    let section = |name: &str| format!("{name},endpoint='{}',list_chunk=9:bucket", server.url());
    for (remote, works, keys) in [
        ("remote,list_chunk=9:bucket", true, Some(9)),
        ("remote,list_chunk=\"9\":bucket", true, Some(9)),
        ("remote,list_chunk='9':bucket/", true, Some(9)),
        ("remote,list_chunk=0x9:/bucket", true, Some(9)),
        ("remote,no_head,list_chunk=9:bucket", true, Some(9)),
        ("remote,no_head=false,list_chunk=9,list_chunk=8:bucket", true, Some(8)),
        ("remote,unknown=1:bucket", true, Some(DEFAULT)),
        ("remote,list_chunk=x:bucket", false, None),
        ("remote,list_chunk='9:bucket", false, None),
        ("other:bucket", false, None),
        (&whole, true, Some(8)),
        (&section("remote"), true, Some(9)),
        (&section("Remote"), false, None),
    ] {
        let program = || Rclone::new(&server, "Minio");
        for program in [program(), program().ours()] {
            assert_eq!(end(&server, &program, remote), (works, keys), "{remote} {program:?}");
        }
    }
}

#[test]
fn remotes_of_variables_have_the_same_names() {
    let server = Embedded::start("bucket");
    let dir = TempDir::new().unwrap();
    for (prefix, remote, works) in [
        ("RCLONE_CONFIG_VARS_", "vars:bucket", true),
        ("RCLONE_CONFIG_VARS_", "Vars:bucket", true),
        ("RCLONE_CONFIG_MY-S3_", "my-s3:bucket", true),
        ("RCLONE_CONFIG_MY_S3_", "my-s3:bucket", false),
        ("RCLONE_CONFIG_vars_", "vars:bucket", false),
        ("rclone_config_vars_", "vars:bucket", false),
    ] {
        let program = || {
            let empty = tempfile::NamedTempFile::new_in(dir.path()).unwrap().into_temp_path();
            let (access, secret, url) = (server.access_key(), server.secret_key(), server.url());
            [
                ("TYPE", "s3"),
                ("PROVIDER", "Minio"),
                ("ACCESS_KEY_ID", access),
                ("SECRET_ACCESS_KEY", secret),
                ("ENDPOINT", &url),
                ("LIST_CHUNK", "9"),
            ]
            .iter()
            .fold(Rclone::with_conf(empty), |program, (key, value)| program.env(&format!("{prefix}{key}"), value))
        };
        for program in [program(), program().ours()] {
            assert_eq!(end(&server, &program, remote), (works, works.then_some(9)), "{prefix} {remote} {program:?}");
        }
    }
}

/// `RCLONE_FLAG` for a flag: its value, a list to which the command line adds, and what is no value.
#[test]
fn variables_of_flags_mean_the_same() {
    let server = Embedded::start("bucket");
    for name in ["a", "b,c", "d", "e", "f g"] {
        server.put("bucket", name, &[1]);
    }
    for (variables, args) in [
        (&[("RCLONE_EXCLUDE", "a,\"b,c\"")][..], &["--exclude", "d"][..]),
        (&[("RCLONE_EXCLUDE", "a\n")], &[]),
        (&[("RCLONE_INCLUDE", "f g")], &["--include", "e"]),
        (&[("RCLONE_MAX_SIZE", "0")], &[]),
        (&[("RCLONE_MAX_SIZE", "0")], &["--max-size", "9"]),
        (&[("RCLONE_MAX_SIZE", "x")], &[]),
        (&[("RCLONE_FAST_LIST", "true")], &[]),
        (&[("RCLONE_FAST_LIST", "maybe")], &[]),
        (&[("RCLONE_TRANSFERS", "19\n")], &[]),
        (&[("RCLONE_TRANSFERS", "1e3")], &[]),
        (&[("RCLONE_S3_LIST_CHUNK", "x")], &[]),
        (&[("RCLONE_S3_LIST_CHUNK", "")], &[]),
        (&[("RCLONE_FILES_FROM", "/does/not/exist")], &[]),
    ] {
        let told = |program: Rclone| {
            let program = variables.iter().fold(program, |program, (name, value)| program.env(name, value));
            let outcome = program.run(&[&["ls", "remote:bucket"][..], args].concat());
            let mut names: Vec<_> = String::from_utf8_lossy(&outcome.stdout).lines().map(str::to_owned).collect();
            names.sort();
            (outcome.code(), names)
        };
        let program = || Rclone::new(&server, "Minio");
        assert_eq!(told(program().ours()), told(program()), "{variables:?} {args:?}");
    }
}
