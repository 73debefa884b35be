//! The image of `mover-rclone`: what is in it, and that it starts as the operator starts it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use volsync_tests::container::Image;
use volsync_tests::embedded::Embedded;
use volsync_tests::servers::{S3Endpoint, rclone_conf};
use volsync_tests::tree::{Ignore, Kind, Tree};
use volsync_tests::volume;

#[test]
fn it_holds_the_binary_and_its_names_only() {
    let image = Image::load("mover-rclone");
    let tree = Tree::of(image.root());
    let described = tree.0.iter().filter_map(|(path, entry)| match &entry.kind {
        Kind::Directory => None,
        Kind::Symlink(target) => Some([path, &b" -> "[..], target].concat()),
        _ => Some(path.clone()),
    });
    let described: Vec<_> = described.map(|line| String::from_utf8(line).unwrap()).collect();
    let expected = [
        "bin/bash -> /usr/bin/mover-rclone",
        "bin/rm -> /usr/bin/mover-rclone",
        "bin/sh -> /usr/bin/mover-rclone",
        "etc/group",
        "etc/passwd",
        "mover-rclone/active.sh -> /usr/bin/mover-rclone",
        "usr/bin/mover-rclone",
    ];
    assert_eq!(described, expected);
}

#[test]
fn it_is_small_and_starts_the_binary() {
    let image = Image::load("mover-rclone");
    let size = fs::metadata(image.root().join("usr/bin/mover-rclone")).unwrap().size();
    assert!(size < 20 << 20, "{size} bytes");
    assert_eq!(image.config["Entrypoint"], json!(["/usr/bin/mover-rclone"]));
    assert_eq!(image.config["User"].as_str().unwrap_or_default(), "");
}

#[test]
fn the_operators_command_starts_for_any_user() {
    let image = Image::load("mover-rclone");
    let [data, secret] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let mounts: [(&Path, &str); 2] = [(data.path(), "/data"), (secret.path(), "/rclone-config")];
    for user in [0, 1234, 1_000_680_000] {
        let outcome =
            image.run(user, &["/bin/bash", "-c", "/mover-rclone/active.sh"], &[("DIRECTION", "source")], &mounts);
        assert!(outcome.text().ends_with("error: RCLONE_DEST_PATH must be defined\n"), "{outcome}");
        assert_eq!(outcome.code(), 1);
    }
}

/// As the operator runs it: any user, no capabilities, a root that cannot be written, 16 MiB of `/tmp`, process 1.
#[test]
fn a_volume_goes_and_comes_back_within_the_image() {
    let (image, server) = (Image::load("mover-rclone"), Embedded::start_tls("bkt"));
    let [from, to, secret] = [(); 3].map(|()| TempDir::new().unwrap());
    volume::plain(from.path(), 1, 40, 3, 0..200_000);
    fs::copy(rclone_conf(&server, "Minio"), secret.path().join("rclone.conf")).unwrap();
    fs::copy(server.ca().unwrap(), secret.path().join("ca.crt")).unwrap();
    let run = |user: u32, direction: &str, data: &Path| {
        let env = [
            ("RCLONE_CONFIG", "/rclone-config/rclone.conf"),
            ("RCLONE_DEST_PATH", "bkt/p"),
            ("DIRECTION", direction),
            ("MOUNT_PATH", "/data"),
            ("RCLONE_CONFIG_SECTION", "remote"),
            ("CUSTOM_CA", "/rclone-config/ca.crt"),
            ("PRIVILEGED_MOVER", "0"),
        ];
        let mounts: [(&Path, &str); 2] = [(data, "/data"), (secret.path(), "/rclone-config")];
        image.run(user, &["/bin/bash", "-c", "/mover-rclone/active.sh"], &env, &mounts).success()
    };
    for (dir, user) in [(&from, 1234), (&to, 1_000_680_000)] {
        let owner = format!("chown -R {user} {}; chmod -R go+rX {}", dir.path().display(), secret.path().display());
        volume::shell(dir.path(), &owner);
    }
    run(1234, "source", from.path());
    let outcome = run(1_000_680_000, "destination", to.path());
    assert!(outcome.text().contains("Rclone completed in "), "{outcome}");
    let [pushed, pulled] = [&from, &to].map(|dir| Tree::of(dir.path()));
    pushed.assert_same(&pulled, Ignore { owners: true, ..Ignore::LOST_IN_BUCKET });
}

#[test]
fn who_wants_a_shell_is_told_what_there_is_instead() {
    let image = Image::load("mover-rclone");
    let outcome = image.run(1234, &["/bin/sh", "-c", "ls"], &[], &[]).exits(127);
    assert!(outcome.text().contains("There is no shell in this image"), "{outcome}");
    let outcome = image.run(1234, &["/bin/rm", "/etc/passwd"], &[], &[]).exits(1);
    assert!(outcome.text().contains("only removes /tmp/exit-debug-if-removed"), "{outcome}");
}
