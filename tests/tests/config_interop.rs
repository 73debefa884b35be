//! Reads configurations with the real rclone and with ours: every edge case, and files made of what parsers trip over.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a panic is the report of a test")]

#[path = "../../mover-rclone/src/config/cases.rs"]
mod cases;

use std::path::Path;
use std::process::{Command, Output};

use mover_rclone::config::{Config, ConfigSource, MapEnv, PasswordSource, RemoteString, dump, obscure};
use proptest::prelude::ProptestConfig;
use proptest::test_runner::TestRunner;
use volsync_tests::peers;

fn rclone(file: &Path, env: &[(String, String)], args: &[&str]) -> Output {
    let mut command = Command::new(peers::rclone());
    command.env_clear().env("HOME", "/").envs(env.iter().cloned());
    command.args(["--ask-password=false", "--config"]).arg(file).args(args).output().expect("run rclone")
}

/// What real rclone dumps and lists, or the reason why it does not load the file.
fn theirs(file: &Path, env: &[(String, String)]) -> Result<(String, Vec<u8>), String> {
    let dump = rclone(file, env, &["config", "dump"]);
    if !dump.status.success() {
        let text = String::from_utf8_lossy(&dump.stderr).into_owned();
        let marker = format!("Failed to load config file \"{}\": ", file.display());
        let at = text.find(&marker).unwrap_or_else(|| panic!("rclone failed otherwise: {text}"));
        return Err(text[at + marker.len()..].trim_end_matches('\n').to_owned());
    }
    let list = rclone(file, env, &["listremotes"]).stdout;
    Ok((String::from_utf8_lossy(&dump.stdout).into_owned(), list))
}

fn ours(file: &Path, env: &[(String, String)]) -> Result<(String, Vec<u8>), String> {
    let env = MapEnv::new(env.iter().map(|(n, v)| (n, v)));
    let loaded = Config::load(&ConfigSource::File(file.to_owned()), &env, &PasswordSource::default());
    let (config, _) = loaded.map_err(|e| e.reason.to_string())?;
    Ok((dump::dump(&config, &env), dump::list_remotes(&config, &env)))
}

#[test]
fn the_edge_cases_read_alike() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rclone.conf");
    for case in cases::all() {
        std::fs::write(&file, &case.file).unwrap();
        assert_eq!(ours(&file, &case.env), theirs(&file, &case.env), "{}", case.title);
        assert_eq!(ours(&file, &case.env).err(), case.fails, "{}", case.title);
        assert_eq!(ours(&file, &case.env).is_ok(), case.dump.is_some(), "{}", case.title);
        let listed = ours(&file, &case.env).is_ok_and(|(_, list)| !list.is_empty());
        assert_eq!(listed, !case.list.is_empty(), "{}", case.title);
    }
}

#[test]
fn random_files_read_alike() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rclone.conf");
    let line = "(\\[[a-c.]{0,3}\\]|[\"`]{0,3}[a-c \u{a0}]{0,3}[\"`]{0,3}[=:][\"`]{0,3}[a-z%\\(\\)s =#;é\t<&]{0,8}[\"`]{0,3}|[#;]x|-=y|type=s3|[a-c]=%\\([a-c]\\)s|[a-c]{0,2}\r?)";
    let files = proptest::collection::vec(line, 1..8);
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) });
    runner
        .run(&files, |lines: Vec<String>| {
            // Under a header from the start: a loop of references in DEFAULT overflows the stack of the real one.
            std::fs::write(&file, format!("[a]\n{}", lines.join("\n"))).unwrap();
            let (ours, theirs) = (ours(&file, &[]), theirs(&file, &[]));
            // Lines of an error are escaped here; that there is one is what counts.
            proptest::prop_assert_eq!(ours.as_ref().ok(), theirs.as_ref().ok(), "{:?}: {:?} {:?}", lines, ours, theirs);
            Ok(())
        })
        .unwrap();
}

#[test]
fn passwords_obscured_by_either_are_revealed_by_the_other() {
    let none = Path::new("/dev/null");
    for password in ["potato", "p", "a longer one with ü and \" and more than sixteen bytes"] {
        let theirs = rclone(none, &[], &["obscure", password]).stdout;
        assert_eq!(obscure::reveal(theirs.trim_ascii()).unwrap().expose(), password.as_bytes());
        let ours = obscure::obscure(password.as_bytes(), [7; 16]);
        assert_eq!(rclone(none, &[], &["reveal", "--", &ours]).stdout.trim_ascii(), password.as_bytes());
    }
}

#[test]
fn remote_strings_fail_alike() {
    let dir = tempfile::tempdir().unwrap();
    let strings = [
        "",
        ":",
        "::",
        ":s3",
        ":s3,x",
        ":s3/foo",
        ":local/foo:",
        ":s3,a/b:c",
        ":local,a/b",
        ",:",
        ":,a=b:",
        "r,a\\b:",
        "r,:x",
        "r,=:",
        "r,a,,b:x",
        "r,a b=c:",
        "r,-a=b:",
        "r,e='x:",
        "r,e=\"x\"y:",
        " x:",
        "x :",
        "x-:",
        "x.-:",
        "a]b:x",
    ];
    for text in strings {
        let output = rclone(&dir.path().join("notfound"), &[], &["lsf", "--", text]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let reason = RemoteString::parse(text.as_bytes()).expect_err(text).to_string();
        assert!(stderr.trim_end().ends_with(&format!(": {reason}")), "{text:?}: {reason}\n{stderr}");
    }
}
