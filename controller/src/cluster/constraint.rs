//! Brings OpenShift's constraint for movers that are root.

use crate::objects::constraint::{RESOURCE, constraint, is_ours};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};

/// Makes the constraint, or brings one up to date that a controller has made. Without it movers that are root cannot start,
/// and all others can: what goes wrong is logged.
pub(super) async fn bring(client: &Client, name: &str) {
    if let Err(error) = keep(client, name).await {
        tracing::warn!(name, %error, "the security context constraint is not there: movers cannot be root");
    }
}

async fn keep(client: &Client, name: &str) -> Result<(), kube::Error> {
    let [group, version, kind, plural] = RESOURCE;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let wanted = constraint(name);
    let Some(found) = api.get_opt(name).await? else {
        let made: DynamicObject = serde_json::from_value(wanted).map_err(kube::Error::SerdeError)?;
        return api.create(&PostParams::default(), &made).await.map(drop);
    };
    if !is_ours(found.metadata.labels.as_ref()) {
        tracing::info!(name, "the security context constraint is somebody's own and stays as it is");
        return Ok(());
    }
    api.patch(name, &PatchParams::default(), &Patch::Merge(&wanted)).await.map(drop)
}
