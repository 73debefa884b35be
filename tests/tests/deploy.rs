//! The chart and the kustomization: valid, the same thing twice, and in upstream's places.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use volsync_tests::mover::repository;
use volsync_tests::peers;
use volsync_tests::process::run;

/// Objects by kind and name.
type Objects = BTreeMap<String, Value>;

fn objects(yaml: &str) -> Objects {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), yaml).unwrap();
    // The one command of kubectl that gives JSON for any YAML without asking a server; it wants to change something.
    let mut kubectl = Command::new(peers::kubectl());
    let json = text(kubectl.args(["annotate", "--local", "--output=json", "read=1", "--filename"]).arg(file.path()));
    let read = serde_json::Deserializer::from_str(&json).into_iter::<Value>().map(|object| {
        let mut object = object.unwrap();
        remove(&mut object, "annotations", &["read"]);
        let name = [&object["kind"], &object["metadata"]["name"]].map(|part| part.as_str().unwrap().to_owned());
        (name.join("/"), object)
    });
    read.collect()
}

/// Removes keys of a map in the metadata, and the map if nothing is left of it.
fn remove(object: &mut Value, field: &str, keys: &[&str]) {
    let metadata = object["metadata"].as_object_mut().unwrap();
    let Some(values) = metadata.get_mut(field).and_then(Value::as_object_mut) else { return };
    values.retain(|key, _| !keys.contains(&key.as_str()));
    if values.is_empty() {
        metadata.remove(field);
    }
}

fn text(command: &mut Command) -> String {
    String::from_utf8(run(command).success().stdout).unwrap()
}

fn template(chart: &str, values: &[&str]) -> Objects {
    let mut helm = Command::new(peers::helm());
    helm.current_dir(repository()).args(["template", "volsync", chart, "--namespace=volsync-system"]);
    for value in values {
        helm.args(["--set", value]);
    }
    objects(&text(&mut helm))
}

fn chart(values: &[&str]) -> Objects {
    template("deploy/chart", values)
}

fn kustomize(directory: &str) -> Objects {
    objects(&text(Command::new(peers::kubectl()).current_dir(repository()).args(["kustomize", directory])))
}

/// Without what only Helm needs.
fn plain(mut objects: Objects) -> Objects {
    for object in objects.values_mut() {
        remove(object, "labels", &["helm.sh/chart", "app.kubernetes.io/managed-by"]);
        remove(object, "annotations", &["helm.sh/resource-policy"]);
    }
    objects
}

fn manager(objects: &Objects) -> &Value {
    &objects["Deployment/volsync"]["spec"]["template"]["spec"]
}

#[test]
fn helm_finds_nothing_wrong_with_the_chart() {
    run(Command::new(peers::helm()).current_dir(repository()).args(["lint", "--strict", "deploy/chart"])).success();
}

#[test]
fn the_kustomization_is_what_the_chart_makes() {
    let written = repository().join("deploy/base/manager.yaml");
    let before = fs::read_to_string(&written).unwrap();
    run(Command::new(repository().join("deploy/render")).env("HELM", peers::helm())).success();
    let after = fs::read_to_string(&written).unwrap();
    assert_eq!(before, after, "deploy/base/manager.yaml was old: it has been written anew");

    let mut base = kustomize("deploy/base");
    assert!(base.remove("Namespace/volsync-system").is_some());
    let chart = plain(chart(&[]));
    assert_eq!(base.keys().collect::<Vec<_>>(), chart.keys().collect::<Vec<_>>());
    for (name, object) in &base {
        assert_eq!(object, &chart[name], "{name}");
    }
}

#[test]
fn the_lease_is_upstreams_and_metrics_are_read_by_those_who_may() {
    let arguments = |objects: &Objects| manager(objects)["containers"][0]["args"].to_string();
    let made = chart(&[]);
    assert!(arguments(&made).contains("--leader-elect"), "{}", arguments(&made));
    assert_eq!(made["Role/volsync-leader-election"]["rules"][1]["resourceNames"], json!(["b95b3104.backube"]));
    assert_eq!(made["Service/volsync-metrics"]["spec"]["ports"][0]["port"], 8443);
    assert!(!arguments(&made).contains("--metrics-require-rbac"));
    let open = chart(&["metrics.disableAuth=true"]);
    assert!(arguments(&open).contains("--metrics-require-rbac=false"));
    assert!(!open.contains_key("ClusterRole/volsync-metrics-reader"));
}

#[test]
fn the_values_are_upstreams() {
    let made =
        chart(&["replicaCount=2", "image.repository=r/controller", "image.tag=7", "rclone.image=r/rclone@sha256:0"]);
    assert_eq!(made["Deployment/volsync"]["spec"]["replicas"], 2);
    assert_eq!(manager(&made)["containers"][0]["image"], "r/controller:7");
    let arguments = manager(&made)["containers"][0]["args"].as_array().unwrap();
    assert!(arguments.contains(&json!("--rclone-container-image=r/rclone@sha256:0")), "{arguments:?}");

    let made =
        chart(&["serviceAccount.create=false", "serviceAccount.name=mine", "manageCRDs=false", "nodeSelector.a=b"]);
    assert_eq!(manager(&made)["serviceAccountName"], "mine");
    assert_eq!(manager(&made)["nodeSelector"], json!({ "a": "b" }));
    assert_eq!(made["ClusterRoleBinding/volsync-manager"]["subjects"][0]["name"], "mine");
    assert!(!made.keys().any(|name| name.starts_with("ServiceAccount/") || name.starts_with("CustomResource")));

    let pull = ["imagePullSecrets[0].name=a", "imagePullSecrets[1].name=b"];
    let made = chart(&[
        "fullnameOverride=other",
        pull[0],
        pull[1],
        "podSecurityContext.runAsUser=5",
        "maxConcurrentTransfers=3",
    ]);
    let pod = &made["Deployment/other"]["spec"]["template"]["spec"];
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "a" }, { "name": "b" }]));
    let arguments = pod["containers"][0]["args"].as_array().unwrap();
    assert!(arguments.contains(&json!("--mover-image-pull-secrets=a,b")), "{arguments:?}");
    assert!(arguments.contains(&json!("--max-concurrent-transfers=3")), "{arguments:?}");
    assert_eq!(pod["securityContext"], json!({ "runAsUser": 5 }));
}

/// So that `helm upgrade` of upstream's release replaces its operator, and two of them never run.
#[test]
fn objects_have_the_names_and_selectors_of_upstreams_chart() {
    let (upstream, ours) = (template(peers::upstream_chart().to_str().unwrap(), &[]), chart(&[]));
    let missing: Vec<_> = ours.keys().filter(|name| !upstream.contains_key(*name)).collect();
    assert!(missing.is_empty(), "upstream has no {missing:?}");
    let selector = |objects: &Objects| objects["Deployment/volsync"]["spec"]["selector"].clone();
    assert_eq!(selector(&ours), selector(&upstream));
    assert_eq!(manager(&ours)["serviceAccountName"], manager(&upstream)["serviceAccountName"]);
    for (what, binding) in ours.iter().filter(|(name, _)| name.contains("Binding/")) {
        // Kubernetes lets no upgrade change what a binding binds.
        assert_eq!(binding["roleRef"], upstream[what]["roleRef"], "{what}");
    }
}
