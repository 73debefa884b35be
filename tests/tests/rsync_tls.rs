//! VolSync's rsync-TLS movers: ours against each other, and each against what upstream runs, stunnel and rsync's daemon.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use volsync_tests::devices::Loop;
use volsync_tests::peers;
use volsync_tests::process::{LIMIT, Outcome, Running, run};
use volsync_tests::rsync::{End, NO_XATTRS, assert_same};
use volsync_tests::tree::{Entry, Ignore, Kind, Tree};
use volsync_tests::volume::{Names, Random, awkward, plain, shell};

/// As the operator makes it: 64 bytes in hexadecimal digits, no line feed.
const KEY: &str = "volsync:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\
                   00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A key, two volumes, and a place for each mover's files.
struct Pair {
    keys: TempDir,
    source: TempDir,
    destination: TempDir,
    tmp: [TempDir; 2],
    port: u16,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Pair {
    /// With volumes that are empty.
    fn new() -> Self {
        let [keys, source, destination, one, two] = std::array::from_fn(|_| TempDir::with_prefix("mover-").unwrap());
        fs::write(keys.path().join("psk.txt"), KEY).unwrap();
        Self { keys, source, destination, tmp: [one, two], port: free_port() }
    }

    /// With a source that has one of everything, and a destination with something to delete and a root of its own.
    fn awkward() -> Self {
        let pair = Self::new();
        awkward(pair.source.path(), 41, Names::All);
        shell(
            pair.destination.path(),
            "mkdir -p old/dir lost+found; echo x > old/dir/file; echo y > plain; chmod 2775 .",
        );
        pair
    }

    fn mover(&self, role: &str, volume: &Path, tmp: &Path) -> Command {
        let mut command = Command::new(End::Ours.program());
        command.arg(role).arg("--data").arg(volume).arg("--keys").arg(self.keys.path()).arg("--tmp").arg(tmp);
        command
    }

    fn destination(&self) -> Command {
        let mut command = self.mover("tls-destination", self.destination.path(), self.tmp[1].path());
        command.arg("--port").arg(self.port.to_string());
        command
    }

    fn start_destination(&self) -> Running {
        let destination = Running::start(&mut self.destination());
        listens(self.port);
        destination
    }

    fn source(&self) -> Command {
        let mut command = self.mover("tls-source", self.source.path(), self.tmp[0].path());
        command.env("DESTINATION_ADDRESS", "127.0.0.1").env("DESTINATION_PORT", self.port.to_string());
        command
    }

    /// Everything is there as it was, but extended attributes and `lost+found`; the root has kept its own attributes.
    #[track_caller]
    fn assert_synchronized(&self) {
        let root = fs::metadata(self.destination.path()).unwrap();
        assert_eq!(root.permissions().mode() & 0o7777, 0o2775);
        assert!(self.destination.path().join("lost+found").is_dir() && !self.destination.path().join("old").exists());
        let kept = |dir: &TempDir| Tree::of(dir.path()).filter(|path, _| path != b"." && !is_lost(path));
        kept(&self.source).assert_same(&kept(&self.destination), NO_XATTRS);
    }
}

fn is_lost(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').any(|name| name == b"lost+found")
}

/// Waits until somebody listens there.
fn listens(port: u16) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on {port}");
        std::thread::yield_now();
    }
}

/// Waits until a file has these words.
fn says(file: &Path, words: &str) -> String {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.contains(words) {
            return text;
        }
        assert!(Instant::now() < deadline, "{words:?} does not appear in:\n{text}");
        std::thread::yield_now();
    }
}

/// The same, with words in front, and what it says in a file that can be read meanwhile.
fn logged(before: &[&str], command: &Command, log: &Path) -> Command {
    let mut script = Command::new("sh");
    script.args(["-c", &format!("exec \"$@\" > {} 2>&1", log.display()), "sh"]).args(before);
    script.arg(command.get_program()).args(command.get_args());
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script
}

#[test]
fn a_volume_goes_over_and_both_sides_end() {
    let pair = Pair::awkward();
    // The source comes first: it waits for the destination.
    let source = Running::start(&mut pair.source());
    let destination = Running::start(&mut pair.destination());
    let source = source.wait(LIMIT).success();
    let destination = destination.wait(LIMIT).success();
    pair.assert_synchronized();
    let text = source.text();
    for expected in [
        format!("Source PVC volumeMode is filesystem\nSyncing data to 127.0.0.1:{} ...\n", pair.port),
        "\ncL+++++++++ link-out -> /etc/passwd\n".into(),
        "\ntotal size is ".into(),
        "\nSymlinks were created or modified, sending symlink munging file to destination...\n".into(),
        "\nrsync completed in ".into(),
        "s\nSending shutdown to remote...\n".into(),
        "\n...done\n".into(),
    ] {
        assert!(text.contains(&expected), "{expected:?} is missing: {source}");
    }
    let text = destination.text();
    for expected in [
        "Destination PVC volumeMode is filesystem\nWaiting for control file to be created (",
        " bytes  total size ",
        "\nShutting down...\n",
        "\nSync complete, exiting.\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing: {destination}");
    }
}

#[test]
fn a_second_time_nothing_travels() {
    let pair = Pair::awkward();
    for time in 0..2 {
        let destination = pair.start_destination();
        let source = run(&mut pair.source()).success();
        destination.wait(LIMIT).success();
        let still = !source.text().contains("+++++++++") && source.text().contains("regular files transferred: 0");
        assert_eq!(still, time == 1, "{source}");
    }
    pair.assert_synchronized();
}

#[test]
fn an_empty_source_is_refused_or_if_told_empties_the_destination_as_with_upstream() {
    let pair = Pair::new();
    shell(pair.destination.path(), "mkdir d lost+found; touch d/f");
    let destination = pair.start_destination();
    let refused = run(&mut pair.source()).exits(3);
    assert!(refused.text().contains("VOLSYNC_ALLOW_EMPTY_SOURCE"), "{refused}");
    assert!(pair.destination.path().join("d/f").exists());
    let source = run(pair.source().env("VOLSYNC_ALLOW_EMPTY_SOURCE", "1")).success();
    destination.wait(LIMIT).success();
    assert!(source.text().contains("Skipping sync of empty source directory"), "{source}");
    assert_eq!(Tree::of(pair.destination.path()).0.len(), 2, "the root and lost+found");
}

/// The sizes of the lists of both passes.
fn list_sizes(source: &Outcome) -> Vec<u64> {
    let text = source.text();
    let sizes = text.lines().filter_map(|line| line.strip_prefix("File list size: "));
    let bytes = |size: &str| match size.strip_suffix('K').map(|size| size.split_once('.')) {
        Some(Some((thousands, _))) => format!("{thousands}000"),
        _ => size.replace(',', ""),
    };
    sizes.map(|size| bytes(size).parse().unwrap()).collect()
}

#[test]
fn two_ends_of_ours_list_only_what_differs_and_a_stock_one_never_notices() {
    for ours in [true, false] {
        let pair = Pair::new();
        plain(pair.source.path(), 43, 300, 10, 0..200);
        shell(pair.source.path(), "find . -print0 | xargs -0 touch -d @1400000000");
        let mut upstream = None;
        let mut round = |change: &str| {
            shell(pair.source.path(), change);
            shell(pair.destination.path(), "mkdir -p lost+found surplus; chmod 2775 .");
            let destination = if ours { Some(pair.start_destination()) } else { None };
            if !ours {
                upstream.get_or_insert_with(|| upstream_destination(&pair));
            }
            let source = run(&mut pair.source()).success();
            destination.map(|destination| destination.wait(LIMIT).success());
            let kept = |dir: &TempDir| Tree::of(dir.path()).filter(|path, _| path != b"." && path != b"lost+found");
            kept(&pair.source).assert_same(&kept(&pair.destination), NO_XATTRS);
            list_sizes(&source)
        };
        let first = round("true");
        let again = round("true");
        let changed = round("echo changed > d3/f3");
        // A name takes at least four bytes. The root has something else in it.
        assert!(first[0] > 300 * 4 && (again[0] < 300) == ours, "{first:?} {again:?} {changed:?}");
        assert!((changed[0] < first[0] / 5) == ours, "{first:?} {changed:?}");
    }
}

fn attributes(file: &Path) -> String {
    let getfattr = Command::new(peers::tool("getfattr")).args(["-d", "-m", "-", "--absolute-names"]).arg(file).output();
    String::from_utf8(getfattr.unwrap().stdout).unwrap()
}

#[test]
fn between_ours_attributes_of_users_travel_and_only_the_roots_lost_and_found_stays() {
    let pair = Pair::new();
    shell(
        pair.source.path(),
        "mkdir -p lost+found sub/lost+found; touch lost+found/here sub/lost+found/too file
         setfattr -n user.x -v 1 file; setfattr -n trusted.x -v 2 file; setfattr -n user.y -v 3 sub
         setfattr -n user.root -v 4 .; cp /bin/true tool; setcap cap_net_raw+p tool",
    );
    shell(
        pair.destination.path(),
        "mkdir -p lost+found sub/lost+found; touch lost+found/there sub/lost+found/old surplus; touch -d @7 sub/lost+found",
    );
    let push = |wishes: &[(&str, &str)]| {
        let destination = pair.start_destination();
        let source = run(pair.source().envs(wishes.iter().copied())).success();
        destination.wait(LIMIT).success();
        source
    };
    push(&[]);
    let at = |path: &str| pair.destination.path().join(path);
    assert!(at("lost+found/there").exists() && !at("lost+found/here").exists() && !at("surplus").exists());
    assert!(at("sub/lost+found/too").exists() && !at("sub/lost+found/old").exists());
    assert!(attributes(&at("file")).contains("user.x=\"1\"") && attributes(&at("sub")).contains("user.y=\"3\""));
    assert!(!attributes(&at("file")).contains("trusted") && !attributes(&at("tool")).contains("security"));
    assert!(!attributes(&at(".")).contains("user.root"), "the root keeps its own");
    let modified = |dir: &Path| dir.join("sub/lost+found").metadata().unwrap().modified().unwrap();
    assert_eq!(modified(pair.destination.path()), modified(pair.source.path()), "also where something was deleted");
    let again = push(&[]);
    assert!(list_sizes(&again)[0] < 100, "{again}");
    push(&[("VOLSYNC_FILE_CAPABILITIES", "1")]);
    assert!(attributes(&at("tool")).contains("security.capability"));
}

const SOMEBODY: [&str; 4] = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"];

#[test]
fn what_somebody_may_not_set_is_summed_up_for_the_source() {
    let pair = Pair::new();
    shell(pair.source.path(), "for n in $(seq 9); do echo $n > f$n; done; chown 7:8 f*; mknod null c 1 3");
    for dir in [&pair.keys, &pair.destination, &pair.tmp[1]] {
        shell(dir.path(), "chown -R 1234:1234 .");
    }
    for time in 0..2 {
        let log = pair.tmp[1].path().join(format!("log{time}"));
        let destination = Running::start(&mut logged(&SOMEBODY, &pair.destination(), &log));
        listens(pair.port);
        let source = run(&mut pair.source()).success();
        destination.wait(LIMIT).success();
        let line = "rsync: not set, for want of privilege: ";
        let told = source.text().contains(line) && says(&log, line).contains("owner and group");
        // What is as far as it gets is not looked at again.
        assert_eq!(told, time == 0, "{source}");
        assert_eq!(fs::read(pair.destination.path().join("f9")).unwrap(), b"9\n");
    }
    assert!(!pair.destination.path().join("null").exists());
}

#[test]
fn what_cannot_be_read_stops_deletions_whoever_the_other_end_is() {
    for ours in [true, false] {
        let pair = Pair::new();
        shell(pair.source.path(), "mkdir closed; touch closed/file open; chown -R 1234:1234 .; chmod 0 closed");
        shell(pair.destination.path(), "mkdir closed; touch surplus closed/file closed/old");
        for dir in [&pair.keys, &pair.tmp[0]] {
            shell(dir.path(), "chown -R 1234:1234 .");
        }
        let (mut destination, mut upstream) = (None, None);
        if ours {
            destination = Some(pair.start_destination());
        } else {
            upstream = Some(upstream_destination(&pair));
        }
        let log = pair.tmp[0].path().join("log");
        let source = Running::start(&mut logged(&SOMEBODY, &pair.source(), &log));
        let text = says(&log, "Retry 1/5.");
        assert!(text.contains("nothing is deleted at the destination"), "{text}");
        let at = |path: &str| pair.destination.path().join(path).exists();
        assert!(at("open") && at("surplus") && at("closed/old"), "{text}");
        // What can be read again is brought over, and the rest deleted.
        shell(pair.source.path(), "chmod 755 closed");
        source.wait(LIMIT).success();
        assert!(at("closed/file") && !at("surplus") && !at("closed/old"));
        drop(upstream);
        destination.map(|destination| destination.wait(LIMIT).success());
    }
}

/// stunnel with a service, in the foreground; upstream's options but for those about logs.
fn stunnel(dir: &Path, service: &str) -> Running {
    let config = dir.join("stunnel.conf");
    let text = format!(
        "foreground = yes\noutput = {}\npid =\nsyslog = no\nsocket = l:SO_KEEPALIVE=1\nsocket = r:SO_KEEPALIVE=1\n{service}",
        dir.join("stunnel.log").display()
    );
    fs::write(&config, text).unwrap();
    Running::start(Command::new(peers::tool("stunnel")).arg(config))
}

/// What upstream's destination runs: stunnel that starts rsync's daemon for each connection.
fn upstream_destination(pair: &Pair) -> (Running, PathBuf) {
    let dir = pair.tmp[1].path();
    let control = dir.join("control");
    fs::create_dir(&control).unwrap();
    let daemon = format!(
        "log file = {log}\nmax verbosity = 10\nuse chroot = false\nnumeric ids = true\nmunge symlinks = true\n\
         open noatime = true\nreverse lookup = false\ntransfer logging = true\nread only = false\nuid = 0\ngid = *\n\
         [data]\npath = {data}\n[control]\npath = {control}\n",
        log = dir.join("rsyncd.log").display(),
        data = pair.destination.path().display(),
        control = control.display(),
    );
    let config = dir.join("rsyncd.conf");
    fs::write(&config, daemon).unwrap();
    let service = format!(
        "[rsync]\nciphers = kPSK\nPSKsecrets = {}\nsslVersionMin = TLSv1.3\naccept = 127.0.0.1:{}\nclient = no\n\
         exec = {}\nexecargs = rsync --server --daemon --config={} .\n",
        pair.keys.path().join("psk.txt").display(),
        pair.port,
        peers::tool("rsync").display(),
        config.display()
    );
    let running = stunnel(dir, &service);
    listens(pair.port);
    (running, control)
}

/// What upstream's destination does with links when all is done.
fn unmunge(pair: &Pair, control: &Path) {
    let links = fs::read(control.join("symlink-munging-file")).unwrap();
    for link in links.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let link = pair.destination.path().join(std::ffi::OsStr::from_bytes(link));
        let mut script = Command::new("/usr/share/rsync/scripts/munge-symlinks");
        run(script.arg("--unmunge").arg(&link)).success();
    }
}

#[test]
fn our_source_finds_upstreams_destination_as_its_own() {
    let pair = Pair::awkward();
    shell(pair.source.path(), "ln -s ../../up 'hollow/inner/new\nline'; ln -s x 'hollow/inner/ -> '");
    let (_stunnel, control) = upstream_destination(&pair);
    let source = run(&mut pair.source()).success();
    assert!(control.join("complete").exists(), "{source}");
    let munged = |entry: &Entry| matches!(&entry.kind, Kind::Symlink(to) if to.starts_with(b"/rsyncd-munged/"));
    let links = Tree::of(pair.destination.path()).filter(|_, entry| munged(entry));
    assert_eq!(links.0.len(), 6);
    unmunge(&pair, &control);
    // Its links are made anew afterwards, with a time of their own.
    shell(pair.destination.path(), "find . -type l -exec touch -h -d @5 {} +");
    shell(pair.source.path(), "find . -type l -exec touch -h -d @5 {} +");
    let ignore = Ignore { directory_times: true, ..NO_XATTRS };
    let kept = |dir: &TempDir| Tree::of(dir.path()).filter(|path, _| path != b"." && !is_lost(path));
    kept(&pair.source).assert_same(&kept(&pair.destination), ignore);
}

/// What upstream's source runs: two passes through stunnel, then the file that ends the destination.
fn upstream_source(pair: &Pair) {
    let dir = pair.tmp[0].path();
    let local = free_port();
    let service = format!(
        "[rsync]\nciphers = PSK\nPSKsecrets = {}\naccept = 127.0.0.1:{local}\nclient = yes\nconnect = 127.0.0.1:{}\n",
        pair.keys.path().join("psk.txt").display(),
        pair.port
    );
    let _stunnel = stunnel(dir, &service);
    listens(local);
    let list = dir.join("list");
    let find = format!("find . -mindepth 1 -maxdepth 1 -printf '/%P\\n' > {}", list.display());
    shell(pair.source.path(), &find);
    let rsync = |options: &str, from: &str, to: &str| {
        let mut rsync = Command::new(peers::tool("rsync"));
        rsync.args(options.split_whitespace()).arg(from).arg(format!("rsync://127.0.0.1:{local}/{to}"));
        run(&mut rsync).success()
    };
    let from = format!("{}/", pair.source.path().display());
    let copies = format!(
        "-aAhHSxz -r --exclude=lost+found --itemize-changes --info=stats2,misc2 --files-from={}",
        list.display()
    );
    rsync(&copies, &from, "data");
    let deletes = "-rx --exclude=lost+found --ignore-existing --ignore-non-existing --delete --itemize-changes \
                   --info=stats2,misc2";
    let outcome = rsync(deletes, &from, "data");
    assert!(outcome.text().contains("*deleting   old/"), "{outcome}");
    rsync("", &list.display().to_string(), "control/symlink-munging-file");
    rsync("", &list.display().to_string(), "control/complete");
}

#[test]
fn upstreams_source_finds_our_destination_as_its_own() {
    let pair = Pair::awkward();
    // Upstream's list of names in the root cannot have these.
    shell(pair.source.path(), "find . -maxdepth 1 -name '*[\n\r]*' -exec rm -rf {} +");
    let destination = pair.start_destination();
    upstream_source(&pair);
    destination.wait(LIMIT).success();
    pair.assert_synchronized();
}

#[test]
fn without_a_key_an_address_or_a_volume_it_says_so_as_upstream() {
    let pair = Pair::new();
    let psk = pair.keys.path().join("psk.txt");
    let mut nowhere = pair.source();
    let outcome = run(nowhere.env_remove("DESTINATION_ADDRESS")).exits(1);
    assert!(outcome.text().contains("Remote host address must be provided in DESTINATION_ADDRESS\n"), "{outcome}");
    let none = Path::new("/does/not/exist");
    let mut lost = [pair.mover("tls-source", none, pair.tmp[0].path()), pair.mover("tls-destination", none, none)];
    let outcome = run(lost[0].env("DESTINATION_ADDRESS", "x")).exits(1);
    assert!(outcome.text().contains("ERROR: source location not found\n"), "{outcome}");
    let outcome = run(&mut lost[1]).exits(1);
    assert!(outcome.text().contains("ERROR: target location not found\n"), "{outcome}");
    for (text, words) in [(Some("volsync:short"), "is shorter than 16 bytes"), (None, "Pre-shared key not found - ")] {
        match text {
            Some(text) => fs::write(&psk, text).unwrap(),
            None => fs::remove_file(&psk).unwrap(),
        }
        for mut mover in [pair.source(), pair.destination()] {
            let outcome = run(&mut mover).exits(1);
            let text = outcome.text();
            assert!(text.contains(&format!("{}", psk.display())) && text.contains(words), "{outcome}");
            assert!(!text.contains("volsync:short"), "the key is told: {outcome}");
        }
    }
}

#[test]
fn another_key_opens_nothing() {
    let (pair, other) = (Pair::awkward(), Pair::new());
    fs::write(other.keys.path().join("psk.txt"), KEY.replace("00112233", "00112234")).unwrap();
    let log = pair.tmp[0].path().join("log");
    let destination = pair.start_destination();
    // It would try five times, for a minute.
    let mut source = other.mover("tls-source", pair.source.path(), pair.tmp[0].path());
    source.env("DESTINATION_ADDRESS", "localhost").env("DESTINATION_PORT", pair.port.to_string());
    let source = Running::start(&mut logged(&[], &source, &log));
    let text = says(&log, "Syncronization failed. Retrying in 2 seconds. Retry 1/5.");
    assert!(text.contains("the TLS handshake failed ("), "{text}");
    source.signal(rustix::process::Signal::TERM);
    source.wait(LIMIT).exits(143);
    assert_eq!(fs::read(pair.destination.path().join("plain")).unwrap(), b"y\n");
    // The right one still does.
    run(&mut pair.source()).success();
    let destination = destination.wait(LIMIT).success();
    assert!(destination.text().contains("both sides need the same key"), "{destination}");
    pair.assert_synchronized();
}

#[test]
fn probes_garbage_and_idle_connections_are_in_nobodys_way() {
    let pair = Pair::awkward();
    let destination = pair.start_destination();
    let connect = || TcpStream::connect(("127.0.0.1", pair.port)).unwrap();
    let idle: Vec<_> = (0..20).map(|_| connect()).collect();
    for said in [&b""[..], b"GET /healthz HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"@RSYNCD: 32.0\ndata\n"]
    {
        connect().write_all(said).unwrap();
    }
    run(&mut pair.source()).success();
    let ended = Instant::now();
    destination.wait(LIMIT).success();
    assert!(ended.elapsed() < Duration::from_secs(20), "idle connections held it up");
    drop(idle);
    pair.assert_synchronized();
}

/// Passes connections on to `port`; the first one is cut when so many bytes came from the client.
fn cutting(port: u16, after: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _cut = io::copy(&mut back_from, &mut back_to);
                let _gone = back_to.shutdown(Shutdown::Write);
            });
            let limit = if number == 0 { after as u64 } else { u64::MAX };
            std::thread::spawn(move || {
                let _cut = io::copy(&mut Read::by_ref(&mut client).take(limit), &mut server);
                let how = if limit == u64::MAX { Shutdown::Write } else { Shutdown::Both };
                for stream in [&client, &server] {
                    let _gone = stream.shutdown(how);
                }
            });
        }
    });
    own
}

#[test]
fn a_connection_that_is_cut_is_made_good_by_the_next_try() {
    for after in [100, 3_000, 4_000_000] {
        let pair = Pair::awkward();
        plain(pair.source.path(), 5, 40, 3, 0..9_000);
        let destination = pair.start_destination();
        let port = cutting(pair.port, after).to_string();
        let source = run(pair.source().env("DESTINATION_PORT", port)).success();
        destination.wait(LIMIT).success();
        assert!(source.text().contains("Retry 1/5."), "nothing was cut after {after} bytes: {source}");
        pair.assert_synchronized();
    }
}

/// A mover as the operator starts it in a namespace without privileges.
fn unprivileged(mover: &Command) -> Command {
    let mut command = Command::new(peers::tool("setpriv"));
    command.args(["--reuid=1234", "--regid=1234", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
    command.args(["--no-new-privs"]).arg(mover.get_program()).args(mover.get_args());
    command.envs(mover.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PRIVILEGED_MOVER", "0");
    command
}

fn give(dir: &Path) {
    shell(dir, "chown -Rh 1234:1234 .");
}

#[test]
fn any_user_may_be_a_mover_without_capabilities() {
    let pair = Pair::new();
    plain(pair.source.path(), 9, 60, 5, 0..40_000);
    shell(pair.source.path(), "ln d1/f1 hard; ln -s x link; mkfifo fifo; touch -h -d @999 link d* .");
    for dir in [&pair.source, &pair.destination, &pair.tmp[0], &pair.tmp[1], &pair.keys] {
        give(dir.path());
    }
    // Of others, and readable.
    shell(pair.source.path(), "chown 0:0 d2/f2; chown 1000:1000 d3/f3");
    let destination = Running::start(&mut unprivileged(&pair.destination()));
    listens(pair.port);
    run(&mut unprivileged(&pair.source())).success();
    destination.wait(LIMIT).success();
    shell(pair.source.path(), "chown 1234:1234 d2/f2 d3/f3; touch -d @1 .");
    shell(pair.destination.path(), "touch -d @1 .");
    assert_same(pair.source.path(), pair.destination.path(), Ignore::default());
}

#[test]
fn what_the_destination_cannot_do_is_told_to_the_client() {
    let pair = Pair::new();
    plain(pair.source.path(), 9, 6, 2, 1..100);
    give(pair.destination.path());
    give(pair.tmp[1].path());
    shell(pair.destination.path(), "mkdir d1; touch d1/f1");
    give(pair.keys.path());
    let destination = Running::start(&mut unprivileged(&pair.destination()));
    listens(pair.port);
    let local = free_port();
    let service = format!(
        "[rsync]\nciphers = PSK\nPSKsecrets = {}\naccept = 127.0.0.1:{local}\nclient = yes\nconnect = 127.0.0.1:{}\n",
        pair.keys.path().join("psk.txt").display(),
        pair.port
    );
    let _stunnel = stunnel(pair.tmp[0].path(), &service);
    listens(local);
    let rsync = |options: &str, module: &str| {
        let from = format!("{}/", pair.source.path().display());
        let to = format!("rsync://127.0.0.1:{local}/{module}");
        let outcome = run(Command::new(peers::tool("rsync")).args(options.split(' ')).args([from, to]));
        let text = outcome.text();
        (outcome, text)
    };
    let told = |code: i32, words: &str, (outcome, text): (Outcome, String)| {
        assert!(outcome.code() == code && text.contains(words), "{outcome}");
    };
    // Some files.
    told(23, "Permission denied", rsync("-r", "data"));
    assert!(pair.destination.path().join("d0/f0").exists());
    // The whole session, before and after its beginning.
    told(5, "Unknown module 'nothing'", rsync("-r", "nothing"));
    told(4, "the option --append is not supported by mover-rsync", rsync("-r --append", "data"));
    told(3, "cannot use the destination ../outside", rsync("-r", "data/../outside"));
    destination.signal(rustix::process::Signal::TERM);
    destination.wait(LIMIT).exits(143);
}

#[test]
fn the_destination_ends_on_a_signal_also_in_the_middle() {
    let pair = Pair::new();
    let destination = pair.start_destination();
    let _idle = TcpStream::connect(("127.0.0.1", pair.port)).unwrap();
    destination.signal(rustix::process::Signal::TERM);
    let started = Instant::now();
    let outcome = destination.wait(LIMIT).exits(143);
    assert!(started.elapsed() < Duration::from_secs(10), "{outcome}");
}

#[test]
fn a_person_can_look_around_instead() {
    let pair = Pair::awkward();
    let flag = pair.tmp[1].path().join("exit-debug-if-removed");
    let destination = Running::start(pair.destination().env("DEBUG_MOVER", "1"));
    let deadline = Instant::now() + Duration::from_mins(1);
    while fs::remove_file(&flag).is_err() {
        assert!(Instant::now() < deadline, "{} does not appear", flag.display());
        std::thread::yield_now();
    }
    destination.wait(LIMIT).success();
}

/// A volume of 24 MiB of which little is zeros, and what it was before.
fn contents() -> [Vec<u8>; 2] {
    let mut new = Random::new(3).bytes(24 << 20);
    let mut old = new.clone();
    old[5 << 20..(5 << 20) + 9000].fill(1);
    new[17 << 20..20 << 20].fill(0);
    [old, new]
}

impl Pair {
    fn block(&self, role: &str, device: &Path, tmp: &Path) -> Command {
        // As in an image, there is a directory to mount over, too.
        let mut command = self.mover(role, tmp, tmp);
        command.arg("--block").arg(device);
        command
    }

    fn block_destination(&self, device: &Path) -> Running {
        let mut destination = self.block("tls-destination", device, self.tmp[1].path());
        let destination = Running::start(destination.arg("--port").arg(self.port.to_string()));
        listens(self.port);
        destination
    }

    fn block_source(&self, device: &Path, port: u16) -> Command {
        let mut source = self.block("tls-source", device, self.tmp[0].path());
        source.env("DESTINATION_ADDRESS", "127.0.0.1").env("DESTINATION_PORT", port.to_string());
        source
    }
}

#[test]
fn a_device_goes_over_also_when_the_connection_is_cut() {
    let [old, new] = contents();
    for cut in [None, Some(200_000)] {
        let pair = Pair::new();
        let [from, to] = [Loop::of(&new), Loop::of(&old)];
        let destination = pair.block_destination(to.path());
        let port = cut.map_or(pair.port, |after| cutting(pair.port, after));
        let source = run(&mut pair.block_source(from.path(), port)).success();
        let destination = destination.wait(LIMIT).success();
        assert!(to.content() == new, "{source}");
        for expected in ["Source PVC volumeMode is block\n", "\nsent ", "\ndiskrsync completed in "] {
            assert!(source.text().contains(expected), "{expected:?} is missing: {source}");
        }
        assert_eq!(source.text().contains("Retry 1/5."), cut.is_some(), "{source}");
        assert!(destination.text().contains("Destination PVC volumeMode is block\n"), "{destination}");
        assert!(destination.text().contains("\nSync complete, exiting.\n"), "{destination}");
    }
}

/// A device that cannot be written to; the kernel keeps that beyond the life of a loop device, so that it must be undone.
struct ReadOnly<'a>(&'a Path);

impl<'a> ReadOnly<'a> {
    fn new(device: &'a Path) -> Self {
        run(Command::new(peers::tool("blockdev")).arg("--setro").arg(device)).success();
        Self(device)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        let _failed_already = Command::new(peers::tool("blockdev")).arg("--setrw").arg(self.0).status();
    }
}

#[test]
fn a_target_that_fails_is_no_success_for_our_source() {
    let [old, new] = contents();
    let pair = Pair::new();
    let [from, to] = [Loop::of(&new), Loop::of(&old)];
    let _read_only = ReadOnly::new(to.path());
    let destination = pair.block_destination(to.path());
    let log = pair.tmp[0].path().join("log");
    let source = Running::start(&mut logged(&[], &pair.block_source(from.path(), pair.port), &log));
    let text = says(&log, "Retry 1/5.");
    assert!(text.contains("diskrsync error: "), "{text}");
    source.signal(rustix::process::Signal::TERM);
    source.wait(LIMIT).exits(143);
    destination.signal(rustix::process::Signal::TERM);
    destination.wait(LIMIT).exits(143);
    assert!(to.content() == old);
}

#[test]
fn stock_diskrsync_behind_stunnel_is_at_home_at_either_end() {
    let [old, new] = contents();
    let key = |pair: &Pair| pair.keys.path().join("psk.txt").display().to_string();
    // Upstream's destination.
    let pair = Pair::new();
    let [from, to] = [Loop::of(&new), Loop::of(&old)];
    let service = format!(
        "[diskrsync]\nciphers = kPSK\nPSKsecrets = {}\nsslVersionMin = TLSv1.3\naccept = 127.0.0.1:{}\nclient = no\n\
         exec = {}\nexecargs = diskrsync --target --no-compress {}\n",
        key(&pair),
        pair.port,
        peers::diskrsync().display(),
        to.path().display()
    );
    let _stunnel = stunnel(pair.tmp[1].path(), &service);
    listens(pair.port);
    let source = run(&mut pair.block_source(from.path(), pair.port)).success();
    assert!(to.content() == new, "{source}");
    // Upstream's source.
    let pair = Pair::new();
    let to = Loop::of(&old);
    let destination = pair.block_destination(to.path());
    let config = pair.tmp[0].path().join("stunnel.conf");
    let service = format!(
        "foreground = quiet\nsyslog = no\npid =\nciphers = PSK\nPSKsecrets = {}\nclient = yes\nconnect = 127.0.0.1:{}\n",
        key(&pair),
        pair.port
    );
    fs::write(&config, service).unwrap();
    let script = format!(
        "mkfifo back; {} --source {} < back | {} {} > back",
        peers::diskrsync().display(),
        from.path().display(),
        peers::tool("stunnel").display(),
        config.display()
    );
    shell(pair.tmp[0].path(), &script);
    let destination = destination.wait(LIMIT).success();
    assert!(to.content() == new, "{destination}");
}

/// rsync's daemon without TLS, for whoever wants it on a command line.
fn daemon(root: &Path, module: &Path, port: u16) -> Running {
    let config = root.join("plain.conf");
    let text = format!(
        "motd file = {root}/welcome\nuse chroot = true\nread only = false\nuid = 0\ngid = *\n[files]\npath = {module}\n\
         comment = Some files\n[guarded]\npath = {module}\nauth users = somebody\nsecrets file = {root}/secrets\n\
         [hidden]\npath = /tmp\nlist = no\n",
        root = root.display(),
        module = module.display()
    );
    fs::write(root.join("welcome"), "Welcome!\n").unwrap();
    fs::write(root.join("secrets"), "somebody:open sesame\n").unwrap();
    fs::set_permissions(root.join("secrets"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&config, text).unwrap();
    let mut rsync = Command::new(peers::tool("rsync"));
    rsync.args(["--daemon", "--no-detach", "--address=127.0.0.1"]).arg(format!("--port={port}"));
    let running = Running::start(rsync.arg(format!("--config={}", config.display())));
    listens(port);
    running
}

#[test]
fn a_daemon_of_rsync_is_a_place_like_any_other() {
    let [source, module, back, tmp] = std::array::from_fn(|_| TempDir::new().unwrap());
    awkward(source.path(), 51, Names::All);
    let port = free_port();
    let _daemon = daemon(tmp.path(), module.path(), port);
    let ours = |args: &[&str]| {
        let mut command = Command::new(End::Ours.program());
        run(command.args(["-aHAX", "--delete"]).args(args))
    };
    let [from, to] = [source.path(), back.path()].map(|dir| format!("{}/", dir.display()));
    ours(&["-z", &from, &format!("rsync://127.0.0.1:{port}/files")]).success();
    assert_same(source.path(), module.path(), Ignore::default());
    ours(&[&format!("--port={port}"), "somebody@127.0.0.1::files/", &to]).success();
    assert_same(source.path(), back.path(), Ignore::default());
    for (place, code, words) in [("nothing", 5, "Unknown module 'nothing'"), ("guarded", 5, "it wants a password")] {
        let outcome = ours(&["-n", &from, &format!("rsync://127.0.0.1:{port}/{place}")]);
        assert!(outcome.code() == code && outcome.text().contains(words), "{outcome}");
    }
    let closed = free_port();
    let outcome = ours(&[&from, &format!("rsync://127.0.0.1:{closed}/files")]).exits(10);
    assert!(outcome.text().contains("cannot connect to 127.0.0.1 port"), "{outcome}");
}

#[test]
fn a_daemon_tells_its_modules_and_takes_passwords_as_from_the_real_one() {
    let [source, module, tmp] = std::array::from_fn(|_| TempDir::new().unwrap());
    plain(source.path(), 3, 5, 2, 0..100);
    let port = free_port();
    let _daemon = daemon(tmp.path(), module.path(), port);
    let place = |path: &str| format!("rsync://127.0.0.1:{port}/{path}");
    for words in [vec![place("")], vec!["--no-motd".into(), place("")], vec![place(""), "/tmp/x".into()]] {
        let [expected, found] =
            [End::Stock, End::Ours].map(|end| run(Command::new(end.program()).args(&words)).success());
        assert_eq!(String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&expected.stdout), "{words:?}");
    }
    // Some are of the same second.
    let ignore = Ignore { directory_times: true, ..Ignore::default() };
    let from = format!("{}/", source.path().display());
    let guarded = place("guarded/").replace("127", "somebody@127");
    let push = |words: &[&str], place: &str, password: Option<&str>| {
        let mut command = Command::new(End::Ours.program());
        command.arg("-a").args(words).arg(&from).arg(place).env_remove("RSYNC_PASSWORD").env("USER", "nobody");
        run(command.envs(password.map(|password| ("RSYNC_PASSWORD", password))))
    };
    let refused = |outcome: Outcome, code: i32, words: &str| {
        let right = outcome.code() == code && outcome.text().contains(words);
        assert!(right && !outcome.text().contains("sesame"), "{outcome}");
        assert_eq!(fs::read_dir(module.path()).unwrap().count(), 0);
    };
    refused(push(&[], &guarded, None), 5, "RSYNC_PASSWORD");
    refused(push(&[], &guarded, Some("sesame close")), 5, "auth failed");
    refused(push(&[], &place("guarded/"), Some("open sesame")), 5, "auth failed");
    let file = tmp.path().join("password");
    fs::write(&file, "open sesame\nand more\n").unwrap();
    let option = format!("--password-file={}", file.display());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    refused(push(&[&option], &guarded, None), 1, "others may read");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    push(&[&option], &guarded, None).success();
    assert_same(source.path(), module.path(), ignore);
    shell(source.path(), "touch new");
    push(&[], &guarded, Some("open sesame")).success();
    assert_same(source.path(), module.path(), ignore);
}
