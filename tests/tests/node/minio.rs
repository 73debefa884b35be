//! A bucket in the namespace of a test.

use serde_json::{Value, json};
use volsync_tests::certificates::{Authority, Identity};

use crate::cluster::{Cluster, Namespace};

/// The section of `rclone.conf`.
pub(crate) const SECTION: &str = "bucket";

/// Whom a server with TLS is signed by, in PEM.
pub(crate) type Trusted = String;

/// MinIO over HTTP, and the Secret `remote` for it with further `variables`.
pub(crate) fn start(namespace: &Namespace<'_>, variables: &[(&str, &str)]) {
    launch(namespace, "HTTP");
    secret(namespace, "http", variables);
}

/// MinIO over TLS, with a certificate of an authority that only we know.
pub(crate) fn start_tls(namespace: &Namespace<'_>) -> Trusted {
    let authority = Authority::new();
    let host = host(namespace);
    let Identity { chain, key } = authority.issue(&rcgen::CertificateParams::new([host]).unwrap());
    let files = json!({ "public.crt": chain, "private.key": key });
    namespace.apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "certificates" }, "stringData": files,
    }));
    launch(namespace, "HTTPS");
    secret(namespace, "https", &[]);
    authority.pem()
}

fn host(namespace: &Namespace<'_>) -> String {
    format!("minio.{}.svc.cluster.local", namespace.name)
}

fn secret(namespace: &Namespace<'_>, scheme: &str, variables: &[(&str, &str)]) {
    let conf = format!(
        "[{SECTION}]\ntype = s3\nprovider = Minio\naccess_key_id = access\nsecret_access_key = secret-of-minio\n\
         endpoint = {scheme}://{}:9000\nregion = us-east-1\n",
        host(namespace)
    );
    let mut data = json!({ "rclone.conf": conf });
    for (name, value) in variables {
        data[*name] = json!(value);
    }
    namespace.apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "remote" }, "stringData": data,
    }));
}

fn launch(namespace: &Namespace<'_>, scheme: &str) {
    namespace.apply(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "minio" },
        "spec": { "selector": { "app": "minio" }, "ports": [{ "port": 9000 }] },
    }));
    namespace.apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "minio", "labels": { "app": "minio" } },
        "spec": {
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": { "type": "RuntimeDefault" },
            },
            "terminationGracePeriodSeconds": 0,
            "containers": [container(scheme)],
            "volumes": [
                { "name": "data", "emptyDir": {} },
                { "name": "certificates", "secret": { "secretName": "certificates", "optional": true } },
            ],
        },
    }));
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/minio", "--timeout=90s"]);
}

fn container(scheme: &str) -> Value {
    let health = json!({ "path": "/minio/health/ready", "port": 9000, "scheme": scheme });
    json!({
        "name": "minio",
        "image": Cluster::image("minio"),
        "args": ["server", "/data", "--address=:9000", "--certs-dir=/certificates", "--quiet"],
        "env": [
            { "name": "MINIO_ROOT_USER", "value": "access" },
            { "name": "MINIO_ROOT_PASSWORD", "value": "secret-of-minio" },
        ],
        "readinessProbe": { "httpGet": health, "periodSeconds": 1, "failureThreshold": 60 },
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        "volumeMounts": [
            { "name": "data", "mountPath": "/data" },
            { "name": "certificates", "mountPath": "/certificates" },
        ],
    })
}
