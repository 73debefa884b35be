//! The images that `images/build` made, run by runc as a node would: read-only root, few capabilities or none, a small
//! `/tmp`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::mover::{release_dir, repository};
use crate::peers;
use crate::process::{LIMIT, Outcome, Running, run};

/// An image, unpacked.
#[derive(Debug)]
pub struct Image {
    /// The `config` object of the image: entry point, environment, user.
    pub config: Value,
    rootfs: TempDir,
}

impl Image {
    /// Unpacks the image `name` of this build; its root file system is the layer as it would be pulled.
    pub fn load(name: &str) -> Self {
        let layout = layout(name);
        let manifest = blob(&layout, &digest(&json_file(&layout.join("index.json"))["manifests"][0]));
        let manifest = json_file(&manifest);
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1, "one layer");
        let rootfs = TempDir::with_prefix("rootfs-").unwrap();
        let mut tar = Command::new(peers::tool("tar"));
        run(tar.arg("-xpf").arg(blob(&layout, &digest(&layers[0]))).arg("-C").arg(rootfs.path())).success();
        let config = json_file(&blob(&layout, &digest(&manifest["config"])))["config"].take();
        Self { config, rootfs }
    }

    /// The root file system.
    pub fn root(&self) -> &Path {
        self.rootfs.path()
    }

    /// Runs `args` to their end as the operator runs a mover without privileges, with the loopback of this machine.
    #[track_caller]
    pub fn run(&self, user: u32, args: &[&str], env: &[(&str, &str)], mounts: &[(&Path, &str)]) -> Outcome {
        let pod = Pod { user, capabilities: &[], args, env, mounts, scratch: &[], network: Network::Host };
        self.start(&pod).running.wait(LIMIT)
    }

    /// Starts a container.
    pub fn start(&self, pod: &Pod<'_>) -> Container {
        let bundle = TempDir::with_prefix("bundle-").unwrap();
        fs::write(bundle.path().join("config.json"), pod.spec(self.root()).to_string()).unwrap();
        let mut runc = runc(&bundle);
        let running = Running::start(runc.args(["run", "--bundle"]).arg(bundle.path()).arg(id(&bundle)));
        Container { running, bundle }
    }
}

/// What the operator asks of a node for a mover: read-only root, UID and GID `user` without a way to gain
/// capabilities, `/tmp` of 16 MiB.
#[derive(Debug)]
pub struct Pod<'a> {
    /// UID and GID.
    pub user: u32,
    /// The only capabilities.
    pub capabilities: &'a [&'a str],
    /// The command.
    pub args: &'a [&'a str],
    /// Variables.
    pub env: &'a [(&'a str, &'a str)],
    /// Directories of this machine and their places; only `/data` can be written to.
    pub mounts: &'a [(&'a Path, &'a str)],
    /// Further places of file systems in memory.
    pub scratch: &'a [&'a str],
    /// What it reaches.
    pub network: Network<'a>,
}

/// The network of a container.
#[derive(Debug)]
pub enum Network<'a> {
    /// This machine's.
    Host,
    /// Nothing but a loopback of its own.
    Own,
    /// That of another container.
    Of(&'a Container),
}

/// A started container.
#[derive(Debug)]
pub struct Container {
    /// runc, which passes signals on to the container's first process.
    pub running: Running,
    bundle: TempDir,
}

impl Container {
    /// The first process, as this machine counts; waits until there is one.
    fn pid(&self) -> u64 {
        let deadline = Instant::now() + LIMIT;
        loop {
            let state = runc(&self.bundle).arg("state").arg(id(&self.bundle)).output().unwrap();
            let state: Value = serde_json::from_slice(&state.stdout).unwrap_or_default();
            match state["pid"].as_u64() {
                Some(pid) if pid > 0 && state["status"] == "running" => return pid,
                _ => assert!(Instant::now() < deadline && !self.running.has_ended(), "no container: {state}"),
            }
        }
    }
}

fn runc(bundle: &TempDir) -> Command {
    let mut runc = Command::new(peers::tool("runc"));
    runc.arg("--root").arg(bundle.path().join("state"));
    runc
}

fn id(bundle: &TempDir) -> &OsStr {
    bundle.path().file_name().unwrap()
}

/// The OCI layout that `images/build` wrote; panics when it is missing or older than the binary in it.
/// The layout of the image `name` of this build.
pub fn layout(name: &str) -> PathBuf {
    let release = release_dir();
    let target = release.ancestors().find(|dir| dir.join("images").join(name).is_dir());
    let layout = target.unwrap_or_else(|| panic!("no image {name}: run images/build")).join("images").join(name);
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert!(
        time(&layout.join("index.json")) >= time(&release.join(binary(name))),
        "old image {name}: run images/build"
    );
    layout
}

/// What an image's program is called, which is the image's name if its contents say nothing else.
fn binary(image: &str) -> String {
    let contents = fs::read_to_string(repository().join("images").join(image).join("contents")).unwrap();
    contents.lines().find_map(|line| line.strip_prefix("binary ")).unwrap_or(image).to_owned()
}

fn digest(descriptor: &Value) -> String {
    descriptor["digest"].as_str().unwrap().to_owned()
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

impl Pod<'_> {
    fn spec(&self, root: &Path) -> Value {
        let env = self.env.iter().map(|(name, value)| format!("{name}={value}"));
        let env: Vec<_> = env.chain(["PATH=/usr/bin:/bin".to_owned()]).collect();
        let (none, granted) = ([""; 0], self.capabilities);
        let capabilities = json!({"bounding": granted, "effective": granted, "permitted": granted, "inheritable": none, "ambient": none});
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": self.user, "gid": self.user},
                "args": self.args,
                "env": env,
                "cwd": "/",
                "noNewPrivileges": true,
                "capabilities": capabilities,
            },
            "root": {"path": root, "readonly": true},
            "mounts": self.all_mounts(),
            "linux": {"namespaces": self.namespaces()},
        })
    }

    fn all_mounts(&self) -> Vec<Value> {
        let in_memory = |place: &str, mode: &str| json!({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": [mode, "size=16m"]});
        let mut all = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}),
            in_memory("/tmp", "mode=1777"),
        ];
        all.extend(self.scratch.iter().map(|place| in_memory(place, "mode=1777")));
        all.extend(self.mounts.iter().map(|(host, place)| {
            let options = if *place == "/data" { "rw" } else { "ro" };
            json!({"destination": place, "type": "none", "source": host, "options": ["rbind", options]})
        }));
        all
    }

    fn namespaces(&self) -> Vec<Value> {
        let mut all: Vec<_> = ["pid", "mount", "ipc", "uts"].iter().map(|kind| json!({"type": kind})).collect();
        match self.network {
            Network::Host => {}
            Network::Own => all.push(json!({"type": "network"})),
            Network::Of(other) => all.push(json!({"type": "network", "path": format!("/proc/{}/ns/net", other.pid())})),
        }
        all
    }
}
