//! The guards against wiped volumes, as pure values. Each refusal says which switch allows it after all.

use crate::flags::switches::{ALLOW_EMPTY_SOURCE, ALLOW_FOREIGN_PREFIX, ALLOW_MISSING_PERMISSIONS, advice};

use super::problems::Problem;

/// What stands for `permissions.facl` while the first push into a prefix is under way: a restore of it must not succeed.
/// `setfacl` of upstream's mover takes it for a comment.
pub const IN_PROGRESS: &[u8] = b"# volsync-rs: the first push into this prefix has not finished\n";

/// What is known of the permissions of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permissions {
    /// A finished push wrote them.
    Complete,
    /// The first push has not finished.
    InProgress,
    /// There are none.
    Missing,
}

/// What the user allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) empty_source: bool,
    pub(super) foreign_prefix: bool,
    pub(super) missing_permissions: bool,
}

/// Before the first write of a push. `objects`: there are objects other than the permissions.
pub(super) fn push_may_write(prefix: &str, objects: bool, permissions: bool, allowed: Allowed) -> Result<(), Problem> {
    if !objects || permissions || allowed.foreign_prefix {
        return Ok(());
    }
    let text = format!(
        "it holds objects but no permissions.facl, so no finished push of a volume: somebody else's data, or a mistyped \
         path. Nothing was written. To replace it, {}",
        advice(ALLOW_FOREIGN_PREFIX)
    );
    Err(Problem::refusal(prefix, text))
}

/// Before the permissions and deletions of a push, all of the volume being read.
pub(super) fn push_may_delete(volume: &str, files: u64, objects: bool, allowed: Allowed) -> Result<(), Problem> {
    if files > 0 || !objects || allowed.empty_source {
        return Ok(());
    }
    let text = format!(
        "the volume is empty but the destination is not: nothing was deleted. If the volume is meant to be empty, {}",
        advice(ALLOW_EMPTY_SOURCE)
    );
    Err(Problem::refusal(volume, text))
}

/// Before anything of a pull.
pub(super) fn pull_may_begin(prefix: &str, permissions: Permissions, allowed: Allowed) -> Result<(), Problem> {
    let text = match permissions {
        _ if allowed.missing_permissions => return Ok(()),
        Permissions::Complete => return Ok(()),
        Permissions::InProgress => format!(
            "the first push into this prefix has not finished; run the source again. Nothing was changed. To restore what is \
             there, {}",
            advice(ALLOW_MISSING_PERMISSIONS)
        ),
        Permissions::Missing => format!(
            "there is no permissions.facl, so no finished push of a volume: check the bucket and the path (rcloneDestPath). \
             Nothing was changed. To restore what is there, {}",
            advice(ALLOW_MISSING_PERMISSIONS)
        ),
    };
    Err(Problem::refusal(prefix, text))
}

/// Before the deletions of a pull, all of both sides being read.
pub(super) fn pull_may_delete(prefix: &str, objects: u64, files: bool, allowed: Allowed) -> Result<(), Problem> {
    if objects > 0 || !files || allowed.empty_source {
        return Ok(());
    }
    let text = format!(
        "no object is there but the volume holds files: nothing was deleted. If the volume is meant to become empty, {}",
        advice(ALLOW_EMPTY_SOURCE)
    );
    Err(Problem::refusal(prefix, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wiped_without_a_word() {
        let none = Allowed::default();
        let push = |objects, permissions, allowed| push_may_write("p", objects, permissions, allowed).is_ok();
        assert!(push(false, false, none) && push(true, true, none) && push(false, true, none));
        assert!(!push(true, false, none));
        assert!(push(true, false, Allowed { foreign_prefix: true, ..none }));

        let empty = |files, objects, allowed| push_may_delete("v", files, objects, allowed).is_ok();
        assert!(empty(1, true, none) && empty(0, false, none) && !empty(0, true, none));
        assert!(empty(0, true, Allowed { empty_source: true, ..none }));

        let pull = |permissions, allowed| pull_may_begin("p", permissions, allowed).is_ok();
        assert!(pull(Permissions::Complete, none));
        assert!(!pull(Permissions::Missing, none) && !pull(Permissions::InProgress, none));
        assert!(pull(Permissions::Missing, Allowed { missing_permissions: true, ..none }));

        let wipe = |objects, files, allowed| pull_may_delete("p", objects, files, allowed).is_ok();
        assert!(wipe(1, true, none) && wipe(0, false, none) && !wipe(0, true, none));
    }

    #[test]
    fn each_refusal_names_its_switch() {
        let text = push_may_write("p", true, false, Allowed::default()).unwrap_err().text;
        assert!(text.contains("RCLONE_VOLSYNC_ALLOW_FOREIGN_PREFIX=1"), "{text}");
        let text = pull_may_begin("p", Permissions::Missing, Allowed::default()).unwrap_err().text;
        assert!(text.contains("RCLONE_VOLSYNC_ALLOW_MISSING_PERMISSIONS=1"), "{text}");
    }
}
