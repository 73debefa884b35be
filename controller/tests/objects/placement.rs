//! Where a mover has to run.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};
use volsync_controller::objects::{job::Placement, placement::placement};

fn claim(modes: &[&str]) -> PersistentVolumeClaim {
    serde_json::from_value(json!({ "metadata": { "name": "data" }, "status": { "accessModes": modes } })).unwrap()
}

fn pod(name: &str, phase: &str, claim: &str, node: Option<&str>) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "containers": [],
            "nodeName": node,
            "tolerations": [{ "key": name }],
            "volumes": [{ "name": "a", "emptyDir": {} }, { "name": "v", "persistentVolumeClaim": { "claimName": claim } }],
        },
        "status": { "phase": phase },
    })
}

fn place(modes: &[&str], pods: &[Value]) -> Result<Placement, String> {
    let pods: Vec<Pod> = pods.iter().map(|pod| serde_json::from_value(pod.clone()).unwrap()).collect();
    let hostname = |node: &str| (node != "nameless").then(|| format!("host-of-{node}"));
    placement(&claim(modes), &pods, hostname).map_err(|error| error.to_string())
}

fn on(node: &str, pod: &str) -> Placement {
    Placement {
        node_selector: Some([("kubernetes.io/hostname".to_owned(), format!("host-of-{node}"))].into()),
        tolerations: serde_json::from_value(json!([{ "key": pod }])).unwrap(),
    }
}

#[test]
fn a_volume_that_nobody_uses_may_be_anywhere() {
    let once = ["ReadWriteOnce"];
    assert_eq!(place(&once, &[]), Ok(Placement::default()));
    assert_eq!(place(&once, &[pod("a", "Running", "other", Some("n1"))]), Ok(Placement::default()));
    assert_eq!(place(&once, &[pod("a", "Succeeded", "data", Some("n1"))]), Ok(Placement::default()));
    assert_eq!(
        place(&["ReadWriteOnce", "ReadWriteMany"], &[pod("a", "Running", "data", Some("n1"))]),
        Ok(Placement::default())
    );
    let mut ours = pod("a", "Running", "data", Some("n1"));
    ours["metadata"]["labels"] = json!({ "app.kubernetes.io/created-by": "volsync" });
    assert_eq!(place(&once, &[ours]), Ok(Placement::default()));
}

#[test]
fn the_last_running_pod_counts_or_the_first_that_waits() {
    let [a, b] = ["a", "b"].map(|name| pod(name, "Running", "data", Some(name)));
    let [c, d] = ["c", "d"].map(|name| pod(name, "Pending", "data", Some(name)));
    assert_eq!(place(&[], &[c.clone(), a.clone(), b.clone(), d.clone()]), Ok(on("b", "b")));
    assert_eq!(place(&[], &[c, d]), Ok(on("c", "c")));
}

#[test]
fn a_pod_without_a_node_is_waited_for() {
    let waiting = pod("a", "Pending", "data", None);
    assert_eq!(place(&[], &[waiting]), Err("pod a uses the volume data and has no node yet".to_owned()));
    let nameless = pod("a", "Running", "data", Some("nameless"));
    assert_eq!(place(&[], &[nameless]), Err("node nameless has no label kubernetes.io/hostname".to_owned()));
}
