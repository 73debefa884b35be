//! The custom resource definitions against upstream's list of fields, and what is committed against what is generated.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

use proptest::prelude::*;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use volsync_controller::{
    api::{Destination, Kind, ReplicationDestination, ReplicationSource, Source},
    crd::{Columns, definition, manifests},
};

/// Subtrees that the list names without their fields: Kubernetes' own types, and methods that are not looked into.
const CUT: [&str; 8] = [
    "moverSecurityContext",
    "moverAffinity",
    "moverResources",
    "secret",
    "nfs",
    "persistentVolumeClaim",
    "restic",
    "syncthing",
];

/// Fields that we have besides: a later one of upstream's, and in statuses alone, how far a mover is, how often it failed,
/// and when it is tried again.
const EXTRA: [&str; 4] = ["moverTolerations", "progress", "failures", "retryTime"];

/// Kind, path, type, enum, default, required: a row of the list.
type Row = [String; 6];

#[test]
fn every_field_is_upstreams() {
    let expected: BTreeSet<Row> = include_str!("crds/fields.tsv").lines().skip(1).map(parse_row).collect();
    let mut ours = BTreeSet::new();
    collect::<Source>(&mut ours);
    collect::<Destination>(&mut ours);
    let missing: Vec<_> = expected.difference(&ours).collect();
    let added: Vec<_> = ours.difference(&expected).collect();
    assert!(missing.is_empty() && added.is_empty(), "missing: {missing:#?}\nadded: {added:#?}");
}

fn parse_row(line: &str) -> Row {
    let cells: Vec<String> = line.split('\t').map(str::to_owned).collect();
    cells.try_into().unwrap_or_else(|cells| panic!("not six cells: {cells:?}"))
}

fn collect<K: Kind + Columns>(rows: &mut BTreeSet<Row>) {
    let definition = definition::<K>();
    let root = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    assert_eq!(root["required"], Value::Null);
    for part in ["spec", "status"] {
        walk(K::KIND, part, &root["properties"][part], false, rows);
    }
}

fn walk(kind: &str, path: &str, schema: &Value, required: bool, rows: &mut BTreeSet<Row>) {
    let name = path.rsplit('.').next().unwrap();
    if EXTRA.contains(&name) {
        return;
    }
    let cell = |key: &str| {
        schema[key]
            .as_array()
            .map_or(String::new(), |all| all.iter().map(|value| value.as_str().unwrap()).collect::<Vec<_>>().join("|"))
    };
    let required = if required { "yes" } else { "no" };
    let default = if schema["default"].is_null() { String::new() } else { schema["default"].to_string() };
    rows.insert([kind.into(), path.into(), type_name(schema), cell("enum"), default, required.into()]);
    if CUT.contains(&name) {
        return;
    }
    let (inner, prefix) =
        if schema["items"].is_object() { (&schema["items"], format!("{path}[]")) } else { (schema, path.to_owned()) };
    let needed: Vec<&str> = inner["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in inner["properties"].as_object().into_iter().flatten() {
        walk(kind, &format!("{prefix}.{name}"), field, needed.contains(&name.as_str()), rows);
    }
}

fn type_name(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        return "int-or-string".into();
    }
    let name = schema["type"].as_str().unwrap_or_else(|| panic!("no type: {schema}"));
    let of = |inner: &Value| inner["type"].as_str().unwrap().to_owned();
    match name {
        "array" => format!("array<{}>", of(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map<string,{}>", of(&schema["additionalProperties"]))
        }
        _ => schema["format"].as_str().map_or(name.to_owned(), |format| format!("{name}:{format}")),
    }
}

/// What API servers demand of structural schemas: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>.
#[test]
fn schemas_are_structural() {
    fn check(schema: &Value, path: &str) {
        for key in ["$ref", "anyOf", "oneOf", "allOf", "not", "nullable", "definitions", "uniqueItems"] {
            assert!(schema[key].is_null(), "{path} has {key}");
        }
        assert!(schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true, "{path} has no type");
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            check(inner, &format!("{path}.{name}"));
        }
        for key in ["items", "additionalProperties"] {
            if schema[key].is_object() {
                check(&schema[key], &format!("{path}[]"));
            }
        }
    }
    for definition in [definition::<Source>(), definition::<Destination>()] {
        check(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "");
    }
}

#[test]
fn names_and_columns_are_upstreams() {
    let source = definition::<Source>();
    assert_eq!(source["metadata"]["name"], "replicationsources.volsync.backube");
    assert_eq!(
        source["spec"]["names"],
        json!({
            "kind": "ReplicationSource", "listKind": "ReplicationSourceList",
            "plural": "replicationsources", "singular": "replicationsource",
        })
    );
    assert_eq!(source["spec"]["scope"], "Namespaced");
    let version = &source["spec"]["versions"][0];
    assert_eq!(version["subresources"], json!({ "status": {} }));
    assert_eq!(
        version["additionalPrinterColumns"],
        json!([
            { "name": "Source", "type": "string", "jsonPath": ".spec.sourcePVC" },
            { "name": "Last sync", "type": "string", "format": "date-time", "jsonPath": ".status.lastSyncTime" },
            { "name": "Duration", "type": "string", "jsonPath": ".status.lastSyncDuration" },
            { "name": "Next sync", "type": "string", "format": "date-time", "jsonPath": ".status.nextSyncTime" },
        ])
    );
    let destination = definition::<Destination>();
    let columns = &destination["spec"]["versions"][0]["additionalPrinterColumns"];
    assert_eq!(columns[0]["name"], "Last sync");
    assert_eq!(columns.as_array().unwrap().len(), 3);
}

#[test]
fn manifests_are_committed_as_generated() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    let generated: BTreeMap<_, _> = manifests().unwrap().into_iter().collect();
    let committed: BTreeMap<String, String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap() != "kustomization.yaml")
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    assert!(generated == committed, "run: cargo run --release -p volsync-controller -- crds deploy/crds");
}

#[test]
fn the_smallest_objects_are_read() {
    let source: ReplicationSource = serde_json::from_value(json!({ "metadata": { "name": "a" } })).unwrap();
    assert_eq!(source.spec, <Source as Kind>::Spec::default());
    assert_eq!(source.status, None);
    let destination: ReplicationDestination =
        serde_json::from_value(json!({ "spec": { "rsync": {} }, "status": {} })).unwrap();
    assert!(destination.spec.rsync.is_some() && destination.spec.rclone.is_none());
}

#[test]
fn an_object_is_written_as_it_was_read() {
    let object = json!({
        "apiVersion": "volsync.backube/v1alpha1",
        "kind": "ReplicationSource",
        "metadata": { "name": "db", "namespace": "prod" },
        "spec": {
            "sourcePVC": "data",
            "trigger": { "schedule": "*/6 * * * *" },
            "paused": true,
            "rclone": {
                "rcloneConfig": "secret", "rcloneConfigSection": "s3", "rcloneDestPath": "bucket/db",
                "copyMethod": "Snapshot", "capacity": "2Gi", "accessModes": ["ReadWriteOnce"],
                "customCA": { "secretName": "ca", "key": "ca.crt" },
                "moverSecurityContext": { "runAsUser": 1000, "fsGroup": 1000 },
                "moverPodLabels": { "a": "b" },
                "moverTolerations": [{ "key": "gpu", "operator": "Exists" }],
                "moverVolumes": [{ "mountPath": "extra", "volumeSource": { "persistentVolumeClaim": { "claimName": "c" } } }],
            },
            "restic": { "repository": "r", "anything": [1, { "deep": null }] },
            "external": { "provider": "x/y", "parameters": { "p": "q" } },
        },
        "status": {
            "lastSyncTime": "2026-11-25T21:40:00Z",
            "lastSyncDuration": "30.038338887s",
            "latestMoverStatus": { "result": "Successful", "logs": "Transferred: 1" },
            "conditions": [{
                "type": "Synchronizing", "status": "False", "reason": "WaitingForSchedule",
                "message": "Waiting for next scheduled synchronization", "lastTransitionTime": "2026-11-25T21:40:00Z",
            }],
            "rsyncTLS": {},
            "syncthing": { "peers": [] },
        },
    });
    let read: ReplicationSource = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), object);
}

#[test]
fn capacities_may_be_numbers() {
    let spec: <Destination as Kind>::Spec =
        serde_json::from_value(json!({ "rclone": { "capacity": 1_073_741_824 } })).unwrap();
    assert_eq!(spec.rclone.unwrap().volume.capacity.unwrap().0, "1073741824");
}

fn schedule_pattern() -> regex::Regex {
    let definition = definition::<Source>();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    regex::Regex::new(spec["properties"]["trigger"]["properties"]["schedule"]["pattern"].as_str().unwrap()).unwrap()
}

#[test]
fn the_pattern_of_schedules_takes_what_upstream_takes_and_what_can_be_read() {
    let pattern = schedule_pattern();
    for taken in [
        "*/6 * * * *",
        "TZ=UTC 0 3 * * *",
        "@daily",
        "@dailyx",
        "12345",
        "garbage 1 2 3 4 5",
        "0 0 * * 7",
        "0 0 31 2 *",
        "@midnight",
        "@every 1h",
        "0 0 * * MON",
        "0 0 ? * *",
        "0 0 * * 1,3-5",
        "CRON_TZ=Europe/Prague @every 5m",
    ] {
        assert!(pattern.is_match(taken), "{taken}");
    }
    for refused in ["", "hourly", "0 0 * *", "a b c d e f"] {
        assert!(!pattern.is_match(refused), "{refused}");
    }
}

proptest! {
    #[test]
    fn whatever_can_be_read_passes_the_pattern(text in "(TZ=[A-Z]{0,4} {1,2})?(@daily|@every 1h|[0-9*/,a-f?-]{1,3}([ \t][0-9*/,a-f?-]{1,3}){3,5})") {
        if volsync_cron::parse(&text, &jiff::tz::TimeZone::UTC).is_ok() {
            prop_assert!(schedule_pattern().is_match(&text));
        }
    }
}
