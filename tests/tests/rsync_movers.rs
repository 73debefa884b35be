//! VolSync's rsync movers: our source and destination against each other, and each against what upstream runs.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use volsync_tests::peers;
use volsync_tests::process::{LIMIT, Outcome, Running, run};
use volsync_tests::rsync::{End, NO_XATTRS, VOLSYNC, assert_same};
use volsync_tests::volume::{Names, awkward, shell};

/// Keys as the operator makes them, two volumes, and a place for each mover's files.
struct Pair {
    keys: TempDir,
    source: TempDir,
    destination: TempDir,
    tmp: [TempDir; 2],
    port: u16,
}

impl Pair {
    fn new() -> Self {
        let [keys, source, destination, one, two] = std::array::from_fn(|_| TempDir::with_prefix("mover-").unwrap());
        for key in ["source", "destination"] {
            let mut keygen = Command::new(peers::tool("ssh-keygen"));
            let args = ["-q", "-t", "rsa", "-b", "2048", "-C", "", "-N", "", "-f"];
            run(keygen.args(args).arg(keys.path().join(key))).success();
        }
        fs::create_dir_all("/run/sshd").unwrap();
        awkward(source.path(), 21, Names::All);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { keys, source, destination, tmp: [one, two], port }
    }

    fn mover(&self, role: &str, volume: &Path, tmp: &Path) -> Command {
        let mut command = Command::new(End::Ours.program());
        command.arg(role).arg("--data").arg(volume).arg("--keys").arg(self.keys.path()).arg("--tmp").arg(tmp);
        command
    }

    fn start_destination(&self) -> Running {
        let tmp = self.tmp[1].path();
        let mut command = self.mover("destination", self.destination.path(), tmp);
        command.arg("--port").arg(self.port.to_string()).arg("--ssh-directory").arg(tmp.join("ssh"));
        Running::start(&mut command)
    }

    fn source(&self) -> Command {
        let mut command = self.mover("source", self.source.path(), self.tmp[0].path());
        command.env("DESTINATION_ADDRESS", "127.0.0.1").env("DESTINATION_PORT", self.port.to_string());
        command
    }

    fn wait_for_destination(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the destination does not listen");
            std::thread::yield_now();
        }
    }

    /// What upstream's source uses, by hand.
    fn ssh(&self) -> String {
        format!(
            "ssh -F none -p {} -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.port,
            self.keys.path().join("source").display()
        )
    }

    fn ask(&self, command: &str) -> Outcome {
        let ssh = self.ssh();
        let mut words = ssh.split(' ');
        run(Command::new(peers::tool(words.next().unwrap())).args(words).arg("root@127.0.0.1").arg(command))
    }
}

#[test]
fn a_volume_goes_over_and_both_sides_end() {
    let pair = Pair::new();
    // The source comes first: it waits for the destination.
    let source = Running::start(&mut pair.source());
    let destination = pair.start_destination();
    let source = source.wait(LIMIT).success();
    let destination = destination.wait(LIMIT).success();
    assert_same(pair.source.path(), pair.destination.path(), NO_XATTRS);
    let text = source.text();
    for expected in [
        "VolSync rsync container version: unknown\nSource PVC volumeMode is filesystem\n",
        "\nNumber of files: ",
        "\nRsync completed in ",
        "\nSynchronization completed successfully. Notifying destination...\n",
        "Initiating shutdown. Exit code: 0\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing: {source}");
    }
    let text = destination.text();
    for expected in [
        "VolSync rsync container version: unknown\nDestination PVC volumeMode is filesystem\nWaiting for connection...\n",
        "Exiting... Exit code: 0\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing: {destination}");
    }
}

#[test]
fn upstreams_client_finds_our_destination_as_its_own() {
    let pair = Pair::new();
    let destination = pair.start_destination();
    pair.wait_for_destination();
    let from = format!("{}/", pair.source.path().display());
    let mut client = Command::new(End::Stock.program());
    client.args(VOLSYNC.split(' ')).args(["-e", &pair.ssh(), &from, "root@127.0.0.1:."]);
    run(&mut client).success();
    assert_same(pair.source.path(), pair.destination.path(), NO_XATTRS);
    let into = Command::new(End::Stock.program())
        .args(["-a", "-e", &pair.ssh(), &from, "root@127.0.0.1:../outside"])
        .output()
        .unwrap();
    assert!(!into.status.success() && !pair.destination.path().parent().unwrap().join("outside").exists());
    for refused in ["id", "sh -c id", "shutdown", "shutdown 0;id", ""] {
        let outcome = pair.ask(refused).exits(1);
        assert!(outcome.text().contains("Invalid command: "), "{outcome}");
    }
    pair.ask("rsync --server --sender -e.LsfxC . /etc").exits(4);
    assert!(pair.ask("shutdown 7").success().text().contains("Initiating shutdown. Exit code: 7"));
    assert!(destination.wait(LIMIT).exits(7).text().contains("Exiting... Exit code: 7"));
}

/// An sshd as upstream's destination starts it, with the restricted shell that comes with rsync.
fn upstream_destination(pair: &Pair) -> Running {
    let dir = pair.tmp[1].path();
    let forced: PathBuf = dir.join("forced");
    let script = format!(
        "#!/bin/sh\ncase $SSH_ORIGINAL_COMMAND in\n  rsync\\ *) exec rrsync {data} ;;\n  shutdown\\ *) echo \"Initiating \
         shutdown. Exit code: ${{SSH_ORIGINAL_COMMAND#shutdown }}\"; kill $(cat {dir}/pid) ;;\n  *) exit 1 ;;\nesac\n",
        data = pair.destination.path().display(),
        dir = dir.display(),
    );
    fs::write(&forced, script).unwrap();
    fs::set_permissions(&forced, fs::Permissions::from_mode(0o755)).unwrap();
    let key = fs::read_to_string(pair.keys.path().join("source.pub")).unwrap();
    fs::write(dir.join("keys"), format!("restrict,command=\"{}\" {key}", forced.display())).unwrap();
    let config = format!(
        "Port {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile {}/pid\nStrictModes no\nUsePAM no\n",
        pair.port,
        pair.keys.path().join("destination").display(),
        dir.join("keys").display(),
        dir.display(),
    );
    fs::write(dir.join("config"), config).unwrap();
    Running::start(Command::new(peers::tool("sshd")).args(["-D", "-e", "-f"]).arg(dir.join("config")))
}

#[test]
fn our_source_finds_upstreams_destination_as_its_own() {
    let pair = Pair::new();
    // rrsync 3.5 makes no fifos, sockets or devices.
    shell(pair.source.path(), "find . -type p -delete; touch -d @1400000000.5 .");
    let destination = upstream_destination(&pair);
    let source = run(&mut pair.source()).success();
    assert_same(pair.source.path(), pair.destination.path(), NO_XATTRS);
    assert!(source.text().contains("Initiating shutdown. Exit code: 0"), "{source}");
    destination.wait(LIMIT);
}

#[test]
fn what_is_missing_is_said_as_upstream_says_it() {
    let pair = Pair::new();
    let mut command = pair.source();
    command.env_remove("DESTINATION_ADDRESS");
    let outcome = run(&mut command).exits(1);
    assert!(outcome.text().contains("Remote host must be provided in DESTINATION_ADDRESS"), "{outcome}");
    let nowhere = Path::new("/does/not/exist");
    let outcome = run(pair.mover("source", nowhere, pair.tmp[0].path()).env("DESTINATION_ADDRESS", "x")).exits(1);
    assert!(outcome.text().contains("ERROR: source location not found"), "{outcome}");
    let outcome = run(&mut pair.mover("destination", nowhere, pair.tmp[0].path())).exits(1);
    assert!(outcome.text().contains("ERROR: target location not found"), "{outcome}");
}

#[test]
fn a_person_can_look_around_instead() {
    let pair = Pair::new();
    let flag = pair.tmp[0].path().join("exit-debug-if-removed");
    let source = Running::start(pair.source().env("DEBUG_MOVER", "1"));
    let deadline = Instant::now() + Duration::from_mins(1);
    while fs::remove_file(&flag).is_err() {
        assert!(Instant::now() < deadline, "{} does not appear", flag.display());
        std::thread::yield_now();
    }
    source.wait(LIMIT).success();
    assert_eq!(fs::read_dir(pair.destination.path()).unwrap().count(), 0);
}

#[test]
fn a_signal_ends_the_destination() {
    let pair = Pair::new();
    let destination = pair.start_destination();
    pair.wait_for_destination();
    destination.signal(rustix::process::Signal::TERM);
    let started = Instant::now();
    let outcome = destination.wait(LIMIT);
    assert!(outcome.code() != 0 && started.elapsed() < Duration::from_secs(20), "{outcome}");
}
