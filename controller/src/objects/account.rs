//! The account under which a mover's pod runs. It calls no API; on OpenShift it may use a security context constraint.

use super::{
    names::{self, Direction},
    owner::Owner,
};
use k8s_openapi::api::{
    core::v1::{LocalObjectReference, ServiceAccount},
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};

/// ServiceAccount, Role and RoleBinding, of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Who.
    pub account: ServiceAccount,
    /// What it may.
    pub role: Role,
    /// That it may.
    pub binding: RoleBinding,
}

/// The account of a replication's mover. `constraint` is the security context constraint that a privileged mover may use;
/// without one the role is empty. `pull_secrets` are names of the copies in the owner's namespace.
pub fn account(owner: &Owner<'_>, direction: Direction, constraint: Option<&str>, pull_secrets: &[String]) -> Account {
    let name = names::account(direction, owner.name);
    let metadata = owner.lasting(name.clone());
    let pull_secrets: Vec<_> = pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect();
    Account {
        account: ServiceAccount {
            metadata: metadata.clone(),
            image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
            ..ServiceAccount::default()
        },
        role: Role { metadata: metadata.clone(), rules: Some(constraint.map(may_use).into_iter().collect()) },
        binding: RoleBinding {
            metadata,
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".to_owned(),
                kind: "Role".to_owned(),
                name: name.clone(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name,
                namespace: Some(owner.namespace.to_owned()),
                api_group: None,
            }]),
        },
    }
}

fn may_use(constraint: &str) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec!["security.openshift.io".to_owned()]),
        resources: Some(vec!["securitycontextconstraints".to_owned()]),
        resource_names: Some(vec![constraint.to_owned()]),
        verbs: vec!["use".to_owned()],
        ..PolicyRule::default()
    }
}
