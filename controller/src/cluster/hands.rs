//! The only writer of objects, within the namespace of one replication.

use super::Trouble;
use crate::objects::owner::Owner;
use k8s_openapi::{NamespaceResourceScope, api::core::v1::ObjectReference};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::events::{Event, EventType, Recorder},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::fmt::Debug;

/// The longest note that an event may have, in bytes.
const NOTE_LIMIT: usize = 1024;

/// An object that lives in a namespace.
pub(super) trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

/// Does what is decided for one replication.
pub(super) struct Hands<'a> {
    pub(super) client: &'a Client,
    pub(super) recorder: &'a Recorder,
    pub(super) owner: Owner<'a>,
    pub(super) reference: ObjectReference,
}

impl Hands<'_> {
    pub(super) fn api<K: Namespaced>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.owner.namespace)
    }

    pub(super) async fn get<K: Namespaced>(&self, name: &str) -> Result<Option<K>, Trouble> {
        Ok(self.api().get_opt(name).await?)
    }

    /// The object, which must exist; the API server's words if it does not.
    pub(super) async fn expect<K: Namespaced>(&self, name: &str) -> Result<K, Trouble> {
        Ok(self.api().get(name).await?)
    }

    /// The object as it is, or made if it is missing.
    pub(super) async fn ensure<K: Namespaced>(&self, wanted: &K) -> Result<(K, Made), Trouble> {
        let name = wanted.meta().name.clone().unwrap_or_default();
        if let Some(found) = self.get(&name).await? {
            return Ok((found, Made::Before));
        }
        Ok((self.create(wanted).await?, Made::Now))
    }

    pub(super) async fn create<K: Namespaced>(&self, wanted: &K) -> Result<K, Trouble> {
        Ok(self.api().create(&PostParams::default(), wanted).await?)
    }

    /// Whether an object belongs to this replication.
    pub(super) fn owns<K: Namespaced>(&self, object: &K) -> bool {
        object.meta().owner_references.iter().flatten().any(|owner| owner.uid == self.owner.uid)
    }

    /// The object with everything that is wanted of it. Fields that others have added stay, elements of lists do not.
    pub(super) async fn keep<K: Namespaced>(&self, wanted: &K) -> Result<(K, Made), Trouble> {
        let (found, made) = self.ensure(wanted).await?;
        let (wanted, name) = (json(wanted), wanted.meta().name.clone().unwrap_or_default());
        if made == Made::Now || contains(&json(&found), &wanted) {
            return Ok((found, made));
        }
        Ok((self.patch(&name, &wanted).await?, made))
    }

    pub(super) async fn patch<K: Namespaced>(&self, name: &str, changes: &Value) -> Result<K, Trouble> {
        Ok(self.api().patch(name, &PatchParams::default(), &Patch::Merge(changes)).await?)
    }

    /// Deletes an object and, in the background, what it owns. One that is gone, or is another one by now, is left alone.
    pub(super) async fn delete<K: Namespaced>(&self, object: &K) -> Result<(), Trouble> {
        let preconditions = Preconditions { uid: object.meta().uid.clone(), resource_version: None };
        self.delete_with(object, preconditions).await
    }

    /// Deletes an object if it is still as it was read.
    pub(super) async fn delete_unchanged<K: Namespaced>(&self, object: &K) -> Result<(), Trouble> {
        let meta = object.meta();
        let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
        self.delete_with(object, preconditions).await
    }

    async fn delete_with<K: Namespaced>(&self, object: &K, preconditions: Preconditions) -> Result<(), Trouble> {
        let name = object.meta().name.clone().unwrap_or_default();
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match self.api::<K>().delete(&name, &parameters).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    /// Tells the user. What cannot be told is logged and stops nothing.
    pub(super) async fn tell(&self, type_: EventType, reason: &str, action: &str, note: String) {
        let note = note.chars().scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= NOTE_LIMIT).then_some(c)
        });
        let (reason, action) = (reason.to_owned(), action.to_owned());
        let event = Event { type_, reason, note: Some(note.collect()), action, secondary: None };
        if let Err(error) = self.recorder.publish(&event, &self.reference).await {
            tracing::warn!(reason = event.reason, %error, "an event was not taken");
        }
    }
}

/// When an object was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Now,
    Before,
}

/// An object of Kubernetes always has a form in JSON.
fn json<K: Serialize>(object: &K) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Whether `found` has everything of `wanted`. Lists must be as long as wanted.
fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| found.get(key).map_or(is_empty(value), |found| contains(found, value)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| contains(found, wanted))
        }
        _ => found == wanted,
    }
}

/// API servers leave out what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_add_does_not_matter_and_what_is_missing_does() {
        let found = json!({ "a": 1, "more": 2, "list": [{ "x": 1, "default": 3 }] });
        for (wanted, expect) in [
            (json!({ "a": 1 }), true),
            (json!({ "a": 2 }), false),
            (json!({ "b": 1 }), false),
            (json!({ "b": null, "c": [], "d": {} }), true),
            (json!({ "list": [{ "x": 1 }] }), true),
            (json!({ "list": [] }), false),
            (json!({ "list": [{ "x": 1 }, { "x": 1 }] }), false),
        ] {
            assert_eq!(contains(&found, &wanted), expect, "{wanted}");
        }
    }
}
