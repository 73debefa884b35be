//! The place a mover runs in: a root with the volume at `/data`, an empty `/tmp` and the Secret at `/rclone-config`, as
//! the VolSync operator mounts them. Real rclone with the commands of the upstream mover and our own binary run in the
//! same place, so that `permissions.facl` names the same paths.
//!
//! It is a mount namespace of its own on top of the machine's directories: no image, no network of its own.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{LIMIT, Outcome, Running};
use crate::servers::{S3Endpoint, SECTION, rclone_conf_with};
use crate::{mover, peers};

/// The user that tests about missing rights run as.
pub const UID: &str = "1234";

/// Where `strace` writes; nobody reads it.
const STRACE_LOG: &str = "/tmp/strace.log";

/// Arguments: empty directory for the new root, volume, Secret directory, program, then the command to run.
const ENTER: &str = r#"
set -e
root=$1 data=$2 secret=$3 program=$4; shift 4
mount -t tmpfs -o mode=755 pod "$root"
for entry in /*; do
  if [ -L "$entry" ]; then cp -P "$entry" "$root/"
  elif [ -d "$entry" ]; then
    mkdir "$root$entry"
    case $entry in /tmp|/data|/rclone-config|/mover-rclone) ;; *) mount --rbind "$entry" "$root$entry" ;; esac
  fi
done
mkdir -p "$root/tmp" "$root/data" "$root/rclone-config" "$root/mover-rclone"
mount --bind "$secret" "$root/rclone-config"
for file in passwd group; do
  [ ! -f "$secret/$file" ] || mount --bind "$secret/$file" "$root/etc/$file"
done
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
touch "$root/mover-rclone/active.sh"
mount --bind "$program" "$root/mover-rclone/active.sh"
mount --bind "$data" "$root/data"
exec chroot "$root" "$@"
"#;

/// The commands of the upstream source mover, with rclone at `/mover-rclone/active.sh`.
const UPSTREAM_SOURCE: &str = r#"
set -e -o pipefail
rclone=/mover-rclone/active.sh
find /data -path /data/lost+found -prune -o -print | getfacl -P - > /tmp/permissions.facl
$rclone sync --one-file-system --create-empty-src-dirs --exclude 'lost+found/**' /data "$1" --log-level DEBUG
$rclone copy --one-file-system --create-empty-src-dirs --stats-one-line-date --include permissions.facl /tmp "$1" --log-level DEBUG
sync -f /data
"#;

/// The commands of the upstream destination mover.
const UPSTREAM_DESTINATION: &str = r#"
set -e -o pipefail
rclone=/mover-rclone/active.sh
$rclone sync --one-file-system --create-empty-src-dirs --exclude 'lost+found/**' --exclude permissions.facl "$1" /data --log-level DEBUG
$rclone copy --one-file-system --create-empty-src-dirs --stats-one-line-date --include permissions.facl "$1" /tmp --log-level DEBUG
stat /tmp/permissions.facl
setfacl --restore=/tmp/permissions.facl || true
sync -f /data
"#;

/// Users and groups that upstream's image knows by names which Debian gives to others, or to none (RHEL 9, package
/// `setup`).
const UPSTREAM_USERS: &str = "root 0 bin 1 daemon 2 adm 3 lp 4 sync 5 mail 8 operator 11 games 12 ftp 14 nobody 65534";
const UPSTREAM_GROUPS: &str = "root 0 bin 1 daemon 2 sys 3 adm 4 tty 5 disk 6 wheel 10 mail 12 users 100 nobody 65534";

/// Which way the volume goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Volume to bucket.
    Source,
    /// Bucket to volume.
    Destination,
}

/// A volume, a Secret and the settings of one Job.
#[derive(Debug)]
pub struct Pod {
    data: PathBuf,
    secret: TempDir,
    root: TempDir,
    env: Vec<(String, String)>,
    /// Further ones for `unshare`.
    namespaces: Vec<&'static str>,
    prefix: Vec<String>,
    limit: Duration,
}

impl Pod {
    /// A Job on the volume `data` against `endpoint`.
    pub fn new(data: &Path, endpoint: &dyn S3Endpoint, provider: &str) -> Self {
        Self::with_options(data, endpoint, provider, "")
    }

    /// [`Pod::new`] with further lines in the section of the `rclone.conf`.
    pub fn with_options(data: &Path, endpoint: &dyn S3Endpoint, provider: &str, options: &str) -> Self {
        let conf = rclone_conf_with(endpoint, provider, options);
        let pod = Self::with_conf(data, &fs::read(conf).unwrap());
        match endpoint.ca() {
            Some(ca) => pod.custom_ca(ca),
            None => pod,
        }
    }

    /// A Job with any `rclone.conf`.
    pub fn with_conf(data: &Path, conf: &[u8]) -> Self {
        let [secret, root] = ["secret-", "pod-"].map(|prefix| TempDir::with_prefix(prefix).unwrap());
        fs::set_permissions(secret.path(), Permissions::from_mode(0o755)).unwrap();
        let (env, namespaces, prefix) = (Vec::new(), Vec::new(), Vec::new());
        let pod = Self { data: data.to_owned(), secret, root, env, namespaces, prefix, limit: LIMIT };
        pod.secret_file("rclone.conf", conf)
    }

    /// Trusts the authority in the PEM file `ca`.
    #[must_use]
    pub fn custom_ca(self, ca: &Path) -> Self {
        self.secret_file("ca.crt", &fs::read(ca).unwrap()).env("CUSTOM_CA", "/rclone-config/ca.crt")
    }

    /// Sets a variable, as a key of the Secret would; later ones win.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Calls users and groups by the names of upstream's image, whatever this machine calls them.
    #[must_use]
    pub fn upstream_accounts(self) -> Self {
        let table = |accounts: &str, rest: &str| {
            let words: Vec<&str> = accounts.split(' ').collect();
            let lines = words.chunks(2).map(|account| format!("{}:x:{}:{rest}\n", account[0], account[1]));
            lines.collect::<Vec<_>>().concat()
        };
        let passwd = table(UPSTREAM_USERS, "0::/:/sbin/nologin");
        let group = table(UPSTREAM_GROUPS, "");
        self.secret_file("passwd", passwd.as_bytes()).secret_file("group", group.as_bytes())
    }

    /// Runs as [`UID`] without any capability.
    #[must_use]
    pub fn unprivileged(mut self) -> Self {
        let setpriv = ["setpriv", "--reuid", UID, "--regid", UID, "--clear-groups", "--no-new-privs"];
        self.prefix.extend(setpriv.map(str::to_owned));
        self.prefix.extend(["--inh-caps=-all", "--bounding-set=-all"].map(str::to_owned));
        self
    }

    /// Runs in a user namespace that knows root alone, as a pod without the host's users does for all it does not map.
    #[must_use]
    pub fn user_namespace(mut self) -> Self {
        self.namespaces.extend(["--user", "--map-root-user"]);
        self
    }

    /// Answers system calls with an error: `strace --inject=WHAT`, for example `copy_file_range:error=ENOSYS`. Further
    /// calls add to it.
    #[must_use]
    pub fn inject(mut self, what: &str) -> Self {
        let what = format!("--inject={what}");
        match self.prefix.iter().position(|word| word == STRACE_LOG) {
            Some(log) => self.prefix.insert(log + 1, what),
            None => self.prefix.extend(["strace", "-f", "-qq", "-o", STRACE_LOG, &what].map(str::to_owned)),
        }
        self
    }

    /// Replaces the time limit of a run.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Our mover, as the operator starts it, on `path` = `BUCKET/PREFIX`.
    #[track_caller]
    pub fn ours(&self, direction: Direction, path: &str) -> Outcome {
        self.start_ours(direction, path).wait(self.limit)
    }

    /// [`Pod::ours`], not waited for.
    #[track_caller]
    pub fn start_ours(&self, direction: Direction, path: &str) -> Running {
        let mut command = self.command(&mover::binary(), &["/mover-rclone/active.sh"]);
        command.envs([("RCLONE_DEST_PATH", path), ("RCLONE_CONFIG_SECTION", SECTION), ("MOUNT_PATH", "/data")]);
        command.env("DIRECTION", if direction == Direction::Source { "source" } else { "destination" });
        command.env("PRIVILEGED_MOVER", if self.prefix.iter().any(|word| word == "setpriv") { "0" } else { "1" });
        Running::start(&mut command)
    }

    /// What the upstream mover runs, with the real rclone and the real `getfacl` and `setfacl`.
    #[track_caller]
    pub fn upstream(&self, direction: Direction, path: &str) -> Outcome {
        let script = if direction == Direction::Source { UPSTREAM_SOURCE } else { UPSTREAM_DESTINATION };
        let remote = format!("{SECTION}:{path}");
        let mut command = self.command(&peers::rclone(), &["bash", "-c", script, "upstream", &remote]);
        if self.env.iter().any(|(name, _)| name == "CUSTOM_CA") {
            command.env("RCLONE_CA_CERT", "/rclone-config/ca.crt");
        }
        command.envs([("RCLONE_TRANSFERS", "10"), ("RCLONE_CHECKSUM", "1"), ("RCLONE_STATS", "20s")]);
        Running::start(&mut command).wait(self.limit)
    }

    fn secret_file(self, name: &str, content: &[u8]) -> Self {
        let file = self.secret.path().join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        self
    }

    fn command(&self, program: &Path, argv: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(&self.namespaces);
        command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "pod"]);
        command.args([self.root.path(), &self.data, self.secret.path(), program].map(Path::as_os_str));
        command.args(self.prefix.iter().map(OsStr::new)).args(argv);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs([("HOME", "/tmp"), ("RCLONE_CONFIG", "/rclone-config/rclone.conf")]);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    fn enter(pod: &Pod, script: &str) -> String {
        process::run(&mut pod.command(&peers::tool("true"), &["sh", "-c", script])).success().text()
    }

    #[test]
    fn the_volume_is_at_data_and_tmp_is_empty() {
        let data = TempDir::new().unwrap();
        fs::write(data.path().join("file"), "content").unwrap();
        let pod = Pod::with_conf(data.path(), b"[remote]\n");
        let said = enter(&pod, "pwd; ls /tmp; cat /rclone-config/rclone.conf; ls /data; echo new > /data/made");
        assert_eq!(said, "/\n[remote]\nfile\n");
        assert_eq!(fs::read(data.path().join("made")).unwrap(), b"new\n");
    }

    #[test]
    fn an_unprivileged_pod_has_no_capability() {
        let data = TempDir::new().unwrap();
        let pod = Pod::with_conf(data.path(), b"").unprivileged();
        let said =
            enter(&pod, "id -u; grep -h -e CapEff -e CapBnd /proc/self/status; touch /data/x 2>/dev/null || echo no");
        assert_eq!(said, "1234\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nno\n");
    }

    #[test]
    fn injected_errors_reach_the_program() {
        let data = TempDir::new().unwrap();
        let pod = Pod::with_conf(data.path(), b"").inject("unlinkat:error=EROFS").inject("mkdir:error=EDQUOT");
        let said = enter(&pod, "touch /data/x; rm -f /data/x 2>&1 || true; mkdir /data/d 2>&1 || true");
        assert!(said.contains("Read-only file system") && said.contains("quota"), "{said}");
    }
}
