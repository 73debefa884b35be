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

fn cache() -> PathBuf {
    std::env::var_os("VOLSYNC_RS_CACHE")
        .map_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/volsync-rs"), PathBuf::from)
}

/// Where a pinned program is that `tests/peers/install` has brought.
fn peer(name: &str) -> PathBuf {
    let pins = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/pins")).unwrap();
    let version = pins.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
    let path = cache().join(format!("peers/{name}-{version}/bin"));
    assert!(path.exists(), "{} is missing: run tests/peers/install", path.display());
    path
}

/// Programs that `tests/cluster/build` has made.
fn program(name: &str) -> PathBuf {
    let path = cache().join("cluster/current").join(name);
    assert!(path.exists(), "{} is missing: run tests/cluster/build", path.display());
    path
}

/// A program that ends with its value.
pub(crate) struct Running(Child);

impl Running {
    /// Asks the program to end, and waits until it has. Says whether it ended well.
    pub(crate) fn end(mut self) -> bool {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        self.wait()
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits until the program has ended by itself. Says whether it ended well.
    pub(crate) fn wait(&mut self) -> bool {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.success();
            }
            assert!(start.elapsed() < Duration::from_secs(30), "the program goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

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

pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// etcd and an API server, with the custom resources installed. Gone with the value.
pub(crate) struct Cluster {
    server: Option<Running>,
    _etcd: Running,
    /// Of etcd and of the API server.
    ports: (u16, u16),
    dir: TempDir,
}

/// A server that speaks plain HTTP.
pub(crate) struct Plain {
    pub(crate) port: u16,
    _running: Running,
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
        fs::write(dir.path().join("tokens.csv"), "test,admin,1,\"system:masters\"\nother,nobody,2,\n").unwrap();
        let server = Some(Self::server(dir.path(), client, api));
        let cluster = Self { server, _etcd: etcd, ports: (client, api), dir };
        let server = format!("https://127.0.0.1:{api}");
        fs::write(cluster.kubeconfig(), kubeconfig(&server, "test").to_string()).unwrap();
        cluster.wait_until_ready();
        cluster.install();
        fs::write(cluster.account(), kubeconfig(&server, &cluster.token()).to_string()).unwrap();
        cluster
    }

    fn server(dir: &Path, client: u16, api: u16) -> Running {
        start(
            dir,
            "kube-apiserver",
            Command::new(program("kube-apiserver")).current_dir(dir).args([
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
        )
    }

    /// Ends the API server and starts it again, over the same data.
    pub(crate) fn restart_server(&mut self) {
        drop(self.server.take());
        let (client, api) = self.ports;
        self.server = Some(Self::server(self.dir.path(), client, api));
        self.wait_until_ready();
    }

    /// The same, and what was written meanwhile is compacted away: no watch can go on where it was.
    pub(crate) fn restart_server_without_history(&mut self) {
        drop(self.server.take());
        let (client, api) = self.ports;
        let etcd = |path: &str, body: &Value| {
            let url = format!("http://127.0.0.1:{client}/v3/kv/{path}");
            let output = Command::new("curl").args(["-sSf", "-d", &body.to_string(), &url]).output().unwrap();
            assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice::<Value>(&output.stdout).unwrap()
        };
        // "a" and "b" in Base64.
        let mut written = Value::Null;
        for _ in 0..10 {
            written = etcd("put", &json!({ "key": "YQ==", "value": "Yg==" }));
        }
        etcd("compaction", &json!({ "revision": written["header"]["revision"], "physical": true }));
        self.server = Some(Self::server(self.dir.path(), client, api));
        self.wait_until_ready();
    }

    /// The API server over plain HTTP.
    pub(crate) fn plain(&self) -> Plain {
        let [port] = free_ports();
        let mut command = self.command(&["proxy", "--disable-filter=true", &format!("--port={port}")]);
        let running = start(self.dir.path(), "kubectl-proxy", &mut command);
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", self.log("kubectl-proxy"));
            std::thread::sleep(Duration::from_millis(20));
        }
        Plain { port, _running: running }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// The configuration of the account that `deploy` gives the controller.
    fn account(&self) -> PathBuf {
        self.dir.path().join("account")
    }

    fn token(&self) -> String {
        self.kubectl(&["create", "token", "volsync"]).trim().to_owned()
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

    /// Installs what users install, in the namespace of the tests.
    fn install(&self) {
        let overlay = self.dir.path().join("overlay");
        fs::create_dir(&overlay).unwrap();
        // A base must be named by its way from here.
        let base = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/base")).unwrap();
        let up = "../".repeat(fs::canonicalize(&overlay).unwrap().components().count() - 1);
        let resources = json!([format!("{up}{}", base.to_str().unwrap().trim_start_matches('/'))]);
        let kustomization = json!({ "namespace": "prod", "resources": resources });
        fs::write(overlay.join("kustomization.yaml"), kustomization.to_string()).unwrap();
        self.kubectl(&["apply", "-k", overlay.to_str().unwrap()]);
        self.kubectl(&["apply", "-f", program("volumesnapshots.yaml").to_str().unwrap()]);
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", PATIENCE]);
    }

    /// Installs upstream's definitions of the custom resources in place of ours.
    pub(crate) fn install_upstreams_definitions(&self) {
        for kind in ["replicationsources", "replicationdestinations"] {
            let template = peer("volsync").join(format!("../chart/templates/volsync.backube_{kind}.yaml"));
            let template = fs::read_to_string(template).unwrap();
            let plain: Vec<&str> = template.lines().filter(|line| !line.starts_with("{{")).collect();
            let file = self.dir.path().join(format!("{kind}.yaml"));
            fs::write(&file, plain.join("\n")).unwrap();
            self.kubectl(&["replace", "-f", file.to_str().unwrap()]);
        }
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

    /// What kubectl says, whatever it thinks of it.
    pub(crate) fn answer(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.command(arguments).output().unwrap().stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn create(&self, object: &Value) {
        self.create_in("prod", object);
    }

    pub(crate) fn create_in(&self, namespace: &str, object: &Value) {
        let mut command = self.command(&["create", "-f", "-", "--namespace", namespace]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
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

    /// As `patch_status`, of an object that may be gone.
    pub(crate) fn try_patch_status(&self, object: &str, status: &Value) {
        let changes = json!({ "status": status }).to_string();
        let patch = ["patch", object, "--type=merge", "--subresource=status", "-p", &changes];
        let output = self.command(&patch).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || errors.contains("not found"), "{errors}");
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

    /// Waits until a field of an object is as it should be.
    fn wait_for_field(&self, object: &str, pointer: &str, is: impl Fn(&Value) -> bool) {
        let path = pointer.replace('.', "/");
        let start = Instant::now();
        loop {
            let output = self.command(&["get", object, "-o", "json"]).output().unwrap();
            let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let value = found.pointer(&path).cloned().unwrap_or_default();
            if is(&value) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{object}: {pointer} is {value}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn wait_until_set(&self, object: &str, path: &str) {
        self.wait_for_field(object, path, |value| !value.is_null());
    }

    pub(crate) fn wait_until_unset(&self, object: &str, path: &str) {
        self.wait_for_field(object, path, Value::is_null);
    }

    pub(crate) fn wait_until_changed(&self, object: &str, path: &str, old: &Value) {
        self.wait_for_field(object, path, |value| !value.is_null() && value != old);
    }

    /// Names of all objects of a kind that are ours.
    pub(crate) fn names(&self, kind: &str) -> Vec<String> {
        let listed = self.kubectl(&["get", kind, "-l", "app.kubernetes.io/created-by=volsync", "-o", "name"]);
        listed.lines().filter_map(|line| Some(line.split_once('/')?.1.to_owned())).collect()
    }

    pub(crate) fn event_reasons(&self) -> Vec<String> {
        let listed =
            self.kubectl(&["get", "events.events.k8s.io", "-o", "jsonpath={range .items[*]}{.reason}{\"\\n\"}{end}"]);
        listed.lines().map(str::to_owned).collect()
    }

    pub(crate) fn wait_for_event(&self, reason: &str) {
        let start = Instant::now();
        while !self.event_reasons().iter().any(|found| found == reason) {
            assert!(start.elapsed() < Duration::from_secs(30), "no {reason}: {:?}", self.event_reasons());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The snapshot that is being made of a destination's claim.
    pub(crate) fn snapshot_of(&self, claim: &str) -> String {
        let annotation = ".metadata.annotations.volsync\\.backube/snapname";
        self.kubectl(&["wait", &format!("--for=jsonpath={{{annotation}}}"), claim, PATIENCE]);
        let name = self.get(claim)["metadata"]["annotations"]["volsync.backube/snapname"].as_str().unwrap().to_owned();
        let snapshot = format!("volumesnapshot/{name}");
        self.wait_for(&snapshot);
        snapshot
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

    /// The controller as users start it, with the rights that `deploy` gives it.
    pub(crate) fn controller(&self) -> Running {
        self.controller_with("controller", &[])
    }

    /// One that reaches the API server through this port, over plain HTTP.
    pub(crate) fn controller_through(&self, port: u16) -> Running {
        self.controller_with("through", &[&self.through(port)])
    }

    /// The argument that leads a controller through this port.
    pub(crate) fn through(&self, port: u16) -> String {
        let file = self.dir.path().join("through.kubeconfig");
        fs::write(&file, kubeconfig(&format!("http://127.0.0.1:{port}"), "test").to_string()).unwrap();
        format!("--kubeconfig={}", file.display())
    }

    /// Upstream's controller, with the same settings.
    pub(crate) fn upstream(&self) -> Running {
        let mut command = Command::new(peer("volsync").join("volsync"));
        command.env("KUBECONFIG", self.kubeconfig()).env("VOLSYNC_NAMESPACE", "prod").args([
            "--rclone-container-image=mover:1",
            "--rsync-container-image=rsync:1",
            "--rsync-tls-container-image=rsync-tls:1",
            "--health-probe-bind-address=0",
            "--metrics-bind-address=0",
            "--mover-image-pull-secrets=pull,nowhere",
        ]);
        start(self.dir.path(), "upstream", &mut command)
    }

    /// One with more arguments. Its name is that of its machine, and of its log.
    pub(crate) fn controller_with(&self, name: &str, arguments: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volsync-controller"));
        command.env("KUBECONFIG", self.account()).env("HOSTNAME", name).env("VOLSYNC_NAMESPACE", "prod").args([
            "run",
            "--rclone-container-image=mover:1",
            "--rsync-container-image=rsync:1",
            "--rsync-tls-container-image=rsync-tls:1",
            "--health-probe-bind-address=0",
        ]);
        start(self.dir.path(), name, command.args(arguments))
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap()
    }
}

fn kubeconfig(server: &str, token: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": { "server": server, "insecure-skip-tls-verify": true } }],
        "users": [{ "name": "u", "user": { "token": token } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    })
}
