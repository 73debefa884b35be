//! Replications on one machine: the resources of a cluster, and no cluster.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use volsync_tests::devices::Mounted;
use volsync_tests::embedded::Embedded;
use volsync_tests::mover::{binary, program, repository};
use volsync_tests::process::{LIMIT, Outcome, Running, run};
use volsync_tests::servers::S3Endpoint as _;
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::volume;

/// A directory with a volume `data`, and what is asked for.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    fn within(dir: &Path) -> Self {
        let place = Self(TempDir::with_prefix_in("local-", dir).unwrap());
        fs::create_dir_all(place.path("volumes/data")).unwrap();
        volume::plain(&place.path("volumes/data"), 1, 30, 4, 0..40_000);
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn ask(&self, documents: &[&str]) {
        fs::write(self.path("new.yaml"), documents.join("\n---\n")).unwrap();
        fs::rename(self.path("new.yaml"), self.path("replication.yaml")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("volsync-controller", &["controller/src", "controller/cron/src"]));
        command.args(["local", "-f"]).arg(self.path("replication.yaml")).arg("--directory").arg(self.0.path());
        command.arg("--mover").arg(binary()).args(arguments);
        command
    }

    #[track_caller]
    fn once(&self) -> Outcome {
        run(&mut self.command(&["--once"]))
    }

    fn status(&self, replication: &str) -> String {
        fs::read_to_string(self.path(&format!("status/{replication}.yaml"))).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for(&self, replication: &str, line: &str) {
        let start = Instant::now();
        while !self.status(replication).lines().any(|found| found.trim() == line) {
            assert!(start.elapsed() < Duration::from_secs(40), "no {line:?} in {}", self.status(replication));
            sleep(Duration::from_millis(20));
        }
    }

    fn snapshots(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("snapshots")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn rclone(secret: &str, path: &str) -> String {
    format!("rclone: {{ rcloneConfig: {secret}, rcloneConfigSection: s3, rcloneDestPath: {path}, copyMethod: Snapshot")
}

fn source(tag: &str, secret: &str, path: &str) -> String {
    format!(
        "apiVersion: volsync.backube/v1alpha1\nkind: ReplicationSource\nmetadata: {{ name: db }}\nspec:\n  sourcePVC: data\n  \
         trigger: {{ manual: {tag} }}\n  {} }}\n",
        rclone(secret, path)
    )
}

fn destination(tag: &str, secret: &str, path: &str) -> String {
    format!(
        "apiVersion: volsync.backube/v1alpha1\nkind: ReplicationDestination\nmetadata: {{ name: db }}\nspec:\n  trigger: {{ \
         manual: {tag} }}\n  {}, capacity: 1Gi, accessModes: [ReadWriteOnce] }}\n",
        rclone(secret, path)
    )
}

fn secret(server: &Embedded, more: &str) -> String {
    let (endpoint, key, secret) = (server.url(), server.access_key(), server.secret_key());
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: bucket }}\nstringData:\n  rclone.conf: |\n    [s3]\n    type = s3\n    \
         provider = Minio\n    endpoint = {endpoint}\n    access_key_id = {key}\n    secret_access_key = {secret}\n    region = \
         us-east-1\n{more}"
    )
}

fn assert_same(one: &Path, other: &Path) {
    Tree::of(one).assert_same(&Tree::of(other), Ignore::LOST_IN_BUCKET);
}

fn wait_for_request(server: &Embedded, place: &Place) {
    let start = Instant::now();
    while server.requests().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", place.status("ReplicationSource-db"));
        sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn fails(place: &Place, why: &str) {
    let outcome = place.once().exits(1);
    assert!(outcome.text().contains(why), "{outcome}");
}

#[test]
fn a_volume_goes_to_a_bucket_and_each_sync_keeps_one_snapshot() {
    let (server, place) = (Embedded::start("bucket"), Place::new());
    let remote = secret(&server, "");
    let mut images = Vec::new();
    for tag in ["one", "two"] {
        fs::write(place.path("volumes/data/changes"), tag).unwrap();
        place.ask(&[&remote, &source(tag, "bucket", "bucket/db")]);
        place.once().success();
        place.wait_for("ReplicationSource-db", &format!("lastManualSync: {tag}"));
        place.wait_for("ReplicationSource-db", "reason: WaitingForManual");
        place.wait_for("ReplicationSource-db", "result: Successful");
        assert!(place.status("ReplicationSource-db").contains("Transferred:"));
        place.ask(&[&remote, &destination(tag, "bucket", "bucket/db")]);
        // Snapshots are named by the second.
        sleep(Duration::from_millis(1100));
        place.once().success();
        let status = place.status("ReplicationDestination-db");
        assert_eq!(place.snapshots().len(), 1, "{:?}", place.snapshots());
        let image = place.snapshots().remove(0);
        assert!(status.contains(&image) && status.contains("kind: VolumeSnapshot"), "{status}");
        assert_same(&place.path("volumes/data"), &place.path("snapshots").join(&image));
        images.push(image);
    }
    assert_ne!(images[0], images[1]);
    // What was asked for has been done.
    let before = place.status("ReplicationDestination-db");
    place.once().success();
    assert_eq!(place.status("ReplicationDestination-db"), before);
}

#[test]
fn what_is_wrong_is_told_and_tried_again() {
    let (server, place) = (Embedded::start("bucket"), Place::new());
    let remote = secret(&server, "");
    place.ask(&[&source("one", "bucket", "bucket/db")]);
    fails(&place, "secrets \"bucket\" not found");
    assert!(place.status("ReplicationSource-db").contains("secrets \"bucket\" not found"));
    place.ask(&[&remote, &source("one", "bucket", "bucket/db").replace("Section: s3", "Section: wrong")]);
    fails(&place, "the mover failed");
    place.wait_for("ReplicationSource-db", "result: Failed");
    assert!(place.status("ReplicationSource-db").contains("lastSyncStartTime"), "the sync goes on");
    place.ask(&[&remote, &source("one", "bucket", "bucket/db").replace("rclone:", "rsyncTLS:")]);
    fails(&place, "only rclone runs on one machine");
    place.ask(&[&remote, &source("one", "bucket", "bucket/db")]);
    place.once().success();
    place.wait_for("ReplicationSource-db", "reason: WaitingForManual");
    assert!(place.snapshots().is_empty());
}

#[test]
fn a_sync_that_was_killed_goes_on_with_its_snapshot() {
    let (server, place) = (Embedded::start("bucket"), Place::new());
    let slow = secret(&server, "  RCLONE_BWLIMIT: 100k\n");
    place.ask(&[&slow, &source("one", "bucket", "bucket/db")]);
    let running = Running::start(&mut place.command(&[]));
    wait_for_request(&server, &place);
    running.signal(Signal::TERM);
    running.wait(LIMIT).success();
    assert_eq!(place.snapshots(), ["volsync-db-src"]);
    // What is written after the copy was made belongs to the next sync.
    fs::write(place.path("volumes/data/late"), "late").unwrap();
    place.ask(&[&secret(&server, ""), &source("one", "bucket", "bucket/db")]);
    place.once().success();
    place.ask(&[&secret(&server, ""), &destination("one", "bucket", "bucket/db")]);
    place.once().success();
    let image = place.path("snapshots").join(&place.snapshots()[0]);
    assert!(!image.join("late").exists());
    fs::remove_file(place.path("volumes/data/late")).unwrap();
    assert_same(&place.path("volumes/data"), &image);
}

#[test]
fn a_server_is_started_when_asked_for_and_the_file_is_read_again() {
    let place = Place::new();
    let server = program("embedded-s3", &["embedded-s3/src"]);
    place.ask(&[&source("one", "embedded-s3", "volumes/db")]);
    let running = Running::start(&mut place.command(&[&format!("--embedded-s3={}", server.display())]));
    place.wait_for("ReplicationSource-db", "lastManualSync: one");
    let both = [source("one", "embedded-s3", "volumes/db"), destination("first", "embedded-s3", "volumes/db")];
    place.ask(&both.each_ref().map(String::as_str));
    place.wait_for("ReplicationDestination-db", "lastManualSync: first");
    place.wait_for("ReplicationDestination-db", "reason: WaitingForManual");
    assert_same(&place.path("volumes/data"), &place.path("snapshots").join(&place.snapshots()[0]));

    // A schedule, and a restore by claim.
    let scheduled = source("x", "embedded-s3", "volumes/db").replace("manual: x", "schedule: '@every 2s'");
    place.ask(&[&scheduled]);
    fs::write(place.path("volumes/data/new"), "new").unwrap();
    place.wait_for("ReplicationSource-db", "reason: WaitingForSchedule");
    let last = |status: String| status.lines().find(|line| line.trim().starts_with("lastSyncTime")).map(str::to_owned);
    let before = last(place.status("ReplicationSource-db"));
    let start = Instant::now();
    while last(place.status("ReplicationSource-db")) == before {
        assert!(start.elapsed() < Duration::from_secs(30));
        sleep(Duration::from_millis(20));
    }
    running.signal(Signal::TERM);
    running.wait(LIMIT).success();
}

/// As after a power cut of this one program: what it started goes on, and nothing is done twice.
#[test]
fn a_mover_outlives_a_controller_that_was_killed_and_has_the_volume_to_itself() {
    let (server, place) = (Embedded::start("bucket"), Place::new());
    place.ask(&[&secret(&server, "  RCLONE_BWLIMIT: 200k\n"), &source("one", "bucket", "bucket/db")]);
    let running = Running::start(&mut place.command(&[]));
    wait_for_request(&server, &place);
    running.signal(Signal::KILL);
    fails(&place, "a mover that was started before still writes");
    // Waits as long as it takes, which is less than the pause between two looks.
    let again = Running::start(&mut place.command(&[]));
    place.wait_for("ReplicationSource-db", "reason: WaitingForManual");
    again.signal(Signal::TERM);
    again.wait(LIMIT).success();
}

#[test]
fn while_it_is_paused_nothing_is_moved() {
    let (server, place) = (Embedded::start("bucket"), Place::new());
    let asked = source("one", "bucket", "bucket/db");
    let paused = asked.replace("sourcePVC: data", "paused: true\n  sourcePVC: data");
    place.ask(&[&secret(&server, ""), &paused]);
    let running = Running::start(&mut place.command(&[]));
    place.wait_for("ReplicationSource-db", "reason: SyncInProgress");
    place.once().success();
    assert!(server.requests().is_empty());
    place.ask(&[&secret(&server, ""), &asked]);
    place.wait_for("ReplicationSource-db", "lastManualSync: one");
    running.signal(Signal::TERM);
    running.wait(LIMIT).success();
}

#[test]
fn a_server_is_trusted_whose_authority_is_named() {
    let (server, place) = (Embedded::start_tls("bucket"), Place::new());
    let authority = fs::read_to_string(server.ca().unwrap()).unwrap();
    let indented = format!("    {}", authority.replace('\n', "\n    "));
    let trusted = |kind: &str, field: &str| {
        format!("apiVersion: v1\nkind: {kind}\nmetadata: {{ name: trusted }}\n{field}:\n  ca.crt: |\n{indented}")
    };
    let (map, hidden) = (trusted("ConfigMap", "data"), trusted("Secret", "stringData"));
    let remote = secret(&server, "");
    let by = |asked: &str, name: &str| {
        asked.replace("copyMethod:", &format!("customCA: {{ {name}: trusted, key: ca.crt }}, copyMethod:"))
    };
    let asked = source("one", "bucket", "bucket/db");
    place.ask(&[&remote, &asked]);
    fails(&place, "the mover failed");
    place.ask(&[&remote, &map, &by(&asked, "configMapName")]);
    place.once().success();
    place.ask(&[&remote, &hidden, &by(&destination("one", "bucket", "bucket/db"), "secretName")]);
    place.once().success();
    assert_same(&place.path("volumes/data"), &place.path("snapshots").join(&place.snapshots()[0]));
}

/// Where the file system can share blocks, snapshots do, and yet what is written later is not in them.
#[test]
fn snapshots_take_no_room_where_blocks_can_be_shared() {
    const SIZE: u64 = 80 << 20;
    let (server, disk) = (Embedded::start("bucket"), Mounted::xfs());
    let place = Place::within(disk.path());
    let large = place.path("volumes/data/large");
    fs::write(&large, volume::Random::new(9).bytes(SIZE)).unwrap();
    let remote = secret(&server, "");
    place.ask(&[&remote, &source("one", "bucket", "bucket/db")]);
    place.once().success();
    let taken = || {
        let stat = rustix::fs::statvfs(disk.path()).unwrap();
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    };
    let before = taken();
    place.ask(&[&remote, &destination("one", "bucket", "bucket/db")]);
    place.once().success();
    let image = place.path("snapshots").join(&place.snapshots()[0]);
    let restored = place.path("volumes/volsync-db-dest");
    // One more volume, and not two.
    let added = taken() - before;
    assert!((SIZE..SIZE + SIZE / 2).contains(&added), "{added}");
    fs::write(restored.join("large"), "changed").unwrap();
    assert_same(&place.path("volumes/data"), &image);
}

/// The commands of the README; the one that runs until Ctrl-C is given that when both have synchronized.
#[test]
fn what_the_readme_says_works() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, section) = readme.split_once("**On a schedule, without a cluster**").unwrap();
    let block = section.split("```\n").nth(1).unwrap();
    let (prepare, rest) = block.split_once("volsync-controller local").unwrap();
    let (arguments, look) = rest.split_once('\n').unwrap();
    let place = Place(TempDir::with_prefix("readme-").unwrap());
    let programs = [place.command(&[]).get_program().into(), binary(), program("embedded-s3", &["embedded-s3/src"])];
    let dirs = programs.iter().map(|program: &PathBuf| program.parent().unwrap().to_owned());
    let path = std::env::join_paths(dirs.chain(std::env::split_paths(&std::env::var_os("PATH").unwrap()))).unwrap();
    let shell = |script: &str| {
        let mut shell = Command::new("bash");
        shell.args(["-euc", script]).current_dir(place.path("")).env("PATH", &path);
        shell
    };
    run(&mut shell(prepare)).success();
    let running = Running::start(&mut shell(&format!("exec volsync-controller local {arguments}")));
    place.wait_for("ReplicationSource-data", "reason: WaitingForSchedule");
    place.wait_for("ReplicationDestination-data", "reason: WaitingForManual");
    running.signal(Signal::INT);
    running.wait(LIMIT).success();
    let seen = run(&mut shell(look)).success().text();
    assert!(seen.contains("lastManualSync: first") && seen.contains("volsync-data-dest-"), "{seen}");
    assert_same(&place.path("volumes/data"), &place.path("snapshots").join(&place.snapshots()[0]));
}
