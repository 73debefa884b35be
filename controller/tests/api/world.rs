//! The rest of a cluster, as one namespace sees it.

use kube::Client;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// The rest of a cluster, in one namespace: snapshots become ready, Jobs succeed, and nothing is in use.
pub(crate) struct World<'a> {
    pub(crate) runtime: &'a tokio::runtime::Runtime,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

const CORE: &str = "/api/v1/namespaces";
pub(crate) const VOLSYNC: &str = "/apis/volsync.backube/v1alpha1/namespaces";

/// Where objects are that are made, by kind.
pub(crate) const KINDS: [(&str, &str); 10] = [
    (CORE, "persistentvolumeclaims"),
    (CORE, "secrets"),
    (CORE, "services"),
    (CORE, "serviceaccounts"),
    ("/apis/rbac.authorization.k8s.io/v1/namespaces", "roles"),
    ("/apis/rbac.authorization.k8s.io/v1/namespaces", "rolebindings"),
    ("/apis/batch/v1/namespaces", "jobs"),
    ("/apis/snapshot.storage.k8s.io/v1/namespaces", "volumesnapshots"),
    (VOLSYNC, "replicationdestinations"),
    (VOLSYNC, "replicationsources"),
];
const CLAIMS: usize = 0;
const JOBS: usize = 6;
const SNAPSHOTS: usize = 7;
const REPLICATIONS: [usize; 2] = [8, 9];

impl World<'_> {
    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> Option<Value> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = hyper::Request::builder().method(method).uri(path).header("content-type", kind);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        // Whatever is patched may be gone by now.
        self.runtime.block_on(self.client.request(request.body(body).unwrap())).ok()
    }

    fn list(&self, kind: usize) -> Vec<Value> {
        let (base, plural) = KINDS[kind];
        let list = self.call("GET", &format!("{base}/{}/{plural}", self.namespace), &Value::Null).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    fn patch(&self, kind: usize, object: &Value, changes: &Value, sub: &str) {
        let (base, plural) = KINDS[kind];
        let name = object["metadata"]["name"].as_str().unwrap();
        self.call("PATCH", &format!("{base}/{}/{plural}/{name}{sub}", self.namespace), changes);
    }

    /// Snapshots become ready, and nothing is in use.
    fn settle(&self) {
        for snapshot in self.list(SNAPSHOTS).iter().filter(|one| one["status"].is_null()) {
            let ready = json!({ "status": { "boundVolumeSnapshotContentName": "c", "readyToUse": true, "restoreSize": "1Gi" } });
            self.patch(SNAPSHOTS, snapshot, &ready, "/status");
        }
        for claim in self.list(CLAIMS).iter().filter(|one| !one["metadata"]["deletionTimestamp"].is_null()) {
            self.patch(CLAIMS, claim, &json!({ "metadata": { "finalizers": null } }), "");
        }
    }

    /// And Jobs succeed.
    pub(crate) fn turn(&self) {
        self.settle();
        for job in self.list(JOBS).iter().filter(|one| one["status"]["succeeded"].is_null()) {
            self.patch(JOBS, job, &json!({ "status": { "succeeded": 1 } }), "/status");
        }
    }

    fn statuses(&self) -> Vec<Value> {
        REPLICATIONS.iter().flat_map(|kind| self.list(*kind)).map(|one| one["status"].clone()).collect()
    }

    /// Goes on until a Job runs.
    pub(crate) fn until_running(&self, what: &str) {
        let start = Instant::now();
        while self.list(JOBS).is_empty() {
            self.settle();
            assert!(start.elapsed() < Duration::from_secs(30), "{what}: {:?}", self.statuses());
        }
    }

    /// Whether the sync has ended and everything that is temporary is gone.
    pub(crate) fn is_synced(&self) -> bool {
        let all = self.statuses();
        let ended = all.iter().all(|status| status["conditions"][0]["reason"] == "WaitingForManual");
        ended && !all.is_empty() && self.list(JOBS).is_empty()
    }

    /// Goes on until the sync has ended and everything that is temporary is gone.
    pub(crate) fn until_synced(&self, what: &str) {
        let start = Instant::now();
        loop {
            self.turn();
            if self.is_synced() {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{what}: {:?}", self.statuses());
        }
    }

    /// Which claims, Jobs and snapshots there are. One that is deleted and made again is another one.
    pub(crate) fn identities(&self) -> BTreeSet<String> {
        let all = [CLAIMS, JOBS, SNAPSHOTS].iter().flat_map(|kind| self.list(*kind));
        all.map(|one| format!("{} {}", one["metadata"]["name"], one["metadata"]["uid"])).collect()
    }

    /// What the user was told, each thing once.
    pub(crate) fn events(&self) -> BTreeSet<String> {
        let list =
            self.call("GET", &format!("/apis/events.k8s.io/v1/namespaces/{}/events", self.namespace), &Value::Null);
        let list = list.unwrap()["items"].as_array().unwrap().clone();
        let text = |event: &Value| {
            let event = self.normal(event);
            let [kind, reason, action, note] = ["type", "reason", "action", "note"].map(|field| event[field].clone());
            format!("{kind} {reason} {action} {note}")
        };
        // The API server itself tells of addresses of services.
        list.iter().filter(|event| event["regarding"]["kind"] != "Service").map(text).collect()
    }

    /// All objects, without what no two runs have in common.
    pub(crate) fn objects(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        for (kind, (_, plural)) in KINDS.iter().enumerate() {
            let list = self.list(kind);
            for object in list.iter().filter(|object| object["metadata"]["deletionTimestamp"].is_null()) {
                let object = self.normal(object);
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                all.insert(format!("{plural}/{name}"), object);
            }
        }
        all
    }

    fn normal(&self, object: &Value) -> Value {
        const OF_ONE_RUN: [&str; 11] = [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "managedFields",
            "generation",
            "clusterIP",
            "clusterIPs",
            "nodePort",
            "lastSyncDuration",
            "address",
            "time",
        ];
        // Keys are made anew in each run.
        const KEYS: [&str; 5] = ["psk.txt", "source", "source.pub", "destination", "destination.pub"];
        match object {
            Value::Object(fields) => {
                let kept = fields.iter().filter(|(key, _)| !OF_ONE_RUN.contains(&key.as_str()));
                let value = |key: &str, value: &Value| match value {
                    Value::String(_) if KEYS.contains(&key) => json!("KEY"),
                    // Upstream's order is another one each time.
                    Value::Array(secrets) if key == "imagePullSecrets" => {
                        let mut secrets = secrets.clone();
                        secrets.sort_by_key(|secret| secret["name"].as_str().unwrap_or_default().to_owned());
                        secrets.into()
                    }
                    _ => self.normal(value),
                };
                kept.map(|(key, held)| (key.clone(), value(key, held))).collect::<serde_json::Map<_, _>>().into()
            }
            Value::Array(items) => items.iter().map(|item| self.normal(item)).collect(),
            Value::String(text) => {
                let mut text = text.replace(&self.namespace, "NAMESPACE");
                for (pattern, name) in [
                    ("-[0-9]{14}", "-TIME"),
                    ("^[0-9-]{10}T[0-9:]{8}Z$", "TIME"),
                    ("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
                ] {
                    text = regex::Regex::new(pattern).unwrap().replace_all(&text, name).into_owned();
                }
                text.into()
            }
            other => other.clone(),
        }
    }
}
