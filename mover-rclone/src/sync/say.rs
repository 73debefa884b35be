//! What a run tells about single files, in rclone's words.

use volsync_common::path::RelPath;

use super::item::Item;

/// Nothing had to be done.
pub(super) fn unchanged(path: &RelPath) {
    tracing::debug!(object = %path, "Unchanged skipping");
}

/// A file was transferred.
pub(super) fn copied(item: &Item, replacing: bool) {
    tracing::info!(object = %item.path, "{}", if replacing { "Copied (replaced existing)" } else { "Copied (new)" });
}

/// A file would be transferred.
pub(super) fn would_copy(item: &Item) {
    tracing::warn!(object = %item.path, "Skipped copy as --dry-run is set (size {})", item.size);
}

/// A time was set.
pub(super) fn touched(path: &RelPath) {
    tracing::info!(object = %path, "Updated modification time in destination");
}

/// A time would be set.
pub(super) fn would_touch(path: &RelPath) {
    tracing::warn!(object = %path, "Skipped update modification time as --dry-run is set");
}

/// A file was deleted.
pub(super) fn deleted(path: &RelPath) {
    tracing::info!(object = %path, "Deleted");
}

/// A file would be deleted.
pub(super) fn would_delete(path: &RelPath, size: u64) {
    tracing::warn!(object = %path, "Skipped delete as --dry-run is set (size {size})");
}

/// A directory was removed.
pub(super) fn removed_directory(path: &RelPath) {
    tracing::info!(object = %path, "Removing directory");
}

/// A directory would be removed.
pub(super) fn would_remove_directory(path: &RelPath) {
    tracing::warn!(object = %path, "Skipped remove directory as --dry-run is set");
}

/// A directory would be made.
pub(super) fn would_make_directory(path: &RelPath) {
    tracing::warn!(object = %path, "Skipped make directory as --dry-run is set");
}
