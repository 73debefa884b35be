//! Which paths take part: rclone's filter rules.
