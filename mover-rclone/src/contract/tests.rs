//! The environment of a Job to what is done.

use super::*;
use crate::config::MapEnv;
use std::sync::Arc;

const WHOLE: [(&str, &str); 4] = [
    ("RCLONE_DEST_PATH", "bucket/path"),
    ("DIRECTION", "source"),
    ("PRIVILEGED_MOVER", "0"),
    ("RCLONE_CONFIG_SECTION", "s3"),
];

fn job(change: &[(&str, &str)]) -> Result<Job, String> {
    let mut vars = WHOLE.to_vec();
    for (name, value) in change {
        vars.retain(|(n, _)| n != name);
        vars.push((name, value));
    }
    Job::read(&MapEnv::new(vars))
}

#[test]
fn what_is_missing_is_named_as_upstream_names_it() {
    for name in REQUIRED {
        assert_eq!(job(&[(name, "")]), Err(format!("{name} must be defined")));
    }
    assert_eq!(job(&[("DIRECTION", "up")]), Err("unknown value for DIRECTION: up".to_owned()));
    assert_eq!(job(&[("DIRECTION", "a\nb")]), Err("unknown value for DIRECTION: a\\nb".to_owned()));
}

#[test]
fn the_direction_is_the_order_of_the_words() {
    let args = |change: &[(&str, &str)]| {
        let order = job(change).unwrap().order().unwrap();
        let words: Vec<_> = order.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        (order.command.name, words.join(" "), String::from_utf8(order.mount).unwrap())
    };
    assert_eq!(args(&[]), ("push", "-- /data s3:bucket/path".to_owned(), "data".to_owned()));
    let pull = [("DIRECTION", "destination"), ("MOUNT_PATH", "/mnt//vol/")];
    assert_eq!(args(&pull), ("pull", "-- s3:bucket/path /mnt//vol/".to_owned(), "mnt/vol".to_owned()));
}

#[test]
fn values_of_the_secret_lose_their_line_end_and_get_defaults() {
    let env = MapEnv::new([
        ("RCLONE_CHECKSUM", "false\n"),
        ("RCLONE_TRANSFERS", "19\r\n"),
        ("RCLONE_STATS", ""),
        ("RCLONE_CONFIG_PASS", "p\n"),
        ("RCLONE_DEST_PATH", "a\n"),
        ("OTHER", "x\n"),
    ]);
    let env = JobEnv::new(Arc::new(env));
    let cases = [
        ("RCLONE_CHECKSUM", "false"),
        ("RCLONE_TRANSFERS", "19"),
        ("RCLONE_STATS", "20s"),
        ("RCLONE_LOG_LEVEL", "INFO"),
        ("RCLONE_CONFIG_PASS", "p\n"),
        ("RCLONE_DEST_PATH", "a\n"),
        ("OTHER", "x\n"),
    ];
    for (name, value) in cases {
        assert_eq!(env.var(name.as_bytes()), Some(value.as_bytes().to_vec()), "{name}");
        assert!(env.vars().contains(&(name.as_bytes().to_vec(), value.as_bytes().to_vec())), "{name}");
    }
    let verbose = JobEnv::new(Arc::new(MapEnv::new([("RCLONE_VERBOSE", "2")])));
    assert_eq!(verbose.var(b"RCLONE_LOG_LEVEL"), None);
}

#[test]
fn the_name_decides_what_the_program_is() {
    let start = |line: &str, env: &[(&str, &str)]| {
        let args = line.split(' ').map(OsString::from).collect();
        Start::of(args, &MapEnv::new(env.iter().copied()))
    };
    let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
    assert_eq!(start("/bin/bash -c /mover-rclone/active.sh", &[]), Start::Job);
    assert_eq!(start("/mover-rclone/active.sh", &[]), Start::Job);
    assert_eq!(start("sh -c ls", &[]), Start::Shell);
    assert_eq!(start("/bin/sh", &[("DIRECTION", "source")]), Start::Shell);
    assert_eq!(start("rm -f x", &[]), Start::Remove(words("-f x")));
    assert_eq!(start("/usr/bin/mover-rclone", &[("DIRECTION", "source")]), Start::Job);
    assert_eq!(start("mover-rclone", &[]), Start::CommandLine(Vec::new()));
    assert_eq!(start("mover-rclone ls r:", &[("DIRECTION", "source")]), Start::CommandLine(words("ls r:")));
}
