//! `permissions.facl` against the real `getfacl` and `setfacl`, in both directions.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use volsync_tests::embedded::Embedded;
use volsync_tests::peers;
use volsync_tests::pod::{Direction, Pod};
use volsync_tests::process::{Outcome, run};
use volsync_tests::servers::Inspect;
use volsync_tests::tree::{Entry, Ignore, Kind, Tree};
use volsync_tests::volume::{self, Names};

const BUCKET: &str = "volumes";
const KEY: &str = "v/permissions.facl";

/// A directory with the volume `data`, as setfacl wants it: paths in the file begin with `data`.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::with_prefix("place-").unwrap());
        fs::create_dir(place.data()).unwrap();
        place
    }

    fn awkward(names: Names) -> Self {
        let place = Self::new();
        volume::awkward(&place.data(), 11, names);
        place
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// A copy with contents and links but without owners, modes and lists.
    fn bare_copy(&self) -> Self {
        let copy = Self(TempDir::with_prefix("place-").unwrap());
        let mut cp = Command::new("cp");
        run(cp.args(["-r", "-P", "--no-preserve=all"]).arg(self.data()).arg(copy.0.path())).success();
        copy
    }

    /// The real `setfacl --restore`.
    fn setfacl(&self, facl: &[u8]) -> Outcome {
        let file = self.0.path().join("permissions.facl");
        fs::write(&file, facl).unwrap();
        let restore = format!("--restore={}", file.display());
        run(Command::new(peers::tool("setfacl")).arg(restore).current_dir(self.0.path()))
    }

    /// The real `getfacl` of what takes part, which upstream calls on each line of `find`: here on each name.
    fn getfacl(&self, options: &str) -> Vec<u8> {
        peers::tool("getfacl");
        let find = "find data -path data/lost+found -prune -o ! -type l ! -type p -print0";
        let script = format!("{find} | xargs -0 getfacl -P {options} --");
        run(Command::new("sh").args(["-e", "-c", &script]).current_dir(self.0.path())).success().stdout
    }

    /// What takes part of the volume, as far as `permissions.facl` and the bucket can hold it.
    fn tree(&self) -> Tree {
        Tree::of(&self.data()).filter(|path, _| !path.starts_with(b"lost+found"))
    }
}

/// A server that holds what our source mover stored for the volume.
fn pushed(place: &Place) -> Embedded {
    let server = Embedded::start(BUCKET);
    Pod::new(&place.data(), &server, "Minio").ours(Direction::Source, "volumes/v").success();
    server
}

fn stored(server: &Embedded) -> Vec<u8> {
    server.read(BUCKET, KEY).unwrap()
}

/// The records as a set, without our comments: `find` lists in the order of the directory, we in that of names.
fn records(text: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(text).into_owned();
    let ours = |line: &&str| !line.starts_with("# x-");
    let records = text.split("\n\n").map(|record| record.lines().filter(ours).collect::<Vec<_>>().join("\n"));
    records.filter(|record| !record.is_empty()).collect()
}

/// The paths that records are about, `data` left out.
fn subjects(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let lines = text.split(|&byte| byte == b'\n').filter_map(|line| line.strip_prefix(b"# file: data"));
    lines.map(|path| unescaped(path.strip_prefix(b"/").unwrap_or(b"."))).collect()
}

/// `\012` and its like are bytes in octal, a doubled backslash is one.
fn unescaped(mut path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let Some((&byte, rest)) = path.split_first() {
        let (byte, rest) = match rest {
            [b'\\', rest @ ..] if byte == b'\\' => (b'\\', rest),
            [b'0', b'1', last, rest @ ..] if byte == b'\\' => (0o10 + last - b'0', rest),
            rest => (byte, rest),
        };
        plain.push(byte);
        path = rest;
    }
    plain
}

#[test]
fn we_write_what_getfacl_prints() {
    let place = Place::awkward(Names::All);
    let (ours, theirs) = (records(&stored(&pushed(&place))), records(&place.getfacl("-n")));
    let only =
        |these: &BTreeSet<String>, those: &BTreeSet<String>| these.difference(those).cloned().collect::<Vec<_>>();
    assert_eq!((only(&ours, &theirs), only(&theirs, &ours)), (Vec::new(), Vec::new()));
    assert!(ours.len() > 60, "{}", ours.len());
}

#[test]
fn only_files_and_directories_have_records() {
    let place = Place::awkward(Names::All);
    let written = subjects(&stored(&pushed(&place)));
    let recorded = |entry: &Entry| matches!(entry.kind, Kind::File { .. } | Kind::Directory);
    let tree = place.tree();
    let wanted: BTreeSet<Vec<u8>> = tree.0.iter().filter(|(_, e)| recorded(e)).map(|(path, _)| path.clone()).collect();
    assert_eq!(written, wanted);
    let others = tree.0.iter().filter(|(_, entry)| !recorded(entry)).count();
    assert!(others >= 5, "links and a pipe, or the test shows nothing: {others}");
}

#[test]
fn setfacl_restores_what_we_write_and_follows_no_link() {
    let place = Place::awkward(Names::All);
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("file"), "x").unwrap();
    symlink(outside.path(), place.data().join("way-out")).unwrap();
    symlink(outside.path().join("file"), place.data().join("way-out-to-file")).unwrap();
    let before = Tree::of(outside.path());
    let facl = stored(&pushed(&place));
    // Empty directories are marked by a comment that setfacl does not know.
    assert!(String::from_utf8_lossy(&facl).contains("# x-empty-directory:"));
    let copy = place.bare_copy();
    let outcome = copy.setfacl(&facl).success();
    assert_eq!(outcome.text(), "");
    let ignore = Ignore { file_times: true, ..Ignore::LOST_IN_BUCKET };
    place.tree().assert_same(&copy.tree(), ignore);
    before.assert_same(&Tree::of(outside.path()), Ignore::default());
}

/// All but empty directories, which getfacl does not tell from sockets.
#[test]
fn we_restore_what_getfacl_prints() {
    let (place, target) = (Place::awkward(Names::All), Place::new());
    let server = pushed(&place);
    server.put(BUCKET, KEY, &place.getfacl("-n"));
    Pod::new(&target.data(), &server, "Minio").ours(Direction::Destination, "volumes/v").success();
    let [pushed, restored] = [&place, &target].map(|place| place.tree().filter(|path, _| !path.starts_with(b"hollow")));
    pushed.assert_same(&restored, Ignore::LOST_IN_BUCKET);
}

/// Why links have no records: setfacl goes where they lead, and an old or foreign file may still have such records.
#[test]
fn a_record_for_a_link_leads_setfacl_out_of_the_volume_and_us_nowhere() {
    let facl = b"# file: data\n# owner: 0\n# group: 0\nuser::rwx\ngroup::r-x\nother::r-x\n\n\
                 # file: data/link\n# owner: 7\n# group: 8\n# flags: s--\nuser::rwx\ngroup::rwx\nother::rwx\n\n\
                 # file: data/way/file\n# owner: 7\n# group: 8\nuser::rwx\ngroup::rwx\nother::rwx\n\n";
    let trap = |outside: &Path| {
        let place = Place::new();
        for name in ["secret", "file"] {
            fs::write(outside.join(name), "x").unwrap();
            fs::set_permissions(outside.join(name), Permissions::from_mode(0o600)).unwrap();
        }
        symlink(outside.join("secret"), place.data().join("link")).unwrap();
        symlink(outside, place.data().join("way")).unwrap();
        (place, Tree::of(outside))
    };
    let outside = TempDir::new().unwrap();
    let (place, before) = trap(outside.path());
    place.setfacl(facl).success();
    let after = Tree::of(outside.path());
    for name in ["secret", "file"] {
        let changed = &after.0[OsStr::new(name).as_bytes()];
        assert_eq!((changed.owner, changed.mode & 0o777), ((7, 8), 0o777), "{name}");
    }
    assert!(!before.diff(&after, Ignore::default()).is_empty());

    let outside = TempDir::new().unwrap();
    let (place, before) = trap(outside.path());
    let server = Embedded::start(BUCKET);
    server.put(BUCKET, KEY, facl);
    server.put(BUCKET, "v/own", b"a file of the volume");
    Pod::new(&place.data(), &server, "Minio").ours(Direction::Destination, "volumes/v").success();
    before.assert_same(&Tree::of(outside.path()), Ignore::default());
}

#[test]
fn the_mark_of_a_first_push_is_a_comment_to_setfacl() {
    let place = Place::new();
    let before = place.tree();
    let outcome = place.setfacl(mover_rclone::sync::guard::IN_PROGRESS);
    assert!(outcome.code() <= 1, "{outcome}");
    assert!(!outcome.text().contains("Invalid"), "{outcome}");
    before.assert_same(&place.tree(), Ignore::default());
}
