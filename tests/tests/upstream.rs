//! The yardstick itself: what the upstream mover with real rclone does to a volume. If one of these fails, rclone or
//! the tools have changed, not we.
#![allow(clippy::unwrap_used, reason = "a test")]

use tempfile::TempDir;
use volsync_tests::embedded::Embedded;
use volsync_tests::pod::{Direction, Pod};
use volsync_tests::rclone::Rclone;
use volsync_tests::servers::{Minio, S3Endpoint};
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::volume::{self, Names};

/// What the upstream mover brings back of an awkward volume.
fn restorable(path: &[u8]) -> bool {
    !path.starts_with(b"lost+found") && !path.starts_with(b"hollow")
}

fn round_trip(server: &dyn S3Endpoint) {
    let [source, target] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    volume::awkward(source.path(), 1, Names::Upstream);
    let pod = |dir: &TempDir| Pod::new(dir.path(), server, "Minio");
    pod(&source).upstream(Direction::Source, "volumes/awkward").success();
    pod(&target).upstream(Direction::Destination, "volumes/awkward").success();
    let [pushed, pulled] = [&source, &target].map(|dir| Tree::of(dir.path()).filter(|path, _| restorable(path)));
    pushed.assert_same(&pulled, Ignore::LOST_IN_BUCKET);
}

#[test]
fn a_volume_survives_the_round_trip() {
    round_trip(Minio::start().bucket("volumes"));
}

#[test]
fn a_volume_survives_the_round_trip_over_tls() {
    round_trip(Minio::start_tls().bucket("volumes"));
}

#[test]
fn a_volume_survives_the_round_trip_through_our_server() {
    round_trip(&Embedded::start("volumes"));
}

#[test]
fn a_volume_survives_the_round_trip_through_our_server_over_tls() {
    round_trip(&Embedded::start_tls("volumes"));
}

#[test]
fn a_second_push_transfers_only_the_permissions() {
    let server = Minio::start();
    server.bucket("volumes");
    let source = TempDir::new().unwrap();
    volume::plain(source.path(), 1, 30, 3, 0..5000);
    Pod::new(source.path(), &server, "Minio").upstream(Direction::Source, "volumes/plain").success();
    let rclone = Rclone::new(&server, "Minio");
    let dir = source.path().to_str().unwrap();
    let counts = rclone.counts(&["sync", "--checksum", "--exclude", "permissions.facl", dir, "remote:volumes/plain"]);
    assert_eq!((counts.transfers, counts.checks, counts.deletes), (0, 30, 0));
}

#[test]
fn a_newline_in_a_name_fails_the_push() {
    let server = Minio::start();
    server.bucket("volumes");
    let source = TempDir::new().unwrap();
    volume::shell(source.path(), "touch 'new\nline'");
    let outcome = Pod::new(source.path(), &server, "Minio").upstream(Direction::Source, "volumes/newline");
    assert_ne!(outcome.code(), 0, "{outcome}");
}
