//! Copies of the secrets with which movers' images are pulled, from the controller's namespace into a replication's.

use super::{Trouble, hands::Hands};
use crate::{
    objects::{names, owner::created_by},
    settings::Settings,
};
use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Api;
use std::collections::BTreeMap;

/// Makes the copies, and gives their names; also of an original that is missing, as upstream does, for it may come yet.
pub(super) async fn copies(hands: &Hands<'_>, settings: &Settings) -> Result<Vec<String>, Trouble> {
    let namespace = settings.namespace.as_deref().unwrap_or_else(|| hands.client.default_namespace());
    let originals: Api<Secret> = Api::namespaced(hands.client.clone(), namespace);
    let mut names = Vec::new();
    for name in &settings.pull_secrets {
        names.push(names::pull_secret(name));
        let Some(original) = originals.get_opt(name).await? else {
            tracing::warn!(secret = name, namespace, "there is no such secret to pull images with");
            continue;
        };
        let before = hands.get::<Secret>(&names::pull_secret(name)).await?;
        let owners = before.as_ref().and_then(|before| before.metadata.owner_references.clone());
        let wanted = copy(hands, name, original, owners.unwrap_or_default());
        hands.keep(&wanted).await?;
    }
    Ok(names)
}

/// Several replications may share a copy, so it belongs to all of them and to none alone.
fn copy(hands: &Hands<'_>, name: &str, original: Secret, mut owners: Vec<OwnerReference>) -> Secret {
    if !owners.iter().any(|owner| owner.uid == hands.owner.uid) {
        owners.push(OwnerReference { controller: None, block_owner_deletion: None, ..hands.owner.reference() });
    }
    Secret {
        metadata: ObjectMeta {
            name: Some(names::pull_secret(name)),
            namespace: Some(hands.owner.namespace.to_owned()),
            labels: Some(BTreeMap::from([created_by()])),
            owner_references: Some(owners),
            ..ObjectMeta::default()
        },
        type_: original.type_,
        data: original.data,
        ..Secret::default()
    }
}
