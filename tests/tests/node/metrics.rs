//! Metrics, as Prometheus reads them.

use serde_json::json;
use volsync_tests::peers;
use volsync_tests::process::run;

use crate::cluster::Cluster;
use crate::operator;

#[test]
fn metrics_are_for_those_to_whom_the_readers_role_is_bound() {
    let cluster = Cluster::take();
    operator::ours(&cluster);
    let namespace = cluster.namespace("metrics", &json!({}));
    namespace.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": "tests-read-metrics" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "volsync-metrics-reader" },
        "subjects": [{ "kind": "ServiceAccount", "name": "reader", "namespace": "metrics" }],
    }));
    let token = |account: &str| {
        namespace.kubectl(&["create", "serviceaccount", account]);
        namespace.kubectl(&["create", "token", account]).trim().to_owned()
    };
    let service = ["--namespace=volsync-system", "get", "service/volsync-metrics", "-o", "jsonpath={.spec.clusterIP}"];
    let url = format!("https://{}:8443/metrics", cluster.kubectl(&service));
    let status = |token: &str| {
        let mut curl = cluster.inside(&peers::tool("curl"));
        // A connection that is tried before the Service has its rules is lost for good: each try is a new one.
        curl.args(["--connect-timeout", "2", "--max-time", "20", "--retry", "30", "--retry-delay", "1"]);
        curl.arg("--retry-connrefused");
        curl.args(["--silent", "--insecure", "--output", "/dev/null", "--write-out", "%{http_code}", "--header"]);
        run(curl.arg(format!("Authorization: Bearer {token}")).arg(&url)).success().text()
    };
    assert_eq!(status("nobody"), "401");
    assert_eq!(status(&token("other")), "403");
    assert_eq!(status(&token("reader")), "200");
}
