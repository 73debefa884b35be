//! A claim that names a destination as its data source, and the temporary claim through which its volume is filled.
//!
//! Source: `docs/compat-volsync.md`, section "Volume populator".

use super::snapshot;
use crate::{
    api::{GROUP, non_empty},
    labels::{CREATED_BY, DO_NOT_DELETE, POPULATING_PREFIX, POPULATOR_CLAIM_FOR},
};
use k8s_openapi::{
    api::{
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference, TypedObjectReference},
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use std::collections::BTreeMap;

/// By the scheduler, on a claim whose volume is made where its first pod will run.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";

/// The longest value of a label, in bytes.
const LABEL_LIMIT: usize = 63;

/// The destination that a claim wants to be filled from. `None` if that is not what it wants.
pub fn wanted_destination(claim: &PersistentVolumeClaim) -> Option<&str> {
    let source = claim.spec.as_ref()?.data_source_ref.as_ref()?;
    let ours = source.api_group.as_deref() == Some(GROUP) && source.kind == "ReplicationDestination";
    // Upstream ignores a namespace; to fill a volume from another one without its owner's leave would be worse.
    let here = source.namespace.as_ref().is_none_or(|namespace| claim.metadata.namespace.as_ref() == Some(namespace));
    (ours && here && !source.name.is_empty()).then_some(source.name.as_str())
}

/// Whether a claim has its volume.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.spec.as_ref().is_some_and(|spec| non_empty(spec.volume_name.as_ref()).is_some())
}

/// Whether a claim of this class can be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It can.
    Ready,
    /// The scheduler has to choose a node first.
    WaitsForNode,
    /// Its volumes are not made by a driver that knows data sources.
    InTree,
}

/// Asks the class of a claim.
pub fn class_of(claim: &PersistentVolumeClaim, class: &StorageClass) -> Class {
    let annotated = |key| claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(key));
    if class.provisioner.starts_with("kubernetes.io/") && !annotated(MIGRATED_TO) {
        return Class::InTree;
    }
    let late = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    if late && !annotated(SELECTED_NODE) { Class::WaitsForNode } else { Class::Ready }
}

/// Name of the temporary claim for the claim with this UID.
pub fn temporary_name(uid: &str) -> String {
    format!("vs-prime-{uid}")
}

/// The label of a snapshot from which the claim with this UID is being filled.
pub fn in_use(uid: &str) -> String {
    format!("{POPULATING_PREFIX}{uid}")
}

/// A claim's name as the value of a label, cut where it is too long: labels are told apart by their UIDs.
pub fn label_value(name: &str) -> &str {
    name.get(..LABEL_LIMIT).map_or(name, |short| short.trim_end_matches(['-', '.']))
}

/// The snapshot that an image is. `None` if it is none.
pub fn snapshot_of(image: &TypedLocalObjectReference) -> Option<&str> {
    (image.kind == snapshot::KIND && image.api_group.as_deref() == Some(snapshot::GROUP)).then_some(&*image.name)
}

/// The temporary claim: like the one that waits, and filled from a snapshot.
pub fn temporary(claim: &PersistentVolumeClaim, snapshot: &str) -> PersistentVolumeClaim {
    let (metadata, spec) = (&claim.metadata, claim.spec.clone().unwrap_or_default());
    let (name, uid) = (metadata.name.clone().unwrap_or_default(), metadata.uid.clone().unwrap_or_default());
    let node = metadata.annotations.as_ref().and_then(|all| all.get(SELECTED_NODE));
    let labels = [(POPULATOR_CLAIM_FOR, label_value(&name)), CREATED_BY];
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(temporary_name(&uid)),
            namespace: metadata.namespace.clone(),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            annotations: node.map(|node| BTreeMap::from([(SELECTED_NODE.to_owned(), node.clone())])),
            owner_references: Some(vec![owned_by_claim(name, uid, Some(true))]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: spec.access_modes,
            resources: spec.resources,
            storage_class_name: spec.storage_class_name,
            volume_mode: spec.volume_mode,
            data_source_ref: Some(TypedObjectReference {
                api_group: Some(snapshot::GROUP.to_owned()),
                kind: snapshot::KIND.to_owned(),
                name: snapshot.to_owned(),
                namespace: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// A reference to a claim as owner, which is its controller or a plain one.
pub fn owned_by_claim(name: String, uid: String, controller: Option<bool>) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "PersistentVolumeClaim".to_owned(),
        name,
        uid,
        controller,
        block_owner_deletion: controller,
    }
}

/// Owners of a snapshot in use, with the temporary claim among them. `None` if nothing is to be changed: it is one already,
/// or the snapshot's user keeps it, and then nobody owns it.
pub fn with_owner(metadata: &ObjectMeta, temporary: &PersistentVolumeClaim) -> Option<Vec<OwnerReference>> {
    let (name, uid) = (temporary.metadata.name.clone()?, temporary.metadata.uid.clone()?);
    let mut owners = metadata.owner_references.clone().unwrap_or_default();
    let kept = metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(DO_NOT_DELETE));
    if kept || owners.iter().any(|owner| owner.uid == uid) {
        return None;
    }
    owners.push(owned_by_claim(name, uid, None));
    Some(owners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(spec: &Value, annotations: &Value) -> PersistentVolumeClaim {
        let metadata = json!({ "name": "c", "namespace": "n", "uid": "u", "annotations": annotations });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
    }

    #[test]
    fn claims_that_name_a_destination_of_their_namespace_are_filled() {
        let source = json!({ "apiGroup": "volsync.backube", "kind": "ReplicationDestination", "name": "d" });
        for (change, expect) in [
            (json!({}), Some("d")),
            (json!({ "namespace": "n" }), Some("d")),
            (json!({ "namespace": "other" }), None),
            (json!({ "name": "" }), None),
            (json!({ "kind": "ReplicationSource" }), None),
            (json!({ "apiGroup": "x" }), None),
        ] {
            let mut source = source.clone();
            source.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert_eq!(wanted_destination(&claim(&json!({ "dataSourceRef": source }), &json!({}))), expect, "{change}");
        }
        assert_eq!(wanted_destination(&claim(&json!({}), &json!({}))), None);
    }

    #[test]
    fn a_class_says_when() {
        for (class, annotations, expect) in [
            (json!({ "provisioner": "csi.x" }), json!({}), Class::Ready),
            (json!({ "provisioner": "kubernetes.io/aws-ebs" }), json!({}), Class::InTree),
            (json!({ "provisioner": "kubernetes.io/aws-ebs" }), json!({ MIGRATED_TO: "csi.x" }), Class::Ready),
            (
                json!({ "provisioner": "csi.x", "volumeBindingMode": "WaitForFirstConsumer" }),
                json!({}),
                Class::WaitsForNode,
            ),
            (
                json!({ "provisioner": "csi.x", "volumeBindingMode": "WaitForFirstConsumer" }),
                json!({ SELECTED_NODE: "a" }),
                Class::Ready,
            ),
        ] {
            let class: StorageClass = serde_json::from_value(class).unwrap();
            assert_eq!(class_of(&claim(&json!({}), &annotations), &class), expect, "{class:?}");
        }
    }

    #[test]
    fn a_snapshot_in_use_belongs_to_the_temporary_claim_unless_it_is_kept() {
        let mut temporary = temporary(&claim(&json!({}), &json!({})), "s");
        assert_eq!(with_owner(&ObjectMeta::default(), &temporary), None, "it has no UID yet");
        temporary.metadata.uid = Some("t".into());
        let owners = with_owner(&ObjectMeta::default(), &temporary).unwrap();
        assert_eq!((owners[0].name.as_str(), owners[0].controller), ("vs-prime-u", None));
        let owned = ObjectMeta { owner_references: Some(owners), ..ObjectMeta::default() };
        assert_eq!(with_owner(&owned, &temporary), None);
        let kept = BTreeMap::from([(DO_NOT_DELETE.to_owned(), String::new())]);
        assert_eq!(with_owner(&ObjectMeta { labels: Some(kept), ..ObjectMeta::default() }, &temporary), None);
    }

    #[test]
    fn names_of_any_length_fit_into_a_label() {
        for (name, expect) in [("a".to_owned(), 1), ("a".repeat(253), 63), (format!("{}-.b", "a".repeat(61)), 61)] {
            assert_eq!(label_value(&name).len(), expect, "{name}");
        }
    }
}
