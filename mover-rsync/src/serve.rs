//! `mover-rsync serve`: a directory for clients of rsync, stock or ours, over an sshd of our own. It is the destination of
//! VolSync's movers for people: the same sshd, the same forced command, but it stays until it is told to end.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use rustix::process::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;
use volsync_common::path::Shown;

use crate::exit::{ExitCode, Fatal};
use crate::report::line;
use crate::sshd::{self, Sshd};

/// Serves a directory to rsync and mover-rsync on other machines, over SSH.
///
/// It starts an sshd of its own, in which nobody gets a shell: whoever is let in can bring files into DIRECTORY and fetch
/// them, and reaches nothing outside of it, neither by names nor through links. It prints what to type at the other end, and
/// serves until SIGTERM or SIGINT (Ctrl-C), which end transfers too.
///
/// Needs no root: files then belong to the user who serves, and only this user can log in. As root owners are kept. Nothing
/// is needed at the other end but ssh and rsync, or mover-rsync.
#[derive(Debug, Parser)]
#[command(
    name = "mover-rsync serve",
    version,
    after_help = "Exit codes: 0 ended by a signal, 1 wrong command line, 3 the directory or a key cannot be used, 5 sshd cannot be \
                  started or ended by itself (it says why).\n\n\
                  Examples:\n  \
                  mover-rsync serve /srv/backup --authorized-key ~/id_ed25519.pub\n  \
                  mover-rsync serve /srv/photos --read-only --listen 127.0.0.1:2222 --host-key ~/.config/serve_host_key"
)]
struct ServeCli {
    /// What is served
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// Where to listen: a port, or an address and a port (`[::1]:8022`)
    #[arg(long, value_name = "[ADDRESS:]PORT", default_value = "8022", value_parser = listen)]
    listen: Listen,
    /// Files can be fetched, and nothing is changed
    #[arg(long)]
    read_only: bool,
    /// Who is let in: a public key, or a file of them. Without this option those of your ~/.ssh/authorized_keys
    #[arg(long, value_name = "FILE|KEY")]
    authorized_key: Vec<OsString>,
    /// The private key that the server shows; made if there is no such file. Without this option a new one every time
    #[arg(long, value_name = "FILE")]
    host_key: Option<PathBuf>,
    /// OpenSSH's server
    #[arg(long, value_name = "PROGRAM", default_value = "/usr/sbin/sshd")]
    sshd: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Listen {
    address: Option<IpAddr>,
    port: u16,
}

/// Serves; the exit code.
pub fn run(args: &[OsString]) -> u8 {
    let words = std::iter::once(OsString::from("mover-rsync serve")).chain(args.iter().cloned());
    let cli = match ServeCli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            let _nobody_reads = error.print();
            return if error.use_stderr() { ExitCode::Usage as u8 } else { 0 };
        }
    };
    match serve(&cli) {
        Ok(()) => 0,
        Err(fatal) => {
            eprintln!("mover-rsync: {fatal}");
            fatal.code()
        }
    }
}

fn serve(cli: &ServeCli) -> Result<(), Fatal> {
    let directory = directory(&cli.directory)?;
    let user = user()?;
    let dir = TempDir::with_prefix("mover-rsync-").map_err(|error| unusable("a directory for files", &error))?;
    let (host_key, fingerprint) = host_key(cli.host_key.as_deref(), dir.path())?;
    let authorized = authorized(&cli.authorized_key, dir.path())?;
    let forced = forced_command(&directory, cli.read_only)?;
    if user == "root" {
        // Where it does not exist sshd says so.
        let _made = fs::create_dir("/run/sshd");
    }
    let sshd = Sshd {
        program: &cli.sshd,
        listen: &cli.listen.lines(),
        host_key: &host_key,
        authorized: authorized.as_deref(),
        forced: Some((&forced, &user)),
        dir: dir.path(),
    };
    let no_sshd = |error: io::Error| {
        Fatal::Other(ExitCode::StartClient, format!("cannot start sshd {}: {error}", cli.sshd.display()))
    };
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(no_sshd)?;
    sshd::adopt_sessions().map_err(no_sshd)?;
    let pid = Pid::from_child(&sshd.start().map_err(no_sshd)?);
    line(&cli.greeting(&directory, &user, &fingerprint));
    let ended = Arc::new(AtomicBool::new(false));
    let told = ended.clone();
    let end = move || {
        if signals.forever().next().is_some() {
            told.store(true, Ordering::Relaxed);
            sshd::end_descendants(rustix::process::getpid());
        }
    };
    let ender = std::thread::Builder::new().name("signals".into()).spawn(end).map_err(no_sshd)?;
    sshd::wait(pid).map_err(no_sshd)?;
    if ended.load(Ordering::Relaxed) {
        // Sessions take as long as they are given.
        let _ended = ender.join();
        return Ok(());
    }
    Err(Fatal::Other(ExitCode::StartClient, "sshd ended by itself".into()))
}

impl ServeCli {
    /// What people read first.
    fn greeting(&self, directory: &Path, user: &str, fingerprint: &str) -> String {
        let what = if self.read_only { "to be fetched" } else { "to be fetched and changed" };
        let mut text = format!(
            "Serving {} {what}, on port {}; the key of this server is {fingerprint}\nAt the other end, for example:\n",
            directory.display(),
            self.listen.port,
        );
        let there = format!("{user}@{}:", self.listen.host());
        let shell = format!("-e 'ssh -p {}'", self.listen.port);
        if !self.read_only {
            let _infallible = writeln!(text, "  mover-rsync push {shell} DIRECTORY {there}.");
            let _infallible = writeln!(text, "  rsync -aAXHS --delete {shell} DIRECTORY/ {there}.");
        }
        let _infallible = writeln!(text, "  mover-rsync pull {shell} {there}. DIRECTORY");
        let _infallible = write!(text, "  rsync -aAXHS {shell} {there}./ DIRECTORY/");
        text
    }
}

fn listen(text: &str) -> Result<Listen, String> {
    let (address, port) = text.rsplit_once(':').unwrap_or(("", text));
    let address = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let wrong = |what: &str| format!("{what}: an address and a port are wanted, or a port");
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong(port))?;
    let address = match address {
        "" => None,
        address => Some(address.parse().map_err(|_| wrong(address))?),
    };
    Ok(Listen { address, port })
}

impl Listen {
    /// As sshd is told.
    fn lines(&self) -> String {
        let address = self.address.map(|address| format!("ListenAddress {address}\n")).unwrap_or_default();
        format!("{address}Port {}", self.port)
    }

    /// What this machine is called at the other end.
    fn host(&self) -> String {
        match self.address {
            Some(IpAddr::V6(address)) if !address.is_unspecified() => format!("[{address}]"),
            Some(address) if !address.is_unspecified() => address.to_string(),
            _ => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }
}

/// Whole, because sshd starts sessions elsewhere.
fn directory(path: &Path) -> Result<PathBuf, Fatal> {
    let shown = Shown(path.as_os_str().as_bytes()).to_string();
    let whole = fs::canonicalize(path).map_err(|error| unusable(&shown, &error))?;
    if whole.is_dir() { Ok(whole) } else { Err(unusable(&shown, &"it is no directory")) }
}

/// The name of the user who runs this, if sshd can let it in.
fn user() -> Result<String, Fatal> {
    let passwd = fs::read_to_string("/etc/passwd").map_err(|error| unusable("/etc/passwd", &error))?;
    account(&passwd, rustix::process::geteuid().as_raw()).map_err(|why| unusable("this user", &why))
}

/// `name:password:uid:gid:comment:home:shell`. sshd has sessions run by the shell.
fn account(passwd: &str, uid: u32) -> Result<String, String> {
    let accounts = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let account = accounts.into_iter().find(|fields| fields.get(2).is_some_and(|id| id.parse() == Ok(uid)));
    let Some(account) = account else {
        return Err(format!("/etc/passwd has no account {uid}, and sshd lets in only those that are there"));
    };
    let (name, shell) = (account[0].to_owned(), account.get(6).copied().unwrap_or_default());
    match Path::new(shell).file_name().and_then(OsStr::to_str) {
        Some("nologin" | "false") => Err(format!("the shell of {name} is {shell}, and sshd would let it run nothing")),
        _ => Ok(name),
    }
}

/// The key that is there, a new one in its place, or one for this time; and its fingerprint.
fn host_key(given: Option<&Path>, dir: &Path) -> Result<(PathBuf, String), Fatal> {
    let key = given.map_or_else(|| Ok(dir.join("host_key")), std::path::absolute);
    let key = key.map_err(|error| unusable("the host key", &error))?;
    let shown = key.display().to_string();
    if !key.exists() {
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", "mover-rsync serve", "-f"];
        let made = Command::new("ssh-keygen").args(args).arg(&key).status();
        let made = made.map_err(|error| unusable(&shown, &format!("ssh-keygen: {error}")))?;
        if !made.success() {
            return Err(unusable(&shown, &"ssh-keygen made none"));
        }
    }
    let text = fs::read(&key).map_err(|error| unusable(&shown, &error))?;
    if !text.starts_with(b"-----BEGIN") {
        return Err(unusable(&shown, &"it is no private key"));
    }
    let told = Command::new("ssh-keygen").arg("-l").arg("-f").arg(&key).output();
    let told = told.map_err(|error| unusable(&shown, &format!("ssh-keygen: {error}")))?;
    // `256 SHA256:... comment (ED25519)`
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    match text.split_ascii_whitespace().nth(1) {
        Some(fingerprint) if told.status.success() => Ok((key, fingerprint.to_owned())),
        _ => Err(unusable(&shown, &"it is no private key")),
    }
}

/// The file of all keys that are let in.
fn authorized(given: &[OsString], dir: &Path) -> Result<Option<PathBuf>, Fatal> {
    if given.is_empty() {
        return Ok(None);
    }
    let mut keys = Vec::new();
    for key in given {
        let text = if is_key(key) { key.as_bytes().to_vec() } else { read(key)? };
        keys.extend_from_slice(text.trim_ascii());
        keys.push(b'\n');
    }
    let file = dir.join("authorized_keys");
    let written = fs::write(&file, keys).and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o600)));
    written.map_err(|error| unusable("the authorized keys", &error))?;
    Ok(Some(file))
}

/// A key itself has a blank behind its kind.
fn is_key(given: &OsStr) -> bool {
    let kinds: [&[u8]; 4] = [b"ssh-", b"ecdsa-", b"sk-ssh-", b"sk-ecdsa-"];
    kinds.iter().any(|kind| given.as_bytes().starts_with(kind)) && given.as_bytes().contains(&b' ')
}

fn read(file: &OsStr) -> Result<Vec<u8>, Fatal> {
    let text = fs::read(file).map_err(|error| unusable(&Shown(file.as_bytes()).to_string(), &error))?;
    if text.trim_ascii().starts_with(b"-----BEGIN") {
        return Err(unusable(
            &Shown(file.as_bytes()).to_string(),
            &"it is a private key, and the public one is wanted",
        ));
    }
    Ok(text)
}

/// What sshd has the user's shell run.
fn forced_command(directory: &Path, read_only: bool) -> Result<String, Fatal> {
    let own = std::env::current_exe().map_err(|error| unusable("this program", &error))?;
    let access = if read_only { "read" } else { "all" };
    let word = |path: &Path| {
        let text = path.to_str().filter(|text| !text.contains(['\n', '\r']));
        let text = text.ok_or_else(|| unusable(&path.display().to_string(), &"sshd cannot be told such a name"))?;
        Ok::<_, Fatal>(format!("'{}'", text.replace('\'', r"'\''")))
    };
    Ok(format!("{} forced-command --access {access} --data {}", word(&own)?, word(directory)?))
}

fn unusable(what: &str, why: &dyn std::fmt::Display) -> Fatal {
    Fatal::Other(ExitCode::FileSelect, format!("cannot use {what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_listen_at_are_understood() {
        for (text, address, port, host) in [
            ("8022", None, 8022, None),
            (":22", None, 22, None),
            ("127.0.0.1:2222", Some("127.0.0.1"), 2222, Some("127.0.0.1")),
            ("[::1]:2222", Some("::1"), 2222, Some("[::1]")),
            ("::1:2222", Some("::1"), 2222, Some("[::1]")),
        ] {
            let found = listen(text).unwrap();
            let expected = Listen { address: address.map(|address| address.parse().unwrap()), port };
            assert_eq!(found, expected, "{text}");
            assert!(host.is_none_or(|host| host == found.host()), "{text}");
        }
        for wrong in ["", "0", "x", "host:22", "127.0.0.1:0", "1.2.3.4", "70000"] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
        assert_eq!(listen("[::1]:2222").unwrap().lines(), "ListenAddress ::1\nPort 2222");
    }

    #[test]
    fn keys_and_files_of_keys_are_told_apart() {
        for (given, key) in
            [("ssh-ed25519 AAAA me", true), ("ssh-keys", false), ("/home/me/id.pub", false), ("sk-ssh-x AA", true)]
        {
            assert_eq!(is_key(OsStr::new(given)), key, "{given}");
        }
    }

    #[test]
    fn only_accounts_with_a_shell_can_serve() {
        let passwd =
            "root:x:0:0::/root:/bin/bash\nnobody:x:65534:65534::/:/usr/sbin/nologin\nme:x:1000:1000::/home/me:\n";
        assert_eq!(account(passwd, 0).as_deref(), Ok("root"));
        assert_eq!(account(passwd, 1000).as_deref(), Ok("me"));
        assert!(account(passwd, 65534).unwrap_err().contains("nologin"));
        assert!(account(passwd, 7).unwrap_err().contains("no account 7"));
    }

    #[test]
    fn names_survive_the_users_shell() {
        let command = forced_command(Path::new("/a 'b'"), true).unwrap();
        assert!(command.ends_with(r" forced-command --access read --data '/a '\''b'\'''"), "{command}");
        assert_eq!(forced_command(Path::new("/a\nb"), false).unwrap_err().code(), 3);
    }
}
