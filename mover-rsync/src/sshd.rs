//! An sshd of our own, in which a forced command of ours is all that anybody can run.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// After SIGTERM sshd and its sessions have this long; Kubernetes gives 30 s.
pub(crate) const GRACE: Duration = Duration::from_secs(4);

/// Between two looks whether they are gone.
const LOOK: Duration = Duration::from_millis(20);

/// What is peculiar to one of them.
#[derive(Debug)]
pub(crate) struct Sshd<'a> {
    /// sshd itself, which wants to be started by its whole path.
    pub(crate) program: &'a Path,
    /// Lines that say where it listens.
    pub(crate) listen: &'a str,
    /// The private key.
    pub(crate) host_key: &'a Path,
    /// Whom it lets in; `None`: whom the user's own file lets in, if nobody else may write to it.
    pub(crate) authorized: Option<&'a Path>,
    /// The command and the user, if not the keys say so.
    pub(crate) forced: Option<(&'a str, &'a str)>,
    /// Where the configuration and the number of the process are written.
    pub(crate) dir: &'a Path,
}

impl Sshd<'_> {
    /// Starts it.
    pub(crate) fn start(&self) -> io::Result<Child> {
        let config = self.dir.join("volsync-sshd-config");
        fs::write(&config, self.config())?;
        Command::new(self.program).args(["-D", "-e", "-f"]).arg(config).spawn()
    }

    fn config(&self) -> String {
        let path = |path: &Path| quoted(&path.display().to_string());
        let authorized = self
            .authorized
            .map_or(String::new(), |file| format!("AuthorizedKeysFile {}\nStrictModes no\n", path(file)));
        let forced = self.forced.map_or(String::new(), |(command, user)| {
            format!("AllowUsers {user}\nPermitTTY no\nPermitUserRC no\nForceCommand {command}\n")
        });
        format!(
            "{listen}\n\
             HostKey {host_key}\n\
             {authorized}\
             PidFile {pid}\n\
             UsePAM no\n\
             PermitRootLogin prohibit-password\n\
             PasswordAuthentication no\n\
             KbdInteractiveAuthentication no\n\
             GSSAPIAuthentication no\n\
             HostbasedAuthentication no\n\
             AllowAgentForwarding no\n\
             AllowTcpForwarding no\n\
             AllowStreamLocalForwarding no\n\
             X11Forwarding no\n\
             PermitTunnel no\n\
             UseDNS no\n\
             MaxSessions 100\n\
             MaxStartups 100\n\
             {penalties}\
             {forced}",
            listen = self.listen,
            host_key = path(self.host_key),
            pid = path(&self.pid_file()),
            penalties = if knows_penalties(self.program) { "PerSourcePenalties no\n" } else { "" },
        )
    }

    /// The file in which sshd says which process it is.
    fn pid_file(&self) -> PathBuf {
        self.dir.join(PID_FILE)
    }
}

/// Its name.
pub(crate) const PID_FILE: &str = "sshd.pid";

/// As sshd reads a word with blanks.
fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("\"{word}\"") } else { word.to_owned() }
}

/// Whether this sshd (9.8 and newer) punishes addresses for failed connections: probes of a load balancer may come from
/// the address that the source comes from.
fn knows_penalties(sshd: &Path) -> bool {
    let known = Command::new(sshd).args(["-T", "-f", "/dev/null", "-o", "PerSourcePenalties=no"]).output();
    known.is_ok_and(|out| !String::from_utf8_lossy(&out.stderr).contains("Bad configuration option"))
}

/// Waits for a process. As the first one of a container we also inherit orphans, and bury them.
pub(crate) fn wait(process: Pid) -> io::Result<rustix::process::WaitStatus> {
    loop {
        match waitpid(None, WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == process => return Ok(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// From now on sessions are ours when their sshd is gone, which they outlive.
pub(crate) fn adopt_sessions() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Ends everything that a process started, and what those started: with SIGTERM, and what is left after the grace with
/// SIGKILL.
pub(crate) fn end_descendants(process: Pid) {
    let running = || descendants(process).into_iter().filter(|pid| is_running(*pid)).collect::<Vec<_>>();
    let deadline = Instant::now() + GRACE;
    let mut told = HashSet::new();
    loop {
        let left = running();
        if left.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            for pid in left {
                signal(pid, Signal::KILL);
            }
            return;
        }
        for pid in left.into_iter().filter(|pid| told.insert(*pid)) {
            signal(pid, Signal::TERM);
        }
        sleep(LOOK);
    }
}

fn signal(process: Pid, signal: Signal) {
    // It may have ended by now.
    let _gone = kill_process(process, signal);
}

fn descendants(process: Pid) -> Vec<Pid> {
    let mut children = HashMap::<Pid, Vec<Pid>>::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if let Some((pid, parent)) = pid.and_then(|pid| Some((pid, parent(pid)?))) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut all = children.remove(&process).unwrap_or_default();
    let mut at = 0;
    while let Some(pid) = all.get(at) {
        all.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    all
}

/// `PID (NAME) STATE PARENT ...`, where the name may hold anything.
fn stat(pid: Pid) -> Option<(char, Option<Pid>)> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok().and_then(Pid::from_raw)))
}

fn parent(pid: Pid) -> Option<Pid> {
    stat(pid)?.1
}

/// What ended and was not buried yet does not run.
fn is_running(pid: Pid) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_punished_and_nothing_but_our_command_runs() {
        let (key, dir) = (Path::new("/a key"), Path::new("/d"));
        // It complains about nothing, as an sshd that knows all options.
        let program = Path::new("/bin/true");
        let forced = Some(("'/m' forced-command", "me"));
        let config = Sshd { program, listen: "Port 1", host_key: key, authorized: Some(key), forced, dir }.config();
        for line in [
            "Port 1",
            "HostKey \"/a key\"",
            "AuthorizedKeysFile \"/a key\"",
            "PidFile /d/sshd.pid",
            "PerSourcePenalties no",
            "AllowUsers me",
            "ForceCommand '/m' forced-command",
        ] {
            assert!(config.lines().any(|found| found == line), "{line} is missing:\n{config}");
        }
        let own = Sshd { program, listen: "Port 1", host_key: key, authorized: None, forced: None, dir }.config();
        assert!(!own.contains("AuthorizedKeysFile") && !own.contains("StrictModes") && !own.contains("ForceCommand"));
    }

    #[test]
    fn descendants_are_found_and_ended() {
        let shell = Command::new("sh").args(["-c", "sleep 1000 & sh -c 'trap : TERM; sleep 1000; :' & wait"]).spawn();
        let mut shell = shell.unwrap();
        let pid = Pid::from_child(&shell);
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut all = Vec::new();
        while all.len() < 3 && Instant::now() < deadline {
            all = descendants(pid);
        }
        assert_eq!(all.len(), 3, "{all:?}");
        end_descendants(pid);
        shell.wait().unwrap();
        while all.iter().any(|pid| is_running(*pid)) {
            assert!(Instant::now() < deadline, "{all:?}");
        }
    }
}
