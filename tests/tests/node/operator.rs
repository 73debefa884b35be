//! Who runs the replications: our controller in the cluster, or upstream's operator.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use volsync_tests::peers;
use volsync_tests::process::run;

use crate::cluster::{Cluster, chart, digest};

const NAMESPACE: &str = "volsync-system";

/// Our controller, installed by the chart.
pub(crate) fn ours(cluster: &Cluster) {
    install(cluster, "1", None, &[]);
}

/// The same with another image for all replications.
pub(crate) fn ours_with(cluster: &Cluster, movers: &str) {
    install(cluster, "1", Some(movers), &[]);
}

/// The same with further values of the chart.
pub(crate) fn ours_set(cluster: &Cluster, values: &[(&str, &str)]) {
    install(cluster, "1", None, values);
}

/// Ends our controller's pod without a warning, as a node that fails would. Its lease, which would run out after 137 s, is
/// taken from it at once.
pub(crate) fn kill_ours(cluster: &Cluster) {
    let kubectl = |arguments: &[&str]| cluster.kubectl(&[&["--namespace", NAMESPACE], arguments].concat());
    kubectl(&["delete", "pod", "-l", "app.kubernetes.io/instance=volsync", "--force", "--grace-period=0"]);
    kubectl(&["delete", "lease", "b95b3104.backube"]);
}

fn install(cluster: &Cluster, replicas: &str, movers: Option<&str>, more: &[(&str, &str)]) {
    let mover = |ours: &str| movers.map_or_else(|| Cluster::image(ours), str::to_owned);
    let mut helm = cluster.inside(&peers::helm());
    helm.args(["upgrade", "--install", "volsync"]).arg(chart());
    helm.args(["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout=90s"]);
    let values = [
        ("image.image", Cluster::image("controller")),
        ("rclone.image", mover("mover-rclone")),
        ("rsync.image", mover("mover-rsync")),
        ("rsync-tls.image", mover("mover-rsync")),
        // The tag stays the same: a new image needs another reason for a new pod.
        ("podAnnotations.digest", digest("controller")),
    ];
    for (name, value) in values {
        helm.arg("--set-string").arg(format!("{name}={value}"));
    }
    for (name, value) in more {
        helm.arg("--set").arg(format!("{name}={value}"));
    }
    run(helm.arg("--set").arg(format!("replicaCount={replicas}"))).success();
}

/// Upstream's operator with our movers. It ends with the value.
pub(crate) struct Upstream(Child);

impl Upstream {
    /// Starts it beside the cluster, once ours has ended.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        install(cluster, "0", None, &[]);
        let selector = "app.kubernetes.io/instance=volsync";
        cluster.kubectl(&["--namespace", NAMESPACE, "wait", "--for=delete", "pod", "-l", selector, "--timeout=60s"]);
        let log = cluster.log("upstream.log");
        let mut operator = cluster.inside(&peers::upstream());
        operator.args(["--metrics-bind-address=0", "--health-probe-bind-address=0"]);
        operator.arg(format!("--rclone-container-image={}", Cluster::image("mover-rclone")));
        operator.arg(format!("--rsync-container-image={}", Cluster::image("mover-rsync")));
        operator.arg(format!("--rsync-tls-container-image={}", Cluster::image("mover-rsync")));
        operator.env("VOLSYNC_NAMESPACE", NAMESPACE);
        Self(spawn(&mut operator, log))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(command: &mut Command, log: File) -> Child {
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}
