//! Log output: rclone's line format, or JSON.
