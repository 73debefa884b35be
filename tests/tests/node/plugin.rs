//! Replications that upstream's plug-in for kubectl makes and starts.

use serde_json::json;
use tempfile::TempDir;
use volsync_tests::peers;
use volsync_tests::process::run;
use volsync_tests::rsync::{NO_XATTRS, assert_same};

use crate::cluster::{Cluster, Namespace};
use crate::operator;
use crate::replication::{fill, from_snapshot};

/// The plug-in, with its files in a directory of its own.
struct Plugin<'a> {
    namespace: &'a Namespace<'a>,
    files: TempDir,
}

impl<'a> Plugin<'a> {
    fn new(namespace: &'a Namespace<'a>) -> Self {
        Self { namespace, files: TempDir::new().unwrap() }
    }

    #[track_caller]
    fn replication(&self, arguments: &[&str]) {
        let mut command = self.namespace.cluster.inside(&peers::kubectl_plugin());
        command.arg("--config-dir").arg(self.files.path()).args(["replication", "-r", "mirror"]).args(arguments);
        run(&mut command).success();
    }

    /// Brings the claim `data` to the destination `copy`.
    fn connect(&self, method: &str) {
        let name = |object: &str| format!("{}/{object}", self.namespace.name);
        self.replication(&["create"]);
        self.replication(&["set-source", "--pvcname", &name("data"), "--copymethod", "Snapshot"]);
        self.replication(&["set-destination", "--destination", &name("copy"), "--copymethod", method]);
    }
}

#[test]
fn the_plugin_schedules_a_replication_into_snapshots() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.privileged_namespace("plugin-schedule");
    let data = namespace.claim("data", &json!(null));
    fill(&data, 7);
    let plugin = Plugin::new(&namespace);
    plugin.connect("Snapshot");
    // The first sync does not wait for its time.
    plugin.replication(&["schedule", "--cronspec", "0 0 1 1 *"]);
    let image = namespace.wait_for("replicationdestination/copy", ".status.latestImage.name");
    assert_same(&data, &namespace.claim("restored", &from_snapshot(&image)), NO_XATTRS);
    plugin.replication(&["delete"]);
    namespace.wait_until_gone("replicationdestination/copy");
    assert!(namespace.names("replicationsources").is_empty());
}

#[test]
fn the_plugin_syncs_into_a_claim_and_waits_for_it() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.privileged_namespace("plugin-sync");
    let data = namespace.claim("data", &json!(null));
    fill(&data, 8);
    let copy = namespace.claim("copy", &json!(null));
    let plugin = Plugin::new(&namespace);
    plugin.connect("Direct");
    plugin.replication(&["sync"]);
    assert_same(&data, &copy, NO_XATTRS);
    plugin.replication(&["delete"]);
    namespace.wait_until_gone("replicationdestination/copy");
    namespace.wait_for("pvc/copy", ".spec.volumeName");
}
