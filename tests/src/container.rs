//! The images that `images/build` made, run by runc as a node would: read-only root, no capabilities, a small `/tmp`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::mover::release_dir;
use crate::peers;
use crate::process::{Outcome, run};

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

    /// Runs `args` under the contract of a mover's pod: read-only root, UID and GID `user` without capabilities or a
    /// way to gain any, `/tmp` of 16 MiB, `mounts` as host directory and place, and the loopback of this machine.
    #[track_caller]
    pub fn run(&self, user: u32, args: &[&str], env: &[(&str, &str)], mounts: &[(&Path, &str)]) -> Outcome {
        let bundle = TempDir::with_prefix("bundle-").unwrap();
        let spec = spec(self.root(), user, args, env, mounts);
        fs::write(bundle.path().join("config.json"), spec.to_string()).unwrap();
        let id = bundle.path().file_name().unwrap().to_owned();
        let mut runc = Command::new(peers::tool("runc"));
        run(runc.arg("--root").arg(bundle.path().join("state")).args(["run", "--bundle"]).arg(bundle.path()).arg(id))
    }
}

/// The OCI layout that `images/build` wrote; panics when it is missing or older than the binary in it.
fn layout(name: &str) -> PathBuf {
    let release = release_dir();
    let target = release.ancestors().find(|dir| dir.join("images").join(name).is_dir());
    let layout = target.unwrap_or_else(|| panic!("no image {name}: run images/build")).join("images").join(name);
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert!(time(&layout.join("index.json")) >= time(&release.join(name)), "old image {name}: run images/build");
    layout
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

fn spec(root: &Path, user: u32, args: &[&str], env: &[(&str, &str)], mounts: &[(&Path, &str)]) -> Value {
    let env = env.iter().map(|(name, value)| format!("{name}={value}"));
    let env: Vec<_> = env.chain(["PATH=/usr/bin:/bin".to_owned()]).collect();
    let none: [&str; 0] = [];
    let mut all = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}),
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777", "size=16m"]}),
    ];
    all.extend(mounts.iter().map(|(host, place)| {
        let options = if *place == "/data" { "rw" } else { "ro" };
        json!({"destination": place, "type": "none", "source": host, "options": ["rbind", options]})
    }));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": user},
            "args": args,
            "env": env,
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {"bounding": none, "effective": none, "permitted": none, "inheritable": none, "ambient": none},
        },
        "root": {"path": root, "readonly": true},
        "mounts": all,
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
    })
}
