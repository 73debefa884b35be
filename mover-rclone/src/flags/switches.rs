//! Our own switches. Each has one name in three places: a flag, a variable that stock rclone ignores, and the message
//! that tells how to set it. Under the VolSync operator only keys of the Secret that begin with `RCLONE_` reach a mover.

/// The beginning of the names of all switches.
pub const PREFIX: &str = "volsync-";
/// An empty volume may empty the prefix.
pub const ALLOW_EMPTY_SOURCE: &str = "volsync-allow-empty-source";
/// A prefix with objects but without `permissions.facl` may be written.
pub const ALLOW_FOREIGN_PREFIX: &str = "volsync-allow-foreign-prefix";
/// A restore may go on without `permissions.facl`.
pub const ALLOW_MISSING_PERMISSIONS: &str = "volsync-allow-missing-permissions";
/// Bytes of all buffers.
pub const MEMORY_LIMIT: &str = "volsync-memory-limit";

/// How messages tell to set a switch.
pub fn advice(switch: &str) -> String {
    format!("add key {}=1 to the Secret or pass --{switch}", super::variable(switch))
}
