//! What disks and rights do wrong: full, read-only, broken, forbidden, and a node that crashes in the middle of a restore.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::fs::{self, File, Permissions};
use std::mem::MaybeUninit;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::Signal;
use tempfile::TempDir;
use volsync_common::exit::ExitCode;
use volsync_embedded_s3::When;
use volsync_tests::devices::{self, Mounted};
use volsync_tests::embedded::Embedded;
use volsync_tests::mover::Mover;
use volsync_tests::pod::{Direction, Pod};
use volsync_tests::process::LIMIT;
use volsync_tests::scene::{BUCKET, Scene};
use volsync_tests::servers::{Inspect, on_each_server};
use volsync_tests::tree::{Ignore, Tree, files};
use volsync_tests::volume::{self, Random};

fn empty() -> TempDir {
    TempDir::with_prefix("volume-").unwrap()
}

/// Every file below `found` has whole content of one of the volumes; says how many have that of the first.
#[track_caller]
fn whole(found: &Path, volumes: [&Path; 2]) -> usize {
    let [after, before] = volumes.map(files);
    let found = files(found);
    let named = found.iter().filter(|(path, _)| !path.ends_with(b".partial") && !path.starts_with(b"lost+found"));
    let of_after = named.map(|(path, entry)| {
        let is = |known: Option<&volsync_tests::tree::Entry>| known.is_some_and(|known| known.kind == entry.kind);
        let (new, old) = (is(after.get(path)), is(before.get(path)));
        assert!(new || old, "{}: {:?}", String::from_utf8_lossy(path), entry.kind);
        usize::from(new && !old)
    });
    of_after.sum()
}

#[track_caller]
fn same(wanted: &Path, found: &Path) {
    let no_lost_and_found = |path: &[u8]| !path.starts_with(b"lost+found");
    let [wanted, found] = [wanted, found].map(|dir| Tree::of(dir).filter(|path, _| no_lost_and_found(path)));
    wanted.assert_same(&found, Ignore::LOST_IN_BUCKET);
}

#[test]
fn a_full_disk_is_named_and_leaves_whole_files_and_no_leftovers() {
    on_each_server(BUCKET, |server| {
        let (source, mover) = (empty(), Mover::new(server));
        volume::plain(source.path(), 1, 100, 3, 1..60_000);
        fs::write(source.path().join("large"), Random::new(2).bytes(5 << 20)).unwrap();
        mover.push(source.path(), "volumes/p").success();
        let target = Mounted::ext4(16 << 20);
        let surplus = target.path().join("surplus");
        fs::write(&surplus, Random::new(3).bytes(9 << 20)).unwrap();
        let outcome = mover.pull("volumes/p", target.path());
        outcome.fails(ExitCode::Failure, &["Failed to sync", "No space left on device", "make the volume larger"]);
        assert!(surplus.exists(), "nothing is deleted");
        assert!(files(target.path()).into_keys().all(|path| !path.ends_with(b".partial")));
        let old = empty();
        fs::copy(&surplus, old.path().join("surplus")).unwrap();
        whole(target.path(), [source.path(), old.path()]);
        fs::remove_file(&surplus).unwrap();
        mover.pull("volumes/p", target.path()).success();
        same(source.path(), target.path());
    });
}

#[test]
fn a_disk_that_is_full_of_what_is_replaced_is_large_enough() {
    let server = Embedded::start(BUCKET);
    let (source, mover) = (empty(), Mover::new(&server));
    let target = Mounted::ext4(24 << 20);
    for (n, dir) in [source.path(), target.path()].into_iter().enumerate() {
        for name in 0..4 {
            fs::write(dir.join(name.to_string()), Random::new(10 * n as u64 + name).bytes(4 << 20)).unwrap();
        }
    }
    mover.push(source.path(), "volumes/p").success();
    mover.pull("volumes/p", target.path()).success();
    same(source.path(), target.path());
}

#[test]
fn a_read_only_volume_is_named_as_a_target_and_good_as_a_source() {
    let scene = Scene::new();
    let path = scene.stored("p");
    let volume = Mounted::ext4(32 << 20);
    volume::shell(volume.path(), &format!("cp -a {}/. .", scene.after.path().display()));
    let before = Tree::of(volume.path());
    volume.make_read_only();
    let outcome = scene.mover().pull(&path, volume.path());
    outcome.fails(ExitCode::Failure, &["Failed to sync", "Read-only file system", "mount the volume writable"]);
    before.assert_same(&Tree::of(volume.path()), Ignore::default());
    scene.mover().push(volume.path(), &path).success();
    let target = scene.restored();
    scene.mover().pull(&path, target.path()).success();
    assert_eq!(scene.differs(&target), [""; 0]);
}

/// A volume that somebody without privileges can enter.
fn open_to_all() -> TempDir {
    let dir = empty();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    volume::shell(dir.path(), "mkdir open closed; for f in a open/b closed/c secret gone; do echo $f > $f; done");
    dir
}

const ADVICE: &str = "run the mover as its owner (moverSecurityContext) or privileged";

#[test]
fn what_cannot_be_read_is_named_and_nothing_is_deleted() {
    on_each_server(BUCKET, |server| {
        let source = open_to_all();
        let pod = Pod::new(source.path(), server, "Minio").unprivileged();
        pod.ours(Direction::Source, "volumes/p").success();
        volume::shell(source.path(), "chmod 600 secret; chmod 700 closed; rm gone; echo new > open/new; echo new >> a");
        let outcome = pod.ours(Direction::Source, "volumes/p");
        let words = [
            "Failed to sync with 2 errors",
            "secret: failed to read the file",
            "closed: failed to read the directory: Permission denied",
            ADVICE,
        ];
        outcome.fails(ExitCode::Failure, &words);
        let keys: Vec<_> = server.objects(BUCKET, "p/").into_keys().collect();
        let all = ["a", "closed/c", "gone", "open/b", "open/new", "permissions.facl", "secret"];
        assert_eq!(keys, all.map(|path| format!("p/{path}")));
        volume::shell(source.path(), "chmod 644 secret; chmod 755 closed");
        pod.ours(Direction::Source, "volumes/p").success();
        assert!(!server.objects(BUCKET, "p/").contains_key("p/gone"));
    });
}

#[test]
fn what_cannot_be_written_is_named_and_nothing_is_deleted() {
    on_each_server(BUCKET, |server| {
        let (source, target) = (open_to_all(), open_to_all());
        Mover::new(server).push(source.path(), "volumes/p").success();
        volume::shell(
            target.path(),
            "echo surplus > surplus; rm a open/b; echo other > closed/c; chmod 555 open; chmod 700 closed",
        );
        let pod = Pod::new(target.path(), server, "Minio").unprivileged();
        let outcome = pod.ours(Direction::Destination, "volumes/p");
        let words = [
            "open/b: failed to write the file: Permission denied",
            "closed: failed to read the directory: Permission denied",
            ADVICE,
        ];
        outcome.fails(ExitCode::Failure, &words);
        assert!(target.path().join("surplus").exists());
        assert_eq!(fs::read(target.path().join("a")).unwrap(), b"a\n", "the others are restored");
        volume::shell(target.path(), "chmod 777 open closed");
        pod.ours(Direction::Destination, "volumes/p").success();
        assert!(!target.path().join("surplus").exists());
        assert_eq!(fs::read(target.path().join("closed/c")).unwrap(), b"closed/c\n");
    });
}

#[test]
fn a_broken_disk_is_named_and_what_was_there_stays() {
    let scene = Scene::new();
    let path = format!("{BUCKET}/p");
    scene.mover().push(scene.after.path(), &path).success();
    for (call, words) in [
        ("pwrite64", "failed to write the file: Input/output error"),
        ("fchmod", "failed to complete the file: Input/output error"),
        ("syncfs", "failed to flush the volume: Input/output error"),
        ("renameat,renameat2", "failed to give the file its name: Input/output error"),
    ] {
        let target = scene.restored();
        let outcome = scene.mover().inject(&format!("{call}:error=EIO")).pull(&path, target.path());
        outcome.fails(ExitCode::Failure, &["Failed to sync", words]);
        let changed = whole(target.path(), [scene.after.path(), scene.before.path()]);
        assert_eq!(changed, 0, "{call}");
        assert!(target.path().join("gone").exists(), "{call}: nothing is deleted");
        assert!(files(target.path()).into_keys().all(|path| !path.ends_with(b".partial")), "{call}");
    }
    let target = scene.restored();
    let outcome = scene.mover().inject("unlinkat:error=EIO").pull(&path, target.path());
    outcome.fails(ExitCode::Failure, &["gone: failed to delete: Input/output error", "gone too: "]);
    // Of a source: content, and the names in a directory.
    let path = scene.stored("q");
    let stored = scene.server.objects(BUCKET, "q/gone");
    for (inject, words) in [
        ("pread64:error=EIO", "failed to read the file: Input/output error"),
        ("getdents64:error=EIO", "failed to read the directory: Input/output error"),
    ] {
        let outcome = scene.mover().inject(inject).push(scene.after.path(), &path);
        outcome.fails(ExitCode::Failure, &["Failed to sync", words]);
        assert_eq!(scene.server.objects(BUCKET, "q/gone"), stored, "{inject}");
    }
}

/// A device in a file, and what a crash would leave of it.
struct Device {
    images: TempDir,
    mounted: Mounted,
}

impl Device {
    fn ext4(bytes: u64) -> Self {
        let images = TempDir::with_prefix("image-").unwrap();
        let image = images.path().join("device");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        devices::format("ext4", &image);
        let mounted = Mounted::image(&image);
        Self { images, mounted }
    }

    fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// The device as a crash at this moment leaves it: names are in its journal, content only if somebody flushed it.
    fn crashed(&self) -> Mounted {
        File::open(self.path()).unwrap().sync_all().unwrap();
        let read = || fs::read(self.images.path().join("device")).unwrap();
        let (mut last, mut now) = (read(), read());
        // Whoever writes to the device is stopped; two equal copies are one moment.
        while last != now {
            (last, now) = (now, read());
        }
        let copy = self.images.path().join("copy");
        fs::write(&copy, now).unwrap();
        let mounted = Mounted::image(&copy);
        fs::remove_file(copy).unwrap();
        mounted
    }
}

/// Tells of each file that gets its name in a directory.
fn names_given(dir: &Path) -> Receiver<()> {
    let watch = inotify::init(CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, dir, WatchFlags::MOVED_TO).unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch, &mut buffer);
        while reader.next().is_ok() && tell.send(()).is_ok() {}
    });
    told
}

#[test]
fn a_node_that_crashes_in_mid_restore_leaves_only_whole_files() {
    let server = Embedded::start(BUCKET);
    let mover = Mover::new(&server);
    let [before, after] = [empty(), empty()];
    for (seed, dir, count) in [(1, &before, 40), (2, &after, 60)] {
        volume::plain(dir.path(), seed, count, 1, 1..50_000);
        fs::write(dir.path().join("d0/large"), Random::new(seed).bytes(3 << 20)).unwrap();
    }
    mover.push(before.path(), "volumes/p").success();
    let device = Device::ext4(32 << 20);
    mover.pull("volumes/p", device.path()).success();
    same(before.path(), device.crashed().path());
    mover.push(after.path(), "volumes/p").success();

    let names = names_given(&device.path().join("d0"));
    let gets = |from, to| When { from: Some(from), to: Some(to), ..When::operation("GetObject") };
    let gates = [gets(20, 39), gets(40, 99)].map(|when| server.faults().block(when));
    let running = mover.start_pull("volumes/p", device.path());
    let mut copies = Vec::new();
    for gate in &gates {
        // What came before the gate gets its names while the gate holds the rest.
        server.wait_at(gate, &running);
        names.recv_timeout(LIMIT).unwrap();
        running.signal(Signal::STOP);
        copies.push(device.crashed());
        running.signal(Signal::CONT);
        names.try_iter().for_each(drop);
        gate.release();
    }
    running.wait(LIMIT).success();
    same(after.path(), device.crashed().path());
    server.faults().clear();
    for copy in copies {
        let named = whole(copy.path(), [after.path(), before.path()]);
        assert!((1..61).contains(&named), "{named}: in the middle");
        // A pull into what the crash left finishes the job.
        mover.pull("volumes/p", copy.path()).success();
        same(after.path(), copy.path());
    }
}
