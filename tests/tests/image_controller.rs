//! The image of the controller: what is in it, and that it starts as nobody.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;
use volsync_tests::container::Image;
use volsync_tests::tree::{Kind, Tree};

#[test]
fn it_holds_the_program_only_and_is_small() {
    let image = Image::load("controller");
    let tree = Tree::of(image.root());
    let files = tree.0.iter().filter(|(_, entry)| entry.kind != Kind::Directory);
    let names: Vec<_> = files.map(|(path, _)| String::from_utf8(path.clone()).unwrap()).collect();
    assert_eq!(names, ["etc/group", "etc/passwd", "usr/bin/volsync-controller"]);
    let size = fs::metadata(image.root().join("usr/bin/volsync-controller")).unwrap().size();
    assert!(size < 25 << 20, "{size} bytes");
    assert_eq!(image.config["Entrypoint"], json!(["/usr/bin/volsync-controller"]));
    assert_eq!(image.config["User"], "65534:65534");
}

#[test]
fn nobody_can_start_it() {
    let image = Image::load("controller");
    let version = image.run(65534, &["/usr/bin/volsync-controller", "--version"], &[], &[]).success();
    assert_eq!(version.text(), format!("volsync-controller {}\n", env!("CARGO_PKG_VERSION")));
    let help = image.run(65534, &["/usr/bin/volsync-controller", "run", "--help"], &[], &[]).success();
    assert!(help.text().contains("--rclone-container-image"), "{help}");
    // Without a cluster it says so, and does not wait.
    let outcome = image.run(65534, &["/usr/bin/volsync-controller", "run"], &[], &[]).exits(1);
    assert!(outcome.text().contains("run the controller"), "{outcome}");
}
