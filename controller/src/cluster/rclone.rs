//! What a transfer with rclone needs before its Job: a remote, its secret, and an authority to trust.

use super::{Trouble, hands::Hands};
use crate::{
    api::Rclone,
    objects::{
        rclone::{CONFIG_KEY, Remote},
        volumes::CaSource,
    },
};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use std::collections::{BTreeMap, BTreeSet};

/// Checks the remote, before anything is made for it. Gives the names of the keys of its secret.
pub(super) async fn check_remote(hands: &Hands<'_>, rclone: &Rclone) -> Result<BTreeSet<String>, Trouble> {
    let remote = Remote::of(rclone).map_err(|error| Trouble::user(&error))?;
    let secret: Secret = hands.expect(remote.secret).await?;
    let keys: BTreeSet<String> = secret.data.into_iter().flatten().map(|(key, _)| key).collect();
    if keys.is_empty() {
        return Err(Trouble::User(format!("secret should have fields: [{CONFIG_KEY}]")));
    }
    if !keys.contains(CONFIG_KEY) {
        return Err(Trouble::User(format!("secret is missing field: {CONFIG_KEY}")));
    }
    Ok(keys)
}

/// Checks the authority, if one is asked for.
pub(super) async fn check_ca(hands: &Hands<'_>, ca: Option<(CaSource<'_>, &str)>) -> Result<(), Trouble> {
    let (what, key, keys): (_, _, Vec<String>) = match ca {
        None => return Ok(()),
        Some((CaSource::Secret(name), key)) => {
            let secret: Secret = hands.expect(name).await?;
            let data: BTreeMap<String, ByteString> = secret.data.unwrap_or_default();
            ("secret", key, data.into_keys().collect())
        }
        Some((CaSource::ConfigMap(name), key)) => {
            let map: ConfigMap = hands.expect(name).await?;
            ("configmap", key, map.data.unwrap_or_default().into_keys().collect())
        }
    };
    if keys.is_empty() {
        return Err(Trouble::User(format!("{what} should have fields: [{key}]")));
    }
    if !keys.iter().any(|found| found == key) {
        return Err(Trouble::User(format!("{what} is missing field: {key}")));
    }
    Ok(())
}
