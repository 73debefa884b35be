//! The manifests that install the kinds: custom resource definitions, and the registration of the volume populator.
//!
//! `volsync-controller crds deploy/crds` writes them; a test compares what is committed.

use crate::{
    api::{Destination, GROUP, Kind, Source, VERSION},
    labels::CREATED_BY,
};
use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde_json::{Value, json};

/// Names and contents of the files in `deploy/crds`.
pub fn manifests() -> Result<[(String, String); 3], serde_saphyr::ser::Error> {
    Ok([
        (format!("{GROUP}_{}.yaml", Source::PLURAL), yaml(&definition::<Source>())?),
        (format!("{GROUP}_{}.yaml", Destination::PLURAL), yaml(&definition::<Destination>())?),
        ("volumepopulator.yaml".to_owned(), yaml(&volume_populator())?),
    ])
}

fn yaml(manifest: &Value) -> Result<String, serde_saphyr::ser::Error> {
    Ok(format!("# Written by `volsync-controller crds`.\n---\n{}", serde_saphyr::to_string(manifest)?))
}

/// The object that tells Kubernetes that a claim may name a ReplicationDestination as its data source. Cluster-scoped;
/// upstream's name and content.
pub fn volume_populator() -> Value {
    json!({
        "apiVersion": "populator.storage.k8s.io/v1beta1",
        "kind": "VolumePopulator",
        "metadata": {
            "name": "volsync-replicationdestination",
            "labels": { CREATED_BY.0: CREATED_BY.1 },
        },
        "sourceKind": { "group": GROUP, "kind": Destination::KIND },
    })
}

/// The definition of one kind.
pub fn definition<K: Kind + Columns>() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{GROUP}", K::PLURAL) },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": K::KIND,
                "listKind": format!("{}List", K::KIND),
                "plural": K::PLURAL,
                "singular": K::KIND.to_lowercase(),
            },
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "additionalPrinterColumns": columns::<K>(),
                "schema": { "openAPIV3Schema": root_schema::<K>() },
                "subresources": { "status": {} },
            }],
        },
    })
}

/// What `kubectl get` shows of a kind before the columns that both have.
pub trait Columns {
    /// Name, format and path of each.
    const OWN: &'static [[&'static str; 3]];
}

impl Columns for Source {
    const OWN: &'static [[&'static str; 3]] = &[["Source", "", ".spec.sourcePVC"]];
}

impl Columns for Destination {
    const OWN: &'static [[&'static str; 3]] = &[];
}

fn columns<K: Columns>() -> Vec<Value> {
    const COMMON: [[&str; 3]; 3] = [
        ["Last sync", "date-time", ".status.lastSyncTime"],
        ["Duration", "", ".status.lastSyncDuration"],
        ["Next sync", "date-time", ".status.nextSyncTime"],
    ];
    K::OWN.iter().chain(&COMMON).map(column).collect()
}

fn column([name, format, path]: &[&str; 3]) -> Value {
    let mut column = json!({ "name": name, "type": "string", "jsonPath": path });
    if !format.is_empty() {
        column["format"] = json!(format);
    }
    column
}

/// The schema of a whole object. Neither `spec` nor `status` is required.
fn root_schema<K: Kind>() -> Value {
    let string = json!({ "type": "string" });
    json!({
        "description": format!("{} of VolSync.", K::KIND),
        "type": "object",
        "properties": {
            "apiVersion": string,
            "kind": string,
            "metadata": { "type": "object" },
            "spec": schema::<K::Spec>(),
            "status": schema::<K::Status>(),
        },
    })
}

/// The structural schema of a type: everything inline, and nothing nullable, as API servers drop what is null.
fn schema<T: JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    settings.transforms.clear();
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    RecursiveTransform(structural).transform(&mut schema);
    schema
}

/// Rust's `Option` is a choice with null, which a structural schema cannot express and upstream's does not have.
fn structural(schema: &mut Schema) {
    let null = json!({ "type": "null" });
    if let Some(Value::Array(choices)) = schema.get("anyOf")
        && let [choice, other] = &choices[..]
        && *other == null
        && let Value::Object(choice) = choice.clone()
    {
        schema.remove("anyOf");
        for (key, value) in choice {
            schema.ensure_object().entry(key).or_insert(value);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    for key in ["title", "default"] {
        schema.remove(key);
    }
}
