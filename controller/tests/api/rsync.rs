//! Replications of rsync, over SSH and over TLS.

use crate::{DESTINATION, MESSAGE, REASON, SOURCE, bind, cluster::Cluster, has, prepare, replication, succeed};
use serde_json::{Value, json};
use std::{io::Write, process::Command};

fn destination(method: &str, more: &Value) -> Value {
    let mut asked = json!({ "copyMethod": "Snapshot", "accessModes": ["ReadWriteOnce"], "capacity": "1Gi" });
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    replication("ReplicationDestination", &json!({ "trigger": { "manual": "one" }, method: asked }))
}

fn source(method: &str, more: &Value) -> Value {
    let mut asked = json!({ "copyMethod": "Direct" });
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    replication("ReplicationSource", &json!({ "sourcePVC": "data", "trigger": { "manual": "one" }, method: asked }))
}

fn field(secret: &Value, name: &str) -> Vec<u8> {
    let mut decoder = Command::new("base64")
        .arg("-d")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    decoder.stdin.take().unwrap().write_all(secret["data"][name].as_str().unwrap().as_bytes()).unwrap();
    decoder.wait_with_output().unwrap().stdout
}

/// OpenSSH itself reads the private key and says which public key belongs to it.
fn public_of(private: &[u8]) -> String {
    use std::os::unix::fs::PermissionsExt;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(private).unwrap();
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
    let output = Command::new("ssh-keygen").args(["-y", "-P", "", "-f"]).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A Job without a status, but for what an API server adds to it.
fn job(component: &str, end: &str, script: &str, volumes: &Value) -> Value {
    json!({
        "metadata": { "labels": { "app.kubernetes.io/created-by": "volsync" } },
        "spec": {
            "backoffLimit": 2, "parallelism": 1,
            "template": {
                "metadata": { "labels": {
                    "app.kubernetes.io/created-by": "volsync",
                    "app.kubernetes.io/name": format!("{end}-db"),
                    "app.kubernetes.io/component": format!("{component}-mover"),
                    "app.kubernetes.io/part-of": "volsync",
                } },
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": format!("volsync-{end}-db"),
                    "containers": [{
                        "name": component, "image": format!("{component}:1"), "command": ["/bin/bash", "-c", script],
                    }],
                    "volumes": volumes,
                },
            },
        },
    })
}

#[test]
fn a_pair_over_ssh_gets_keys_an_address_and_jobs() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let _controller = cluster.controller();
    cluster.create(&destination("rsync", &json!({ "volumeMode": "Block" })));
    cluster.wait_for("job/volsync-rsync-dst-db");
    cluster.wait_until(DESTINATION, ".status.rsync.sshKeys", "volsync-rsync-dst-src-db");

    let service = cluster.get("service/volsync-rsync-dst-db");
    has(
        &service,
        &json!({
            "metadata": {
                "annotations": { "service.beta.kubernetes.io/aws-load-balancer-type": "nlb" },
                "labels": { "app.kubernetes.io/created-by": "volsync" },
                "ownerReferences": [{ "kind": "ReplicationDestination", "name": "db", "controller": true }],
            },
            "spec": {
                "type": "ClusterIP",
                "selector": {
                    "app.kubernetes.io/name": "dst-db", "app.kubernetes.io/component": "rsync-mover",
                    "app.kubernetes.io/part-of": "volsync",
                },
                "ports": [{ "name": "ssh", "port": 22, "protocol": "TCP", "targetPort": 8022 }],
            },
        }),
    );
    let status = cluster.get(DESTINATION)["status"]["rsync"].clone();
    assert_eq!(status, json!({ "address": service["spec"]["clusterIP"], "sshKeys": "volsync-rsync-dst-src-db" }));

    // What one end has of the pairs, and what the other gets.
    let main = cluster.get("secret/volsync-rsync-dst-main-db");
    let fields = |secret: &Value| -> Vec<String> { secret["data"].as_object().unwrap().keys().cloned().collect() };
    assert_eq!(fields(&main), ["destination", "destination.pub", "source", "source.pub"]);
    for (half, expect) in [
        ("dest", ["destination", "destination.pub", "source.pub"]),
        ("src", ["destination.pub", "source", "source.pub"]),
    ] {
        let secret = cluster.get(&format!("secret/volsync-rsync-dst-{half}-db"));
        assert_eq!(fields(&secret), expect);
        for name in expect {
            assert_eq!(secret["data"][name], main["data"][name], "{name}");
        }
    }
    for pair in ["source", "destination"] {
        let public = String::from_utf8(field(&main, &format!("{pair}.pub"))).unwrap();
        assert_eq!(public_of(&field(&main, pair)).trim_end(), public.trim_end());
        assert!(public.starts_with("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAACAQ") && public.ends_with("== \n"), "{public}");
    }
    assert_ne!(main["data"]["source"], main["data"]["destination"]);

    has(
        &cluster.get("job/volsync-rsync-dst-db"),
        &job(
            "rsync",
            "dst",
            "/mover-rsync/destination.sh",
            &json!([
                { "name": "data", "persistentVolumeClaim": { "claimName": "volsync-db-dst" } },
                { "name": "keys", "secret": { "secretName": "volsync-rsync-dst-dest-db", "defaultMode": 0o600 } },
                { "name": "tempsshdir", "emptyDir": { "medium": "Memory" } },
                { "name": "tempdir", "emptyDir": { "medium": "Memory" } },
            ]),
        ),
    );
    assert_eq!(cluster.get("pvc/volsync-db-dst")["spec"]["volumeMode"], "Block");
    assert_eq!(cluster.get("role/volsync-dst-db")["rules"][0]["resourceNames"], json!(["volsync-privileged-mover"]));

    // The source, with what the destination tells; the secret needs no copy within one namespace.
    cluster
        .create(&source("rsync", &json!({ "address": status["address"], "port": 2222, "sshKeys": status["sshKeys"] })));
    cluster.wait_for("job/volsync-rsync-src-db");
    let sending = cluster.get("job/volsync-rsync-src-db");
    has(
        &sending,
        &job(
            "rsync",
            "src",
            "/mover-rsync/source.sh",
            &json!([
                { "name": "data", "persistentVolumeClaim": { "claimName": "data" } },
                { "name": "keys", "secret": { "secretName": "volsync-rsync-dst-src-db", "defaultMode": 0o600 } },
                { "name": "tempsshdir", "emptyDir": { "medium": "Memory" } },
                { "name": "tempdir", "emptyDir": { "medium": "Memory" } },
            ]),
        ),
    );
    let environment = &sending["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(environment[0], json!({ "name": "DESTINATION_ADDRESS", "value": status["address"] }));
    assert_eq!(environment[1], json!({ "name": "DESTINATION_PORT", "value": "2222" }));
    succeed(&cluster, "job/volsync-rsync-src-db");
    cluster.wait_until(SOURCE, REASON, "WaitingForManual");
    assert_eq!(cluster.get(SOURCE)["status"]["rsync"], json!({}));
    assert_eq!(cluster.names("service"), ["volsync-rsync-dst-db"], "a source that connects is not reachable itself");

    // The end of the destination: a snapshot, the same keys and the same volume for the next sync.
    succeed(&cluster, "job/volsync-rsync-dst-db");
    let snapshot = cluster.snapshot_of("pvc/volsync-db-dst");
    bind(&cluster, &snapshot);
    cluster.wait_until(DESTINATION, REASON, "WaitingForManual");
    cluster.wait_until_gone("job/volsync-rsync-dst-db");
    has(
        &cluster.get(DESTINATION)["status"],
        &json!({
            "lastManualSync": "one", "latestMoverStatus": { "result": "Successful" }, "rsync": status,
            "latestImage": { "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot" },
        }),
    );
    cluster.patch(DESTINATION, &json!({ "spec": { "trigger": { "manual": "two" } } }));
    cluster.wait_for("job/volsync-rsync-dst-db");
    assert_eq!(cluster.get("secret/volsync-rsync-dst-main-db")["data"], main["data"]);
    assert_eq!(cluster.get("service/volsync-rsync-dst-db")["metadata"]["uid"], service["metadata"]["uid"]);

    // Halves that were changed are made right; broken pairs are made again; a balancer has no address at first.
    cluster.patch("secret/volsync-rsync-dst-dest-db", &json!({ "data": { "destination": "eA==" } }));
    cluster.wait_until(
        "secret/volsync-rsync-dst-dest-db",
        ".data.destination",
        main["data"]["destination"].as_str().unwrap(),
    );
    cluster.patch(DESTINATION, &json!({ "spec": { "rsync": { "serviceType": "LoadBalancer", "port": 2200, "serviceAnnotations": { "a": "b" } } } }));
    cluster.wait_until("service/volsync-rsync-dst-db", ".spec.ports[0].port", "2200");
    has(
        &cluster.get("service/volsync-rsync-dst-db"),
        &json!({ "metadata": { "annotations": { "a": "b" } }, "spec": { "type": "LoadBalancer" } }),
    );
    cluster.wait_until_unset(DESTINATION, ".status.rsync.address");
    cluster.patch_status(
        "service/volsync-rsync-dst-db",
        &json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.7" }] } }),
    );
    cluster.wait_until(DESTINATION, ".status.rsync.address", "192.0.2.7");
    cluster.patch("secret/volsync-rsync-dst-main-db", &json!({ "data": { "source.pub": null } }));
    cluster.wait_until_changed("secret/volsync-rsync-dst-src-db", ".data.source", &main["data"]["source"]);
    let reasons = cluster.event_reasons();
    for reason in ["ServiceAddressAssigned", "TransferStarted", "VolumeSnapshotCreated", "PersistentVolumeClaimCreated"]
    {
        assert!(reasons.contains(&reason.to_owned()), "{reason} is not in {reasons:?}");
    }
}

#[test]
fn a_pair_over_tls_shares_a_key() {
    let cluster = Cluster::start();
    prepare(&cluster);
    let _controller = cluster.controller();
    let user = json!({ "runAsUser": 1234, "fsGroup": 5678 });
    cluster.create(&destination("rsyncTLS", &json!({ "moverSecurityContext": user, "serviceType": "NodePort" })));
    cluster.wait_for("job/volsync-rsync-tls-dst-db");
    cluster.wait_until(DESTINATION, ".status.rsyncTLS.keySecret", "volsync-rsync-tls-db");
    let service = cluster.get("service/volsync-rsync-tls-dst-db");
    has(
        &service["spec"],
        &json!({
            "type": "NodePort", "ports": [{ "name": "rsync-tls", "port": 8000, "protocol": "TCP", "targetPort": 8000 }],
        }),
    );
    let key = cluster.get("secret/volsync-rsync-tls-db");
    let text = String::from_utf8(field(&key, "psk.txt")).unwrap();
    assert!(regex::Regex::new("^volsync:[0-9a-f]{128}$").unwrap().is_match(&text));
    has(
        &cluster.get("job/volsync-rsync-tls-dst-db"),
        &job(
            "rsync-tls",
            "dst",
            "/mover-rsync-tls/server.sh",
            &json!([
                { "name": "data", "persistentVolumeClaim": { "claimName": "volsync-db-dst" } },
                { "name": "keys", "secret": { "secretName": "volsync-rsync-tls-db", "defaultMode": 0o600 } },
                { "name": "tempdir", "emptyDir": { "medium": "Memory" } },
            ]),
        ),
    );
    has(
        &cluster.get("job/volsync-rsync-tls-dst-db")["spec"]["template"]["spec"]["securityContext"],
        &json!({
            "runAsUser": 1234, "fsGroup": 5678, "fsGroupChangePolicy": "OnRootMismatch",
        }),
    );
    assert!(cluster.get("role/volsync-dst-db")["rules"].as_array().is_none_or(Vec::is_empty));

    // A source of the same name shares the key, and tells so.
    let address = cluster.get(DESTINATION)["status"]["rsyncTLS"]["address"].clone();
    assert_eq!(address, service["spec"]["clusterIP"]);
    cluster.create(&source("rsyncTLS", &json!({ "address": address })));
    cluster.wait_for("job/volsync-rsync-tls-src-db");
    cluster.wait_until(SOURCE, ".status.rsyncTLS.keySecret", "volsync-rsync-tls-db");
    has(
        &cluster.get("job/volsync-rsync-tls-src-db"),
        &job(
            "rsync-tls",
            "src",
            "/mover-rsync-tls/client.sh",
            &json!([
                { "name": "data", "persistentVolumeClaim": { "claimName": "data" } },
                { "name": "keys", "secret": { "secretName": "volsync-rsync-tls-db", "defaultMode": 0o600 } },
                { "name": "tempdir", "emptyDir": { "medium": "Memory" } },
            ]),
        ),
    );
    assert_eq!(cluster.get("secret/volsync-rsync-tls-db")["data"], key["data"]);

    // Root where the namespace allows it: the Job is another one.
    cluster.kubectl(&["annotate", "namespace", "prod", "volsync.backube/privileged-movers=true"]);
    cluster.patch(SOURCE, &json!({ "metadata": { "annotations": { "look": "again" } } }));
    cluster.wait_until_remade(
        "job/volsync-rsync-tls-src-db",
        ".spec.template.spec.containers[0].securityContext.runAsUser",
        "0",
    );
    assert_eq!(cluster.get("role/volsync-src-db")["rules"][0]["verbs"], json!(["use"]));

    // A key of the user's, once it is whole.
    cluster.patch(SOURCE, &json!({ "spec": { "rsyncTLS": { "keySecret": "remote" } } }));
    cluster.wait_until(SOURCE, MESSAGE, "secret is missing field: psk.txt");
    cluster.patch("secret/remote", &json!({ "stringData": { "psk.txt": "volsync:00" } }));
    cluster.wait_until_remade(
        "job/volsync-rsync-tls-src-db",
        ".spec.template.spec.volumes[1].secret.secretName",
        "remote",
    );
    cluster.wait_until_unset(SOURCE, ".status.rsyncTLS.keySecret");

    // Its image was asked for in a way that a destination does not have: said before anything moves.
    cluster.patch(DESTINATION, &json!({ "spec": { "rsyncTLS": { "copyMethod": "Clone" } } }));
    cluster.wait_until(DESTINATION, MESSAGE, "unsupported copyMethod: Clone -- must be Direct, None, or Snapshot");
}
