//! Services, and the address that is published.

use crate::{OWNER, lasting, to_json};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;
use std::collections::BTreeMap;
use volsync_controller::objects::{
    names::Direction,
    service::{self, ServiceOptions},
};

#[test]
fn the_services_of_rsync() {
    let mut metadata = lasting("volsync-rsync-dst-db");
    metadata["annotations"] = json!({ "service.beta.kubernetes.io/aws-load-balancer-type": "nlb" });
    let mut expect = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "selector": {
                "app.kubernetes.io/name": "dst-db", "app.kubernetes.io/component": "rsync-mover",
                "app.kubernetes.io/part-of": "volsync",
            },
            "ports": [{ "name": "ssh", "port": 22, "protocol": "TCP", "targetPort": 8022 }],
        },
    });
    assert_eq!(to_json(&service::ssh(&OWNER, Direction::Destination, ServiceOptions::default())), expect);
    let (kind, none) = ("LoadBalancer".to_owned(), BTreeMap::new());
    let options = ServiceOptions { kind: Some(&kind), annotations: Some(&none), port: Some(2222) };
    expect["spec"]["type"] = json!("LoadBalancer");
    expect["spec"]["ports"][0]["port"] = json!(2222);
    expect["metadata"]["annotations"] = json!({});
    assert_eq!(to_json(&service::ssh(&OWNER, Direction::Destination, options)), expect);
    let tls = to_json(&service::tls(&OWNER, options));
    assert_eq!(tls["metadata"]["name"], "volsync-rsync-tls-dst-db");
    let port = json!([{ "name": "rsync-tls", "port": 8000, "protocol": "TCP", "targetPort": 8000 }]);
    assert_eq!(tls["spec"]["ports"], port);
}

#[test]
fn the_address_that_is_published() {
    for (kind, cluster_ip, ingress, expect) in [
        ("ClusterIP", "10.0.0.1", json!([]), Some("10.0.0.1")),
        ("ClusterIP", "", json!([]), None),
        ("NodePort", "10.0.0.1", json!([]), Some("10.0.0.1")),
        ("LoadBalancer", "10.0.0.1", json!([]), None),
        ("LoadBalancer", "10.0.0.1", json!([{}]), Some("10.0.0.1")),
        ("LoadBalancer", "10.0.0.1", json!([{ "ip": "fd00::1" }]), Some("fd00::1")),
        ("LoadBalancer", "10.0.0.1", json!([{ "ip": "1.2.3.4", "hostname": "lb" }, { "hostname": "b" }]), Some("lb")),
    ] {
        let service: Service = serde_json::from_value(json!({
            "spec": { "type": kind, "clusterIP": cluster_ip },
            "status": { "loadBalancer": { "ingress": ingress } },
        }))
        .unwrap();
        assert_eq!(service::published(&service), expect, "{service:?}");
    }
}
