//! The demonstration: what a newcomer runs first must say the truth, and succeed, for any user.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is the report")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use volsync_tests::process::{Outcome, run};
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::{mover, peers, volume};

fn demo() -> PathBuf {
    mover::program("demo", &["demo/src", "embedded-s3/src", "mover-rclone/src"])
}

/// Where a demonstration makes what it needs.
fn place() -> TempDir {
    let place = TempDir::with_prefix("demo-").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    place
}

fn command(program: &Path, place: &TempDir) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TMPDIR", place.path());
    command
}

fn document(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"))
}

fn is_empty(place: &TempDir) -> bool {
    fs::read_dir(place.path()).unwrap().next().is_none()
}

#[test]
fn everything_that_can_come_back_does() {
    let place = place();
    let outcome = run(command(&demo(), &place).args(["--json", "--links"])).success();
    let said = document(&outcome);
    let (verdict, steps) = (&said["verdict"], said["steps"].as_array().unwrap());
    assert!(said["ok"] == true && verdict["differences"].as_array().unwrap().is_empty(), "{outcome}");
    let numbers = |name: &str| steps.iter().map(|step| step[name].as_u64().unwrap()).collect::<Vec<_>>();
    let (transferred, compared) = (numbers("transferred"), numbers("compared"));
    // Fifty letters of the renamed directory, ten new ones, the journal, and the file that only its content gives away.
    assert_eq!((transferred.len(), transferred[1], transferred[2], compared[0]), (4, 62, 0, 0), "{outcome}");
    assert_eq!(verdict["files"].as_u64().unwrap() + verdict["links"].as_u64().unwrap(), transferred[3], "{outcome}");
    assert!(verdict["links"] == 3 && verdict["access_lists"] == 2 && verdict["holes"] == 1, "{outcome}");
    assert!(steps[2]["requests"].get("PutObject").is_none(), "{outcome}");
    assert!(is_empty(&place), "nothing is left behind");
}

#[test]
fn an_ordinary_user_reads_the_verdict_and_nothing_stays() {
    let (place, programs) = (place(), place());
    let copy = programs.path().join("demo");
    fs::copy(demo(), &copy).unwrap();
    let mut command = command(&peers::tool("setpriv"), &place);
    command.args(["--reuid", "1234", "--regid", "1234", "--clear-groups", "--no-new-privs"]).arg(&copy);
    let outcome = run(&mut command).success();
    let text = outcome.text();
    assert!(text.contains("\n✔ What came back is what was stored.\n"), "{outcome}");
    assert!(text.contains("3  symbolic links          left out, as VolSync does; --links keeps them"), "{outcome}");
    assert!(!text.contains('\x1b') && is_empty(&place), "{outcome}");
}

#[test]
fn a_directory_of_the_users_is_read_and_never_changed() {
    let (place, own) = (place(), TempDir::new().unwrap());
    let script = "mkdir a lost+found; echo x > a/f; ln a/f a/g; ln -s f a/l; chown 5:6 a/f; touch -d @7 a a/f";
    volume::shell(own.path(), script);
    let before = Tree::of(own.path());
    let outcome = run(command(&demo(), &place).arg("--json").arg(own.path())).success();
    before.assert_same(&Tree::of(own.path()), Ignore::default());
    let said = document(&outcome);
    let lost = said["verdict"]["not_kept"].as_array().unwrap();
    let count = |what: &str| lost.iter().find(|lost| lost["what"] == what).map(|lost| lost["count"].as_u64().unwrap());
    assert_eq!((count("links"), count("hard_links"), count("left_out")), (Some(1), Some(2), Some(1)), "{outcome}");
    assert_eq!((said["ok"].as_bool(), said["verdict"]["files"].as_u64()), (Some(true), Some(2)), "{outcome}");
    let missing = run(command(&demo(), &place).arg("/no/such/directory")).exits(1);
    assert!(missing.text().contains("Error: no such volume: /no/such/directory"), "{missing}");
}

/// A demonstration that waits; killed when a test ends early.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn a_store_that_is_served_can_be_read_until_a_signal() {
    let (place, own) = (place(), TempDir::new().unwrap());
    fs::write(own.path().join("file"), "content").unwrap();
    let mut command = command(&demo(), &place);
    let mut serving = Serving(command.arg("--serve").arg(own.path()).stdout(Stdio::piped()).spawn().unwrap());
    let said = BufReader::new(serving.0.stdout.take().unwrap());
    let exported = said.lines().map(Result::unwrap).filter_map(|line| Some(line.split_once("export ")?.1.to_owned()));
    let variables: Vec<String> = exported.take(2).collect();
    let variables = variables.iter().map(|variable| variable.split_once('=').unwrap());
    let mut rclone = Command::new(peers::rclone());
    let listed = run(rclone.env_clear().envs(variables).args(["lsf", "demo:volumes/first"])).success();
    assert_eq!(listed.text(), "file\npermissions.facl\n");
    kill_process(Pid::from_child(&serving.0), Signal::TERM).unwrap();
    assert!(serving.0.wait().unwrap().success());
    assert!(is_empty(&place));
}
