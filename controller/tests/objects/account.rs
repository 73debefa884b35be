//! Accounts of movers.

use crate::{OWNER, lasting, to_json};
use serde_json::{Value, json};
use volsync_controller::objects::{account, names::Direction};

#[test]
fn the_account_of_a_mover() {
    let made = account::account(&OWNER, Direction::Source, Some("scc"), &["pull-a".to_owned()]);
    let metadata = lasting("volsync-src-db");
    let expect = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "imagePullSecrets": [{ "name": "pull-a" }],
    });
    assert_eq!(to_json(&made.account), expect);
    let rule = json!({
        "apiGroups": ["security.openshift.io"], "resources": ["securitycontextconstraints"],
        "resourceNames": ["scc"], "verbs": ["use"],
    });
    let role = |rules: Value| json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules });
    assert_eq!(to_json(&made.role), role(json!([rule])));
    let expect = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "volsync-src-db" },
        "subjects": [{ "kind": "ServiceAccount", "name": "volsync-src-db", "namespace": "prod" }],
    });
    assert_eq!(to_json(&made.binding), expect);
    let made = account::account(&OWNER, Direction::Source, None, &[]);
    assert_eq!(to_json(&made.role), role(json!([])));
    assert_eq!(to_json(&made.account)["imagePullSecrets"], Value::Null);
}
