//! Exit codes: what ends a run of the real rclone with a code ends ours with the same.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;
use volsync_embedded_s3::{Action, When};
use volsync_tests::embedded::Embedded;
use volsync_tests::rclone::Rclone;
use volsync_tests::servers::Inspect;
use volsync_tests::volume;

/// What a server starts with; each world makes its own.
const BUCKET: &str = "first";

/// A directory and a bucket that no run has touched yet.
struct World<'a> {
    server: &'a Embedded,
    dir: TempDir,
    /// The name of the bucket.
    bucket: String,
}

impl<'a> World<'a> {
    fn new(server: &'a Embedded) -> Self {
        server.faults().clear();
        let dir = TempDir::with_prefix("exit-").unwrap();
        let name = dir.path().file_name().unwrap().to_str().unwrap().to_lowercase();
        let script =
            "mkdir -p full/sub changed target empty; echo 1 > full/a; echo 2 > full/sub/b; echo 3 > target/gone
                      echo changed > changed/a; echo other > changed/new";
        volume::shell(dir.path(), script);
        let world = Self { server, dir, bucket: format!("bucket-{name}") };
        world.rclone().run(&world.words("sync D/full remote:bucket/p")).success();
        world
    }

    fn rclone(&self) -> Rclone {
        Rclone::new(self.server, "Minio").env("RCLONE_RETRIES", "1").env("RCLONE_LOW_LEVEL_RETRIES", "1")
    }

    /// The words of a command line, in which `D` is the directory and `bucket` the name of the bucket.
    fn words(&self, line: &str) -> Vec<String> {
        let dir = format!("{}/", self.dir.path().display());
        line.split(' ').map(|word| word.replace("bucket", &self.bucket).replace("D/", &dir)).collect()
    }
}

/// Runs `line` of either program in a fresh world; both must end with `code`.
#[track_caller]
fn both(server: &Embedded, code: i32, line: &str, prepare: impl Fn(&World)) {
    for ours in [false, true] {
        let world = World::new(server);
        prepare(&world);
        let program = if ours { world.rclone().ours() } else { world.rclone() };
        let outcome = program.run(&world.words(line));
        assert_eq!(outcome.code(), code, "{line}, ours: {ours}: {outcome}");
    }
}

#[test]
fn the_command_line_decides() {
    let server = Embedded::start(BUCKET);
    for (code, line) in [
        (0, "sync D/full remote:bucket/p"),
        (0, "sync D/full remote:bucket/new"),
        (0, "sync D/full remote:new-bucket/new"),
        (0, "sync D/empty remote:bucket/p"),
        (0, "copy remote:bucket/nothing D/target"),
        (0, "check D/full remote:bucket/p"),
        (1, "check D/changed remote:bucket/p"),
        (1, "sync D/full nosuch:bucket"),
        (1, "sync D/full remote,chunk_size=x:bucket"),
        (2, "sync --nope D/full D/target"),
        (2, "sync --transfers x D/full D/target"),
        (2, "sync D/full"),
        (2, "nosuchcommand"),
        (3, "sync D/missing remote:bucket/p"),
        (3, "copy D/missing D/target"),
        (3, "sync remote:nosuchbucket D/target"),
        (5, "sync D/full remote,endpoint='http://127.0.0.1:1':bucket"),
        (6, "sync --immutable D/changed remote:bucket/p"),
        (7, "sync --max-delete 0 D/changed remote:bucket/p"),
        (7, "sync D/full D/full"),
        (7, "sync D/full D/full/sub"),
        (7, "sync D/full/sub D/full"),
        (7, "sync D/full D/full/sub --exclude /other/**"),
        (0, "sync D/full D/full/sub --exclude /sub/**"),
        (0, "copy D/full D/full/sub"),
        (7, "sync remote:bucket/p remote:bucket/p/sub"),
        (0, "sync remote:bucket/p remote:bucket/pq"),
        (8, "sync --max-transfer 1B D/full remote:bucket/new"),
        (9, "sync --error-on-no-transfer D/full remote:bucket/p"),
        (10, "sync --max-duration 1ns D/full remote:bucket/new"),
    ] {
        both(&server, code, line, |_| {});
    }
}

#[test]
fn the_server_decides() {
    let server = Embedded::start(BUCKET);
    for (code, operation, action, line) in [
        (1, "PutObject", Action::deny(), "sync D/changed remote:bucket/p"),
        (1, "GetObject", Action::deny(), "sync remote:bucket/p D/target"),
        (1, "ListObjectsV2", Action::deny(), "sync remote:bucket/p D/target"),
        (1, "PutObject", Action::error(500, "InternalError"), "sync D/changed remote:bucket/p"),
        (1, "PutObject", Action::slow_down(), "sync D/changed remote:bucket/p"),
    ] {
        both(&server, code, line, |world| world.server.faults().add(When::operation(operation), action.clone()));
    }
}

#[test]
fn nothing_is_deleted_after_an_error() {
    let server = Embedded::start(BUCKET);
    let kept = |world: &World| world.server.read(&world.bucket, "p/sub/b").is_some();
    for ours in [false, true] {
        let world = World::new(&server);
        world.server.faults().add(When::operation("PutObject").key("new"), Action::deny());
        let program = if ours { world.rclone().ours() } else { world.rclone() };
        program.run(&world.words("sync D/changed remote:bucket/p")).exits(1);
        assert!(kept(&world), "ours: {ours}");
        world.server.faults().clear();
        program.run(&world.words("sync D/changed remote:bucket/p")).success();
        assert!(!kept(&world), "ours: {ours}");
        assert_eq!(fs::read_dir(world.dir.path().join("changed")).unwrap().count(), 2);
    }
}

#[test]
fn what_cannot_be_read_decides() {
    let server = Embedded::start(BUCKET);
    for (code, name, command) in
        [(6, "sub", "copy"), (1, "sub", "sync"), (6, "", "copy"), (1, "a", "copy"), (1, "a", "sync")]
    {
        for ours in [false, true] {
            let world = World::new(&server);
            let path = world.dir.path().join("full").join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
            let program = world.rclone().without_capabilities();
            let program = if ours { program.ours() } else { program };
            let outcome = program.run(&world.words(&format!("{command} D/full remote:bucket/new")));
            assert_eq!(outcome.code(), code, "{command}, unreadable {name:?}, ours: {ours}: {outcome}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}
