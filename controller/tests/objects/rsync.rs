//! The Jobs of rsync.

use crate::{DEVICE, FILES, environment, frame, security, to_json};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Value, json};
use volsync_controller::{
    api::{MoverOptions, PodOptions},
    objects::{
        job::{JobFrame, Placement},
        rsync::{Address, End, RsyncMover, RsyncTlsMover},
        volumes::Data,
    },
};

fn rsync_job(end: End<'_>, data: Data<'_>, debug: bool) -> Value {
    let options = MoverOptions::default();
    let mover = RsyncMover { end, image: "mover:1", keys: "keys-of-db", data, options: &options };
    let placement = Placement::default();
    to_json(&mover.job(&JobFrame { debug, ..frame(&placement) }))
}

#[test]
fn the_job_of_rsync() {
    let address = Address { host: Some("fd00::1"), port: Some(2222) };
    let job = rsync_job(End::Source(address), FILES, true);
    assert_eq!(job["metadata"]["name"], "volsync-rsync-src-db");
    let labels = json!({
        "app.kubernetes.io/created-by": "volsync", "app.kubernetes.io/name": "src-db",
        "app.kubernetes.io/component": "rsync-mover", "app.kubernetes.io/part-of": "volsync",
    });
    assert_eq!(job["spec"]["template"]["metadata"]["labels"], labels);
    let capabilities = ["AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "SYS_CHROOT"];
    let expect = json!({
        "restartPolicy": "Never",
        "serviceAccountName": "volsync-src-db",
        "containers": [{
            "name": "rsync",
            "image": "mover:1",
            "command": ["/bin/bash", "-c", "/mover-rsync/source.sh"],
            "env": [
                { "name": "DESTINATION_ADDRESS", "value": "fd00::1" },
                { "name": "DESTINATION_PORT", "value": "2222" },
                { "name": "DEBUG_MOVER", "value": "1" },
            ],
            "resources": {},
            "securityContext": security(&capabilities),
            "volumeMounts": [
                { "name": "data", "mountPath": "/data" },
                { "name": "keys", "mountPath": "/keys" },
                { "name": "tempsshdir", "mountPath": "/root/.ssh" },
                { "name": "tempdir", "mountPath": "/tmp" },
            ],
        }],
        "volumes": [
            { "name": "data", "persistentVolumeClaim": { "claimName": "data" } },
            { "name": "keys", "secret": { "secretName": "keys-of-db", "defaultMode": 0o600 } },
            { "name": "tempsshdir", "emptyDir": { "medium": "Memory" } },
            { "name": "tempdir", "emptyDir": { "medium": "Memory" } },
        ],
    });
    assert_eq!(job["spec"]["template"]["spec"], expect);
}

#[test]
fn a_port_without_a_host_is_not_told_over_ssh_and_is_over_tls() {
    let end = End::Source(Address { host: None, port: Some(2222) });
    assert_eq!(rsync_job(end, FILES, false)["spec"]["template"]["spec"]["containers"][0]["env"], json!([]));
    let variables = environment(&tls_job(end, FILES, false, false)["spec"]["template"]["spec"]["containers"][0]);
    assert_eq!(variables[0], ("DESTINATION_PORT".to_owned(), "2222".to_owned()));
}

#[test]
fn a_block_volume_is_a_device() {
    for job in [rsync_job(End::Destination, DEVICE, false), tls_job(End::Destination, DEVICE, false, false)] {
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["volumeDevices"], json!([{ "name": "data", "devicePath": "/dev/block" }]));
        assert_eq!(container["volumeMounts"][0]["name"], "keys");
    }
    let container = rsync_job(End::Destination, DEVICE, false);
    let command = &container["spec"]["template"]["spec"]["containers"][0]["command"][2];
    assert_eq!(command, "/mover-rsync/destination.sh");
}

fn tls_job(end: End<'_>, data: Data<'_>, privileged: bool, openshift: bool) -> Value {
    let (options, pod) = (MoverOptions::default(), PodOptions::default());
    let mover =
        RsyncTlsMover { end, image: "mover:1", key: "psk", privileged, openshift, data, options: &options, pod: &pod };
    to_json(&mover.job(&frame(&Placement::default())))
}

#[test]
fn the_job_of_rsync_over_tls() {
    let job = tls_job(End::Destination, FILES, false, false);
    assert_eq!(job["metadata"]["name"], "volsync-rsync-tls-dst-db");
    assert_eq!(job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"], "rsync-tls-mover");
    assert_eq!(job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"], "dst-db");
    let container = json!({
        "name": "rsync-tls",
        "image": "mover:1",
        "command": ["/bin/bash", "-c", "/mover-rsync-tls/server.sh"],
        "env": [{ "name": "PRIVILEGED_MOVER", "value": "0" }],
        "resources": {},
        "securityContext": security(&[]),
        "volumeMounts": [
            { "name": "data", "mountPath": "/data" },
            { "name": "keys", "mountPath": "/keys" },
            { "name": "tempdir", "mountPath": "/tmp" },
        ],
    });
    assert_eq!(job["spec"]["template"]["spec"]["containers"], json!([container]));
    let end = End::Source(Address { host: Some("h"), port: Some(8000) });
    let job = tls_job(end, FILES, true, true);
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let expect = [
        ("DESTINATION_ADDRESS", "h"),
        ("DESTINATION_PORT", "8000"),
        ("PRIVILEGED_MOVER", "1"),
        ("SSL_VERSION_MIN", "TLSv1.3"),
    ];
    assert_eq!(environment(container), expect.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(container["command"][2], "/mover-rsync-tls/client.sh");
    assert_eq!(container["securityContext"], security(&["DAC_OVERRIDE", "CHOWN", "FOWNER", "SETGID"]));
}

fn claim(asked: &[&str], bound: &[&str], mode: Option<&str>) -> PersistentVolumeClaim {
    let modes = |modes: &[&str]| Some(modes.iter().map(|mode| (*mode).to_owned()).collect());
    PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some("data".into()), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: modes(asked),
            volume_mode: mode.map(str::to_owned),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: Some(PersistentVolumeClaimStatus {
            access_modes: modes(bound),
            ..PersistentVolumeClaimStatus::default()
        }),
    }
}

#[test]
fn only_a_source_that_cannot_be_written_is_mounted_read_only() {
    for (asked, bound, read_only) in [
        (&["ReadOnlyMany"][..], &[][..], true),
        (&["ReadWriteOnce"], &["ReadOnlyMany"], true),
        (&["ReadOnlyMany"], &["ReadWriteOnce", "ReadOnlyMany"], false),
        (&["ReadOnlyMany", "ReadWriteOnce"], &[], false),
    ] {
        let claim = claim(asked, bound, None);
        assert_eq!(Data::of_source(&claim), Some(Data { read_only, ..FILES }));
        assert_eq!(Data::of_destination(&claim), Some(FILES));
    }
    assert_eq!(Data::of_source(&claim(&[], &[], Some("Block"))), Some(DEVICE));
    let job = rsync_job(End::Source(Address::default()), Data { read_only: true, ..FILES }, false);
    let expect = json!({ "claimName": "data", "readOnly": true });
    assert_eq!(job["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"], expect);
}
