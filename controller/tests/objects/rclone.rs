//! The Job of rclone, and what is common to all Jobs.

use crate::{FILES, environment, frame, owner_references, security, to_json};
use k8s_openapi::api::core::v1::{PodSecurityContext, Toleration};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use volsync_controller::{
    api::{CustomCa, MoverOptions, MoverVolume, MoverVolumeSource, PodOptions, Rclone},
    objects::{
        job::{JobFrame, Placement},
        names::Direction,
        rclone::{RcloneMover, Remote},
    },
};

fn rclone_spec() -> Rclone {
    Rclone {
        rclone_config: Some("remote".into()),
        rclone_config_section: Some("s3".into()),
        rclone_dest_path: Some("bucket/db".into()),
        custom_ca: None,
    }
}

struct RcloneCase {
    spec: Rclone,
    direction: Direction,
    keys: BTreeSet<String>,
    proxies: BTreeMap<String, String>,
    privileged: bool,
    options: MoverOptions,
    pod: PodOptions,
}

impl Default for RcloneCase {
    fn default() -> Self {
        Self {
            spec: rclone_spec(),
            direction: Direction::Source,
            keys: BTreeSet::new(),
            proxies: BTreeMap::new(),
            privileged: false,
            options: MoverOptions::default(),
            pod: PodOptions::default(),
        }
    }
}

impl RcloneCase {
    fn job(&self, frame: &JobFrame<'_>) -> Value {
        let mover = RcloneMover {
            direction: self.direction,
            image: "mover:1",
            remote: Remote::of(&self.spec).unwrap(),
            secret_keys: &self.keys,
            proxies: &self.proxies,
            privileged: self.privileged,
            data: FILES,
            options: &self.options,
            pod: &self.pod,
        };
        to_json(&mover.job(frame))
    }
}

#[test]
fn the_job_of_rclone() {
    let expect = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "volsync-rclone-src-db", "namespace": "prod",
            "labels": { "app.kubernetes.io/created-by": "volsync", "volsync.backube/cleanup": "1234" },
            "ownerReferences": owner_references(),
        },
        "spec": {
            "backoffLimit": 2,
            "parallelism": 1,
            "template": {
                "metadata": {
                    "name": "volsync-rclone-src-db",
                    "labels": { "app.kubernetes.io/created-by": "volsync" },
                },
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": "volsync-src-db",
                    "containers": [{
                        "name": "rclone",
                        "image": "mover:1",
                        "command": ["/bin/bash", "-c", "/mover-rclone/active.sh"],
                        "env": [
                            { "name": "RCLONE_CONFIG", "value": "/rclone-config/rclone.conf" },
                            { "name": "RCLONE_DEST_PATH", "value": "bucket/db" },
                            { "name": "DIRECTION", "value": "source" },
                            { "name": "MOUNT_PATH", "value": "/data" },
                            { "name": "RCLONE_CONFIG_SECTION", "value": "s3" },
                            { "name": "PRIVILEGED_MOVER", "value": "0" },
                        ],
                        "resources": {},
                        "securityContext": security(&[]),
                        "volumeMounts": [
                            { "name": "data", "mountPath": "/data" },
                            { "name": "rclone-secret", "mountPath": "/rclone-config/" },
                            { "name": "tempdir", "mountPath": "/tmp" },
                        ],
                    }],
                    "volumes": [
                        { "name": "data", "persistentVolumeClaim": { "claimName": "data" } },
                        { "name": "rclone-secret", "secret": { "secretName": "remote", "defaultMode": 0o600 } },
                        { "name": "tempdir", "emptyDir": { "medium": "Memory" } },
                    ],
                },
            },
        },
    });
    assert_eq!(RcloneCase::default().job(&frame(&Placement::default())), expect);
}

#[test]
fn a_paused_job_runs_no_pod() {
    let placement = Placement::default();
    let paused = JobFrame { paused: true, ..frame(&placement) };
    assert_eq!(RcloneCase::default().job(&paused)["spec"]["parallelism"], 0);
}

#[test]
fn the_environment_of_rclone_is_in_upstreams_order() {
    let case = RcloneCase {
        direction: Direction::Destination,
        keys: ["rclone.conf", "RCLONE_TRANSFERS", "RCLONE_BWLIMIT", "OTHER"].map(str::to_owned).into(),
        proxies: [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "svc")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        spec: Rclone {
            custom_ca: Some(CustomCa {
                secret_name: Some("ca".into()),
                config_map_name: Some("m".into()),
                key: Some("k".into()),
            }),
            ..rclone_spec()
        },
        privileged: true,
        ..RcloneCase::default()
    };
    let placement = Placement::default();
    let job = case.job(&JobFrame { debug: true, ..frame(&placement) });
    let pod = &job["spec"]["template"]["spec"];
    let expect = [
        ("RCLONE_BWLIMIT", "from secret"),
        ("RCLONE_TRANSFERS", "from secret"),
        ("RCLONE_CONFIG", "/rclone-config/rclone.conf"),
        ("RCLONE_DEST_PATH", "bucket/db"),
        ("DIRECTION", "destination"),
        ("MOUNT_PATH", "/data"),
        ("RCLONE_CONFIG_SECTION", "s3"),
        ("HTTPS_PROXY", "http://p:1"),
        ("https_proxy", "http://p:1"),
        ("NO_PROXY", "svc"),
        ("no_proxy", "svc"),
        ("DEBUG_MOVER", "1"),
        ("CUSTOM_CA", "/customCA/ca.crt"),
        ("PRIVILEGED_MOVER", "1"),
    ];
    assert_eq!(environment(&pod["containers"][0]), expect.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(
        pod["containers"][0]["env"][0]["valueFrom"],
        json!({ "secretKeyRef": { "name": "remote", "key": "RCLONE_BWLIMIT", "optional": true } })
    );
    assert_eq!(pod["containers"][0]["securityContext"], security(&["DAC_OVERRIDE", "CHOWN", "FOWNER"]));
    let ca =
        json!({ "name": "custom-ca", "secret": { "secretName": "ca", "items": [{ "key": "k", "path": "ca.crt" }] } });
    assert_eq!(pod["volumes"][3], ca);
    assert_eq!(pod["containers"][0]["volumeMounts"][3], json!({ "name": "custom-ca", "mountPath": "/customCA" }));
    assert_eq!(job["metadata"]["name"], "volsync-rclone-dst-db");
}

#[test]
fn half_a_certificate_authority_is_none() {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    for (secret, map, key, volume) in [
        ("s", "m", "", None),
        ("", "", "k", None),
        (
            "",
            "m",
            "k",
            Some(
                json!({ "name": "custom-ca", "configMap": { "name": "m", "items": [{ "key": "k", "path": "ca.crt" }] } }),
            ),
        ),
    ] {
        let ca = CustomCa { secret_name: text(secret), config_map_name: text(map), key: text(key) };
        let case = RcloneCase { spec: Rclone { custom_ca: Some(ca), ..rclone_spec() }, ..RcloneCase::default() };
        let job = case.job(&frame(&Placement::default()));
        assert_eq!(job["spec"]["template"]["spec"]["volumes"].get(3), volume.as_ref());
        let variables = environment(&job["spec"]["template"]["spec"]["containers"][0]);
        assert_eq!(variables.iter().any(|(name, _)| name == "CUSTOM_CA"), volume.is_some());
    }
}

#[test]
fn what_rclone_needs_is_named_in_order() {
    for (field, error) in [
        (0, "unable to get Rclone config secret name"),
        (1, "unable to get Rclone config section name"),
        (2, "unable to get Rclone destination name"),
    ] {
        let mut spec = rclone_spec();
        let fields = [&mut spec.rclone_config, &mut spec.rclone_config_section, &mut spec.rclone_dest_path];
        fields.into_iter().skip(field).for_each(|text| *text = Some(String::new()));
        assert_eq!(Remote::of(&spec).unwrap_err().to_string(), error);
    }
}

#[test]
fn what_users_want_of_a_pod_is_done() {
    let toleration = |key: &str| Toleration { key: Some(key.into()), ..Toleration::default() };
    let case = RcloneCase {
        options: MoverOptions {
            mover_pod_labels: Some(
                [("team", "a"), ("app.kubernetes.io/created-by", "me")]
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .into(),
            ),
            mover_resources: serde_json::from_value(json!({ "limits": { "memory": "1Gi" } })).unwrap(),
            mover_tolerations: Some(vec![toleration("own"), toleration("both")]),
            mover_service_account: None,
        },
        pod: PodOptions {
            mover_security_context: Some(Box::new(PodSecurityContext {
                run_as_user: Some(7),
                fs_group: Some(8),
                ..PodSecurityContext::default()
            })),
            mover_affinity: serde_json::from_value(json!({ "nodeAffinity": {} })).unwrap(),
            mover_volumes: Some(vec![
                volume("a/b", json!({ "nfs": { "server": "n", "path": "/p" } })),
                volume("c", json!({ "persistentVolumeClaim": { "claimName": "x" } })),
            ]),
        },
        ..RcloneCase::default()
    };
    let placement = Placement {
        node_selector: Some(BTreeMap::from([("kubernetes.io/hostname".to_owned(), "n1".to_owned())])),
        tolerations: vec![toleration("both"), toleration("theirs")],
    };
    let job = case.job(&frame(&placement));
    let template = &job["spec"]["template"];
    assert_eq!(template["metadata"]["labels"], json!({ "team": "a", "app.kubernetes.io/created-by": "me" }));
    let pod = &template["spec"];
    assert_eq!(
        pod["securityContext"],
        json!({ "runAsUser": 7, "fsGroup": 8, "fsGroupChangePolicy": "OnRootMismatch" })
    );
    assert_eq!(pod["affinity"], json!({ "nodeAffinity": {} }));
    assert_eq!(pod["nodeSelector"], json!({ "kubernetes.io/hostname": "n1" }));
    assert_eq!(pod["tolerations"], json!([{ "key": "both" }, { "key": "theirs" }, { "key": "own" }]));
    assert_eq!(pod["containers"][0]["resources"], json!({ "limits": { "memory": "1Gi" } }));
    assert_eq!(pod["volumes"][3], json!({ "name": "u-a-b", "nfs": { "server": "n", "path": "/p" } }));
    assert_eq!(pod["containers"][0]["volumeMounts"][3], json!({ "name": "u-a-b", "mountPath": "/mnt/a/b" }));
    assert_eq!(pod["volumes"][4], json!({ "name": "u-c", "persistentVolumeClaim": { "claimName": "x" } }));
}

fn volume(path: &str, source: Value) -> MoverVolume {
    let volume_source: MoverVolumeSource = serde_json::from_value(source).unwrap();
    MoverVolume { mount_path: path.to_owned(), volume_source }
}

#[test]
fn a_group_policy_of_the_users_own_stays() {
    let context = PodSecurityContext {
        fs_group: Some(8),
        fs_group_change_policy: Some("Always".into()),
        ..PodSecurityContext::default()
    };
    let case = RcloneCase {
        pod: PodOptions { mover_security_context: Some(Box::new(context)), ..PodOptions::default() },
        ..RcloneCase::default()
    };
    let job = case.job(&frame(&Placement::default()));
    let expect = json!({ "fsGroup": 8, "fsGroupChangePolicy": "Always" });
    assert_eq!(job["spec"]["template"]["spec"]["securityContext"], expect);
}
