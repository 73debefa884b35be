//! To whom an object belongs, and how it is found again.

use crate::{
    api::{GROUP, Kind, Replication, VERSION},
    labels::{CLEANUP, CREATED_BY},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::BTreeMap;

/// The replication for which objects are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace, in which everything is made.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID, which no other object ever has.
    pub uid: &'a str,
}

impl<'a> Owner<'a> {
    /// The replication as owner. `None` if it does not come from an API server, which sets what is needed.
    pub fn of<K: Kind>(replication: &'a Replication<K>) -> Option<Self> {
        let metadata = &replication.metadata;
        Some(Self {
            kind: K::KIND,
            namespace: metadata.namespace.as_deref()?,
            name: metadata.name.as_deref()?,
            uid: metadata.uid.as_deref()?,
        })
    }

    /// The reference by which the garbage collector deletes what is owned.
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: self.kind.to_owned(),
            name: self.name.to_owned(),
            uid: self.uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Metadata of an object that lives as long as its owner.
    pub fn lasting(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(BTreeMap::from([created_by()])),
            owner_references: Some(vec![self.reference()]),
            ..ObjectMeta::default()
        }
    }

    /// Metadata of an object that is deleted at the end of the iteration.
    pub fn temporary(&self, name: String) -> ObjectMeta {
        let mut metadata = self.lasting(name);
        metadata.labels.get_or_insert_default().insert(CLEANUP.to_owned(), self.uid.to_owned());
        metadata
    }
}

/// The label of everything that is ours.
pub fn created_by() -> (String, String) {
    (CREATED_BY.0.to_owned(), CREATED_BY.1.to_owned())
}
