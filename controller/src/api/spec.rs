//! What users ask for.

use super::{
    RcloneDestination, RcloneSource, RsyncDestination, RsyncSource, RsyncTlsDestination, RsyncTlsSource, opaque,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Upstream's pattern of a schedule, which neither refuses all that the parser refuses nor takes all that it takes, and
/// after it five words or a descriptor with a zone in front. The parser has the last word; its error becomes a condition.
const SCHEDULE: &str = concat!(
    r"^(@(annually|yearly|monthly|weekly|daily|hourly))|((((\d+,)*\d+|(\d+(\/|-)\d+)|\*(\/\d+)?)\s?){5})$",
    r"|^\s*((CRON_)?TZ=\S* \s*)?(@\S.*|(\S+\s+){4}\S+)\s*$"
);

/// When to synchronize. Absent or empty: again and again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// Times in cron's form: five fields, or `@daily` and its like. `TZ=Europe/Prague` in front names a zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = SCHEDULE))]
    pub schedule: Option<String>,
    /// A tag. Each change starts one sync; the tag of the last is in `status.lastManualSync`. Wins over `schedule`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manual: Option<String>,
}

/// A controller of somebody else's does the work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct External {
    /// Its name, by custom `domain/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<String, String>>,
}

/// What is asked of a source. Exactly one method is expected; what is not there takes no room, as thousands are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationSourceSpec {
    /// The claim whose volume is replicated.
    #[serde(rename = "sourcePVC", skip_serializing_if = "Option::is_none")]
    pub source_pvc: Option<String>,
    /// When to synchronize.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Whether movers are held back. Everything before them is still done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Replicate with rclone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rclone: Option<Box<RcloneSource>>,
    /// Replicate with rsync over SSH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsync: Option<Box<RsyncSource>>,
    /// Replicate with rsync over TLS.
    #[serde(rename = "rsyncTLS", skip_serializing_if = "Option::is_none")]
    pub rsync_tls: Option<Box<RsyncTlsSource>>,
    /// A controller of somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// Restic, which this controller does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub restic: Option<Value>,
    /// Syncthing, which this controller does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub syncthing: Option<Value>,
}

/// What is asked of a destination. Exactly one method is expected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationDestinationSpec {
    /// When to synchronize.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Whether movers are held back. Everything before them is still done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Replicate with rclone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rclone: Option<Box<RcloneDestination>>,
    /// Replicate with rsync over SSH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsync: Option<Box<RsyncDestination>>,
    /// Replicate with rsync over TLS.
    #[serde(rename = "rsyncTLS", skip_serializing_if = "Option::is_none")]
    pub rsync_tls: Option<Box<RsyncTlsDestination>>,
    /// A controller of somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// Restic, which this controller does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub restic: Option<Value>,
}
