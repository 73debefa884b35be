//! Two ends of an rsync session, stock or ours, with a remote shell between them: `sh` on this machine, or a real sshd.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use walkdir::WalkDir;

use crate::process::{self, Outcome, Running};
use crate::tree::{Ignore, Tree};
use crate::{mover, peers};

/// What VolSync's source passes to rsync.
pub const VOLSYNC: &str = "-aAhHSxz --delete --itemize-changes --info=stats2,misc2";

/// What those options leave behind.
pub const NO_XATTRS: Ignore = Ignore {
    xattrs: true,
    owners: false,
    permissions: false,
    directory_times: false,
    file_times: false,
    symlinks: false,
    specials: false,
    empty_directories: false,
};

/// Whose program an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The real rsync.
    Stock,
    /// `mover-rsync`.
    Ours,
}

impl End {
    /// Its program.
    pub fn program(self) -> PathBuf {
        match self {
            Self::Stock => peers::tool("rsync"),
            Self::Ours => reachable(&mover::program("mover-rsync", &["mover-rsync/src"])),
        }
    }
}

/// Which way files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The client sends.
    Push,
    /// The client receives.
    Pull,
}

/// Two ends and the way between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Which way.
    pub way: Way,
    /// Whose program the user started.
    pub client: End,
    /// Whose program the remote shell started.
    pub server: End,
}

impl Pair {
    /// Whose program sends.
    pub fn sender(self) -> End {
        if self.way == Way::Push { self.client } else { self.server }
    }

    /// Whose program receives.
    pub fn receiver(self) -> End {
        if self.way == Way::Push { self.server } else { self.client }
    }
}

const fn pair(way: Way, client: End, server: End) -> Pair {
    Pair { way, client, server }
}

/// All pairs of which at least one end is ours.
pub const PAIRS: [Pair; 6] = [
    pair(Way::Push, End::Stock, End::Ours),
    pair(Way::Push, End::Ours, End::Stock),
    pair(Way::Push, End::Ours, End::Ours),
    pair(Way::Pull, End::Stock, End::Ours),
    pair(Way::Pull, End::Ours, End::Stock),
    pair(Way::Pull, End::Ours, End::Ours),
];

/// The real program at both ends, to compare with.
pub const STOCK: [Pair; 2] = [pair(Way::Push, End::Stock, End::Stock), pair(Way::Pull, End::Stock, End::Stock)];

/// A remote shell.
#[derive(Debug)]
pub enum Shell {
    /// Runs the command here.
    Local(TempDir),
    /// A real connection to this machine.
    Ssh(Sshd),
}

impl Shell {
    /// One that runs the command here, as `ssh` would hand it to a shell there.
    pub fn local() -> Self {
        Self::script("exec sh -c \"$*\"")
    }

    /// One that damages what the sender says: in the first `times` pieces that hold `text` its last byte becomes `?`.
    pub fn damaging(way: Way, text: &str, times: u32) -> Self {
        let damaged = format!("{}?", &text[..text.len() - 1]);
        let perl = format!(
            "{} -e '$left = {times}; while (sysread(STDIN, $piece, 65536)) {{ $left-- if $left > 0 && $piece =~ \
             s/{text}/{damaged}/; syswrite(STDOUT, $piece) }}'",
            peers::tool("perl").display()
        );
        // Whoever damages ends with the server, whose exit code counts.
        let pipe = "exec 3<&0; mkfifo \"$0.$$\"";
        Self::script(&match way {
            Way::Push => {
                format!("{pipe}; {perl} <&3 >\"$0.$$\" & sh -c \"$*\" <\"$0.$$\"; code=$?; kill $!; exit $code")
            }
            Way::Pull => format!("{pipe}; sh -c \"$*\" <&3 >\"$0.$$\" & {perl} <\"$0.$$\"; wait $!"),
        })
    }

    /// One that holds the sender's bytes back from the so-manieth on: whoever opens the pipe at `gate` for writing knows that
    /// it waits, and lets it go on by closing it.
    pub fn holding(way: Way, after: u64, gate: &Path) -> Self {
        let (gate, perl) = (gate.display(), peers::tool("perl").display().to_string());
        process::run(Command::new("mkfifo").arg(gate.to_string())).success();
        let hold = format!(
            "{perl} -e 'my $left = {after}; while (my $read = sysread(STDIN, my $piece, 4096)) {{ $left -= $read; if ($left \
             <= 0 && !$held++) {{ open(my $gate, \"<\", \"{gate}\"); <$gate> }} syswrite(STDOUT, $piece) }}'"
        );
        Self::script(&match way {
            Way::Push => format!("{hold} | sh -c \"$*\""),
            Way::Pull => format!("sh -c \"$*\" | {hold}"),
        })
    }

    /// One whose connection breaks when so many bytes came from the client, or from the server (`back`). Both ends see it
    /// end, and the shell itself ends with the code of an ssh that lost its connection.
    pub fn cutting(back: bool, after: u64) -> Self {
        let perl = peers::tool("perl").display().to_string();
        let (there, here) = if back { (u64::MAX, after) } else { (after, u64::MAX) };
        Self::script(&format!(
            "exec {perl} -e '
use IPC::Open2;
my $pid = open2(my $from, my $to, \"sh\", \"-c\", \"@ARGV\");
my %way = (fileno(STDIN) => [\\*STDIN, $to, {there}], fileno($from) => [$from, \\*STDOUT, {here}]);
$SIG{{PIPE}} = \"IGNORE\";
while (%way) {{
  my $ready = \"\"; vec($ready, $_, 1) = 1 for keys %way;
  select($ready, undef, undef, undef) > 0 or next;
  for my $fd (keys %way) {{
    next unless vec($ready, $fd, 1);
    my ($in, $out, $left) = @{{$way{{$fd}}}};
    my $read = sysread($in, my $piece, 65536);
    if (!$read) {{ close $out; delete $way{{$fd}}; next }}
    my $cut = $read >= $left;
    $piece = substr($piece, 0, $left) if $cut;
    for (my $at = 0; $at < length $piece;) {{ $at += syswrite($out, $piece, length($piece) - $at, $at) || last }}
    if ($cut) {{ close $_ for $to, $from, STDIN, STDOUT; waitpid $pid, 0; exit 255 }}
    $way{{$fd}}[2] -= $read;
  }}
}}
waitpid $pid, 0; exit($? >> 8)' \"$@\""
        ))
    }

    fn script(command: &str) -> Self {
        let dir = TempDir::with_prefix("rsh-").unwrap();
        let script = dir.path().join("rsh");
        fs::write(&script, format!("#!/bin/sh\nwhile [ \"$1\" != peer ]; do shift; done\nshift\n{command}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Self::Local(dir)
    }

    /// What has `command` run at the other end.
    pub fn ask(&self, command: &str) -> Command {
        let shell = self.command();
        let mut words = shell.split_whitespace();
        let mut ask = Command::new(words.next().unwrap());
        ask.args(words).args([self.host(), command]);
        ask
    }

    fn command(&self) -> String {
        match self {
            Self::Local(dir) => dir.path().join("rsh").display().to_string(),
            Self::Ssh(sshd) => sshd.client(),
        }
    }

    fn host(&self) -> &'static str {
        match self {
            Self::Local(_) => "peer",
            Self::Ssh(_) => "127.0.0.1",
        }
    }
}

/// Brings `source` to `destination`.
#[track_caller]
pub fn transfer(shell: &Shell, pair: Pair, options: &str, source: &str, destination: &Path) -> Outcome {
    process::run(&mut command(shell, pair, options, source, destination))
}

/// The command of [`transfer`].
pub fn command(shell: &Shell, pair: Pair, options: &str, source: &str, destination: &Path) -> Command {
    command_of(shell, pair, [&[], &[]], options, source, destination)
}

/// A [`command`] for the source `SOURCE`, for these sources instead.
pub fn with_sources(command: &Command, sources: &[String]) -> Command {
    let mut several = Command::new(command.get_program());
    for word in command.get_args() {
        match word.to_str() {
            Some("SOURCE") => several.args(sources),
            Some("peer:SOURCE") => several
                .args(sources.iter().take(1).map(|path| format!("peer:{path}")))
                .args(sources.iter().skip(1).map(|path| format!(":{path}"))),
            _ => several.arg(word),
        };
    }
    several
}

/// [`command`] with words before the program of the sender and of the receiver.
pub fn command_of(
    shell: &Shell,
    pair: Pair,
    [sender, receiver]: [&[&str]; 2],
    options: &str,
    source: &str,
    destination: &Path,
) -> Command {
    let (ours, theirs) = if pair.way == Way::Push { (sender, receiver) } else { (receiver, sender) };
    let program = |before: &[&str], end: End| {
        let program = end.program().display().to_string();
        before.iter().map(|word| (*word).to_owned()).chain([program]).collect::<Vec<_>>()
    };
    let client = program(ours, pair.client);
    let mut command = Command::new(&client[0]);
    command.args(&client[1..]).args(options.split_whitespace()).arg("-e").arg(shell.command());
    command.arg(format!("--rsync-path={}", program(theirs, pair.server).join(" ")));
    match pair.way {
        Way::Push => command.arg(source).arg(format!("{}:{}", shell.host(), destination.display())),
        Way::Pull => command.arg(format!("{}:{source}", shell.host())).arg(destination),
    };
    command
}

/// Lines about items and deletions.
pub fn items(outcome: &Outcome) -> Vec<String> {
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let lines = text.lines().take_while(|line| !line.starts_with("Number of files"));
    lines.filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
}

/// Panics unless both trees are equal but for `ignore`, hard links and device numbers included.
#[track_caller]
pub fn assert_same(wanted: &Path, found: &Path, ignore: Ignore) {
    Tree::of(wanted).assert_same(&Tree::of(found), ignore);
    assert_eq!(inodes(wanted), inodes(found), "hard links and devices");
}

/// For each path the first path with the same inode, and the device number.
pub fn inodes(dir: &Path) -> BTreeMap<PathBuf, (PathBuf, u64)> {
    let mut first = BTreeMap::new();
    let mut all = BTreeMap::new();
    for entry in WalkDir::new(dir).sort_by_file_name().min_depth(1) {
        let path = entry.unwrap().into_path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let path = path.strip_prefix(dir).unwrap().to_owned();
        if !meta.is_dir() {
            let first = first.entry((meta.dev(), meta.ino())).or_insert_with(|| path.clone()).clone();
            all.insert(path, (first, meta.rdev()));
        }
    }
    all
}

/// An OpenSSH server of this machine for the calling user; ends with the value.
#[derive(Debug)]
pub struct Sshd {
    dir: TempDir,
    port: u16,
    _process: Running,
}

impl Sshd {
    /// Starts one with keys of its own. It needs root, as sshd does.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts one with more lines in its configuration.
    pub fn start_with(more: &str) -> Self {
        let dir = TempDir::with_prefix("sshd-").unwrap();
        let at = |name: &str| dir.path().join(name);
        for key in ["host", "user"] {
            let mut keygen = Command::new(peers::tool("ssh-keygen"));
            process::run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at(key))).success();
        }
        fs::create_dir_all("/run/sshd").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        fs::write(
            at("config"),
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nAuthorizedKeysFile {keys}\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nMaxStartups 100\n{more}",
                host = at("host").display(),
                keys = at("user.pub").display(),
            ),
        )
        .unwrap();
        let process = Running::start(Command::new(peers::tool("sshd")).args(["-D", "-e", "-f"]).arg(at("config")));
        let sshd = Self { dir, port, _process: process };
        sshd.wait();
        sshd
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "sshd does not listen");
            std::thread::yield_now();
        }
    }

    /// Where it listens, on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same, which clients reach at another port.
    #[must_use]
    pub fn reached_at(self, port: u16) -> Self {
        Self { port, ..self }
    }

    fn client(&self) -> String {
        let key = self.dir.path().join("user");
        format!(
            "ssh -F none -p {} -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.port,
            key.display()
        )
    }
}

/// The same program under a name that any user may reach: build directories often lie in somebody's home.
fn reachable(program: &Path) -> PathBuf {
    let meta = fs::metadata(program).unwrap();
    let dir = std::env::temp_dir().join("volsync-tests-programs");
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let name = dir.join(format!("mover-rsync-{}-{}", meta.ino(), meta.mtime_nsec()));
    if !name.exists() {
        let own = tempfile::Builder::new().tempfile_in(&dir).unwrap().into_temp_path();
        // By a process of its own: a child of ours that is started meanwhile would keep the file open for writing.
        process::run(Command::new("cp").arg(program).arg(&own)).success();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        own.persist(&name).unwrap();
    }
    name
}
