//! rclone's flags: every name, what it means here, and the values of a run.
