//! What the file says.

use crate::api::{GROUP, ReplicationDestination, ReplicationSource};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// Objects of a file, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Documents {
    pub(super) sources: BTreeMap<String, ReplicationSource>,
    pub(super) destinations: BTreeMap<String, ReplicationDestination>,
    secrets: BTreeMap<String, Secret>,
    config_maps: BTreeMap<String, ConfigMap>,
}

/// Why a file cannot be used. Nothing of it is told: secrets may be in it.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not there.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// It is no YAML.
    #[error("{0} is no YAML, near line {1}")]
    Yaml(String, u64),
    /// A document is not what its kind demands.
    #[error("{0}: a document of kind {1} cannot be read, or its name is none of Kubernetes'")]
    Document(String, String),
}

impl Documents {
    /// Reads a file, and more documents after it.
    pub(super) fn read(file: &Path, more: Option<&str>) -> Result<Self, Unreadable> {
        let shown = file.display().to_string();
        let text = fs::read_to_string(file).map_err(|error| Unreadable::Io(shown.clone(), error))?;
        let mut documents = Self::default();
        for text in std::iter::once(text.as_str()).chain(more) {
            documents.add(&shown, text)?;
        }
        Ok(documents)
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), Unreadable> {
        let all: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
            Unreadable::Yaml(file.to_owned(), error.location().map_or(0, |location| location.line()))
        })?;
        for document in all.into_iter().filter(|document| !document.is_null()) {
            let kind = document["kind"].as_str().unwrap_or("(none)").to_owned();
            let group = document["apiVersion"].as_str().unwrap_or_default().split('/').next().unwrap_or_default();
            let unreadable = || Unreadable::Document(file.to_owned(), kind.clone());
            let name = document["metadata"]["name"].as_str().filter(|name| is_name(name)).ok_or_else(unreadable)?;
            let name = name.to_owned();
            let taken = match (group, kind.as_str()) {
                (GROUP, "ReplicationSource") => put(&mut self.sources, name, document),
                (GROUP, "ReplicationDestination") => put(&mut self.destinations, name, document),
                ("v1", "Secret") => put(&mut self.secrets, name, document),
                ("v1", "ConfigMap") => put(&mut self.config_maps, name, document),
                // Claims and applications of a file that is made for a cluster.
                _ => Some(()),
            };
            taken.ok_or_else(unreadable)?;
        }
        Ok(())
    }

    /// The values of a secret.
    pub(super) fn secret(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let secret = self.secrets.get(name).ok_or_else(|| format!("secrets \"{name}\" not found"))?;
        let mut values: BTreeMap<String, Vec<u8>> =
            secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect();
        values
            .extend(secret.string_data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes())));
        Ok(values)
    }

    /// A value of a map.
    pub(super) fn config_map(&self, name: &str, key: &str) -> Result<Vec<u8>, String> {
        let map = self.config_maps.get(name).ok_or_else(|| format!("configmaps \"{name}\" not found"))?;
        let text = map.data.as_ref().and_then(|data| data.get(key));
        text.map(|text| text.clone().into_bytes()).ok_or_else(|| format!("configmap {name} has no {key}"))
    }
}

fn put<T: DeserializeOwned>(all: &mut BTreeMap<String, T>, name: String, document: Value) -> Option<()> {
    all.insert(name, serde_json::from_value(document).ok()?);
    Some(())
}

/// Whether something may be the name of a file here: as Kubernetes wants names.
pub(super) fn is_name(name: &str) -> bool {
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !name.is_empty()
        && name.len() <= 253
        && name.chars().all(of_name)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "---\napiVersion: volsync.backube/v1alpha1\nkind: ReplicationSource\nmetadata: { name: a }\nspec: { sourcePVC: data }\n\
                        ---\napiVersion: v1\nkind: Secret\nmetadata: { name: s }\ndata: { x: aGk= }\nstringData: { y: z }\n\
                        ---\napiVersion: apps/v1\nkind: Deployment\nmetadata: { name: other }\n\
                        ---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: m }\ndata: { k: v }\n";

    #[test]
    fn what_a_cluster_would_take_is_taken() {
        let mut documents = Documents::default();
        documents.add("f", FILE).unwrap();
        assert_eq!(documents.sources["a"].spec.source_pvc.as_deref(), Some("data"));
        let secret = documents.secret("s").unwrap();
        assert_eq!((&secret["x"][..], &secret["y"][..]), (&b"hi"[..], &b"z"[..]));
        assert_eq!(documents.config_map("m", "k").unwrap(), b"v");
        assert_eq!(documents.secret("t").unwrap_err(), "secrets \"t\" not found");
        assert!(documents.config_map("m", "l").is_err() && documents.destinations.is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_without_what_is_in_it() {
        for (text, expect) in [
            ("a: [secret", "is no YAML"),
            ("kind: Secret\napiVersion: v1\nmetadata: { name: ../x }", "kind Secret"),
            ("kind: Secret\napiVersion: v1\nmetadata: { name: x }\nstringData: secret", "kind Secret"),
        ] {
            let error = Documents::default().add("f", text).unwrap_err().to_string();
            assert!(error.contains(expect) && !error.contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(text in "([a-z]{1,8}: |\\{|\\}|\\[|\\]|&a |\\*a|\n|---\n|kind: Secret\n|\\PC){0,30}") {
            let _ = Documents::default().add("f", &text);
        }
    }
}
