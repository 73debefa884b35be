//! What the controller answers.

use super::opaque;
use k8s_openapi::{
    api::core::v1::TypedLocalObjectReference,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

/// The schema of Kubernetes' standard conditions, which the type itself does not carry.
fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "message": { "type": "string", "maxLength": 32768 },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                "reason": { "type": "string", "minLength": 1, "maxLength": 1024 },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "type": { "type": "string", "maxLength": 316 },
            },
        },
    })
}

/// How the last mover ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoverResult {
    /// Everything was moved.
    Successful,
    /// It gave up, and another is tried.
    Failed,
}

impl JsonSchema for MoverResult {
    fn schema_name() -> Cow<'static, str> {
        "MoverResult".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Not an enum in upstream's schema either.
        json_schema!({ "type": "string" })
    }
}

/// How far a mover is that runs. Upstream's statuses have no such field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoverProgress {
    /// When this was read off its log.
    pub time: Time,
    /// Bytes that it has transferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Bytes of which it knows so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<i64>,
    /// Files that it has transferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// Files of which it knows so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_files: Option<i64>,
}

/// What the last mover left behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoverStatus {
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<MoverResult>,
    /// What its log says of that, 1,024 bytes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
    /// How far the mover is that runs now, if it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<MoverProgress>,
    /// How many Jobs have failed since the last that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<i32>,
    /// When the next one is made, unless what is asked for changes before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_time: Option<Time>,
}

/// What sources and destinations have in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// When the running sync began. Its presence is the state "synchronizing".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_start_time: Option<Time>,
    /// When the last sync ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// How long the last sync took, as Go writes durations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_duration: Option<String>,
    /// When the schedule fires next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_sync_time: Option<Time>,
    /// The tag of the trigger when the last sync ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_manual_sync: Option<String>,
    /// The last mover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_mover_status: Option<MoverStatus>,
    /// Written by controllers of somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<BTreeMap<String, String>>,
    /// What is going on, or wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Option<Vec<Condition>>,
}

/// What the other side needs to know for rsync over SSH.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RsyncStatus {
    /// Where the destination listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Never written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Secret with the other side's keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_keys: Option<String>,
}

/// What the other side needs to know for rsync over TLS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RsyncTlsSourceStatus {
    /// Secret with the pre-shared key that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<String>,
}

/// What the other side needs to know for rsync over TLS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RsyncTlsDestinationStatus {
    /// Where the destination listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Never written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Secret with the pre-shared key that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<String>,
}

/// What was done for a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationSourceStatus {
    /// Syncs.
    #[serde(flatten)]
    pub sync: SyncStatus,
    /// rsync over SSH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsync: Option<RsyncStatus>,
    /// rsync over TLS.
    #[serde(rename = "rsyncTLS", skip_serializing_if = "Option::is_none")]
    pub rsync_tls: Option<RsyncTlsSourceStatus>,
    /// Written by upstream's restic mover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub restic: Option<Value>,
    /// Written by upstream's syncthing mover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub syncthing: Option<Value>,
}

/// What was done for a destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationDestinationStatus {
    /// Syncs.
    #[serde(flatten)]
    pub sync: SyncStatus,
    /// The volume or snapshot with the data of the last sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_image: Option<TypedLocalObjectReference>,
    /// rsync over SSH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsync: Option<RsyncStatus>,
    /// rsync over TLS.
    #[serde(rename = "rsyncTLS", skip_serializing_if = "Option::is_none")]
    pub rsync_tls: Option<RsyncTlsDestinationStatus>,
}
