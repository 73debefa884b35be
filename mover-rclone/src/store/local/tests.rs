//! What is special about a directory; what every store does is in the conformance suite.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::Mutex;

use super::*;
use crate::filter::{Filter, FilterOptions};
use crate::store::Source;

struct Content(Vec<u8>);

impl Source for Content {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.0.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        // Pieces, as a slow source gives them.
        let read = rest.len().min(buf.len()).min(1000);
        buf[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }
    fn unchanged(&self) -> io::Result<bool> {
        Ok(true)
    }
}

const AT: Timestamp = Timestamp { secs: 1_234_567_890, nanos: 123_456_789 };

fn store(change: impl FnOnce(&mut LocalSettings)) -> (tempfile::TempDir, LocalStore) {
    let temp = tempfile::tempdir().unwrap();
    let mut settings = LocalSettings::new(temp.path());
    change(&mut settings);
    let store = LocalStore::open(settings, Arc::new(FileHasher::start(1).unwrap())).unwrap();
    (temp, store)
}

fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).unwrap()
}

async fn put(store: &LocalStore, name: &str, content: &[u8]) -> Result<Put, StoreError> {
    let (path, source) = (path(name), Arc::new(Content(content.to_vec())));
    store.put(PutRequest { path: &path, source, mtime: AT, md5: None, metadata: &[] }).await
}

async fn get(store: &LocalStore, name: &str) -> Result<Vec<u8>, StoreError> {
    let mut body = store.get(GetRequest { path: name.as_bytes(), range: None, if_match: None }).await?.body;
    let mut all = Vec::new();
    while let Some(bytes) = body.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// Names as listed, directories with a slash.
async fn listed(store: &LocalStore) -> Vec<String> {
    let listing = store.list(&|_| {}).await.unwrap();
    let name = |o: crate::store::Listed<'_>| format!("{}{}", Shown(o.path), if o.directory { "/" } else { "" });
    listing.iter().map(name).collect()
}

/// A directory with everything that is no file.
fn plant(at: &Path) {
    fs::create_dir_all(at.join("d/sub")).unwrap();
    fs::write(at.join("f"), b"file").unwrap();
    fs::write(at.join("d/x"), b"x").unwrap();
    symlink("f", at.join("l")).unwrap();
    symlink("d", at.join("dl")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, at.join("pipe"), mode).unwrap();
    fs::write(at.join(".volsync-0123456789abcdef.partial"), b"torn").unwrap();
}

#[tokio::test]
async fn only_files_and_directories_are_there() {
    let (temp, store) = store(|_| {});
    plant(temp.path());
    assert_eq!(listed(&store).await, ["d/", "d/sub/", "d/x", "f"]);
    for name in ["l", "dl/x", "pipe", "d", "f/x", "none", ".volsync-0123456789abcdef.partial"] {
        assert_eq!(store.stat(name.as_bytes()).await.unwrap_err().kind, StoreErrorKind::NotFound, "{name}");
        assert_eq!(get(&store, name).await.unwrap_err().kind, StoreErrorKind::NotFound, "{name}");
    }
    let paths = ["l", "dl/x", "pipe", "d", "f/x", "none"].map(path);
    assert!(store.delete(&paths).await.iter().all(Result::is_ok));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 6, "what is no object is not removed");
    assert_eq!(fs::read(temp.path().join("d/x")).unwrap(), b"x");
}

#[tokio::test]
async fn links_are_followed_to_read_and_never_to_write() {
    let (temp, store) = store(|settings| settings.copy_links = true);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("theirs"), b"theirs").unwrap();
    plant(temp.path());
    symlink(outside.path(), temp.path().join("out")).unwrap();
    assert_eq!(listed(&store).await, ["d/", "d/sub/", "d/x", "dl/", "dl/sub/", "dl/x", "f", "l", "out/", "out/theirs"]);
    assert_eq!(get(&store, "l").await.unwrap(), b"file");
    assert_eq!(get(&store, "out/theirs").await.unwrap(), b"theirs");
    assert_eq!(store.stat(b"l").await.unwrap().size, 4);
    assert!(store.set_mtime(&path("l"), AT).await.is_err());
    assert!(store.set_mtime(&path("out/theirs"), AT).await.is_err());
    assert!(put(&store, "out/theirs", b"ours").await.is_err());
    assert!(store.delete(&[path("out/theirs")]).await[0].is_err());
    assert_eq!(fs::read(outside.path().join("theirs")).unwrap(), b"theirs");
    put(&store, "l", b"now a file").await.unwrap();
    assert_eq!(
        (get(&store, "l").await.unwrap(), get(&store, "f").await.unwrap()),
        (b"now a file".into(), b"file".into())
    );
    for (name, target) in [("dangling", "nowhere"), ("d/up", "..")] {
        symlink(target, temp.path().join(name)).unwrap();
        let error = store.list(&|_| {}).await.err().unwrap();
        assert_eq!((error.kind, error.subject.as_str()), (StoreErrorKind::Io, name));
        fs::remove_file(temp.path().join(name)).unwrap();
    }
}

#[tokio::test]
async fn links_are_objects_that_hold_their_target() {
    let (temp, store) = store(|settings| settings.links = true);
    plant(temp.path());
    fs::write(temp.path().join("plain.rclonelink"), b"a file of that name").unwrap();
    let expect = ["d/", "d/sub/", "d/x", "dl.rclonelink", "f", "l.rclonelink", "plain.rclonelink"];
    assert_eq!(listed(&store).await, expect);
    assert_eq!(get(&store, "l.rclonelink").await.unwrap(), b"f");
    assert_eq!(store.md5(b"l.rclonelink").await.unwrap(), Some(volsync_md5::md5(b"f")));
    assert_eq!(get(&store, "plain.rclonelink").await.unwrap(), b"a file of that name");
    for name in ["new.rclonelink", "f.rclonelink", "l.rclonelink", "deep/er.rclonelink"] {
        put(&store, name, b"some/where \xff").await.unwrap();
        let at = temp.path().join(name.strip_suffix(".rclonelink").unwrap());
        let meta = fs::symlink_metadata(at).unwrap();
        assert!(meta.is_symlink() && (meta.mtime(), meta.mtime_nsec()) == (AT.secs, i64::from(AT.nanos)), "{name}");
        assert_eq!(get(&store, name).await.unwrap(), b"some/where \xff");
        assert_eq!(store.stat(name.as_bytes()).await.unwrap().mtime, Some(AT));
    }
    let later = Timestamp { secs: 5, ..AT };
    store.set_mtime(&path("new.rclonelink"), later).await.unwrap();
    assert_eq!(store.stat(b"new.rclonelink").await.unwrap().mtime, Some(later));
    for target in [&b""[..], &[b'x'; 4096]] {
        let refused = put(&store, "new.rclonelink", target).await.unwrap_err();
        assert_eq!(refused.kind, StoreErrorKind::Refused);
    }
    assert!(store.delete(&["new.rclonelink", "dl.rclonelink"].map(path)).await.iter().all(Result::is_ok));
    assert!(fs::symlink_metadata(temp.path().join("new")).is_err());
    assert!(temp.path().join("d/x").exists());
}

#[tokio::test]
async fn of_a_link_and_a_file_with_its_objects_name_the_link_counts() {
    let (temp, store) = store(|settings| settings.links = true);
    symlink("target", temp.path().join("both")).unwrap();
    fs::write(temp.path().join("both.rclonelink"), b"a file").unwrap();
    let listing = store.list(&|_| {}).await.unwrap();
    assert_eq!(listing.find(b"both.rclonelink").unwrap().size, 6);
    assert!(listing.refused()[0].starts_with("both.rclonelink: a link of that name counts"), "{:?}", listing.refused());
    assert_eq!(get(&store, "both.rclonelink").await.unwrap(), b"target");
}

#[test]
fn both_ways_of_treating_links_exclude_each_other() {
    let settings = LocalSettings { links: true, copy_links: true, ..LocalSettings::new("/d") };
    let error = LocalStore::open(settings, Arc::new(FileHasher::start(1).unwrap())).err().unwrap();
    assert_eq!(error.to_string(), "open /d: can't use -l/--links with -L/--copy-links");
}

/// Lets a thread log into memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 = format!("{}{field}={value:?};", self.0);
            }
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// The listing is made on this thread, so that its log can be told from that of other tests.
fn notices(settings: LocalSettings) -> Vec<String> {
    let log = Log::default();
    let store = LocalStore::open(settings, Arc::new(FileHasher::start(1).unwrap())).unwrap();
    tracing::subscriber::with_default(log.clone(), || list::walk_here(&store.0).unwrap());
    log.0.lock().unwrap().clone()
}

#[test]
fn what_is_left_out_is_said_unless_nobody_wants_to_know() {
    let temp = tempfile::tempdir().unwrap();
    plant(temp.path());
    let plain = LocalSettings::new(temp.path());
    let link = |name| format!("message=Can't follow symlink without -L/--copy-links;object={name};");
    let special = "message=Can't transfer non file/directory;object=pipe;".to_owned();
    assert_eq!(notices(plain.clone()), [link("dl"), link("l"), special.clone()]);
    assert_eq!(notices(LocalSettings { skip_links: true, ..plain.clone() }), [special]);
    assert_eq!(notices(LocalSettings { skip_specials: true, ..plain.clone() }), [link("dl"), link("l")]);
    assert_eq!(notices(LocalSettings { skip_specials: true, links: true, ..plain }), [""; 0]);
}

#[tokio::test]
async fn a_listing_is_whole_or_an_error_that_names_what_is_missing() {
    let (temp, store) = store(|_| {});
    fs::write(temp.path().join("root"), b"a file").unwrap();
    let settings = LocalSettings::new(temp.path().join("root"));
    let on_file = LocalStore::open(settings, Arc::clone(&store.0.hasher)).unwrap();
    assert!(on_file.list(&|_| {}).await.err().unwrap().to_string().contains("root: Not a directory"));
    let settings = LocalSettings::new(temp.path().join("none/at/all"));
    let missing = LocalStore::open(settings, Arc::clone(&store.0.hasher)).unwrap();
    let listing = missing.list(&|_| {}).await.unwrap();
    assert!(listing.is_empty() && !listing.exists());
    assert!(store.list(&|_| {}).await.unwrap().exists());
}

#[test]
fn an_unreadable_directory_fails_the_listing_unless_it_takes_no_part() {
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(temp.path().join("a/closed")).unwrap();
    fs::write(temp.path().join("f"), b"x").unwrap();
    fs::set_permissions(temp.path().join("f"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(temp.path().join("a/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let exclude = FilterOptions { exclude: vec![b"closed/**".to_vec()], ..FilterOptions::default() };
    let plain = LocalSettings::new(temp.path());
    let filtered = LocalSettings { filter: Some(Arc::new(Filter::new(&exclude).unwrap())), ..plain.clone() };
    let list = |settings: LocalSettings| {
        unprivileged(|| {
            let store = LocalStore::open(settings, Arc::new(FileHasher::start(1).unwrap())).unwrap();
            list::walk_here(&store.0)
        })
    };
    let error = list(plain).err().unwrap();
    assert_eq!((error.kind, error.subject.as_str()), (StoreErrorKind::Forbidden, "a/closed"));
    // A file that cannot be read is listed: reading it is another matter.
    assert_eq!(list(filtered).unwrap().iter().map(|o| o.path.to_vec()).collect::<Vec<_>>(), [&b"a"[..], b"f"]);
}

/// Without any right of root, on a thread of its own.
fn unprivileged<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_gid(rustix::fs::Gid::from_raw(1234)).unwrap();
                rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(1234)).unwrap();
            }
            test()
        });
        thread.join().unwrap()
    })
}

#[tokio::test]
async fn the_directory_is_made_below_what_exists_of_it() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("real")).unwrap();
    symlink("real", temp.path().join("link")).unwrap();
    let hasher = Arc::new(FileHasher::start(1).unwrap());
    let root = temp.path().join("link/a/../b/c");
    let store = LocalStore::open(LocalSettings::new(root), hasher).unwrap();
    assert_eq!(store.clean_up().await.unwrap(), 0);
    assert!(store.remove_directory(&path("x")).await.is_ok());
    put(&store, "x/y", b"made").await.unwrap();
    assert_eq!(fs::read(temp.path().join("real/b/c/x/y")).unwrap(), b"made");
    assert!(!temp.path().join("real/a").exists());
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_ends_in_an_error() {
    let big = vec![7; BUFFER + 1];
    for (no_check_updated, grow, fails) in [(false, true, true), (true, true, false), (true, false, true)] {
        let (temp, store) = store(|settings| settings.no_check_updated = no_check_updated);
        let at = temp.path().join("f");
        fs::write(&at, &big).unwrap();
        let mut got = store.get(GetRequest { path: b"f", range: None, if_match: None }).await.unwrap();
        assert_eq!(got.body.next().await.unwrap().unwrap().len(), BUFFER);
        let changed = if grow { vec![7; BUFFER + 2] } else { vec![7; 10] };
        fs::write(&at, changed).unwrap();
        let end = got.body.next().await.map(|bytes| bytes.map(|b| b.len()));
        match end {
            Err(error) => assert!(fails && error.kind == StoreErrorKind::Changed, "{error}"),
            Ok(more) => assert!(!fails && more == Some(1)),
        }
    }
}

#[tokio::test]
async fn temporary_files_go_a_day_after_they_were_touched() {
    let (temp, store) = store(|_| {});
    plant(temp.path());
    let torn = temp.path().join("d/.volsync-aaaaaaaaaaaaaaaa.partial");
    fs::write(&torn, b"x").unwrap();
    fs::File::options().write(true).open(&torn).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(store.clean_up().await.unwrap(), 0);
    let later = |seconds| Timestamp { secs: Timestamp::now().secs + seconds, nanos: 0 };
    let stop = CancellationToken::new();
    assert_eq!(write::clean_up(&store.0, later(86_000), &stop).unwrap(), 0);
    assert_eq!(write::clean_up(&store.0, later(90_000), &stop).unwrap(), 2);
    assert!(!torn.exists());
    assert_eq!(listed(&store).await, ["d/", "d/sub/", "d/x", "f"]);
}

#[tokio::test]
async fn names_that_are_kept_or_too_long_are_refused() {
    let (_temp, store) = store(|_| {});
    for name in [".volsync-0123456789abcdef.partial", &"n".repeat(256)] {
        assert_eq!(put(&store, name, b"x").await.unwrap_err().kind, StoreErrorKind::Refused, "{name}");
    }
    put(&store, "file", b"x").await.unwrap();
    let error = put(&store, "file/below", b"x").await.unwrap_err();
    assert_eq!(
        (error.kind, error.to_string()),
        (StoreErrorKind::Io, "write file/below: file is not a directory".into())
    );
    store.make_directory(&path("dir/sub")).await.unwrap();
    assert!(put(&store, "dir", b"x").await.is_err());
    assert_eq!(listed(&store).await, ["dir/", "dir/sub/", "file"]);
}

#[tokio::test]
async fn any_of_the_times_can_be_told() {
    let temp = tempfile::tempdir().unwrap();
    let at: PathBuf = temp.path().join("f");
    fs::write(&at, b"x").unwrap();
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH).set_accessed(std::time::UNIX_EPOCH);
    fs::File::options().write(true).open(&at).unwrap().set_times(times).unwrap();
    for (time, at_zero) in [(FileTime::Modified, true), (FileTime::Accessed, true), (FileTime::Changed, false)] {
        let settings = LocalSettings { time, ..LocalSettings::new(temp.path()) };
        let store = LocalStore::open(settings, Arc::new(FileHasher::start(1).unwrap())).unwrap();
        let stat = store.stat(b"f").await.unwrap().mtime.unwrap();
        assert_eq!(stat == Timestamp::default(), at_zero, "{time:?}");
        assert_eq!(store.list(&|_| {}).await.unwrap().find(b"f").unwrap().mtime, Some(stat));
    }
}

#[tokio::test]
async fn digests_are_offered_unless_the_user_wants_none() {
    for offered in [true, false] {
        let (_temp, store) = store(|settings| settings.md5 = offered);
        put(&store, "f", b"content").await.unwrap();
        assert_eq!(store.features().md5, offered);
        assert_eq!(store.md5(b"f").await.unwrap(), offered.then(|| volsync_md5::md5(b"content")));
        assert_eq!(store.stat(b"f").await.unwrap().md5, None, "a stat reads no content");
    }
}

#[tokio::test]
async fn a_dropped_listing_stops_the_walk() {
    let (temp, store) = store(|_| {});
    for n in 0..3000 {
        fs::write(temp.path().join(n.to_string()), b"").unwrap();
    }
    let (told, mut first) = tokio::sync::mpsc::channel(100);
    let tell = move |entries| assert!(told.try_send(entries).is_ok());
    tokio::select! {
        biased;
        entries = first.recv() => assert!(entries.unwrap() >= 1000),
        listing = store.list(&tell) => assert_eq!(listing.unwrap().len(), 3000),
    }
    let counted = Mutex::new(0);
    store.list(&|entries| *counted.lock().unwrap() += entries).await.unwrap();
    assert_eq!(*counted.lock().unwrap(), 3000);
}
