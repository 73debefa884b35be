//! Every field of the objects that are made in the cluster.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

mod account;
mod copies;
mod destination;
mod keys;
mod placement;
mod rclone;
mod rsync;
mod service;

use serde_json::{Value, json};
use volsync_controller::{
    api::ReplicationSource,
    machine::Method,
    objects::{
        job::{JobFrame, Placement},
        owner::Owner,
        volumes::Data,
    },
};

const OWNER: Owner<'_> = Owner { kind: "ReplicationSource", namespace: "prod", name: "db", uid: "1234" };

const FILES: Data<'_> = Data { claim: "data", block: false, read_only: false };

const DEVICE: Data<'_> = Data { block: true, ..FILES };

fn frame(placement: &Placement) -> JobFrame<'_> {
    JobFrame { owner: OWNER, account: "volsync-src-db", paused: false, debug: false, placement }
}

fn to_json(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

fn owner_references() -> Value {
    json!([{
        "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource", "name": "db", "uid": "1234",
        "controller": true, "blockOwnerDeletion": true,
    }])
}

fn lasting(name: &str) -> Value {
    json!({
        "name": name, "namespace": "prod",
        "labels": { "app.kubernetes.io/created-by": "volsync" },
        "ownerReferences": owner_references(),
    })
}

/// The security context of a container with these capabilities, as root if there are any.
fn security(capabilities: &[&str]) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false, "privileged": false, "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
    });
    if !capabilities.is_empty() {
        context["capabilities"]["add"] = json!(capabilities);
        context["runAsUser"] = json!(0);
    }
    context
}

fn environment(container: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("from secret").to_owned();
    container["env"].as_array().unwrap().iter().map(|entry| (text(&entry["name"]), text(&entry["value"]))).collect()
}

#[test]
fn an_owner_comes_from_an_api_server() {
    let object =
        |metadata: Value| serde_json::from_value::<ReplicationSource>(json!({ "metadata": metadata })).unwrap();
    let whole = object(json!({ "name": "db", "namespace": "prod", "uid": "1234" }));
    assert_eq!(Owner::of(&whole), Some(OWNER));
    assert_eq!(Owner::of(&object(json!({ "name": "db" }))), None);
}

#[test]
fn methods_are_called_as_in_metrics() {
    assert_eq!(
        [Method::Rclone, Method::Rsync, Method::RsyncTls].map(|method| method.to_string()),
        ["rclone", "rsync", "rsync-tls"]
    );
}
