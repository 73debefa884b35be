//! A real API server with nothing beside it: whatever changes, the controller or the test has changed.

use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything may take that has to happen.
const PATIENCE: &str = "--timeout=30s";

/// Programs that `tests/cluster/build` has made.
fn program(name: &str) -> PathBuf {
    let cache = std::env::var_os("VOLSYNC_RS_CACHE")
        .map_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/volsync-rs"), PathBuf::from);
    let path = cache.join("cluster/current").join(name);
    assert!(path.exists(), "{} is missing: run tests/cluster/build", path.display());
    path
}

/// A program that ends with its value.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, name: &str, command: &mut Command) -> Running {
    let log = fs::File::create(dir.join(format!("{name}.log"))).unwrap();
    Running(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// etcd and an API server, with the custom resources installed. Gone with the value.
pub(crate) struct Cluster {
    _running: [Running; 2],
    dir: TempDir,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let [client, peer, api] = free_ports();
        let etcd = start(
            dir.path(),
            "etcd",
            Command::new(program("etcd")).current_dir(&dir).args([
                "--data-dir=data",
                "--unsafe-no-fsync",
                "--log-level=error",
                &format!("--listen-client-urls=http://127.0.0.1:{client}"),
                &format!("--advertise-client-urls=http://127.0.0.1:{client}"),
                &format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                &format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
                &format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
            ]),
        );
        let key = dir.path().join("sa.key");
        assert!(
            Command::new("openssl")
                .args(["genrsa", "-out"])
                .arg(&key)
                .arg("2048")
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
        );
        fs::write(dir.path().join("tokens.csv"), "test,admin,1,\"system:masters\"\n").unwrap();
        let server = start(
            dir.path(),
            "kube-apiserver",
            Command::new(program("kube-apiserver")).current_dir(&dir).args([
                &format!("--etcd-servers=http://127.0.0.1:{client}"),
                &format!("--secure-port={api}"),
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--cert-dir=certificates",
                "--token-auth-file=tokens.csv",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-account-key-file=sa.key",
                "--service-account-signing-key-file=sa.key",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=RBAC",
                "--disable-admission-plugins=ServiceAccount",
            ]),
        );
        let cluster = Self { _running: [etcd, server], dir };
        fs::write(cluster.kubeconfig(), kubeconfig(api).to_string()).unwrap();
        cluster.wait_until_ready();
        cluster.install();
        cluster
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// An API server says on no channel that it is ready: it has to be asked.
    fn wait_until_ready(&self) {
        let start = Instant::now();
        while !self.command(&["get", "--raw", "/readyz"]).output().unwrap().status.success() {
            let log = fs::read_to_string(self.dir.path().join("kube-apiserver.log")).unwrap();
            assert!(start.elapsed() < Duration::from_mins(2), "{log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn install(&self) {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        for kind in ["replicationsources", "replicationdestinations"] {
            self.kubectl(&["apply", "-f", crds.join(format!("volsync.backube_{kind}.yaml")).to_str().unwrap()]);
        }
        self.kubectl(&["apply", "-f", program("volumesnapshots.yaml").to_str().unwrap()]);
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", PATIENCE]);
        self.kubectl(&["create", "namespace", "prod"]);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("kubectl"));
        command
            .env("KUBECONFIG", self.kubeconfig())
            .args(["--namespace=prod", "--warnings-as-errors=false"])
            .args(arguments);
        command
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let log = || fs::read_to_string(self.dir.path().join("controller.log")).unwrap_or_default();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kubectl {arguments:?}: {errors}\n{}", log());
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn create(&self, object: &Value) {
        let mut child = self.command(&["create", "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{object}");
    }

    pub(crate) fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", object, "-o", "json"])).unwrap()
    }

    pub(crate) fn patch(&self, object: &str, changes: &Value) {
        self.kubectl(&["patch", object, "--type=merge", "-p", &changes.to_string()]);
    }

    /// Does what other controllers of a whole cluster do.
    pub(crate) fn patch_status(&self, object: &str, status: &Value) {
        let changes = json!({ "status": status }).to_string();
        self.kubectl(&["patch", object, "--type=merge", "--subresource=status", "-p", &changes]);
    }

    pub(crate) fn wait_for(&self, object: &str) {
        self.kubectl(&["wait", "--for=create", object, PATIENCE]);
    }

    pub(crate) fn wait_until_gone(&self, object: &str) {
        self.kubectl(&["wait", "--for=delete", object, PATIENCE]);
    }

    pub(crate) fn wait_until(&self, object: &str, path: &str, value: &str) {
        self.kubectl(&["wait", &format!("--for=jsonpath={{{path}}}={value}"), object, PATIENCE]);
    }

    /// As `wait_until`, of an object that is deleted and made again meanwhile, at which kubectl gives up.
    pub(crate) fn wait_until_remade(&self, object: &str, path: &str, value: &str) {
        let start = Instant::now();
        let wanted = format!("--for=jsonpath={{{path}}}={value}");
        loop {
            self.wait_for(object);
            if self.command(&["wait", &wanted, object, PATIENCE]).output().unwrap().status.success() {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{object} has no {path} of {value}");
        }
    }

    /// The controller as users start it.
    pub(crate) fn controller(&self) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volsync-controller"));
        command.env("KUBECONFIG", self.kubeconfig()).args(["run", "--rclone-container-image=mover:1"]);
        start(self.dir.path(), "controller", &mut command)
    }
}

fn kubeconfig(port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": { "server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true } }],
        "users": [{ "name": "u", "user": { "token": "test" } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    })
}
