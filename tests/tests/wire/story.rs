//! The story that both programs are told: a first push that makes the bucket, a push of changes, a restore, and a look
//! whether the restore is complete.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use volsync_embedded_s3::ServerOptions;
use volsync_tests::embedded::Embedded;
use volsync_tests::pod::{Direction, Pod};
use volsync_tests::process::{self, Outcome};
use volsync_tests::servers::{S3Endpoint, SECTION};
use volsync_tests::{mover, peers, volume};

use crate::cases::{Case, Flow};
use crate::trace::{self, PATH, Trace};

/// Gives the program names for virtual hosts: arguments are the file for `/etc/hosts` and the command.
const WITH_HOSTS: &str = r#"mount --bind "$1" /etc/hosts; shift; exec "$@""#;

/// Large enough for two parts.
const TWO_PARTS: usize = (5 << 20) + 10;

/// What both programs asked.
pub(crate) struct Traces {
    /// The real one.
    pub(crate) rclone: Trace,
    /// Our binary.
    pub(crate) ours: Trace,
}

/// Servers and programs.
pub(crate) struct Stage {
    plain: Embedded,
    tls: Embedded,
    open: Embedded,
    hosts: TempDir,
    programs: [PathBuf; 2],
    /// What runs said that should have succeeded.
    pub(crate) failures: Mutex<Vec<String>>,
}

impl Stage {
    /// Starts what the cases need.
    pub(crate) fn set(cases: &[Case]) -> Self {
        let hosts = TempDir::with_prefix("hosts-").unwrap();
        let names = (0..cases.len()).flat_map(|number| [bucket(number, 0), bucket(number, 1)]);
        let names: Vec<_> = names.map(|bucket| format!("{bucket}.localhost")).collect();
        // A line of /etc/hosts has a limit.
        let lines = names.chunks(8).map(|names| format!("127.0.0.1 {}\n", names.join(" ")));
        fs::write(hosts.path().join("hosts"), format!("127.0.0.1 localhost\n{}", lines.collect::<String>())).unwrap();
        Self {
            plain: Embedded::with(ServerOptions::default()),
            tls: Embedded::with(ServerOptions { tls: true, ..ServerOptions::default() }),
            open: Embedded::with(ServerOptions { anonymous: true, ..ServerOptions::default() }),
            hosts,
            programs: [peers::rclone(), mover::binary()],
            failures: Mutex::default(),
        }
    }

    /// Tells the story with the case's options.
    pub(crate) fn tell(&self, number: usize, case: &Case) -> Traces {
        let work = TempDir::with_prefix("wire-").unwrap();
        let source = work.path().join("source");
        begin(&source);
        if case.options.contains(&"no_check_bucket = true") {
            both(|side| self.server(case).server().store().create_bucket(&bucket(number, side)).unwrap());
        }
        let targets = [0, 1].map(|side| work.path().join(format!("target{side}")));
        for target in &targets {
            fs::create_dir(target).unwrap();
        }
        both(|side| self.push(case, number, side, &source));
        change(&source);
        both(|side| self.push(case, number, side, &source));
        both(|side| self.pull(case, number, side, &targets[side]));
        let records = self.server(case).server().recorder().snapshot();
        Traces { rclone: trace::of(&records, &bucket(number, 0)), ours: trace::of(&records, &bucket(number, 1)) }
    }

    fn push(&self, case: &Case, number: usize, side: usize, source: &Path) {
        if case.flow == Flow::Volume {
            return self.volume(case, number, side, source, Direction::Source);
        }
        self.sync(case, side, source.to_str().unwrap(), &remote(case, number, side), "--modify-window=1ns");
    }

    fn pull(&self, case: &Case, number: usize, side: usize, target: &Path) {
        match case.flow {
            Flow::Push => {}
            Flow::Volume => self.volume(case, number, side, target, Direction::Destination),
            Flow::Whole => {
                for flag in ["--modify-window=1ns", "--checksum"] {
                    self.sync(case, side, &remote(case, number, side), target.to_str().unwrap(), flag);
                }
            }
        }
    }

    fn server(&self, case: &Case) -> &Embedded {
        match (case.tls, case.anonymous) {
            (true, _) => &self.tls,
            (_, true) => &self.open,
            _ => &self.plain,
        }
    }

    fn sync(&self, case: &Case, side: usize, from: &str, to: &str, flag: &str) {
        self.expect_success(case, &self.run(case, side, &["sync", from, to, flag]));
    }

    fn expect_success(&self, case: &Case, outcome: &Outcome) {
        if outcome.code() != 0 {
            self.failures.lock().unwrap().push(format!("{}: {outcome}", case.name()));
        }
    }

    fn run(&self, case: &Case, side: usize, args: &[&str]) -> Outcome {
        let home = TempDir::with_prefix("wire-home-").unwrap();
        let conf = home.path().join("rclone.conf");
        fs::write(&conf, self.conf(case)).unwrap();
        let mut command = Command::new(peers::tool("unshare"));
        command.args(["--mount", "--propagation", "private", "sh", "-e", "-c", WITH_HOSTS, "wire"]);
        command.arg(self.hosts.path().join("hosts")).arg(&self.programs[side]).args(args).args(&case.flags);
        command.args(["--retries", "1"]);
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("HOME", home.path());
        command.env("RCLONE_CONFIG", conf).env("RCLONE_S3_UPLOAD_CUTOFF", "1M");
        if let Some(ca) = self.server(case).ca() {
            command.env("RCLONE_CA_CERT", ca);
        }
        process::run(command.envs(case.env.iter().copied()))
    }

    fn conf(&self, case: &Case) -> String {
        let server = self.server(case);
        let url = if case.by_host { server.server().host_endpoint() } else { server.url() };
        let (key, secret) = if case.anonymous { ("", "") } else { (server.access_key(), server.secret_key()) };
        let (provider, options, sections) = (case.provider, case.options.join("\n"), case.sections);
        format!(
            "[{SECTION}]\ntype = s3\nprovider = {provider}\naccess_key_id = {key}\nsecret_access_key = {secret}\n\
             endpoint = {url}\n{options}\n{sections}"
        )
    }

    fn volume(&self, case: &Case, number: usize, side: usize, dir: &Path, direction: Direction) {
        let pod = Pod::with_options(dir, self.server(case), case.provider, "upload_cutoff = 1M");
        let path = format!("{}/{PATH}", bucket(number, side));
        let outcome = if side == 0 { pod.upstream(direction, &path) } else { pod.ours(direction, &path) };
        self.expect_success(case, &outcome);
    }
}

/// Lets rclone (0) and us (1) do the same side by side.
fn both(chapter: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        scope.spawn(|| chapter(0));
        chapter(1);
    });
}

fn remote(case: &Case, number: usize, side: usize) -> String {
    format!("{}:{}/{PATH}", case.remote, bucket(number, side))
}

/// The bucket of a case, for rclone (0) and us (1).
fn bucket(number: usize, side: usize) -> String {
    format!("case{number:03}-{side}")
}

/// Small, empty and large files, names that need encoding, attributes that `--metadata` stores.
fn begin(dir: &Path) {
    for name in ["dir", "odd"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    write(dir, "small.txt", b"hello", 1);
    write(dir, "empty", b"", 2);
    write(dir, "dir/one part", &vec![b'x'; 1 << 20], 3);
    write(dir, "parts.gz", &vec![b'y'; TWO_PARTS], 4);
    write(dir, "odd/\u{fc} +%&=~'()*!.csv", b"odd", 5);
    write(dir, "gone1", b"1", 6);
    write(dir, "gone2", b"2", 7);
    volume::shell(
        dir,
        "setfattr -n user.Note -v 'with  blanks ü' small.txt; setfattr -n user.bad -v 0x0a small.txt
         setfattr -n user.content-language -v de small.txt; setfattr -n user.tier -v GLACIER small.txt",
    );
}

/// Times, contents and files that are gone.
fn change(dir: &Path) {
    for name in ["gone1", "gone2"] {
        fs::remove_file(dir.join(name)).unwrap();
    }
    write(dir, "empty", b"no more", 8);
    for name in ["small.txt", "parts.gz"] {
        set_times(&dir.join(name), 9);
    }
}

fn write(dir: &Path, name: &str, content: &[u8], time: u64) {
    fs::write(dir.join(name), content).unwrap();
    set_times(&dir.join(name), time);
}

/// Reading does not change an access time that lies ahead (relatime), so both programs see the same one.
fn set_times(path: &Path, time: u64) {
    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000 + time, 120_000_000);
    let accessed = SystemTime::now() + Duration::from_hours(1);
    let times = FileTimes::new().set_modified(modified).set_accessed(accessed);
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}
