//! The cluster of `tests/cluster/up`, for one test at a time.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use volsync_tests::mover::repository;
use volsync_tests::peers;
use volsync_tests::process::{Outcome, run};

/// How long anything may take that has to happen, pods and volumes included.
const PATIENCE: &str = "--timeout=90s";

/// The right to change the cluster. Another test waits until it is dropped.
pub(crate) struct Cluster {
    _turn: File,
    state: PathBuf,
}

impl Cluster {
    /// The running cluster, as soon as no other test has it.
    pub(crate) fn take() -> Self {
        let state = env::var_os("VOLSYNC_RS_CLUSTER")
            .map_or_else(|| PathBuf::from("/var/lib/volsync-rs-cluster"), PathBuf::from);
        assert!(state.join("complete").exists(), "no cluster runs in {}: tests/cluster/up", state.display());
        let turn = File::create(state.join("turn")).unwrap();
        turn.lock().unwrap();
        Self { _turn: turn, state }
    }

    /// A program within the cluster's network, as its administrator.
    pub(crate) fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new(peers::tool("nsenter"));
        command.arg("--net=/run/netns/volsync-rs").arg(program).env("KUBECONFIG", self.state.join("kubeconfig"));
        command
    }

    pub(crate) fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.inside(&peers::kubectl());
        command.args(arguments);
        command
    }

    /// Runs kubectl, which must succeed, and gives what it writes to standard output.
    #[track_caller]
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let Outcome { stdout, .. } = run(&mut self.kubectl_command(arguments)).success();
        String::from_utf8(stdout).unwrap()
    }

    /// The log of a program that runs beside the cluster.
    pub(crate) fn log(&self, name: &str) -> File {
        File::create(self.state.join("log").join(name)).unwrap()
    }

    /// A new namespace with labels and annotations.
    pub(crate) fn namespace(&self, name: &str, metadata: &Value) -> Namespace<'_> {
        run(&mut self.kubectl_command(&["delete", "namespace", name, "--ignore-not-found", PATIENCE])).success();
        let mut metadata = metadata.clone();
        metadata["name"] = json!(name);
        let namespace = Namespace { cluster: self, name: name.to_owned() };
        namespace.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }));
        namespace
    }

    /// A namespace in which pods may be root.
    pub(crate) fn privileged_namespace(&self, name: &str) -> Namespace<'_> {
        self.namespace(
            name,
            &json!({
                "labels": { "pod-security.kubernetes.io/enforce": "privileged" },
                "annotations": { "volsync.backube/privileged-movers": "true" },
            }),
        )
    }

    /// The image that `tests/cluster/load` brought, by the name of its directory in `images`.
    pub(crate) fn image(name: &str) -> String {
        format!("localhost/{name}:test")
    }
}

/// The namespace of a test, which goes with it.
pub(crate) struct Namespace<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: String,
}

impl Namespace<'_> {
    #[track_caller]
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    #[track_caller]
    pub(crate) fn apply(&self, object: &Value) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("object.json");
        fs::write(&file, object.to_string()).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    }

    #[track_caller]
    pub(crate) fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", object, "-o", "json"])).unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, object: &str, path: &str, value: &str) {
        self.kubectl(&["wait", &format!("--for=jsonpath={{{path}}}={value}"), object, PATIENCE]);
    }

    /// Waits until there is something at `path`.
    #[track_caller]
    pub(crate) fn wait_for(&self, object: &str, path: &str) -> String {
        self.kubectl(&["wait", &format!("--for=jsonpath={{{path}}}"), object, PATIENCE]);
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    #[track_caller]
    pub(crate) fn wait_until_made(&self, object: &str) {
        self.kubectl(&["wait", "--for=create", object, PATIENCE]);
    }

    #[track_caller]
    pub(crate) fn wait_until_gone(&self, object: &str) {
        self.kubectl(&["wait", "--for=delete", object, PATIENCE]);
    }

    /// A claim of a class that binds at once, from `source` if there is one, and the directory of its volume.
    #[track_caller]
    pub(crate) fn claim(&self, name: &str, source: &Value) -> PathBuf {
        self.ask_for_claim(name, "dataSource", source);
        self.bound(name)
    }

    /// A claim that may have to wait for its source, which is in this field.
    #[track_caller]
    pub(crate) fn ask_for_claim(&self, name: &str, field: &str, source: &Value) {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } }, field: source,
            },
        }));
    }

    /// The directory of a claim's volume on this machine, once it has one.
    #[track_caller]
    pub(crate) fn bound(&self, claim: &str) -> PathBuf {
        self.wait_until(&format!("pvc/{claim}"), ".status.phase", "Bound");
        self.volume(claim)
    }

    /// The directory of a bound claim's volume on this machine.
    #[track_caller]
    pub(crate) fn volume(&self, claim: &str) -> PathBuf {
        let volume = self.get(&format!("pvc/{claim}"))["spec"]["volumeName"].as_str().unwrap().to_owned();
        let volume = self.get(&format!("pv/{volume}"));
        let handle = volume["spec"]["csi"]["volumeHandle"].as_str().unwrap();
        self.cluster.state.join("volumes").join(handle).join("data")
    }

    /// Names of objects of a kind.
    #[track_caller]
    pub(crate) fn names(&self, kind: &str) -> Vec<String> {
        let names = self.kubectl(&["get", kind, "-o", "jsonpath={.items[*].metadata.name}"]);
        names.split_whitespace().map(str::to_owned).collect()
    }

    fn report(&self) {
        let everything = "replicationsources,replicationdestinations,jobs,pods,pvc,volumesnapshots,services";
        let questions: [&[&str]; 4] = [
            &["get", everything, "-o", "wide"],
            &["get", "replicationsources,replicationdestinations", "-o", "yaml"],
            &["get", "events", "--sort-by=.metadata.creationTimestamp"],
            &["logs", "--all-containers", "--prefix", "--tail=40", "-l", "job-name"],
        ];
        for question in questions {
            let arguments = [&["--namespace", &self.name], question].concat();
            eprintln!("{}", run(&mut self.cluster.kubectl_command(&arguments)));
        }
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.report();
        }
        let mut command = self.cluster.kubectl_command(&["delete", "namespace", &self.name, "--wait=false"]);
        let _gone_or_reported = volsync_tests::process::Running::start(&mut command).wait(Duration::from_mins(1));
    }
}

/// The digest that changes with an image.
pub(crate) fn digest(image: &str) -> String {
    let index = volsync_tests::container::layout(image).join("index.json");
    let index: Value = serde_json::from_str(&fs::read_to_string(index).unwrap()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

/// The chart of this repository.
pub(crate) fn chart() -> PathBuf {
    repository().join("deploy/chart")
}
