//! A source and a destination of VolSync's rsync replication on this machine, with a real sshd between them.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::peers;
use crate::process::{Outcome, Running, run};
use crate::rsync::End;
use crate::volume::{Names, awkward};

/// Keys as the operator makes them, two volumes, and a place for each mover's files.
#[derive(Debug)]
pub struct Movers {
    /// Keys of both sides.
    pub keys: TempDir,
    /// The volume of the source.
    pub source: TempDir,
    /// The volume of the destination.
    pub destination: TempDir,
    /// The places for files, the source's first.
    pub tmp: [TempDir; 2],
    /// Block devices in place of the volumes.
    devices: Option<[PathBuf; 2]>,
    port: u16,
}

impl Movers {
    /// Of two directories; the first one is full of what is awkward to keep.
    pub fn new() -> Self {
        let movers = Self::with(None);
        awkward(movers.source.path(), 21, Names::All);
        movers
    }

    /// Of two block devices.
    pub fn of_devices(source: &Path, destination: &Path) -> Self {
        Self::with(Some([source.to_owned(), destination.to_owned()]))
    }

    fn with(devices: Option<[PathBuf; 2]>) -> Self {
        let [keys, source, destination, one, two] = std::array::from_fn(|_| TempDir::with_prefix("mover-").unwrap());
        for key in ["source", "destination"] {
            let mut keygen = Command::new(peers::tool("ssh-keygen"));
            let args = ["-q", "-t", "rsa", "-b", "2048", "-C", "", "-N", "", "-f"];
            run(keygen.args(args).arg(keys.path().join(key))).success();
        }
        fs::create_dir_all("/run/sshd").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { keys, source, destination, tmp: [one, two], devices, port }
    }

    /// Our mover in a role.
    pub fn mover(&self, role: &str, volume: &Path, tmp: &Path) -> Command {
        let mut command = Command::new(End::Ours.program());
        command.arg(role).arg("--data").arg(volume).arg("--keys").arg(self.keys.path()).arg("--tmp").arg(tmp);
        command
    }

    fn mover_of(&self, role: &str, which: usize) -> Command {
        let nowhere = Path::new("/does/not/exist");
        let volume = if which == 0 { self.source.path() } else { self.destination.path() };
        let mut command =
            self.mover(role, if self.devices.is_some() { nowhere } else { volume }, self.tmp[which].path());
        command.args(self.devices.iter().flat_map(|devices| [Path::new("--block"), &devices[which]]));
        command
    }

    /// Starts our destination.
    pub fn start_destination(&self) -> Running {
        Running::start(&mut self.destination())
    }

    /// Our destination.
    pub fn destination(&self) -> Command {
        let mut command = self.mover_of("destination", 1);
        let ssh = self.tmp[1].path().join("ssh");
        command.arg("--port").arg(self.port.to_string()).arg("--ssh-directory").arg(ssh);
        command
    }

    /// Our source.
    pub fn source(&self) -> Command {
        let mut command = self.mover_of("source", 0);
        command.env("DESTINATION_ADDRESS", "127.0.0.1").env("DESTINATION_PORT", self.port.to_string());
        command
    }

    /// Where a destination listens, on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns when a destination takes connections.
    pub fn wait_for_destination(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the destination does not listen");
            std::thread::yield_now();
        }
    }

    /// What upstream's source uses, by hand.
    pub fn ssh(&self) -> String {
        format!("ssh {}", self.ssh_flags())
    }

    /// The options of [`Movers::ssh`].
    pub fn ssh_flags(&self) -> String {
        format!(
            "-F none -p {} -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.port,
            self.keys.path().join("source").display()
        )
    }

    /// Asks the destination for something.
    pub fn ask(&self, command: &str) -> Outcome {
        let ssh = self.ssh();
        let mut words = ssh.split(' ');
        run(Command::new(peers::tool(words.next().unwrap())).args(words).arg("root@127.0.0.1").arg(command))
    }

    /// Starts an sshd as upstream's destination does, with the restricted shell that comes with rsync, and diskrsync.
    pub fn start_upstream_destination(&self) -> Running {
        let dir = self.tmp[1].path();
        let forced: PathBuf = dir.join("forced");
        let script = format!(
            "#!/bin/sh\ncase $SSH_ORIGINAL_COMMAND in\n  rsync\\ *) exec rrsync {data} ;;\n  diskrsync\\ *) exec {diskrsync} \
             --target {block} ;;\n  shutdown\\ *) echo \"Initiating shutdown. Exit code: \
             ${{SSH_ORIGINAL_COMMAND#shutdown }}\"; kill $(cat {dir}/pid) ;;\n  *) exit 1 ;;\nesac\n",
            data = self.destination.path().display(),
            diskrsync = peers::diskrsync().display(),
            block = self.devices.as_ref().map_or(Path::new("/dev/block"), |devices| &devices[1]).display(),
            dir = dir.display(),
        );
        fs::write(&forced, script).unwrap();
        fs::set_permissions(&forced, fs::Permissions::from_mode(0o755)).unwrap();
        let key = fs::read_to_string(self.keys.path().join("source.pub")).unwrap();
        fs::write(dir.join("keys"), format!("restrict,command=\"{}\" {key}", forced.display())).unwrap();
        let config = format!(
            "Port {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile {}/pid\nStrictModes no\nUsePAM no\n",
            self.port,
            self.keys.path().join("destination").display(),
            dir.join("keys").display(),
            dir.display(),
        );
        fs::write(dir.join("config"), config).unwrap();
        Running::start(Command::new(peers::tool("sshd")).args(["-D", "-e", "-f"]).arg(dir.join("config")))
    }
}

impl Default for Movers {
    fn default() -> Self {
        Self::new()
    }
}
