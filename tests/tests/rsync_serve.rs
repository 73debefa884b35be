//! `mover-rsync serve`: a directory for clients over an sshd of its own.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use volsync_tests::peers;
use volsync_tests::process::{LIMIT, Outcome, Running, run};
use volsync_tests::rsync::{End, assert_same};
use volsync_tests::tree::Ignore;
use volsync_tests::volume::{Names, awkward, shell};

/// A directory that is served, beside one that is not.
struct Served {
    parent: TempDir,
    keys: TempDir,
    port: u16,
    user: &'static str,
    process: Running,
}

/// What everybody may read.
fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Served {
    fn start(more: &[&str]) -> Self {
        Self::start_as("root", |_| (), more)
    }

    /// `prepare` is given the directory.
    fn start_as(user: &'static str, prepare: impl Fn(&Path), more: &[&str]) -> Self {
        let (parent, keys) = (TempDir::with_prefix("serve-").unwrap(), TempDir::with_prefix("serve-").unwrap());
        let key = keys.path().join("user");
        let mut keygen = Command::new(peers::tool("ssh-keygen"));
        run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key)).success();
        for dir in [parent.path(), keys.path()] {
            open_to_all(dir);
        }
        let dir = parent.path().join("it's served");
        fs::create_dir(&dir).unwrap();
        fs::write(parent.path().join("secret"), "secret").unwrap();
        prepare(&dir);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // An account that this machine need not have.
        let passwd = keys.path().join("passwd");
        let accounts =
            "root:x:0:0::/root:/bin/sh\nsshd:x:74:74::/:/bin/false\nsomebody:x:4321:4321::/nonexistent:/bin/sh\n";
        fs::write(&passwd, accounts).unwrap();
        let id = if user == "root" { 0 } else { 4321 };
        let mut command = Command::new(peers::tool("unshare"));
        command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/passwd && exec \"$@\""]).arg(passwd);
        command.args(["setpriv", &format!("--reuid={id}"), &format!("--regid={id}"), "--clear-groups"]);
        command.arg(End::Ours.program()).arg("serve").arg(&dir).args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--authorized-key",
        ]);
        command.arg(fs::read_to_string(key.with_extension("pub")).unwrap().trim()).args(more);
        let served = Self { parent, keys, port, user, process: Running::start(&mut command) };
        let deadline = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            std::thread::yield_now();
        }
        served
    }

    fn dir(&self) -> PathBuf {
        self.parent.path().join("it's served")
    }

    /// What the greeting tells to type, with a key and without what an earlier server of this port left.
    fn ssh(&self) -> String {
        format!(
            "ssh -F none -p {} -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.port,
            self.keys.path().join("user").display()
        )
    }

    fn place(&self, path: &str) -> String {
        format!("{}@127.0.0.1:{path}", self.user)
    }

    fn client(&self, end: End, words: &[&str]) -> Outcome {
        let mut command = Command::new(end.program());
        let (first, rest) = words.split_first().unwrap();
        run(command.arg(first).args(["-e", &self.ssh()]).args(rest))
    }

    fn ask(&self, command: &str) -> Outcome {
        let ssh = self.ssh();
        let mut words = ssh.split(' ');
        let mut client = Command::new(words.next().unwrap());
        run(client.args(words).arg(self.place("").trim_end_matches(':')).args(command.split_whitespace()))
    }

    /// Ends it by a signal.
    fn end(self, signal: Signal) -> Outcome {
        self.process.signal(signal);
        let started = Instant::now();
        let outcome = self.process.wait(LIMIT).success();
        assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
        outcome
    }
}

fn contents(dir: &Path) -> String {
    format!("{}/", dir.display())
}

#[test]
fn stock_clients_and_ours_push_and_pull() {
    let source = TempDir::new().unwrap();
    awkward(source.path(), 51, Names::Upstream);
    let served = Served::start(&[]);
    for end in [End::Stock, End::Ours] {
        let from = contents(source.path());
        served.client(end, &["-aAXHS", "--delete", &from, &served.place(".")]).success();
        assert_same(source.path(), &served.dir(), Ignore::default());
        for there in [".", "./", "", "/"] {
            let copy = TempDir::new().unwrap();
            served.client(end, &["-aAXHS", &served.place(there), &contents(copy.path())]).success();
            assert_same(source.path(), copy.path(), Ignore::default());
        }
        served.client(end, &["-aAXHS", &from, &served.place("deeper/")]).success();
        assert_same(source.path(), &served.dir().join("deeper"), Ignore::default());
        let copy = TempDir::new().unwrap();
        served.client(end, &["-aAXHS", &served.place("deeper"), &contents(copy.path())]).success();
        assert_same(source.path(), &copy.path().join("deeper"), Ignore::default());
        served.client(end, &["-a", &served.place("deeper/page"), &format!("{}/page", copy.path().display())]).success();
        assert_eq!(fs::read(copy.path().join("page")).unwrap(), fs::read(source.path().join("page")).unwrap());
        for (path, there) in [("deeper/page", "deeper/page"), ("deeper/./page", "page"), ("/deeper/./d/", "d")] {
            let copy = TempDir::new().unwrap();
            served.client(end, &["-aR", &served.place(path), &contents(copy.path())]).success();
            assert!(copy.path().join(there).exists(), "{end:?} {path}");
        }
    }
    // The words of ours.
    let from = source.path().display().to_string();
    served.client(End::Ours, &["push", &from, &served.place(".")]).success();
    assert_same(source.path(), &served.dir(), Ignore::default());
    let copy = TempDir::new().unwrap();
    served.client(End::Ours, &["pull", &served.place("."), &copy.path().display().to_string()]).success();
    assert_same(source.path(), copy.path(), Ignore::default());
    let said = served.end(Signal::TERM).text();
    for expected in ["Serving /", "SHA256:", "rsync -aAXHS --delete -e 'ssh -p ", "mover-rsync pull -e 'ssh -p "] {
        assert!(said.contains(expected), "{expected:?} is missing: {said}");
    }
}

#[test]
fn nothing_outside_is_reached() {
    let served = Served::start(&[]);
    shell(&served.dir(), "ln -s ../secret link; ln -s .. up; mkdir real; echo in > real/in; ln -s /etc abs");
    for end in [End::Stock, End::Ours] {
        let copy = TempDir::new().unwrap();
        let to = contents(copy.path());
        for path in [
            "../secret",
            "..",
            "../",
            ".././secret",
            "real/../../secret",
            "up/secret",
            "up/",
            "up/./secret",
            "abs/passwd",
            "/etc/passwd",
            "/etc/./passwd",
            "abs/",
        ] {
            for options in ["-a", "-aR", "-aL"] {
                let outcome = served.client(end, &[options, &served.place(path), &to]);
                // A link to be sent with what leads there is sent as a link.
                assert!(outcome.code() != 0 || path.ends_with('/'), "{end:?} {options} {path}: {outcome}");
                let all = fs::read_dir(copy.path()).unwrap().map(Result::unwrap);
                let links = all.into_iter().all(|entry| entry.file_type().unwrap().is_symlink());
                assert!(links, "{end:?} {options} {path}: {outcome}");
            }
            let outcome = served.client(end, &["-a", "/etc/hostname", &served.place(path)]);
            assert!(outcome.code() != 0 || path.starts_with("/etc"), "{end:?} {path}: {outcome}");
        }
        shell(&served.dir(), "rm -rf etc");
        // Links themselves come, as links.
        served.client(end, &["-a", &served.place("link"), &to]).success();
        assert!(fs::symlink_metadata(copy.path().join("link")).unwrap().is_symlink());
        // A rule that names a file is a way to read it.
        for rule in [". /etc/passwd", ": ../secret", ":e /../secret"] {
            let _any = served.client(end, &["-a", "-f", rule, &served.place("real/"), &to]);
        }
        for option in ["--files-from=:/etc/passwd", "--files-from=:../secret"] {
            assert_ne!(served.client(end, &["-a", option, &served.place("."), &to]).code(), 0, "{end:?} {option}");
        }
        assert!(!copy.path().join("secret").exists());
    }
    for refused in ["id", "sh", "shutdown 0", "diskrsync --target x", "rsync --daemon", "rsync --server --daemon ."] {
        let outcome = served.ask(refused);
        assert_ne!(outcome.code(), 0, "{refused}: {outcome}");
    }
    assert!(served.ask("").exits(1).text().contains("There is no shell here"));
    assert_eq!(fs::read(served.parent.path().join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(served.parent.path()).unwrap().count(), 2);
    served.end(Signal::INT);
}

#[test]
fn what_is_only_read_stays_as_it_is() {
    let served = Served::start(&["--read-only"]);
    shell(&served.dir(), "echo kept > kept");
    let (source, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for end in [End::Stock, End::Ours] {
        let push = served.client(end, &["-a", "--delete", &contents(source.path()), &served.place(".")]);
        assert!(push.code() != 0 && push.text().contains("only be fetched"), "{push}");
        served.client(end, &["-a", &served.place("kept"), &contents(copy.path())]).success();
    }
    assert_eq!(fs::read(served.dir().join("kept")).unwrap(), b"kept\n");
    let said = served.end(Signal::TERM).text();
    assert!(!said.contains("push"), "{said}");
}

#[test]
fn somebody_without_rights_can_serve() {
    let served = Served::start_as("somebody", |dir| chown(dir, Some(4321), Some(4321)).unwrap(), &[]);
    let source = TempDir::new().unwrap();
    shell(source.path(), "mkdir d; echo x > d/f");
    for end in [End::Stock, End::Ours] {
        served.client(end, &["-rt", &contents(source.path()), &served.place(".")]).success();
        assert_eq!(fs::read(served.dir().join("d/f")).unwrap(), b"x\n");
    }
    served.end(Signal::TERM);
}

#[test]
fn a_signal_ends_transfers_too() {
    let served = Served::start(&[]);
    shell(&served.dir(), "truncate -s 2G large");
    let copy = TempDir::new().unwrap();
    let mut client = Command::new(End::Stock.program());
    client.args(["-a", "--bwlimit=1m", "-e", &served.ssh(), &served.place("large"), &contents(copy.path())]);
    let client = Running::start(&mut client);
    let deadline = Instant::now() + Duration::from_mins(1);
    while fs::read_dir(copy.path()).unwrap().count() == 0 {
        assert!(Instant::now() < deadline, "nothing comes");
        std::thread::yield_now();
    }
    served.end(Signal::TERM);
    assert_ne!(client.wait(Duration::from_secs(20)).code(), 0);
}

#[test]
fn a_host_key_is_kept_and_mistakes_are_told() {
    let keys = TempDir::new().unwrap();
    let key = keys.path().join("host").display().to_string();
    let fingerprint = || {
        let said = Served::start(&["--host-key", &key]).end(Signal::TERM).text();
        said.split("SHA256:").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(fingerprint(), fingerprint());
    let program = End::Ours.program();
    let ends = |words: &[&str], code: i32, why: &str| {
        let outcome = run(Command::new(&program).arg("serve").args(words)).exits(code);
        assert!(outcome.text().contains(why), "{outcome}");
    };
    let dir = keys.path().display().to_string();
    symlink("nowhere", keys.path().join("dangling")).unwrap();
    ends(&["/does/not/exist"], 3, "/does/not/exist");
    ends(&[&key], 3, "no directory");
    ends(&[&dir, "--authorized-key", &key], 3, "the public one is wanted");
    ends(&[&dir, "--authorized-key", "/does/not/exist"], 3, "/does/not/exist");
    ends(&[&dir, "--host-key", &format!("{key}.pub")], 3, "private key");
    ends(&[&dir, "--listen", "somewhere"], 1, "a port");
    ends(&[&dir, "--sshd", "/does/not/exist"], 5, "/does/not/exist");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    ends(&[&dir, "--listen", &format!("127.0.0.1:{}", taken.local_addr().unwrap().port())], 5, "sshd ended by itself");
    let help = run(Command::new(&program).args(["serve", "--help"])).success().text();
    assert!(help.contains("Exit codes:") && help.contains("--read-only"), "{help}");
}
