//! OpenShift's security context constraint for movers that are root, which their accounts may `use`.
//!
//! Source: `docs/compat-volsync.md`, section "Installation".

use crate::labels::CREATED_BY;
use serde_json::{Value, json};

/// Group, version, kind and plural of the resource.
pub const RESOURCE: [&str; 4] =
    ["security.openshift.io", "v1", "SecurityContextConstraints", "securitycontextconstraints"];

/// The constraint of this name: any user, the capabilities that movers need, nothing of the host.
pub fn constraint(name: &str) -> Value {
    let [group, version, kind, _] = RESOURCE;
    json!({
        "apiVersion": format!("{group}/{version}"),
        "kind": kind,
        "metadata": { "name": name, "labels": { CREATED_BY.0: CREATED_BY.1 } },
        "allowHostDirVolumePlugin": false,
        "allowHostIPC": false,
        "allowHostNetwork": false,
        "allowHostPID": false,
        "allowHostPorts": false,
        "allowPrivilegeEscalation": false,
        "allowPrivilegedContainer": false,
        "allowedCapabilities": ["AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "SYS_CHROOT"],
        "defaultAddCapabilities": null,
        "fsGroup": { "type": "RunAsAny" },
        "groups": [],
        "priority": null,
        "readOnlyRootFilesystem": true,
        "requiredDropCapabilities": ["ALL"],
        "runAsUser": { "type": "RunAsAny" },
        "seLinuxContext": { "type": "MustRunAs" },
        "seccompProfiles": ["runtime/default"],
        "supplementalGroups": { "type": "RunAsAny" },
        "users": [],
        "volumes": ["configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"],
    })
}

/// Whether a constraint that exists was made by a controller, and not by an administrator, whose word counts.
pub fn is_ours(labels: Option<&std::collections::BTreeMap<String, String>>) -> bool {
    labels.and_then(|labels| labels.get(CREATED_BY.0)).is_some_and(|value| value == CREATED_BY.1)
}
