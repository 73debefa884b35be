//! The two movers of a volume against each other: what upstream's source mover stored our destination mover restores, and
//! the other way round, with everything that `permissions.facl` keeps and under every variable that people put into the
//! Secret.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use volsync_tests::bucket::Bucket;
use volsync_tests::embedded::Embedded;
use volsync_tests::pod::{Direction, Pod};
use volsync_tests::process::Outcome;
use volsync_tests::rclone::{Counts, Rclone};
use volsync_tests::servers::{Inspect, Minio, S3Endpoint, on_each_server};
use volsync_tests::tree::{self, Entry, Ignore, Kind, Tree};
use volsync_tests::volume::{self, Names};

/// Who moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mover {
    Upstream,
    Ours,
}

use Mover::{Ours, Upstream};

/// A Job in the image of upstream, as far as names of owners go.
fn job(dir: &Path, server: &dyn S3Endpoint) -> Pod {
    Pod::new(dir, server, "Minio").upstream_accounts()
}

#[track_caller]
fn run(mover: Mover, pod: &Pod, direction: Direction, path: &str) -> Outcome {
    let outcome = if mover == Upstream { pod.upstream(direction, path) } else { pod.ours(direction, path) };
    outcome.success()
}

fn push(mover: Mover, pod: &Pod, path: &str) -> Outcome {
    run(mover, pod, Direction::Source, path)
}

fn pull(mover: Mover, pod: &Pod, path: &str) -> Outcome {
    run(mover, pod, Direction::Destination, path)
}

fn inside(path: &[u8], directory: &str) -> bool {
    path.strip_prefix(directory.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// What comes back of a volume that upstream pushed or pulls: no empty directory.
fn with_upstream(path: &[u8], _: &Entry) -> bool {
    !inside(path, "lost+found") && !inside(path, "hollow")
}

fn without_lost_and_found(path: &[u8], _: &Entry) -> bool {
    !inside(path, "lost+found")
}

/// Another volume lies in the target: what is in the way of a restore goes.
fn restored(server: &dyn S3Endpoint, mover: Mover, path: &str) -> TempDir {
    let target = TempDir::new().unwrap();
    volume::plain(target.path(), 9, 20, 3, 1..50);
    pull(mover, &job(target.path(), server), path);
    target
}

fn every_way(server: &dyn S3Endpoint) {
    let source = TempDir::new().unwrap();
    volume::awkward(source.path(), 5, Names::Upstream);
    let pod = job(source.path(), server);
    for (first, second) in [(Upstream, Ours), (Ours, Upstream), (Ours, Ours)] {
        let path = format!("volumes/{first:?}-{second:?}");
        push(first, &pod, &path);
        let target = restored(server, second, &path);
        let kept = if (first, second) == (Ours, Ours) { without_lost_and_found } else { with_upstream };
        let [pushed, pulled] = [&source, &target].map(|dir| Tree::of(dir.path()).filter(kept));
        pushed.assert_same(&pulled, Ignore::LOST_IN_BUCKET);
    }
}

#[test]
fn either_mover_restores_what_the_other_stored() {
    every_way(&Embedded::start("volumes"));
}

#[test]
fn either_mover_restores_what_the_other_stored_in_minio() {
    every_way(Minio::start().bucket("volumes"));
}

#[test]
fn either_mover_restores_what_the_other_stored_over_tls() {
    every_way(&Embedded::start_tls("volumes"));
    every_way(Minio::start_tls().bucket("volumes"));
}

/// Upstream writes the names that its image has for owners, and looks them up there.
#[test]
fn names_of_owners_mean_what_they_mean_in_the_image_of_upstream() {
    let server = Embedded::start("volumes");
    let source = TempDir::new().unwrap();
    volume::shell(
        source.path(),
        "for id in 0 1 2 3 4 5 8 11 12 14 65534; do echo $id > $id; chown $id $id; setfacl -m u:$id:rw $id; done
         for id in 0 1 2 3 4 5 6 10 12 100 65534; do echo g > g$id; chown 7:$id g$id; setfacl -m g:$id:r,g:77:w g$id; done
         mkdir d; setfacl -d -m u:2:rwx,g:12:r d",
    );
    let pod = |dir: &TempDir| job(dir.path(), &server);
    for (first, second) in [(Upstream, Ours), (Ours, Upstream)] {
        let path = format!("{first:?}");
        push(first, &pod(&source), &format!("volumes/{path}"));
        let facl = server.read("volumes", &format!("{path}/permissions.facl")).unwrap();
        let facl = String::from_utf8(facl).unwrap();
        for line in ["# owner: daemon", "# group: wheel", "user:nobody:rw-", "default:group:mail:r--"] {
            assert_eq!(facl.contains(line), first == Upstream, "{line}: {facl}");
        }
        let target = TempDir::new().unwrap();
        pull(second, &pod(&target), &format!("volumes/{path}"));
        let [pushed, pulled] = [&source, &target].map(|dir| Tree::of(dir.path()).filter(|path, _| path != b"d"));
        pushed.assert_same(&pulled, Ignore::LOST_IN_BUCKET);
    }
}

/// What `rclone sync`, by either program, does not look at.
const APART: [&str; 4] = ["--exclude", "/permissions.facl", "--exclude", "/lost+found/**"];

#[test]
fn neither_program_transfers_anything_after_the_others_push() {
    on_each_server("volumes", |server| {
        let source = TempDir::new().unwrap();
        volume::awkward(source.path(), 5, Names::Upstream);
        let files = tree::files(source.path()).into_keys().filter(|path| !inside(path, "lost+found")).count() as u64;
        for first in [Upstream, Ours] {
            let path = format!("volumes/{first:?}");
            push(first, &job(source.path(), server), &path);
            let rclone = Rclone::new(server, "Minio");
            let second = if first == Upstream { rclone.ours() } else { rclone };
            let (dir, remote) = (source.path().to_str().unwrap(), format!("remote:{path}"));
            for flag in ["--modify-window=1ns", "--checksum"] {
                let counts = second.counts(&[&["sync", dir, &remote, flag][..], &APART].concat());
                assert_eq!(counts, Counts { checks: files, ..Counts::default() }, "{first:?} {flag}");
            }
        }
    });
}

/// The same of whole flows, as requests.
#[test]
fn neither_mover_uploads_again_what_the_other_stored() {
    let server = Embedded::start("volumes");
    let source = TempDir::new().unwrap();
    volume::awkward(source.path(), 5, Names::Upstream);
    let pod = job(source.path(), &server);
    for (first, second) in [(Upstream, Ours), (Ours, Upstream)] {
        let path = format!("{first:?}");
        let files = || {
            let mut bucket = Bucket::of(&server, "volumes", &path);
            bucket.0.remove("permissions.facl").unwrap();
            bucket
        };
        push(first, &pod, &format!("volumes/{path}"));
        let before = files();
        server.requests();
        push(second, &pod, &format!("volumes/{path}"));
        before.assert_same(&files());
        let requests = server.requests();
        let writes = requests.iter().filter(|request| request.method == "PUT" && request.query != "x-id=CreateBucket");
        let written: BTreeSet<&str> = writes.map(|request| request.key.as_str()).collect();
        assert_eq!(written, BTreeSet::from([&*format!("{path}/permissions.facl")]), "{second:?}");
    }
}

/// Paths that are gone after a push and a pull into an empty volume, links and special files aside.
fn lost(mover: Mover, names: Names) -> Vec<String> {
    let server = Embedded::start("volumes");
    let [source, target] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    volume::awkward(source.path(), 5, names);
    push(mover, &job(source.path(), &server), "volumes/v");
    pull(mover, &job(target.path(), &server), "volumes/v");
    let [pushed, pulled] = [&source, &target].map(|dir| Tree::of(dir.path()));
    let plain = |kind: &Kind| matches!(kind, Kind::File { .. } | Kind::Directory);
    let gone = pushed.0.iter().filter(|(path, entry)| plain(&entry.kind) && !pulled.0.contains_key(*path));
    gone.map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect()
}

#[test]
fn what_upstream_loses_we_keep() {
    let hollow = ["hollow", "hollow/inner", "hollow/inner/innermost", "lost+found", "lost+found/never"];
    assert_eq!(lost(Upstream, Names::Upstream), hollow);
    // Also of names with which upstream fails, twins in NFC and NFD, and nested names that upstream leaves out.
    assert_eq!(lost(Ours, Names::All), ["lost+found", "lost+found/never"]);
}

/// A volume with links that lead inside, and names for filters.
fn linked(dir: &Path) {
    volume::plain(dir, 2, 8, 2, 1..5000);
    volume::shell(
        dir,
        "echo x > d0/skipped.tmp; ln -s d0 to-directory; ln -s ../d0/f0 d1/to-file; chown 7:8 d0/f0; chmod 4711 d0/f2
         setfattr -n user.note -v value d1/f1; setfacl -m u:77:r d1/f3; touch -d @1500000000.25 d0/skipped.tmp",
    );
}

/// Everything but permissions, whose owners upstream writes as names, and times that depend on when a run was.
fn comparable(bucket: Bucket) -> Bucket {
    let kept = bucket.0.into_iter().filter(|(key, _)| key != "permissions.facl");
    let timeless = kept.map(|(key, mut stored)| {
        stored.metadata.retain(|name, _| !matches!(name.as_str(), "atime" | "btime"));
        (key, stored)
    });
    Bucket(timeless.collect())
}

/// With `RCLONE_METADATA` rclone makes attributes of what stores say of objects; we do not.
fn without_those_of_stores(mut tree: Tree) -> Tree {
    for entry in tree.0.values_mut() {
        entry.xattrs.retain(|name, _| name != b"user.tier" && name != b"user.content-type");
    }
    tree
}

/// How the buckets and the restores of both movers differ under `variables`, one line a difference.
fn differences(server: &Embedded, number: usize, variables: &[(&str, &str)]) -> Vec<String> {
    let source = TempDir::new().unwrap();
    linked(source.path());
    let pod = |dir: &Path| variables.iter().fold(job(dir, server), |pod, (name, value)| pod.env(name, value));
    let path = |mover: Mover| format!("{number}-{mover:?}");
    let pushes = || {
        for mover in [Upstream, Ours] {
            push(mover, &pod(source.path()), &format!("volumes/{}", path(mover)));
        }
    };
    pushes();
    fs::remove_file(source.path().join("d1/f5")).unwrap();
    pushes();
    let [theirs, ours] = [Upstream, Ours].map(|mover| comparable(Bucket::of(server, "volumes", &path(mover))));
    let mut lines = theirs.diff(&ours);
    let [upstream, by_us, by_them] =
        [(Upstream, Upstream), (Upstream, Ours), (Ours, Upstream)].map(|(first, second)| {
            let target = TempDir::new().unwrap();
            pull(second, &pod(target.path()), &format!("volumes/{}", path(first)));
            without_those_of_stores(Tree::of(target.path()))
        });
    // Of what links lead to upstream keeps the content alone.
    let followed = variables.contains(&("RCLONE_COPY_LINKS", "true"));
    let ignore = Ignore { directory_times: true, owners: followed, permissions: followed, ..Ignore::default() };
    lines.extend([by_us, by_them].iter().flat_map(|tree| upstream.diff(tree, ignore)));
    lines.into_iter().map(|line| format!("{variables:?}: {line}")).collect()
}

#[test]
fn variables_of_the_secret_do_to_both_movers_the_same() {
    let server = Embedded::start("volumes");
    let sets: [&[(&str, &str)]; 10] = [
        &[("RCLONE_EXCLUDE", "*.tmp")],
        &[("RCLONE_DELETE_DURING", "true"), ("RCLONE_FAST_LIST", "true")],
        &[("RCLONE_LINKS", "true")],
        &[("RCLONE_COPY_LINKS", "true")],
        &[("RCLONE_METADATA", "true")],
        &[("RCLONE_METADATA", "true"), ("RCLONE_LINKS", "true")],
        &[("RCLONE_TRANSFERS", "19\n"), ("RCLONE_EXCLUDE", "*.tmp\n")],
        &[("RCLONE_S3_UPLOAD_CUTOFF", "1Ki"), ("RCLONE_S3_CHUNK_SIZE", "6Mi")],
        &[("RCLONE_CONFIG_REMOTE_UPLOAD_CUTOFF", "1Ki"), ("RCLONE_CONFIG_REMOTE_CHUNK_SIZE", "6Mi")],
        &[("RCLONE_BWLIMIT", "10M"), ("RCLONE_TPSLIMIT", "1000"), ("RCLONE_MAX_DELETE", "100")],
    ];
    let lines = sets.iter().enumerate().flat_map(|(number, set)| differences(&server, number, set));
    assert_eq!(lines.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn variables_that_upstream_cannot_take_do_us_no_harm() {
    let server = Embedded::start("volumes");
    let source = TempDir::new().unwrap();
    volume::plain(source.path(), 2, 3, 1, 1..50);
    for (name, value) in
        [("RCLONE_VERBOSE", "2"), ("RCLONE_QUIET", "true"), ("RCLONE_CHECKSUM", "1\n"), ("RCLONE_STATS", "5s\n")]
    {
        let pod = || job(source.path(), &server).env(name, value);
        pod().ours(Direction::Source, "volumes/v").success();
        let upstream = pod().upstream(Direction::Source, "volumes/u");
        // The harness sets these two itself, as upstream's script does for those that are not set.
        let set = name == "RCLONE_CHECKSUM" || name == "RCLONE_STATS";
        assert_eq!(upstream.code() == 0, set, "{upstream}");
    }
}

#[test]
fn a_remote_may_come_from_variables_alone() {
    let server = Embedded::start("volumes");
    let [source, target] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    volume::plain(source.path(), 2, 3, 1, 1..50);
    let pod = |dir: &TempDir| {
        let pod = Pod::with_conf(dir.path(), b"");
        let url = server.url();
        let options = [
            ("TYPE", "s3"),
            ("PROVIDER", "Minio"),
            ("ACCESS_KEY_ID", server.access_key()),
            ("SECRET_ACCESS_KEY", server.secret_key()),
            ("ENDPOINT", &url),
        ];
        options.iter().fold(pod, |pod, (name, value)| pod.env(&format!("RCLONE_CONFIG_REMOTE_{name}"), value))
    };
    for (first, second) in [(Upstream, Ours), (Ours, Upstream)] {
        push(first, &pod(&source), &format!("volumes/{first:?}"));
        pull(second, &pod(&target), &format!("volumes/{first:?}"));
        Tree::of(source.path()).assert_same(&Tree::of(target.path()), Ignore::LOST_IN_BUCKET);
    }
}

/// VolSync's operator keeps these lines of the log (`logfilter.go`); the first letter may be of either case.
const KEPT: [&str; 5] = ["ransferred:", "hecks:", "eleted:", "lapsed time:", "clone completed in"];

/// What each line is about that the operator keeps of what was said.
fn status(outcome: &Outcome) -> Vec<String> {
    let kept = |line: &&str| line.get(1..).is_some_and(|rest| KEPT.iter().any(|start| rest.starts_with(start)));
    let text = outcome.text();
    let lines = text.lines().map(str::trim_start).filter(kept);
    lines.map(|line| line.split([':', '0', '1']).next().unwrap().trim().to_owned()).collect()
}

#[test]
fn the_operator_finds_the_same_lines_in_both_logs() {
    let server = Embedded::start("volumes");
    let [theirs, ours] = [Upstream, Ours].map(|mover| {
        let source = TempDir::new().unwrap();
        volume::plain(source.path(), 2, 5, 2, 1..5000);
        let pod = job(source.path(), &server);
        let path = format!("volumes/{mover:?}");
        push(mover, &pod, &path);
        volume::shell(source.path(), "mv d0/f0 d0/moved; chmod 600 d1/f1");
        status(&push(mover, &pod, &path))
    });
    // Upstream's script prints the last line itself, which the harness here does not. It is on standard output.
    assert_eq!(ours[0], "Rclone completed in");
    assert_eq!(theirs, ["Transferred", "Checks", "Deleted", "Transferred", "Elapsed time"]);
    assert_eq!(theirs, ours[1..]);
}

#[test]
fn rclone_checks_our_volume() {
    let server = Embedded::start("volumes");
    let source = TempDir::new().unwrap();
    volume::plain(source.path(), 2, 9, 2, 1..5000);
    push(Ours, &job(source.path(), &server), "volumes/v");
    for program in [Rclone::new(&server, "Minio"), Rclone::new(&server, "Minio").ours()] {
        let dir = source.path().to_str().unwrap();
        program.run(&["check", "--exclude", "/permissions.facl", dir, "remote:volumes/v"]).success();
        let outcome = program.run(&["check", dir, "remote:volumes/v"]).exits(1);
        assert!(outcome.text().contains("1 differences found"), "{outcome}");
    }
}
