//! Labels and annotations that users, tools and upstream's controller read. Source: `docs/compat-volsync.md`.

/// On every object that was made, and on every mover's pod: it is ours.
pub const CREATED_BY: (&str, &str) = ("app.kubernetes.io/created-by", "volsync");

/// On what is deleted when an iteration ends; the value is the UID of its replication.
pub const CLEANUP: &str = "volsync.backube/cleanup";

/// On a snapshot, by a user: give it up instead of deleting it.
pub const DO_NOT_DELETE: &str = "volsync.backube/do-not-delete";

/// Prefix of the label of a snapshot from which a claim is being populated; the UID of the claim follows.
pub const POPULATING_PREFIX: &str = "volsync.backube/volpop-pvc-";

/// On the temporary claim of the populator: name of the claim that is filled.
pub const POPULATOR_CLAIM_FOR: &str = "volsync.backube/populator-pvc-for";

/// On a volume: namespace and name of the snapshot that it was filled from.
pub const POPULATED_FROM: &str = "volsync.backube/populated-from";

/// On a namespace: movers of rclone and of rsync over TLS run as root there if `true`, in whatever capitals.
pub const PRIVILEGED_MOVERS: &str = "volsync.backube/privileged-movers";

/// On a replication, with any value: movers wait to be looked at instead of moving data.
pub const DEBUG_MOVER: &str = "volsync.backube/enable-debug-mover";

/// On the destination's claim: name of the snapshot that this iteration makes.
pub const SNAPSHOT_NAME: &str = "volsync.backube/snapname";

/// On a source's claim, by a user: copy only when [`COPY_TRIGGER`] changes.
pub const USE_COPY_TRIGGER: &str = "volsync.backube/use-copy-trigger";

/// On a source's claim, by a user: each new value lets one copy be made.
pub const COPY_TRIGGER: &str = "volsync.backube/copy-trigger";

/// On a source's claim: the trigger of the last copy.
pub const LATEST_COPY_TRIGGER: &str = "volsync.backube/latest-copy-trigger";

/// On a source's claim: how far the copy is.
pub const LATEST_COPY_STATUS: &str = "volsync.backube/latest-copy-status";

/// On a source's claim: since when a copy waits for its trigger, in RFC 3339.
pub const COPY_WAITING_SINCE: &str = "volsync.backube/latest-copy-trigger-waiting-since";
