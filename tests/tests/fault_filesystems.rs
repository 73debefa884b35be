//! Volumes on other file systems, and with system calls that a kernel, a sandbox or a network file system does not have:
//! a restore still is exact, or says in one line what could not be kept.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it cannot go on")]

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use volsync_common::dest::{CommitMeta, Dest, DestOptions, is_temp_name};
use volsync_common::meta::acl::{Acl, AclBuilder, Entry};
use volsync_common::meta::facl::Record;
use volsync_common::meta::{self, ApplyOptions, ApplyOutcome};
use volsync_common::path::RelPath;
use volsync_common::root::Strategy;
use volsync_common::time::Timestamp;
use volsync_common::walk::{Event, WalkOptions, walk};
use volsync_tests::devices::Mounted;
use volsync_tests::embedded::Embedded;
use volsync_tests::pod::{Direction, Pod};
use volsync_tests::process::{self, Outcome};
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::volume::{self, Names, Random};

const BUCKET: &str = "volumes";
const MIB: u64 = 1 << 20;

/// What a file system keeps.
#[derive(Clone, Copy, Debug)]
struct Keeps {
    /// Times to the nanosecond and before 1970; otherwise whole seconds.
    nanoseconds: bool,
    /// Access lists.
    lists: bool,
    /// Space that only holds zeros is not used.
    holes: bool,
}

const ALL: Keeps = Keeps { nanoseconds: true, lists: true, holes: true };

/// Every kind that can be had here, large enough for the awkward volume.
fn file_systems() -> Vec<(&'static str, Mounted, Keeps)> {
    vec![
        ("XFS", Mounted::xfs(), ALL),
        ("ext4", Mounted::ext4(64 * MIB), ALL),
        ("ext4 of old", Mounted::ext4_of_old(64 * MIB), Keeps { nanoseconds: false, ..ALL }),
        ("tmpfs", Mounted::tmpfs(64 * MIB), ALL),
        ("overlayfs", Mounted::overlay(64 * MIB), ALL),
        ("ramfs", Mounted::ramfs(), Keeps { lists: false, ..ALL }),
    ]
}

fn rel(path: &[u8]) -> RelPath {
    RelPath::new(path).unwrap()
}

/// What a run left under temporary names.
fn leftovers(dir: &Path) -> Vec<String> {
    let paths = walk(dir, WalkOptions::default(), |_, _, _| true).unwrap().map(|event| match event {
        Event::Entry(entry) => entry.path,
        Event::Failed { error, .. } => panic!("{error}"),
    });
    paths.filter(|path| is_temp_name(path.name())).map(|path| path.to_string()).collect()
}

#[test]
fn files_get_names_times_modes_and_holes() {
    for (kind, mounted, keeps) in file_systems() {
        for strategy in [Strategy::Kernel, Strategy::Elements] {
            let dest = Dest::open(mounted.path(), DestOptions { strategy }).unwrap();
            println!("{kind} {strategy:?}");
            content(mounted.path(), &dest, keeps);
            links(&dest, keeps);
            batch(mounted.path(), &dest);
        }
        assert_eq!(leftovers(mounted.path()), [""; 0], "{kind}");
    }
}

fn content(at: &Path, dest: &Dest, keeps: Keeps) {
    let longest = [vec![0xff; 255], b"new\nline".to_vec()];
    for (name, secs) in longest.into_iter().zip([1_234_567_890, if keeps.nanoseconds { -7 } else { 7 }]) {
        let mtime = Timestamp { secs, nanos: if keeps.nanoseconds { 123_456_789 } else { 0 } };
        dest.make_dir_all(&rel(b"a/b")).unwrap();
        let path = [b"a/b/", &name[..]].concat();
        let (size, island) = (8 * MIB, Random::new(1).bytes(100_000));
        let temp = dest.create(&rel(&path), size).unwrap();
        // Out of order, zeros first, and some of it twice.
        temp.write_at(4 * MIB, &vec![0; 300_000]).unwrap();
        temp.write_at(MIB, &island).unwrap();
        temp.write_at(0, &vec![0; usize::try_from(MIB).unwrap()]).unwrap();
        temp.write_at(MIB, &island).unwrap();
        temp.commit(CommitMeta { mtime, mode: Some(0o4711) }, true).unwrap();
        let file = at.join(OsStr::from_bytes(&path));
        let (meta, content) = (fs::metadata(&file).unwrap(), fs::read(&file).unwrap());
        assert_eq!((meta.len(), meta.mode() & 0o7777), (size, 0o4711));
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (mtime.secs, i64::from(mtime.nanos)));
        let start = usize::try_from(MIB).unwrap();
        assert!(content[start..start + island.len()] == island && content[4 * start..].iter().all(|byte| *byte == 0));
        assert!(!keeps.holes || meta.blocks() * 512 < MIB, "{} blocks", meta.blocks());
    }
}

fn links(dest: &Dest, keeps: Keeps) {
    let mtime = Timestamp { secs: 1_000_000_000, nanos: u32::from(keeps.nanoseconds) };
    dest.replace_with_link(&rel(b"a/link"), b"no\xffwhere", mtime).unwrap();
    dest.replace_with_link(&rel(b"a/link"), b"b", mtime).unwrap();
    assert_eq!(dest.root().read_link(&rel(b"a/link")).unwrap(), b"b");
    assert_eq!(dest.root().stat(&rel(b"a/link")).unwrap().mtime, mtime);
    assert!(dest.create(&rel(b"a/link/f"), 0).is_err());
    assert!(dest.remove_file(&rel(b"a/link")).unwrap());
}

fn batch(at: &Path, dest: &Dest) {
    let meta = CommitMeta { mtime: Timestamp::default(), mode: None };
    let sealed = (0..50).map(|n| {
        let temp = dest.create(&rel(format!("a/{n}").as_bytes()), 1).unwrap();
        temp.write_at(0, b"x").unwrap();
        temp.seal(meta).unwrap()
    });
    let results = dest.commit_batch(sealed.collect()).unwrap();
    assert!(results.iter().all(Result::is_ok));
    assert!((0..50).all(|n| fs::read(at.join(format!("a/{n}"))).unwrap() == b"x"));
    assert!(!dest.remove_dir(&rel(b"a")).unwrap());
}

#[test]
fn access_lists_are_kept_or_reduced_to_modes_that_grant_no_more() {
    for (kind, mounted, keeps) in file_systems() {
        fs::create_dir(mounted.path().join("d")).unwrap();
        fs::write(mounted.path().join("f"), b"").unwrap();
        let dest = Dest::open(mounted.path(), DestOptions::default()).unwrap();
        let list = list();
        for (name, default) in [("f", None), ("d", Some(list.clone()))] {
            let path = rel(name.as_bytes());
            let (owner, group) = (Some(1234), Some(5678));
            let record = Record { owner, group, special: 0o2000, access: list.clone(), default, ..record(name) };
            let apply = || meta::apply(&dest, Some(&path), &record, ApplyOptions::default()).unwrap();
            let expect = ApplyOutcome { changed: true, reduced: !keeps.lists, ..ApplyOutcome::default() };
            assert_eq!(apply(), expect, "{kind} {name}");
            assert!(!apply().changed, "{kind} {name}: what is right is not touched");
            let (stat, acls) = meta::read(dest.root(), Some(&path)).unwrap().unwrap();
            assert_eq!((stat.uid, stat.gid), (1234, 5678), "{kind} {name}");
            if keeps.lists {
                assert_eq!((acls.access, acls.default, stat.mode & 0o7777), (record.access, record.default, 0o2750));
            } else {
                assert_eq!((acls.default, stat.mode & 0o7777), (None, 0o2710), "{kind} {name}");
            }
        }
    }
}

fn record(name: &str) -> Record {
    Record {
        path: name.as_bytes().to_vec(),
        owner: None,
        group: None,
        special: 0,
        access: Acl::from_mode(0),
        default: None,
        empty_directory: false,
    }
}

/// The owner may do everything, a user by number read and enter, the group enter.
fn list() -> Acl {
    let mut list = AclBuilder::default();
    for (entry, permissions) in
        [(Entry::Owner, 7), (Entry::User(4242), 5), (Entry::Group, 1), (Entry::Mask, 5), (Entry::Other, 0)]
    {
        list.set(entry, permissions);
    }
    list.complete(None).unwrap()
}

#[test]
fn a_full_file_system_shows_before_anything_is_written() {
    for mounted in [Mounted::ext4(16 * MIB), Mounted::tmpfs(4 * MIB), Mounted::overlay(4 * MIB)] {
        fs::write(mounted.path().join("f"), b"old").unwrap();
        let dest = Dest::open(mounted.path(), DestOptions::default()).unwrap();
        let error = dest.create(&rel(b"f"), 64 * MIB).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        // Small files fill it up bit by bit.
        let full = (0..200).find_map(|n| {
            let temp = dest.create(&rel(format!("f{n}").as_bytes()), 256 << 10).ok()?;
            let written = temp.write_at(0, &vec![7; 256 << 10]);
            let meta = CommitMeta { mtime: Timestamp::default(), mode: None };
            written.and_then(|()| temp.commit(meta, true)).err()
        });
        assert_eq!(full.unwrap().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(mounted.path().join("f")).unwrap(), b"old");
        assert_eq!(leftovers(mounted.path()), [""; 0]);
    }
}

/// A volume with one of everything, and a bucket that it was pushed into.
struct Saved {
    server: Embedded,
    volume: TempDir,
}

impl Saved {
    fn new() -> Self {
        let (server, volume) = (Embedded::start(BUCKET), TempDir::new().unwrap());
        fs::set_permissions(volume.path(), fs::Permissions::from_mode(0o755)).unwrap();
        volume::awkward(volume.path(), 1, Names::All);
        let saved = Self { server, volume };
        saved.pod(saved.volume.path()).ours(Direction::Source, BUCKET).exits(0);
        saved
    }

    fn pod(&self, data: &Path) -> Pod {
        Pod::new(data, &self.server, "Other")
    }

    /// Every difference between the volume and what was restored, but for what no bucket holds.
    fn differences(&self, restored: &Path, ignore: Ignore) -> Vec<String> {
        let here = |dir| Tree::of(dir).filter(|path, _| path != b"lost+found" && !path.starts_with(b"lost+found/"));
        here(self.volume.path()).diff(&here(restored), ignore)
    }
}

/// What changes when somebody touches a file in any way.
fn change_times(dir: &Path) -> String {
    let mut find = Command::new("find");
    process::run(find.arg(dir).args(["-type", "f", "-printf", "%P %C@ %i\\n"])).success().text()
}

#[test]
fn a_volume_is_restored_exactly_on_every_file_system() {
    let saved = Saved::new();
    for (kind, mounted, keeps) in file_systems() {
        let pull = || saved.pod(mounted.path()).ours(Direction::Destination, BUCKET).exits(0);
        let said = pull().text();
        let ignore = Ignore { permissions: !keeps.lists, file_times: !keeps.nanoseconds, ..Ignore::LOST_IN_BUCKET };
        assert_eq!(saved.differences(mounted.path(), ignore), [""; 0], "{kind}");
        assert_eq!(said.contains("access lists were reduced to modes"), !keeps.lists, "{kind}: {said}");
        assert_eq!(leftovers(mounted.path()), [""; 0], "{kind}");
        let before = change_times(mounted.path());
        pull();
        assert_eq!(change_times(mounted.path()), before, "{kind}: a second restore touches nothing");
    }
}

#[test]
fn a_volume_is_saved_from_every_file_system_as_it_is() {
    for (kind, mounted, keeps) in file_systems() {
        if !keeps.lists {
            // The awkward volume cannot be planted there.
            continue;
        }
        let (server, restored) = (Embedded::start(BUCKET), TempDir::new().unwrap());
        volume::awkward(mounted.path(), 2, Names::All);
        let pod = |data: &Path| Pod::new(data, &server, "Other");
        pod(mounted.path()).ours(Direction::Source, BUCKET).exits(0);
        pod(restored.path()).ours(Direction::Destination, BUCKET).exits(0);
        let here = |dir| Tree::of(dir).filter(|path, _| path != b"lost+found" && !path.starts_with(b"lost+found/"));
        let differences = here(mounted.path()).diff(&here(restored.path()), Ignore::LOST_IN_BUCKET);
        assert_eq!(differences, [""; 0], "{kind}");
    }
}

/// What a missing call may cost.
enum Cost {
    /// Nothing.
    Nothing,
    /// This is not the same, and one line of the log says so.
    Said(Ignore, &'static str),
}

/// What kernels of old, sandboxes and network file systems lack, as `strace --inject` says it.
fn missing_calls() -> Vec<(&'static [&'static str], Cost)> {
    let owners = Ignore { owners: true, ..Ignore::LOST_IN_BUCKET };
    let permissions = Ignore { permissions: true, ..Ignore::LOST_IN_BUCKET };
    let nothing = Ignore { owners: true, permissions: true, ..Ignore::LOST_IN_BUCKET };
    vec![
        // Kernels before 5.6; sandboxes that do not know it.
        (&["openat2:error=ENOSYS"], Cost::Nothing),
        (&["openat2:error=EPERM"], Cost::Nothing),
        // NFS before 4.2, ZFS, FUSE; sandboxes.
        (&["fallocate:error=EOPNOTSUPP"], Cost::Nothing),
        (&["fallocate:error=ENOSYS"], Cost::Nothing),
        (&["fadvise64:error=ENOSYS"], Cost::Nothing),
        // Hints and conveniences.
        (&["statx:error=ENOSYS"], Cost::Nothing),
        // NFS 4, CIFS: no POSIX access lists.
        (
            &["getxattr:error=EOPNOTSUPP", "setxattr:error=EOPNOTSUPP", "removexattr:error=EOPNOTSUPP"],
            Cost::Said(permissions, "access lists were reduced to modes (the volume cannot keep them)"),
        ),
        (&["setxattr:error=ENOSYS"], Cost::Said(permissions, "access lists were reduced to modes")),
        // NFS with squashed root.
        (&["fchownat:error=EPERM"], Cost::Said(owners, "owners or groups could not be set")),
        (&["fchownat:error=EOPNOTSUPP"], Cost::Said(owners, "owners or groups could not be set")),
        // CIFS and FUSE file systems whose modes are those of the mount.
        (
            &["chmod:error=EPERM", "fchmod:error=EPERM", "fchmodat:error=EPERM", "setxattr:error=EOPNOTSUPP"],
            Cost::Said(permissions, "modes or access lists could not be set"),
        ),
        (
            &[
                "chmod:error=EOPNOTSUPP",
                "fchmod:error=EOPNOTSUPP",
                "fchmodat:error=EOPNOTSUPP",
                "setxattr:error=EOPNOTSUPP",
                "fchownat:error=EPERM",
            ],
            Cost::Said(nothing, "modes or access lists could not be set"),
        ),
    ]
}

#[test]
fn missing_system_calls_cost_nothing_or_are_spoken_of() {
    let saved = Saved::new();
    for (calls, cost) in missing_calls() {
        let restored = TempDir::new().unwrap();
        fs::set_permissions(restored.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let pod = calls.iter().fold(saved.pod(restored.path()), |pod, call| pod.inject(call));
        let outcome = pod.ours(Direction::Destination, BUCKET);
        check(&saved, restored.path(), &format!("{calls:?}"), &outcome, &cost);
    }
}

#[test]
fn a_volume_is_saved_without_the_calls_that_only_help() {
    let saved = Saved::new();
    for (calls, ignore) in [
        (&["openat2:error=ENOSYS", "fadvise64:error=ENOSYS"][..], Ignore::LOST_IN_BUCKET),
        (&["openat2:error=EPERM"], Ignore::LOST_IN_BUCKET),
        // A volume that has no access lists.
        (&["getxattr:error=EOPNOTSUPP"], Ignore { permissions: true, ..Ignore::LOST_IN_BUCKET }),
    ] {
        let restored = TempDir::new().unwrap();
        fs::set_permissions(restored.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{BUCKET}/again");
        let pod = calls.iter().fold(saved.pod(saved.volume.path()), |pod, call| pod.inject(call));
        pod.ours(Direction::Source, &path).exits(0);
        saved.pod(restored.path()).ours(Direction::Destination, &path).exits(0);
        assert_eq!(saved.differences(restored.path(), ignore), [""; 0], "{calls:?}");
    }
}

/// Users and groups of the volume that are not mapped: neither owners nor access lists can name them.
#[test]
fn in_a_user_namespace_what_is_not_mapped_is_spoken_of() {
    let saved = Saved::new();
    let restored = TempDir::new().unwrap();
    fs::set_permissions(restored.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = saved.pod(restored.path()).user_namespace().ours(Direction::Destination, BUCKET);
    let ignore = Ignore { owners: true, permissions: true, ..Ignore::LOST_IN_BUCKET };
    let cost = Cost::Said(ignore, "owners or groups could not be set");
    check(&saved, restored.path(), "a user namespace", &outcome, &cost);
    assert!(outcome.text().contains("access lists were reduced to modes"), "{outcome}");
    let mode = |name| fs::metadata(restored.path().join(name)).unwrap().mode() & 0o7777;
    // `with-acl` was 0644 with a mask of `r`, `owned` is of somebody else now.
    assert_eq!((mode("with-acl"), mode("owned"), mode("setuid")), (0o644, 0o644, 0o4755));
}

/// A program with the setuid bit whose owner cannot be set must not run as root instead.
#[test]
fn a_program_of_somebody_else_does_not_become_one_of_root() {
    let (server, from, to) = (Embedded::start(BUCKET), TempDir::new().unwrap(), TempDir::new().unwrap());
    volume::shell(from.path(), "touch theirs roots; chown 1000:1000 theirs; chmod 6755 theirs roots");
    let pod = |data: &Path| Pod::new(data, &server, "Other");
    pod(from.path()).ours(Direction::Source, BUCKET).exits(0);
    let outcome = pod(to.path()).inject("fchownat:error=EPERM").ours(Direction::Destination, BUCKET).exits(0);
    let mode = |name| fs::metadata(to.path().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("theirs"), mode("roots")), (0o755, 0o6755));
    assert!(outcome.text().contains("1 owners or groups could not be set"), "{outcome}");
}

fn check(saved: &Saved, restored: &Path, what: &str, outcome: &Outcome, cost: &Cost) {
    let said = outcome.text();
    assert_eq!(outcome.code(), 0, "{what}: {said}");
    let (ignore, line) = match cost {
        Cost::Nothing => (Ignore::LOST_IN_BUCKET, None),
        Cost::Said(ignore, line) => (*ignore, Some(line)),
    };
    assert_eq!(saved.differences(restored, ignore), [""; 0], "{what}");
    let lines = said.lines().filter(|text| line.is_some_and(|line| text.contains(line))).count();
    assert_eq!(lines, usize::from(line.is_some()), "{what}: {said}");
    assert_eq!(leftovers(restored), [""; 0], "{what}");
}
